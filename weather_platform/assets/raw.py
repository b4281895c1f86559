"""Stage raw: what the sources say, stored before anybody judges it.

`stations` is the catalogue that goes with the source. `raw_observations` holds the rows of a month exactly as
received, text for text, with the file and the row number they came from, so that every later number can be
followed back to a line. Cleaning is the next stage's.

A month that is received again replaces what is stored of it. When that would lose station-days, because the source
holds a part of the month alone, the month is refused, unless the run is told to let them go. A month that the source
does not cover is passed over with a reason, and what is stored of it stays.
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from weather_platform.assets.catalogue import LAKE_IO, shared
from weather_platform.assets.passed_over import pass_over
from weather_platform.domain.stations import station_table
from weather_platform.errors import SourceError
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import ComputedPartitions
from weather_platform.lake.provenance import refuse_other_source
from weather_platform.lake.station_days import StoredStationDays
from weather_platform.resources.lake import LakeResource
from weather_platform.sources import Source

REMEDY = "add what holds them to the source, or let them go with `weather run --let-go` (`let_go` of raw_observations)"


class ReceiveConfig(dg.Config):
    """What may become of a month that is received again."""

    let_go: bool = Field(
        default=False,
        description="Let go of station-days that the lake holds and the source no longer has, as when reports were "
        "taken back; otherwise a month that lacks any is refused and stays as it was.",
    )


def letting_go() -> dict[str, Any]:
    """The run config of `ingest` that lets go of what the source no longer has."""
    return {"ops": {"raw_observations": {"config": ReceiveConfig(let_go=True).model_dump()}}}


def raw_assets(months: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The two assets of the stage."""

    @dg.asset(
        **shared("raw", "deltalake"),
        io_manager_key=LAKE_IO,
        description="Station catalogue: id, state, position in degrees, elevation in metres, time zone.",
    )
    @metered
    def stations(context: dg.AssetExecutionContext, source: dg.ResourceParam[Source], lake: LakeResource) -> pa.Table:
        refuse_other_source(lake.lake(), source)
        context.add_output_metadata({"source": source.name})
        return station_table(source.stations())

    @dg.asset(
        **shared("raw", "deltalake"),
        partitions_def=months,
        io_manager_key=LAKE_IO,
        dagster_type=dg.Any,
        description=(
            "Rows exactly as received, one partition a month, as text, with source, file, row number and fetch time. "
            "Source: the `csv` files of the Bureau of Meteorology, or the `synthetic` generator (then it says so). "
            "A month that is received again replaces the stored one; it is refused when it lacks station-days that are "
            "stored, unless the run config says `let_go`."
        ),
    )
    @metered
    def raw_observations(
        context: dg.AssetExecutionContext,
        config: ReceiveConfig,
        source: dg.ResourceParam[Source],
        lake: LakeResource,
    ) -> ComputedPartitions[pa.Table]:
        refuse_other_source(lake.lake(), source)
        if remarks := source.remarks():
            for month in context.partition_keys:
                context.add_asset_metadata({"remarks": list(remarks)}, partition_key=month)
            for remark in remarks:
                context.log.warning(remark)
        stored = StoredStationDays(lake.lake(), context.partition_keys, source.stations())

        def of_month(month: str) -> pa.Table:
            rows = source.rows(month)
            if lost := stored.lost(month, rows):
                if not config.let_go:
                    raise SourceError(f"{lost}; {REMEDY}")
                context.log.warning(f"{lost}; let go")
            return rows

        uncovered = months_outside(source, context.partition_keys)
        pass_over(context, uncovered)
        return ComputedPartitions(context.partition_keys, of_month, passed_over=uncovered)

    return [stations, raw_observations]


def months_outside(source: Source, months: Iterable[str]) -> dict[str, str]:
    """The months (YYYY-MM) that the source does not cover, each with the reason why it is passed over."""
    covered = source.coverage()
    first, last = f"{covered.first_day:%Y-%m}", f"{covered.last_day:%Y-%m}"
    return {
        month: f"{month} is passed over: the source covers the months {first} to {last}"
        for month in months
        if not first <= month <= last
    }
