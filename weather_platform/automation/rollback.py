"""The job `rollback`: Production of one target goes back, for a reason that is kept.

What belongs here: the request and what the run shows of it. What does not: which version may serve and how the alias
moves (``resources.rollback``).
"""

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from pydantic import Field

from weather_platform.database import Database
from weather_platform.domain.alias_moves import ROLLBACK
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import RollbackRefusedError
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import Audit, ModelRegistry
from weather_platform.resources.rollback import roll_back, withdraw

ROLLBACK_JOB = "rollback"
ROLLBACK_OP = "roll_back"
REASON_MIN_CHARACTERS, REASON_MAX_CHARACTERS = 8, 500


class RollbackConfig(dg.Config):
    """Which alias goes back, where to, and why."""

    target: str = Field(description="The target whose Production alias goes back.")
    to_version: int | None = Field(
        None, ge=1, description="A version that served before; without it the one before the present one."
    )
    nowhere: bool = Field(False, description="Take the alias away instead; nothing serves until a newer DEPLOY.")
    reason: str = Field(
        min_length=REASON_MIN_CHARACTERS, max_length=REASON_MAX_CHARACTERS,
        description="Why, for the audit, which cannot be changed.",
    )  # fmt: skip


def rollback_job() -> dg.JobDefinition:
    """The `rollback` job. Its run materialises `{target}/production` as it is afterwards, so that lineage shows it;
    without a version that serves there is an observation in its place."""

    @dg.op(name=ROLLBACK_OP, description=f"{__doc__}", out=dg.Out(dg.Nothing))
    def go_back(
        context: dg.OpExecutionContext,
        config: RollbackConfig,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
    ) -> None:
        if config.target not in TARGETS:
            raise RollbackRefusedError(f"no target {config.target}; there is {', '.join(TARGETS)}")
        if config.nowhere and config.to_version is not None:
            raise RollbackRefusedError("a version to go to and nowhere were both asked for; nothing moved")
        audit = Audit(
            decision_id=None,
            reason=f"{ROLLBACK}: {' '.join(config.reason.split())}",
            dagster_run_id=context.run_id,
            changed_at=run_created_at(context.instance, context.run_id),
        )
        if config.nowhere:
            left = withdraw(registry, database, config.target, audit)
            context.log_event(
                dg.AssetObservation([config.target, "production"], description=audit.reason, metadata={"left": left})
            )
            context.log.info(f"{config.target}: nothing serves now, and version {left} did")
            return
        move = roll_back(registry, database, config.target, config.to_version, audit)
        model = move.production
        context.log_event(
            dg.AssetMaterialization(
                [config.target, "production"],
                description=audit.reason,
                metadata=model.facts | {"moved": move.moved, "from_version": move.from_version or 0},
                tags={DATA_VERSION_TAG: model.digest},
            )
        )
        context.log.info(f"{config.target}: Production is version {model.version}, and was {move.from_version}")

    @dg.job(
        name=ROLLBACK_JOB,
        description="Production of one target goes back to a version that served before, or nowhere.",
        executor_def=dg.in_process_executor,
    )
    def rollback() -> None:
        go_back()

    return rollback
