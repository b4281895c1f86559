"""Checks of stage raw: the catalogue is a catalogue of places, and every raw row has one place it came from."""

from collections.abc import Sequence
from zoneinfo import available_timezones

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.checks.reporting import Findings, partitions_of_run, report
from weather_platform.lake import Lake
from weather_platform.resources.lake import LakeResource


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
        elif not (abs(row["latitude_deg"]) <= 90 and abs(row["longitude_deg"]) <= 180):  # so that NaN is none either
            findings[name] = f"latitude {row['latitude_deg']}, longitude {row['longitude_deg']}"
        elif not -450 <= row["elevation_m"] <= 6000:
            findings[name] = f"elevation {row['elevation_m']} m"
        elif row["timezone"] not in zones:
            findings[name] = f"time zone {row['timezone']}"
        seen.add(name)
    return findings


def repeated_origins(lake: Lake, months: Sequence[str]) -> Findings:
    """Months in which a file and row number stands twice, or which hold more than one source."""
    snapshot = lake.snapshot("raw_observations")
    findings: dict[str, str] = {}
    for month in months:
        rows = snapshot.read(keys=[month], columns=["source", "file", "row_number"])
        twice = rows.num_rows - rows.group_by(["file", "row_number"]).aggregate([]).num_rows
        sources = pc.unique(rows["source"]).to_pylist()
        if twice:
            findings[month] = f"{twice} rows have the file and row number of another"
        elif len(sources) > 1:
            findings[month] = f"rows of {' and '.join(sorted(sources))}"
    return findings
