"""A typed client of the service: `with WeatherClient(url, user, password) as client: client.predict(...)`.

What belongs here: the calls, their arguments and answers as plain types, tokens and their renewal, errors. What does
not: anything of the server; a test holds these types against the service's OpenAPI document, field by field.

A client may be shared by threads. It asks for a token when it needs the first one, and for another before one expires.
"""

import json
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from weather_platform.errors import WeatherError

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `weather serve` listens unless it is told otherwise."""

ARROW = "application/vnd.apache.arrow.stream"

PRODUCTION = "Production"
"""The alias of the models that the forecasting routes answer with."""

_JSON = "application/json"
_RENEW_BEFORE_SECONDS = 30.0
"""So long before its end a token is renewed, or at half its life if that is later."""


class Observation(TypedDict, total=False):
    """What a station reported for a day. None: not observed; left out: the stored value, if `use_history`."""

    min_temp_c: float | None
    max_temp_c: float | None
    rainfall_mm: float | None
    evaporation_mm: float | None
    sunshine_hours: float | None
    wind_gust_direction_deg: float | None
    wind_gust_speed_kmh: float | None
    wind_direction_9am_deg: float | None
    wind_direction_3pm_deg: float | None
    wind_speed_9am_kmh: float | None
    wind_speed_3pm_kmh: float | None
    humidity_9am_pct: float | None
    humidity_3pm_pct: float | None
    pressure_9am_hpa: float | None
    pressure_3pm_hpa: float | None
    cloud_9am_oktas: float | None
    cloud_3pm_oktas: float | None
    temp_9am_c: float | None
    temp_3pm_c: float | None
    rain_today: bool | None


class _Where(TypedDict):
    station: str
    day: date


class StationDay(_Where, Observation):
    """An observation with its station and its local day."""


class PredictRequest(TypedDict):
    """The body of `/v1/predict` and `/v1/explain`."""

    target: str
    station: str
    day: date
    observation: NotRequired[Observation]
    others: NotRequired[list[StationDay]]
    use_history: NotRequired[bool]


class BatchRequest(TypedDict):
    """The body of `/v1/predict/batch`."""

    target: str
    observations: list[StationDay]
    use_history: NotRequired[bool]


@dataclass(frozen=True, kw_only=True)
class TokenAnswer:
    """A bearer token."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one model says of the day after the issue day: a probability with a label, or a value with its interval."""

    station: str
    day: date
    forecast_day: date
    kind: Literal["live", "hindcast"]
    probability: float | None
    value: float | None
    label: bool | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """Which model answered."""

    target: str
    unit: str
    threshold: float | None
    model_version: int
    model_digest: str
    feature_version: str


@dataclass(frozen=True, kw_only=True)
class PredictAnswer(ModelAnswer, Forecast):
    """The forecast of one station-day."""

    request_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BatchAnswer(ModelAnswer):
    """The forecasts of a batch, in the order of its observations, all by one model."""

    request_id: str
    seconds: float
    forecasts: tuple[Forecast, ...]


@dataclass(frozen=True, kw_only=True)
class StationForecast(ModelAnswer, Forecast):
    """The forecast of one target from the stored observations."""


@dataclass(frozen=True, kw_only=True)
class StationAnswer:
    """The forecasts of one station from the stored observations, one per target."""

    request_id: str
    seconds: float
    forecasts: tuple[StationForecast, ...]


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one feature adds to a forecast."""

    feature: str
    unit: str
    value: float | None
    contribution: float


@dataclass(frozen=True, kw_only=True)
class ExplainAnswer(PredictAnswer):
    """A forecast and what each feature adds to it: `base` and all contributions add up to `raw_value`."""

    contribution_unit: str
    base: float
    raw_value: float
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True, kw_only=True)
class StationEntry:
    """One station of the catalogue."""

    id: str
    state: str
    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    timezone: str


@dataclass(frozen=True, kw_only=True)
class StationsAnswer:
    """The catalogue, and the days whose observations the service has."""

    stations: tuple[StationEntry, ...]
    first_day: date | None
    last_day: date | None


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One version under one alias."""

    target: str
    alias: str
    version: int
    digest: str
    run_id: str
    algorithm: str
    task: Literal["classification", "regression"]
    unit: str
    threshold: float | None
    feature_version: str
    tested_through: date
    metrics: dict[str, float]
    serving_since: datetime


