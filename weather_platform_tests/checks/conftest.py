"""A real MLflow on SQLite and a real application database, in the places where the embedded profile has them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from weather_platform_tests.mlflow_stores import empty_mlflow, tracking_uri
from weather_platform_tests.small_models import Store

__all__ = ["empty_mlflow", "tracking_uri"]


@pytest.fixture(scope="session")
def two_versions(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an MLflow in which two versions are registered, and an application database; no alias yet."""
    folder = tmp_path_factory.mktemp("versions")
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    made = Store(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/weather.db")
    made.database.migrate()
    made.register(2015, seed=1)
    made.register(2015, seed=2)
    return folder


@pytest.fixture
def store(two_versions: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of both databases and of the model files: the addresses in a copied MLflow follow it."""
    shutil.copytree(two_versions, tmp_path, dirs_exist_ok=True)
    opened = Store(f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/weather.db")
    opened.database.migrate()
    yield opened
    opened.database.close()
