"""The IO manager of models inside real Dagster runs, on a real MLflow."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.csv
import pytest

from weather_platform.domain.training import Predictor
from weather_platform.errors import InvariantError
from weather_platform.io_managers import mlflow_models
from weather_platform.io_managers.mlflow_models import Candidate, model_io_manager
from weather_platform.lake.partitions import ComputedPartitions
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.mlflow_tracking import mlflow_resource
from weather_platform.resources.registry import ModelReference
from weather_platform_tests.small_models import (
    FEATURE_NAMES,
    TARGET,
    Store,
    candidate,
    small_data,
    small_model,
)

YEARS = dg.TimeWindowPartitionsDefinition(
    cron_schedule="0 0 1 1 *", fmt="%Y", start="2013", end="2018", timezone="Australia/Sydney"
)
MODEL = dg.AssetKey([TARGET, "xgboost"])
SEEN: dict[str, Any] = {}


@dg.asset(
    key=MODEL,
    partitions_def=YEARS,
    io_manager_key="model_io",
    code_version="7",
    dagster_type=dg.Any,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def xgboost(context: dg.AssetExecutionContext) -> Mapping[str, Candidate]:
    return ComputedPartitions(context.partition_keys, lambda key: candidate(int(key)))


def reader(name: str, annotation: Any) -> dg.AssetsDefinition:
    def read(context: dg.AssetExecutionContext, model: Any) -> None:
        SEEN[name] = model

    read.__annotations__["model"] = annotation
    return dg.asset(
        name=name,
        partitions_def=YEARS,
        ins={"model": dg.AssetIn(MODEL)},
        io_manager_key="nothing_io",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )(read)


class Nothing(dg.IOManager):
    """Keeps nothing."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:  # noqa: ARG002
        return

    def load_input(self, context: dg.InputContext) -> None:  # noqa: ARG002
        return


ASSETS = [
    xgboost,
    reader("mapping", Mapping[str, ModelReference]),
    reader("unannotated", Any),
    reader("reference", ModelReference),
    reader("predictor", Predictor),
]


def materialise(
    store: Store,
    instance: dg.DagsterInstance,
    *names: Any,
    years: tuple[str, str] = ("2015", "2015"),
    assets: Sequence[dg.AssetsDefinition] = ASSETS,
    **options: Any,
) -> dg.ExecuteInProcessResult:
    resources = {
        "model_io": model_io_manager(store.registry),
        "mlflow": mlflow_resource(store.tracking_uri, "weather"),
        "nothing_io": Nothing(),
    }
    job = dg.define_asset_job("chosen", selection=dg.AssetSelection.assets(*names))
    defs = dg.Definitions(assets=assets, resources=resources, jobs=[job])
    tags = {"dagster/asset_partition_range_start": years[0], "dagster/asset_partition_range_end": years[1]}
    return defs.resolve_job_def("chosen").execute_in_process(instance=instance, tags=tags, **options)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        SEEN.clear()
        yield opened


def metadata_of(instance: dg.DagsterInstance, year: str) -> dict[str, Any]:
    wanted = dg.AssetRecordsFilter(asset_key=MODEL, asset_partitions=[year])
    (record,) = instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_a_candidate_becomes_a_nested_run_that_says_everything(store: Store, instance: dg.DagsterInstance) -> None:
    result = materialise(store, instance, MODEL)
    metadata = metadata_of(instance, "2015")
    client = mlflow_client(store.tracking_uri)
    run = client.get_run(metadata["mlflow_run_id"])
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    model = small_model()

    assert run.info.status == parent.info.status == "FINISHED"
    assert parent.data.tags["dagster_run_id"] == result.run_id
    assert "dagster_run_id" not in run.data.tags
    assert {
        name: run.data.tags[name] for name in ("weather.dagster_run_id", "asset_key", "partition", "code_version")
    } == {
        "weather.dagster_run_id": result.run_id,
        "asset_key": f"{TARGET}/xgboost",
        "partition": "2015",
        "code_version": "7",
    }
    assert run.data.metrics["test_f1"] == model.metrics["f1"]
    assert run.data.metrics["test_f1_low"] == model.intervals["f1"].low
    assert run.data.metrics["test_f1_high"] == model.intervals["f1"].high
    assert run.data.metrics["validation_f1"] == model.validation_metrics["f1"] != model.metrics["f1"]
    assert run.data.metrics["climatology_f1"] == model.baselines["climatology"].metrics["f1"]
    assert (run.data.params["seed"], run.data.params["n_estimators"]) == ("1", "8")
    assert {
        each.dataset.name: json.loads(each.dataset.source)["delta_table_version"] for each in run.inputs.dataset_inputs
    } == {
        "features": 7,
        f"{TARGET}__split": 0,
    }
    assert len(run.outputs.model_outputs) == 1
    assert (metadata["sha256"], metadata["threshold"]) == (model.digest, model.contract.threshold)
    assert metadata["value"] == metadata["test_f1"] == model.metrics["f1"]
    assert run.info.run_id in metadata["mlflow_run_url"]
    assert metadata["plots"].count("data:image/png;base64,") == 3
    assert len(json.dumps(metadata, default=str)) < 200_000


