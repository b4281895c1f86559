"""What people are told about: kinds of notices, how urgent each is, what it says, and when it may be sent. Pure.

What belongs here: a notice made from what happened, and the rules of quiet hours, the digest and repeated tries. What
does not: where notices are stored (``database.outbox``) and how they are sent (``notifications``).

A notice has one cause and stays open until the cause is gone, however often it is seen meanwhile. `items` are what the
cause affects now (the partitions of failed runs); the notice is over when none is left. Something that only happened,
such as a promotion, is over at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from weather_platform.domain.alias_moves import CANARY, FOUND_SO, ROLLBACK
from weather_platform.domain.retraining import Action
from weather_platform.errors import InvariantError

if TYPE_CHECKING:  # it brings NumPy, and the settings import this module
    from weather_platform.domain.departures import DepartureVerdict
    from weather_platform.domain.drift import DriftVerdict
    from weather_platform.domain.freshness import Late


class NoticeKind(StrEnum):
    """What a notice is about. docs/runbooks has a page for each."""

    RUN_FAILED = "run_failed"
    AUTOMATION_FAILED = "automation_failed"
    DATA_LATE = "data_late"
    QUARANTINE_HIGH = "quarantine_high"
    DRIFT = "drift"
    STATION_DEPARTED = "station_departed"
    RETRAINING_DECIDED = "retraining_decided"
    RETRAINING_UNKNOWN = "retraining_unknown"
    NOT_PROMOTED = "not_promoted"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    CANARY_FAILED = "canary_failed"
    ALIAS_MOVED = "alias_moved"

    @property
    def runbook(self) -> str:
        """Its page in the folder of runbooks."""
        return f"{self.replace('_', '-')}.md"


class Severity(StrEnum):
    """How soon people should know. In ascending order."""

    INFO = "info"  # in the digest of the day
    WARNING = "warning"  # at once, but not in quiet hours
    URGENT = "urgent"  # at once

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Severity).index(self)


UNPARTITIONED: Final = "without partitions"
"""What a run without partitions affects."""
MOST_TRIES: Final = 12
"""Tries to send one message; together they take about 20 hours."""
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(hours=6)
_MOST_CHARACTERS: Final = 600
_NAMED: Final = 5
AUTOMATION_CAUSE: Final = "automation failed: "
"""How the cause begins that a part of the automation fails; its name follows."""
LATE_CAUSE: Final = "data late: "
QUARANTINE_CAUSE: Final = "quarantined share"
RETRAINING_UNKNOWN_CAUSE: Final = "retraining not known: "
"""How the cause begins that a decision to retrain lacked facts; the target follows."""
ALIAS_GONE_CAUSE: Final = "alias gone: "
"""How the cause begins that Production of a target vanished; the target follows."""
DEPARTURE_CAUSE: Final = "station departs: "
"""How the cause begins that a station departs from its neighbours; its id follows."""
DRIFT_CAUSE: Final = "drift in "
"""How the cause of every notice about drift begins."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One thing that people should know. `happened` is True when there is nothing to wait for: it is over at once."""

    kind: NoticeKind
    severity: Severity
    cause: str
    title: str
    text: str
    remedy: str
    opened_at: datetime
    dagster_run_id: str | None = None
    items: tuple[str, ...] = ()
    happened: bool = False

    def __post_init__(self) -> None:
        if self.opened_at.tzinfo is None:
            raise InvariantError("opened_at of a notice has no time zone; give an aware datetime")


def run_failed(
    *, step: str | None, job: str, error: str, said: str | None, items: Iterable[str], run_id: str, at: datetime
) -> Notice:
    """A run that will not be retried. `error` is the kind of the error, `said` its text where it may be shown."""
    affected = tuple(items)
    what = step or f"the job {job}"
    of_what = "" if affected == (UNPARTITIONED,) else f", for {named(affected)}"
    return Notice(
        kind=NoticeKind.RUN_FAILED,
        severity=Severity.WARNING,
        cause=failure_cause(step, job, error),
        title=f"{what} failed",
        text=shortened(f"{error} in {what}, job {job}{of_what}{f': {said}' if said else ''}"),
        remedy="open the run, correct the cause that it names, and run the same again",
        dagster_run_id=run_id,
        items=affected,
        opened_at=at,
    )


def failure_cause(step: str | None, job: str, error: str) -> str:
    """One cause for one step and kind of error, whichever job and partition it happened in."""
    return f"{failures_of(step, job)}{error}"


def failures_of(step: str | None, job: str) -> str:
    """How the causes of all failures of a step begin; without a step, of runs of a job that ended in none."""
    return f"run failed: {step}: " if step is not None else f"run failed in no step: {job}: "


