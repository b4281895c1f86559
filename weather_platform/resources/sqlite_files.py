"""What MLflow and Dagster keep in the SQLite files of a home, read by plain SQL without importing either.

What belongs here: the few questions of commands that only read, and the layouts (Alembic revisions) for which the
answers were compared with those of MLflow and Dagster. What does not: writing, and any other layout: `known` is False
for it, and the caller asks MLflow or Dagster itself. No file is made here, none is migrated.

Importing MLflow or Dagster takes longer than everything else that such a command does. Both keep these tables stable
within one revision, and a test compares this module with the installed packages.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from weather_platform.errors import RegistryError, WeatherError

MLFLOW_REVISION: Final = "dc11669786a5"
DAGSTER_REVISION: Final = "29b539ebc72a"
_BUSY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class _Store:
    """How messages call a store, and what they advise when its file is damaged."""

    name: str
    damaged: str


class MlflowFile:
    """The reading half of `MlflowClient` that `ModelRegistry` uses, on the SQLite file of a home."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = _Store(f"MLflow at sqlite:///{path}", "put a copy of the file back")

    @property
    def known(self) -> bool:
        """Whether there is nothing to read yet, or a layout that this module was compared with."""
        return _revision(self._path, self._store) in (None, MLFLOW_REVISION)

    def get_run(self, run_id: str) -> SimpleNamespace:
        """Status, tags, params and newest metrics of a run."""
        found = self._rows("SELECT status, experiment_id FROM runs WHERE run_uuid = ?", run_id)
        if not found:
            raise RegistryError(f"run {run_id} is not in {self._path}; put a backup of the file back")
        metrics = {
            key: float("nan") if is_nan else value
            for key, value, is_nan in self._rows(
                "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?", run_id
            )
        }
        data = SimpleNamespace(
            tags=dict(self._rows("SELECT key, value FROM tags WHERE run_uuid = ?", run_id)),
            params=dict(self._rows("SELECT key, value FROM params WHERE run_uuid = ?", run_id)),
            metrics=metrics,
        )
        [(status, experiment)] = found
        return SimpleNamespace(info=SimpleNamespace(status=status, experiment_id=str(experiment)), data=data)

    def get_model_version(self, name: str, version: str) -> SimpleNamespace:
        """One version; RegistryError when it is not there."""
        found = [each for each in self._versions(name) if each.version == int(version)]
        if not found:
            raise RegistryError(f"{name} has no version {version} in {self._path}; `weather models` lists them")
        return found[0]

    def search_model_versions(self, filter_string: str, page_token: str | None = None) -> "_Page":  # noqa: ARG002
        """All versions of one name, in one page."""
        return _Page(self._versions(_name_in(filter_string)))

    def search_registered_models(self, filter_string: str) -> list[SimpleNamespace]:
        """The model of this name with its aliases; none when nothing was registered."""
        name = _name_in(filter_string)
        if not self._rows("SELECT name FROM registered_models WHERE name = ?", name):
            return []
        aliases = dict(self._rows("SELECT alias, version FROM registered_model_aliases WHERE name = ?", name))
        return [SimpleNamespace(name=name, aliases=aliases)]

    def _versions(self, name: str) -> list[SimpleNamespace]:
        tags: dict[int, dict[str, str]] = {}
        for version, key, value in self._rows(
            "SELECT version, key, value FROM model_version_tags WHERE name = ?", name
        ):
            tags.setdefault(version, {})[key] = value
        # MLflow keeps the row of a version that was deleted, in this stage.
        query = (
            "SELECT version, creation_time, source, run_id FROM model_versions "
            "WHERE name = ? AND current_stage IS NOT 'Deleted_Internal' ORDER BY version"
        )
        return [
            SimpleNamespace(
                name=name,
                version=version,
                creation_timestamp=created,
                source=source,
                run_id=run_id,
                tags=tags.get(version, {}),
            )
            for version, created, source, run_id in self._rows(query, name)
        ]

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        return _rows(self._path, self._store, query, *values)


