"""Checks of matured skill: every forecast is accounted for, and live forecasts are worth more than the averages."""

from collections.abc import Sequence

import dagster as dg
import pyarrow.compute as pc

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.database import Database
from weather_platform.domain.matured import COUNTS, HEADINGS, MAIN_ERROR, Matured, combine, combine_bins, with_scores
from weather_platform.domain.targets import ForecastTarget
from weather_platform.partitions import days_of_month

ENOUGH_MATURED = 300
"""Below this one wet week decides whether a month beats climatology; a month of ten stations is about as many."""


def matured_skill_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of a target's matured skill; they read the database as people will."""
    key = dg.AssetKey([target.name, "matured_skill"])

    @dg.asset_check(
        asset=key, name="counts_add_up", blocking=True,
        description="Every forecast of the month is matured, pending or unmatched, and in one bin once it is matured.",
    )  # fmt: skip
    def counts_add_up(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, key)
        return report(forecasts_lost(target, database, months), looked_at=len(months))

    @dg.asset_check(
        asset=key, name="beats_climatology",
        description=f"Live forecasts of each version beat climatology in a month of {ENOUGH_MATURED} or more.",
    )  # fmt: skip
    def beats_climatology(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, key)
        stored = database.matured_skill(target.name, min(months, default=""), max(months, default=""))
        return report(
            unskilled_months(target, stored), looked_at=len(months), severity=WARN,
            meaning="Live forecasts of the month were no better than the long-term mean of the station and month. "
            "`weather watch` shows whether the data drifted; a run over the newest year trains a challenger.",
        )  # fmt: skip

    return [counts_add_up, beats_climatology]


def forecasts_lost(target: ForecastTarget, database: Database, months: Sequence[str]) -> Findings:
    """Months whose counts are not those of the stored forecasts, or whose bins do not hold what has matured."""
    stored = database.matured_skill(target.name, min(months, default=""), max(months, default=""))
    counts = {row["month"]: row for row in combine(stored.skill, ("month",)).to_pylist()}
    bins: dict[str, int] = {}
    for row in combine_bins(stored.reliability, ("month",)).to_pylist():
        bins[row["month"]] = bins.get(row["month"], 0) + row["matured"]
    findings: dict[str, str] = {}
    for month in months:
        issued = database.count_forecasts(target.name, *days_of_month(month))
        counted, matured, pending, unmatched = (counts[month][name] for name in COUNTS) if month in counts else (0,) * 4
        if not issued == counted == matured + pending + unmatched:
            findings[month] = f"{issued} forecasts, but {matured} matured + {pending} pending + {unmatched} unmatched"
        elif bins.get(month, 0) != matured:
            findings[month] = f"{matured} matured, but {bins.get(month, 0)} in the bins of reliability"
    return findings


def unskilled_months(target: ForecastTarget, matured: Matured) -> Findings:
    """Months in which the live forecasts of a version were no better than climatology: how much worse."""
    live = matured.skill.filter(pc.field("kind") == "live")
    column = f"{MAIN_ERROR[target.task]}_skill_climatology"
    findings: dict[str, str] = {}
    for row in with_scores(combine(live, ("month", "model_version"))).to_pylist():
        if row["matured"] >= ENOUGH_MATURED and row[column] is not None and row[column] <= 0:
            name = f"{row['month']} version {row['model_version']}"
            findings[name] = f"{HEADINGS[target.task][column]} {row[column]:.3f} of {row['matured']:,} forecasts"
    return findings
