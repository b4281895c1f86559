from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weather_platform.domain.metrics import Floats
from weather_platform.domain.regression_metrics import (
    ERROR_QUANTILES,
    REGRESSION_METRICS,
    regression_diagnostics,
    regression_intervals,
    regression_metrics,
)
from weather_platform.domain.skill import primary_value
from weather_platform.errors import InvariantError

Rows = tuple[np.ndarray[Any, np.dtype[np.float32]], Floats, Floats, Floats, np.ndarray[Any, np.dtype[np.int32]]]


def _rows(seed: int, rows: int, days: int = 120) -> Rows:
    rng = np.random.default_rng(seed)
    day = rng.integers(16_000, 16_000 + days, rows).astype(np.int32)
    shared = rng.normal(size=days)[day - 16_000]  # the weather of a day is that of all its stations
    labels = (20 + 6 * rng.normal(size=rows) + shared).astype(np.float32)
    value = labels + 0.3 + shared + rng.normal(size=rows)
    return labels, value, value - rng.uniform(1, 2, rows), value + rng.uniform(1, 2, rows), day


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 400), shift=st.sampled_from([0.0, 1000.0, -273.0]))
def test_the_metrics_are_those_of_scikit_learn_wherever_zero_lies(seed: int, rows: int, shift: float) -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    labels, value, low, high, _ = _rows(seed, rows)
    labels = (labels + np.float32(shift)).astype(np.float32)
    value, low, high = value + shift, low + shift, high + shift
    found = regression_metrics(labels, value, low, high)
    exact = labels.astype(np.float64)
    assert found["r2"] == pytest.approx(r2_score(exact, value), abs=1e-9)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(exact, value))
    assert found["mae"] == pytest.approx(mean_absolute_error(exact, value))
    assert found["bias"] == pytest.approx(float(np.mean(value - exact)))
    assert found["coverage_90"] == pytest.approx(float(np.mean((low <= exact) & (exact <= high))))
    assert found["interval_width"] == pytest.approx(float(np.mean(high - low)))
    assert found["r2"] == pytest.approx(primary_value("r2", labels, value), abs=1e-12)


def test_a_perfect_forecast_has_every_metric_at_its_best() -> None:
    labels = np.array([1, 2, 3], np.float32)
    exact = labels.astype(np.float64)
    found = regression_metrics(labels, exact, exact, exact)
    assert found == dict(zip(REGRESSION_METRICS, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), strict=True))


def test_intervals_hold_the_metric_and_are_wider_when_days_stick_together() -> None:
    labels, value, low, high, day = _rows(1, 3000)
    metrics = regression_metrics(labels, value, low, high)
    intervals = regression_intervals(labels, value, low, high, day, seed=9)
    assert set(intervals) == set(REGRESSION_METRICS)
    for name, interval in intervals.items():
        assert interval.low < metrics[name] < interval.high
    assert intervals == regression_intervals(labels, value, low, high, day, seed=9)
    assert intervals != regression_intervals(labels, value, low, high, day, seed=10)
    apart = regression_intervals(labels, value, low, high, np.arange(3000, dtype=np.int32), seed=9)
    width = intervals["bias"].high - intervals["bias"].low
    assert width > 2 * (apart["bias"].high - apart["bias"].low)


def test_intervals_are_those_of_rows_drawn_by_hand() -> None:
    from weather_platform.domain.metrics import percentile_interval, resample_days

    labels, value, low, high, day = _rows(3, 200, days=12)
    days, at = np.unique(day, return_inverse=True)
    by_hand = []
    for draw in resample_days(len(days), 40, 5):
        drawn = np.repeat(np.arange(len(labels)), draw[at])
        found = regression_metrics(labels[drawn], value[drawn], low[drawn], high[drawn])
        by_hand.append([found[name] for name in REGRESSION_METRICS])
    left, right = percentile_interval(np.array(by_hand))
    intervals = regression_intervals(labels, value, low, high, day, seed=5, resamples=40)
    for number, interval in enumerate(intervals.values()):
        assert (interval.low, interval.high) == pytest.approx((left[number], right[number]), abs=1e-9)


