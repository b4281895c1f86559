"""The resources of the graph, for either profile: which store each of them talks to.

What belongs here: the resources built on the stores of settings. What does not: where the stores are (``stores``), what
a resource does (``resources``, ``io_managers``), or any choice made while running: a profile is chosen once, by name,
and never fallen back from.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import dagster as dg

from weather_platform.assets.catalogue import LAKE_IO, MODEL_IO, REPORT_IO
from weather_platform.database import Database
from weather_platform.io_managers.lake import LakeIOManager
from weather_platform.io_managers.mlflow_models import model_io_manager
from weather_platform.io_managers.reports import report_io_manager
from weather_platform.resources.endpoint import Endpoint
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.mlflow_tracking import mlflow_resource
from weather_platform.resources.registry import ModelRegistry
from weather_platform.resources.reports import ReportStore
from weather_platform.resources.source import source_resource
from weather_platform.settings import Settings
from weather_platform.stores import application_database, mlflow_tracking_uri

EXPERIMENT = "weather_platform"
"""The MLflow experiment of all runs."""


def resources_for(settings: Settings) -> dict[str, Any]:
    """Every resource of the graph by its key. Building them opens nothing."""
    lake = LakeResource.from_settings(settings)
    return {
        "source": source_resource(settings),
        "lake": lake,
        LAKE_IO: LakeIOManager(lake=lake),
        "database": _database_resource(settings),
        "registry": ModelRegistry.from_settings(settings),
        "mlflow": mlflow_resource(mlflow_tracking_uri(settings), EXPERIMENT),
        MODEL_IO: model_io_manager(ModelRegistry.from_settings(settings)),
        "reports": ReportStore.from_settings(settings),
        REPORT_IO: report_io_manager,
        "endpoint": Endpoint.from_settings(settings),
    }


def _database_resource(settings: Settings) -> dg.ResourceDefinition:
    @dg.resource(description="Application database: forecasts, decisions and alias changes.")
    def database(_: dg.InitResourceContext) -> Iterator[Database]:
        with closing(application_database(settings)) as opened:
            opened.migrate()
            yield opened

    return database
