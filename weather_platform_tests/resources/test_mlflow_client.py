"""Making an SQLite store: whole or not at all, once, whoever is killed and whoever comes at the same time."""

import sqlite3
import time
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from weather_platform.errors import RegistryUnreachableError
from weather_platform.resources.mlflow_client import ensure_experiment, ensure_store, mlflow_client
from weather_platform_tests.processes import beside, race

WHOLE = {"mlflow.db"}


def opened(pipe: Connection, uri: str) -> None:
    """Open the store, and say so."""
    mlflow_client(uri)
    pipe.send("opened")


def opened_with_another(start: Barrier, uri: str) -> str:
    """Open the store at the same moment as another process, and use it; gives the id of the run made there."""
    start.wait()
    client = mlflow_client(uri)
    run = client.create_run(ensure_experiment(client, uri, "weather"))
    return str(run.info.run_id)


def works(uri: str) -> bool:
    """Whether runs and models can be written and read."""
    client = mlflow_client(uri)
    run = client.create_run(ensure_experiment(client, uri, "weather"))
    client.create_registered_model(run.info.run_id)
    return [model.name for model in client.search_registered_models()] == [run.info.run_id]


def begun(folder: Path) -> list[Path]:
    """Files of a store that hold a table already."""
    return [path for path in folder.glob("mlflow.db*") if path.stat().st_size > 0]


def test_a_process_that_is_killed_while_it_makes_the_store_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with beside(opened, uri) as process:
        give_up = time.monotonic() + 60
        while not begun(tmp_path):
            assert time.monotonic() < give_up
            time.sleep(0.001)
        process.kill()
    assert not (tmp_path / "mlflow.db").exists()
    assert begun(tmp_path), "the kill left a part of a store behind"
    assert works(uri)
    assert {path.name for path in tmp_path.iterdir()} == WHOLE


def test_two_processes_that_open_a_new_store_at_once_both_work_with_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new folder/mlflow.db"
    runs = race((opened_with_another, uri), (opened_with_another, uri))
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name("weather").experiment_id
    assert {run.info.run_id for run in client.search_runs([experiment])} == set(runs)
    assert len(set(runs)) == 2
    assert {path.name for path in (tmp_path / "new folder").iterdir()} == WHOLE


def test_a_store_is_made_anew_after_it_was_deleted_and_nothing_holds_the_file_it_was_made_in(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    for _ in range(2):
        ensure_store(f"sqlite:///{path}")
        held = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        assert not [name for name in held if name.is_relative_to(tmp_path)]
        with closing(sqlite3.connect(path)) as store:
            assert store.execute("SELECT count(*) FROM experiments").fetchone() == (1,)
        path.unlink()


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"a half made store, or none")
    ensure_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"a half made store, or none"
    assert [each.name for each in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "sqlite:///:memory:", "sqlite:///"])
def test_an_address_that_is_no_file_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.chdir(tmp_path)
    ensure_store(uri)
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, why in ((tmp_path / "file" / "home", "Not a directory"), (Path("/proc/home"), "No such file")):
        with pytest.raises(RegistryUnreachableError, match=rf"{folder} cannot be used: {why}.*WEATHER_HOME"):
            mlflow_client(f"sqlite:///{folder}/mlflow.db")
