"""The home folder: where the embedded profile keeps its state, and the Dagster instance in it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weather_platform.errors import SettingsError
from weather_platform.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


_NO_COPIES_OF_OUTPUT = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}


def dagster_home(settings: Settings) -> Path:
    """`<home>/dagster` with the project's `dagster.yaml` in it. A DAGSTER_HOME that is set elsewhere is respected."""
    if chosen := os.environ.get("DAGSTER_HOME"):
        return Path(chosen)
    folder = settings.home / "dagster"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wanted, stored = (PROJECT_DIR / "dagster.yaml").read_bytes(), folder / "dagster.yaml"
        if not stored.exists() or stored.read_bytes() != wanted:
            # In one step: another process of this home may be reading it.
            scratch = folder / f"dagster.yaml.{os.getpid()}"
            scratch.write_bytes(wanted)
            scratch.replace(stored)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be used: {error.strerror}; set WEATHER_HOME to a writable folder"
        ) from None
    return folder


def open_instance(settings: Settings) -> "DagsterInstance":
    """The Dagster instance of the home: the one `dagster dev` uses with the same DAGSTER_HOME.

    Output of steps goes to the terminal alone: the helper processes that would copy it answer Ctrl-C with a traceback.
    """
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    folder = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    return DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides=_NO_COPIES_OF_OUTPUT))


@contextmanager
def quick_recording(instance: "DagsterInstance") -> Iterator[None]:
    """Record the events of a run in a third of the time, when Dagster keeps them in SQLite.

    Dagster opens and closes the file for every event, and the last one to close it makes SQLite fold its log into it:
    a connection that stays open saves that. And a commit need not reach the disk at once: the file stays whole whatever
    happens, and only a power cut could lose the last events of a run that it ended anyway.
    """
    from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    folder = Path(instance.root_directory) / "history" / "runs"
    with storage.index_connection():
        pass  # makes the file of a new home

    def relax(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            file = connection.execute("PRAGMA database_list").fetchone()[2]
            if file and Path(file).parent == folder:
                connection.execute("PRAGMA synchronous = NORMAL")

    event.listen(Engine, "connect", relax)
    try:
        with closing(sqlite3.connect(folder / "index.db")) as idle:
            idle.execute("PRAGMA schema_version")  # the file is opened by the first question
            yield
    finally:
        event.remove(Engine, "connect", relax)
