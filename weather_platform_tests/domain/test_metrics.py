import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weather_platform.domain.metrics import (
    CLASSIFICATION_METRICS,
    best_f1_threshold,
    bootstrap_intervals,
    classification_metrics,
    confusion,
    precision_recall_curve,
    reliability,
    resample_days,
)
from weather_platform.errors import InvariantError


def _rows(seed: int, rows: int, digits: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = np.round(rng.beta(0.5, 1.7, rows), digits)
    labels = (rng.random(rows) < probability).astype(np.float32)
    labels[:2] = 0, 1
    return labels, probability, np.sort(rng.integers(0, 365, rows)).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(3, 400), digits=st.integers(0, 6), cut=st.floats(0, 1))
def test_every_metric_is_that_of_scikit_learn_also_with_ties(seed: int, rows: int, digits: int, cut: float) -> None:
    from sklearn import metrics as reference

    labels, probability, _ = _rows(seed, rows, digits)
    found = classification_metrics(labels, probability, cut)
    decision = probability >= cut
    expected = {
        "f1": reference.f1_score(labels, decision, zero_division=0),
        "roc_auc": reference.roc_auc_score(labels, probability),
        "pr_auc": reference.average_precision_score(labels, probability),
        "brier": reference.brier_score_loss(labels, probability),
        "log_loss": reference.log_loss(labels, probability),
        "precision": reference.precision_score(labels, decision, zero_division=0),
        "recall": reference.recall_score(labels, decision),
        "accuracy": reference.accuracy_score(labels, decision),
    }
    assert set(found) == set(CLASSIFICATION_METRICS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    counts = confusion(labels, decision)
    assert [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]] == (
        reference.confusion_matrix(labels, decision, labels=[0, 1]).tolist()
    )


def test_the_calibration_error_weighs_ten_bins_by_their_rows() -> None:
    probability = np.array([0.05, 0.05, 0.95, 1.0])
    labels = np.array([0, 1, 1, 1], np.float32)
    found = classification_metrics(labels, probability, 0.5)["ece"]
    assert found == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    bins = reliability(labels, probability)
    assert bins.rows.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert np.isnan(bins.observed[1])
    assert bins.observed[0] == 0.5


def test_too_little_here_does_not_make_up_for_too_much_there_in_the_calibration_error() -> None:
    labels = np.array([1, 0, 0, 1], np.float32)
    found = classification_metrics(labels, np.array([0.05, 0.05, 0.95, 0.95]), 0.5)
    assert found["ece"] == pytest.approx(0.45)


def test_a_weighted_resample_equals_the_metric_of_the_repeated_rows() -> None:
    labels, probability, day = _rows(3, 900, 2)
    days = np.unique(day)
    intervals = bootstrap_intervals(labels, probability, 0.4, day, seed=5, resamples=1)
    draw = resample_days(len(days), 1, 5)[0]
    repeated = np.repeat(np.arange(len(day)), draw[np.searchsorted(days, day)])
    expected = classification_metrics(labels[repeated], probability[repeated], 0.4)
    for name, value in expected.items():
        assert intervals[name].low == intervals[name].high == pytest.approx(value, abs=1e-12), name


def test_whole_days_are_drawn_as_many_as_there_are() -> None:
    draws = resample_days(50, 20, 1)
    assert draws.shape == (20, 50)
    assert (draws.sum(axis=1) == 50).all()
    assert (resample_days(50, 20, 1) == draws).all()
    assert (resample_days(50, 20, 2) != draws).any()


def test_intervals_hold_the_estimate_repeat_for_a_seed_and_are_wider_when_days_stick_together() -> None:
    labels, probability, day = _rows(1, 5000)
    metrics = classification_metrics(labels, probability, 0.4)
    intervals = bootstrap_intervals(labels, probability, 0.4, day, seed=9)
    for name in set(CLASSIFICATION_METRICS) - {"ece"}:  # an absolute value is biased upwards by resampling
        assert intervals[name].low < metrics[name] < intervals[name].high
    assert intervals == bootstrap_intervals(labels, probability, 0.4, day, seed=9)
    assert intervals != bootstrap_intervals(labels, probability, 0.4, day, seed=10)
    # The same rows ten times over tell nothing new when they fall on the same days.
    tenfold = bootstrap_intervals(
        np.tile(labels, 10), np.tile(probability, 10), 0.4, np.tile(day, 10), seed=9, resamples=100
    )
    width = intervals["brier"].high - intervals["brier"].low
    assert tenfold["brier"].high - tenfold["brier"].low > 0.7 * width


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 60), digits=st.integers(1, 3))
def test_the_threshold_has_the_best_f1_of_all_and_is_the_highest_of_equals(seed: int, rows: int, digits: int) -> None:
    labels, probability, _ = _rows(seed, rows, digits)
    found = best_f1_threshold(labels, probability)
    cuts = np.unique(probability)[::-1]
    f1 = [classification_metrics(labels, probability, cut)["f1"] for cut in cuts]
    assert found == cuts[int(np.argmax(np.round(f1, 12)))]
    order = np.random.default_rng(seed).permutation(rows)
    assert best_f1_threshold(labels[order], probability[order]) == found


def test_the_precision_recall_curve_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_curve as reference

    labels, probability, _ = _rows(4, 500, 2)
    precision, recall, _ = reference(labels, probability)
    curve = precision_recall_curve(labels, probability)
    np.testing.assert_allclose(curve.precision, precision)
    np.testing.assert_allclose(curve.recall, recall)


@pytest.mark.parametrize(
    ("labels", "probability", "sentence"),
    [
        ([0, 1], [0.1], "same rows"),
        ([0, np.nan], [0.1, 0.2], "neither 0 nor 1"),
        ([0, 2], [0.1, 0.2], "neither 0 nor 1"),
        ([0, 1], [0.1, np.nan], "not a probability"),
        ([0, 1], [0.1, 1.2], "not a probability"),
        ([0, 1], [-0.1, 0.2], "not a probability"),
        ([1, 1], [0.1, 0.2], "one kind only"),
        ([0, 0], [0.1, 0.2], "one kind only"),
    ],
)
def test_rows_that_cannot_be_measured_are_named(labels: list[float], probability: list[float], sentence: str) -> None:
    arrays = np.array(labels, np.float32), np.array(probability)
    with pytest.raises(InvariantError, match=sentence):
        classification_metrics(*arrays, 0.5)
    with pytest.raises(InvariantError, match=sentence):
        best_f1_threshold(*arrays)


def test_resamples_with_one_kind_of_label_count_for_nothing() -> None:
    labels = np.array([0, 1, 0, 0], np.float32)
    probability = np.array([0.2, 0.7, 0.3, 0.1])
    day = np.array([1, 2, 3, 4], np.int32)
    intervals = bootstrap_intervals(labels, probability, 0.5, day, seed=0, resamples=200)
    assert all(np.isfinite([i.low, i.high]).all() for i in intervals.values())
    assert intervals["f1"].low == 1.0
