"""The station-days of a request as columns: from JSON rows, an Arrow stream or a Parquet file.

What belongs here: reading, types and ranges by column, stations, days and duplicates, each fault with its row and
column. What does not: the contract itself (`contract`), features (`domain`).

Wherever they come from, station-days end as the same arrays, so that the same rows give the same forecasts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from weather_platform.domain.observations import OBSERVATION_COLUMNS, Column
from weather_platform.domain.splits import day_date, day_number
from weather_platform.serving.batch_json import NOT_SENT, BatchRow
from weather_platform.serving.contract import (
    DAY_MAX,
    DAY_MIN,
    MAX_BATCH_ROWS,
    MAX_REPORTED_ERRORS,
    MAX_STATION_CHARACTERS,
    Fault,
    RequestRefusedError,
    invalid,
    limits_of,
)
from weather_platform.serving.unpacking import parquet_metadata, require_plain_stream, require_small_pages

ROWS = "observations"
"""What the rows of a batch are called in the paths of faults."""

_NAMES = frozenset(c.name for c in OBSERVATION_COLUMNS)

MAX_COLUMNS = 2 + len(OBSERVATION_COLUMNS) + MAX_REPORTED_ERRORS
"""Up to these, each column of a table that the contract does not have is named."""
_FIELDS = attrgetter(*(c.name for c in OBSERVATION_COLUMNS))

_EPOCH = np.int32(date(1970, 1, 1).toordinal())
_DAY_LIMITS = day_number(DAY_MIN), day_number(DAY_MAX)


@dataclass(frozen=True, eq=False)
class StationDays:
    """Station-days in the order they were sent.

    ``sent`` holds `station_index`, `day` (days since 1970-01-01) and the float64 columns that any row names, NaN for
    null. ``named[column]`` says which rows name it; a column that all rows name is not in there.
    """

    stations: Sequence[str]
    sent: Mapping[str, NDArray[Any]]
    named: Mapping[str, NDArray[np.bool_]]

    @property
    def station_index(self) -> NDArray[np.int32]:
        """Positions in the catalogue."""
        return self.sent["station_index"]

    @property
    def day(self) -> NDArray[np.int32]:
        """Days since 1970-01-01."""
        return self.sent["day"]

    def __len__(self) -> int:
        return len(self.stations)


def from_json(rows: Sequence[BatchRow], positions: Mapping[str, int]) -> StationDays:
    """Rows that the contract has read; refused when a station is unknown or a station-day comes twice."""
    stations = [row.station for row in rows]
    index = np.fromiter((positions.get(name, -1) for name in stations), np.int32, len(rows))
    day = np.fromiter((row.day.toordinal() for row in rows), np.int32, len(rows)) - _EPOCH
    _require_known_once(stations, index, day)
    # Row after row, as they lie in memory; null becomes NaN.
    flat = np.fromiter(chain.from_iterable(map(_FIELDS, rows)), np.float64, len(rows) * len(OBSERVATION_COLUMNS))
    fields = flat.reshape(len(rows), -1)
    absent = fields == NOT_SENT
    fields[absent] = np.nan
    sent: dict[str, NDArray[Any]] = {"station_index": index, "day": day}
    named: dict[str, NDArray[np.bool_]] = {}
    for column, values, missing in zip(OBSERVATION_COLUMNS, fields.T, absent.T, strict=True):
        if missing.all():
            continue
        sent[column.name] = values
        if missing.any():
            named[column.name] = ~missing
    return StationDays(stations, sent, named)


def from_arrow(body: bytes, positions: Mapping[str, int]) -> StationDays:
    """The rows of an Arrow IPC stream."""
    try:
        require_plain_stream(body)
        with pa.ipc.open_stream(body) as stream:
            _require_schema(stream.schema)
            batches, count = [], 0
            for batch in stream:
                count += batch.num_rows
                _require_batch_size(count)
                batches.append(batch)
            table = pa.Table.from_batches(batches, schema=stream.schema)
            table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise _unreadable("an Arrow IPC stream", error) from None
    return _from_table(table, positions)


def from_parquet(body: bytes, positions: Mapping[str, int]) -> StationDays:
    """The rows of a Parquet file."""
    try:
        about = parquet_metadata(body)
        _require_schema(about.schema.to_arrow_schema())
        _require_batch_size(about.num_rows)
        require_small_pages(body)
        # Dictionaries stay dictionaries: a short file cannot become gigabytes of text.
        source = pq.ParquetFile(pa.BufferReader(body), metadata=about, read_dictionary=["station"])
        table = source.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise _unreadable("a Parquet file", error) from None
    return _from_table(table, positions)


def _from_table(table: pa.Table, positions: Mapping[str, int]) -> StationDays:
    """The rows of a table of the right columns. A NaN counts as null: arrays have no other word for missing."""
    if not table.num_rows:
        raise invalid([Fault(ROWS, "at least 1 row is needed")])
    stations, index = _stations(table["station"], positions)
    day = _days(table["day"])
    sent: dict[str, NDArray[Any]] = {"station_index": index, "day": day}
    faults: list[Fault] = []
    for column in OBSERVATION_COLUMNS:
        if column.name in table.schema.names:
            values = _float64(table[column.name])
            faults += _out_of_range(column, values)
            sent[column.name] = values
    if faults:
        raise invalid(faults)
    _require_known_once(stations, index, day)
    return StationDays(stations, sent, {})


def _require_known_once(stations: Sequence[str], index: NDArray[np.int32], day: NDArray[np.int32]) -> None:
    if len(unknown := np.flatnonzero(index < 0)):
        raise UnknownStationError(
            Fault(f"{ROWS}.{row}.station", f"there is no station {stations[row]}; GET /v1/stations lists them")
            for row in unknown[:MAX_REPORTED_ERRORS].tolist()
        )
    keys = (index.astype(np.int64) << 33) + day
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    if len(again):
        raise invalid(
            Fault(f"{ROWS}.{row}", f"{stations[row]} on {day_date(day[row])} comes twice")
            for row in sorted(again.tolist())
        )


class UnknownStationError(RequestRefusedError):
    """A request names a station that is not in the catalogue."""

    def __init__(self, faults: Iterator[Fault] | Sequence[Fault]) -> None:
        refusal = invalid(faults)
        super().__init__(refusal.status, refusal.detail, refusal.faults)


def _require_batch_size(rows: int) -> None:
    if rows > MAX_BATCH_ROWS:
        raise invalid([Fault(ROWS, f"at most {MAX_BATCH_ROWS} rows are taken at once")])


def _unreadable(what: str, error: Exception) -> RequestRefusedError:
    return RequestRefusedError(400, f"the body cannot be read as {what}: {str(error).splitlines()[0][:200]}")


def _require_schema(schema: pa.Schema) -> None:
    if len(schema) > MAX_COLUMNS:
        raise invalid([Fault(ROWS, f"{len(schema)} columns came, and the contract has {2 + len(_NAMES)}")])
    if faults := list(_faults_of_schema(schema)):
        raise invalid(faults)


def _faults_of_schema(schema: pa.Schema) -> Iterator[Fault]:
    for name in sorted({"station", "day"} - set(schema.names)):
        yield Fault(f"{ROWS}.{name}", "the column is missing")
    for name in sorted(name for name, times in Counter(schema.names).items() if times > 1):
        yield Fault(f"{ROWS}.{name}", "the column comes twice")
    for field in schema:
        if (wanted := _wanted_type(field)) is not None:
            yield Fault(f"{ROWS}.{field.name}", wanted)


def _wanted_type(field: pa.Field) -> str | None:
    """What a column should have been; None for one that is fine."""
    plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    types = pa.types
    if field.name == "station":
        text = types.is_string(plain) or types.is_large_string(plain) or types.is_string_view(plain)
        return None if text else f"should hold text, not {plain}"
    if field.name == "day":
        return None if types.is_date(field.type) else f"should hold dates, not {field.type}"
    if field.name not in _NAMES:
        return "is no column of the contract"
    if types.is_null(plain):
        return None
    if _flag(field.name):
        return None if types.is_boolean(plain) else f"should hold true or false, not {plain}"
    number = types.is_integer(plain) or types.is_floating(plain)
    return None if number and plain is field.type else f"should hold numbers, not {field.type}"


_FLAGS = frozenset(c.name for c in OBSERVATION_COLUMNS if c.kind == "flag")


def _flag(name: str) -> bool:
    return name in _FLAGS


def _stations(column: pa.ChunkedArray, positions: Mapping[str, int]) -> tuple[list[str], NDArray[np.int32]]:
    of_length = invalid([Fault(f"{ROWS}.station", f"should have 1 to {MAX_STATION_CHARACTERS} characters")])
    # First: a dictionary or a view names a long text once, and the cast would write it out for every row.
    if any(_longest_bytes(chunk) > 4 * MAX_STATION_CHARACTERS for chunk in column.chunks):
        raise of_length
    if column.type.id != pa.string().id:
        column = column.cast(pa.string())
    _require_no_null(column, "station")
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if any(not 1 <= len(name) <= MAX_STATION_CHARACTERS for name in names):
        raise of_length
    at = encoded.indices.to_numpy()
    index = np.array([positions.get(name, -1) for name in names], dtype=np.int32)[at]
    return np.array(names, dtype=object)[at].tolist(), index


def _longest_bytes(texts: pa.Array) -> int:
    """The length of the longest text, in UTF-8."""
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary
    if pa.types.is_string_view(texts.type):
        # pyarrow cannot tell; the first four bytes of the sixteen of a view are its length.
        lengths = np.frombuffer(texts.buffers()[1], np.int32)[::4]
        return int(lengths[texts.offset : texts.offset + len(texts)].max(initial=0))
    return int(pc.max(pc.binary_length(texts)).as_py() or 0)


def _days(column: pa.ChunkedArray) -> NDArray[np.int32]:
    _require_no_null(column, "day")
    try:
        day = column.cast(pa.date32()).cast(pa.int32()).to_numpy()
    except pa.ArrowInvalid:
        raise invalid([Fault(f"{ROWS}.day", "should hold whole days")]) from None
    first, last = _DAY_LIMITS
    if len(wrong := np.flatnonzero((day < first) | (day > last))):
        message = f"Input should be from {DAY_MIN} to {DAY_MAX}"
        raise invalid(Fault(f"{ROWS}.{row}.day", message) for row in wrong.tolist())
    return np.asarray(day, dtype=np.int32)


def _require_no_null(column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        rows = np.flatnonzero(pc.is_null(column).to_numpy())
        raise invalid(Fault(f"{ROWS}.{row}.{name}", "Field required") for row in rows.tolist())


def _float64(column: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    # Not safe: an integer that a float does not hold exactly is far out of every range.
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _out_of_range(column: Column, values: NDArray[np.float64]) -> list[Fault]:
    limits = limits_of(column)
    if limits is None:
        return []
    low, high = limits
    faults = []
    for wrong, message in (
        (values < low, f"Input should be greater than or equal to {low:g}"),
        (values > high, f"Input should be less than or equal to {high:g}"),
    ):
        faults += [Fault(f"{ROWS}.{row}.{column.name}", message) for row in np.flatnonzero(wrong).tolist()]
    return faults
