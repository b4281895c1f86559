"""`weather stations`: the catalogue with the days that each station has, and what was met and is not in it.

Only reads: neither MLflow nor Dagster is imported, and no home is made.
"""

import sys

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weather_platform.cli.reading import no_home
from weather_platform.domain.bureau import PLACES
from weather_platform.domain.stations import STATIONS, Station, stations_of
from weather_platform.lake import Lake
from weather_platform.lake.provenance import STATIONS_TABLE
from weather_platform.lake.unknown_stations import unknown_stations
from weather_platform.settings import Settings
from weather_platform.stores import open_lake

_OBSERVATIONS = "observations"
_NEVER_WRAPPED = 10_000


def show_stations(settings: Settings) -> None:
    """One line a station: id, state, name, clean days, first and last of them."""
    catalogue: tuple[Station, ...] = STATIONS
    days: dict[str, dict[str, object]] = {}
    if (line := no_home(settings)) is None:
        lake = open_lake(settings)
        if lake.exists(STATIONS_TABLE):
            catalogue = stations_of(lake.read(STATIONS_TABLE))
        days = _days(lake)
    table = _table("station", "state", "days", "first", "last", "name")
    for station in catalogue:
        place = PLACES.get(station.id)
        seen = days.get(station.id, {"days": 0, "first": "", "last": ""})
        name = station.name or (place.name if place else "")
        cells = (station.id, station.state, f"{seen['days']:,}", seen["first"], seen["last"], name)
        table.add_row(*(Text(str(cell)) for cell in cells))
    _console().print(table)
    if line is not None:
        typer.echo(f"this is the shipped catalogue: {line}", err=True)


def show_unknown_stations(settings: Settings) -> None:
    """One line a station that rows speak of and the catalogue lacks."""
    met = unknown_stations(open_lake(settings)) if no_home(settings) is None else []
    if not met:
        typer.echo("no unknown station was met")
        return
    table = _table("station", "state", "product", "rows", "first", "last", "file")
    for each in met:
        cells = (each.name, each.state, each.product, f"{each.rows:,}", each.first_day, each.last_day, each.first_file)
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in cells))
    _console().print(table)
    typer.echo("a stations.csv beside the observations makes them known; docs/how-to/own-stations.md says how")


def _days(lake: Lake) -> dict[str, dict[str, object]]:
    """Clean days of each station, with the first and the last."""
    if not lake.exists(_OBSERVATIONS):
        return {}
    parts = [
        pa.Table.from_batches([batch]).group_by("station").aggregate([("day", "count"), ("day", "min"), ("day", "max")])
        for batch in lake.snapshot(_OBSERVATIONS).stream(columns=["station", "day"])
    ]
    if not parts:
        return {}
    whole = pa.concat_tables(parts).group_by("station")
    counted = whole.aggregate([("day_count", "sum"), ("day_min", "min"), ("day_max", "max")])
    return {
        row["station"]: {"days": row["day_count_sum"], "first": row["day_min_min"], "last": row["day_max_max"]}
        for row in counted.sort_by("station").to_pylist()
    }


def _table(*names: str) -> Table:
    """Right-aligned counts; no frame, so that lines can be searched and cut."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name in ("days", "rows") else "left", no_wrap=True)
    return table


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NEVER_WRAPPED)
