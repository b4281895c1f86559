"""Checks of stage splits: time is honest in the manifest as it is stored."""

from collections.abc import Sequence

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.domain.splits import split_from_manifest
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import InvariantError
from weather_platform.lake import Lake
from weather_platform.resources.lake import LakeResource


def split_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of a target's splits."""
    key = dg.AssetKey([target.name, "split"])

    @dg.asset_check(
        asset=key, name="time_order", blocking=True,
        description="Training ends before validation, validation before test, each with an embargo day, none empty.",
    )  # fmt: skip
    def time_order(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        years = partitions_of_run(context, key)
        return report(dishonest_years(lake.lake(), "__".join(key.path), years), looked_at=len(years))

    @dg.asset_check(
        asset=key, name="enough_data",
        description="The year can be split: it is observed, and so are enough days before it to train and validate on.",
    )  # fmt: skip
    def enough_data(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        years = partitions_of_run(context, key)
        return report(
            unsplit_years(lake.lake(), "__".join(key.path), years), looked_at=len(years), severity=WARN,
            meaning="Nothing is trained for these years. Ingest earlier observations, or take a later year.",
        )  # fmt: skip

    return [time_order, enough_data]


def unsplit_years(lake: Lake, table: str, years: Sequence[str]) -> Findings:
    """Years whose manifest was stored without rows."""
    rows = lake.row_counts(table, "year")
    return {year: "not split; its metadata says why" for year in years if rows.get(year) == 0}


def dishonest_years(lake: Lake, table: str, years: Sequence[str]) -> Findings:
    """Years whose manifest breaks a promise of a split, or has a part without labelled rows: which."""
    snapshot = lake.snapshot(table)
    unsplit = unsplit_years(lake, table, years)  # nothing is said there that could be dishonest
    findings: dict[str, str] = {}
    for year in (each for each in years if each not in unsplit):
        stored = snapshot.read(keys=[year])
        try:
            split = split_from_manifest(stored)
        except InvariantError as error:
            findings[year] = str(error)
            continue
        empty = [row["part"] for row in stored.to_pylist() if row["part"] != "standing_exam" and not row["labelled"]]
        if empty:
            findings[year] = f"no labelled row in {', '.join(empty)}"
        elif str(split.year) != year:
            findings[year] = f"the manifest is of {split.year}"
    return findings
