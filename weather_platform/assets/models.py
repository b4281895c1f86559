"""Stage models: one trained candidate per target, algorithm and test year.

Trained on the split's training days, stopped early, calibrated and given its threshold on validation; then fitted again
on training and validation days together, with as many rounds and the calibration and threshold of the first fit. The
refit is measured on test beside persistence and climatology, and is what serves; validation figures are of the first
fit. The candidate goes to MLflow through the model IO manager and no further: everything downstream gets a reference,
or the model with its digest verified.
"""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field, create_model

from weather_platform.assets.catalogue import MODEL_IO, shared
from weather_platform.assets.splits import unsplit_reason, up_to_the_year
from weather_platform.costs import Meter
from weather_platform.domain.algorithms import Algorithm
from weather_platform.domain.feature_table import first_rows, training_columns, training_data
from weather_platform.domain.features import FEATURE_VERSION
from weather_platform.domain.splits import split_from_manifest
from weather_platform.domain.targets import ForecastTarget
from weather_platform.domain.training import TrainingConfig, TrainingData, train
from weather_platform.io_managers.costs import metered
from weather_platform.io_managers.mlflow_models import Candidate, NoCandidate
from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions, TablePartitions
from weather_platform.lake.provenance import lake_source
from weather_platform.resources.lake import LakeResource
from weather_platform.settings import Settings

SAMPLE_ROWS = 5
"""Newest rows that are stored beside a model as a sample of its input."""


def config_of(algorithm: Algorithm, settings: Settings) -> type[dg.Config]:
    """What people see in the launchpad: seed, threads and the algorithm's parameters, with bounds and meanings."""
    chosen = algorithm.quickly() if settings.quick else algorithm.defaults()
    fields = {
        "seed": (
            int,
            Field(settings.seed, ge=0, description="Seed of training and of the bootstrap intervals."),
        ),
        "threads": (
            int,
            Field(settings.threads, ge=1, description="Threads of training; part of the recipe."),
        ),
        "refit": (
            bool,
            Field(
                True,
                description="Fit what is served again on training and validation days, rounds as in the first fit.",
            ),
        ),
    } | {
        p.name: (type(p.default), Field(chosen[p.name], ge=p.low, le=p.high, description=p.description))
        for p in algorithm.parameters
    }
    return create_model(f"{algorithm.name.title().replace('_', '')}Config", __base__=dg.Config, **fields)  # type: ignore[call-overload, no-any-return]


def rows_up_to(target: ForecastTarget, features: TablePartitions, year: str) -> TrainingData:
    """The rows that training for a test year may look at: all years up to it."""
    last = features.up_to(year).select(training_columns(target))
    return training_data(last.reader(), sum(last.row_counts.values()), target)


def candidate_asset(
    target: ForecastTarget, algorithm: Algorithm, settings: Settings, years: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    """The `{target}/{algorithm}` asset."""
    recipe = config_of(algorithm, settings)

    @dg.asset(
        key=[target.name, algorithm.name],
        **shared("models", algorithm.libraries[0].replace("-", ""), "mlflow", code_version=FEATURE_VERSION),
        partitions_def=years,
        io_manager_key=MODEL_IO,
        dagster_type=dg.Any,  # a lazy mapping is no dict, which is what Dagster would ask for
        ins={
            "split": dg.AssetIn(key=[target.name, "split"]),
            "features": dg.AssetIn(partition_mapping=up_to_the_year(years)),
        },
        tags={"target": target.name},
        description=f"{algorithm.title}. {algorithm.description}\n\n{__doc__}",
    )
    @metered
    def candidate(
        context: dg.AssetExecutionContext,
        config: recipe,  # type: ignore[valid-type]
        split: TablePartitions,
        features: CoveredPartitions,
        lake: LakeResource,
    ) -> Mapping[str, Candidate | NoCandidate]:
        params = config.model_dump()  # type: ignore[attr-defined]
        seed, threads, refit = (params.pop(name) for name in ("seed", "threads", "refit"))
        recipe_of_run = TrainingConfig(seed=seed, threads=threads, params=params, refit=refit)
        unsplit = {year: unsplit_reason(split, year) for year in context.partition_keys}
        newest = max((year for year, reason in unsplit.items() if reason is None), default="")
        rows = rows_up_to(target, features, newest)
        lake_versions = {"features": features.version, f"{target.name}__split": split.version}
        source = lake_source(lake.lake()) or "unknown"

        def of_year(year: str) -> Candidate | NoCandidate:
            if reason := unsplit[year]:
                return NoCandidate(reason)
            # Years lie one after the other, so the rows up to a year are a view of the first of them.
            known = first_rows(rows, sum(features.up_to(year).row_counts.values()))
            context.log.info(f"training for {year} on {len(known):,} rows")
            meter = Meter()
            model = train(target, algorithm, known, split_from_manifest(split[year]), recipe_of_run)
            sample = known.values[-SAMPLE_ROWS:]
            return Candidate(model, lake_versions, sample, meter.stop().peak_memory_mb, source)

        return ComputedPartitions(context.partition_keys, of_year)

    return candidate
