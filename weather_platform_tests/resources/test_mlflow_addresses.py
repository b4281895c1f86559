"""The addresses of MLflow's files after the folder with the store was moved or copied."""

import shutil
import sqlite3
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from weather_platform.errors import RegistryError
from weather_platform.resources.mlflow_addresses import artifact_root, follow_moved_home
from weather_platform.resources.mlflow_client import ensure_store, mlflow_client
from weather_platform.resources.registry import RegisteredModel
from weather_platform_tests.processes import race
from weather_platform_tests.small_models import TARGET, Store, small_model
from weather_platform_tests.watched import watched


def store_in(folder: Path) -> Store:
    return Store(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/weather.db")


def texts(store: Path) -> list[tuple[str, str, str]]:
    """Every text of every table of a store, with table and column."""
    found = []
    with closing(sqlite3.connect(store)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = database.execute(f"SELECT * FROM {table}")  # noqa: S608
            names = [column[0] for column in rows.description]
            found += [
                (table, name, value)
                for row in rows
                for name, value in zip(names, row, strict=True)
                if isinstance(value, str)
            ]
    return found


def naming(store: Path, folder: Path) -> list[tuple[str, str, str]]:
    """Those texts that name a folder, as a path or as an address."""
    return [each for each in texts(store) if f"{folder}/" in each[2] or f"{folder.as_uri()}/" in each[2]]


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Path:
    """A folder with a store that knows a model, and has files of every kind."""
    model = store.register()
    client = mlflow_client(store.tracking_uri)
    client.log_text(model.run_id, "a card", "model_card.md")
    client.create_experiment("of a user, elsewhere", artifact_location="file:///srv/experiments")
    made = tmp_path / "made"
    made.mkdir()
    for name in ("mlflow.db", "weather.db", "mlflow_artifacts"):
        (tmp_path / name).rename(made / name)
    follow_moved_home(made / "mlflow.db")
    return made


def read_and_written(folder: Path) -> RegisteredModel:
    """Load what is registered in this folder, and register another; gives the first."""
    store = store_in(folder)
    version = store.registry.version(TARGET, 1)
    assert store.registry.load(version).digest == small_model().digest
    client = mlflow_client(store.tracking_uri)
    assert client.list_artifacts(version.run_id, "plots")
    client.log_text(version.run_id, "another card", "model_card.md")
    assert store.register(seed=2).version == 2
    return version


@pytest.mark.parametrize("name", ["moved", "a b", "it's 'quoted' \"twice\"", "höme_$HOME", "made2"])
def test_a_moved_store_reads_and_writes_in_its_own_folder(made: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    made.rename(folder)
    version = read_and_written(folder)
    assert version.model_uri.startswith(f"{folder.as_uri()}/mlflow_artifacts/models/")
    assert naming(folder / "mlflow.db", made) == []
    assert not made.exists()


def test_a_copied_store_opens_nothing_of_its_original(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "copy")
    with watched(made) as opened:
        read_and_written(tmp_path / "copy")
    assert opened == []
    with watched(made) as opened:
        read_and_written(made)
    assert "mlflow.db" in opened, "the watch sees what is opened"


def test_every_address_follows_and_no_other_text_changes(made: Path, tmp_path: Path) -> None:
    before = naming(made / "mlflow.db", made)
    assert {each[:2] for each in before} == {
        ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
        ("model_versions", "source"), ("model_versions", "storage_location"), ("tags", "value"),
    }  # fmt: skip
    kept = [each for each in texts(made / "mlflow.db") if each not in before]
    shutil.copytree(made, tmp_path / "copy")
    follow_moved_home(tmp_path / "copy" / "mlflow.db")
    after = texts(tmp_path / "copy" / "mlflow.db")
    moved = [(*each[:2], each[2].replace(made.as_uri(), (tmp_path / "copy").as_uri())) for each in before]
    assert sorted(after) == sorted(kept + moved)
    assert ("experiments", "artifact_location", "file:///srv/experiments") in after


def test_a_store_in_its_place_is_not_written_to(made: Path) -> None:
    before = (made / "mlflow.db").read_bytes()
    ensure_store(f"sqlite:///{made}/mlflow.db")
    assert (made / "mlflow.db").read_bytes() == before


def opened_at_once(start: Barrier, folder: Path) -> str:
    start.wait()
    follow_moved_home(folder / "mlflow.db")
    return store_in(folder).registry.version(TARGET, 1).model_uri


def test_two_processes_that_open_a_moved_store_at_once_agree(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    made.rename(folder)
    found = race((opened_at_once, folder), (opened_at_once, folder))
    assert found[0] == found[1]
    assert found[0].startswith(folder.as_uri())


def test_a_moved_store_that_cannot_be_changed_is_refused_in_one_line_and_stays_as_it_was(
    made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    made.rename(folder)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON model_versions BEGIN SELECT raise(ABORT, 'disk is full'); END"
        )
    before = texts(folder / "mlflow.db")
    with pytest.raises(RegistryError) as caught:
        follow_moved_home(folder / "mlflow.db")
    assert str(caught.value).startswith(f"{folder}/mlflow.db cannot be read, or not be changed to name the files")
    assert "disk is full; make sure that it can be written" in str(caught.value)
    assert texts(folder / "mlflow.db") == before


def test_runs_outside_the_experiment_of_the_platform_leave_their_files_in_the_home_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    client = mlflow_client(f"sqlite:///{tmp_path}/home/mlflow.db")
    run = client.create_run("0")
    client.log_text(run.info.run_id, "a note", "note.txt")
    assert run.info.artifact_uri.startswith(artifact_root(tmp_path / "home" / "mlflow.db"))
    assert [*(tmp_path / "home").rglob("note.txt")]
    assert not [*(tmp_path / "elsewhere").iterdir()]