@dataclass(frozen=True, kw_only=True)
class RefusedEntry:
    """A version that an alias names and that is not served."""

    target: str
    alias: str
    version: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class ModelsAnswer:
    """What the service serves."""

    checked_at: datetime | None
    registry_error: str | None
    lake_error: str | None
    models: tuple[ModelEntry, ...]
    refused: tuple[RefusedEntry, ...]


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One faulty field of a request."""

    path: str
    message: str


class ServiceError(WeatherError):
    """The service refused, failed, or cannot be reached or asked.

    `status` is the HTTP status, None when there was no answer; `detail` says what is wrong; `errors` names every faulty
    field; `retry_after_seconds` is when to ask again, if the service said so.
    """

    def __init__(
        self,
        status: int | None,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        named = "".join(f"; {each.path}: {each.message}" for each in errors)
        super().__init__(f"{detail}{named}" if status is None else f"the service answered {status}: {detail}{named}")
        self.status = status
        self.detail = detail
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds


_Answer = TypeVar("_Answer")


class WeatherClient:
    """Asks one service as one user. Every call raises ServiceError when there is no answer to give.

    So does making one with a `url` that is none.
    """

    def __init__(self, url: str, username: str, password: str, *, timeout_seconds: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._credentials = {"username": username, "password": password}
        try:
            self._http = httpx.Client(base_url=self.url, timeout=timeout_seconds)
            self._http.base_url.host.encode("idna")
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ServiceError(
                None, f"{self.url!r} is no address of a service ({error}); write it like {DEFAULT_URL}"
            ) from None
        self._lock = threading.Lock()
        self._token, self._renew_at = "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        target: str,
        station: str,
        day: date,
        observation: Observation | None = None,
        *,
        others: Iterable[StationDay] = (),
        use_history: bool = True,
    ) -> PredictAnswer:
        """The forecast from one station-day; `day` is the issue day D, the forecast is of D+1."""
        body = _predict_body(target, station, day, observation, others, use_history)
        return self._asked(PredictAnswer, "POST", "/v1/predict", body)

    def explain(
        self,
        target: str,
        station: str,
        day: date,
        observation: Observation | None = None,
        *,
        others: Iterable[StationDay] = (),
        use_history: bool = True,
    ) -> ExplainAnswer:
        """The same forecast, and what each feature adds to it, the largest effect first."""
        body = _predict_body(target, station, day, observation, others, use_history)
        return self._asked(ExplainAnswer, "POST", "/v1/explain", body)

    def predict_batch(
        self, target: str, observations: Sequence[StationDay], *, use_history: bool = True
    ) -> BatchAnswer:
        """The forecasts of many station-days, in their order. All count as reported."""
        body = BatchRequest(target=target, observations=[*observations], use_history=use_history)
        return self._asked(BatchAnswer, "POST", "/v1/predict/batch", body)

    def predict_table(self, target: str, observations: "pa.Table", *, use_history: bool = True) -> "pa.Table":
        """The same of an Arrow table with the columns `station`, `day` and those of an observation, by Arrow IPC."""
        import pyarrow as pa
        import pyarrow.ipc

        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, observations.schema) as stream:
            stream.write_table(observations.combine_chunks())  # the service takes a limited number of batches
        answer = self._request(
            "POST",
            "/v1/predict/batch",
            content=sink.getvalue().to_pybytes(),
            headers={"Content-Type": ARROW, "Accept": ARROW},
            params={"target": target, "use_history": str(use_history).lower()},
        )
        try:
            return pyarrow.ipc.open_stream(answer.content).read_all()
        except pa.ArrowInvalid as error:
            raise ServiceError(answer.status_code, f"the answer is no Arrow stream ({error})") from error

    def forecast(self, station: str, day: date | None = None, target: str | None = None) -> StationAnswer:
        """The forecasts of a station from the stored observations; default: its newest day, every target."""
        params = {"date": day.isoformat() if day else None, "target": target}
        try:
            path = f"/v1/forecast/{quote(station, safe='')}"
        except UnicodeEncodeError:
            raise ServiceError(None, f"{station!r} is no name of a station: it is no text in UTF-8") from None
        return self._asked(StationAnswer, "GET", path, params={k: v for k, v in params.items() if v is not None})

    def stations(self) -> StationsAnswer:
        """The station catalogue."""
        return self._asked(StationsAnswer, "GET", "/v1/stations")

    def models(self) -> ModelsAnswer:
        """Targets, aliases and versions that are served."""
        return self._asked(ModelsAnswer, "GET", "/v1/models")

    def token(self) -> str:
        """A bearer token with some life left."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                asked_at = time.monotonic()
                answer = self._read(TokenAnswer, self._sent("POST", "/v1/token", json=self._credentials))
                life = max(answer.expires_in - _RENEW_BEFORE_SECONDS, answer.expires_in / 2)
                self._token, self._renew_at = answer.access_token, asked_at + life
            return self._token

    def _asked(
        self,
        kind: type[_Answer],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> _Answer:
        content = None if body is None else _encoded(body)
        headers = {} if body is None else {"Content-Type": _JSON}
        return self._read(kind, self._request(method, path, content=content, headers=headers, params=params or {}))

    def _request(self, method: str, path: str, *, headers: Mapping[str, str], **sent: Any) -> httpx.Response:
        token = self.token()
        try:
            return self._sent(method, path, headers={**headers, "Authorization": f"Bearer {token}"}, **sent)
        except ServiceError as error:
            if error.status != 401:
                raise
        # Refused before its time: the service has another key or another clock. Once more, with a new token.
        with self._lock:
            if self._token == token:
                self._renew_at = 0.0
        return self._sent(method, path, headers={**headers, "Authorization": f"Bearer {self.token()}"}, **sent)

    def _sent(self, method: str, path: str, **sent: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **sent)
        except UnicodeEncodeError:
            raise ServiceError(None, "user or password is no text in UTF-8; see how they were given") from None
        except httpx.HTTPError as error:
            said = (
                f"no answer from {self.url} ({str(error) or type(error).__name__}); is `weather serve` running there?"
            )
            raise ServiceError(None, said) from error
        if answer.is_success:
            return answer
        raise _problem(answer)

    def _read(self, kind: type[_Answer], answer: httpx.Response) -> _Answer:
        try:
            read: _Answer = _ADAPTERS[kind].validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ServiceError(
                answer.status_code,
                f"the answer of {answer.url.path} is not what this client knows ({where}: {first['msg']}); "
                "client and service are of different versions",
            ) from error
        return read


_ADAPTERS: Mapping[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind)
    for kind in (TokenAnswer, PredictAnswer, BatchAnswer, StationAnswer, ExplainAnswer, StationsAnswer, ModelsAnswer)
}


