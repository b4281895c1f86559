"""The IO manager of models: a candidate goes in, a nested MLflow run comes to be, a reference comes out.

What belongs here: what is logged of a candidate and how it is found again. What does not: training
(``domain``), versions and aliases (``resources.registry``), the parent run (``resources.mlflow_tracking``).

A candidate is found through the materialization that Dagster recorded for its partition: that names the
MLflow run. Searching MLflow for "the newest run of this partition" would also find a run whose step died
before it was recorded, or one of another Dagster that shares the server. The run must be FINISHED, which is
the last thing written to it.
"""

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from weather_platform.code_version import code_version
from weather_platform.domain.canary import GOLDEN_FILE, golden_bytes
from weather_platform.domain.features import FEATURES
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import CONTRACT_FILE, Predictor, TrainedModel, sha256
from weather_platform.errors import InvariantError, PartitionMissingError
from weather_platform.io_managers.costs import tell_costs
from weather_platform.io_managers.mlflow_formats import save_folder
from weather_platform.lake.provenance import made_from
from weather_platform.plots import data_address, model_plots, small_png
from weather_platform.resources.mlflow_client import answering, run_url
from weather_platform.resources.mlflow_tracking import NESTED_TAG, MlflowRun
from weather_platform.resources.registry import (
    DIGEST_TAG,
    FIRST_FIT_TAG,
    GOLDEN_TAG,
    REFIT_PARAM,
    SOURCE_TAG,
    ModelReference,
    ModelRegistry,
)

RUN_ID_KEY = "mlflow_run_id"
"""Metadata of a materialization: the MLflow run that holds the model."""

NO_CANDIDATE_KEY = "reason"
"""Metadata of a materialization without a model: why there is none."""

_FIGURES = {
    True: "test: of the model fitted again on training and validation days, which serves; validation: of the first fit",
    False: "test and validation: of the one fit, which serves",
}
"""Metadata of a materialization: which figures belong to which fit, by whether there was a second one."""

_PLOTS_MAX_BYTES = 150_000
_MODEL_NAME = "model"


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a training asset gives for one partition.

    `lake_versions` are the tables it was trained from, `sample` a few rows as the model takes them, `peak_memory_mb`
    the peak of the process while it was trained, with the data and the libraries in it, `source` what the lake was
    filled from.
    """

    model: TrainedModel
    lake_versions: Mapping[str, int]
    sample: NDArray[np.float32]
    peak_memory_mb: float
    source: str

    @property
    def name(self) -> str:
        """Asset and partition: how its run and its plots are called."""
        return f"{self.model.target}/{self.model.algorithm} {self.model.split.year}"

    @cached_property
    def plots(self) -> Mapping[str, bytes]:
        """The plots of the model as PNG, by name."""
        return model_plots(self.model, f"{self.name}{made_from(self.source)}")

    @cached_property
    def small_plots(self) -> Mapping[str, bytes]:
        """Copies for the event log, which keeps every event for ever; the full plots are in the run."""
        return {name: small_png(png) for name, png in self.plots.items()}


@dataclass(frozen=True)
class NoCandidate:
    """What a training asset gives for a partition in which nothing can be trained: why."""

    reason: str


class MlflowModelIOManager(dg.IOManager):
    """Takes a Candidate, or for a range a mapping of them that is asked for one year at a time.

    Gives one ModelReference or one verified Predictor when the input is annotated so, else the references by
    partition, without those that were made as NoCandidate. Needs the resource `mlflow`.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def handle_output(self, context: dg.OutputContext, obj: Candidate | Mapping[str, Candidate | NoCandidate]) -> None:
        """Log one nested run per partition and attach what it holds to the partition's materialization."""
        run: MlflowRun = context.resources.mlflow
        for key in sorted(context.asset_partition_keys):
            given = obj if isinstance(obj, Candidate) else obj[key]
            if isinstance(given, NoCandidate):
                metadata: dict[str, Any] = {NO_CANDIDATE_KEY: given.reason}
            else:
                _must_belong(context, given, key)
                metadata = log_candidate(run, given, _origin(context, key))
            context.step_context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)
        tell_costs(context.step_context)

    def load_input(self, context: dg.InputContext) -> ModelReference | Mapping[str, ModelReference] | Predictor:
        """What the newest materialization of each partition refers to."""
        wanted = context.dagster_type.typing_type
        keys = sorted(context.asset_partition_keys)
        instance = context.step_context.instance
        references = {
            key: self._registry.reference(run_id)
            for key in keys
            if (run_id := logged_run_id(instance, context.asset_key, key)) is not None
        }
        if wanted not in (ModelReference, Predictor):
            return references
        if len(references) != 1:
            raise InvariantError(
                f"{context.asset_key.to_user_string()} is asked for one model and has {len(references)} in "
                f"{len(keys)} partitions; annotate the input with Mapping[str, ModelReference]"
            )
        (reference,) = references.values()
        if wanted is Predictor:
            return self._registry.load(reference)
        return reference


