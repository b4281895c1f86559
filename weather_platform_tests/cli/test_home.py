"""The Dagster stores of a home: made once by however many first processes, repaired, and found by DAGSTER_HOME."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef

from weather_platform.cli.home import open_instance
from weather_platform.errors import WeatherError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.settings import load_settings
from weather_platform.stores import application_database, mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.processes import exit_code, race

STORES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
OLD_VERSION = "5771160a95ad"
"""What Dagster stamps on tables without a version."""


def versions(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as connection:
        return sorted(version for (version,) in connection.execute("SELECT version_num FROM alembic_version"))


def stamp(store: Path, version: str) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))


@pytest.fixture
def no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> MadeHome:
    return empty_home(tmp_path / "home")


def count_runs(start: Barrier, folder: Path) -> str:
    """What a first process of the home finds, or the line of its error."""
    os.environ.pop("DAGSTER_HOME", None)
    start.wait(60)
    try:
        with open_instance(load_settings(home=folder)) as instance:
            return str(instance.get_runs_count())
    except WeatherError as error:
        return str(error)


def count_runs_in(start: Barrier, folder: Path, chosen: Path) -> str:
    """The same with a DAGSTER_HOME of the user."""
    os.environ["DAGSTER_HOME"] = str(chosen)
    start.wait(60)
    with open_instance(load_settings(home=folder)) as instance:
        return str(instance.get_runs_count())


def make_all_stores(start: Barrier, folder: Path) -> str:
    os.environ.pop("DAGSTER_HOME", None)
    settings = load_settings(home=folder)
    start.wait(60)
    with closing(application_database(settings)) as database:
        database.migrate()
    with open_instance(settings) as instance:
        runs = instance.get_runs_count()
    return f"{runs} {len(mlflow_client(mlflow_tracking_uri(settings)).search_registered_models())}"


@pytest.mark.parametrize("attempt", range(3))
def test_first_processes_of_a_home_at_once_leave_one_version_in_every_store(tmp_path: Path, attempt: int) -> None:
    folder = tmp_path / "home"
    assert race(*[(count_runs, folder)] * 4) == ["0"] * 4
    assert [len(versions(folder / "dagster" / store)) for store in STORES] == [1, 1, 1]
    assert {path.name for path in (folder / "dagster").iterdir()} == {"dagster.yaml", "history", "schedules"}


def test_first_processes_of_a_dagster_home_of_the_users_own_leave_one_version_too(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    assert race(*[(count_runs_in, tmp_path / f"home{number}", chosen) for number in range(4)]) == ["0"] * 4
    assert [len(versions(chosen / store)) for store in STORES] == [1, 1, 1]


def test_all_stores_of_a_home_are_made_once_by_processes_that_come_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    assert race(*[(make_all_stores, folder)] * 3) == ["0 0"] * 3
    for name in (*(f"dagster/{store}" for store in STORES), "weather.db", "mlflow.db"):
        assert len(versions(folder / name)) == 1, name


def kill_while_making(folder: Path) -> None:
    """End as a kill would, after the first of Dagster's stores was made."""
    import signal

    from dagster._core.storage.schedules import SqliteScheduleStorage

    def killed(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    os.environ.pop("DAGSTER_HOME", None)
    SqliteScheduleStorage.from_local = killed  # type: ignore[assignment,method-assign]
    with open_instance(load_settings(home=folder)):
        pass


@pytest.mark.usefixtures("no_dagster_home")
def test_a_process_killed_while_it_made_the_stores_leaves_none_in_pieces(home: MadeHome) -> None:
    assert exit_code(kill_while_making, home.folder) == -9
    assert not (home.folder / "dagster" / "history").exists()
    with open_instance(home.settings) as instance:
        assert instance.get_runs_count() == 0
    assert {path.name for path in (home.folder / "dagster").iterdir()} == {"dagster.yaml", "history", "schedules"}


@pytest.mark.parametrize("store", STORES)
def test_a_store_with_two_versions_is_repaired_and_says_so(home: MadeHome, store: str) -> None:
    with home.dagster() as instance:
        instance.add_dynamic_partitions("kept", ["one"])
    path = home.folder / "dagster" / store
    [head] = versions(path)
    stamp(path, OLD_VERSION)
    done = home.call("env")
    assert done.code == 0, done.err
    assert done.lines[0] == f"weather: repaired {path}: two processes had made it at once"
    assert versions(path) == [head]
    with home.dagster() as instance:
        assert instance.get_dynamic_partitions("kept") == ["one"]
    assert home.call("env").err == ""


def test_a_store_with_a_version_that_is_not_known_is_refused_in_one_line_and_left_as_it_is(home: MadeHome) -> None:
    with home.dagster():
        pass
    path = home.folder / "dagster" / STORES[0]
    stamp(path, "of_the_future")
    before = versions(path)
    done = home.call("env")
    assert (done.code, len(done.lines)) == (1, 1)
    assert done.err.startswith(f"weather: {path} has the versions ")
    assert "put a copy of it back, or move it away" in done.err
    assert versions(path) == before


def test_a_store_with_two_versions_without_a_table_of_the_newest_is_refused(home: MadeHome) -> None:
    with home.dagster():
        pass
    path = home.folder / "dagster" / STORES[0]
    stamp(path, OLD_VERSION)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE bulk_actions")
    done = home.call("env")
    assert (done.code, len(done.lines)) == (1, 1)
    assert "has the versions" in done.err


def test_the_exports_come_with_stores_that_dagster_finds_made(home: MadeHome) -> None:
    assert home.call("env").code == 0
    before = {store: (home.folder / "dagster" / store).stat().st_ino for store in STORES}
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(home.folder / "dagster"))) as instance:
        assert instance.get_runs_count() == 0
    assert {store: (home.folder / "dagster" / store).stat().st_ino for store in STORES} == before


