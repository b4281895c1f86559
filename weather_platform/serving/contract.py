"""The HTTP contract: what may be asked, what is answered, generated from the column contract.

What belongs here: request and answer models, limits, problem details, and the reading of a JSON body. What does not:
routes (``routes``), tables in Arrow or Parquet (``tables``), features and forecasts (``domain``).

Fields of an observation have the names, units and ranges of `OBSERVATION_COLUMNS`; a field that is null was not
observed, and a field that is not sent may be taken from the stored observations. Bodies are read strictly: no text for
a number, no unknown field, no NaN.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from weather_platform.domain.features import HISTORY_DAYS
from weather_platform.domain.observations import OBSERVATION_COLUMNS, Column
from weather_platform.domain.targets import TARGETS, Task

API_VERSION = "1"
"""The version in the paths, `/v1`: raised when an answer loses or changes a field."""

MAX_BATCH_ROWS = 10_000
"""Station-days of one batch."""

MAX_OTHERS = 2_000
"""Other station-days of one request: more than 31 days of all 49 stations of the catalogue."""

MAX_REPORTED_ERRORS = 100
"""Faulty fields that a refusal names; the rest is counted."""

MAX_NAMED_ERRORS = 20_000
"""With more faulty fields than these a refusal only counts them: naming costs microseconds each, while others wait."""

_SPARE = MAX_REPORTED_ERRORS
"""So many fields or rows more than the contract has are still told one by one."""

MAX_STATION_CHARACTERS = 64

DAY_MIN = date.min + timedelta(days=2 * HISTORY_DAYS)
DAY_MAX = date.max - timedelta(days=2)
"""The calendar that Python and Arrow share, less the days that a forecast looks back and ahead."""

COMPASS_RANGE_DEG = (0.0, 360.0)
"""Inclusive range of a direction, where the wind comes FROM: 0 and 360 are north."""

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
JSON = "application/json"
PROBLEM = "application/problem+json"

Kind = Literal["live", "hindcast"]

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def limits_of(column: Column) -> tuple[float, float] | None:
    """The inclusive range of a column's values, None for a flag."""
    if column.kind == "flag":
        return None
    if column.kind == "compass":
        return COMPASS_RANGE_DEG
    if column.low is None or column.high is None:
        raise TypeError(f"the contract of {column.name} has no range")
    return column.low, column.high


def _field_type(column: Column) -> Any:
    unit = "" if column.unit == "-" else f", in {column.unit}"
    origin = ", the direction it comes from" if column.kind == "compass" else ""
    text = f"{column.description}{origin}{unit}. Null: not observed."
    limits = limits_of(column)
    if limits is None:
        return Annotated[bool | None, Field(description=text)]
    value = Annotated[float, Field(ge=limits[0], le=limits[1])]
    return Annotated[value | None, Field(description=text)]


_StationId = Annotated[
    str,
    Field(min_length=1, max_length=MAX_STATION_CHARACTERS, description="Catalogue id; `GET /v1/stations` lists them."),
]
_Day = Annotated[
    date,
    Field(ge=DAY_MIN, le=DAY_MAX, description="Issue day D, the station's local day; the forecast speaks of D+1."),
]
_OtherDay = Annotated[date, Field(ge=DAY_MIN, le=DAY_MAX, description="The station's local day.")]

if TYPE_CHECKING:
    TargetName = str
    ObservationFields = dict[str, float | bool | None]
    StationDay = dict[str, Any]
else:
    TargetName = Literal[tuple(TARGETS)]
    _FIELDS = {c.name: NotRequired[_field_type(c)] for c in OBSERVATION_COLUMNS}
    ObservationFields = with_config(_STRICT | {"title": "ObservationFields"})(TypedDict("ObservationFields", _FIELDS))
    StationDay = with_config(_STRICT | {"title": "StationDay"})(
        TypedDict("StationDay", {"station": _StationId, "day": _OtherDay, **_FIELDS})
    )

_USE_HISTORY = "Whether fields and station-days that are not sent are taken from the stored recent observations."


class PredictRequest(BaseModel):
    """One station-day to forecast from; other stations and earlier days sharpen it."""

    model_config = _STRICT

    target: TargetName = Field(description="What is forecast.")
    station: _StationId
    day: _Day
    observation: ObservationFields = Field(
        default_factory=dict, description="What the station reported for the day; a calm wind needs no direction."
    )
    others: list[StationDay] = Field(
        default_factory=list,
        max_length=MAX_OTHERS,
        description=(
            f"What other stations reported for the day and any station for the {HISTORY_DAYS} days before; "
            "each station-day once."
        ),
    )
    use_history: bool = Field(True, description=_USE_HISTORY)


