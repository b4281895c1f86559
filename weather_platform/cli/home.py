"""The home folder: where the embedded profile keeps its state, and the Dagster instance in it."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weather_platform.cli.dagster_stores import are_whole, ensure_dagster_stores
from weather_platform.cli.progress import doing
from weather_platform.errors import MAKE_ROOM, SettingsError, WeatherError, is_full
from weather_platform.folders import abandoned, alone, in_progress, is_home, remove_abandoned, unusable
from weather_platform.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef
    from sqlalchemy.exc import SQLAlchemyError

_MARKS = "in_progress"
"""Folder of a Dagster home with a locked file for each run of a `weather` command that goes on."""
_NO_COPIES_OF_OUTPUT = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}


def dagster_folder(settings: Settings) -> Path:
    """Where Dagster keeps the history of this home: `<home>/dagster`, which need not be there, or DAGSTER_HOME.

    The folder of another home is not a choice: `eval "$(weather env)"` leaves it in the shell, and runs of this home
    would be among those of that one. SettingsError when DAGSTER_HOME names no folder that can be used.
    """
    folder = settings.home / "dagster"
    chosen = _chosen_folder()
    # realpath, as Path.resolve raises for a loop of links.
    if chosen is None or os.path.realpath(chosen) == os.path.realpath(folder) or _is_of_a_home(chosen):
        return folder
    return _usable(chosen)


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's history; `<home>/dagster` is made, with the project's `dagster.yaml` in it."""
    folder = dagster_folder(settings)
    if folder != settings.home / "dagster":
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wanted, stored = (PROJECT_DIR / "dagster.yaml").read_bytes(), folder / "dagster.yaml"
        if not stored.is_file() or stored.read_bytes() != wanted:
            # In one step: another process of this home may be reading it.
            scratch = folder / f"dagster.yaml.{os.getpid()}"
            scratch.write_bytes(wanted)
            scratch.replace(stored)
    except OSError as error:
        raise unusable(folder, error) from None
    return folder


def ready_dagster_home(settings: Settings) -> Path:
    """The same folder with Dagster's stores in it, so that processes that open them at once find them made."""
    folder = dagster_home(settings)
    own = folder == settings.home / "dagster"
    if not are_whole(folder) and (own or _stores_are_in(folder)):
        from sqlalchemy.exc import SQLAlchemyError

        try:
            lines = ensure_dagster_stores(folder, settings.home if own else folder)
        except SQLAlchemyError as error:
            raise _of_storage(folder, error) from error
        for line in lines:
            sys.stderr.write(f"weather: {line}\n")
    return folder


def _chosen_folder() -> Path | None:
    chosen = os.environ.get("DAGSTER_HOME")
    try:
        return Path(chosen).expanduser() if chosen else None
    except RuntimeError:  # of a user that does not exist
        return Path(chosen or "")


def _usable(chosen: Path) -> Path:
    """The folder of DAGSTER_HOME as it is; SettingsError where Dagster would end with a traceback."""
    fault = None
    if not chosen.is_absolute():
        fault = "not an absolute path"
    elif not os.path.lexists(chosen):
        fault = "not there (any more)"
    elif not os.path.isdir(chosen):  # noqa: PTH112 - a folder that may not be looked at is an answer here, not an error
        fault = "not a folder"
    elif not os.access(chosen, os.R_OK | os.W_OK | os.X_OK):
        fault = "not a folder in which you may write"
    if fault is not None:
        raise SettingsError(
            f"DAGSTER_HOME is {str(chosen)!r}, which is {fault}; `unset DAGSTER_HOME` to use the one in the home, or "
            "set it to an existing folder"
        )
    return chosen


def _is_of_a_home(folder: Path) -> bool:
    real = Path(os.path.realpath(folder))
    return real.name == "dagster" and is_home(real.parent)


@contextmanager
def open_instance(settings: Settings) -> Iterator["DagsterInstance"]:
    """The Dagster instance of the home: the one `dagster dev` uses with the same DAGSTER_HOME."""
    folder = ready_dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    with _instance_of(folder) as instance:
        yield instance


def tidy(home: Path) -> None:
    """Remove what killed processes left in this home: scratch folders, and runs that would stay started."""
    remove_abandoned(home / "scratch")
    folder = home / "dagster"
    if _marks_of_killed_runs(folder):
        try:
            with _instance_of(folder):
                pass
        except WeatherError as error:  # the command itself may not need it, and a later one ends them
            sys.stderr.write(f"weather: a run that was left unfinished could not be ended: {error}\n")


@contextmanager
def run_in_progress(instance: "DagsterInstance", run_id: str) -> Iterator[None]:
    """Mark a run of this process, so that the next command ends it should this process not."""
    with in_progress(Path(instance.root_directory, _MARKS, run_id)):
        yield


def _marks_of_killed_runs(folder: Path) -> list[Path]:
    marks = folder / _MARKS
    if not marks.is_dir():
        return []
    with alone(marks):
        return abandoned(marks, "*")


