"""How good probabilities are: the metrics of a classification forecast and their bootstrap intervals over
days.

What belongs here: metric definitions, the threshold that maximises F1, curves for plots. What does not: the
comparison of two forecasts (`skill`), decisions (`promotion`).

Weather of one day is shared by all stations, so rows are not independent: intervals come from resampling
whole days. Every metric is written once, over rows with weights, presorted; a plain metric is the case of
weight 1, a resample the case of how often its days were drawn.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from weather_platform.errors import InvariantError

Floats = NDArray[np.float64]

CALIBRATION_BINS = 10
"""The expected calibration error takes 10 bins of equal width in probability, [0, 0.1), ..., [0.9, 1]."""

RESAMPLES = 500
"""Resamples of an interval: the ends of a 95 % interval then rest on about 12 resamples each."""

CONFIDENCE = 0.95
"""Coverage of every interval."""

CLASSIFICATION_METRICS: tuple[str, ...] = (
    "f1",
    "roc_auc",
    "pr_auc",
    "brier",
    "log_loss",
    "ece",
    "precision",
    "recall",
    "accuracy",
)
"""All metrics of a classification forecast. `pr_auc` is average precision, `ece` the expected calibration error."""

ROUNDING = 1e-12
"""What rounding leaves of a quantity that should be zero, as a share of what it is the difference of."""

_LOG_LOSS_FLOOR = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval of the bootstrap."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts at the threshold."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


@dataclass(frozen=True, eq=False)
class Reliability:
    """Per bin of probability: rows, mean forecast and observed frequency (NaN in an empty bin)."""

    rows: NDArray[np.int64]
    forecast: Floats
    observed: Floats


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a precision-recall curve, recall descending."""

    recall: Floats
    precision: Floats


@dataclass(frozen=True, eq=False)
class ClassificationDiagnostics:
    """What the plots of a classification show, with the counts at its threshold."""

    threshold: float
    confusion: Confusion
    reliability: Reliability
    curve: Curve

    def counts(self) -> dict[str, int]:
        """The whole numbers that are recorded beside the metrics."""
        return asdict(self.confusion)


def check_rows(labels: NDArray[np.float32], probability: Floats) -> None:
    """InvariantError unless labels are 0 or 1 of both kinds and probabilities are finite and in [0, 1]."""
    if len(labels) != len(probability):
        raise InvariantError(f"{len(labels)} labels for {len(probability)} forecasts; they must be the same rows")
    if not np.isin(labels, (0, 1)).all():
        raise InvariantError("a label is neither 0 nor 1; leave rows without a known label out before measuring")
    if not (np.isfinite(probability) & (probability >= 0) & (probability <= 1)).all():
        raise InvariantError("a forecast is not a probability between 0 and 1; the model cannot be measured")
    if not 0 < np.count_nonzero(labels) < len(labels):
        raise InvariantError(
            f"the {len(labels)} rows have labels of one kind only, so ROC-AUC and F1 mean nothing there; "
            "measure on a longer span"
        )


def classification_metrics(labels: NDArray[np.float32], probability: Floats, threshold: float) -> dict[str, float]:
    """Every metric of CLASSIFICATION_METRICS on these rows."""
    check_rows(labels, probability)
    sorted_rows = _SortedRows(labels, probability, threshold, np.zeros(len(labels), dtype=np.int32))
    return dict(zip(CLASSIFICATION_METRICS, sorted_rows.metrics(np.ones(1, dtype=np.int64)).tolist(), strict=True))