class BatchRequest(BaseModel):
    """Many station-days to forecast from. All of them count as reported: each is history and neighbour of the rest."""

    model_config = _STRICT

    target: TargetName = Field(description="What is forecast.")
    observations: list[StationDay] = Field(
        min_length=1, max_length=MAX_BATCH_ROWS, description="Each station-day once; answered in this order."
    )
    use_history: bool = Field(True, description=_USE_HISTORY)


class TokenRequest(BaseModel):
    """Who asks, as a form or as JSON. Fields that OAuth clients add are passed over."""

    username: str = Field(min_length=1)
    password: str = Field(min_length=1)
    grant_type: Literal["password", ""] | None = None
    scope: str | None = Field(None, description="Scopes that the token shall have; default: all.")


class TokenAnswer(BaseModel):
    """A bearer token: send it as `Authorization: Bearer <access_token>`."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until it is refused.")
    scope: str = Field(description="Scopes, separated by blanks.")


class Forecast(BaseModel):
    """What one model says of the day after the issue day.

    A classification has `probability`, `threshold` and `label`; a regression has `value`, `low` and `high`. The others
    are null.
    """

    station: str
    day: date = Field(description="Issue day D.")
    forecast_day: date = Field(description="The day it speaks of, D+1.")
    kind: Kind = Field(
        description="hindcast: the issue day lies inside or before the days that the model was made and tested on."
    )
    probability: float | None = Field(description="Calibrated probability of a classification.")
    value: float | None = Field(description="Forecast value of a regression, in `unit`.")
    label: bool | None = Field(description="Whether the probability reaches the threshold.")
    low: float | None = Field(description="Lower end of the 90 % prediction interval.")
    high: float | None = Field(description="Upper end of the 90 % prediction interval.")


class ModelAnswer(BaseModel):
    """Which model answered, and how to read it."""

    target: TargetName
    unit: str
    threshold: float | None = Field(description="From which probability on the label is true.")
    model_version: int = Field(description="Registered version.")
    model_digest: str = Field(description="SHA-256 of the model's contract, which holds that of the model file.")
    feature_version: str


class Lineage(ModelAnswer):
    """Which model answered which request."""

    request_id: str = Field(description="The X-Request-ID of the request.")
    seconds: float = Field(description="From the first byte of the body to the forecast.")


class PredictAnswer(Lineage, Forecast):
    """The forecast of one station-day."""


class BatchAnswer(Lineage):
    """The forecasts of a batch, in the order of its observations, all by one model."""

    forecasts: list[Forecast]


class StationForecast(Forecast, ModelAnswer):
    """The forecast of one target."""


class StationAnswer(BaseModel):
    """The forecasts of one station from the stored observations."""

    request_id: str
    seconds: float
    forecasts: list[StationForecast] = Field(description="One per target that has a Production model.")


class Contribution(BaseModel):
    """What one feature adds to a forecast."""

    feature: str
    unit: str = Field(description="Unit of `value`.")
    value: float | None = Field(description="The feature of this station-day; null: missing.")
    contribution: float = Field(description="In `contribution_unit`.")


class ExplainAnswer(PredictAnswer):
    """The forecast, and what each feature adds to it: `base` and all contributions add up to `raw_value`."""

    contribution_unit: str = Field(description="log-odds for a classification, the target's unit for a regression.")
    base: float = Field(description="What the model says before it has seen a feature.")
    raw_value: float = Field(description="What the model says before calibration.")
    contributions: list[Contribution] = Field(description="Largest effect first.")


class StationEntry(BaseModel):
    """One station of the catalogue."""

    id: str
    state: str
    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    timezone: str


class StationsAnswer(BaseModel):
    """The catalogue, and the days whose observations are stored for `use_history`."""

    stations: list[StationEntry]
    first_day: date | None
    last_day: date | None


class ModelEntry(BaseModel):
    """One version under one alias."""

    target: TargetName
    alias: str
    version: int
    digest: str
    run_id: str
    algorithm: str
    task: Task
    unit: str
    threshold: float | None
    feature_version: str
    tested_through: date = Field(description="Last day that the model was made or tested on; up to it: hindcast.")
    metrics: dict[str, float] = Field(description="Of its test days.")
    serving_since: datetime


class RefusedEntry(BaseModel):
    """A version that an alias names and that is not served."""

    target: str
    alias: str
    version: int
    reason: str


class ModelsAnswer(BaseModel):
    """What this worker serves."""

    checked_at: datetime | None = Field(description="When the registry last answered; null: never.")
    registry_error: str | None = Field(description="Why the registry cannot be asked now.")
    lake_error: str | None = Field(description="Why newer observations cannot be read now.")
    models: list[ModelEntry]
    refused: list[RefusedEntry]


class ReadyModel(BaseModel):
    """One Production model."""

    version: int
    digest: str
    age_seconds: float = Field(description="Since this worker serves it.")


class ReadyAnswer(BaseModel):
    """Whether verified models are loaded, and how old this knowledge is."""

    ready: bool
    models: dict[str, ReadyModel] = Field(description="Production by target.")
    checked_seconds_ago: float | None = Field(description="Since the registry last answered; null: never.")
    registry_error: str | None = Field(description="Whether the registry is out of reach; `GET /v1/models` says why.")


class LiveAnswer(BaseModel):
    """The process answers."""

    live: Literal[True] = True


class FieldError(BaseModel):
    """One faulty field."""

    path: str = Field(description="Such as `observation.humidity_9am_pct` or `observations.12.day`; empty: the whole.")
    message: str


class ProblemDetails(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list)
    request_id: str | None = None


class MlflowTable(BaseModel):
    """A table of feature rows; exactly one of the four forms. Columns are `feature_names` of the model's contract."""

    dataframe_split: dict[str, Any] | None = Field(None, description="columns, data and optionally index.")
    dataframe_records: list[dict[str, float | None]] | None = None
    instances: list[Any] | None = Field(None, description="Rows as lists, or as objects by column.")
    inputs: Any = Field(None, description="Columns by name, or rows as lists.")


