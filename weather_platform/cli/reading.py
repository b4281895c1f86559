"""How the commands that only read open a home: they make nothing, migrate nothing, and answer at once.

What belongs here: the ways into the stores of such a command (`status`, `models`, `skill`, `lineage`, `stations`).
They import neither MLflow nor Dagster where the store is a file of the home. What does not: what the commands print,
and commands that write (those use ``cli.home.open_instance`` and ``Database.migrate``).
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from weather_platform.cli.home import dagster_folder, open_instance
from weather_platform.errors import SettingsError
from weather_platform.settings import Settings
from weather_platform.stores import application_database

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from weather_platform.database import Database
    from weather_platform.resources.sqlite_files import Materialised, RunSeen


class RunHistory(Protocol):
    """What Dagster recorded, as far as these commands ask."""

    def newest_runs(self, limit: int) -> "Sequence[RunSeen]": ...
    def materialisations(self, asset: Sequence[str], partition: str, limit: int) -> "Iterable[Materialised]": ...


def no_home(settings: Settings) -> str | None:
    """The line that says what to do first when nothing was run in the home yet; None for a home.

    The stores of the stack are servers, so it always has one.
    """
    if settings.profile == "stack":
        return None
    _require_usable(settings.home)
    if any((settings.home / name).exists() for name in ("weather.env", "weather.db", "lake")):
        return None
    return (
        f"{settings.home} is not a home yet; `weather demo` makes one with synthetic weather, `weather run` trains one "
        "on your own rows, and WEATHER_HOME names another folder"
    )


def _require_usable(home: Path) -> None:
    """SettingsError when no home can be there: below a file, or on a file system that holds no files (/proc)."""
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    reason = None
    if not there.is_dir():
        reason = os.strerror(errno.ENOTDIR)
    elif there != home and os.statvfs(there).f_blocks == 0:
        reason = "no folder can be made there"
    if reason is not None:
        raise SettingsError(f"{home} cannot be used: {reason}; set WEATHER_HOME to a writable folder")


def require_home(settings: Settings) -> None:
    """SettingsError when nothing was run in the home yet."""
    if (line := no_home(settings)) is not None:
        raise SettingsError(line)


@contextmanager
def reading_database(settings: Settings) -> "Iterator[Database]":
    """The application database as it is; closed afterwards.

    SettingsError when there is none yet, WeatherError when it is of another version of this package.
    """
    require_home(settings)
    if settings.profile == "embedded" and not (settings.home / "weather.db").exists():
        raise SettingsError(f"nothing was learned in {settings.home} yet; `weather run` or `weather demo` does that")
    with closing(application_database(settings)) as database:
        database.require_current()
        yield database


@contextmanager
def reading_history(settings: Settings) -> Iterator[RunHistory]:
    """Dagster's history of the home, empty if there is none yet; through Dagster if it is kept elsewhere."""
    from weather_platform.resources.sqlite_files import DagsterFiles

    folder = dagster_folder(settings)
    files = DagsterFiles(folder)
    if files.known:
        yield files
        return
    with open_instance(settings) as instance:
        yield _Instance(instance)


class _Instance:
    """The same answers from Dagster itself."""

    def __init__(self, instance: "DagsterInstance") -> None:
        self._instance = instance

    def newest_runs(self, limit: int) -> "list[RunSeen]":
        from weather_platform.resources.sqlite_files import RunSeen, job_of

        records = self._instance.get_run_records(limit=limit)
        runs = [(record.dagster_run, record.create_timestamp) for record in records]
        return [RunSeen(run.run_id, job_of(run.job_name), run.status.value.lower(), moment) for run, moment in runs]

    def materialisations(self, asset: Sequence[str], partition: str, limit: int) -> "Iterator[Materialised]":
        import dagster as dg

        from weather_platform.resources.sqlite_files import Materialised

        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(list(asset)), asset_partitions=[partition])
        for record in self._instance.fetch_materializations(wanted, limit=limit).records:
            if (made := record.asset_materialization) is not None:
                values = {name: entry.value for name, entry in made.metadata.items()}
                numbers = {name: value for name, value in values.items() if isinstance(value, int)}
                yield Materialised(record.run_id, numbers)
