"""Answers as bytes: JSON whose floats read back to the same bits, Arrow streams, Parquet files.

What belongs here: the shapes of answers of the hot routes, and problem details. What does not: how a forecast comes
about (`forecasting`), or which route gives it (`routes`).

The shapes are those of the models of `contract`, written without building them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from starlette.responses import Response

from weather_platform.domain.outputs import Forecasts
from weather_platform.serving.contract import ARROW, JSON, PARQUET, PROBLEM, Fault

encode = msgspec.json.Encoder().encode
"""JSON bytes of plain values, dates and the structures below."""


class JsonAnswer(Response):
    """An answer of plain values and structures."""

    media_type = JSON

    def render(self, content: Any) -> bytes:
        return encode(content)


class ForecastRow(msgspec.Struct, frozen=True, gc=False):
    """`contract.Forecast`, as it is written."""

    station: str
    day: str
    forecast_day: str
    kind: str
    probability: float | None
    value: float | None
    label: bool | None
    low: float | None
    high: float | None


FORECASTS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("station", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("forecast_day", pa.date32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),
        pa.field("value", pa.float64()),
        pa.field("label", pa.bool_()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)
"""The columns of an answer in Arrow or Parquet; which model answered is in the schema's metadata."""


def kinds(day: NDArray[np.int32], tested_through: int) -> list[str]:
    """live or hindcast, by row."""
    return ["hindcast" if tested else "live" for tested in (day <= tested_through).tolist()]


def forecast_rows(
    stations: Sequence[str], day: NDArray[np.int32], tested_through: int, forecasts: Forecasts
) -> list[ForecastRow]:
    """The rows of a JSON answer."""
    count = len(day)
    nothing = [None] * count
    values: list[Any] = forecasts.value.tolist()
    dates, at = np.unique(day, return_inverse=True)
    days, next_days = (
        np.array(np.datetime_as_string((dates + ahead).astype("datetime64[D]")), dtype=object)[at].tolist()
        for ahead in (0, 1)
    )
    if forecasts.label is None:
        low, high = forecasts.interval
        shapes = (nothing, values, nothing, low.tolist(), high.tolist())
    else:
        shapes = (values, nothing, forecasts.label.tolist(), nothing, nothing)
    return list(map(ForecastRow, stations, days, next_days, kinds(day, tested_through), *shapes))


def forecast_table(
    stations: Sequence[str],
    day: NDArray[np.int32],
    tested_through: int,
    forecasts: Forecasts,
    about: Mapping[str, Any],
) -> pa.Table:
    """The rows of an Arrow or Parquet answer."""
    count = len(day)
    columns: dict[str, Any] = dict.fromkeys(("probability", "value", "label", "low", "high"), pa.nulls(count))
    own: dict[str, Any]
    if forecasts.label is None:
        low, high = forecasts.interval
        own = {"value": forecasts.value, "low": low, "high": high}
    else:
        own = {"probability": forecasts.value, "label": forecasts.label}
    columns |= {name: pa.array(values) for name, values in own.items()}
    hindcast = pa.array(day <= tested_through)
    columns |= {
        "station": pa.array(stations, pa.string()),
        "day": pa.array(day, pa.int32()).cast(pa.date32()),
        "forecast_day": pa.array(day + 1, pa.int32()).cast(pa.date32()),
        "kind": pa.compute.if_else(hindcast, "hindcast", "live"),
    }
    table = pa.table(columns).select(FORECASTS_SCHEMA.names).cast(FORECASTS_SCHEMA)
    return table.replace_schema_metadata({name: _text(value) for name, value in about.items()})


def table_answer(table: pa.Table, media_type: str) -> Response:
    """A table as the body of an answer."""
    sink = pa.BufferOutputStream()
    if media_type == ARROW:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    else:
        pq.write_table(table, sink)
    return Response(sink.getvalue().to_pybytes(), media_type=media_type)


def answer_type(accept: str) -> str:
    """Arrow or Parquet when the Accept header names it, else JSON."""
    named = [part.partition(";")[0].strip() for part in accept.split(",")]
    return next((kind for kind in named if kind in (ARROW, PARQUET, JSON)), JSON)


_TITLES = {
    400: "Bad request", 401: "Not authenticated", 403: "Forbidden", 404: "Not found", 405: "Method not allowed",
    408: "Too slow", 413: "Too large", 415: "Unsupported media type", 422: "Not as the contract says",
    429: "Too many requests", 500: "Internal error", 501: "Not implemented", 503: "Not available",
}  # fmt: skip


def problem(
    status: int, detail: str, faults: Sequence[Fault] = (), *, request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """A refusal as problem details."""
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Refused"),
        "status": status,
        "detail": detail,
        "errors": [{"path": fault.path, "message": fault.message} for fault in faults],
        "request_id": request_id,
    }
    return Response(encode(body), status, headers, PROBLEM)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()
