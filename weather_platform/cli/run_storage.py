"""Dagster's run storage in SQLite, in which runs of a command belong to the code location that the UI loads.

Dagster shows a run under Overview and Jobs by the code location it was launched from, and a run that a program executes
itself has none. The files are the same, so the UI reads them as ever.
"""

from typing import Any

from dagster import DagsterRun
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.tags import CODE_LOCATION_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import ConfigurableClassData

LOCATION = "weather_platform"
"""The code location, as workspace.yaml names it."""
_REPOSITORY = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="weather_platform.definitions"), LOCATION),
    SINGLETON_REPOSITORY_NAME,
)


class LocatedRunStorage(SqliteRunStorage):
    """Gives each run without an origin that of the platform's code location."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "LocatedRunStorage":
        return cls.from_local(inst_data=inst_data, **config_value)

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        """Store the run, and give it back as it was stored."""
        if dagster_run.remote_job_origin is None:
            origin = _REPOSITORY.get_job_origin(dagster_run.job_name)
            dagster_run = dagster_run.with_job_origin(origin).with_tags(
                {**dagster_run.tags, CODE_LOCATION_TAG: LOCATION}
            )
        return super().add_run(dagster_run)
