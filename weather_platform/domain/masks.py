"""Masks: a column of a station that counts as missing, from a day on, because its sensor is broken.

What belongs here: which masks are in force, by the events on record, and blanking what they cover. What does not: where
events are kept (``lake.masks``), and asking for a mask (``cli.masks``).

A mask covers features and labels: the station's own, and what its neighbours see of it. Observations stay as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.neighbours import StationGrid
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.splits import day_number

ALSO: Final[Mapping[str, tuple[str, ...]]] = {"rainfall_mm": ("rain_today",)}
"""What a source works out of a column is missing with it."""
MASKABLE: Final = tuple(column.name for column in OBSERVATION_COLUMNS)


@dataclass(frozen=True, slots=True, order=True)
class StationMask:
    """One column of one station, from a day to a day (both inclusive; None: without an end)."""

    station: str
    column: str
    first_day: date
    last_day: date | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Everything that is missing with the column."""
        return (self.column, *ALSO.get(self.column, ()))

    def covers(self, day: int) -> bool:
        """Whether a day (since 1970-01-01) is masked."""
        return day_number(self.first_day) <= day and (self.last_day is None or day <= day_number(self.last_day))

    def __str__(self) -> str:
        end = "on" if self.last_day is None else f"to {self.last_day}"
        return f"{self.station} {self.column} from {self.first_day} {end}"


@dataclass(frozen=True, slots=True)
class MaskEvent:
    """A mask that was set, or ended (`masked` is False), in the order of the record."""

    mask: StationMask
    masked: bool


def in_force(events: Iterable[MaskEvent]) -> tuple[StationMask, ...]:
    """The masks that hold after these events, oldest event first. Ending a mask needs the very same one."""
    held: dict[StationMask, None] = {}
    for event in events:
        held.pop(event.mask, None)
        if event.masked:
            held[event.mask] = None
    return tuple(sorted(held, key=lambda each: (each.station, each.column, each.first_day, each.last_day or date.max)))


def masked(
    observations: Mapping[str, NDArray[Any]], grid: StationGrid, masks: Sequence[StationMask]
) -> dict[str, NDArray[Any]]:
    """The arrays of `build_features` with NaN where a mask covers them; arrays without a masked value are the same.

    A mask of a station that is not in the grid covers nothing.
    """
    blanked = dict(observations)
    station, day = blanked["station_index"], blanked["day"]
    copied: set[str] = set()
    for mask, index in zip(masks, grid.index_of([each.station for each in masks]).tolist(), strict=True):
        if index < 0:
            continue
        covered = (station == index) & (day >= day_number(mask.first_day))
        if mask.last_day is not None:
            covered &= day <= day_number(mask.last_day)
        for name in mask.columns if covered.any() else ():
            if name in blanked:
                if name not in copied:
                    blanked[name] = blanked[name].copy()
                    copied.add(name)
                blanked[name][covered] = np.nan
    return blanked
