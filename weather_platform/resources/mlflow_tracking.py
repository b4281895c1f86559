"""The `mlflow` resource: dagster-mlflow's, imported when a run uses it, with one parent run per Dagster run.

What belongs here: beginning and ending the parent run. What does not: the nested runs of models
(``io_managers.mlflow_models``), which are made with explicit run ids and never through MLflow's active run.

The parent run carries the tag `dagster_run_id`; nested runs carry `weather.dagster_run_id`, because dagster-
mlflow takes any run with the former for the parent. The parent ends with the last step that uses it: FAILED
when a step of the Dagster run failed, else FINISHED. Runs that a killed process left RUNNING are closed by
the next one.
"""

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from weather_platform.errors import SettingsError, WeatherError
from weather_platform.resources.mlflow_client import (
    answering,
    ensure_experiment,
    mlflow_client,
    place,
    run_url,
)

PARENT_TAG = "dagster_run_id"
NESTED_TAG = "weather.dagster_run_id"


@dataclass(frozen=True)
class MlflowRun:
    """The parent run of this Dagster run. `dagster_mlflow` is dagster-mlflow's own object."""

    client: Any
    tracking_uri: str
    experiment_id: str
    run_id: str
    dagster_mlflow: Any

    @property
    def url(self) -> str:
        """The page of the parent run."""
        return run_url(self.tracking_uri, self.experiment_id, self.run_id)


def mlflow_resource(tracking_uri: str, experiment_name: str) -> dg.ResourceDefinition:
    """The resource to bind as `mlflow`. Building it touches nothing and does not import MLflow."""

    @dg.resource(description=f"MLflow runs of experiment '{experiment_name}' at {place(tracking_uri)}.")
    def mlflow(context: dg.InitResourceContext) -> Iterator[MlflowRun]:
        run, instance = context.run, context.instance
        if run is None or instance is None:
            raise SettingsError("the mlflow resource needs a Dagster run; materialise the asset instead of calling it")
        client = mlflow_client(tracking_uri)
        with answering(tracking_uri, f"beginning the run of Dagster run {run.run_id}"):
            experiment_id = ensure_experiment(client, tracking_uri, experiment_name)
            close_abandoned(client, experiment_id, instance)
            run_id = _parent_run(client, experiment_id, run)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dg.BetaWarning)  # dagster-mlflow as a whole is marked beta
                tracking = _dagster_mlflow(context, tracking_uri, experiment_name, run_id)
                tracker = next(tracking)
        try:
            yield MlflowRun(client, tracking_uri, experiment_id, run_id, tracker)
        finally:
            tracking.close()
            try:
                with answering(tracking_uri, f"ending run {run_id}"):
                    _end(client, run_id, "FAILED" if _has_failed(instance, run.run_id) else "FINISHED")
            except WeatherError as error:
                # The work is done or has failed already; the next run closes this one.
                dg.get_dagster_logger().warning(str(error))

    return mlflow


def close_abandoned(client: Any, experiment_id: str, instance: dg.DagsterInstance) -> list[str]:
    """End runs that are RUNNING in MLflow although their Dagster run is over. Gives their ids."""
    closed = []
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=200):
        owner = run.data.tags.get(PARENT_TAG) or run.data.tags.get(NESTED_TAG)
        dagster_run = instance.get_run_by_id(owner) if owner else None
        if dagster_run is not None and dagster_run.is_finished:  # unknown owners belong to another Dagster
            client.set_terminated(run.info.run_id, "FINISHED" if dagster_run.is_success else "FAILED")
            closed.append(run.info.run_id)
    return closed


def _parent_run(client: Any, experiment_id: str, run: dg.DagsterRun) -> str:
    """The one parent run of this Dagster run. Steps of several processes may ask at once: the oldest wins."""

    def parents() -> list[str]:
        found = client.search_runs([experiment_id], f"tags.{PARENT_TAG} = '{run.run_id}'")
        return [each.info.run_id for each in sorted(found, key=lambda each: (each.info.start_time, each.info.run_id))]

    if known := parents():
        return known[0]
    tags = {PARENT_TAG: run.run_id, "dagster_job": run.job_name}
    mine: str = client.create_run(experiment_id, run_name=f"{run.job_name} {run.run_id[:8]}", tags=tags).info.run_id
    oldest = parents()[0]
    if oldest != mine:
        client.delete_run(mine)
    return oldest


def _dagster_mlflow(
    context: dg.InitResourceContext, tracking_uri: str, experiment_name: str, run_id: str
) -> Generator[Any, None, None]:
    import mlflow
    from dagster_mlflow import mlflow_tracking

    while mlflow.active_run() is not None:  # left in this thread by a run whose teardown was cut short
        mlflow.end_run("KILLED")
    config: dict[str, Any] = {
        "experiment_name": experiment_name,
        "mlflow_tracking_uri": tracking_uri,
        "mlflow_run_id": run_id,
        "parent_run_id": None,
        "env": {},
        "env_to_tag": None,
        "extra_tags": {},
    }
    return mlflow_tracking.resource_fn(context.replace_config(config))  # type: ignore[no-any-return]


def _has_failed(instance: dg.DagsterInstance, dagster_run_id: str) -> bool:
    steps = instance.get_run_step_stats(dagster_run_id)
    return any(step.status is not None and step.status.value == "FAILURE" for step in steps)


def _end(client: Any, run_id: str, status: str) -> None:
    import mlflow

    active = mlflow.active_run()
    if active is not None and active.info.run_id == run_id:
        mlflow.end_run(status)  # also takes it off the stack, so that nothing leaks to the next run
    else:
        client.set_terminated(run_id, status)
