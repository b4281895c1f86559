"""The stage jobs: what a person, a schedule or the CLI starts. One job per partition grain and stage.

Month, year and day assets cannot share a run, so the whole graph is these four jobs in this order. A backfill of
everything from the UI makes the same runs.
"""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

RAW_STAGES = ("raw",)
PROCESSING_STAGES = ("processed", "features")
LEARNING_STAGES = ("splits", "models", "production")
FORECAST_STAGES = ("forecasts",)


def stage_jobs() -> list[UnresolvedAssetJobDefinition]:
    """`ingest` (months), `process` (years), `learn` (years), `forecast` (days)."""
    return [
        _job("ingest", RAW_STAGES, "Station catalogue and raw observations, by month."),
        _job("process", PROCESSING_STAGES, "Cleaned observations, quarantine and features, by year."),
        _job(
            "learn",
            LEARNING_STAGES,
            "Splits, models, the promotion decision and the Production alias, by test year.",
        ),
        _job("forecast", FORECAST_STAGES, "Forecasts of the Production models, by issue day."),
    ]


def _job(name: str, stages: tuple[str, ...], description: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.groups(*stages),
        description=description,
        # In-process: a step of its own process pays seconds of imports, and the ranges inside are vectorised anyway.
        executor_def=dg.in_process_executor,
    )