def model_io_manager(registry: ModelRegistry) -> dg.IOManagerDefinition:
    """The IO manager to bind; it needs the resource `mlflow`."""

    @dg.io_manager(required_resource_keys={"mlflow"}, description="Models in MLflow, verified by SHA-256.")
    def mlflow_models(_: dg.InitResourceContext) -> MlflowModelIOManager:
        return MlflowModelIOManager(registry)

    return mlflow_models


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which partition of which asset of which Dagster run a candidate comes from."""

    dagster_run_id: str
    asset_key: str
    partition: str
    code_version: str


def log_candidate(run: MlflowRun, candidate: Candidate, origin: Origin) -> dict[str, Any]:
    """Log everything about one candidate in a nested run of its own; gives the metadata for Dagster."""
    from mlflow.entities import RunTag

    model = candidate.model
    metrics = _metrics(candidate)
    threshold = model.contract.threshold
    with answering(run.tracking_uri, f"logging {origin.asset_key} {origin.partition}"):
        tags = {
            "mlflow.parentRunId": run.run_id,
            NESTED_TAG: origin.dagster_run_id,
            "asset_key": origin.asset_key,
            "partition": origin.partition,
            "code_version": origin.code_version,
        }
        run_id = run.client.create_run(run.experiment_id, run_name=candidate.name, tags=tags).info.run_id
        with _ended(run.client, run_id):
            with tempfile.TemporaryDirectory() as scratch:
                model_id, model_uri = _log_model(run, run_id, model, Path(scratch))
                _log_files(run.client, run_id, candidate, Path(scratch))
            _log_numbers(run.client, run_id, model_id, model, metrics)
            _log_datasets(run.client, run_id, candidate.lake_versions)
            described = _describe(candidate)
            described |= {"model_id": model_id, "model_uri": model_uri}
            run.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in described.items()])
    return {
        RUN_ID_KEY: run_id,
        "mlflow_run_url": dg.MetadataValue.url(run_url(run.tracking_uri, run.experiment_id, run_id)),
        DIGEST_TAG: model.digest,
        **({} if model.first_fit_sha256 is None else {FIRST_FIT_TAG: model.first_fit_sha256}),
        "figures": _FIGURES[model.first_fit_sha256 is not None],
        SOURCE_TAG: candidate.source,
        **({} if threshold is None else {"threshold": threshold}),
        "value": metrics[f"test_{TARGETS[model.target].primary_metric}"],
        **{f"test_{metric}": value for metric, value in {**model.metrics, **model.skill}.items()},
        **({"test_confusion": counts} if (counts := model.diagnostics.counts()) else {}),
        "test_intervals": {name: [interval.low, interval.high] for name, interval in model.intervals.items()},
        "test_baselines": {name: dict(baseline.metrics) for name, baseline in model.baselines.items()},
        "rows": sum(model.rows[part] for part in ("train", "validation", "test")),
        **{f"rows_{part}": rows for part, rows in model.rows.items()},
        "plots": _markdown(candidate.small_plots),
    }


def _must_belong(context: dg.OutputContext, candidate: Candidate, key: str) -> None:
    """InvariantError unless this is a model of the asset and the partition being made."""
    model = candidate.model
    if context.asset_key.path != [model.target, model.algorithm] or key != str(model.split.year):
        raise InvariantError(
            f"{context.asset_key.to_user_string()} {key} gave the model "
            f"{model.target}/{model.algorithm} {model.split.year}; nothing was logged of it"
        )


def _origin(context: dg.OutputContext, key: str) -> Origin:
    return Origin(
        dagster_run_id=context.run_id,
        asset_key=context.asset_key.to_user_string(),
        partition=key,
        code_version=context.asset_spec.code_version or "",
    )


def logged_run_id(instance: dg.DagsterInstance, asset_key: dg.AssetKey, key: str) -> str | None:
    """The MLflow run that the newest materialization of this partition names; PartitionMissingError without one.

    None when that materialization says that there is no model to be had.
    """
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset_key, asset_partitions=[key]), limit=1
    ).records
    materialization = records[0].asset_materialization if records else None
    told = materialization.metadata if materialization else {}
    if NO_CANDIDATE_KEY in told:
        return None
    metadata = told.get(RUN_ID_KEY)
    if metadata is None:
        raise PartitionMissingError(
            f"asset '{asset_key.to_user_string()}' has no model for {key}; materialise it first"
        )
    return str(metadata.value)


@contextmanager
def _ended(client: Any, run_id: str) -> Iterator[None]:
    """FINISHED is the last word of a complete run; whatever goes wrong before makes it FAILED."""
    try:
        yield
    except BaseException:
        try:
            client.set_terminated(run_id, "FAILED")
        except Exception as error:  # noqa: BLE001 - the first error is the one to tell
            dg.get_dagster_logger().warning(f"run {run_id} could not be marked FAILED: {error}")
        raise
    client.set_terminated(run_id, "FINISHED")


def _log_model(run: MlflowRun, run_id: str, model: TrainedModel, scratch: Path) -> tuple[str, str]:
    """Log the model in MLflow's format with its contract beside it; gives its id and address."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    logged = run.client.create_logged_model(
        run.experiment_id, name=_MODEL_NAME, source_run_id=run_id, tags={DIGEST_TAG: model.digest}
    )
    folder = scratch / _MODEL_NAME
    described = Model(artifact_path=_MODEL_NAME, run_id=run_id, model_id=logged.model_id)
    described.metadata = {
        DIGEST_TAG: model.digest,
        "contract": CONTRACT_FILE,
        "output": f"a raw value; {CONTRACT_FILE} says how it becomes a forecast",
    }
    save_folder(model, described, folder)
    (folder / CONTRACT_FILE).write_bytes(model.contract_bytes)
    (folder / GOLDEN_FILE).write_bytes(golden_bytes(model.golden, model.contract.feature_names))
    run.client.log_model_artifacts(logged.model_id, str(folder))
    run.client.finalize_logged_model(logged.model_id, "READY")
    run.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    return logged.model_id, logged.artifact_location.rstrip("/")


