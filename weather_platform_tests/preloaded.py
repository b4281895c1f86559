"""What a process that is forked for a test has imported already."""

import pytest  # noqa: F401 - the modules of the tests import it
import uvicorn.protocols.http.httptools_impl  # noqa: F401 - the servers of the tests import it when they begin to serve

import weather_platform.build
import weather_platform.lake
import weather_platform.serving.worker  # noqa: F401
from weather_platform.resources.mlflow_client import prepare_mlflow

prepare_mlflow()

import mlflow.store.model_registry.sqlalchemy_store  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401
