"""Stage processed: clean observations, and every rejected row with the rule it broke, one partition a year.

Every raw row ends in exactly one of the two tables. A row is rejected whole when its date cannot be read,
lies before the first month or after the day it was fetched, is outside of the month that its file names or far from
all others, when its station is unknown, when its minimum temperature is above its maximum, or when a newer file, or a
later line, has the same station and day. A cell that
cannot be (not a number, outside the physical limits of its column, an unknown compass point) is made
missing and counted, and the row stays.

The dbt project does this in a scratch DuckDB database and tests the result; only then the years are published,
their quarantine first. Units are part of the column names; days are the stations' local days. A year before the first
raw month or after the last is passed over with a reason.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import pyarrow as pa

from weather_platform.assets.catalogue import LAKE_IO, OWNERS, SINGLE_RUN
from weather_platform.assets.passed_over import pass_over
from weather_platform.errors import InvariantError
from weather_platform.io_managers.costs import metered
from weather_platform.io_managers.lake import filled_from, partition_metadata, read_from
from weather_platform.io_managers.stored import changes_of
from weather_platform.lake import CoveredPartitions, Lake, Replaced, TablePartitions
from weather_platform.resources.dbt import BATCH_ROWS, CleanedYears, DbtCleaning, batches_of_years
from weather_platform.resources.lake import LakeResource
from weather_platform.settings import PROJECT_DIR, Settings

CODE_VERSION = "5"
"""Raise it whenever the same raw rows would be cleaned differently."""


def processed_assets(settings: Settings, years: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """`observations` and `quarantined_observations`, made together."""
    cleaning = DbtCleaning(
        project=PROJECT_DIR / "dbt_project",
        first_month=settings.first_month,
        timezone=settings.timezone,
        scratch_home=settings.home / "scratch",
    )

    months_of_the_year = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)

    @dg.multi_asset(
        name="clean_observations",
        specs=[
            dg.AssetSpec(
                name,
                deps=[dg.AssetDep("raw_observations", partition_mapping=months_of_the_year), "stations"],
                partitions_def=years,
                code_version=CODE_VERSION,
                kinds={"dbt", "duckdb", "deltalake"},
                description=f"{summary}\n\n{__doc__}",
                group_name="processed",
                owners=OWNERS,
            ).with_io_manager_key(LAKE_IO)  # how others read it; this asset writes the lake itself
            for name, summary in (
                ("observations", "One clean row per station and day."),
                ("quarantined_observations", "Every rejected raw row, whole, with the rule it broke."),
            )
        ],
        ins={
            "raw_observations": dg.AssetIn(input_manager_key=LAKE_IO),
            "stations": dg.AssetIn(input_manager_key=LAKE_IO),
        },
        backfill_policy=SINGLE_RUN,
    )
    @metered
    def clean_observations(
        context: dg.AssetExecutionContext,
        raw_observations: CoveredPartitions,
        stations: pa.Table,
        lake: LakeResource,
    ) -> Iterator[dg.MaterializeResult[None]]:
        origin = {**filled_from(lake.lake()), **read_from(raw_observations)}
        passed_over = raw_observations.passed_over(context.partition_keys)
        pass_over(context, passed_over, "quarantined_observations", "observations")
        years = [year for year in context.partition_keys if year not in passed_over]
        for stored in publish_years(cleaning, lake.lake(), raw_observations, stations, years):
            for table, metadata in stored.metadata.items():
                changed = changes_of(context.instance, lake.lake(), table, stored.year, stored.versions[table])
                context.add_asset_metadata(
                    {**metadata, **origin, **changed}, asset_key=table, partition_key=stored.year
                )
        for table in ("quarantined_observations", "observations"):
            yield dg.MaterializeResult(asset_key=table)

    return clean_observations


class PublishedYear:
    """A year as it was stored: what each of its two tables says of itself."""

    def __init__(
        self, year: str, cleaned: CleanedYears, raw: int, observations: Replaced, quarantined: Replaced
    ) -> None:
        self.year = year
        self.versions = {"observations": observations.version, "quarantined_observations": quarantined.version}
        faults = {column: sum(kinds.values()) for column, kinds in cleaned.cell_faults.get(year, {}).items()}
        counts = {
            "raw_rows": raw,
            "clean_rows": observations.rows,
            "quarantined_rows": quarantined.rows,
        }
        self.metadata: Mapping[str, Mapping[str, object]] = {
            "observations": partition_metadata(observations)
            | counts
            | {"cells_made_missing": sum(faults.values()), "cells_made_missing_by_column": faults},
            "quarantined_observations": partition_metadata(quarantined)
            | counts
            | {"quarantined_by_rule": dict(cleaned.quarantined_rows.get(year, {}))},
        }


def publish_years(
    cleaning: DbtCleaning,
    lake: Lake,
    raw: TablePartitions,
    stations: pa.Table,
    years: Sequence[str],
    batch_rows: int = BATCH_ROWS,
) -> Iterator[PublishedYear]:
    """Clean these years and replace their partitions, those of the quarantine first."""
    raw_rows = raw_rows_of_years(raw, years)
    for batch in batches_of_years(raw_rows, batch_rows):
        months = raw.only(month for month in raw if month[:4] in batch)
        with cleaning.cleaned(months.reader(), stations) as cleaned:
            refuse_lost_rows(cleaned, {year: raw_rows[year] for year in batch})
            rejected = ((year, cleaned.quarantined(year)) for year in batch)
            quarantined = {
                stored.key: stored for stored in lake.replace_partitions("quarantined_observations", "year", rejected)
            }
            kept = ((year, cleaned.observations(year)) for year in batch)
            for stored in lake.replace_partitions("observations", "year", kept):
                yield PublishedYear(stored.key, cleaned, raw_rows[stored.key], stored, quarantined[stored.key])


def raw_rows_of_years(raw: TablePartitions, years: Sequence[str]) -> dict[str, int]:
    """Raw rows per year, counted by the lake's log."""
    counts = Counter(dict.fromkeys(years, 0))
    for month, rows in raw.row_counts.items():
        counts[month[:4]] += rows
    return {year: counts[year] for year in years}


def refuse_lost_rows(cleaned: CleanedYears, raw_rows: Mapping[str, int]) -> None:
    """InvariantError unless every raw row is clean or quarantined; dbt's own count has no say in it."""
    for year, raw in raw_rows.items():
        clean = cleaned.clean_rows.get(year, 0)
        quarantined = sum(cleaned.quarantined_rows.get(year, {}).values())
        if clean + quarantined != raw:
            raise InvariantError(
                f"{year}: {raw} raw rows became {clean} clean and {quarantined} rejected ones; not published"
            )
    if strangers := (cleaned.clean_rows.keys() | cleaned.quarantined_rows.keys()) - raw_rows.keys():
        raise InvariantError(f"cleaning made rows of {', '.join(sorted(strangers))}, which were not asked for")