# ---------------------------------------------------------------- a DAGSTER_HOME left in the shell


@contextmanager
def stale(kind: str, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    yield {
        "deleted": str(tmp_path / "gone" / "dagster"),
        "relative": "some/dagster",
        "a file": str(tmp_path / "file"),
        "below a file": str(tmp_path / "file" / "dagster"),
        "a loop": str(tmp_path / "loop"),
        "a link to nothing": str(tmp_path / "dangling"),
        "a user who does not exist": "~nobody-of-this-name/dagster",
        "a blank": " ",
    }[kind]


KINDS = (
    "deleted", "relative", "a file", "below a file", "a loop", "a link to nothing", "a user who does not exist",
    "a blank",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_stale_dagster_home_is_one_line_with_the_remedy(home: MadeHome, tmp_path: Path, kind: str) -> None:
    with stale(kind, tmp_path) as chosen:
        for command in ("env", "ui", "demo"):
            done = home.call(command, DAGSTER_HOME=chosen)
            assert (done.code, done.out) == (1, ""), (command, done)
            assert "Traceback" not in done.err
            assert done.lines[-1].startswith(f"weather: DAGSTER_HOME is {chosen!r}, which is not "), done.err
            assert "`unset DAGSTER_HOME`" in done.err


def test_the_dagster_home_of_a_deleted_home_is_made_again_when_it_is_this_one(home: MadeHome) -> None:
    shell = {"DAGSTER_HOME": str(home.folder / "dagster")}
    assert home.call("env", **shell).code == 0
    shutil.rmtree(home.folder)
    done = home.call("env", **shell)
    assert done.code == 0, done.err


def test_the_dagster_home_of_another_home_is_not_used(home: MadeHome, tmp_path: Path) -> None:
    other = empty_home(tmp_path / "other")
    with closing(other.database) as database:
        database.migrate()
    assert other.call("env").code == 0
    (tmp_path / "link").symlink_to(other.folder / "dagster")
    for chosen in (other.folder / "dagster", other.folder / "lake" / ".." / "dagster"):
        done = home.call("env", DAGSTER_HOME=str(chosen))
        assert f"export DAGSTER_HOME={home.folder}/dagster" in done.out.splitlines()


@pytest.mark.parametrize("written", ["no: [such", "nosuchkey: 1\n", "storage: 3\n", b"\xff\xfe\x00"])
def test_a_dagster_yaml_that_dagster_cannot_use_is_one_line(
    home: MadeHome, tmp_path: Path, written: str | bytes
) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "dagster.yaml").write_bytes(written.encode() if isinstance(written, str) else written)
    for command in ("env", "demo"):
        done = home.call(command, DAGSTER_HOME=str(chosen))
        assert (done.code, done.out) == (1, ""), (command, done)
        assert "Traceback" not in done.err
        assert done.lines[-1].startswith(f"weather: {chosen}/dagster.yaml cannot be used: ")


def test_a_dagster_home_that_can_be_used_is_used(home: MadeHome, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    assert home.call("env", DAGSTER_HOME=str(chosen)).code == 0
    assert (chosen / STORES[0]).exists()
    assert not (home.folder / "dagster").exists()
