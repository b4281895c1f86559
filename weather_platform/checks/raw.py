"""Checks of stage raw: the catalogue is a catalogue of places, and every raw row has one place it came from."""

from collections.abc import Sequence
from typing import Final
from zoneinfo import available_timezones

import dagster as dg
import pyarrow as pa

from weather_platform.checks.reporting import Findings, partitions_of_run, report
from weather_platform.domain.stations import ELEVATION_M, LATITUDE_DEG, LONGITUDE_DEG
from weather_platform.lake import Lake
from weather_platform.resources.lake import LakeResource

_MONTHS_AT_ONCE: Final = 24
"""Months that are read in one scan: opening 100 files apart takes longer than what is in them."""


def raw_checks() -> list[dg.AssetChecksDefinition]:
    """All checks of the stage."""

    @dg.asset_check(
        asset="stations", name="places_are_real", blocking=True,
        description="Ids are unique, positions lie on Earth, time zones exist.",
    )  # fmt: skip
    def places_are_real(lake: LakeResource) -> dg.AssetCheckResult:
        return report(impossible_stations(lake.lake().read("stations")))

    @dg.asset_check(
        asset="raw_observations", name="one_origin_per_row", blocking=True,
        description="No file and row number stands twice in a month, and all rows are of one source.",
    )  # fmt: skip
    def one_origin_per_row(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        months = partitions_of_run(context, dg.AssetKey("raw_observations"))
        return report(repeated_origins(lake.lake(), months), looked_at=len(months))

    return [places_are_real, one_origin_per_row]


def impossible_stations(stations: pa.Table) -> Findings:
    """Stations that cannot be, by id, with what is wrong."""
    findings: dict[str, str] = {}
    seen: set[str] = set()
    zones = available_timezones()
    for row in stations.to_pylist():
        name = row["id"]
        if name in seen:
            findings[name] = "stands twice in the catalogue"
        elif not (_within(row["latitude_deg"], LATITUDE_DEG) and _within(row["longitude_deg"], LONGITUDE_DEG)):
            findings[name] = f"latitude {row['latitude_deg']}, longitude {row['longitude_deg']}"
        elif not _within(row["elevation_m"], ELEVATION_M):
            findings[name] = f"elevation {row['elevation_m']} m"
        elif row["timezone"] not in zones:
            findings[name] = f"time zone {row['timezone']}"
        seen.add(name)
    return findings


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]  # NaN is not


def repeated_origins(lake: Lake, months: Sequence[str]) -> Findings:
    """Months in which a file and row number stands twice, or which hold more than one source."""
    if not lake.exists("raw_observations"):  # every month so far was passed over: the source covers none of them
        return {}
    snapshot = lake.snapshot("raw_observations")
    findings: dict[str, str] = {}
    for start in range(0, len(months), _MONTHS_AT_ONCE):
        some = months[start : start + _MONTHS_AT_ONCE]
        rows = snapshot.read(keys=some, columns=["month", "source", "file", "row_number"])
        origins = rows.group_by(["month", "file", "row_number"]).aggregate([]).group_by("month")
        distinct = {each["month"]: each["count_all"] for each in origins.aggregate([([], "count_all")]).to_pylist()}
        stored = rows.group_by("month").aggregate([([], "count_all"), ("source", "distinct")])
        for each in stored.sort_by("month").to_pylist():
            if twice := each["count_all"] - distinct[each["month"]]:
                findings[each["month"]] = f"{twice} rows have the file and row number of another"
            elif len(each["source_distinct"]) > 1:
                findings[each["month"]] = f"rows of {' and '.join(sorted(each['source_distinct']))}"
    return findings