def bootstrap_intervals(
    labels: NDArray[np.float32],
    probability: Floats,
    threshold: float,
    day: NDArray[np.int32],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """A percentile interval of every metric from resampling whole days with replacement.

    Resamples that draw labels of one kind only have no ROC-AUC and count for no interval.
    """
    check_rows(labels, probability)
    days, day_index = np.unique(day, return_inverse=True)
    rows = _SortedRows(labels, probability, threshold, day_index.astype(np.int32))
    draws = resample_days(len(days), resamples, seed)
    values = np.array([rows.metrics(draw) for draw in draws])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        raise InvariantError(f"no resample of {len(days)} days has labels of both kinds; measure on more days")
    low, high = percentile_interval(values)
    return {name: Interval(float(low[i]), float(high[i])) for i, name in enumerate(CLASSIFICATION_METRICS)}


def resample_days(days: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each day is drawn in each resample: (resamples, days), each row sums to ``days``."""
    draws = np.random.default_rng(seed).integers(0, days, size=(resamples, days))
    draws += np.arange(resamples)[:, None] * days
    return np.bincount(draws.ravel(), minlength=resamples * days).reshape(resamples, days)


def percentile_interval(values: Floats) -> tuple[Floats, Floats]:
    """Both ends of the central CONFIDENCE interval along the first axis."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail), axis=0)
    return low, high


def confusion(labels: NDArray[np.float32], decision: NDArray[np.bool_]) -> Confusion:
    """The four counts of yes/no forecasts."""
    positive = labels == 1
    return Confusion(
        true_positive=int(np.count_nonzero(positive & decision)),
        false_positive=int(np.count_nonzero(~positive & decision)),
        false_negative=int(np.count_nonzero(positive & ~decision)),
        true_negative=int(np.count_nonzero(~positive & ~decision)),
    )


def reliability(labels: NDArray[np.float32], probability: Floats) -> Reliability:
    """What was forecast and what happened, per bin of CALIBRATION_BINS."""
    at = calibration_bin(probability)
    rows = np.bincount(at, minlength=CALIBRATION_BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            rows=rows,
            forecast=np.bincount(at, weights=probability, minlength=CALIBRATION_BINS) / rows,
            observed=np.bincount(at, weights=labels, minlength=CALIBRATION_BINS) / rows,
        )


def calibration_bin(probability: Floats) -> NDArray[np.intp]:
    """The bin of each probability; 1.0 belongs to the last."""
    return np.minimum((probability * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)


def precision_recall_curve(labels: NDArray[np.float32], probability: Floats) -> Curve:
    """One point per distinct probability, from forecasting yes everywhere to yes only for the likeliest."""
    true, predicted = _counts_from_the_top(labels, probability)[1:]
    recall, precision = true / true[-1], true / predicted
    return Curve(recall=np.append(recall[::-1], 0.0), precision=np.append(precision[::-1], 1.0))


def best_f1_threshold(labels: NDArray[np.float32], probability: Floats) -> float:
    """The threshold t, forecasting yes where probability >= t, that has the highest F1 on these rows.

    Of several equally good ones the highest is taken. F1 is compared as a ratio of whole numbers in one
    division, so the choice does not depend on the order of the rows.
    """
    check_rows(labels, probability)
    cuts, true, predicted = _counts_from_the_top(labels, probability)
    f1 = 2 * true / (predicted + true[-1])
    return float(cuts[np.argmax(f1)])


def _counts_from_the_top(
    labels: NDArray[np.float32], probability: Floats
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct probabilities, highest first, with the true and all positives at or above each."""
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return ranked[last], np.cumsum(labels[order] == 1)[last], last + 1


class _SortedRows:
    """Rows sorted once by probability, ready to be weighted again and again by how often their day was drawn."""

    def __init__(
        self,
        labels: NDArray[np.float32],
        probability: Floats,
        threshold: float,
        day_index: NDArray[np.int32],
    ) -> None:
        order = np.argsort(-probability, kind="stable")
        p, y = probability[order], labels[order].astype(np.float64)
        self._days = day_index[order]
        self._positive = np.flatnonzero(y == 1)
        # The last row of each run of equal probabilities: curves have a point there and nowhere between.
        self._ends = np.append(np.flatnonzero(np.diff(p)), len(p) - 1)
        self._above = int(np.count_nonzero(p >= threshold))
        clipped = np.clip(p, _LOG_LOSS_FLOOR, 1 - _LOG_LOSS_FLOOR)
        days = int(day_index.max()) + 1
        bins = calibration_bin(p)
        size = days * CALIBRATION_BINS

        def by_day(values: Floats) -> Floats:
            return np.bincount(self._days, weights=values, minlength=days).astype(np.float64)

        self._brier = by_day((p - y) ** 2)
        self._log_loss = by_day(-np.where(y == 1, np.log(clipped), np.log1p(-clipped)))
        # Per day and bin, what was forecast beyond what happened.
        self._excess = np.bincount(self._days * CALIBRATION_BINS + bins, weights=p - y, minlength=size).reshape(
            days, CALIBRATION_BINS
        )
        self._y = y

    def metrics(self, draw: NDArray[np.int64]) -> Floats:
        """The metrics in order of CLASSIFICATION_METRICS with day ``d`` counted ``draw[d]`` times."""
        weight = draw[self._days]
        seen = np.cumsum(weight)
        hits = np.cumsum(weight * self._y)
        total, positives = float(seen[-1]), float(hits[-1])
        negatives = total - positives
        true = float(hits[self._above - 1]) if self._above else 0.0
        called = float(seen[self._above - 1]) if self._above else 0.0
        hits_at, seen_at = hits[self._ends], seen[self._ends].astype(np.float64)
        gained = np.diff(hits_at, prepend=0.0)
        misses_at = seen_at - hits_at
        with np.errstate(invalid="ignore", divide="ignore"):
            # Trapezoids under the ROC curve: new false alarms at the mean hit rate before and after.
            area = np.sum(np.diff(misses_at, prepend=0.0) * (hits_at - gained / 2))
            precision_at = np.where(seen_at > 0, hits_at / seen_at, 0.0)
            drawn = draw.astype(np.float64)
            return np.array(
                [
                    2 * true / (called + positives) if called + positives else 0.0,
                    area / (positives * negatives) if positives and negatives else np.nan,
                    np.sum(gained * precision_at) / positives if positives else np.nan,
                    np.sum(drawn * self._brier) / total,
                    np.sum(drawn * self._log_loss) / total,
                    np.sum(np.abs(np.sum(drawn[:, None] * self._excess, axis=0))) / total,
                    true / called if called else 0.0,
                    true / positives if positives else 0.0,
                    (true + negatives - (called - true)) / total,
                ]
            )