class MlflowPredictions(BaseModel):
    """One value per row: the calibrated probability, or the value in the target's unit."""

    predictions: list[float]


class MlflowError(BaseModel):
    """How MLflow says that a request cannot be answered."""

    error_code: str
    message: str


MODELS: tuple[type[BaseModel], ...] = (
    PredictRequest, BatchRequest, TokenRequest, TokenAnswer, PredictAnswer, BatchAnswer, StationAnswer, ExplainAnswer,
    StationsAnswer, ModelsAnswer, ReadyAnswer, LiveAnswer, ProblemDetails, MlflowTable, MlflowPredictions, MlflowError,
)  # fmt: skip
"""The models of the OpenAPI document."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One faulty field of a request."""

    path: str
    message: str


class RequestRefusedError(Exception):
    """A request cannot be answered: status, what is wrong in one line, and every faulty field."""

    def __init__(self, status: int, detail: str, faults: Iterable[Fault] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)


_T = TypeVar("_T")

PREDICT_REQUEST = TypeAdapter(PredictRequest)
BATCH_REQUEST = TypeAdapter(BatchRequest)


def read_json(adapter: "TypeAdapter[_T]", body: bytes) -> _T:
    """The request in a JSON body; RequestRefusedError with the path of every faulty field."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise refusal_of(error) from None


def read_predict(body: bytes) -> PredictRequest:
    """The request of a single forecast. In the event loop, so in milliseconds whatever it holds."""
    require_few(body, "others", MAX_OTHERS)
    return read_json(PREDICT_REQUEST, body)


def require_few(body: bytes, rows: str, most: int) -> None:
    """Refuse a JSON body with far more rows or fields than a right one can have, by its marks, before it is read.

    Reading a million fields that nobody knows, and saying so of each, would take seconds in which nobody is answered.
    """
    objects = body.count(b"{")
    if objects > most + 2 + _SPARE:
        raise invalid([Fault(rows, f"at most {most} rows are taken at once")])
    fields = _REQUEST_FIELDS + objects * _ROW_FIELDS + _SPARE
    if max(body.count(b":"), body.count(b",")) > fields or body.count(b"[") > _SPARE:
        raise invalid([Fault("", "there are more fields than the contract has")])


_REQUEST_FIELDS = len(PredictRequest.model_fields)
_ROW_FIELDS = 2 + len(OBSERVATION_COLUMNS)


def refusal_of(error: ValidationError) -> RequestRefusedError:
    """400 for a body that is not JSON, else 422 with the faulty fields."""
    if (count := error.error_count()) > MAX_NAMED_ERRORS:
        return RequestRefusedError(422, f"{count} fields are not as the contract says, too many to name them")
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return RequestRefusedError(400, f"the body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    return invalid(
        Fault(".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")) for problem in found
    )


def invalid(faults: Iterable[Fault]) -> RequestRefusedError:
    """422 that names the faulty fields, the first MAX_REPORTED_ERRORS of them."""
    listed = list(faults)
    count = f"{len(listed)} fields are" if len(listed) > 1 else "1 field is"
    shown = f", the first {MAX_REPORTED_ERRORS} are named" if len(listed) > MAX_REPORTED_ERRORS else ""
    return RequestRefusedError(422, f"{count} not as the contract says{shown}", listed[:MAX_REPORTED_ERRORS])
