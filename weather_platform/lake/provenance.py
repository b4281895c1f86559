"""Which source a lake was filled from, and the name under which an asset records which version of a table it read.

Generated and observed rows never share a lake, nor do two climates.
"""

from typing import Protocol

import pyarrow as pa

from weather_platform.domain.recognition import STATION_COLUMNS, Recogniser
from weather_platform.domain.stations import Station, stations_of
from weather_platform.errors import SourceError
from weather_platform.lake import Lake

RAW_TABLE = "raw_observations"
STATIONS_TABLE = "stations"
SYNTHETIC = "synthetic"


class Origin(Protocol):
    """What is asked of a source before its rows go into a lake; every ``sources.Source`` can say it."""

    name: str
    generator: str | None

    def stations(self) -> tuple[Station, ...]:
        """Its catalogue."""


def lake_source(lake: Lake) -> str | None:
    """Name of the source of the stored raw rows; None when none is stored."""
    stored = _stored_origin(lake)
    return None if stored is None else stored[0]


def made_from(source: str | None) -> str:
    """What a title ends with: that the weather was generated, or nothing."""
    return " (synthetic weather)" if source == SYNTHETIC else ""


def read_version_key(table: str) -> str:
    """The metadata that holds the version of a table that was read."""
    return f"{table}_lake_version"


def refuse_other_source(lake: Lake, source: Origin) -> None:
    """Raise SourceError when rows of `source` would be mixed with rows of another one.

    Another seed of the generator is another source, and so is a catalogue that lacks stations whose rows are stored.
    """
    stored = _stored_origin(lake)
    if stored is None:
        return
    name, file = stored
    if name != source.name:
        raise SourceError(
            f"the lake at {lake.uri} holds {name} rows and the source is {source.name}: "
            "set WEATHER_HOME to another folder (or delete this one), so that the two never mix"
        )
    if source.generator is not None and file != source.generator:
        raise SourceError(
            f"the lake at {lake.uri} holds rows of {file} and the source is {source.generator}: set "
            "WEATHER_SYNTHETIC_SEED back, or WEATHER_HOME to another folder, so that two climates never mix"
        )
    if lost := _lost_stations(lake, source):
        before = "as many as before (WEATHER_SYNTHETIC_STATIONS)" if source.generator else "its stations.csv back"
        raise SourceError(
            f"the lake at {lake.uri} holds rows of stations that the source lacks ({len(lost):,}, first: {lost[0]}): "
            f"give it {before}, or set WEATHER_HOME to another folder"
        )


def _stored_origin(lake: Lake) -> tuple[str, str] | None:
    """Source and file of a stored raw row; None when none is stored."""
    if not lake.exists(RAW_TABLE):
        return None
    snapshot = lake.snapshot(RAW_TABLE)
    filled = next((month for month, rows in snapshot.row_counts().items() if rows), None)
    if filled is None:
        return None
    rows = snapshot.read(keys=[filled], columns=["source", "file"])
    return str(rows["source"][0]), str(rows["file"][0])


def _lost_stations(lake: Lake, source: Origin) -> list[str]:
    """Stations of the stored catalogue that the source lacks and that have raw rows."""
    if not lake.exists(STATIONS_TABLE):
        return []
    had = stations_of(lake.read(STATIONS_TABLE))
    lost = sorted({station.id for station in had} - {station.id for station in source.stations()})
    if not lost:
        return []
    # Only a catalogue that shrinks costs a look at all rows: it may be one that another source left there.
    recogniser, snapshot = Recogniser(had), lake.snapshot(RAW_TABLE)
    columns = [name for name in STATION_COLUMNS if name in snapshot.schema.names]
    reporting: set[str] = set()
    for batch in snapshot.stream(columns=columns):
        reporting.update(recogniser.ids(pa.Table.from_batches([batch])).dictionary.to_pylist())
    return [name for name in lost if name in reporting]
