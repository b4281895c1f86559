"""The sensors of notices: one writes down what runs did, one sends what is due.

What belongs here: what a failed or successful run means for notices, and the two sensors. What does not: notices of
what the platform itself records, such as a promotion, which are written with the record (``database.store``).

Dagster's own run-failure sensor moves on when its function raises, so that a failure would be lost while the database
is away. `notices_of_runs` keeps its place until a failure is written down, and takes failures and successes in the
order in which they happened.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from weather_platform import errors
from weather_platform.automation.freshness import late_parts, note_lateness
from weather_platform.automation.import_model import IMPORT_JOB
from weather_platform.automation.rollback import ROLLBACK_JOB
from weather_platform.automation.watchdog import note_automation
from weather_platform.database import Database
from weather_platform.database.outbox import Outbox
from weather_platform.domain.notices import (
    QUARANTINE_CAUSE,
    UNPARTITIONED,
    failures_of,
    many_quarantined,
    run_failed,
)
from weather_platform.partitions import ONE, RANGE, day_partitions, month_partitions, year_partitions
from weather_platform.settings import Settings

WILL_RETRY: Final = "dagster/will_retry"
_ASKED_BY_A_PERSON: Final = (ROLLBACK_JOB, IMPORT_JOB)
"""Jobs whose failure is the answer to the person who asked, and has no other end."""
_RUNS_A_TICK: Final = 50
_SEND_SECONDS: Final = 15.0
"""After so long no message is begun: a tick must end within a minute, and one try may take 20 s."""
_ENDS: Final = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS)
_OF_INTEREST: Final = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}
_QUARANTINED_SHARE: Final = "quarantined_share"
"""The check of `observations` that looks at rejected rows."""
_NO_STEP: Final = "an end without an error, as of a process that was killed,"
_FAILED_CHECK: Final = "DagsterAssetCheckFailedError"
_WRAPPERS: Final = ("DagsterExecutionStepExecutionError", "DagsterExecutionLoadInputError", "HookExecutionError")


def notice_sensors(
    settings: Settings, now: Callable[[], datetime], status: dg.DefaultSensorStatus
) -> list[dg.SensorDefinition]:
    """`notices_of_runs` and `send_notices`."""

    @dg.sensor(
        minimum_interval_seconds=30,
        default_status=status,
        description="Opens a notice for each cause of failed runs, and ends it when the same partitions succeed.",
    )
    def notices_of_runs(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SkipReason:
        position = json.loads(context.cursor) if context.cursor else _newest(context.instance)
        records, position = _ended_runs(context.instance, position)
        for record in records:
            note_run(context.instance, database, settings, record)
        context.update_cursor(json.dumps(position))
        return dg.SkipReason(f"{len(records)} runs ended since the last look")

    @dg.sensor(
        minimum_interval_seconds=60,
        default_status=status,
        description="Sends the notices that are due to the channels of WEATHER_NOTIFY_CHANNELS.",
    )
    def send_notices(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SkipReason:
        from weather_platform.notifications.sender import send_due

        note_automation(context.instance, database, now())
        sent = send_due(database, settings, now, seconds=_SEND_SECONDS)
        failures = "; ".join(f"{channel}: {why}" for channel, why in sent.failures.items())
        if failures:
            context.log.warning(f"not sent: {failures}")
        # After the sending: it looks into the lake, and no notice may wait for a lake that is away.
        note_lateness(database, late_parts(settings, database, now()), now())
        return dg.SkipReason(f"{sent.messages} messages sent{f'; not sent: {failures}' if failures else ''}")

    return [notices_of_runs, send_notices]


def note_run(instance: dg.DagsterInstance, database: Database, settings: Settings, record: dg.EventLogRecord) -> None:
    """Write down what the end of a run means for notices, in one transaction."""
    run = instance.get_run_by_id(record.run_id)
    if run is None or run.tags.get(WILL_RETRY) == "true" or run.job_name in _ASKED_BY_A_PERSON:
        return
    ended = _Ended(
        run_id=run.run_id,
        job="assets" if run.job_name.startswith("__") else run.job_name,
        at=datetime.fromtimestamp(record.timestamp, UTC),
        items=partitions_of(run.tags, settings),
        events=[entry for entry in instance.all_logs(run.run_id, _OF_INTEREST) if entry.dagster_event is not None],
    )
    failed = record.event_log_entry.dagster_event_type is dg.DagsterEventType.RUN_FAILURE
    with database.outbox() as outbox:
        if failed:
            _note_failures(outbox, ended)
        for beginning, items in _successes(ended, failed=failed):
            for cause in outbox.open_causes(beginning):
                outbox.resolve(cause, ended.at, items)
        _note_quarantine(outbox, ended)


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """A run that ended, as far as it matters here."""

    run_id: str
    job: str
    at: datetime
    items: Sequence[str]
    events: Sequence[dg.EventLogEntry]

    def of_type(self, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        found = (entry.dagster_event for entry in self.events)
        return [event for event in found if event is not None and event.event_type is kind]


def _note_failures(outbox: Outbox, ended: _Ended) -> None:
    """A notice for each step that failed; for the run itself where none did, as when its process was killed."""
    failures: dict[str | None, tuple[str, str | None]] = {
        event.step_key: _shown(event.step_failure_data.error)
        for event in ended.of_type(dg.DagsterEventType.STEP_FAILURE)
    }
    if checks := "; ".join(_failed_checks(ended)):
        failures = {
            step: (error, checks if error == _FAILED_CHECK else said) for step, (error, said) in failures.items()
        }
    for step, (error, said) in (failures or {None: (_NO_STEP, None)}).items():
        outbox.open(
            run_failed(
                step=step, job=ended.job, error=error, said=said, items=ended.items, run_id=ended.run_id, at=ended.at
            )
        )


def _failed_checks(ended: _Ended) -> Iterator[str]:
    """What the checks said that stopped the run."""
    for event in ended.of_type(dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = event.asset_check_evaluation_data
        if not check.passed and check.blocking and check.severity is dg.AssetCheckSeverity.ERROR:
            yield f"check {check.check_name} of {check.asset_key.to_user_string()}: {check.description or 'failed'}"


def _successes(ended: _Ended, *, failed: bool) -> Iterator[tuple[str, Sequence[str] | None]]:
    """How the causes begin that this run ends, and for which items; None for all of them."""
    # An asset without partitions is as it should be after any run, whichever partitions its other assets had.
    without = {
        event.step_key for event in ended.of_type(dg.DagsterEventType.ASSET_MATERIALIZATION) if event.partition is None
    }
    for event in ended.of_type(dg.DagsterEventType.STEP_SUCCESS):
        yield failures_of(event.step_key, ended.job), None if event.step_key in without else ended.items
    if not failed:
        yield failures_of(None, ended.job), ended.items


def _note_quarantine(outbox: Outbox, ended: _Ended) -> None:
    """The check of rejected rows: its failing years open the notice, its others end it."""
    for event in ended.of_type(dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = event.asset_check_evaluation_data
        if check.check_name != _QUARANTINED_SHARE:
            continue
        failing = check.metadata["failing_partitions"].value if "failing_partitions" in check.metadata else None
        years = sorted(failing) if isinstance(failing, Mapping) else []
        outbox.resolve(QUARANTINE_CAUSE, ended.at, [item for item in ended.items if item not in years])
        if years:
            said = f"share of rejected rows by year: {failing}; see the check {_QUARANTINED_SHARE} for what is usual"
            outbox.open(many_quarantined(years=years, said=said, run_id=ended.run_id, at=ended.at))


def _shown(error: SerializableErrorInfo | None) -> tuple[str, str | None]:
    """The kind of an error, and its first line if the platform wrote it. Other texts could hold an address or a key."""
    while error is not None and error.cause is not None and error.cls_name in _WRAPPERS:
        error = error.cause
    if error is None or error.cls_name is None:
        return _NO_STEP, None
    ours = getattr(errors, error.cls_name, None)
    if not (isinstance(ours, type) and issubclass(ours, errors.WeatherError)):
        return error.cls_name, None
    said = next(iter(error.message.strip().splitlines()), "")
    return error.cls_name, said.split(f"{error.cls_name}: ", 1)[-1]


def partitions_of(tags: Mapping[str, str], settings: Settings) -> list[str]:
    """The partitions that a run was for, by its tags."""
    first, last = (tags.get(tag, tags.get(ONE)) for tag in RANGE)
    if first is None or last is None:
        return [UNPARTITIONED]
    if first == last:
        return [first]
    # Compared as text: Dagster raises for keys that its partitions do not have any more, and this tick must not fail
    # on the same run for ever.
    of_length = {4: year_partitions, 7: month_partitions, 10: day_partitions}
    partitions = of_length.get(len(first), day_partitions)(settings)
    return [key for key in partitions.get_partition_keys() if first <= key <= last] or [f"{first} to {last}"]


def _newest(instance: dg.DagsterInstance) -> dict[str, int]:
    """Where the sensor begins: at the end of what there is."""
    found = (instance.fetch_run_status_changes(kind, limit=1).records for kind in _ENDS)
    return {kind.value: records[0].storage_id if records else 0 for kind, records in zip(_ENDS, found, strict=True)}


def _ended_runs(
    instance: dg.DagsterInstance, position: dict[str, int]
) -> tuple[list[dg.EventLogRecord], dict[str, int]]:
    """The next ends of runs, oldest first, and the position after them."""
    found: list[dg.EventLogRecord] = []
    limits = []
    for kind in _ENDS:
        after = dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=position[kind.value])
        records = instance.fetch_run_status_changes(after, limit=_RUNS_A_TICK, ascending=True).records
        found += records
        if len(records) == _RUNS_A_TICK:
            limits.append(records[-1].storage_id)
    # Beyond the end of a full page, the other kind would overtake what is still to come.
    known = [each for each in found if each.storage_id <= min(limits, default=each.storage_id)]
    known.sort(key=lambda each: each.storage_id)
    moved = {each.event_log_entry.dagster_event_type: each.storage_id for each in known}
    return known, {kind.value: moved.get(kind, position[kind.value]) for kind in _ENDS}
