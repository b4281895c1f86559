"""The job `housekeeping`: lets go of history that is older than the settings keep, and of what nothing needs.

What belongs here: Dagster's runs with their events and compute logs, answers of the prediction log, ended notices and
scratch folders. What does not: ticks of sensors and schedules, which Dagster's own `retention` purges, tables and
models. The run of the newest materialisation of any partition stays, however old: lineage goes back by it, and so does
what is behind.
"""

from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from weather_platform.database import Database
from weather_platform.folders import remove_abandoned
from weather_platform.resources.moments import run_created_at
from weather_platform.settings import Settings

HOUSEKEEPING: Final = "housekeeping"
_PAGE: Final = 200
_ENDED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def housekeeping_job(settings: Settings) -> dg.JobDefinition:
    """The job of one op."""

    @dg.op(name="let_go", description=__doc__)
    def let_go(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
        now = run_created_at(context.instance, context.run_id)
        runs = forget_runs(context.instance, now - timedelta(days=settings.history_days))
        answers = 0
        while gone := database.forget_predictions(now - timedelta(days=settings.prediction_log_days), _PAGE):
            answers += gone
        with database.outbox() as outbox:
            notices = outbox.forget(now - timedelta(days=settings.history_days))
        remove_abandoned(settings.home / "scratch")
        context.log.info(f"let go of {runs:,} runs, {answers:,} logged answers and {notices:,} ended notices")
        context.add_output_metadata({"runs": runs, "answers": answers, "notices": notices})

    @dg.job(
        name=HOUSEKEEPING,
        executor_def=dg.in_process_executor,
        description="Lets go of old runs, logged answers, ended notices and scratch folders.",
    )
    def housekeeping() -> None:
        let_go()

    return housekeeping


def forget_runs(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete the ended runs that were made before this moment and that nothing goes back by; how many."""
    needed = _runs_of_newest_materialisations(instance)
    old = dg.RunsFilter(statuses=list(_ENDED), created_before=before)
    # All ids first: what is deleted would move the pages.
    found = [run.run_id for run in _all(instance, old) if run.run_id not in needed]
    for run_id in found:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    return len(found)


def _all(instance: dg.DagsterInstance, asked: dg.RunsFilter) -> list[dg.DagsterRun]:
    found: list[dg.DagsterRun] = []
    cursor: str | None = None
    while page := list(instance.get_runs(asked, cursor=cursor, limit=_PAGE)):
        found += page
        cursor = page[-1].run_id
    return found


def _runs_of_newest_materialisations(instance: dg.DagsterInstance) -> set[str]:
    """The runs that made the newest materialisation of an asset, or of one of its partitions."""
    needed: set[str] = set()
    materialised = dg.DagsterEventType.ASSET_MATERIALIZATION
    for key in instance.all_asset_keys():
        newest = instance.get_latest_materialization_event(key)
        if newest is not None:
            needed.add(newest.run_id)
        ids = sorted(instance.get_latest_storage_id_by_partition(key, materialised).values())
        for at in range(0, len(ids), _PAGE):
            asked = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[at : at + _PAGE])
            needed |= {record.run_id for record in instance.fetch_materializations(asked, limit=_PAGE).records}
    return needed
