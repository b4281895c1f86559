"""Stage features: the feature matrix and the labels of every target, one partition a year.

One row per observed station-day. A row knows what all stations reported up to and including its day and nothing
later; the label speaks of the next calendar day of the same station and stays empty until that day is observed, so a
year is materialised again when the next year's first day arrives. A year without observations before the first or
after the last of them is passed over with a reason. The numbers come from `domain.features`, which
serving calls too. A column of a station that a person masked counts as missing, for its neighbours too.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.assets.catalogue import LAKE_IO, OWNERS, shared
from weather_platform.assets.passed_over import pass_over
from weather_platform.domain.feature_table import OBSERVED, feature_table, observation_arrays, station_grid
from weather_platform.domain.features import (
    FEATURE_VERSION,
    HISTORY_DAYS,
    NeighbourWeights,
    StationGrid,
    build_features,
    missing_share,
    neighbour_weights,
)
from weather_platform.domain.masks import StationMask, masked
from weather_platform.domain.splits import day_number
from weather_platform.io_managers.costs import metered
from weather_platform.io_managers.lake import read_from
from weather_platform.lake.masks import MASKS_TABLE, masks_in_force
from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions, TablePartitions
from weather_platform.lake.provenance import read_version_key
from weather_platform.resources.lake import LakeResource


def features_asset(years: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of the stage."""

    @dg.asset(
        **shared("features", "numpy", "deltalake", code_version=FEATURE_VERSION),
        partitions_def=years,
        io_manager_key=LAKE_IO,
        dagster_type=dg.Any,
        ins={
            "observations": dg.AssetIn(
                partition_mapping=dg.TimeWindowPartitionMapping(
                    start_offset=-1, end_offset=1, allow_nonexistent_upstream_partitions=True
                ),
            )
        },
        deps=[dg.AssetDep(MASKS_TABLE)],
        description=__doc__,
    )
    @metered
    def features(
        context: dg.AssetExecutionContext, lake: LakeResource, observations: CoveredPartitions, stations: pa.Table
    ) -> ComputedPartitions[pa.Table]:
        grid = station_grid(stations)
        weights = neighbour_weights(grid)
        masks, masks_version = masks_in_force(lake.lake())
        if masks_version is not None:
            for year in context.partition_keys:
                context.add_asset_metadata({read_version_key(MASKS_TABLE): masks_version}, partition_key=year)
        observed = observations.select(OBSERVED)
        unobserved = observations.passed_over(context.partition_keys)
        pass_over(context, unobserved)
        return ComputedPartitions(
            context.partition_keys,
            lambda year: _of_year(context, year, observed, grid, weights, masks),
            passed_over=unobserved,
        )

    return features


def _of_year(
    context: dg.AssetExecutionContext,
    year: str,
    observed: TablePartitions,
    grid: StationGrid,
    weights: NeighbourWeights,
    masks: Sequence[StationMask],
) -> pa.Table:
    first, last = date(int(year), 1, 1), date(int(year), 12, 31)
    # History before the year, and the one day after it that labels the last.
    window = (pc.field("day") >= first - timedelta(days=HISTORY_DAYS)) & (pc.field("day") <= last + timedelta(days=1))
    arrays = masked(observation_arrays(observed.only(neighbours_of(year)).where(window).table(), grid), grid, masks)
    matrix = build_features(arrays, grid, weights, first_day=day_number(first), last_day=day_number(last))
    context.add_asset_metadata(read_from(observed), partition_key=year)
    if len(matrix):
        context.add_asset_metadata({"missing_share": missing_share(matrix)}, partition_key=year)
    return feature_table(year, matrix, grid, arrays)


def neighbours_of(year: str) -> tuple[str, str, str]:
    """The year before, the year itself, the year after."""
    return str(int(year) - 1), year, str(int(year) + 1)


def masks_spec(years: dg.TimeWindowPartitionsDefinition) -> dg.AssetSpec:
    """`station_masks`: nothing makes it but `weather stations mask` and `unmask`, which report the touched years."""
    # A group of its own: Dagster refuses to materialise a selection such as group:features that holds it.
    return dg.AssetSpec(
        MASKS_TABLE,
        group_name="masks",
        owners=OWNERS,
        kinds={"deltalake"},
        code_version="1",
        partitions_def=years,
        description="Columns of stations that count as missing because a sensor is broken: `weather stations mask`.",
    )
