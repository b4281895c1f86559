"""Rows of the tables as plain values. No SQL here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

from weather_platform.domain.drift import DriftVerdict
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.retraining import Action, Outcome
from weather_platform.errors import InvariantError

if TYPE_CHECKING:  # it brings SciPy, for a word
    from weather_platform.domain.departures import DepartureVerdict

JSON_TYPES = "text, whole numbers, finite numbers, true/false, null, lists and objects with text keys"


@dataclass(frozen=True, kw_only=True)
class PromotionRecord:
    """What was decided about one challenger, against which champion, and why."""

    target: str
    year: int
    decision: Verdict
    reasons: tuple[str, ...]
    challenger_version: int | None
    challenger_run_id: str
    challenger_digest: str
    champion_version: int | None
    champion_digest: str | None
    evidence: Mapping[str, object]
    dagster_run_id: str
    decided_at: datetime
    id: int | None = None  # given by the database

    def __post_init__(self) -> None:
        _must_be_aware(self.decided_at, "decided_at")
        require_json(self.evidence, "evidence")


@dataclass(frozen=True, slots=True)
class LoggedForecast:
    """One answer of the endpoint: who asked, what the model saw (as a hash) and what it said.

    An answer of many forecasts (`rows`) has no station and no day, and the mean of its forecasts as its value.
    """

    request_id: str
    at: datetime
    subject: str
    route: str
    target: str
    station: str | None
    day: date | None
    model_version: int
    model_digest: str
    features_sha256: str
    value: float
    seconds: float
    rows: int = 1

    def __post_init__(self) -> None:
        _must_be_aware(self.at, "at")


@dataclass(frozen=True, slots=True)
class LogWriter:
    """The account of one process that writes the prediction log; `lost` is None until it has ended."""

    writer: str
    process_id: int
    started_at: datetime
    written: int = 0
    dropped: int = 0
    lost: int | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AliasChange:
    """One move of one alias: from which version to which (None: it was taken away), and why.

    ``decision_id`` is the newest decision that the move settles: the one it carries out, or for a rollback the
    newest of the target, which it overrules.
    """

    target: str
    alias: str
    from_version: int | None
    to_version: int | None
    digest: str | None
    decision_id: int | None
    reason: str
    dagster_run_id: str
    changed_at: datetime
    id: int | None = None  # given by the database

    def __post_init__(self) -> None:
        _must_be_aware(self.changed_at, "changed_at")
        if (self.to_version is None) != (self.digest is None):
            raise InvariantError(f"a move of {self.alias} has a version or a digest, not both; nothing was recorded")


@dataclass(frozen=True, kw_only=True)
class RetrainingRequest:
    """What a person said of retraining a target: train now (`retrain`), or not until a day (`veto`), and why."""

    target: str
    kind: Literal["retrain", "veto"]
    why: str
    who: str
    until: date | None
    at: datetime
    id: int | None = None  # given by the database

    def __post_init__(self) -> None:
        _must_be_aware(self.at, "at")


@dataclass(frozen=True, kw_only=True)
class RetrainingRecord:
    """Whether a target was to be trained again after a month, why, and everything that was looked at (`inputs`).

    ``request_id`` is the request that asked for it; None where the month was decided by itself.
    """

    target: str
    month: str
    decision: Action
    reasons: tuple[str, ...]
    notices: tuple[str, ...]
    inputs: Mapping[str, object]
    dagster_run_id: str
    decided_at: datetime
    request_id: int | None = None
    id: int | None = None  # given by the database

    def __post_init__(self) -> None:
        _must_be_aware(self.decided_at, "decided_at")
        require_json(self.inputs, "inputs")


@dataclass(frozen=True, kw_only=True)
class RetrainingOutcome:
    """What came of a decision to train, in which run."""

    decision_id: int
    outcome: Outcome
    version: int | None
    reason: str
    dagster_run_id: str
    at: datetime
    id: int | None = None  # given by the database

    def __post_init__(self) -> None:
        _must_be_aware(self.at, "at")


@dataclass(frozen=True, kw_only=True)
class DriftRecord:
    """What a month said of drift, by which models, and where its report is (paths in the report store)."""

    verdict: DriftVerdict
    models: Mapping[str, Mapping[str, object]]
    features_lake_version: int
    page_path: str
    values_path: str
    dagster_run_id: str
    reported_at: datetime
    departures: "DepartureVerdict | None" = None  # of reports of earlier versions, which did not look

    def __post_init__(self) -> None:
        _must_be_aware(self.reported_at, "reported_at")
        require_json(self.verdict.to_dict(), "verdict")


@dataclass(frozen=True, kw_only=True)
class User:
    """One user of the endpoint. Its tokens are those of its generation; disabling and a new password begin another."""

    name: str
    password_hash: str = field(repr=False)
    scopes: tuple[str, ...]
    created_at: datetime
    disabled: bool = False
    generation: int = 1

    def __post_init__(self) -> None:
        _must_be_aware(self.created_at, "created_at")
        # Refused here: PostgreSQL would tell the whole row that breaks a constraint, and log it.
        if not self.password_hash.startswith("$argon2id$"):
            raise InvariantError(f"what is kept of the password of {self.name} is no argon2id hash; hash it first")


@dataclass(frozen=True, kw_only=True)
class FailedLogins:
    """How often in a row a login to one account failed, and until when it is refused unseen."""

    failures: int
    last_failed_at: datetime
    locked_until: datetime | None

    def __post_init__(self) -> None:
        _must_be_aware(self.last_failed_at, "last_failed_at")
        if self.locked_until is not None:
            _must_be_aware(self.locked_until, "locked_until")


def require_json(value: object, where: str) -> None:
    """Raise InvariantError naming the first part that JSON cannot hold, such as a metric that is NaN."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                raise InvariantError(f"{where} has the key {key!r}, and keys are text; rename it")
            require_json(part, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for position, part in enumerate(value):
            require_json(part, f"{where}[{position}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvariantError(f"{where} is {value}, which is no measurement; nothing was recorded, look at the metric")
    elif value is not None and not isinstance(value, str | int | float):
        raise InvariantError(f"{where} is a {type(value).__name__}; a record holds {JSON_TYPES}")


def _must_be_aware(moment: datetime, where: str) -> None:
    if moment.tzinfo is None:
        raise InvariantError(f"{where} has no time zone; give an aware datetime")
