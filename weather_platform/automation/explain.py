"""What the automation did and why: read from what Dagster recorded, and from what is behind now.

What belongs here: the state of each sensor and schedule, and the reasons why one asset was made or was not. What does
not: printing (the `weather automation` command), and notices about what fails (``automation.watchdog``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState
from dagster._utils.schedules import schedule_execution_time_iterator

from weather_platform.automation import plan
from weather_platform.automation.behind import DRIFT, FEATURES, OBSERVATIONS, Behind, Behindhand
from weather_platform.automation.conditions import NAME as CONDITIONS
from weather_platform.automation.failing_checks import failing_partitions
from weather_platform.automation.watchdog import silence
from weather_platform.database import Database
from weather_platform.domain.forecast_days import FORECAST_DAYS
from weather_platform.domain.notices import named, shortened
from weather_platform.partitions import ONE, RANGE

COMMANDS: Final[Mapping[str, str]] = {
    plan.INGEST: "weather update",
    plan.PROCESS: "weather update",
    plan.LEARN: "weather retrain",
    plan.FORECAST: "weather update",
    plan.WATCH: "weather watch",
}
"""The command that runs a stage job for what is new."""
_RUNS: Final = 500
"""Newest runs in which the last one of an asset is looked for."""
_UNDER_WAY: Final = ("STARTED", "STARTING", "QUEUED", "NOT_STARTED", "CANCELING")


@dataclass(frozen=True, kw_only=True)
class Tick:
    """The last look of a sensor or schedule."""

    at: datetime
    result: str
    """asked, skipped, failed or started."""
    said: str
    """What it asked for, why it asked for nothing, or the error."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A sensor or a schedule."""

    name: str
    kind: str
    on: bool
    description: str
    last: Tick | None
    next_at: datetime | None
    """None where it is off, or never looked yet."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """An asset that an automation condition follows."""

    asset: str
    condition: str
    why: str
    evaluated_at: datetime | None
    """When its last evaluation that differed from the one before was."""
    asked_for: int
    """Partitions that this evaluation asked for."""


def parts_of(definitions: dg.Definitions, instance: dg.DagsterInstance, now: datetime) -> list[Part]:
    """Every sensor and schedule with its last tick and its next time, by kind and name."""
    states: dict[str, InstigatorState] = {state.instigator_name: state for state in instance.all_instigator_state()}
    found = []
    for each in _defined(definitions):
        state = states.get(each.name)
        last = _last_tick(instance, state) if state is not None else None
        on = each.default_status.value == "RUNNING" if state is None else state.status.value != "STOPPED"
        next_at: datetime | None = None
        if on and isinstance(each, dg.ScheduleDefinition):
            times = schedule_execution_time_iterator(now.timestamp(), each.cron_schedule, each.execution_timezone)
            next_at = next(at for at in times if at > now)
        elif on and isinstance(each, dg.SensorDefinition) and last is not None:
            next_at = max(last.at + timedelta(seconds=each.minimum_interval_seconds or 0), now)
        kind = "schedule" if isinstance(each, dg.ScheduleDefinition) else "sensor"
        found.append(
            Part(name=each.name, kind=kind, on=on, description=each.description or "", last=last, next_at=next_at)
        )
    return sorted(found, key=lambda part: (part.kind, part.name))


def followed(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[Followed]:
    """Every asset with a condition, and its last evaluation."""
    graph = definitions.resolve_asset_graph()
    found = []
    for key in sorted(graph.get_all_asset_keys()):
        condition = graph.get(key).automation_condition
        if condition is not None:
            at, asked = _evaluated(instance, key)
            found.append(
                Followed(
                    asset=key.to_user_string(), condition=condition.get_label() or condition.name,
                    why=_why_of(condition), evaluated_at=at, asked_for=asked,
                )
            )  # fmt: skip
    return found


def reasons(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    database: Database,
    asset: dg.AssetKey,
    partition: str | None,
    now: datetime,
) -> list[str]:
    """Why an asset, or a partition of it, was made or was not: lines, what follows from them last."""
    graph = definitions.resolve_asset_graph()
    condition = graph.get(asset).automation_condition
    run = last_run(definitions, instance, asset, partition)
    held = list(_failing_upstream(instance, graph, asset, partition))
    parts = {part.name: part for part in parts_of(definitions, instance, now)}
    lines: list[str] = []
    if condition is None:
        askers = [parts[name] for name in asked_by(definitions, asset)]
        jobs = [name for name in COMMANDS if asset in _keys_of(definitions, name)]
        commands = list(dict.fromkeys(f"`{COMMANDS[job]}`" for job in jobs))
        lines.append(f"asked for by {' and '.join([*(part.name for part in askers), *commands]) or 'a person alone'}")
        lines += [f"{part.name} is {'on' if part.on else 'off'}; {_told(part.last)}" for part in askers]
    else:
        lines.append(f"asked for by {CONDITIONS}: {_why_of(condition)}")
        behind = _behind(instance, database, asset)
        lines += _of_behind(behind, partition)
        at, asked = _evaluated(instance, asset)
        evaluated = f"on {_moment(at)}, and asked for {asked} partitions" if at is not None else "never"
        lines.append(f"its condition was last evaluated with a new result {evaluated}")
    lines += held
    lines.append(_of_run(instance, run))
    if condition is not None:
        lines.append(_conclusion(behind if partition is None else _only(behind, partition), held, run, instance,
                                 parts[CONDITIONS], now))  # fmt: skip
    return lines


def asked_by(definitions: dg.Definitions, asset: dg.AssetKey) -> list[str]:
    """The sensors and schedules of which a job makes this asset."""
    found = []
    for each in _defined(definitions):
        jobs = [each.job_name] if isinstance(each, dg.ScheduleDefinition) else _jobs_of(each)
        own = each.name.removesuffix("_retraining")  # a sensor of one target asks for the assets of that target
        of_target = not each.name.endswith("_retraining") or asset.path[0] == own
        if of_target and any(asset in _keys_of(definitions, job) for job in jobs):
            found.append(each.name)
    return sorted(found)


def last_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str | None
) -> dg.DagsterRun | None:
    """The newest run that was to make this asset, or this partition of it."""
    for run in instance.get_runs(limit=_RUNS):
        selected = run.asset_selection or _keys_of(definitions, run.job_name)
        first, last = (run.tags.get(tag, run.tags.get(ONE, "")) for tag in RANGE)
        if asset in selected and (partition is None or first <= partition <= last):
            return run
    return None


def _conclusion(
    behind: Behind,
    held: Sequence[str],
    run: dg.DagsterRun | None,
    instance: dg.DagsterInstance,
    part: Part,
    now: datetime,
) -> str:
    """Why it does or does not run now, in one line."""
    if run is not None and run.status.value in _UNDER_WAY:
        return "so: its run is under way"
    if not behind:
        return "so: nothing is to be done"
    if held:
        return "so: it waits until the check passes"
    if not part.on:
        return f"so: {CONDITIONS} is off; `weather ui --automation` switches it on, `weather update` does the same once"
    if (silent := silence(instance, now)) is not None:
        return f"so: the daemon does not run, {silent}; `weather ui --automation` starts it"
    if run is not None and run.status is dg.DagsterRunStatus.FAILURE:
        return "so: its run failed; it is asked for again when what it is made from changes, or by `weather update`"
    return f"so: the next look of {CONDITIONS} asks for it, unless what it is made from is being made"


def _behind(instance: dg.DagsterInstance, database: Database, asset: dg.AssetKey) -> Behind:
    now = Behindhand()
    if asset == OBSERVATIONS:
        return now.observations(instance)
    if asset == FEATURES:
        return now.features(instance)
    if asset == DRIFT:
        return now.drift(instance)
    target, name = asset.path
    if name == "forecasts":
        return now.forecasts(instance, database, target, FORECAST_DAYS)
    return now.matured_skill(instance, database, target)


def _only(behind: Behind, partition: str) -> Behind:
    return {partition: behind[partition]} if partition in behind else {}


def _of_behind(behind: Behind, partition: str | None) -> Iterator[str]:
    if partition is None:
        yield f"behind what they are made from: {named(behind)}" if behind else "no partition is behind"
    elif partition in behind:
        yield f"{partition} is behind what it is made from now: {behind[partition]}"
    else:
        yield f"{partition} is not behind what it is made from"


def _failing_upstream(
    instance: dg.DagsterInstance, graph: Any, asset: dg.AssetKey, partition: str | None
) -> Iterator[str]:
    """Blocking checks that failed at a partition of an upstream asset which this one may be made from."""
    for parent in sorted(graph.get(asset).parent_keys):
        for at, check in failing_partitions(instance, graph, parent).items():
            # A month is of a year, and a day of a month: one key begins with the other.
            if partition is None or at.startswith(partition) or partition.startswith(at):
                yield f"the blocking check {check} failed at {parent.to_user_string()} {at}".rstrip()


def _of_run(instance: dg.DagsterInstance, run: dg.DagsterRun | None) -> str:
    if run is None:
        return "no run was to make it yet"
    record = instance.get_run_record_by_id(run.run_id)
    at = f" on {_moment(record.create_timestamp)}" if record is not None else ""
    first, last = (run.tags.get(tag, run.tags.get(ONE)) for tag in RANGE)
    span = f", for {first if first == last else f'{first} to {last}'}" if first else ""
    line = f"its last run is {run.run_id}{at}{span}: {run.status.value.lower()}"
    if run.status is dg.DagsterRunStatus.FAILURE:
        steps = [str(entry.step_key) for entry in instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)]
        line += f" in {named(steps)}" if steps else ", without a step that failed, as when its process is killed"
        line += "; it is tried again" if run.tags.get("dagster/will_retry") == "true" else ""
    return line


def _evaluated(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[datetime | None, int]:
    storage = instance.schedule_storage
    found = storage.get_auto_materialize_asset_evaluations(key, limit=1) if storage is not None else []
    if not found:
        return None, 0
    evaluation = found[0].get_evaluation_with_run_ids().evaluation
    return datetime.fromtimestamp(found[0].timestamp, UTC), evaluation.true_subset.size


def _why_of(condition: dg.AutomationCondition[dg.AssetKey]) -> str:
    """The description that the condition carries inside of its operators."""
    own = condition.description
    if own and condition.name == "behind_upstream":
        return own
    return next((said for child in condition.children if (said := _why_of(child))), "")


def _last_tick(instance: dg.DagsterInstance, state: InstigatorState) -> Tick | None:
    for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
        results = {"SUCCESS": "asked", "SKIPPED": "skipped", "FAILURE": "failed"}
        said = tick.skip_reason or "asked for nothing"
        if tick.status.value == "SUCCESS":
            said = f"asked for {named(tick.run_keys or tick.run_ids)}"
        elif tick.status.value == "FAILURE" and tick.error is not None:
            error = tick.error
            while error.cause is not None:
                error = error.cause
            said = shortened(error.message)
        return Tick(
            at=datetime.fromtimestamp(tick.timestamp, UTC),
            result=results.get(tick.status.value, "started"),
            said=said,
        )
    return None


def _told(tick: Tick | None) -> str:
    return "it never looked" if tick is None else f"its last look on {_moment(tick.at)}: {tick.result}, {tick.said}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d at %H:%M} UTC"


def _defined(definitions: dg.Definitions) -> list[dg.SensorDefinition | dg.ScheduleDefinition]:
    repository = definitions.get_repository_def()
    return [*repository.sensor_defs, *repository.schedule_defs]


def _jobs_of(sensor: dg.SensorDefinition) -> list[str]:
    return [target.job_name for target in sensor.targets]


def _keys_of(definitions: dg.Definitions, job: str) -> set[dg.AssetKey]:
    """The assets that a job makes; none for a job that is not ours."""
    repository = definitions.get_repository_def()
    return set(repository.get_job(job).asset_layer.executable_asset_keys) if repository.has_job(job) else set()
