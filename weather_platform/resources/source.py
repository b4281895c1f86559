"""The source resource: which source the settings name, opened once per Dagster run.

What belongs here: choosing and closing a source. What does not: reading rows (``sources``). The moment of fetching
is the start of the Dagster run, as the instance recorded it, so that a re-executed step sees the same 'today'.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from weather_platform.resources.moments import run_created_at
from weather_platform.settings import Settings, synthetic_days
from weather_platform.sources import Source
from weather_platform.sources.csv_files import CsvSource
from weather_platform.sources.synthetic import ClimateShift, SyntheticSource


def open_source(settings: Settings, fetched_at: datetime) -> Source:
    """The source of the settings as it stands at `fetched_at` (aware). Close it after use."""
    if settings.source == "csv":
        assert settings.csv_path is not None, "settings with the csv source always have a path"  # noqa: S101
        return CsvSource(settings.csv_path, first_month=settings.first_month, fetched_at=fetched_at)
    first_day, last_day = synthetic_days(settings, fetched_at)
    shift = None
    if settings.synthetic_shift_day is not None:
        shift = ClimateShift(
            from_day=settings.synthetic_shift_day,
            temp_c=settings.synthetic_shift_temp_c,
            rain_factor=settings.synthetic_shift_rain_factor,
        )
    return SyntheticSource(
        seed=settings.synthetic_seed,
        station_count=settings.synthetic_stations,
        first_day=first_day,
        last_day=last_day,
        shift=shift,
        first_month=settings.first_month,
        fetched_at=fetched_at,
    )


def source_resource(settings: Settings) -> dg.ResourceDefinition:
    """A Dagster resource that yields the open source of the run, or of a sensor's look."""

    @dg.resource(description=f"Raw observations from the {settings.source} source.")
    def source(context: dg.InitResourceContext) -> Iterator[Source]:
        # A sensor has no run: it looks now.
        created = run_created_at(context.instance, context.run.run_id) if context.run else settings.now()
        with closing(open_source(settings, created.astimezone(ZoneInfo(settings.timezone)))) as opened:
            yield opened

    return source
