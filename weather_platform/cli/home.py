"""The home folder: where the embedded profile keeps its state, and the Dagster instance in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from weather_platform.cli.progress import doing
from weather_platform.errors import SettingsError, WeatherError
from weather_platform.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef
    from sqlalchemy.exc import SQLAlchemyError


_NO_COPIES_OF_OUTPUT = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}


def dagster_folder(settings: Settings) -> Path:
    """Where Dagster keeps the history of this home; it need not be there.

    A DAGSTER_HOME that is set is respected, unless it is the folder of another home: `eval "$(weather env)"` leaves it
    in the shell, and runs of this home would stand among those of that one.
    """
    if (chosen := os.environ.get("DAGSTER_HOME")) and not _is_of_a_home(Path(chosen)):
        return Path(chosen)
    return settings.home / "dagster"


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
        raise SettingsError(
            f"{folder} cannot be used: {error.strerror}; set WEATHER_HOME to a writable folder"
        ) from None
    return folder


def _is_of_a_home(folder: Path) -> bool:
    return folder.name == "dagster" and any((folder.parent / name).exists() for name in ("weather.env", "lake"))


@contextmanager
def open_instance(settings: Settings) -> Iterator["DagsterInstance"]:
    """The Dagster instance of the home: the one `dagster dev` uses with the same DAGSTER_HOME.

    Output of steps goes to the terminal alone: the helper processes that would copy it answer Ctrl-C with a traceback.
    What its storage raises in the block is one line, and a signal that Dagster took for its own is Ctrl-C again.
    """
    with doing("loading Dagster"):
        from dagster import DagsterInstance
        from dagster._core.errors import DagsterExecutionInterruptedError
        from sqlalchemy.exc import SQLAlchemyError

    folder = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    try:
        with doing("opening the history of Dagster"):
            opened = DagsterInstance.from_ref(_reference(folder))
        with opened as instance:
            yield instance
    except DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except SQLAlchemyError as error:
        raise _of_storage(folder, error) from error


def _reference(folder: Path) -> "InstanceRef":
    """As its `dagster.yaml` says; in SQLite, with our classes over the same files."""
    from dagster._core.instance.ref import InstanceRef

    reference = InstanceRef.from_dir(str(folder), overrides=_NO_COPIES_OF_OUTPUT)
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
    return InstanceRef.from_dir(str(folder), overrides=_NO_COPIES_OF_OUTPUT | ours) if ours else reference


def _of_storage(folder: Path, error: "SQLAlchemyError") -> WeatherError:
    """What is wrong with the runs and events that Dagster keeps, and what to do about it."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(error, OperationalError):  # locked, full, not to be opened, a server that is down
        remedy = "make sure that it can be read and written and that nothing else holds it, then run again"
    else:
        remedy = "put a copy of it back, or move it away: the history of runs goes with it, data and models stay"
    said = next(iter(str(cause).splitlines()), type(cause).__name__).rstrip(".;")
    return WeatherError(f"the storage of Dagster in {folder} failed: {said}; {remedy}")
