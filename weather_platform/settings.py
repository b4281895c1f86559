"""The one reader of the environment: every knob of the platform, validated once, with its unit and its default.

What belongs here: names, types, bounds and defaults of settings. What does not: building anything from them
(``resources``). Every field is read from `WEATHER_<FIELD>`, then from `<home>/weather.env`, which holds what
the last `weather run` or `weather demo` used as its source, and whether it trained quickly, so that later commands and
the UI go on with the same.
"""

import json
import os
import re
from datetime import date, datetime, time, timedelta
from io import StringIO
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from weather_platform.domain.notices import NoticeKind, QuietHours, Severity
from weather_platform.errors import SettingsError
from weather_platform.folders import unusable
from weather_platform.regular_files import open_regular

SourceName = Literal["synthetic", "csv"]
DEFAULT_HOME = ".weather"
PROJECT_DIR = Path(__file__).resolve().parent.parent
"""The checkout: `dbt_project/`, `dagster.yaml` and `workspace.yaml` live beside the package."""
_SERVERS: Final = (
    "lake_uri",
    "reports_uri",
    "s3_access_key_id",
    "s3_secret_access_key",
    "mlflow_tracking_uri",
    "database_url",
)
"""What the stack profile must have, and the embedded one may not."""
_FIRST_YEAR: Final = 1700
"""Days are also told in nanoseconds of 64 bits, which begin in 1677."""
_HOME_MARK: Final = "<home>"
"""First part of a path inside the home, which stays right when the home is moved or copied."""
_UNUSABLE: Final = re.compile(r"[?#%\\\x00-\x1f\x7f]")


_CHANNEL_SCHEMES: Final = ("discord", "slack", "mmost", "mmosts", "ntfy", "ntfys", "mailto", "mailtos", "json", "jsons")
_CHANNEL_PAGES: Final = (
    "https://discord.com/api/webhooks/",
    "https://discordapp.com/api/webhooks/",
    "https://hooks.slack.com/services/",
)
"""What the address of a channel begins with. Others of apprise would read files, or show something on this machine."""


