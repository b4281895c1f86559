"""The SQLite file of MLflow read by plain SQL: the same answers as MLflow's client, for the layout that is known."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from weather_platform.errors import RegistryError, RegistryUnreachableError, WeatherError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PREVIOUS, PRODUCTION, ModelRegistry
from weather_platform.resources.sqlite_files import MLFLOW_REVISION, MlflowFile
from weather_platform.settings import load_settings
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.conftest import first, home
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET

__all__ = ["first", "home"]


def reading(home: MadeHome) -> ModelRegistry:
    registry = ModelRegistry.for_reading(home.settings)
    assert isinstance(registry._client, MlflowFile), "this layout is that of the installed MLflow"
    return registry


def test_versions_aliases_runs_and_recipes_are_those_that_the_client_gives(home: MadeHome) -> None:
    client, target = mlflow_client(mlflow_tracking_uri(home.settings)), "max_temp_tomorrow"
    version = home.registry.production(TARGET)
    for _ in range(2):
        client.create_model_version(TARGET, source=version.model_uri, run_id=version.run_id, tags=dict(version.tags))
    client.delete_model_version(TARGET, "2")
    client.set_registered_model_alias(TARGET, PREVIOUS, "3")
    client.log_metric(version.run_id, "test_odd", float("nan"))
    ours, theirs = reading(home), home.registry
    assert [model.version for model in ours.versions(TARGET)] == [1, 3]
    assert ours.aliases(TARGET) == theirs.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 3}
    for name in (TARGET, target, "snow_tomorrow"):
        assert ours.versions(name) == theirs.versions(name)
        assert ours.aliases(name) == theirs.aliases(name)
        for model in theirs.versions(name):
            assert ours.version(name, model.version) == model
            assert ours.recipe(model.run_id) == theirs.recipe(model.run_id)
            one, other = ours.reference(model.run_id), theirs.reference(model.run_id)
            assert {**one.metrics} == pytest.approx({**other.metrics}, rel=0, abs=0, nan_ok=True)
            assert (one.digest, one.lake_versions, one.source) == (other.digest, other.lake_versions, other.source)
    with pytest.raises(RegistryError, match=f"{TARGET} has no version 7"):
        ours.version(TARGET, 7)
    with pytest.raises(RegistryError, match="run of_nobody is not in"):
        ours.reference("of_nobody")


def test_a_file_of_another_layout_is_left_to_mlflow(home: MadeHome) -> None:
    with closing(sqlite3.connect(home.folder / "mlflow.db")) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '0a0a0a0a0a0a'")
    assert not MlflowFile(home.folder / "mlflow.db").known
    with pytest.raises(RegistryUnreachableError, match="opening the store"):
        ModelRegistry.for_reading(home.settings).versions(TARGET)


def test_no_file_holds_no_versions_and_none_is_made(tmp_path: Path) -> None:
    registry = ModelRegistry.for_reading(load_settings(home=tmp_path / "home"))
    assert registry.versions(TARGET) == []
    assert registry.aliases(TARGET) == {}
    assert not (tmp_path / "home").exists()


def test_a_file_that_is_not_a_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(WeatherError, match=r"MLflow at sqlite:///.*/mlflow\.db failed: file is not a database"):
        ModelRegistry.for_reading(load_settings(home=tmp_path))


def test_the_known_layout_is_that_of_the_installed_mlflow(first: MadeHome) -> None:
    with closing(sqlite3.connect(first.folder / "mlflow.db")) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [(MLFLOW_REVISION,)]
