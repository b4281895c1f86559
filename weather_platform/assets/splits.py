"""Stage splits: which days train, validate and test the models of a year. One manifest per target and test year.

By default a year is tested whole, which is what backtests and comparisons go by; the newest data are split as of any
day when a decision to retrain asks for it. A manifest holds its kind, date ranges, counts, class balance and the lake
version of the features it counted; never a copy of rows. Its invariants (order, embargo, standing exam left out) raise
before it is stored. A year that cannot be split, because nothing of it is observed yet or too little before it, or
because every label of a part is yes or every one is no, has an empty manifest and its reason in the metadata; the later
stages pass over it.
"""

from datetime import date
from functools import cache
from typing import Self

import dagster as dg
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from weather_platform.assets.catalogue import LAKE_IO, shared
from weather_platform.domain.feature_table import label_column
from weather_platform.domain.splits import (
    MANIFEST_SCHEMA,
    SplitKind,
    day_date,
    day_number,
    manifest,
    newest_labelled_day,
    plan_newest_split,
    plan_split,
    split_from_manifest,
)
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import NotEnoughDataError
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions, TablePartitions

REASON = "reason"
"""Metadata of a year without a split, a model or a decision: why there is none."""


class SplitConfig(dg.Config):
    """Which days a split takes; what people see in the launchpad."""

    kind: SplitKind = Field(
        "complete_year",
        description="`complete_year` tests the whole year (the newest 90 labelled days while it is unfinished) and is "
        "what years are compared by. `newest` tests the newest 90 labelled days as of a day of the year, validates on "
        "the 365 before them and trains on everything earlier; retraining uses it.",
    )
    as_of: str | None = Field(
        None,
        description="Of `newest`: the last day of observations that counts, YYYY-MM-DD, in the year of the partition. "
        "Without it the last day of the year.",
    )

    @model_validator(mode="after")
    def _a_day_of_the_newest(self) -> Self:
        if self.as_of is not None and self.kind != "newest":
            raise ValueError("as_of is of the kind `newest`; a complete year has no such day")
        if self.as_of is not None:
            date.fromisoformat(self.as_of)
        return self


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
    def split(
        context: dg.AssetExecutionContext, config: SplitConfig, features: CoveredPartitions
    ) -> ComputedPartitions[pa.Table]:
        narrow = features.select(("day", label_column(target.name)))

        def of_year(year: str) -> pa.Table:
            try:
                stored = _manifest(target, year, narrow, config)
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
    split = split_from_manifest(stored)
    rule = (
        f"newest days as of {split.as_of}" if split.as_of else "complete year" if split.complete else "unfinished year"
    )
    lines = [f"{rule}\n", "| part | first day | last day | rows | mean label |", "|---|---|---|---:|---:|"]
    for row in stored.to_pylist():
        balance = "" if row["balance"] is None else f"{row['balance']:.3f}"
        part = row["part"].replace("_", " ")
        lines.append(f"| {part} | {row['first_day']} | {row['last_day']} | {row['rows']:,} | {balance} |")
    return dg.MetadataValue.md("\n".join(lines))


def _manifest(target: ForecastTarget, year: str, features: TablePartitions, config: SplitConfig) -> pa.Table:
    known = features.up_to(year)
    if not known:
        first, last = features.stored_span
        raise NotEnoughDataError(f"{features.name} holds {first} to {last}, nothing up to {year}")
    days, labels = _days_and_labels(target, known.table())
    first_day = day_date(days.min())
    if config.kind == "newest":
        as_of = date.fromisoformat(config.as_of or f"{year}-12-31")
        before = days < day_number(as_of)
        newest = newest_labelled_day(days[before], labels[before])
        plan = plan_newest_split(int(year), first_day, newest, as_of)
    else:
        plan = plan_split(int(year), first_day, _newest_labelled(target, features.whole()))
    return manifest(
        plan,
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
