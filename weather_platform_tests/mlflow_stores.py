"""Fixtures with a real MLflow on SQLite: its tables are made once per session and copied for each test."""

import shutil
from pathlib import Path

import pytest

from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform_tests.databases import migrated
from weather_platform_tests.small_models import Store


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs or models."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracking_uri(empty_mlflow: Path, tmp_path: Path) -> str:
    """A fresh MLflow store."""
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def store(tracking_uri: str, tmp_path: Path) -> Store:
    """A fresh MLflow store with a fresh application database."""
    migrated(tmp_path / "weather.db")
    return Store(tracking_uri, f"sqlite:///{tmp_path}/weather.db")
