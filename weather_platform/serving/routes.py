"""The routes of version 1: forecasts from sent and from stored observations, their explanation, stations and models.

What belongs here: from a request to an answer, in the order of the words of each route. What does not: features and
forecasts (`domain.live`, `forecasting`), reading bodies (`contract`, `rows`), MLflow's protocol (`scoring_routes`).

Each route takes ``store.served`` once and answers from that alone: no answer mixes versions.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from fastapi import Request, Response
from numpy.typing import NDArray

from weather_platform.database import LoggedForecast
from weather_platform.domain.contributions import contributions
from weather_platform.domain.features import FEATURES, HISTORY_DAYS
from weather_platform.domain.live import RecentObservations, SentDay
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.splits import day_date, day_number
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import NotExactError
from weather_platform.serving import rows as station_days
from weather_platform.serving.answers import (
    JsonAnswer,
    answer_type,
    encode,
    forecast_rows,
    forecast_table,
    table_answer,
)
from weather_platform.serving.auth import AuthError, read_login
from weather_platform.serving.batch_json import read_batch
from weather_platform.serving.contract import (
    ARROW,
    DAY_MAX,
    DAY_MIN,
    JSON,
    PARQUET,
    PROBLEM,
    BatchAnswer,
    BatchRequest,
    ExplainAnswer,
    Fault,
    ModelsAnswer,
    PredictAnswer,
    PredictRequest,
    RequestRefusedError,
    StationAnswer,
    StationsAnswer,
    TokenAnswer,
    TokenRequest,
    invalid,
    read_predict,
)
from weather_platform.serving.forecasting import Forecast
from weather_platform.serving.http import documented, reference, request_id, router
from weather_platform.serving.model_store import Served, ServedModel
from weather_platform.serving.services import PRODUCTION, Services, positions_of, production, recent_of, services_of
from weather_platform.serving.state import RECENT_DAYS

V1 = router()
BATCH = "/v1/predict/batch"
TOKEN = "/v1/token"  # noqa: S105 - a path


@V1.post(
    "/v1/predict",
    summary="Forecast from one station-day",
    tags=["forecasts"],
    **documented(PredictAnswer, 400, 408, 413, 422, 503, body={JSON: {"schema": reference(PredictRequest)}}),
)
async def predict(request: Request) -> Response:
    """What the Production model says of the day after `day`, from what the station and others reported."""
    began = time.perf_counter()
    services = services_of(request)
    asked = read_predict(await request.body())
    served = services.served()
    model = production(served, asked.target)
    row, day = _features(services, served, asked)
    forecast = await services.forecaster.one(model, row)
    seconds = time.perf_counter() - began
    identity = request_id(request.scope)
    note(services, request, model, row, forecast.value, seconds, asked.station, asked.day)
    services.metrics.forecast(asked.target, model.target.task, forecast.value)
    return JsonAnswer(
        {
            "request_id": identity,
            "seconds": seconds,
            **_about(model),
            **_one(model, asked.station, day, forecast),
        }
    )


@V1.post(
    BATCH,
    summary="Forecast from many station-days",
    tags=["forecasts"],
    **documented(
        BatchAnswer, 400, 408, 413, 415, 422, 503,
        body={
            JSON: {"schema": reference(BatchRequest)},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
        also={
            ARROW: {"schema": {"type": "string", "format": "binary"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
        parameters=(
            {
                "name": "target", "in": "query", "required": False, "schema": {"type": "string", "enum": list(TARGETS)},
                "description": "Of an Arrow or Parquet body; a JSON body holds it.",
            },
            {
                "name": "use_history", "in": "query", "required": False,
                "schema": {"type": "string", "enum": ["true", "false"], "default": "true"},
                "description": "Of an Arrow or Parquet body; a JSON body holds it.",
            },
        ),
    ),
)  # fmt: skip
async def predict_batch(request: Request) -> Response:
    """At most 10,000 station-days as JSON, as an Arrow IPC stream or as a Parquet file.

    An Arrow or Parquet body has the columns `station`, `day` and any fields of the contract; a column that is there
    counts as sent in every row, and null or NaN as not observed. The answer has the type of the Accept header.
    """
    began = time.perf_counter()
    services = services_of(request)
    body = await request.body()
    media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    query = request.query_params
    served = services.served()
    recent = recent_of(served)
    try:
        target, days, use_history = await asyncio.to_thread(_read_batch, body, media_type, query, positions_of(recent))
    except station_days.UnknownStationError:
        services.metrics.unknown_station()
        raise
    model = production(served, target)
    matrix = await asyncio.to_thread(
        recent.features_of_many, days.sent, (days.station_index, days.day), use_history=use_history, named=days.named
    )
    forecasts = await services.forecaster.many(model, matrix.values)
    seconds = time.perf_counter() - began
    # Megabytes: in a thread, or single forecasts would wait for it.
    digest = await asyncio.to_thread(digest_of, matrix.values)
    note(services, request, model, matrix.values, float(np.mean(forecasts.value)), seconds, digest=digest)
    services.metrics.forecasts(target, model.target.task, forecasts.value)
    services.metrics.missing_fields(_missing(matrix.values))
    about = {"request_id": request_id(request.scope), "seconds": seconds, **_about(model)}
    return await asyncio.to_thread(
        _batch_answer, answer_type(request.headers.get("accept", JSON)), about, days, model.tested_through, forecasts
    )


def _read_batch(
    body: bytes, media_type: str, query: Mapping[str, str], positions: Mapping[str, int]
) -> tuple[str, station_days.StationDays, bool]:
    if media_type == JSON:
        if query:
            raise invalid([Fault(name, "is in the body when that is JSON, not in the query") for name in query])
        asked = read_batch(body)
        return asked.target, station_days.from_json(asked.observations, positions), asked.use_history
    if media_type not in (ARROW, PARQUET):
        raise RequestRefusedError(415, f"the body may be {JSON}, {ARROW} or {PARQUET}, not '{media_type[:100]}'")
    faults = []
    target, use_history = query.get("target"), query.get("use_history", "true")
    if target not in TARGETS:
        faults.append(Fault("target", f"should be one of {', '.join(TARGETS)}, in the query"))
    if use_history not in ("true", "false"):
        faults.append(Fault("use_history", "should be true or false"))
    if target is None or faults:
        raise invalid(faults)
    read = station_days.from_arrow if media_type == ARROW else station_days.from_parquet
    return target, read(body, positions), use_history == "true"


def _batch_answer(
    media_type: str,
    about: Mapping[str, Any],
    days: station_days.StationDays,
    tested_through: int,
    forecasts: Forecasts,
) -> Response:
    if media_type == JSON:
        return JsonAnswer({**about, "forecasts": forecast_rows(days.stations, days.day, tested_through, forecasts)})
    return table_answer(forecast_table(days.stations, days.day, tested_through, forecasts, about), media_type)


@V1.post(
    "/v1/explain",
    summary="Say what each feature adds to a forecast",
    tags=["forecasts"],
    **documented(ExplainAnswer, 400, 408, 413, 422, 501, 503, body={JSON: {"schema": reference(PredictRequest)}}),
)
async def explain(request: Request) -> Response:
    """The forecast of `/v1/predict`, and the exact contribution of every feature to it, largest first.

    Exact for boosted trees and linear models; 501 for other algorithms.
    """
    began = time.perf_counter()
    services = services_of(request)
    asked = read_predict(await request.body())
    served = services.served()
    model = production(served, asked.target)
    row, day = _features(services, served, asked)
    try:
        parts = await asyncio.to_thread(contributions, model.predictor, row)
    except NotExactError as error:
        raise RequestRefusedError(501, str(error)) from None
    forecast = await services.forecaster.one(model, row)
    seconds = time.perf_counter() - began
    note(services, request, model, row, forecast.value, seconds, asked.station, asked.day)
    services.metrics.forecast(asked.target, model.target.task, forecast.value)
    order = np.argsort(-np.abs(parts.of_feature), kind="stable").tolist()
    values = row[0].tolist()
    return JsonAnswer(
        {
            "request_id": request_id(request.scope),
            "seconds": seconds,
            **_about(model),
            **_one(model, asked.station, day, forecast),
            "contribution_unit": parts.unit,
            "base": parts.base,
            "raw_value": parts.raw_value,
            "contributions": [
                {
                    "feature": FEATURES[at].name,
                    "unit": FEATURES[at].unit,
                    "value": values[at],  # NaN is written as null
                    "contribution": float(parts.of_feature[at]),
                }
                for at in order
            ],
        }
    )


@V1.get(
    "/v1/forecast/{station}",
    summary="Forecast from the stored observations",
    tags=["forecasts"],
    **documented(
        StationAnswer, 404, 422, 503,
        parameters=(
            {"name": "station", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "date", "in": "query", "required": False, "schema": {"type": "string", "format": "date"},
                "description": f"Issue day D, one of the newest {RECENT_DAYS} days with observations: `first_day` to "
                "`last_day` of `/v1/stations`; default: the newest of them that the station reported.",
            },
            {
                "name": "target", "in": "query", "required": False,
                "schema": {"type": "array", "items": {"type": "string", "enum": list(TARGETS)}},
                "description": "Only this target (repeatable); default: all that have a Production model.",
            },
        ),
    ),
)  # fmt: skip
async def forecast(request: Request) -> Response:
    """What the Production models say of the day after a day that the station reported.

    The service keeps the newest 120 days with observations; a day before them is a 404 that names the days.
    """
    began = time.perf_counter()
    services = services_of(request)
    station: str = request.path_params["station"]
    asked = _asked_targets(request.query_params.getlist("target"))
    asked_day = _asked_day(request.query_params.get("date"))
    served = services.served()
    recent = recent_of(served)
    index = positions_of(recent).get(station)
    if index is None:
        services.metrics.unknown_station()
        raise RequestRefusedError(404, f"there is no station {station[:64]}; GET /v1/stations lists them")
    day = _newest_day(recent, index) if asked_day is None else day_number(asked_day)
    # Of the days before the first, which are kept as history, a forecast would lack its own history.
    if day is None or day < recent.first_day or not recent.reported(index, day):
        window = f"{day_date(recent.first_day)} to {day_date(recent.last_day)}"
        when = "within them" if day is None else f"on {day_date(day)}"
        raise RequestRefusedError(
            404, f"the service keeps the days {window}, and {station} has no report {when}; `weather forecast` has more"
        )
    models = [production(served, target) for target in asked] or [
        found for aliases in served.models.values() if (found := aliases.get(PRODUCTION)) is not None
    ]
    if not models:
        raise RequestRefusedError(503, "no target has a Production model yet")
    row = recent.features_of_one(index, day, {}, use_history=True)
    services.metrics.missing_fields(_missing(row))
    answers = []
    for model in models:
        made = await services.forecaster.one(model, row)
        note(services, request, model, row, made.value, time.perf_counter() - began, station, day_date(day))
        services.metrics.forecast(model.target.name, model.target.task, made.value)
        answers.append({**_about(model), **_one(model, station, day, made)})
    seconds = time.perf_counter() - began
    return JsonAnswer({"request_id": request_id(request.scope), "seconds": seconds, "forecasts": answers})


@V1.get("/v1/stations", summary="The catalogue", tags=["catalogue"], **documented(StationsAnswer, 503))
async def stations(request: Request) -> Response:
    """Which stations there are, and the days of which the service keeps observations: the newest 120 that have any."""
    served = services_of(request).served()
    recent = served.recent
    return JsonAnswer(
        {
            "stations": [
                {
                    "id": station.id, "state": station.state, "latitude_deg": station.latitude_deg,
                    "longitude_deg": station.longitude_deg, "elevation_m": station.elevation_m,
                    "timezone": station.timezone,
                }
                for station in served.stations
            ],
            "first_day": None if recent is None else day_date(recent.first_day),
            "last_day": None if recent is None else day_date(recent.last_day),
        }
    )  # fmt: skip


@V1.get("/v1/models", summary="What is served", tags=["catalogue"], **documented(ModelsAnswer, 503))
async def models(request: Request) -> Response:
    """Every version that an alias names, with its metrics and digest, as this worker serves it."""
    served = services_of(request).served()
    return JsonAnswer(
        {
            "checked_at": served.checked_at,
            "registry_error": served.registry_error,
            "lake_error": served.lake_error,
            "models": [_entry(model) for aliases in served.models.values() for model in aliases.values()],
            "refused": [
                {"target": gone.target, "alias": gone.alias, "version": gone.version, "reason": gone.reason}
                for gone in served.refused
            ],
        }
    )


@V1.post(
    TOKEN,
    summary="Get a token",
    tags=["access"],
    **documented(
        TokenAnswer, 400, 401, 413, 429, 503,
        is_open=True,
        body={
            JSON: {"schema": reference(TokenRequest)},
            "application/x-www-form-urlencoded": {"schema": reference(TokenRequest)},
        },
    ),
)  # fmt: skip
async def token(request: Request) -> Response:
    """A bearer token for a user and a password, as JSON or as a form."""
    services = services_of(request)
    address = request.client.host if request.client else ""
    try:
        login = read_login(request.headers.get("content-type", ""), await request.body())
        issued = await services.authenticator.login(login, address)
    except AuthError as error:
        services.metrics.auth_refused(error.reason)
        body = error.problem(request_id(request.scope))
        return Response(encode(body), error.status, error.headers(), PROBLEM)
    return JsonAnswer(issued.answer(), headers={"Cache-Control": "no-store"})


def _features(services: Services, served: Served, asked: PredictRequest) -> tuple[NDArray[np.float32], int]:
    """The feature row of a request and its day."""
    recent = recent_of(served)
    positions = positions_of(recent)
    index = positions.get(asked.station)
    if index is None:
        services.metrics.unknown_station()
        raise invalid([Fault("station", f"there is no station {asked.station}; GET /v1/stations lists them")])
    day = day_number(asked.day)
    others = _others(services, asked, positions, index, day) if asked.others else ()
    row = recent.features_of_one(index, day, _floats(asked.observation), use_history=asked.use_history, others=others)
    services.metrics.missing_fields(_missing(row))
    return row, day


def _missing(matrix: NDArray[np.float32]) -> dict[str, int]:
    """In how many of the station-days a number was not observed, for those in which it was not."""
    times = np.count_nonzero(np.isnan(matrix[:, _NUMBERS]), axis=0)
    return {FEATURES[at].name: int(times[at]) for at in np.flatnonzero(times).tolist()}


_NUMBERS = slice(0, sum(c.kind == "number" for c in OBSERVATION_COLUMNS))
"""The observed numbers of the station-day itself: the first features, in the order of the contract."""


def _others(
    services: Services, asked: PredictRequest, positions: Mapping[str, int], index: int, day: int
) -> list[SentDay]:
    """The other station-days of a request; refused when one is unknown, of another time, or there twice."""
    days = [SentDay(positions.get(row["station"], -1), day_number(row["day"]), _fields(row)) for row in asked.others]
    names = [(f"others.{at}", row["station"]) for at, row in enumerate(asked.others)]
    if unknown := [
        Fault(f"{where}.station", f"there is no station {name}; GET /v1/stations lists them")
        for (where, name), other in zip(names, days, strict=True)
        if other.station_index < 0
    ]:
        services.metrics.unknown_station()
        raise invalid(unknown)
    faults = []
    taken = {(index, day)}
    for (where, name), other in zip(names, days, strict=True):
        if not day - HISTORY_DAYS <= other.day <= day:
            faults.append(Fault(f"{where}.day", f"is not one of the {HISTORY_DAYS + 1} days up to {asked.day}"))
        elif (other.station_index, other.day) in taken:
            faults.append(Fault(where, f"{name} on {day_date(other.day)} comes twice"))
        taken.add((other.station_index, other.day))
    if faults:
        raise invalid(faults)
    return days


def _fields(row: Mapping[str, Any]) -> dict[str, float]:
    return _floats({name: value for name, value in row.items() if name not in ("station", "day")})


def _floats(fields: Mapping[str, float | bool | None]) -> dict[str, float]:
    """Numbers as the features take them: null is NaN, a flag 0 or 1."""
    return {name: np.nan if value is None else float(value) for name, value in fields.items()}


def _about(model: ServedModel) -> dict[str, Any]:
    """`contract.ModelAnswer` of a model."""
    contract = model.predictor.contract
    return {
        "target": contract.target,
        "unit": contract.unit,
        "threshold": contract.threshold,
        "model_version": model.version,
        "model_digest": model.digest,
        "feature_version": contract.feature_version,
    }


def _one(model: ServedModel, station: str, day: int, forecast: Forecast) -> dict[str, Any]:
    """`contract.Forecast` of one forecast."""
    is_probability = forecast.label is not None
    return {
        "station": station,
        "day": day_date(day),
        "forecast_day": day_date(day + 1),
        "kind": "hindcast" if day <= model.tested_through else "live",
        "probability": forecast.value if is_probability else None,
        "value": None if is_probability else forecast.value,
        "label": forecast.label,
        "low": forecast.low,
        "high": forecast.high,
    }


def _entry(model: ServedModel) -> dict[str, Any]:
    """`contract.ModelEntry` of a model."""
    contract = model.predictor.contract
    return {
        "target": contract.target,
        "alias": model.alias,
        "version": model.version,
        "digest": model.digest,
        "run_id": model.run_id,
        "algorithm": model.algorithm,
        "task": contract.task,
        "unit": contract.unit,
        "threshold": contract.threshold,
        "feature_version": contract.feature_version,
        "tested_through": day_date(model.tested_through),
        "metrics": dict(model.metrics),
        "serving_since": model.since,
    }


def digest_of(rows: NDArray[np.float32]) -> str:
    """The beginning of the SHA-256 of feature rows, by which the log knows them."""
    return hashlib.sha256(rows.data).hexdigest()[:16]


def note(
    services: Services,
    request: Request,
    model: ServedModel,
    rows: NDArray[np.float32],
    value: float,
    seconds: float,
    station: str | None = None,
    day: date | None = None,
    digest: str | None = None,
) -> None:
    """Write an answer down in the log. An answer of many rows is one entry, whose `digest` is better made before."""
    services.log.put(
        (
            LoggedForecast(
                request_id=request_id(request.scope),
                at=datetime.now(UTC),
                subject=request.scope["state"]["subject"].name,
                route=request.scope["route"].path,
                target=model.target.name,
                station=station,
                day=day,
                model_version=model.version,
                model_digest=model.digest,
                features_sha256=digest or digest_of(rows),
                value=value,
                seconds=seconds,
                rows=len(rows),
            ),
        )
    )


def _asked_targets(names: list[str]) -> list[str]:
    if unknown := [name for name in names if name not in TARGETS]:
        raise invalid([Fault("target", f"no target {unknown[0][:64]}; there is {', '.join(TARGETS)}")])
    return list(dict.fromkeys(names))


def _asked_day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or len(text) != len("YYYY-MM-DD") or not DAY_MIN <= day <= DAY_MAX:
        raise invalid([Fault("date", "should be a day, YYYY-MM-DD")])
    return day


def _newest_day(recent: RecentObservations, index: int) -> int | None:
    """The newest stored day that the station reported."""
    days = range(recent.last_day, recent.first_day - 1, -1)
    return next((day for day in days if recent.reported(index, day)), None)
