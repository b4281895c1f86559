"""The table `station_masks`: every mask that was set or ended, by whom and why, in the order of the record.

What belongs here: reading the record and appending to it. What does not: what a mask covers (``domain.masks``).

The table is small and is replaced whole, one commit an event; the caller holds a lock. Its version says which masks
features were made under.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa

from weather_platform.domain.masks import MaskEvent, StationMask, in_force
from weather_platform.lake.tables import Lake

MASKS_TABLE = "station_masks"
_SCHEMA = pa.schema(
    [
        pa.field("station", pa.string(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        pa.field("first_day", pa.date32(), nullable=False),
        pa.field("last_day", pa.date32()),
        pa.field("masked", pa.bool_(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class RecordedMask:
    """One event with its reason. `at` is aware."""

    event: MaskEvent
    why: str
    who: str
    at: datetime


def recorded_masks(lake: Lake) -> tuple[list[RecordedMask], int | None]:
    """All events, oldest first, and the version of the table; none and None when no mask was ever set."""
    if not lake.exists(MASKS_TABLE):
        return [], None
    snapshot = lake.snapshot(MASKS_TABLE)
    return [_event(row) for row in snapshot.read().to_pylist()], snapshot.version


def masks_in_force(lake: Lake) -> tuple[tuple[StationMask, ...], int | None]:
    """The masks that hold now, and the version of the table that says so."""
    events, version = recorded_masks(lake)
    return in_force(each.event for each in events), version


def append_mask(lake: Lake, recorded: RecordedMask) -> int:
    """Add one event; returns the version of the table. Hold a lock, so that no other event is lost."""
    events, _ = recorded_masks(lake)
    rows = [_row(each) for each in (*events, recorded)]
    return lake.replace_table(MASKS_TABLE, pa.Table.from_pylist(rows, schema=_SCHEMA))


def _row(recorded: RecordedMask) -> dict[str, str | date | bool | datetime | None]:
    mask = recorded.event.mask
    return {
        "station": mask.station,
        "column": mask.column,
        "first_day": mask.first_day,
        "last_day": mask.last_day,
        "masked": recorded.event.masked,
        "why": recorded.why,
        "who": recorded.who,
        "at": recorded.at.astimezone(UTC),
    }


def _event(row: dict[str, object]) -> RecordedMask:
    mask = StationMask(*(row[name] for name in ("station", "column", "first_day", "last_day")))  # type: ignore[arg-type]
    return RecordedMask(MaskEvent(mask, bool(row["masked"])), str(row["why"]), str(row["who"]), row["at"])  # type: ignore[arg-type]