def automation_failed(*, what: str, said: str, at: datetime) -> Notice:
    """A sensor, a schedule or the daemon does not do its work."""
    return Notice(
        kind=NoticeKind.AUTOMATION_FAILED,
        severity=Severity.WARNING,
        cause=f"{AUTOMATION_CAUSE}{what}",
        title=f"{what} does not work",
        text=shortened(f"{what}: {said}; what it should ask for is not asked for"),
        remedy="look at its ticks under Automation in the Dagster UI; start `weather ui --automation` if its daemon "
        "does not run",
        opened_at=at,
    )


def data_late(late: "Late", *, at: datetime) -> Notice:
    """The newest part of an asset is not there although it is due."""
    return Notice(
        kind=NoticeKind.DATA_LATE,
        severity=Severity.WARNING,
        cause=f"{LATE_CAUSE}{late.asset}",
        title=f"{late.asset} is late",
        text=shortened(late.in_words()),
        remedy=f"`weather automation why {late.asset}` says why it was not made; look at the source when observations "
        "are late",
        opened_at=at,
    )


def many_quarantined(*, years: Iterable[str], said: str, run_id: str, at: datetime) -> Notice:
    """More rows of these years were rejected than usual."""
    affected = tuple(years)
    return Notice(
        kind=NoticeKind.QUARANTINE_HIGH,
        severity=Severity.WARNING,
        cause=QUARANTINE_CAUSE,
        title=f"many rows of {named(affected)} were rejected",
        text=shortened(said),
        remedy="look at quarantined_observations, correct the source, and ingest it again",
        dagster_run_id=run_id,
        items=affected,
        opened_at=at,
    )


def drifted(verdict: "DriftVerdict", *, run_id: str, at: datetime) -> Notice | None:
    """The columns of a month that drifted; None when it did not, or lies in the models' own data."""
    if verdict.status != "drift" or verdict.hindcast:
        return None
    columns = verdict.named("drift") or verdict.named("missing")
    return Notice(
        kind=NoticeKind.DRIFT,
        severity=Severity.WARNING,
        cause=f"{DRIFT_CAUSE}{', '.join(sorted(columns)) or 'the month'}",
        title=f"{verdict.month} drifted in {named(columns) if columns else 'the month'}",
        text=shortened("; ".join(verdict.reasons)),
        remedy="read the drift report; correct a broken sensor or unit at the source, train for a new climate",
        dagster_run_id=run_id,
        opened_at=at,
    )


def departed(verdict: "DepartureVerdict", *, run_id: str, at: datetime) -> list[Notice]:
    """A notice for each station that departs from its neighbours, with its columns."""
    return [
        Notice(
            kind=NoticeKind.STATION_DEPARTED,
            severity=Severity.WARNING,
            cause=f"{DEPARTURE_CAUSE}{station}",
            title=f"{station} departs from its neighbours in {named(columns)}",
            text=shortened(f"{verdict.month}: {'; '.join(str(e) for e in verdict.departures if e.station == station)}"),
            remedy="look at the sensor, its unit and what the source sends; until it is repaired, leave it out: "
            f'`weather stations mask {station} {columns[0]} --from {verdict.month}-01 --why "..."`',
            dagster_run_id=run_id,
            items=tuple(columns),
            opened_at=at,
        )
        for station, columns in verdict.columns_of().items()
    ]


def production_moved(
    *, target: str, from_version: int | None, to_version: int | None, reason: str, cause: str, run_id: str, at: datetime
) -> Notice:
    """Production of a target moved: promoted, taken back by a person or the canary, or moved by hand."""
    now = f"version {to_version} serves" if to_version is not None else "nothing serves"
    before = f"version {from_version} served" if from_version is not None else "nothing served"
    kind, severity, remedy = NoticeKind.PROMOTED, Severity.INFO, f"nothing; `weather rollback {target}` takes it back"
    if reason.startswith(CANARY):
        kind, severity = NoticeKind.CANARY_FAILED, Severity.URGENT
        remedy = "find out what changed the model's files or its features, then train again"
    elif reason.startswith(ROLLBACK):
        kind, severity = NoticeKind.ROLLED_BACK, Severity.WARNING
        remedy = "nothing, if it was meant; only a newer DEPLOY moves Production again"
    elif reason.startswith(FOUND_SO):
        kind, severity = NoticeKind.ALIAS_MOVED, Severity.WARNING
        remedy = f"ask who moved it; `weather rollback {target}` takes it back"
    return Notice(
        kind=kind,
        severity=severity,
        cause=f"{kind.replace('_', ' ')}: {cause}",
        title=f"{target}: {now}",
        text=shortened(f"{now}, {before} before; {reason}"),
        remedy=remedy,
        dagster_run_id=run_id,
        opened_at=at,
        happened=True,
    )


