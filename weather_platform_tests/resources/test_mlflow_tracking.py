"""The parent run: one per Dagster run, always ended, never leaking into the next run of the process."""

import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest

from weather_platform.errors import RegistryError
from weather_platform.resources.mlflow_client import answering, mlflow_client
from weather_platform.resources.mlflow_tracking import MlflowRun, mlflow_resource

MULTIPROCESS_STORE = "WEATHER_TEST_TRACKING_URI"


@dg.op(required_resource_keys={"mlflow"}, out=dg.Out(dg.Nothing))
def good(context: dg.OpExecutionContext) -> None:
    run: MlflowRun = context.resources.mlflow
    assert run.client.get_run(run.run_id).info.status == "RUNNING"


@dg.op(required_resource_keys={"mlflow"}, ins={"start": dg.In(dg.Nothing)})
def bad(context: dg.OpExecutionContext) -> None:
    raise ValueError("the step fails")


@dg.op(required_resource_keys={"mlflow"}, ins={"start": dg.In(dg.Nothing)})
def last(context: dg.OpExecutionContext) -> None:
    context.resources.mlflow.dagster_mlflow.log_param("through_dagster_mlflow", 1)


def job(tracking_uri: str, *, failing: bool = False) -> dg.JobDefinition:
    @dg.job(
        resource_defs={"mlflow": mlflow_resource(tracking_uri, "weather")},
        executor_def=dg.in_process_executor,
    )
    def graph() -> None:
        (bad if failing else last)(good())

    return graph


def parents(tracking_uri: str) -> list[Any]:
    client = mlflow_client(tracking_uri)
    experiment = client.get_experiment_by_name("weather")
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]))


def statuses(runs: Sequence[Any]) -> list[str]:
    return [run.info.status for run in runs]


def test_every_dagster_run_of_a_process_has_its_own_parent_run_and_leaves_none_active(
    tracking_uri: str,
) -> None:
    import mlflow

    with dg.DagsterInstance.ephemeral() as instance:
        ids = [job(tracking_uri).execute_in_process(instance=instance).run_id for _ in range(2)]
    runs = parents(tracking_uri)
    assert statuses(runs) == ["FINISHED", "FINISHED"]
    assert [run.data.tags["dagster_run_id"] for run in runs] == ids
    assert [run.data.params for run in runs] == [{"through_dagster_mlflow": "1"}] * 2
    assert mlflow.active_run() is None


def test_the_parent_run_of_a_failed_dagster_run_is_failed_and_the_next_one_starts_afresh(
    tracking_uri: str,
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job(tracking_uri, failing=True).execute_in_process(instance=instance, raise_on_error=False)
        job(tracking_uri).execute_in_process(instance=instance)
    assert statuses(parents(tracking_uri)) == ["FAILED", "FINISHED"]


def test_a_run_whose_process_was_killed_is_closed_by_the_next_one(tracking_uri: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        killed = job(tracking_uri, failing=True).execute_in_process(instance=instance, raise_on_error=False).run_id
        client = mlflow_client(tracking_uri)
        (run,) = parents(tracking_uri)
        client.update_run(run.info.run_id, status="RUNNING")
        nested = client.create_run(run.info.experiment_id, tags={"weather.dagster_run_id": killed})
        foreign = client.create_run(run.info.experiment_id, tags={"dagster_run_id": "of another Dagster"})
        job(tracking_uri).execute_in_process(instance=instance)
    after = {run.info.run_id: run.info.status for run in parents(tracking_uri)}
    assert after[run.info.run_id] == after[nested.info.run_id] == "FAILED"
    assert after[foreign.info.run_id] == "RUNNING"


def test_an_unreachable_server_fails_the_run_within_seconds_and_by_name() -> None:
    started = time.monotonic()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job("http://127.0.0.1:1").execute_in_process(instance=instance, raise_on_error=False)
        assert not result.success
        failures = [event for event in result.all_events if event.is_failure]
    assert time.monotonic() - started < 15
    assert any("MLflow at http://127.0.0.1:1 failed while" in str(event.event_specific_data) for event in failures)


def test_an_experiment_of_a_local_store_keeps_its_files_beside_the_store(tracking_uri: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job(tracking_uri).execute_in_process(instance=instance)
    experiment = mlflow_client(tracking_uri).get_experiment_by_name("weather")
    folder = tracking_uri.removeprefix("sqlite:///").removesuffix(".db")
    assert experiment.artifact_location == f"file://{folder}_artifacts"


def multiprocess_job() -> dg.JobDefinition:
    """Built anew in each step's process."""
    import os

    tracking_uri = os.environ[MULTIPROCESS_STORE]

    @dg.job(
        resource_defs={"mlflow": mlflow_resource(tracking_uri, "weather")},
        executor_def=dg.multiprocess_executor,
    )
    def graph() -> None:
        last(good())

    return graph


def test_steps_in_processes_of_their_own_share_one_parent_run(
    tracking_uri: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MULTIPROCESS_STORE, tracking_uri)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = dg.execute_job(dg.reconstructable(multiprocess_job), instance=instance)
    assert result.success
    runs = parents(tracking_uri)
    assert statuses(runs) == ["FINISHED"]
    assert runs[0].data.tags["dagster_run_id"] == result.run_id
    assert runs[0].data.params == {"through_dagster_mlflow": "1"}


def test_building_the_resource_does_not_import_mlflow() -> None:
    program = (
        "import sys, weather_platform.resources.registry, weather_platform.io_managers.mlflow_models;"
        "from weather_platform.resources.mlflow_tracking import mlflow_resource;"
        "mlflow_resource('sqlite:////x/mlflow.db', 'weather');"
        "print(sorted({'mlflow', 'dagster_mlflow', 'xgboost', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_an_error_does_not_show_the_password_of_the_address() -> None:
    uri = "http://user:s3cret@127.0.0.1:1"
    client = mlflow_client(uri)
    with pytest.raises(RegistryError) as raised, answering(uri, "looking"):
        client.search_experiments()
    assert "MLflow at http://127.0.0.1:1 failed while looking: " in str(raised.value)
    assert "s3cret" not in "".join(traceback.format_exception(raised.value))


def test_nothing_that_dagster_stores_of_a_failure_shows_the_password_of_the_address() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = job("http://user:s3cret@127.0.0.1:1").execute_in_process(instance=instance, raise_on_error=False)
        stored = str(instance.all_logs(result.run_id))
    assert "MLflow at http://127.0.0.1:1 failed while" in stored
    assert "s3cret" not in stored


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("http://u:s3cret%2F@h:5000/mlflow", "http://h:5000/mlflow"),
        ("postgresql://u@h/d?password=s3cret%2F&sslmode=require", "postgresql://h/d"),
        ("sqlite:////srv/me@work/mlflow.db", "sqlite:////srv/me@work/mlflow.db"),
        ("https://h/mlflow", "https://h/mlflow"),
    ],
)
def test_an_address_is_named_without_what_is_secret_in_it(uri: str, place: str) -> None:
    with pytest.raises(RegistryError) as raised, answering(uri, "looking"):
        raise OSError(f"no way to {uri}: is it s3cret/ or s3cret%2F")
    message = str(raised.value)
    assert message.startswith(f"MLflow at {place} failed while looking: no way to {place}")
    assert ("s3cret" in message) is ("s3cret" not in uri), "only what the address says is a secret"