def _log_files(client: Any, run_id: str, candidate: Candidate, scratch: Path) -> None:
    files = scratch / "files"
    (files / "plots").mkdir(parents=True)
    (files / "data_contract").mkdir()
    for name, png in candidate.plots.items():
        (files / "plots" / f"{name}.png").write_bytes(png)
    contract = candidate.model.contract
    schema = json.dumps(input_schema(candidate.model), indent=1)
    (files / "data_contract" / "input_schema.json").write_text(schema + "\n", encoding="utf-8")
    # Missing values are empty cells; floats are written so that they read back to the same bits.
    columns = [pa.array(column, pa.float32(), from_pandas=True) for column in candidate.sample.T]
    table = pa.Table.from_arrays(columns, names=list(contract.feature_names))
    pyarrow.csv.write_csv(table, files / "data_contract" / "sample_input.csv")
    client.log_artifacts(run_id, str(files))


def input_schema(model: TrainedModel) -> dict[str, Any]:
    """What goes into the model, column by column."""
    known = {feature.name: feature for feature in FEATURES}
    columns = []
    for name in model.contract.feature_names:
        feature = known.get(name)
        columns.append(
            {
                "name": name,
                "type": "float32",
                "missing": "NaN",
                "unit": feature.unit if feature else "",
                "description": feature.description if feature else "",
            }
        )
    return {"target": model.target, "feature_version": model.contract.feature_version, "columns": columns}


