"""From the decision to retrain to its run, and back: the sensors of `{target}/retraining`.

What belongs here: which run a decision asks for, and the record that a run failed. What does not: the decision
(``assets.retraining``), and the outcome of a run that trained or calibrated, which its promotion records.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from weather_platform.automation.notices import WILL_RETRY
from weather_platform.automation.plan import LEARN, newest_split
from weather_platform.automation.recalibration import RECALIBRATE_JOB, recalibration_of
from weather_platform.database import Database, RetrainingRecord
from weather_platform.domain.retraining import Action
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.resources.retraining import RETRAINING_TAG, record_failure

_ENDED: Mapping[dg.DagsterRunStatus, str] = {
    dg.DagsterRunStatus.FAILURE: "the run failed",
    dg.DagsterRunStatus.CANCELED: "the run was cancelled",
    dg.DagsterRunStatus.SUCCESS: "the run ended without a promotion decision",
}
"""Why a run that has ended is no training."""


def retraining_sensors(status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """Two sensors per target that ask for training and for new calibration, and one that records which gave nothing."""
    asking = [asks(target, status) for target in TARGETS.values() for asks in (_learns, _recalibrates)]
    return [*asking, _outcomes(status)]


def _learns(target: ForecastTarget, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.asset_sensor(
        asset_key=dg.AssetKey([target.name, "retraining"]),
        name=f"{target.name}_retraining",
        job_name=LEARN,
        default_status=status,
        description=f"A decision to retrain {target.name} becomes one run of `{LEARN}`, tagged with its id.",
    )
    def learns(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        # From the database and not from the event: Dagster gives an asset sensor the newest event alone, and the month
        # may have been materialised again since (which waits, because this decision is open).
        record = open_decision(database, target.name, Action.RETRAIN)
        if record is None:
            yield dg.SkipReason(f"no decision to retrain {target.name} is open")
        else:
            assert context.repository_def is not None  # noqa: S101 - Dagster gives it to every sensor of a repository
            learning = context.repository_def.get_job(LEARN).asset_layer.executable_asset_keys
            yield training_of(record, [key for key in learning if key.path[0] == target.name])

    return learns


def _recalibrates(target: ForecastTarget, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.asset_sensor(
        asset_key=dg.AssetKey([target.name, "retraining"]),
        name=f"{target.name}_recalibration",
        job_name=RECALIBRATE_JOB,
        default_status=status,
        description=f"A decision to recalibrate {target.name} becomes one run of `{RECALIBRATE_JOB}`, tagged so.",
    )
    def recalibrates(
        context: dg.SensorEvaluationContext,  # noqa: ARG001 - what Dagster calls a sensor with
        database: dg.ResourceParam[Database],
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        record = open_decision(database, target.name, Action.RECALIBRATE)
        if record is None:
            yield dg.SkipReason(f"no decision to recalibrate {target.name} is open")
        else:
            yield dg.RunRequest(
                run_key=str(record.id),
                run_config=recalibration_of(record.target, record.month),
                tags=tags_of_training(record),
            )

    return recalibrates


def open_decision(database: Database, target: str, action: Action) -> RetrainingRecord | None:
    """The newest decision by which a month asked for training, or for new calibration, if nothing came of it yet.

    A person's request is left out: the command that records it starts its run.
    """
    decided = [
        (record, outcomes)
        for record, outcomes in database.retraining(target)
        if record.decision is action and record.request_id is None
    ]
    return decided[-1][0] if decided and not decided[-1][1] else None


def training_of(record: RetrainingRecord, assets: Sequence[dg.AssetKey]) -> dg.RunRequest:
    """The run that a decision asks for: these assets of the target, on the newest data at the end of the decided month.

    The id of the decision is the run key, so that Dagster starts it once however often it is asked.
    """
    return dg.RunRequest(
        run_key=str(record.id),
        partition_key=record.month[:4],
        run_config=newest_split(record.target, record.month),
        asset_selection=sorted(assets),
        tags=tags_of_training(record),
    )


def tags_of_training(record: RetrainingRecord) -> Mapping[str, str]:
    """The tags of the run that carries out a decision."""
    return {RETRAINING_TAG: str(record.id)}


def _outcomes(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    # A plain sensor, since Dagster's own run-failure sensor moves on when its function raises: a failure would be lost
    # while the database is away, and its decision would be open for ever.
    @dg.sensor(
        name="retraining_outcomes",
        minimum_interval_seconds=60,
        default_status=status,
        description="A training or new calibration that failed or was cancelled is the outcome FAILED of its decision.",
    )
    def outcomes(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SkipReason:
        opened = [
            record
            for target in TARGETS
            for record, came in database.retraining(target)
            if record.decision in (Action.RETRAIN, Action.RECALIBRATE) and not came
        ]
        failed = [run for record in opened if (run := _without_result(context.instance, record)) is not None]
        for run in failed:
            record_failure(context.instance, run, _ENDED[run.status], database)
        return dg.SkipReason(f"{len(opened)} decisions are open, {len(failed)} of them had failed")

    return outcomes


def _without_result(instance: dg.DagsterInstance, record: RetrainingRecord) -> dg.DagsterRun | None:
    """The run of an open decision, if it has ended and is not tried again."""
    tags = dict(tags_of_training(record))
    for run in instance.get_runs(filters=dg.RunsFilter(tags=tags), limit=1):  # the newest
        if run.status in _ENDED and run.tags.get(WILL_RETRY) != "true":
            return run
    return None
