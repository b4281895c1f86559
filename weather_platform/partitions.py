"""The three partition grains of the graph: month, year and day, all in the one time zone of the settings.

`end_offset=1` everywhere: the current month, year and day exist, so that fresh data has somewhere to go.
"""

from datetime import date, timedelta

import dagster as dg

from weather_platform.settings import Settings

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
ONE = "dagster/partition"
"""Tags that name the partitions of a run."""


def month_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """YYYY-MM from the first month of the settings to the current month."""
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 1 * *",
        fmt="%Y-%m",
        start=settings.first_month,
        timezone=settings.timezone,
        end_offset=1,
    )


def year_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """YYYY from the year of the first month to the current year."""
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 1 1 *",
        fmt="%Y",
        start=settings.first_month[:4],
        timezone=settings.timezone,
        end_offset=1,
    )


def day_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """YYYY-MM-DD from the first day of the first month to today. The day is the issue day of a forecast."""
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 * * *",
        fmt="%Y-%m-%d",
        start=f"{settings.first_month}-01",
        timezone=settings.timezone,
        end_offset=1,
    )


def days_of_month(month: str) -> tuple[date, date]:
    """The first and the last day of a month partition."""
    first = date.fromisoformat(f"{month}-01")
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
