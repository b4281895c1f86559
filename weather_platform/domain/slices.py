"""Test metrics of parts of the rows: by state, by season. Where a model is weak, an average hides it.

What belongs here: cutting rows into groups and measuring each. What does not: the metrics (`outputs`), and where the
state of a station is known from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.matured import SEASONS
from weather_platform.domain.outputs import Days, Forecasts, Labels, Output

LEAST_ROWS = 100
"""Rows a group needs to be measured: with fewer, a metric says more about the days than about the model."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One group of test rows. ``metrics`` are None where the rows are too few, or their labels of one kind only."""

    name: str
    rows: int
    mean_label: float
    metrics: Mapping[str, float] | None


def season_of(day: Days) -> NDArray[np.str_]:
    """The season of each day number."""
    names = {month: season for season, months in SEASONS.items() for month in months}
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12  # 0 is January
    return np.asarray([names[number] for number in range(1, 13)])[month]


def sliced(
    output: Output, labels: Labels, forecasts: Forecasts, group: NDArray[np.str_], order: Sequence[str] | None = None
) -> list[Slice]:
    """One slice per group that has rows, in alphabetical or the given order."""
    present = set(np.unique(group).tolist())
    asked = [name for name in order or sorted(present) if name in present]
    return [_slice(output, labels, forecasts, name, group == name) for name in asked]


def _slice(output: Output, labels: Labels, forecasts: Forecasts, name: str, mask: NDArray[np.bool_]) -> Slice:
    inside = labels[mask]
    enough = len(inside) >= LEAST_ROWS and len(np.unique(inside)) > 1
    metrics = output.metrics(inside, forecasts.only(mask)) if enough else None
    return Slice(name, len(inside), float(inside.mean(dtype=np.float64)), metrics)
