"""How good values are: the metrics of a regression forecast with its prediction interval, and their bootstrap
intervals over days.

What belongs here: metric definitions and what the plots of a regression are drawn from. What does not: the
comparison of two forecasts (`skill`), decisions (`promotion`), how a prediction interval is made (`outputs`).

Every metric is a function of sums over rows, so each day is first boiled down to its sums; a plain metric is
the case of every day once, a resample the case of how often each day was drawn. Whole days are resampled, as
the stations share their weather.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.metrics import RESAMPLES, ROUNDING, Floats, Interval, percentile_interval, resample_days
from weather_platform.errors import InvariantError

REGRESSION_METRICS: tuple[str, ...] = ("r2", "rmse", "mae", "bias", "coverage_90", "interval_width")
"""All metrics of a regression forecast. `bias` is the mean of forecast minus observed, `coverage_90` the share of
observed values inside the 90 % prediction interval and `interval_width` its mean width, both ends inclusive."""

MONTHS = 12
ERROR_QUANTILES: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the errors of a month: the middle half, the middle 90 % and the median."""

DENSITY_BINS = 60
"""Bins of the picture of forecast against observed, along each side."""


@dataclass(frozen=True, eq=False)
class RegressionDiagnostics:
    """What the plots of a regression show: how many rows lie where, and the errors of each calendar month.

    ``density`` counts rows by (observed, forecast) bin between ``edges``. ``month_error`` holds the
    ERROR_QUANTILES of forecast minus observed for each month, ``month_coverage`` the share of observed values
    inside the prediction interval; both are NaN for a month without rows.
    """

    edges: Floats
    density: NDArray[np.int64]
    month_rows: NDArray[np.int64]
    month_error: Floats
    month_coverage: Floats

    def counts(self) -> dict[str, int]:
        """Whole numbers that are recorded beside the metrics: a regression has none."""
        return {}


def check_values(labels: NDArray[np.float32], value: Floats, low: Floats, high: Floats) -> None:
    """InvariantError unless all are finite, belong to the same rows, and the labels differ."""
    if not len(labels) == len(value) == len(low) == len(high):
        raise InvariantError(f"{len(labels)} labels for {len(value)} forecasts; they must be the same rows")
    if not np.isfinite(labels).all():
        raise InvariantError("a label is not a finite number; leave rows without a known label out before measuring")
    if not (np.isfinite(value) & np.isfinite(low) & np.isfinite(high)).all():
        raise InvariantError(
            "a forecast or an end of its interval is not a finite number; the model cannot be measured"
        )
    if not ((low <= value) & (value <= high)).all():
        raise InvariantError("a forecast lies outside its own prediction interval; the model cannot be measured")
    if len(np.unique(labels)) < 2:
        raise InvariantError(
            f"the {len(labels)} rows all have the same label, so R² means nothing there; measure on a longer span"
        )


def regression_metrics(labels: NDArray[np.float32], value: Floats, low: Floats, high: Floats) -> dict[str, float]:
    """Every metric of REGRESSION_METRICS on these rows."""
    check_values(labels, value, low, high)
    sums = _terms(labels, value, low, high).sum(axis=0)
    return dict(zip(REGRESSION_METRICS, _metrics(sums).tolist(), strict=True))


def regression_intervals(
    labels: NDArray[np.float32],
    value: Floats,
    low: Floats,
    high: Floats,
    day: NDArray[np.int32],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """A percentile interval of every metric from resampling whole days with replacement.

    Resamples whose labels are all the same have no R² and count for no interval.
    """
    check_values(labels, value, low, high)
    days, at = np.unique(day, return_inverse=True)
    terms = _terms(labels, value, low, high)
    by_day = np.column_stack([np.bincount(at, weights=term, minlength=len(days)) for term in terms.T])
    values = _metrics(resample_days(len(days), resamples, seed).astype(np.float64) @ by_day)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        raise InvariantError(f"no resample of {len(days)} days has labels that differ; measure on more days")
    ends = percentile_interval(values)
    return {
        name: Interval(float(left), float(right)) for name, left, right in zip(REGRESSION_METRICS, *ends, strict=True)
    }


def regression_diagnostics(
    labels: NDArray[np.float32], value: Floats, low: Floats, high: Floats, day: NDArray[np.int32]
) -> RegressionDiagnostics:
    """What the plots show of these rows; the month is that of the issue day, 0 is January."""
    check_values(labels, value, low, high)
    observed = labels.astype(np.float64)
    edges = np.linspace(min(observed.min(), value.min()), max(observed.max(), value.max()), DENSITY_BINS + 1)
    density, _, _ = np.histogram2d(observed, value, bins=(edges, edges))
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % MONTHS
    rows = np.bincount(month, minlength=MONTHS)
    error = np.full((MONTHS, len(ERROR_QUANTILES)), np.nan)
    for at in np.flatnonzero(rows):
        here = month == at
        error[at] = np.quantile(value[here] - observed[here], ERROR_QUANTILES)
    with np.errstate(invalid="ignore"):
        coverage = np.bincount(month, weights=_covered(observed, low, high), minlength=MONTHS) / rows
    return RegressionDiagnostics(edges, density.astype(np.int64), rows, error, coverage)


def _covered(observed: Floats, low: Floats, high: Floats) -> Floats:
    return ((low <= observed) & (observed <= high)).astype(np.float64)


def _terms(labels: NDArray[np.float32], value: Floats, low: Floats, high: Floats) -> Floats:
    """(rows, 8): one, error, its size, its square, observed from its mean, that squared, covered, width."""
    observed = labels.astype(np.float64)
    error = value - observed
    spread = observed - observed.mean()  # so that the squares below do not cancel
    covered = _covered(observed, low, high)
    return np.column_stack(
        (np.ones(len(error)), error, np.abs(error), error**2, spread, spread**2, covered, high - low)
    )


def _metrics(sums: Floats) -> Floats:
    """The metrics in order of REGRESSION_METRICS of (..., 8) sums."""
    rows, error, size, square, spread, spread_square, covered, width = np.moveaxis(sums, -1, 0)
    variation = spread_square - spread**2 / rows
    varies = variation > ROUNDING * spread_square
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(varies, 1 - square / variation, np.nan)
    return np.stack((r2, np.sqrt(square / rows), size / rows, error / rows, covered / rows, width / rows), axis=-1)