class NotifyChannel(BaseModel):
    """Where notices go: a name for people, an address with its token, and which notices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    url: SecretStr
    kinds: frozenset[NoticeKind] = frozenset(NoticeKind)
    at_least: Severity = Severity.INFO

    @field_validator("url")
    @classmethod
    def _of_a_known_kind(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text.startswith((*(f"{scheme}://" for scheme in _CHANNEL_SCHEMES), *_CHANNEL_PAGES)):
            raise ValueError(
                f"write the webhook address that Discord or Slack gave, or {', '.join(_CHANNEL_SCHEMES)} and ://; "
                "docs/how-to/notifications.md has one of each"
            )
        return value

    @field_serializer("kinds")
    def _in_order(self, kinds: frozenset[NoticeKind]) -> list[str]:
        return sorted(kinds)

    def takes(self, kind: NoticeKind, severity: Severity) -> bool:
        """Whether a notice goes to this channel."""
        return kind in self.kinds and severity.rank >= self.at_least.rank


class Settings(BaseSettings):
    """All settings. Paths are made absolute, so that every process of one home agrees on them."""

    model_config = SettingsConfigDict(env_prefix="WEATHER_", extra="forbid", frozen=True)

    profile: Literal["embedded", "stack"] = Field(
        "embedded",
        description="embedded: local folders and SQLite; stack: S3, PostgreSQL and an MLflow server.",
    )
    home: Path = Field(
        Path(DEFAULT_HOME), description="Folder with all state of the embedded profile. No ?, #, % or \\ in its path."
    )
    timezone: str = Field("Australia/Sydney", description="Time zone of partitions and of 'today'.")
    first_month: str = Field(
        "2007-11", pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="First month of all partitions, YYYY-MM."
    )
    seed: int = Field(
        20071101,
        ge=0,
        lt=2**31,
        description="Seed of training, bootstraps and sampling; recorded with each model.",
    )
    threads: int = Field(
        2,
        ge=1,
        le=256,
        description="Threads of training. Part of the recipe: another number may give another model.",
    )

    quick: bool = Field(
        False,
        description="Train with the quick parameters of each algorithm, as `weather demo` does: a trial in seconds. "
        "Kept for later commands of the home.",
    )

    retraining_row_growth: float = Field(
        0.15, gt=0, le=10, description="Growth of the labelled rows since the last training that asks for another."
    )
    retraining_age_months: int = Field(
        9, ge=6, le=12, description="Months after which the data of the Production model are too old."
    )
    retraining_look_months: str = Field(
        "1,4,7,10",
        pattern=r"^([1-9]|1[0-2])(,([1-9]|1[0-2]))*$",
        description="Calendar months in which rows and age are looked at, when the month before has ended.",
    )
    retraining_cooldown_months: int = Field(
        3, ge=1, le=24, description="Months between two trainings that monthly decisions start."
    )
    retraining_yearly_budget: int = Field(
        6,
        ge=0,
        le=24,
        description="Trainings in twelve months after which monthly decisions start none, failed ones too; 0: none.",
    )

    automation: bool = Field(
        False,
        description="Whether all sensors run where Dagster's daemon does; `weather ui --automation` turns it on.",
    )
    automation_interval_seconds: int = Field(
        10, ge=1, le=86_400, description="Seconds between two looks of the sensor `new_observations` at the source."
    )

    reports_due_hours: int = Field(
        18,
        ge=1,
        le=24 * 60,
        description="Hours after the end of a day when its reports should be there; later they are late, which "
        "`weather status` and a notice say.",
    )
    history_days: int = Field(
        180,
        ge=7,
        le=36_500,
        description="Days for which Dagster's runs and ended notices are kept; the run that made the newest version of "
        "anything stays.",
    )

    source: SourceName = Field("synthetic", description="Where raw observations come from.")
    csv_path: Path | None = Field(
        None, description="File or folder of the csv source; `<home>/name` is one inside the home, wherever that is."
    )
    synthetic_seed: int = Field(42, ge=0, lt=2**31, description="Seed of the weather generator.")
    synthetic_stations: int = Field(
        49, ge=1, le=20_000, description="Stations of the generator; beyond 49 they are placed at random."
    )
    synthetic_years: int = Field(8, ge=3, le=200, description="Calendar years generated, the present one included.")
    synthetic_last_day: date | None = Field(None, description="Last generated day; default: yesterday.")
    synthetic_shift_day: date | None = Field(None, description="Day from which the generated climate is shifted.")
    synthetic_shift_temp_c: float = Field(
        0.0, ge=-9, le=9, description="Temperature added from the shift day on, in degC (-9 to 9)."
    )
    synthetic_shift_rain_factor: float = Field(1.0, ge=0.1, le=10, description="Factor on rain from the shift day on.")

    lake_uri: str | None = Field(None, description="Folder or s3://bucket/prefix of the lake; default: <home>/lake.")
    reports_uri: str | None = Field(
        None, description="Folder or s3://bucket/prefix of the reports; default: <home>/reports."
    )
    s3_endpoint_url: str | None = Field(None, description="S3 endpoint of lake and reports, e.g. a MinIO address.")
    s3_region: str = Field("us-east-1", description="Region of the S3 endpoint.")
    s3_access_key_id: SecretStr | None = Field(None, description="Access key of the S3 endpoint.")
    s3_secret_access_key: SecretStr | None = Field(None, description="Secret key of the S3 endpoint.")
    mlflow_tracking_uri: SecretStr | None = Field(
        None, description="MLflow tracking and registry URI; default: SQLite in <home>."
    )
    database_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of the application database; default: SQLite in <home>."
    )

    serving_workers: int = Field(1, ge=1, le=64, description="Worker processes of the service.")
    serving_threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Threads of a worker that share the rows of a batch; default: the cores, shared among the workers.",
    )
    serving_connections: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Connections of a worker at once; a further one takes the place of one that waits for its client.",
    )
    serving_open_metrics: bool = Field(
        False, description="Whether the service gives its /metrics without a token; otherwise it needs the scope admin."
    )
    endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]",
        description="Address of the service that the endpoint asset, `weather predict` and `weather loadtest` ask.",
    )
    user: str | None = Field(None, min_length=1, description="User of the service that they sign in as.")
    password: SecretStr | None = Field(None, description="Password of that user.")

    prediction_log_capacity: int = Field(
        50_000,
        ge=1,
        le=10_000_000,
        description="Answers that may wait for the prediction log in one process; more are dropped and counted.",
    )
    prediction_log_batch: int = Field(
        1_000, ge=1, le=100_000, description="Answers that the prediction log writes in one transaction."
    )
    prediction_log_interval_seconds: float = Field(
        0.5, ge=0.01, le=60, description="Longest time that an answer waits before the prediction log writes it."
    )
    prediction_log_days: int = Field(
        90, ge=1, le=36_500, description="Days for which the prediction log keeps an answer; older ones are deleted."
    )
    serving_poll_seconds: float = Field(
        2.0, ge=0.1, le=300, description="Seconds between two looks of the service at the registry and the lake."
    )
    serving_keep_seconds: float = Field(
        600.0,
        ge=0,
        le=30 * 86_400,
        description="Seconds for which the service keeps the files of a version that no alias names any more.",
    )

    jwt_secret: SecretStr | None = Field(
        None, description="Secret that signs tokens (HS256), at least 32 bytes; or set WEATHER_JWT_KEY_FILE."
    )
    jwt_key_file: Path | None = Field(
        None, description="PEM file of the Ed25519 private key that signs tokens (EdDSA); only its owner may read it."
    )
    jwt_previous_secrets: SecretStr | None = Field(
        None, description="Secrets that signed before, separated by commas: their tokens stay valid."
    )
    jwt_previous_key_files: str | None = Field(
        None,
        description="PEM files of Ed25519 keys (public or private) that signed before, separated by commas: "
        "their tokens stay valid.",
    )
    jwt_issuer: str = Field("weather_platform", min_length=1, max_length=200, description="Issuer (iss) of tokens.")
    jwt_audience: str = Field(
        "weather_endpoint", min_length=1, max_length=200, description="Audience (aud) that tokens are for."
    )
    jwt_lifetime_seconds: int = Field(900, ge=30, le=900, description="Seconds from the issue of a token to its end.")
    rate_limit_per_second: float = Field(
        1000.0,
        gt=0,
        le=1_000_000,
        description="Requests a second that one user may send to one worker, averaged over two seconds.",
    )

    request_body_bytes: int = Field(
        4 * 2**20, ge=1024, le=2**30, description="Largest body of a request to the service, in bytes; more is a 413."
    )
    batch_body_bytes: int = Field(
        32 * 2**20, ge=1024, le=2**30, description="Largest body of a request that may send many rows, in bytes."
    )
    request_body_seconds: float = Field(
        30.0, ge=0.1, le=3600, description="Longest time that a body may take to arrive; more is a 408."
    )
    notify_channels: Annotated[tuple[NotifyChannel, ...], NoDecode] = Field(
        (),
        description="Where notices go: a JSON list of objects with name, url, and if wanted kinds and at_least (info, "
        "warning, urgent). The how-to on notifications has examples.",
    )
    notify_quiet_hours: str | None = Field(
        None,
        pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="Local hours in which only urgent notices are sent, as 22:00-07:00.",
    )
    notify_digest_at: time = Field(
        time(8), description="Local time of the message a day that holds the notices of severity info, as HH:MM."
    )
    notify_ui_url: str = Field(
        "http://127.0.0.1:3000",
        pattern=r"^https?://[^/@?#]+(/[^@?#]*)?$",
        description="Address of the Dagster UI in the links of notices.",
    )
    notify_runbooks_url: str = Field(
        "docs/runbooks", min_length=1, description="Folder or address of the runbook pages in the links of notices."
    )

    ui_hosts: str | None = Field(
        None,
        description="Further addresses of `weather ui`, as host or host:port, comma-separated: the name of a proxy, or "
        "the port of a tunnel. Requests under any other name are refused.",
    )
    log_format: Literal["json", "text"] = Field(
        "json", description="Log of the service: JSON lines with request and trace ids, or text for people."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")

    @field_validator("csv_path", "s3_endpoint_url", "notify_quiet_hours", *_SERVERS, mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        """`WEATHER_LAKE_URI=` names no lake. Taken as a value it would be the working directory, or a default."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return None if isinstance(text, str) and not text.strip() else value

    @field_validator("notify_channels", mode="before")
    @classmethod
    def _channels_of_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else ()
        except ValueError as error:  # says where, and nothing of the text
            place = f", character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
            raise ValueError(
                f'this is no JSON{place}; write [{{"name": "team", "url": "..."}}] in single quotes'
            ) from None

    @field_validator("notify_channels")
    @classmethod
    def _channels_of_different_names(cls, value: tuple[NotifyChannel, ...]) -> tuple[NotifyChannel, ...]:
        names = [channel.name for channel in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two channels have the name {', '.join(twice)}; each needs its own")
        return value

    @field_validator("notify_digest_at")
    @classmethod
    def _local_time(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("this is a local time; write it without a time zone, as 08:00")
        return value

    @field_validator("notify_ui_url", "notify_runbooks_url")
    @classmethod
    def _no_slash_at_the_end(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("first_month")
    @classmethod
    def _datable_month(cls, value: str) -> str:
        if int(value[:4]) < _FIRST_YEAR:
            raise ValueError(f"'{value}' is too early; the first month is {_FIRST_YEAR}-01 or later")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        # Not `available_timezones`, which reads every file of them: half of what loading the settings takes.
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"'{value}' is not a time zone; use a name such as Australia/Sydney") from error
        return value

    @field_validator("csv_path")
    @classmethod
    def _inside_the_home(cls, value: Path | None, known: ValidationInfo) -> Path | None:
        if value is None or value.parts[:1] != (_HOME_MARK,) or "home" not in known.data:
            return value
        return Path(known.data["home"], *value.parts[1:])

    @field_validator("home", "csv_path", "jwt_key_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return _absolute(value) if value is not None else None

    @field_validator("home")
    @classmethod
    def _usable_home(cls, value: Path) -> Path:
        _require_usable(str(value))
        return value

    @field_validator("lake_uri", "reports_uri")
    @classmethod
    def _folder_or_bucket(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", value):
            # The address is not shown: it may hold keys.
            if scheme[1] != "s3":
                raise ValueError(f"{scheme[1]}:// is not understood; write a folder or s3://bucket/prefix")
            if not re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]*(/.*)?", value) or _UNUSABLE.search(value):
                raise ValueError("s3:// takes a bucket and a prefix alone, without ?, # and %: s3://bucket/prefix")
            return value
        folder = str(_absolute(Path(value)))
        _require_usable(folder)
        return folder

    @field_validator("ui_hosts")
    @classmethod
    def _hosts(cls, value: str | None) -> str | None:
        for host in (value or "").split(","):
            if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?|", host.strip()):
                raise ValueError(f"'{host.strip()}' is not a host or host:port; write for example weather.example.org")
        return value

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _credentials_that_can_be_told_apart(cls, value: SecretStr | None) -> SecretStr | None:
        """Else a message that leaves user and password out would show a part of them."""
        if value is not None and not (text := value.get_secret_value()).startswith("sqlite:"):
            encode = "write / ? # @ [ ] of a user name or password as %2F %3F %23 %40 %5B %5D"
            try:
                parts = urlsplit(text)
            except ValueError:
                raise ValueError(f"this is no URL; {encode}") from None
            if "@" in parts.path + parts.query + parts.fragment:
                raise ValueError(f"there is an @ after the name of the server; {encode}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "csv" and self.csv_path is None:
            raise ValueError("the csv source needs WEATHER_CSV_PATH (or --path), a file or a folder")
        servers = {f"WEATHER_{name.upper()}": getattr(self, name) for name in _SERVERS}
        # No silent fallback between the profiles: half a stack is an error, and so is a stray server setting.
        if self.profile == "stack" and (absent := [name for name, value in servers.items() if value is None]):
            raise ValueError(f"the stack profile needs {', '.join(absent)}")
        if self.profile == "embedded" and (stray := [name for name, value in servers.items() if value is not None]):
            raise ValueError(f"{', '.join(stray)} belong to WEATHER_PROFILE=stack, and the profile is embedded")
        return self

    @property
    def quiet_hours(self) -> QuietHours | None:
        """The quiet hours as local times."""
        if self.notify_quiet_hours is None:
            return None
        start, end = self.notify_quiet_hours.split("-")
        return QuietHours(time.fromisoformat(start), time.fromisoformat(end))

    def now(self) -> datetime:
        """The wall clock in the platform's time zone. For commands and run starts; never called by an asset."""
        return datetime.now(ZoneInfo(self.timezone))


def synthetic_days(settings: Settings, fetched_at: datetime) -> tuple[date, date]:
    """First and last day of the synthetic source for a fetch at this moment (both inclusive)."""
    last = settings.synthetic_last_day or fetched_at.date() - timedelta(days=1)
    start_of_partitions = date.fromisoformat(f"{settings.first_month}-01")
    return max(date(last.year - settings.synthetic_years + 1, 1, 1), start_of_partitions), last


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment and the home's `weather.env`; `overrides` (of the CLI) win.

    Raises SettingsError, one line that names every field at fault.
    """
    unknown = sorted(name for name in _given() if name[len("WEATHER_") :].lower() not in Settings.model_fields)
    if unknown:
        raise SettingsError(f"{', '.join(unknown)}: no such setting; see docs/reference/settings.md for the names")
    home = home_folder(overrides.get("home"))
    remembered = home / "weather.env"
    try:
        if remembered.exists():
            open_regular(remembered).close()  # pydantic would wait for the writer of a pipe
        return Settings(_env_file=remembered, **(overrides | {"home": home}))  # type: ignore[arg-type]
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{remembered} is no text in UTF-8 (byte {error.start}); mend it, or delete it and tell `weather run` its "
            "--source again"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{remembered} cannot be read: {error.strerror}; set WEATHER_HOME to another folder"
        ) from None
    except ValidationError as error:
        raise SettingsError("; ".join(_one_line(problem) for problem in error.errors(include_input=False))) from None


def home_folder(chosen: object = None) -> Path:
    """The absolute path of the home: the chosen one, else WEATHER_HOME, else `.weather` in the working directory."""
    homes = (value for name, value in sorted(_given().items()) if name.upper() == "WEATHER_HOME")
    try:
        return _absolute(Path(str(chosen or next(homes, "") or DEFAULT_HOME)))
    except ValueError as error:
        raise SettingsError(f"WEATHER_HOME: {error}") from None


def _given() -> dict[str, str]:
    """The variables of the platform, in upper and lower case, as pydantic reads them."""
    return {name: value for name, value in os.environ.items() if name.upper().startswith("WEATHER_")}


def otlp_endpoint() -> str | None:
    """Where OpenTelemetry is told to send to; None: nowhere. Its variables are its own, and it reads the others."""
    return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


def remember_source(settings: Settings) -> None:
    """Write source and `quick` to the home, so that every later process of it reads and trains the same way.

    Other settings that a person wrote there stay as they are.
    """
    kept = {name for name in Settings.model_fields if name.startswith(("source", "csv", "synthetic"))}
    remembered = settings.home / "weather.env"
    chosen = settings.model_dump(include=kept | ({"quick"} if settings.quick else set()))
    if settings.csv_path is not None and settings.csv_path.is_relative_to(settings.home):
        chosen["csv_path"] = Path(_HOME_MARK, settings.csv_path.relative_to(settings.home))
    lines = [f"WEATHER_{name.upper()}={_quoted(str(value))}\n" for name, value in chosen.items() if value is not None]
    scratch = settings.home / f"weather.env.{os.getpid()}"
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        by_hand = _lines_but(remembered, {f"WEATHER_{name.upper()}" for name in (*kept, "quick")})
        scratch.write_text(by_hand + "".join(lines), encoding="utf-8")
        scratch.replace(remembered)
    except OSError as error:
        raise unusable(settings.home, error) from None


def _lines_but(remembered: Path, names: set[str]) -> str:
    """What an env file holds but for these variables, with comments and blank lines."""
    if not remembered.exists():
        return ""
    from dotenv.parser import parse_stream

    with open_regular(remembered) as file:
        text = file.read().decode("utf-8")
    lines = [
        binding.original.string for binding in parse_stream(StringIO(text)) if (binding.key or "").upper() not in names
    ]
    kept = "".join(lines)
    return kept if not kept or kept.endswith("\n") else f"{kept}\n"


def _absolute(path: Path) -> Path:
    """The path from the root on; ValueError when nobody knows where it begins."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"'{path}' begins with the home of a user that does not exist; write the whole path") from None


def _quoted(value: str) -> str:
    """As an env file takes it whole: a path may hold blanks, quotes, `#` and `${`.

    Reading replaces `${NAME}` inside quotes too, and knows no escape: `${:-$}` is the default of a variable without a
    name, which is `$`.
    """
    value = value.replace("${", "${:-$}{")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _require_usable(path: str) -> None:
    """ValueError for a path that Delta tables, MLflow or SQLite would take for another one: to them it is a URL."""
    if found := _UNUSABLE.search(path):
        raise ValueError(
            f"the path {path!r} has the character {found[0]!r} in it, which stores take for a part of a URL; "
            "rename the folder or choose another, without ?, #, % and \\"
        )


def _one_line(problem: Annotated[object, "pydantic ErrorDetails"]) -> str:
    first, *inside = problem["loc"] or [""]  # type: ignore[index]
    message = str(problem["msg"]).removeprefix("Value error, ")  # type: ignore[index]
    if not first:
        return message
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inside)
    return f"WEATHER_{first.upper()}{path}: {message}"