def test_resamples_whose_labels_are_all_the_same_count_for_nothing() -> None:
    labels = np.array([1, 1, 5], np.float32)
    exact = labels.astype(np.float64)
    day = np.array([1, 2, 3], np.int32)
    intervals = regression_intervals(labels, exact, exact - 1, exact + 1, day, seed=0, resamples=100)
    assert intervals["r2"].low == intervals["r2"].high == 1.0
    with pytest.raises(InvariantError, match="no resample of 1 days"):
        regression_intervals(
            labels[:2] + np.array([0, 1], np.float32), exact[:2], exact[:2], exact[:2], np.array([1, 1], np.int32),
            seed=0, resamples=0,
        )  # fmt: skip


def test_resamples_whose_labels_differ_by_rounding_alone_count_for_nothing() -> None:
    labels = np.array([17.9] * 10 + [18.2] * 10 + [26.2] * 10, np.float32)
    value = labels.astype(np.float64) + 0.5
    day = np.repeat(np.array([1, 2, 3], np.int32), 10)
    intervals = regression_intervals(labels, value, value - 1, value + 1, day, seed=0)
    # The least that varies has two days of the one and one of the other of the closest labels.
    least = 1 - 0.25 / np.var([17.9, 17.9, 18.2])
    assert intervals["r2"].low == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize(
    ("labels", "value", "low", "high", "sentence"),
    [
        ([0, 1], [1], [1], [1], "same rows"),
        ([0, 1], [0, 1], [0], [0, 1], "same rows"),
        ([0, np.nan], [0, 1], [0, 1], [0, 1], "a label is not a finite number"),
        ([0, np.inf], [0, 1], [0, 1], [0, 1], "a label is not a finite number"),
        ([0, 1], [0, np.nan], [0, 1], [0, 1], "forecast or an end"),
        ([0, 1], [0, 1], [0, -np.inf], [0, 1], "forecast or an end"),
        ([0, 1], [0, 1], [0, 1.1], [0, 1.2], "outside its own prediction interval"),
        ([0, 1], [0, 1], [0, 0.5], [0, 0.9], "outside its own prediction interval"),
        ([7, 7], [0, 1], [0, 1], [0, 1], "same label"),
    ],
)
def test_rows_that_cannot_be_measured_are_named(
    labels: list[float], value: list[float], low: list[float], high: list[float], sentence: str
) -> None:
    made, below, above = (np.array(each, np.float64) for each in (value, low, high))
    arrays = (np.array(labels, np.float32), made, below, above)
    with pytest.raises(InvariantError, match=sentence):
        regression_metrics(*arrays)
    day = np.arange(len(labels), dtype=np.int32)
    with pytest.raises(InvariantError, match=sentence):
        regression_intervals(*arrays, day, seed=1)
    with pytest.raises(InvariantError, match=sentence):
        regression_diagnostics(*arrays, day)


def test_diagnostics_count_every_row_once_and_leave_a_month_without_rows_empty() -> None:
    labels, value, low, high, day = _rows(4, 2000, days=150)  # from October to March
    shown = regression_diagnostics(labels, value, low, high, day)
    assert shown.density.sum() == shown.month_rows.sum() == 2000
    empty = shown.month_rows == 0
    assert 0 < empty.sum() < 12
    assert np.isnan(shown.month_error[empty]).all()
    assert np.isnan(shown.month_coverage[empty]).all()
    full = shown.month_error[~empty]
    assert full.shape[1] == len(ERROR_QUANTILES)
    assert (np.diff(full, axis=1) > 0).all()
    coverage = np.nansum(shown.month_coverage * shown.month_rows) / 2000
    assert coverage == pytest.approx(regression_metrics(labels, value, low, high)["coverage_90"])
