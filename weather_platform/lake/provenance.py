"""Which source a lake was filled from. Generated and observed rows never share a lake."""

from weather_platform.errors import SourceError
from weather_platform.lake import Lake

RAW_TABLE = "raw_observations"
SYNTHETIC = "synthetic"


def lake_source(lake: Lake) -> str | None:
    """Name of the source of the stored raw rows; None when none is stored."""
    if not lake.exists(RAW_TABLE):
        return None
    snapshot = lake.snapshot(RAW_TABLE)
    filled = next((month for month, rows in snapshot.row_counts().items() if rows), None)
    return None if filled is None else str(snapshot.read(keys=[filled], columns=["source"])["source"][0])


def made_from(source: str | None) -> str:
    """What a title ends with: that the weather was generated, or nothing."""
    return " (synthetic weather)" if source == SYNTHETIC else ""


def refuse_other_source(lake: Lake, source: str) -> None:
    """Raise SourceError when rows of `source` would be mixed with rows of another source."""
    stored = lake_source(lake)
    if stored is not None and stored != source:
        raise SourceError(
            f"the lake at {lake.uri} holds {stored} rows and the source is {source}: "
            "set WEATHER_HOME to another folder (or delete this one), so that the two never mix"
        )
