"""Dagster's SQLite stores of a folder: made by one process at a time, and repaired where two made them at once.

What belongs here: making runs, schedules and the event log, and their Alembic versions. What does not: where the folder
is and opening the instance (``home``). This is the only module that knows the files of Dagster's stores.

Dagster makes and stamps its stores without a lock: the second of two first processes finds the tables of the first one
without a version, takes them for those of an old Dagster and stamps them so. With two versions no process opens them.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weather_platform.errors import WeatherError
from weather_platform.folders import alone

if TYPE_CHECKING:
    import sqlalchemy as sa

_FOLDERS: Final = ("history", "schedules")
_STORES: Final = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")


def are_whole(folder: Path) -> bool:
    """Whether every store of this Dagster home is there, with one version."""
    return all(len(_versions(folder / store)) == 1 for store in _STORES)


def ensure_dagster_stores(folder: Path, lock: Path) -> list[str]:
    """Make the stores of this Dagster home that are not there, and repair those with two versions.

    `lock` is the folder whose lock makes this process the only one. Gives a line for each repaired store; WeatherError
    when a store cannot be repaired.
    """
    with alone(lock):
        lines = [_repair(folder / store) for store in _STORES if len(_versions(folder / store)) > 1]
        if not all((folder / store).exists() for store in _STORES):
            _make(folder)
    return lines


def _make(folder: Path) -> None:
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

    if not any((folder / name).exists() for name in _FOLDERS):
        # Elsewhere, and moved when they are whole: a process that is killed meanwhile leaves none in pieces.
        for unfinished in folder.glob("new-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
        try:
            DagsterSqliteStorage(str(scratch)).dispose()
            for name in _FOLDERS:
                (scratch / name).rename(folder / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if not all((folder / store).exists() for store in _STORES):
        DagsterSqliteStorage(str(folder)).dispose()


def _versions(store: Path) -> list[str]:
    """What Alembic noted in this file; nothing of a file that is no database, which Dagster's own error is about."""
    if not store.exists():
        return []
    try:
        with closing(sqlite3.connect(store)) as connection:
            return sorted(version for (version,) in connection.execute("SELECT version_num FROM alembic_version"))
    except sqlite3.Error:
        return []


def _repair(store: Path) -> str:
    """Keep the newest version of a store whose tables are those of that version."""
    import sqlalchemy as sa
    from alembic.script import ScriptDirectory
    from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
    from dagster._core.storage.runs.schema import RunStorageSqlMetadata
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
    from dagster._core.storage.sql import get_alembic_config

    tables = {
        "runs.db": RunStorageSqlMetadata,
        "index.db": SqlEventLogStorageMetadata,
        "schedules.db": ScheduleStorageSqlMetadata,
    }[store.name]
    history = ScriptDirectory.from_config(get_alembic_config(sqlite_run_storage.__file__))
    newest, known = history.get_current_head(), {revision.revision for revision in history.walk_revisions()}
    versions = _versions(store)
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(store)), poolclass=sa.NullPool)
    if newest not in versions or not known.issuperset(versions) or not _has_columns(engine, tables):
        raise WeatherError(
            f"{store} has the versions {', '.join(versions)}, because two processes made it at once, and its tables "
            "are not those of this Dagster; put a copy of it back, or move it away: the history of runs goes with it, "
            "data and models stay"
        )
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version WHERE version_num != :newest"), {"newest": newest})
    return f"repaired {store}: two processes had made it at once"


def _has_columns(engine: "sa.Engine", tables: "sa.MetaData") -> bool:
    import sqlalchemy as sa

    found = sa.inspect(engine)
    return all(
        found.has_table(name) and {column["name"] for column in found.get_columns(name)} >= set(table.columns.keys())
        for name, table in tables.tables.items()
    )
