"""Commands that only read: neither MLflow nor Dagster is imported, no home is made, no database is migrated."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from weather_platform.cli.reading import reading_history
from weather_platform.database import Database
from weather_platform.resources.sqlite_files import DagsterFiles
from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.cli.test_exit_codes import failed
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, empty_home, environment, files_of
from weather_platform_tests.small_models import TARGET

NEWEST = "2015-06-30"
COMMANDS = {
    "status": ["status"],
    "models": ["models"],
    "skill": ["skill"],
    "decisions": ["decisions"],
    "lineage": ["lineage", TARGET, "cobar", NEWEST],
    "forecast": ["forecast"],
    "help": ["--help"],
}

_CALL = """
import sys
from weather_platform.cli import main
try:
    main()
    code = 0
except SystemExit as end:
    code = end.code or 0
print(code, sorted({name.partition(".")[0] for name in sys.modules} & {"mlflow", "dagster"}), file=sys.stderr)
"""


@pytest.fixture
def nothing(tmp_path: Path) -> MadeHome:
    """A home in which nothing was run."""
    return empty_home(tmp_path / "home")


def imported(home: MadeHome, *arguments: str) -> str:
    """The code of a command in a process of its own, and which of the two heavy packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", _CALL, *arguments],
        cwd=PROJECT_DIR, env=clean_environment() | dict(home.env), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_only_reads_imports_neither_mlflow_nor_dagster(first: MadeHome, name: str) -> None:
    assert imported(first, *COMMANDS[name]) == "0 []"


def test_a_command_that_trains_imports_both(first: MadeHome) -> None:
    """So the test above would see them."""
    assert imported(first, "reproduce", TARGET, "1") == "0 ['dagster', 'mlflow']"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "help"])
def test_a_folder_that_is_no_home_stays_as_it_is_and_the_line_says_what_to_do_first(
    nothing: MadeHome, name: str
) -> None:
    done = nothing.call(*COMMANDS[name])
    assert done.code == (0 if name in ("status", "models") else 1), "nothing to list is an answer"
    [line] = (done.out + done.err).splitlines()
    assert "`weather demo`" in line
    assert "`weather run`" in line
    assert not nothing.folder.exists()
    nothing.folder.mkdir()
    (nothing.folder / "notes.txt").touch()
    assert nothing.call(*COMMANDS[name]).code == done.code
    assert files_of(nothing.folder) == {"notes.txt"}


def test_a_home_whose_first_run_failed_is_a_home_without_models(nothing: MadeHome) -> None:
    nothing.folder.mkdir()
    (nothing.folder / "weather.env").touch()
    assert f"{TARGET}: no Production model; `weather run` trains one" in nothing.call("status").out
    assert f"{TARGET}: no version is registered yet; `weather run` trains one" in nothing.call("models").out
    assert "nothing was learned" in failed(nothing, "skill")
    assert "nothing was learned" in failed(nothing, *COMMANDS["lineage"])
    assert files_of(nothing.folder) == {"weather.env"}


def older(home: MadeHome, revision: str) -> Path:
    """The database as a version of before made it."""
    path = home.folder / "weather.db"
    config = Config()
    config.set_main_option("script_location", "weather_platform:database/migrations")
    for name in ("weather.db", "weather.db-wal", "weather.db-shm"):
        (home.folder / name).unlink(missing_ok=True)
    with closing(Database(f"sqlite:///{path}")) as database, database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return path


@pytest.mark.parametrize("name", ["status", "skill", "lineage", "decisions"])
def test_a_database_of_an_older_version_is_not_migrated_by_reading(home: MadeHome, name: str) -> None:
    path = older(home, "0004")
    before = path.read_bytes()
    said = failed(home, *COMMANDS[name])
    assert "of an older version of this package (layout 0004, now" in said
    assert "`weather forecast` brings it up to date" in said
    assert path.read_bytes() == before
    assert home.call("forecast").code == 0
    assert "older version" not in home.call(*COMMANDS[name]).err


def test_a_database_of_a_newer_version_is_named_and_left(home: MadeHome) -> None:
    with closing(home.database) as database, database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9000'"))
    assert "of a newer version of this package (layout 9000" in failed(home, "skill")


def test_the_history_read_from_the_files_is_the_one_that_dagster_gives(home: MadeHome) -> None:
    assets = (["observations"], ["features"], [TARGET, "forecasts"], ["nothing"])
    partitions = ("2015", NEWEST)
    with environment(clean_environment()), reading_history(home.settings) as files:
        assert isinstance(files, DagsterFiles)
        runs = files.newest_runs(3)
        made = [list(files.materialisations(asset, key, 10)) for asset in assets for key in partitions]
    (home.folder / "dagster" / "dagster.yaml").write_text(
        "event_log_storage:\n  module: dagster._core.storage.event_log\n  class: SqliteEventLogStorage\n"
        f"  config:\n    base_dir: {home.folder}/dagster/history/runs\n"
    )
    assert not DagsterFiles(home.folder / "dagster").known, "another storage may be anywhere"
    files_alone = DagsterFiles(home.folder / "dagster")
    with home.dagster() as instance:
        from weather_platform.cli.reading import _Instance

        dagster = _Instance(instance)
        assert [(run.run_id, run.job, run.status) for run in dagster.newest_runs(3)] == [
            (run.run_id, run.job, run.status) for run in runs
        ]
        assert [run.created_at for run in dagster.newest_runs(3)] == [run.created_at for run in runs]
        assert made == [list(dagster.materialisations(asset, key, 10)) for asset in assets for key in partitions]
    assert len(runs) == 3
    assert sum(map(len, made)) >= 3
    assert files_alone.newest_runs(3) == runs
