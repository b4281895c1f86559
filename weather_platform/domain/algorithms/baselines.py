"""The baselines: forecasts anybody could make. A model that does not beat them is worth nothing.

What belongs here: fitting and predicting from where, when and the issue day. What does not: anything that
looks at a feature matrix.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms.spec import Mask
from weather_platform.domain.targets import Task


@dataclass(frozen=True, eq=False)
class BaselineRows:
    """What a baseline may know of a row: where, when, and the label's own value on the issue day (NaN unknown)."""

    station_index: NDArray[np.int32]
    month: NDArray[np.int64]
    today: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.month)

    def where(self, mask: Mask) -> "BaselineRows":
        """The masked rows."""
        return replace(self, station_index=self.station_index[mask], month=self.month[mask], today=self.today[mask])

    @classmethod
    def of(cls, station_index: NDArray[np.int32], day: NDArray[np.int32], today: NDArray[np.float32]) -> "BaselineRows":
        """From day numbers; the month is that of the issue day, 0 is January."""
        month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
        return cls(station_index, month, today)


class FittedBaseline(Protocol):
    """A baseline fitted on training rows."""

    def predict(self, rows: BaselineRows) -> NDArray[np.float64]:
        """The probability (classification) or value (regression) of each row."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A forecast anybody could make; a model that does not beat it is worth nothing."""

    name: str
    title: str
    description: str
    tasks: frozenset[Task]
    fit: Callable[[BaselineRows, NDArray[np.float32], Task], FittedBaseline]


@dataclass(frozen=True, eq=False)
class _OnToday:
    """The mean label after a no, a yes and an unknown day."""

    mean: NDArray[np.float64]

    def predict(self, rows: BaselineRows) -> NDArray[np.float64]:
        return self.mean[_today_cells(rows)]


@dataclass(frozen=True, eq=False)
class _Climatology:
    """The mean label of each station and month; the last 12 are for stations that training has not seen."""

    mean: NDArray[np.float64]

    def predict(self, rows: BaselineRows) -> NDArray[np.float64]:
        return self.mean[_climate_cells(rows, len(self.mean) // _MONTHS - 1)]


@dataclass(frozen=True, eq=False)
class _AsToday:
    """Today's value, and what climatology says where it is unknown."""

    unknown: _Climatology

    def predict(self, rows: BaselineRows) -> NDArray[np.float64]:
        return np.where(np.isnan(rows.today), self.unknown.predict(rows), rows.today.astype(np.float64))


def baseline_to_dict(fitted: FittedBaseline) -> dict[str, Any]:
    """A fitted baseline of this module as plain values."""
    if isinstance(fitted, _AsToday):
        return {"kind": "as_today", "mean": fitted.unknown.mean.tolist()}
    assert isinstance(fitted, _OnToday | _Climatology), "there are no others"  # noqa: S101
    return {"kind": "on_today" if isinstance(fitted, _OnToday) else "climatology", "mean": fitted.mean.tolist()}


def baseline_from_dict(values: Mapping[str, Any]) -> FittedBaseline:
    """The fitted baseline of these plain values; ValueError when they are none."""
    kind, mean = values["kind"], np.asarray(values["mean"], dtype=np.float64)
    if mean.ndim != 1 or not len(mean) or not np.isfinite(mean).all():
        raise ValueError(f"a baseline of kind {kind!r} has values of shape {mean.shape}, or not all finite")
    if kind == "on_today" and len(mean) == 3:
        return _OnToday(mean)
    if kind in ("as_today", "climatology") and len(mean) % _MONTHS == 0:
        return _Climatology(mean) if kind == "climatology" else _AsToday(_Climatology(mean))
    raise ValueError(f"there is no baseline of kind {kind!r} with {len(mean)} values")


def _today_cells(rows: BaselineRows) -> NDArray[np.intp]:
    return np.where(np.isnan(rows.today), 2, rows.today).astype(np.intp)  # 0 no, 1 yes, 2 unknown


def _fit_persistence(rows: BaselineRows, labels: NDArray[np.float32], task: Task) -> FittedBaseline:
    if task == "regression":
        return _AsToday(_fit_climatology(rows, labels, task))
    cells = _today_cells(rows)
    count = np.bincount(cells, minlength=3)
    positive = np.bincount(cells, weights=labels, minlength=3)
    overall = labels.mean(dtype=np.float64)
    return _OnToday(np.where(count > 0, positive / np.maximum(count, 1), overall))


CLIMATOLOGY_PRIOR_ROWS = 30.0
"""How many rows of the all-station month a station's own month is blended with: about one month of days."""

_MONTHS = 12


def _climate_cells(rows: BaselineRows, stations: int) -> NDArray[np.intp]:
    known = (rows.station_index >= 0) & (rows.station_index < stations)
    return np.where(known, rows.station_index, stations).astype(np.intp) * _MONTHS + rows.month


def _fit_climatology(rows: BaselineRows, labels: NDArray[np.float32], _task: Task) -> _Climatology:
    stations = int(rows.station_index.max(initial=-1)) + 1
    count = np.bincount(rows.month, minlength=_MONTHS)
    total = np.bincount(rows.month, weights=labels, minlength=_MONTHS)
    overall = labels.mean(dtype=np.float64)
    month = np.where(count > 0, total / np.maximum(count, 1), overall)
    own = _climate_cells(rows, stations)
    size = (stations + 1) * _MONTHS  # the last row of cells is every station that training has not seen
    own_count = np.bincount(own, minlength=size)
    own_total = np.bincount(own, weights=labels, minlength=size)
    blended = (own_total + CLIMATOLOGY_PRIOR_ROWS * np.tile(month, stations + 1)) / (own_count + CLIMATOLOGY_PRIOR_ROWS)
    blended[-_MONTHS:] = month
    return _Climatology(blended)


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            Baseline(
                name="persistence",
                title="Persistence",
                description=(
                    "Tomorrow as today. A yes or no: how often yes followed in training on a yes, a no or an unknown "
                    "day. A quantity: today's value, and where it is unknown what climatology says."
                ),
                tasks=frozenset({"classification", "regression"}),
                fit=_fit_persistence,
            ),
            Baseline(
                name="climatology",
                title="Climatology",
                description=(
                    "The mean of training in this month here (of yes and no: how often yes), "
                    "drawn towards all stations."
                ),
                tasks=frozenset({"classification", "regression"}),
                fit=_fit_climatology,
            ),
        )
    }
)
"""The two references of every leaderboard, by name; fitted on the training rows of the split."""
