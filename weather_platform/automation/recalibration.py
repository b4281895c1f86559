"""The job `recalibrate`: the calibration of one target's Production model is fitted again on the days since.

What belongs here: the request and what the run shows of it. What does not: the fit, its exam, the decision and the move
(``resources.recalibration``).
"""

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from pydantic import Field

from weather_platform.database import Database
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import InvariantError
from weather_platform.partitions import days_of_month
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.mlflow_tracking import MlflowRun
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.recalibration import recalibrate_production
from weather_platform.resources.registry import Audit, ModelRegistry
from weather_platform.resources.retraining import carried_out
from weather_platform.settings import Settings

RECALIBRATE_JOB = "recalibrate"
RECALIBRATE_OP = "recalibrate_one"


class RecalibrationConfig(dg.Config):
    """Which target, and the newest month whose days count."""

    target: str = Field(description="The target whose Production model is calibrated again.")
    month: str = Field(
        pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
        description="YYYY-MM: the newest 60 to 90 labelled days up to its end are used.",
    )


def recalibration_of(target: str, month: str) -> dict[str, object]:
    """The run config of the job for a target and the decided month."""
    return {"ops": {RECALIBRATE_OP: {"config": {"target": target, "month": month}}}}


def recalibrate_job(settings: Settings) -> dg.JobDefinition:
    """The `recalibrate` job. Its run materialises `{target}/production` when the new version serves."""

    @dg.op(name=RECALIBRATE_OP, description=f"{__doc__}", out=dg.Out(dg.Nothing))
    def recalibrate_one(
        context: dg.OpExecutionContext,
        config: RecalibrationConfig,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
        mlflow: dg.ResourceParam[MlflowRun],
    ) -> None:
        if config.target not in TARGETS:
            raise InvariantError(f"no target {config.target}; there is {', '.join(TARGETS)}")
        audit = Audit(
            decision_id=None,
            reason="calibrated again",
            dagster_run_id=context.run_id,
            changed_at=run_created_at(context.instance, context.run_id),
        )
        record, model = recalibrate_production(
            TARGETS[config.target],
            days_of_month(config.month)[1],
            registry,
            database,
            lake.lake(),
            mlflow,
            audit,
            retraining_decision=carried_out(context.run.tags),
            seed=settings.seed,
        )
        context.log.info(f"{record.decision} {model.name}: {record.reasons[0]}")
        if record.decision is Verdict.DEPLOY:
            context.log_event(
                dg.AssetMaterialization(
                    [model.target, "production"],
                    description=record.reasons[0],
                    metadata=model.facts | {"calibrated_again": record.champion_version or 0},
                    tags={DATA_VERSION_TAG: model.digest},
                )
            )

    @dg.job(
        name=RECALIBRATE_JOB,
        description="The calibration of a Production model is fitted again on the newest 60 to 90 days: a new version.",
        executor_def=dg.in_process_executor,
    )
    def recalibrate() -> None:
        recalibrate_one()

    return recalibrate
