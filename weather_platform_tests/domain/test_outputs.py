import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weather_platform.domain.calibration import Calibration
from weather_platform.domain.outputs import OUTPUTS, ProbabilityOutput, ValueOutput
from weather_platform.errors import InvariantError


def _rows(seed: int, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Labels and forecasts whose errors grow with the forecast."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(5, 40, rows)
    return (raw + 0.1 * raw * rng.normal(size=rows)).astype(np.float32), raw


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(19, 3000), distinct=st.sampled_from([1, 2, 5, 10**6]))
def test_an_interval_holds_at_least_its_share_of_the_rows_it_was_fitted_on(seed: int, rows: int, distinct: int) -> None:
    labels, raw = _rows(seed, rows)
    raw = (
        np.quantile(raw, np.linspace(0, 1, distinct))[np.random.default_rng(seed).integers(0, distinct, rows)]
        if (distinct < 100)
        else raw
    )  # forecasts of a few leaves have ties
    forecasts = ValueOutput.fit(labels, raw).apply(raw)
    low, high = forecasts.interval
    assert np.mean((low <= labels) & (labels <= high)) >= 0.9
    assert (low <= forecasts.value).all()
    assert (forecasts.value <= high).all()
    np.testing.assert_array_equal(forecasts.value, raw)


def test_an_interval_holds_its_share_of_new_rows_wherever_the_forecast_lies() -> None:
    labels, raw = _rows(1, 20_000)
    output = ValueOutput.fit(*_rows(2, 20_000))
    low, high = output.apply(raw).interval
    inside = (low <= labels) & (labels <= high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)
    for lower, upper in ((5, 16), (17, 28), (29, 40)):
        here = (raw > lower) & (raw < upper)
        assert 0.85 < np.mean(inside[here]) < 0.95
    widths = np.array(output.high) - np.array(output.low)
    assert (np.diff(widths) > 0).all()


def test_the_offsets_are_the_order_statistics_that_conformal_prediction_asks_for() -> None:
    residual = np.arange(-9.0, 10.0)  # 19 rows: (19 + 1) * 0.05 is the first of them, and the last
    raw = np.zeros(19)
    assert ValueOutput.fit(residual.astype(np.float32), raw) == ValueOutput((), (-9.0,), (9.0,))
    residual = np.arange(1.0, 40.0)  # 39 rows, all too cold: the second and the last but one, and the forecast itself
    assert ValueOutput.fit(residual.astype(np.float32), np.zeros(39)) == ValueOutput((), (0.0,), (38.0,))


@pytest.mark.parametrize(
    ("labels", "raw"),
    [(np.zeros(18), np.zeros(18)), (np.full(30, np.nan), np.zeros(30)), (np.zeros(30), np.full(30, np.inf))],
)
def test_an_interval_is_not_made_from_too_few_or_impossible_residuals(labels: Any, raw: Any) -> None:
    with pytest.raises(InvariantError, match="finite residuals of at least 19 validation rows"):
        ValueOutput.fit(labels.astype(np.float32), raw)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_row_is_forecast_to_the_same_bits_alone_and_among_many(task: Any) -> None:
    rng = np.random.default_rng(5)
    raw = rng.random(5000)
    labels = (rng.random(5000) < raw) if task == "classification" else raw + 0.1 * rng.normal(size=5000)
    output = OUTPUTS[task].fit(labels.astype(np.float32), raw)
    many = output.apply(raw)
    for row in range(0, 5000, 97):
        one = output.apply(raw[row : row + 1])
        for name in ("value", "label", "low", "high"):
            whole, alone = getattr(many, name), getattr(one, name)
            assert (whole is None) == (alone is None)
            if whole is not None:
                assert whole[row].tobytes() == alone[0].tobytes()


@pytest.mark.parametrize(
    "output",
    [ProbabilityOutput(Calibration(1.1, -0.3), 1 / 3), ValueOutput((20.1, 30.0), (-1 / 3, -2, -3), (1, 2, 0.1))],
)
def test_an_output_comes_back_from_json_the_same(output: ProbabilityOutput | ValueOutput) -> None:
    assert type(output).from_dict(json.loads(json.dumps(output.to_dict()))) == output


@pytest.mark.parametrize(
    ("edges", "low", "high", "sentence"),
    [
        ((), (), (), "one pair of offsets more"),
        ((1.0,), (-1.0,), (1.0, 1.0), "one pair of offsets more"),
        ((2.0, 1.0), (-1.0,) * 3, (1.0,) * 3, "rising"),
        ((1.0, 1.0), (-1.0,) * 3, (1.0,) * 3, "rising"),
        ((), (float("nan"),), (1.0,), "finite"),
        ((), (-1.0,), (float("inf"),), "finite"),
        ((), (0.1,), (1.0,), "hold its own forecast"),
        ((), (-1.0,), (-0.1,), "hold its own forecast"),
    ],
)
def test_an_interval_that_cannot_be_is_refused(edges: Any, low: Any, high: Any, sentence: str) -> None:
    with pytest.raises(InvariantError, match=sentence):
        ValueOutput(edges, low, high)


def test_a_baseline_is_measured_on_its_own_probabilities_and_only_its_threshold_is_chosen() -> None:
    raw = np.array([0.1, 0.2, 0.7, 0.8])
    output = ProbabilityOutput.fit_baseline(np.array([0, 0, 1, 1], np.float32), raw)
    assert output.threshold == 0.7
    np.testing.assert_array_equal(output.apply(raw).value, raw)


def test_each_task_has_its_own_half_of_a_forecast_and_refuses_the_other() -> None:
    probability = ProbabilityOutput(Calibration(), 0.5).apply(np.array([0.4, 0.5]))
    assert probability.judged.tolist() == [False, True]
    with pytest.raises(InvariantError, match="no prediction interval"):
        _ = probability.interval
    value = ValueOutput((), (-1.0,), (2.0,)).apply(np.array([20.0, 30.0]))
    assert value.judged.tolist() == [20.0, 30.0]
    assert [end.tolist() for end in value.interval] == [[19.0, 29.0], [22.0, 32.0]]
    with pytest.raises(InvariantError, match="no yes or no"):
        _ = value.decision