def _predict_body(
    target: str,
    station: str,
    day: date,
    observation: Observation | None,
    others: Iterable[StationDay],
    use_history: bool,
) -> PredictRequest:
    return PredictRequest(
        target=target,
        station=station,
        day=day,
        observation=observation or {},
        others=[*others],
        use_history=use_history,
    )


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(_plain(body), allow_nan=False).encode()
    except ValueError:
        if not (faults := tuple(_infinite(body))):
            raise
        raise ServiceError(None, "the request cannot be sent", faults) from None


def _infinite(value: Any, *path: str) -> Iterator[FieldError]:
    """Every number in there that JSON does not have."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _infinite(each, *path, name)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _infinite(each, *path, str(place))
    elif isinstance(value, float) and math.isinf(value):
        yield FieldError(path=".".join(path), message=f"{value} is no number of an observation")


def _plain(value: Any) -> Any:
    """As JSON has it: days as text, and NaN, which tables hold where nothing was observed, as null."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and value != value else value


def _problem(answer: httpx.Response) -> ServiceError:
    """The refusal in an answer: problem details, or at least its status."""
    try:
        said = answer.json()
        detail, errors = str(said["detail"]), tuple(FieldError(**each) for each in said.get("errors") or ())
    except (ValueError, KeyError, TypeError):
        detail, errors = answer.reason_phrase or "no reason given", ()
    try:
        retry_after = float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    return ServiceError(answer.status_code, detail, errors, retry_after)
