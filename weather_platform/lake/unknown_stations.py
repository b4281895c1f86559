"""Stations that raw rows speak of and the catalogue does not have: counted from the quarantine.

What belongs here: which there are, with their rows and days. What does not: why a row was not recognised
(``domain.recognition``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow.compute as pc

from weather_platform.domain.recognition import STATION_COLUMNS
from weather_platform.lake.tables import Lake

QUARANTINE_TABLE = "quarantined_observations"


@dataclass(frozen=True, slots=True)
class UnknownStation:
    """One station as its rows name it; ``first_file`` is one of the files that they came from."""

    name: str | None
    state: str | None
    product: str | None
    rows: int
    first_day: date
    last_day: date
    first_file: str

    def __str__(self) -> str:
        said = [self.name, self.state, self.product]
        return ", ".join(text for text in said if text) or f"without a name in {self.first_file}"


def unknown_stations(lake: Lake) -> list[UnknownStation]:
    """Every unknown station, the one with most rows first."""
    if not lake.exists(QUARANTINE_TABLE):
        return []
    snapshot = lake.snapshot(QUARANTINE_TABLE)
    if not (keys := [key for key, rows in snapshot.row_counts().items() if rows]):
        return []
    said = [name for name in STATION_COLUMNS[:3] if name in snapshot.schema.names]  # an earlier version has one alone
    rows = snapshot.read(keys=keys, columns=[*said, "day", "file"], where=pc.field("rule") == "unknown_station")
    counted = rows.group_by(said).aggregate([([], "count_all"), ("day", "min"), ("day", "max"), ("file", "min")])
    return sorted(map(_station, counted.to_pylist()), key=lambda each: (-each.rows, str(each)))


def _station(row: dict[str, Any]) -> UnknownStation:
    name, state, product = (row.get(column) for column in STATION_COLUMNS[:3])
    return UnknownStation(name, state, product, row["count_all"], row["day_min"], row["day_max"], row["file_min"])


def in_words(stations: Sequence[UnknownStation], most: int = 5) -> str | None:
    """The line that names them, at most so many; None when there are none."""
    if not stations:
        return None
    rows = sum(station.rows for station in stations)
    named = "; ".join(f"{station} ({station.rows:,})" for station in stations[:most])
    more = f"; and {len(stations) - most:,} more" if len(stations) > most else ""
    return (
        f"{rows:,} row{'s' * (rows != 1)} of {len(stations):,} unknown station{'s' * (len(stations) != 1)} "
        f"cannot be used: {named}{more}; `weather stations --unknown` lists them, and a stations.csv beside the "
        "observations makes them known"
    )