def _end_killed_runs(folder: Path, instance: "DagsterInstance") -> None:
    """End as failed the runs whose process is gone. Those that `dagster` started have no mark and stay as they are."""
    for mark in _marks_of_killed_runs(folder):
        run = instance.get_run_by_id(mark.name)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "the process of this run was killed, or could not write its end")
            sys.stderr.write(f"weather: run {run.run_id} ({run.job_name}) was left unfinished and is failed now\n")
        mark.unlink(missing_ok=True)


def end_runs_of_dead_processes(settings: Settings) -> None:
    """End as failed the runs whose process ended together with the server that started it, as when the power went.

    While that server lives it does so itself. A run that stays started would keep all others waiting.
    """
    with open_instance(settings) as instance:
        from dagster import DagsterRunStatus, RunsFilter

        going_on = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
        for run in instance.get_runs(RunsFilter(statuses=going_on)):
            if _process_is_gone(instance, run.run_id):
                instance.report_run_failed(run, "the process of this run was killed, with the server that started it")
                sys.stderr.write(f"weather: run {run.run_id} ({run.job_name}) was left unfinished and is failed now\n")


def _process_is_gone(instance: "DagsterInstance", run_id: str) -> bool:
    """Whether the process that Dagster recorded for a run has ended; False for a run without such a record."""
    import psutil
    from dagster import DagsterEventType

    gone = False
    for entry in instance.all_logs(run_id, DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event is not None else None
        if pid is not None:
            try:
                process = psutil.Process(int(str(pid.value)))
                # A process that began after the record has got the number of one that ended.
                gone = process.status() == psutil.STATUS_ZOMBIE or process.create_time() > entry.timestamp
            except psutil.NoSuchProcess:
                gone = True
    return gone


@contextmanager
def _instance_of(folder: Path) -> Iterator["DagsterInstance"]:
    """The instance of this Dagster home.

    Output of steps goes to the terminal alone: the helper processes that would copy it answer Ctrl-C with a traceback.
    What its storage raises in the block is one line, and a signal that Dagster took for its own is Ctrl-C again.
    """
    with doing("loading Dagster"):
        from dagster import DagsterInstance
        from dagster._core.errors import DagsterExecutionInterruptedError
        from sqlalchemy.exc import SQLAlchemyError

    try:
        with doing("opening the history of Dagster"):
            opened = DagsterInstance.from_ref(_reference(folder))
        with opened as instance:
            _end_killed_runs(folder, instance)
            yield instance
    except DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except SQLAlchemyError as error:
        raise _of_storage(folder, error) from error


def _reference(folder: Path) -> "InstanceRef":
    """As its `dagster.yaml` says; in SQLite, with our classes over the same files."""
    reference = _configured(folder, _NO_COPIES_OF_OUTPUT)
    ours = {
        name: {"module": module, "class": name_of_class, "config": {"base_dir": stored.config_dict["base_dir"]}}
        for name, stored, of_dagster, module, name_of_class in (
            ("event_log_storage", reference.event_storage_data, "SqliteEventLogStorage",
             "weather_platform.cli.event_log", "OpenEventLogStorage"),
            ("run_storage", reference.run_storage_data, "SqliteRunStorage",
             "weather_platform.cli.run_storage", "LocatedRunStorage"),
        )
        if stored is not None and stored.class_name == of_dagster
    }  # fmt: skip
    return _configured(folder, _NO_COPIES_OF_OUTPUT | ours) if ours else reference


def _stores_are_in(folder: Path) -> bool:
    """Whether Dagster keeps SQLite in this DAGSTER_HOME; its `dagster.yaml` may name other stores."""
    storage = _configured(folder, {}).storage_data
    return (
        storage is not None
        and storage.class_name == "DagsterSqliteStorage"
        and storage.config_dict == {"base_dir": str(folder)}
    )


def _configured(folder: Path, overrides: Mapping[str, Any]) -> "InstanceRef":
    """What `dagster.yaml` of this folder says; SettingsError when Dagster cannot use it."""
    import yaml
    from dagster import DagsterError
    from dagster._check import CheckError
    from dagster._core.instance.ref import InstanceRef

    try:
        return InstanceRef.from_dir(str(folder), overrides=overrides)
    except (DagsterError, CheckError, yaml.YAMLError, OSError, UnicodeError, TypeError, AttributeError) as error:
        # The last two: Dagster looks into some values before it checks what they are.
        said = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"{folder / 'dagster.yaml'} cannot be used: {said}; correct it, or `unset DAGSTER_HOME` to use the one in "
            "the home"
        ) from None


def _of_storage(folder: Path, error: "SQLAlchemyError") -> WeatherError:
    """What is wrong with the runs and events that Dagster keeps, and what to do about it."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if is_full(cause):
        remedy = MAKE_ROOM
    elif isinstance(error, OperationalError):  # locked, full, not to be opened, a server that is down
        remedy = "make sure that it can be read and written, has room and is held by nothing else, then run again"
    else:
        remedy = "put a copy of it back, or move it away: the history of runs goes with it, data and models stay"
    said = next(iter(str(cause).splitlines()), type(cause).__name__).rstrip(".;")
    return WeatherError(f"the storage of Dagster in {folder} failed: {said}; {remedy}")
