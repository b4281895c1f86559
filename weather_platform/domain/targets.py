"""What is forecast: one `ForecastTarget` per question, and the registry that the whole platform reads.

What belongs here: the label, its unit, how it is judged (primary metric and gates) and the words people read.
What does not: features, splits, training. A new entry in `TARGETS` is a new target everywhere; nothing else
names one.

A label belongs to its issue day D and is made from what the SAME station reports on the NEXT calendar day,
D+1. It is unknown (NaN) until that day is there, and it is never taken across a gap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.observations import RAIN_DAY_MM
from weather_platform.errors import InvariantError

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class ForecastTarget:
    """One question about tomorrow.

    ``label`` turns values of the observed ``column`` into labels, NaN into NaN. Asked of D+1 it is the
    answer, asked of D itself it is what persistence goes by; so a feature of the same name must hold the
    station's own day. The gates: ``floor`` is the least ``primary_metric`` on the standing exam, ``margin``
    by how much it may be lower there than the champion's, ``proper_score`` what decides on the fresh exam.
    """

    name: str
    title: str
    description: str
    task: Task
    column: str
    unit: str
    label: Callable[[NDArray[np.floating[Any]]], NDArray[np.float32]]
    primary_metric: str
    floor: float
    margin: float
    proper_score: str


def _rain(rainfall_mm: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    return np.where(np.isnan(rainfall_mm), np.nan, rainfall_mm > RAIN_DAY_MM).astype(np.float32)


def _itself(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    return values.astype(np.float32)


TARGETS: Mapping[str, ForecastTarget] = MappingProxyType(
    {
        target.name: target
        for target in (
            ForecastTarget(
                name="rain_tomorrow",
                title="Rain tomorrow",
                description=(
                    "Whether more than 1.0 mm of rain is reported for the day after the issue day. "
                    "The Bureau's rain of a day is what fell in the 24 hours to 9 am of it, so 'tomorrow' "
                    "runs from 9 am of the issue day to 9 am of the next. The forecast is made from the reports of "
                    "the whole issue day, 3 pm and evening included: part of these 24 hours has passed by then."
                ),
                task="classification",
                column="rainfall_mm",
                unit="probability",
                label=_rain,
                primary_metric="f1",
                floor=0.60,
                margin=0.005,
                proper_score="brier",
            ),
            ForecastTarget(
                name="max_temp_tomorrow",
                title="Maximum temperature tomorrow",
                description=(
                    "The maximum temperature of the day after the issue day, in degrees Celsius. The Bureau's "
                    "maximum of a day is that of the 24 hours from 9 am, so 'tomorrow' runs from 9 am of the next day "
                    "to 9 am of the day after it."
                ),
                task="regression",
                column="max_temp_c",
                unit="degC",
                label=_itself,
                primary_metric="r2",
                floor=0.60,
                margin=0.005,
                proper_score="rmse",
            ),
        )
    }
)
"""All targets by name."""


def labels(
    target: ForecastTarget,
    station_index: NDArray[np.int32],
    day: NDArray[np.int32],
    observations: Mapping[str, NDArray[Any]],
) -> NDArray[np.float32]:
    """The label of each (station, day) row, NaN where the next day of that station is not observed.

    ``observations`` holds `station_index`, `day` and the target's column, in any row order; a station of -1
    is unknown and never has a label. InvariantError when a station has two observations of one day.
    """
    known = np.flatnonzero(observations["station_index"] >= 0)
    keys = _keys(observations["station_index"][known], observations["day"][known])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if twice := int(np.count_nonzero(keys[1:] == keys[:-1])):
        raise InvariantError(
            f"{twice} station-days are observed twice, so labels of {target.name} are ambiguous; "
            "remove the duplicates first"
        )
    value = np.full(len(day), np.nan)
    if len(keys):
        wanted = _keys(station_index, day) + 1  # the same station's next calendar day
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = (keys[at] == wanted) & (station_index >= 0)
        value[found] = observations[target.column][known[order[at[found]]]]
    return target.label(value)


def _keys(station_index: NDArray[np.int32], day: NDArray[np.int32]) -> NDArray[np.int64]:
    """One sortable number per station-day; days fit in 32 bits, so a station's last day never meets the next
    station."""
    return (station_index.astype(np.int64) << 33) + day
