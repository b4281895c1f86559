"""Which of two forecasts is better on the same rows: a paired bootstrap over days of the primary metric.

What belongs here: the comparison and what it says. What does not: the decision drawn from it (`promotion`).

The primary metric is a function of sums over rows, so each day is first boiled down to its sums; a resample
of days is then a product of how often each day was drawn with those sums. The sums of F1 are counts, so they are
exact and the order of the rows does not matter; those of R² are of centred labels, so they do not cancel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.metrics import Floats, Interval, percentile_interval, resample_days
from weather_platform.errors import InvariantError

COMPARISON_RESAMPLES = 1000
"""Resamples of a comparison: a share of 95 % then has a standard error of 0.7 %."""

_ROUNDING = 1e-12
"""What is left of a sum of squares after the mean is taken off, when all that is left is rounding."""


@dataclass(frozen=True, slots=True)
class PrimaryMetric:
    """A metric made of sums over rows: ``terms`` gives (rows, k) terms, ``value`` the metric of (..., k)
    sums.

    Higher is better. ``forecast`` is what the metric judges: the yes/no decision (1 or 0) or the value.
    """

    name: str
    terms: Callable[[NDArray[np.float32], Floats], Floats]
    value: Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger minus champion on one exam.

    ``difference`` and both values are on the rows themselves. The shares are of resamples: ``share_better``
    where the challenger leads at all, ``share_better_by_margin`` where by more than the margin, and
    ``share_not_inferior`` where it does not trail by the margin or more.
    """

    metric: str
    rows: int
    days: int
    champion: float
    challenger: float
    difference: float
    interval: Interval
    margin: float
    share_better: float
    share_better_by_margin: float
    share_not_inferior: float
    resamples: int
    seed: int


def _f1_terms(labels: NDArray[np.float32], forecast: Floats) -> Floats:
    """Twice the hits, and forecasts plus events: F1 is the ratio of their sums."""
    return np.column_stack((2.0 * (labels * forecast), labels + forecast))


def _f1(sums: Floats) -> Floats:
    below = sums[..., 1]
    return np.where(below > 0, sums[..., 0] / np.where(below > 0, below, 1.0), 0.0)


def _r2_terms(labels: NDArray[np.float32], forecast: Floats) -> Floats:
    """One, label, squared label and squared error; labels as distances from their median.

    R² is the same wherever labels are counted from. From zero, the spread of temperatures (or of pressures
    around 1015 hPa) would be a small difference of two large sums; from the median the sums are small themselves.
    """
    exact = labels.astype(np.float64)
    centred = exact - np.median(exact)
    if not centred.any():
        raise InvariantError(
            f"all {len(labels)} labels are {labels[0]:g}, and R² says nothing about labels that do not vary; "
            "compare on a longer span"
        )
    return np.column_stack((np.ones(len(exact)), centred, centred**2, (exact - forecast) ** 2))


def _r2(sums: Floats) -> Floats:
    """NaN where the labels do not vary, as when a resample draws one day again and again."""
    rows, label, square, error = np.moveaxis(sums, -1, 0)
    spread = square - label**2 / np.maximum(rows, 1)
    varies = spread > _ROUNDING * square
    return np.where(varies, 1 - error / np.where(varies, spread, 1.0), np.nan)


PRIMARY_METRICS: Mapping[str, PrimaryMetric] = MappingProxyType(
    {metric.name: metric for metric in (PrimaryMetric("f1", _f1_terms, _f1), PrimaryMetric("r2", _r2_terms, _r2))}
)
"""The metrics a target can be judged by."""


def primary_value(metric: str, labels: NDArray[np.float32], forecast: NDArray[np.generic]) -> float:
    """The primary metric of one forecast on these rows."""
    _finite(forecast)
    chosen = PRIMARY_METRICS[metric]
    return float(chosen.value(chosen.terms(labels, forecast.astype(np.float64)).sum(axis=0)))


def compare(
    metric: str,
    labels: NDArray[np.float32],
    day: NDArray[np.int32],
    *,
    champion: NDArray[np.generic],
    challenger: NDArray[np.generic],
    margin: float,
    seed: int,
    resamples: int = COMPARISON_RESAMPLES,
) -> Comparison:
    """The paired comparison of two forecasts (decisions for F1, values for R²) of the same rows.

    Deterministic for a seed. A resample on which the metric is not defined counts as no lead of anybody, so it
    speaks against a promotion.
    """
    if not len(labels) == len(day) == len(champion) == len(challenger):
        raise InvariantError("champion and challenger were not given the same rows; forecast both on one exam")
    if not len(labels):
        raise InvariantError("there is no row to compare on; an empty exam has no comparison")
    if np.isnan(labels).any():
        raise InvariantError("a row without a label cannot be compared on; leave it out of the exam")
    _finite(champion)
    _finite(challenger)
    chosen = PRIMARY_METRICS[metric]
    days, at = np.unique(day, return_inverse=True)
    draws = resample_days(len(days), resamples, seed).astype(np.float64)

    def of(forecast: NDArray[np.generic]) -> tuple[float, Floats]:
        terms = chosen.terms(labels, forecast.astype(np.float64))
        by_day = np.column_stack([np.bincount(at, weights=term, minlength=len(days)) for term in terms.T])
        return float(chosen.value(by_day.sum(axis=0))), chosen.value(draws @ by_day)

    champion_value, champion_draws = of(champion)
    challenger_value, challenger_draws = of(challenger)
    differences = challenger_draws - champion_draws
    low, high = percentile_interval(differences[np.isfinite(differences)])

    def share(hits: NDArray[np.bool_]) -> float:
        return int(np.count_nonzero(hits)) / resamples

    return Comparison(
        metric=metric,
        rows=len(labels),
        days=len(days),
        champion=champion_value,
        challenger=challenger_value,
        difference=challenger_value - champion_value,
        interval=Interval(float(low), float(high)),
        margin=margin,
        share_better=share(differences > 0),
        share_better_by_margin=share(differences > margin),
        share_not_inferior=share(differences > -margin),
        resamples=resamples,
        seed=seed,
    )


def _finite(forecast: NDArray[np.generic]) -> None:
    if not np.isfinite(forecast.astype(np.float64)).all():
        raise InvariantError("a forecast is not a finite number, so it cannot be compared; look at its model")
