"""Which of two forecasts is better on the same rows: a paired bootstrap over days of one metric.

What belongs here: the comparison and what it says. What does not: the decision drawn from it (`promotion`).

A metric is a function of sums over rows, so each day is first boiled down to its sums; a resample
of days is then a product of how often each day was drawn with those sums. The sums of F1 are counts, so they are
exact and the order of the rows does not matter; those of R² are of centred labels, so they do not cancel.

Beside the bootstrap stands one test of the textbooks, McNemar's for yes/no forecasts and Diebold and Mariano's for
values. It is a cross-check for the reader and decides nothing: each asks a question of its own (see there).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.metrics import ROUNDING, Floats, Interval, percentile_interval, resample_days
from weather_platform.errors import InvariantError

COMPARISON_RESAMPLES = 1000
"""Resamples of a comparison: a share of 95 % then has a standard error of 0.7 %."""


@dataclass(frozen=True, slots=True)
class ClassicalTest:
    """A test of the textbooks on the same rows: two-sided, its null hypothesis that both are equally good.

    ``favours`` is whom the statistic favours, be p what it may. ``cases`` is what it counted: disagreements
    (McNemar) or days (Diebold-Mariano).
    """

    name: str
    statistic: float
    p_value: float
    favours: Literal["challenger", "champion", "neither"]
    cases: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric made of sums over rows: ``terms`` gives (rows, k) terms, ``value`` the metric of (..., k)
    sums.

    ``forecast`` is what the metric judges: the yes/no decision (1 or 0), the probability or the value.
    ``classical`` is the test that belongs beside it, of labels, days, champion and challenger.
    """

    name: str
    terms: Callable[[NDArray[np.float32], Floats], Floats]
    value: Callable[[Floats], Floats]
    classical: Callable[[NDArray[np.float32], NDArray[np.int32], Floats, Floats], ClassicalTest | None]
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger minus champion on one exam.

    ``difference`` and both values are on the rows themselves. ``share_better`` is the share of resamples in which the
    challenger is better at all. ``classical`` is None where the days differ too little for it.
    """

    metric: str
    rows: int
    days: int
    champion: float
    challenger: float
    difference: float
    interval: Interval
    share_better: float
    resamples: int
    seed: int
    classical: ClassicalTest | None


def mcnemar(
    labels: NDArray[np.float32],
    day: NDArray[np.int32],  # noqa: ARG001 it counts rows, whatever their day
    champion: Floats,
    challenger: Floats,
) -> ClassicalTest:
    """McNemar's exact test: of the rows on which two yes/no forecasts disagree, which had more right?

    The statistic is the challenger's share of them. Two things to know when reading it. It takes rows as
    independent, and stations that share a day's weather are not quite: what two models disagree on varies up to
    1.2 times as much as that, so p is a little too small. And it asks for more right answers, where F1 asks for
    more rain found: a forecast that says rain more often can gain F1 and lose here.
    """
    from scipy.stats import binomtest

    wins = int(np.count_nonzero((challenger == labels) & (champion != labels)))
    cases = wins + int(np.count_nonzero((champion == labels) & (challenger != labels)))
    if not cases:
        return ClassicalTest("McNemar", 0.5, 1.0, "neither", 0)
    found = binomtest(wins, cases, 0.5)
    return ClassicalTest("McNemar", float(found.statistic), float(found.pvalue), _favoured(2 * wins - cases), cases)


def diebold_mariano(
    labels: NDArray[np.float32], day: NDArray[np.int32], champion: Floats, challenger: Floats
) -> ClassicalTest | None:
    """Diebold and Mariano's test of the mean squared error, with the correction of Harvey, Leybourne and Newbold.

    Stations of a day share its weather, so a case is a day: the mean of what the champion's squared errors
    exceed the challenger's by. Days in a row are alike too, so the variance is that of Newey and West with
    Bartlett weights and floor(4 (days / 100)^(2/9)) lags of the calendar; days that are no part of the exam
    add nothing. A statistic above 0 favours the challenger; p is by Student's t with days - 1 degrees of
    freedom. Every day counts alike here, every row in R². None when days differ by no more than rounding.
    """
    from scipy.stats import t

    exact = labels.astype(np.float64)
    days, at = np.unique(day, return_inverse=True)
    error, other = exact - champion, exact - challenger
    excess = np.bincount(at, weights=error**2 - other**2) / np.bincount(at)
    lead, count = float(excess.mean()), len(days)
    calendar = np.zeros(int(days[-1]) - int(days[0]) + 1)
    calendar[days - days[0]] = excess - lead
    lags = min(int(4 * (count / 100) ** (2 / 9)), len(calendar) - 1)
    variance = float(calendar @ calendar) / count
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(calendar[:-lag] @ calendar[lag:]) / count
    # An error is rounded as the numbers are that it is the difference of.
    size = np.abs(error) + np.abs(other)
    rounding = ROUNDING * float(np.mean(size * (size + np.abs(exact))))
    if count < 2 or variance <= rounding**2:
        return None
    statistic = lead / math.sqrt(variance / count) * math.sqrt((count - 1) / count)
    p_value = float(2 * t.sf(abs(statistic), count - 1))
    return ClassicalTest("Diebold-Mariano", statistic, p_value, _favoured(statistic), count)


def _favoured(lead: float) -> Literal["challenger", "champion", "neither"]:
    if lead == 0:
        return "neither"
    return "challenger" if lead > 0 else "champion"


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
    varies = spread > ROUNDING * square
    return np.where(varies, 1 - error / np.where(varies, spread, 1.0), np.nan)


def _squared_error_terms(labels: NDArray[np.float32], forecast: Floats) -> Floats:
    """One and the squared error."""
    return np.column_stack((np.ones(len(labels)), (labels.astype(np.float64) - forecast) ** 2))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _root_of_mean(sums: Floats) -> Floats:
    return np.sqrt(_mean(sums))


def _by_name(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


PRIMARY_METRICS = _by_name(Metric("f1", _f1_terms, _f1, mcnemar), Metric("r2", _r2_terms, _r2, diebold_mariano))
"""The metrics a target can be ranked and guarded by."""

PROPER_SCORES = _by_name(
    Metric("brier", _squared_error_terms, _mean, diebold_mariano, lower_is_better=True),
    Metric("rmse", _squared_error_terms, _root_of_mean, diebold_mariano, lower_is_better=True),
)
"""The scores a challenger is promoted by: no forecast gains by being another than what one believes, and no threshold
has a say."""


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
    seed: int,
    resamples: int = COMPARISON_RESAMPLES,
) -> Comparison:
    """The paired comparison of two forecasts (decisions for F1, probabilities or values otherwise) of the same rows.

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
    chosen = {**PRIMARY_METRICS, **PROPER_SCORES}[metric]
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
    better = differences < 0 if chosen.lower_is_better else differences > 0

    return Comparison(
        metric=metric,
        rows=len(labels),
        days=len(days),
        champion=champion_value,
        challenger=challenger_value,
        difference=challenger_value - champion_value,
        interval=Interval(float(low), float(high)),
        share_better=int(np.count_nonzero(better)) / resamples,
        resamples=resamples,
        seed=seed,
        classical=chosen.classical(labels, day, champion.astype(np.float64), challenger.astype(np.float64)),
    )


def _finite(forecast: NDArray[np.generic]) -> None:
    if not np.isfinite(forecast.astype(np.float64)).all():
        raise InvariantError("a forecast is not a finite number, so it cannot be compared; look at its model")
