"""Checks of stage features: the stored matrix is the contract's, and no observed station-day is left out."""

from collections.abc import Sequence

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.domain.feature_table import FEATURES_SCHEMA
from weather_platform.domain.features import feature_names
from weather_platform.lake import Lake
from weather_platform.resources.lake import LakeResource


def features_checks() -> list[dg.AssetChecksDefinition]:
    """All checks of the stage."""

    @dg.asset_check(
        asset="features", name="columns_of_the_contract", blocking=True,
        description="The stored columns and their types are those of the feature contract, and no others.",
    )  # fmt: skip
    def columns_of_the_contract(lake: LakeResource) -> dg.AssetCheckResult:
        return report(foreign_columns(lake.lake()))

    @dg.asset_check(
        asset="features", name="a_row_per_observation", blocking=True,
        description="A year has as many feature rows as clean observations.",
    )  # fmt: skip
    def a_row_per_observation(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        years = partitions_of_run(context, dg.AssetKey("features"))
        return report(years_with_other_rows(lake.lake(), years), looked_at=len(years))

    @dg.asset_check(
        asset="features", name="no_empty_feature",
        description="Every feature has a value somewhere in the year; an empty one tells a model nothing.",
    )  # fmt: skip
    def no_empty_feature(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        years = partitions_of_run(context, dg.AssetKey("features"))
        return report(
            empty_features(lake.lake(), years), looked_at=len(years), severity=WARN,
            meaning="No station reported what these features are made of in that year, so models do without them "
            "there. If the source has these columns, look at its files; else there is nothing to do.",
        )  # fmt: skip

    return [columns_of_the_contract, a_row_per_observation, no_empty_feature]


def foreign_columns(lake: Lake) -> Findings:
    """Columns that the table lacks, has too many, or has as another type."""
    if not lake.exists("features"):  # every year so far was passed over: nothing is observed of any
        return {}
    stored = {field.name: field.type for field in lake.snapshot("features").schema}
    wanted = {field.name: field.type for field in FEATURES_SCHEMA}
    findings = {name: "missing" for name in wanted if name not in stored}
    findings |= {name: "not in the contract" for name in stored if name not in wanted}
    return findings | {
        name: f"stored as {stored[name]}, the contract says {kind}"
        for name, kind in wanted.items()
        if name in stored and stored[name] != kind
    }


def years_with_other_rows(lake: Lake, years: Sequence[str]) -> Findings:
    """Years whose feature rows are not as many as their observations, counted in the log."""
    features, observations = (lake.row_counts(table, "year") for table in ("features", "observations"))
    return {
        year: f"{features.get(year)} rows, {observations.get(year, 0)} observations"
        for year in years
        if features.get(year, 0) != observations.get(year, 0) or (year in observations and year not in features)
    }


def empty_features(lake: Lake, years: Sequence[str]) -> Findings:
    """Years with rows in which a feature has no value at all: which features."""
    if not lake.exists("features"):
        return {}
    snapshot = lake.snapshot("features")
    findings: dict[str, str] = {}
    for year in years:
        rows = snapshot.read(keys=[year], columns=feature_names())
        if empty := [name for name in rows.column_names if rows.num_rows and rows[name].null_count == rows.num_rows]:
            findings[year] = ", ".join(empty)
    return findings
