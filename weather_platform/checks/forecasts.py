"""Checks of stage forecasts: nobody who reported is left out, a probability is one, and a value is possible."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.database import FORECASTS_SCHEMA, Database
from weather_platform.domain.observations import column
from weather_platform.domain.targets import ForecastTarget, Task
from weather_platform.lake import Lake
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.registry import ModelRegistry


def forecasts_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of a target's forecasts; they read the database as people will."""
    key = dg.AssetKey([target.name, "forecasts"])

    def issued(
        context: dg.AssetCheckExecutionContext, registry: ModelRegistry, database: Database
    ) -> tuple[pa.Table, list[date]]:
        days = [date.fromisoformat(day) for day in partitions_of_run(context, key)]
        version = registry.production(target.name).version
        if not days:
            return FORECASTS_SCHEMA.empty_table(), days
        forecasts = database.forecasts(target.name, days[0], days[-1], model_version=version)
        return forecasts.filter(pc.is_in(forecasts["day"], pa.array(days))), days

    @dg.asset_check(
        asset=key, name="a_forecast_per_report", blocking=True,
        description="Each station that reported on the issue day has one forecast of it, and no other station has.",
    )  # fmt: skip
    def a_forecast_per_report(
        context: dg.AssetCheckExecutionContext,
        lake: LakeResource,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
    ) -> dg.AssetCheckResult:
        forecasts, days = issued(context, registry, database)
        return report(unmatched_stations(lake.lake(), forecasts, days), looked_at=len(days))

    possible = _POSSIBLE[target.task]

    @dg.asset_check(asset=key, name=possible.name, blocking=True, description=possible.description)
    def forecasts_possible(
        context: dg.AssetCheckExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
    ) -> dg.AssetCheckResult:
        forecasts, days = issued(context, registry, database)
        return report(possible.findings(target, forecasts), looked_at=len(days))

    @dg.asset_check(
        asset=key,
        name="some_station_reported",
        description="At least one station reported on each issue day.",
    )
    def some_station_reported(
        context: dg.AssetCheckExecutionContext,
        lake: LakeResource,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
    ) -> dg.AssetCheckResult:
        forecasts, days = issued(context, registry, database)
        years = lake.lake().row_counts("observations", "year")
        days = [day for day in days if str(day.year) in years]  # the others were passed over
        return report(
            silent_days(forecasts, days), looked_at=len(days), severity=WARN,
            meaning="Without a report there is no forecast of the day. Ingest its observations and forecast it again.",
        )  # fmt: skip

    return [a_forecast_per_report, forecasts_possible, some_station_reported]


def unmatched_stations(lake: Lake, forecasts: pa.Table, days: Sequence[date]) -> Findings:
    """Issue days on which the stations with a forecast are not those that reported: which."""
    asked = pc.field("day").isin(days)
    reports = lake.snapshot("observations").read(
        keys=sorted({str(day.year) for day in days}), columns=["station", "day"], where=asked
    )
    reported, forecast = (
        Counter(zip(table["day"].to_pylist(), table["station"].to_pylist(), strict=True))
        for table in (reports, forecasts)
    )
    lacking, surplus = reported - forecast, forecast - reported
    findings: dict[str, str] = {}
    for day, station in sorted(lacking.keys() | surplus.keys()):
        word = "no forecast" if (day, station) in lacking else "a forecast without a report"
        findings[day.isoformat()] = f"{station}: {word}"
    return findings


def impossible_probabilities(_target: ForecastTarget, forecasts: pa.Table) -> Findings:
    """Issue days with a probability that is none, or with a label on the wrong side of the threshold."""
    probability, threshold = forecasts["probability"], forecasts["threshold"]
    good = pc.and_(
        pc.and_(pc.greater_equal(probability, 0.0), pc.less_equal(probability, 1.0)),
        pc.equal(pc.greater_equal(probability, threshold), forecasts["label"]),
    )
    bad = forecasts.filter(pc.invert(pc.fill_null(good, False)))
    return {
        row["day"].isoformat(): f"{row['station']}: probability {row['probability']}, threshold {row['threshold']}, "
        f"label {row['label']}"
        for row in bad.to_pylist()
    }


def impossible_values(target: ForecastTarget, forecasts: pa.Table) -> Findings:
    """Issue days with a value that the target's column can never have, or that lies outside its own interval."""
    value, limits = forecasts["value"], column(target.column)
    good = pc.and_(
        pc.and_(pc.greater_equal(value, limits.low), pc.less_equal(value, limits.high)),
        pc.and_(pc.less_equal(forecasts["value_low"], value), pc.less_equal(value, forecasts["value_high"])),
    )
    bad = forecasts.filter(pc.invert(pc.fill_null(good, False)))
    return {
        row["day"].isoformat(): f"{row['station']}: {row['value']} {target.unit}, interval {row['value_low']} to "
        f"{row['value_high']}, possible are {limits.low:g} to {limits.high:g}"
        for row in bad.to_pylist()
    }


@dataclass(frozen=True)
class _Possible:
    """The check of a task that its forecasts can be true at all."""

    name: str
    description: str
    findings: Callable[[ForecastTarget, pa.Table], Findings]


_POSSIBLE: Mapping[Task, _Possible] = {
    "classification": _Possible(
        "probabilities_in_range",
        "Every probability is a number from 0 to 1, and the label says whether it reaches the threshold.",
        impossible_probabilities,
    ),
    "regression": _Possible(
        "values_in_range",
        "Every value is physically possible for the observed column and lies inside its prediction interval.",
        impossible_values,
    ),
}


def silent_days(forecasts: pa.Table, days: Sequence[date]) -> Findings:
    """Issue days without any forecast."""
    spoken = set(forecasts["day"].to_pylist())
    return {day.isoformat(): "no station reported" for day in days if day not in spoken}
