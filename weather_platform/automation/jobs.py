"""The stage jobs: what a person, a schedule or the CLI starts. One job per partition grain and stage.

Month, year and day assets cannot share a run, so the whole graph is these jobs in this order. A backfill of everything
from the UI makes the same runs.
"""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

RAW_STAGES = ("raw",)
PROCESSING_STAGES = ("processed", "features")
LEARNING_STAGES = ("splits", "models", "production")


def stage_jobs() -> list[UnresolvedAssetJobDefinition]:
    """`ingest` (months), `process` (years), `learn` (years), `forecast` (days), `watch` (months), `endpoint`."""
    groups, every = dg.AssetSelection.groups, dg.AssetSelection.from_string
    return [
        _job("ingest", groups(*RAW_STAGES), "Station catalogue and raw observations, by month."),
        _job("process", groups(*PROCESSING_STAGES), "Cleaned observations, quarantine and features, by year."),
        _job(
            "learn",
            groups(*LEARNING_STAGES),
            "Splits, models, the promotion decision and the Production alias, by test year.",
        ),
        _job("forecast", every('key:"*/forecasts"'), "Forecasts of the Production models, by issue day."),
        _job(
            "watch",
            every('key:"*/matured_skill" or key:"drift_report" or key:"*/retraining"'),
            "How each month looked to the Production models, what its forecasts were worth, and whether to retrain, by "
            "month.",
        ),
        _job("endpoint", groups("endpoint"), "Whether the running service answers as the graph does; it must run."),
    ]


def _job(name: str, selection: dg.AssetSelection, description: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=selection,
        description=description,
        # In-process: a step of its own process pays seconds of imports, and the ranges inside are vectorised anyway.
        executor_def=dg.in_process_executor,
    )