def production_gone(*, target: str, version: int, at: datetime) -> Notice:
    """The alias of a target is gone, and the platform did not take it away."""
    return Notice(
        kind=NoticeKind.ALIAS_MOVED,
        severity=Severity.URGENT,
        cause=f"{ALIAS_GONE_CAUSE}{target}",
        title=f"{target}: the Production alias is gone",
        text=f"version {version} served, and MLflow has no Production alias of {target} any more: somebody deleted it "
        "(MLflow does not record who), or the registry is another one or was restored from long ago",
        remedy=f'`weather rollback {target} --to {version} --reason "the alias was lost"` sets it again; '
        f"if nothing is to serve, follow it by `weather rollback {target} --nowhere`",
        opened_at=at,
    )


def retraining_decided(
    *, target: str, month: str, action: Action, reasons: Iterable[str], cause: str, run_id: str, at: datetime
) -> Notice | None:
    """What a decision to retrain means for people; None when nothing follows from it."""
    said = shortened(f"decision for {month}: {'; '.join(reasons)}")
    if action is Action.UNKNOWN:
        return Notice(
            kind=NoticeKind.RETRAINING_UNKNOWN,
            severity=Severity.WARNING,
            cause=f"{RETRAINING_UNKNOWN_CAUSE}{target}",
            title=f"{target}: whether to train again is not known",
            text=said,
            remedy="bring the missing facts that the reasons name; until then nothing is trained by itself",
            dagster_run_id=run_id,
            opened_at=at,
        )
    if action not in (Action.RETRAIN, Action.RECALIBRATE):
        return None
    severity, title = Severity.INFO, f"{target}: the model is trained again"
    remedy = "nothing; the promotion decides whether the new version serves"
    if action is Action.RECALIBRATE:
        severity, title = Severity.WARNING, f"{target}: the forecasts are biased and are calibrated again"
        remedy = (
            "look at `weather skill` and its stations: a bias at a few is usually their sensors; "
            f"`weather retrain {target}` trains before it follows by itself"
        )
    return Notice(
        kind=NoticeKind.RETRAINING_DECIDED,
        severity=severity,
        cause=f"retraining decided: {cause}",
        title=title,
        text=said,
        remedy=remedy,
        dagster_run_id=run_id,
        opened_at=at,
        happened=True,
    )


def not_promoted(
    *, target: str, version: int | None, outcome: str, reason: str, cause: str, run_id: str, at: datetime
) -> Notice:
    """What a decision to retrain brought does not serve; `outcome` is SKIP or REJECT."""
    what = "the new model" if version is None else f"version {version}"
    return Notice(
        kind=NoticeKind.NOT_PROMOTED,
        severity=Severity.INFO,
        cause=f"not promoted: {cause}",
        title=f"{target}: {what} was trained and does not serve ({outcome})",
        text=shortened(f"{outcome} of {what}, which was trained by a decision to retrain: {reason}"),
        remedy="nothing; the version before goes on, and the next decision to retrain waits for its cooldown",
        dagster_run_id=run_id,
        opened_at=at,
        happened=True,
    )


def named(items: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    every = list(items)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return f"{', '.join(every[:_NAMED])}{more}"


def shortened(text: str, characters: int = _MOST_CHARACTERS) -> str:
    """One line of printable characters, cut at the end. An @ before a word would call people in some chats."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    line = line.replace("@", "@\u200b").replace("<!", "<\u200b!")
    return line if len(line) <= characters else f"{line[: characters - 4].rstrip()} ..."


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end` of the local day, past midnight when `end` is earlier."""

    start: time
    end: time

    def until(self, local: datetime) -> datetime | None:
        """The end of the quiet hours that this local moment is in; None outside of them."""
        clock = local.timetz().replace(tzinfo=None)
        overnight = self.end <= self.start
        inside = (clock >= self.start or clock < self.end) if overnight else self.start <= clock < self.end
        if not inside:
            return None
        day = local.date() + timedelta(days=1 if overnight and clock >= self.start else 0)
        return datetime.combine(day, self.end, tzinfo=local.tzinfo)


def due_at(severity: Severity, local: datetime, quiet: QuietHours | None, digest_at: time) -> datetime:
    """When a message of this severity that is known at the local moment may be sent."""
    if severity is Severity.INFO:
        today = datetime.combine(local.date(), digest_at, tzinfo=local.tzinfo)
        tomorrow = datetime.combine(local.date() + timedelta(days=1), digest_at, tzinfo=local.tzinfo)
        return today if local <= today else tomorrow
    if severity is Severity.WARNING and quiet is not None:
        return quiet.until(local) or local
    return local


def wait_after(tries: int) -> timedelta | None:
    """How long to wait after so many failed tries; None when it was the last."""
    return None if tries >= MOST_TRIES else min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_WAIT)
