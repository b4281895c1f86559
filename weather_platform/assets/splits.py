"""Stage splits: which days train, validate and test the models of a year. One manifest per target and test year.

A manifest holds date ranges, counts, class balance and the lake version of the features it counted; never a copy of
rows. Its invariants (order, embargo, standing exam left out) raise before it is stored. A year that cannot be split,
because nothing of it is observed yet or too little before it, or because every label of a part is yes or every one is
no, has an empty manifest and its reason in the metadata; the later stages pass over it.
"""

from datetime import date
from functools import cache

import dagster as dg
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from weather_platform.assets.catalogue import LAKE_IO, shared
from weather_platform.domain.feature_table import label_column
from weather_platform.domain.splits import MANIFEST_SCHEMA, day_date, manifest, newest_labelled_day, plan_split
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import NotEnoughDataError
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions, TablePartitions

REASON = "reason"
"""Metadata of a year without a split, a model or a decision: why there is none."""


def unsplit_reason(split: TablePartitions, year: str) -> str | None:
    """Why the later stages pass over a year; None when its manifest holds a split."""
    if split.row_counts[year]:
        return None
    return f"{year} is not split; the metadata of the split says why"


@cache
def up_to_the_year(years: dg.TimeWindowPartitionsDefinition) -> dg.TimeWindowPartitionMapping:
    """All years up to the partition's own: the start is clipped at the first partition.

    Dagster walks the offset year by year each time it maps an input, so it is as short as it can be: the years there
    are, and ten that may yet begin while the code location stays loaded. Counting them is such a walk, too, so it is
    done once for all assets.
    """
    before = years.get_num_partitions() + 10
    return dg.TimeWindowPartitionMapping(start_offset=-before, allow_nonexistent_upstream_partitions=True)


def split_asset(target: ForecastTarget, years: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """The `{target}/split` asset."""

    @dg.asset(
        key=[target.name, "split"],
        **shared("splits", "deltalake"),
        partitions_def=years,
        io_manager_key=LAKE_IO,
        dagster_type=dg.Any,
        ins={"features": dg.AssetIn(partition_mapping=up_to_the_year(years))},
        tags={"target": target.name},
        description=f"{__doc__}\nTarget: {target.description}",
    )
    @metered
    def split(context: dg.AssetExecutionContext, features: CoveredPartitions) -> ComputedPartitions[pa.Table]:
        narrow = features.select(("day", label_column(target.name)))

        def of_year(year: str) -> pa.Table:
            try:
                stored = _manifest(target, year, narrow)
            except NotEnoughDataError as error:
                context.log.warning(f"{year} is not split: {error}")
                context.add_asset_metadata({REASON: str(error)}, partition_key=year)
                return MANIFEST_SCHEMA.empty_table()
            context.add_asset_metadata({"manifest": _shown(stored)}, partition_key=year)
            return stored

        return ComputedPartitions(context.partition_keys, of_year)

    return split


def _shown(stored: pa.Table) -> dg.MetadataValue:
    """The manifest as people read it: a table of Markdown."""
    lines = ["| part | first day | last day | rows | mean label |", "|---|---|---|---:|---:|"]
    for row in stored.to_pylist():
        balance = "" if row["balance"] is None else f"{row['balance']:.3f}"
        part = row["part"].replace("_", " ")
        lines.append(f"| {part} | {row['first_day']} | {row['last_day']} | {row['rows']:,} | {balance} |")
    return dg.MetadataValue.md("\n".join(lines))


def _manifest(target: ForecastTarget, year: str, features: TablePartitions) -> pa.Table:
    known = features.up_to(year)
    if not known:
        first, last = features.stored_span
        raise NotEnoughDataError(f"{features.name} holds {first} to {last}, nothing up to {year}")
    rows = known.table()
    days, labels = _days_and_labels(target, rows)
    return manifest(
        plan_split(int(year), day_date(days.min()), _newest_labelled(target, features.whole())),
        days,
        labels,
        classification=target.task == "classification",
        features_lake_version=features.version,
    )


def _newest_labelled(target: ForecastTarget, features: TablePartitions) -> date:
    """The newest labelled day of the table; of its newest years only those are read that are needed to find it."""
    for year in sorted(features, reverse=True):
        days, labels = _days_and_labels(target, features[year])
        if not np.isnan(labels).all():
            return newest_labelled_day(days, labels)
    return newest_labelled_day(*_days_and_labels(target, features.table()))


def _days_and_labels(target: ForecastTarget, rows: pa.Table) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    days = rows["day"].cast(pa.int32()).to_numpy()
    return days, rows[label_column(target.name)].to_numpy().astype(np.float32, copy=False)
