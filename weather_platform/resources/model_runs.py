"""An MLflow run for a version that was not trained here: one that was imported, or one with another calibration.

What belongs here: what is logged of it. What does not: what is logged of a training (``io_managers.mlflow_models``),
and where files and figures come from.
"""

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from weather_platform.domain.training import CONTRACT_FILE
from weather_platform.resources.mlflow_client import answering
from weather_platform.resources.mlflow_tracking import NESTED_TAG, MlflowRun
from weather_platform.resources.registry import DIGEST_TAG


def log_version(
    run: MlflowRun,
    name: str,
    files: Mapping[str, bytes],
    *,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    dagster_run_id: str,
    at: datetime,
) -> str:
    """A finished MLflow run, nested in that of the Dagster run, with these files as its model; gives its id.

    `tags` are what `ModelRegistry.reference` reads but for the id and the address of the model. The model folder has no
    flavour: MLflow's own loaders would need to be given the classes of a file to trust.
    """
    from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
    from mlflow.models import Model

    client, digest = run.client, tags[DIGEST_TAG]
    with answering(run.tracking_uri, f"logging {name}"), tempfile.TemporaryDirectory() as scratch:
        parent = {"mlflow.parentRunId": run.run_id, NESTED_TAG: dagster_run_id}
        run_id: str = client.create_run(run.experiment_id, run_name=name, tags=parent).info.run_id
        logged = client.create_logged_model(
            run.experiment_id, name="model", source_run_id=run_id, tags={DIGEST_TAG: digest}
        )
        for file, data in files.items():
            (Path(scratch) / file).write_bytes(data)
        described = Model(artifact_path="model", run_id=run_id, model_id=logged.model_id)
        described.metadata = {DIGEST_TAG: digest, "contract": CONTRACT_FILE}
        described.save(str(Path(scratch) / "MLmodel"))
        client.log_model_artifacts(logged.model_id, scratch)
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
        stamp = int(at.timestamp() * 1000)
        kept = {**tags, "model_id": logged.model_id, "model_uri": logged.artifact_location.rstrip("/")}
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, stamp, 0, model_id=logged.model_id, run_id=run_id)
                     for key, value in metrics.items()],
            params=[Param(key, text) for key, text in params.items()],
            tags=[RunTag(key, text) for key, text in kept.items()],
        )  # fmt: skip
        client.set_terminated(run_id, "FINISHED")
    return run_id
