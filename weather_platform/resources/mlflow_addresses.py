"""Where MLflow's SQLite store says its files are, and setting that right after the home was moved or copied.

What belongs here: the columns of MLflow that hold addresses, and writing to them. What does not: opening and making
the store (``mlflow_client``), and reading it (``sqlite_files``).

MLflow writes a whole `file://` address into every experiment, run, model and version. The files are always in
`<store>_artifacts` beside the store. So when a store that names another folder is opened, its home was moved or copied,
and all its addresses get the present folder, in one transaction.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from weather_platform.errors import RegistryError

_COLUMNS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("tags", "value"),  # `model_uri` of a run is ours
    ("trace_tags", "value"),
)
"""Columns that hold addresses of files. A column that this MLflow does not have is passed over."""
_LOCKED_SECONDS: Final = 60


def artifact_root(store: Path) -> str:
    """The `file://` address of the folder with the files of this store."""
    return (store.absolute().parent / f"{store.stem}_artifacts").as_uri()


def place_default_experiment(store: Path, root: str) -> None:
    """Put the files of MLflow's `Default` below this address; in a new store they go to the working directory."""
    with closing(sqlite3.connect(store)) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = ? || '/' || experiment_id WHERE name = 'Default'", (root,)
        )


def follow_moved_home(store: Path) -> None:
    """Point all addresses at the files beside this store. One that is in its place is only read.

    RegistryError when the store cannot be read or changed. A file that is no SQLite store is left to MLflow to refuse.
    """
    root = artifact_root(store)
    try:
        # Without `mode=rw` SQLite would make the file, should another process have deleted it.
        with closing(
            sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", _LOCKED_SECONDS, isolation_level=None, uri=True)
        ) as database:
            if not _earlier_roots(database, root):
                return
            database.execute("BEGIN IMMEDIATE")  # a process that was faster is done now, and nothing is left to do
            there = _columns(database, *dict(_COLUMNS))
            for earlier in _earlier_roots(database, root):
                for table, column in filter(there.__contains__, _COLUMNS):
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - names of ours
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (root, len(earlier) + 1, earlier, len(earlier) + 1, f"{earlier}/"),
                    )
            database.execute("COMMIT")
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return
        raise RegistryError(
            f"{store} cannot be read, or not be changed to name the files beside it: {error}; "
            "make sure that it can be written and that nothing else holds it, then run again"
        ) from None


def _earlier_roots(database: sqlite3.Connection, root: str) -> list[str]:
    """Folders of files that experiments name and that are not the present one."""
    if ("experiments", "artifact_location") not in _columns(database, "experiments"):
        return []
    name = root.rpartition("/")[2]
    places = [place for (place,) in database.execute("SELECT DISTINCT artifact_location FROM experiments")]
    return [each for each in places if each and re.fullmatch(f"file:.*/{re.escape(name)}", each) and each != root]


def _columns(database: sqlite3.Connection, *tables: str) -> list[tuple[str, str]]:
    """Tables and columns of this store among those."""
    return [(table, column) for table in tables for (_, column, *_) in database.execute(f"PRAGMA table_info({table})")]
