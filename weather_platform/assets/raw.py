"""Stage raw: what the sources say, stored before anybody judges it.

`stations` is the catalogue that goes with the source. `raw_observations` holds the rows of a month exactly as
received, text for text, with the file and the row number they came from, so that every later number can be
followed back to a line. Cleaning is the next stage's.
"""

import dagster as dg
import pyarrow as pa

from weather_platform.assets.catalogue import LAKE_IO, shared
from weather_platform.domain.stations import station_table
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import ComputedPartitions
from weather_platform.lake.provenance import refuse_other_source
from weather_platform.resources.lake import LakeResource
from weather_platform.sources import Source


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
            "Source: the `csv` files of the Bureau of Meteorology, or the `synthetic` generator (then it says so)."
        ),
    )
    @metered
    def raw_observations(
        context: dg.AssetExecutionContext, source: dg.ResourceParam[Source], lake: LakeResource
    ) -> ComputedPartitions[pa.Table]:
        refuse_other_source(lake.lake(), source)
        return ComputedPartitions(context.partition_keys, source.rows)

    return [stations, raw_observations]