def test_the_data_contract_lies_with_the_run(store: Store, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    materialise(store, instance, MODEL)
    run_id = metadata_of(instance, "2015")["mlflow_run_id"]
    folder = Path(mlflow_client(store.tracking_uri).download_artifacts(run_id, "", str(tmp_path)))
    schema = json.loads((folder / "data_contract" / "input_schema.json").read_text())
    assert tuple(column["name"] for column in schema["columns"]) == FEATURE_NAMES
    sample = pyarrow.csv.read_csv(folder / "data_contract" / "sample_input.csv")
    read = np.column_stack([sample[name].to_numpy() for name in FEATURE_NAMES]).astype(np.float32)
    assert np.array_equal(read, small_data().values[:5], equal_nan=True)
    assert sorted(path.name for path in (folder / "plots").iterdir()) == [
        "importance.png",
        "precision_recall.png",
        "reliability.png",
    ]


def test_a_range_is_one_dagster_run_with_one_nested_run_per_year(store: Store, instance: dg.DagsterInstance) -> None:
    materialise(store, instance, MODEL, "mapping", years=("2014", "2015"))
    references = SEEN["mapping"]
    assert {key: (each.year, each.digest) for key, each in references.items()} == {
        "2014": (2014, small_model(2014).digest),
        "2015": (2015, small_model(2015).digest),
    }
    assert metadata_of(instance, "2014")["mlflow_run_id"] == references["2014"].run_id
    assert references["2015"].lake_versions == {"features": 7, f"{TARGET}__split": 0}
    assert references["2015"].metrics["test_f1"] == small_model(2015).metrics["f1"]


def test_the_annotation_says_whether_a_reference_or_the_verified_model_is_given(
    store: Store, instance: dg.DagsterInstance
) -> None:
    materialise(store, instance, MODEL)
    materialise(store, instance, "reference", "predictor", "unannotated")
    assert list(SEEN["unannotated"]) == ["2015"]
    assert SEEN["reference"].digest == SEEN["predictor"].digest == small_model().digest
    values = small_data().values
    expected = small_model().predictor.predict(values).value
    assert np.array_equal(SEEN["predictor"].predict(values).value, expected)


def test_downstream_gets_the_newest_materialization_and_not_merely_the_newest_run(
    store: Store, instance: dg.DagsterInstance
) -> None:
    materialise(store, instance, MODEL)
    materialise(store, instance, MODEL)
    recorded = metadata_of(instance, "2015")["mlflow_run_id"]
    unrecorded = store.log(2015, seed=2)
    materialise(store, instance, "reference")
    assert SEEN["reference"].run_id == recorded != unrecorded.run_id


def test_a_year_without_a_model_is_named(store: Store, instance: dg.DagsterInstance) -> None:
    materialise(store, instance, MODEL)
    result = materialise(store, instance, "reference", years=("2016", "2016"), raise_on_error=False)
    assert not result.success
    assert any("has no model for 2016; materialise it first" in str(e.event_specific_data) for e in result.all_events)


def test_a_range_for_one_reference_is_refused_with_the_remedy(store: Store, instance: dg.DagsterInstance) -> None:
    materialise(store, instance, MODEL, years=("2014", "2015"))
    result = materialise(store, instance, "reference", years=("2014", "2015"), raise_on_error=False)
    assert any("annotate the input with Mapping" in str(e.event_specific_data) for e in result.all_events)


def test_a_model_that_cannot_be_stored_leaves_a_failed_run_and_no_materialization(
    store: Store, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(mlflow_models, "_log_files", full)
    result = materialise(store, instance, MODEL, raise_on_error=False)
    assert not result.success
    client = mlflow_client(store.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("weather").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED", "FAILED"]
    assert instance.get_latest_materialization_event(MODEL) is None


def test_a_candidate_with_a_figure_that_is_no_number_is_not_logged(store: Store) -> None:
    model = small_model()
    broken = replace(model, metrics={**model.metrics, "recall": float("nan")})
    with pytest.raises(InvariantError, match="xgboost 2015: test_recall is nan; nothing was logged"):
        store.log_any(replace(candidate(), model=broken))
    client = mlflow_client(store.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("weather").experiment_id])
    assert [run.info.run_name for run in runs] == ["parent"]


@pytest.mark.parametrize(("year", "algorithm"), [(2014, "xgboost"), (2015, "random_forest")])
def test_a_model_of_another_partition_or_asset_is_not_logged(
    store: Store, instance: dg.DagsterInstance, year: int, algorithm: str
) -> None:
    @dg.asset(key=MODEL, partitions_def=YEARS, io_manager_key="model_io", dagster_type=dg.Any)
    def stray() -> Candidate:
        return candidate(year, algorithm=algorithm)

    result = materialise(store, instance, MODEL, assets=[stray], raise_on_error=False)
    said = f"{TARGET}/xgboost 2015 gave the model {TARGET}/{algorithm} {year}; nothing was logged of it"
    assert any(said in str(e.event_specific_data) for e in result.all_events)
    assert instance.get_latest_materialization_event(MODEL) is None
