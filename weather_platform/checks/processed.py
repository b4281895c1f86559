"""Checks of stage processed: what was stored is held against what was received, in the lake itself.

The blocking ones repeat, on the stored tables, promises that already hold before publication: they fail when
something else wrote to the lake, or when raw months were replaced and their year was not cleaned again. The
share of rejected rows and of faulty cells only warns. All look at the partitions of the run and name the
ones at fault.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.lake import Lake, Snapshot
from weather_platform.resources.lake import LakeResource

MAX_QUARANTINED_SHARE: Final = 0.01
"""Share of rejected rows of a year above which somebody should look at the source."""
MAX_FAULTY_SHARE: Final = 0.01
"""Share of the cells of a year's clean rows that were made missing, above which somebody should look."""

OBSERVATIONS: Final = dg.AssetKey("observations")


def processed_checks() -> list[dg.AssetChecksDefinition]:
    """All checks of the stage, on `observations`."""
    return [
        _check("rows_add_up", rows_that_do_not_add_up, "Every raw row of the year is clean or quarantined."),
        _check("one_row_per_station_and_day", repeated_station_days, "No station has two rows for one day."),
        _check("days_in_partition", days_outside_the_year, "Every day lies in the year of its partition."),
        _quarantined_share_check(),
        _faulty_cells_check(),
    ]


def rows_that_do_not_add_up(lake: Lake, years: Sequence[str]) -> Findings:
    """Years whose raw rows are not as many as their clean and quarantined ones; counted in the log."""
    raw = Counter[str]()
    for month, rows in lake.row_counts("raw_observations", "month").items():
        raw[month[:4]] += rows
    clean, quarantined = (lake.row_counts(table, "year") for table in ("observations", "quarantined_observations"))
    return {
        year: f"{raw[year]} raw rows, {clean.get(year)} clean, {quarantined.get(year)} quarantined"
        for year in years
        if clean.get(year, 0) + quarantined.get(year, 0) != raw[year]
    }


def repeated_station_days(lake: Lake, years: Sequence[str]) -> Findings:
    """Years with more than one row for a station and day: how many rows too many."""
    return _per_year(lake, years, ["station", "day"], _repeated)


def days_outside_the_year(lake: Lake, years: Sequence[str]) -> Findings:
    """Years with rows of another year: how many."""
    return _per_year(lake, years, ["day"], _outside)


def quarantined_shares(lake: Lake, years: Sequence[str]) -> dict[str, float]:
    """Share of rejected rows per year, from the log."""
    clean, quarantined = (lake.row_counts(table, "year") for table in ("observations", "quarantined_observations"))
    return {year: quarantined.get(year, 0) / max(clean.get(year, 0) + quarantined.get(year, 0), 1) for year in years}


def faulty_shares(instance: dg.DagsterInstance, years: Sequence[str]) -> dict[str, float | None]:
    """Share of cells made missing per year, as the newest materialisation of the year counted them; None: not known."""
    shares: dict[str, float | None] = dict.fromkeys(years)
    for year in years:
        newest = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("observations"), asset_partitions=[year]), limit=1
        )
        for record in newest.records:
            materialization = record.asset_materialization
            told = materialization.metadata if materialization else {}
            if "cells_made_missing" in told and "clean_rows" in told:
                cells = int(str(told["clean_rows"].value)) * len(OBSERVATION_COLUMNS)
                shares[year] = int(str(told["cells_made_missing"].value)) / max(cells, 1)
    return shares


def _per_year(
    lake: Lake, years: Sequence[str], columns: Sequence[str], count: Callable[[str, pa.Table], int]
) -> Findings:
    if not lake.exists("observations"):  # every year so far was passed over: no raw month is of any
        return {}
    snapshot: Snapshot = lake.snapshot("observations")
    counted = {year: count(year, snapshot.read(keys=[year], columns=columns)) for year in years}
    return {year: rows for year, rows in counted.items() if rows}


def _repeated(_year: str, rows: pa.Table) -> int:
    return int(rows.num_rows - rows.group_by(["station", "day"]).aggregate([]).num_rows)


def _outside(year: str, rows: pa.Table) -> int:
    return int(pc.sum(pc.not_equal(pc.year(rows["day"]), int(year))).as_py() or 0)


def _check(name: str, find: Callable[[Lake, Sequence[str]], Findings], description: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="observations", name=name, blocking=True, description=description)
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        years = partitions_of_run(context, OBSERVATIONS)
        return report(find(lake.lake(), years), looked_at=len(years))

    return check


def _quarantined_share_check() -> dg.AssetChecksDefinition:
    description = f"At most {MAX_QUARANTINED_SHARE:.0%} of the raw rows of a year are rejected."

    @dg.asset_check(asset="observations", name="quarantined_share", description=description)
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        return _shares(
            quarantined_shares(lake.lake(), partitions_of_run(context, OBSERVATIONS)),
            MAX_QUARANTINED_SHARE,
            "Many raw rows of the year were rejected. The table quarantined_observations has each with the rule it "
            "broke: correct the source and ingest it again, or go on without these rows.",
        )

    return check


def _faulty_cells_check() -> dg.AssetChecksDefinition:
    description = f"At most {MAX_FAULTY_SHARE:.0%} of the cells of a year could not be believed."

    @dg.asset_check(asset="observations", name="faulty_cells_share", description=description)
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        stored = lake.lake().row_counts("observations", "year")  # a year that was passed over has no cells
        return _shares(
            faulty_shares(
                context.instance, [each for each in partitions_of_run(context, OBSERVATIONS) if each in stored]
            ),
            MAX_FAULTY_SHARE,
            "Many values of the year are outside what can be measured and count as missing. Look at the units and the "
            "columns of the source.",
        )

    return check


def _shares(shares: Mapping[str, float | None], limit: float, meaning: str) -> dg.AssetCheckResult:
    findings = {
        year: "not known, as its materialisation counts none; materialise it again"
        if share is None
        else round(share, 6)
        for year, share in shares.items()
        if share is None or share > limit
    }
    largest = max((share for share in shares.values() if share is not None), default=0.0)
    return report(findings, looked_at=len(shares), severity=WARN, meaning=meaning, largest_share=largest, limit=limit)