class _Page(list[SimpleNamespace]):
    """A page of an answer as MLflow gives it; there is no second one."""

    token = None


def _name_in(filter_string: str) -> str:
    """The name in `name='...'`, the one filter that the registry uses."""
    return filter_string.removeprefix("name='").removesuffix("'")


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run of Dagster as lists show it; `job` is None for one that was started from assets and not from a job."""

    run_id: str
    job: str | None
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Materialised:
    """One materialization: the run that made it, and the whole numbers among its metadata."""

    run_id: str
    numbers: Mapping[str, int]


class DagsterFiles:
    """The history in the SQLite files below a DAGSTER_HOME. A folder that is not there has no history."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = _Store(
            f"the storage of Dagster in {folder}",
            "put a copy of it back, or move it away: the history of runs goes with it, data and models stay",
        )
        self._runs, self._events = folder / "history" / "runs.db", folder / "history" / "runs" / "index.db"
        self._schedules = folder / "schedules" / "schedules.db"

    @property
    def known(self) -> bool:
        """Whether the history is in these files (no other storage is configured), in a layout that is known here."""
        return not self._configured_elsewhere() and all(
            _revision(path, self._store) in (None, DAGSTER_REVISION)
            for path in (self._runs, self._events, self._schedules)
        )

    def newest_runs(self, limit: int) -> list[RunSeen]:
        """The newest runs, newest first."""
        query = "SELECT run_id, pipeline_name, status, create_timestamp FROM runs ORDER BY id DESC LIMIT ?"
        return [
            RunSeen(
                run_id,
                job_of(name),
                status.lower(),
                datetime.fromisoformat(created).replace(tzinfo=UTC),
            )
            for run_id, name, status, created in _rows(self._runs, self._store, query, limit)
        ]

    def materialisations(self, asset: Sequence[str], partition: str, limit: int) -> Iterator[Materialised]:
        """The materializations of one partition, newest first."""
        query = (
            "SELECT run_id, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
            "AND asset_key = ? AND partition = ? ORDER BY id DESC LIMIT ?"
        )
        for run_id, event in _rows(self._events, self._store, query, json.dumps(list(asset)), partition, limit):
            made = json.loads(event)["dagster_event"]["event_specific_data"]["materialization"]
            values = {entry["label"]: entry["entry_data"].get("value") for entry in made["metadata_entries"]}
            yield Materialised(run_id, {name: value for name, value in values.items() if isinstance(value, int)})

    def _configured_elsewhere(self) -> bool:
        import yaml

        try:
            text = (self._folder / "dagster.yaml").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        except (OSError, UnicodeDecodeError):
            return True  # Dagster says what is wrong with it
        try:
            chosen = yaml.safe_load(text) or {}
        except yaml.YAMLError:
            return True
        return any(name.endswith("storage") for name in chosen)


def job_of(name: str) -> str | None:
    """The job of a run; None for one that `dagster` or a backfill started from assets, whose name means nothing."""
    return None if name.startswith("__") else name


def _revision(path: Path, of: _Store) -> str | None:
    """The layout of a file by its one Alembic revision; None when the file is not there, '' when it is not one."""
    if not path.exists():
        return None
    with _opened(path, of) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return ""
        found = [version for (version,) in connection.execute("SELECT version_num FROM alembic_version")]
    return str(found[0]) if len(found) == 1 else ""


def _rows(path: Path, of: _Store, query: str, *values: object) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    with _opened(path, of) as connection:
        return connection.execute(query, values).fetchall()


@contextmanager
def _opened(path: Path, of: _Store) -> Iterator[sqlite3.Connection]:
    """The file, for reading alone. WeatherError, one line, for whatever SQLite raises."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as connection:
            yield connection
    except sqlite3.Error as error:
        locked = isinstance(error, sqlite3.OperationalError)
        remedy = (
            "make sure that it can be read, that its disk has room and that nothing else holds it, then run again"
            if locked
            else of.damaged
        )
        raise WeatherError(f"{of.name} failed: {error}; {remedy}") from error