def _metrics(candidate: Candidate) -> dict[str, float]:
    model = candidate.model
    metrics: dict[str, float] = {}
    measured = {**model.metrics, **model.skill, **model.diagnostics.counts()}
    metrics |= {f"test_{name}": value for name, value in measured.items()}
    for name, interval in model.intervals.items():
        metrics |= {f"test_{name}_low": interval.low, f"test_{name}_high": interval.high}
    metrics |= {f"validation_{name}": value for name, value in model.validation_metrics.items()}
    for baseline in model.baselines.values():
        metrics |= {f"{baseline.name}_{name}": value for name, value in baseline.metrics.items()}
        for name, interval in baseline.intervals.items():
            metrics |= {f"{baseline.name}_{name}_low": interval.low, f"{baseline.name}_{name}_high": interval.high}
    metrics |= {f"rows_{part}": rows for part, rows in model.rows.items()}
    metrics |= {f"seconds_{step}": seconds for step, seconds in model.seconds.items()}
    metrics |= {
        "train_seconds": model.seconds["fit"] + model.seconds.get("refit", 0.0),
        "predict_rows_per_second": model.rows["test"] / model.seconds["predict"],
        "train_peak_memory_mb": candidate.peak_memory_mb,
    }
    metrics |= dict(model.notes)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise InvariantError(f"{candidate.name}: {name} is {value}; nothing was logged, look at the test rows")
    return metrics


def _log_numbers(client: Any, run_id: str, model_id: str, model: TrainedModel, metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    recipe = {"seed": model.seed, "threads": model.threads, REFIT_PARAM: model.first_fit_sha256 is not None}
    params = {**model.params, **recipe}
    client.log_batch(
        run_id,
        metrics=[Metric(k, float(v), now, 0, model_id=model_id, run_id=run_id) for k, v in metrics.items()],
        params=[Param(name, str(value)) for name, value in params.items()],
    )


def _log_datasets(client: Any, run_id: str, lake_versions: Mapping[str, int]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def dataset(table: str, version: int) -> Any:
        source = json.dumps({"delta_table_name": table, "delta_table_version": version})
        context = InputTag("mlflow.data.context", "training")
        return DatasetInput(Dataset(table, f"v{version}", "delta_table", source), [context])

    client.log_inputs(run_id, [dataset(table, version) for table, version in sorted(lake_versions.items())])


def _describe(candidate: Candidate) -> dict[str, str]:
    """The tags that `ModelRegistry.reference` reads."""
    model = candidate.model
    return {
        SOURCE_TAG: candidate.source,
        "target": model.target,
        "algorithm": model.algorithm,
        "year": str(model.split.year),
        DIGEST_TAG: model.digest,
        "model_sha256": model.model_sha256,
        **({} if model.first_fit_sha256 is None else {FIRST_FIT_TAG: model.first_fit_sha256}),
        GOLDEN_TAG: sha256(golden_bytes(model.golden, model.contract.feature_names)),
        **({} if model.contract.threshold is None else {"threshold": repr(model.contract.threshold)}),
        "feature_version": model.contract.feature_version,
        "tuned_through": model.contract.tuned_through,
        "tested_through": model.contract.tested_through,
        **{f"library.{name}": version for name, version in model.libraries.items()},
        **{f"lake_version.{table}": str(version) for table, version in candidate.lake_versions.items()},
        **code_version().tags(),
    }


def _markdown(plots: Mapping[str, bytes]) -> dg.MetadataValue[Any]:
    images = [f"![{name}]({data_address(png)})" for name, png in plots.items()]
    if sum(map(len, images)) > _PLOTS_MAX_BYTES:
        return dg.MetadataValue.md("Too large for an event; they are under `plots` in the MLflow run.")
    return dg.MetadataValue.md("\n\n".join(images))
