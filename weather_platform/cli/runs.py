"""Starting one stage run on the real instance, and showing what it does from the event log."""

import re
import shlex
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.utils import make_new_run_id
from dagster_shared.error import SerializableErrorInfo
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from weather_platform import errors
from weather_platform.automation.plan import StageRun
from weather_platform.automation.replay import Asked
from weather_platform.cli.home import run_in_progress
from weather_platform.cli.progress import Steps, steps_shown
from weather_platform.cli.progress import console_of_errors as console_of_errors
from weather_platform.errors import MAKE_ROOM, WeatherError, is_full
from weather_platform.partitions import RANGE

_POLL_SECONDS = 0.5
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The event log has everything; the console shows progress and, at the end, one line of error."""
_DELIBERATE = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.WeatherError)
}
COMMAND_TAG = "command"
MAX_RETRIES_TAG = "dagster/max_retries"


@dataclass(frozen=True, slots=True)
class StageResult:
    """A finished stage: its Dagster run, its wall seconds, and the seconds of each asset's step."""

    run: StageRun
    run_id: str
    seconds: float
    step_seconds: dict[str, float] = field(default_factory=dict)


def execute(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    run: StageRun,
    console: Console,
    *,
    targets: Collection[str],
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> StageResult:
    """Run one stage job over its range in this process, for these targets. WeatherError, one line, when it fails."""
    job = definitions.resolve_job_def(run.job)
    # Keys of two parts begin with their target; the others belong to all of them.
    selection = [
        key
        for key in job.asset_layer.executable_asset_keys
        if (len(key.path) == 1 or key.path[0] in targets) and run.only in (None, key.path[-1])
    ]
    run_id = make_new_run_id()
    started = time.perf_counter()
    with run_in_progress(instance, run_id), _progress(instance, run, run_id, console):
        result = job.execute_in_process(
            instance=instance,
            asset_selection=selection,
            run_config=QUIET | dict(run_config or {}),
            run_id=run_id,
            tags=tags_of_command() | dict(zip(RANGE, (run.first, run.last), strict=True)) | dict(tags or {}),
            raise_on_error=False,
        )
    require_success(result, run_id)
    steps = {event.step_key: event for event in result.all_events if event.is_step_success and event.step_key}
    return StageResult(
        run,
        run_id,
        time.perf_counter() - started,
        {key: event.step_success_data.duration_ms / 1000 for key, event in steps.items()},
    )


def execute_asked(
    definitions: dg.Definitions, instance: dg.DagsterInstance, asked: Asked, tags: Mapping[str, str]
) -> None:
    """Run in this process what a sensor, a condition or a schedule asked for. WeatherError when it fails."""
    job = definitions.resolve_job_def(asked.job)
    run_id = make_new_run_id()
    span = dict(zip(RANGE, asked.partitions, strict=True)) if asked.partitions else {}
    with run_in_progress(instance, run_id):
        result = job.execute_in_process(
            instance=instance,
            asset_selection=list(asked.assets) or None,
            run_config=QUIET | dict(asked.run_config),
            run_id=run_id,
            tags=tags_of_command() | span | dict(asked.tags) | dict(tags),
            raise_on_error=False,
        )
    require_success(result, run_id)


def tags_of_command() -> dict[str, str]:
    """The command that a run was started by, as it was typed: what the UI shows of the run, and filters by.

    The daemon does not ask for such a run again when its process was killed: the person who typed it decides.
    """
    return {COMMAND_TAG: shlex.join(["weather", *sys.argv[1:]]), MAX_RETRIES_TAG: "0"}


def require_success(result: dg.ExecuteInProcessResult, run_id: str) -> None:
    """WeatherError, one line, when the run failed; KeyboardInterrupt when it was ended by Ctrl-C or SIGTERM."""
    if any(_interrupted(error) for error in _errors(result)):
        raise KeyboardInterrupt
    if not result.success:
        raise WeatherError(failure_of(result, run_id))


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[SerializableErrorInfo | None]:
    """What the steps of a run raised, and what was raised around them: while resources were made, or between steps."""
    for event in result.all_events:
        if event.is_step_failure:
            yield event.step_failure_data.error
        elif event.is_failure and event.event_type == dg.DagsterEventType.RUN_FAILURE:
            yield event.job_failure_data.error


def failure_of(result: dg.ExecuteInProcessResult, run_id: str) -> str:
    """The first thing that went wrong, in one line: the failing check, or the error of the step or of a resource."""
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking:
                said = check.description or ", ".join(f"{k}={v.value}" for k, v in check.metadata.items())
                return f"check {check.check_name} of {check.asset_key.to_user_string()} failed: {said} (run {run_id})"
        if event.is_step_failure:
            step = (event.step_key or "").replace("__", "/")
            return f"{step}: {_said(event.step_failure_data.error)} (run {run_id}; its log is in the Dagster UI)"
        if event.is_failure and event.event_type == dg.DagsterEventType.RUN_FAILURE and event.job_failure_data.error:
            return f"{_said(event.job_failure_data.error)} (run {run_id}; its log is in the Dagster UI)"
    return f"run {run_id} failed before its first step; see its log in the Dagster UI"


def _interrupted(error: SerializableErrorInfo | None) -> bool:
    """Whether it was ended by Ctrl-C or SIGTERM, which Dagster records as a failure."""
    while error is not None and error.cls_name not in ("DagsterExecutionInterruptedError", "KeyboardInterrupt"):
        error = error.cause
    return error is not None


def _said(error: SerializableErrorInfo | None) -> str:
    """One line of an error: the platform's own words where it has some, else those of the first cause."""
    told = error
    while told is not None and told.cause is not None and told.cls_name not in _DELIBERATE:
        told = told.cause
    if told is None:
        return "no reason given"
    # Dagster writes the class before the message, with its module or without.
    said = re.sub(rf"^([\w.]+\.)?{told.cls_name}: ", "", " ".join(told.message.split()))
    return f"{said}; {MAKE_ROOM}" if is_full(said) and MAKE_ROOM not in said else said


@contextmanager
def _progress(instance: dg.DagsterInstance, run: StageRun, run_id: str, console: Console) -> Iterator[None]:
    """Show each asset of the run while it goes on, from the event log, in a thread of its own."""
    span = run.first if run.first == run.last else f"{run.first} to {run.last}"
    console.print(f"[bold]{run.job}[/bold] {span}")
    stop = threading.Event()
    with steps_shown(console) as steps:
        watcher = threading.Thread(target=_watch, args=(instance, run_id, steps, stop), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def _watch(instance: dg.DagsterInstance, run_id: str, steps: Steps, stop: threading.Event) -> None:
    shown = _Shown(steps)
    cursor: str | None = None
    last_look = False
    while not last_look:
        last_look = stop.wait(_POLL_SECONDS)
        try:
            connection = instance.get_records_for_run(run_id, cursor=cursor)
        except SQLAlchemyError:
            return  # the run writes there too, and ends with the reason
        cursor = connection.cursor
        for record in connection.records:
            shown.show(record.event_log_entry)
        if not last_look:
            steps.tick()


class _Shown:
    """Turns events of a run into steps that begin, say something and end."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._open: dict[str, str] = {}
        """What a failed check of each running step said; empty when none failed."""

    def show(self, entry: dg.EventLogEntry) -> None:
        event, key = entry.dagster_event, entry.step_key
        if key is None:
            return
        step = key.replace("__", "/")
        if event is not None and event.is_step_start and step not in self._open:
            self._open[step] = ""
            self._steps.begin(step)
        if step not in self._open:
            return
        if event is None:
            self._steps.say(step, entry.user_message.splitlines()[0][:100])
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                self._open[step] = evaluation.description or "did not pass; the Dagster UI says why"
        elif event.is_step_success:
            warning = self._open.pop(step)
            self._steps.end(step, "[yellow]![/yellow]" if warning else "[green]✓[/green]", warning)
        elif event.is_step_failure:
            del self._open[step]  # the last line of the command says why
            self._steps.end(step, "[red]✗[/red]")
