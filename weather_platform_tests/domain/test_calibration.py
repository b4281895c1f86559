import numpy as np
import pytest
from scipy.special import expit, logit

from weather_platform.domain.calibration import Calibration, fit_calibration
from weather_platform.domain.metrics import classification_metrics
from weather_platform.errors import InvariantError


def _truth(seed: int = 0, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.beta(0.6, 2.0, rows)
    return (rng.random(rows) < true).astype(np.float32), true


@pytest.mark.parametrize(("slope", "shift"), [(2.0, 0.0), (0.5, 0.0), (1.0, 1.0), (1.7, -0.8)])
def test_overconfident_timid_and_biased_forecasts_are_set_right(slope: float, shift: float) -> None:
    labels, true = _truth()
    raw = expit(slope * logit(true) + shift)
    fitted = fit_calibration(labels, raw)
    fresh_labels, fresh = _truth(seed=1)
    before = classification_metrics(fresh_labels, expit(slope * logit(fresh) + shift), 0.5)
    after = classification_metrics(fresh_labels, fitted.apply(expit(slope * logit(fresh) + shift)), 0.5)
    assert after["ece"] < 0.012 < before["ece"]
    assert after["brier"] < before["brier"]


def test_a_calibrated_forecast_is_left_nearly_alone() -> None:
    labels, true = _truth()
    assert np.abs(fit_calibration(labels, true).apply(true) - true).max() < 0.03


def test_the_fit_is_the_maximum_of_the_likelihood() -> None:
    labels, true = _truth(rows=3000)
    raw = expit(1.4 * logit(true) - 0.3)
    best = fit_calibration(labels, raw)

    def loss(slope: float, intercept: float) -> float:
        p = Calibration(slope, intercept).apply(raw)
        return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))

    least = loss(best.slope, best.intercept)
    for up, right in ((0.01, 0), (0, 0.01), (0.01, 0.01), (0.01, -0.01)):
        assert least < loss(best.slope + up, best.intercept + right)
        assert least < loss(best.slope - up, best.intercept - right)


def test_the_order_of_forecasts_is_kept_and_the_ends_stay_probabilities() -> None:
    labels, true = _truth()
    fitted = fit_calibration(labels, expit(1.5 * logit(true)))
    ladder = fitted.apply(np.concatenate(([0.0], np.linspace(1e-9, 1 - 1e-9, 5001), [1.0])))
    assert (np.diff(ladder) >= 0).all()
    assert ((ladder >= 0) & (ladder <= 1)).all()


def test_forecasts_that_say_the_opposite_are_flattened_never_turned_round() -> None:
    labels, true = _truth(rows=4000)
    fitted = fit_calibration(labels, 1 - true)
    assert fitted.slope == 0
    np.testing.assert_allclose(fitted.apply(true), labels.mean())


def test_one_row_and_many_have_the_same_bits() -> None:
    _, raw = _truth(rows=70_001)
    calibration = Calibration(1.13, -0.21)
    many = calibration.apply(raw)
    for step in (1, 2, 3, 7, 8, 9, 64, 1000):
        parts = [calibration.apply(raw[i : i + step]) for i in range(0, 3000, step)]
        np.testing.assert_array_equal(np.concatenate(parts), many[: len(np.concatenate(parts))])
    np.testing.assert_array_equal(calibration.apply(raw[::3]), many[::3])


def test_the_same_rows_give_the_same_numbers_and_numbers_come_back_exactly() -> None:
    labels, true = _truth(rows=5000)
    fitted = fit_calibration(labels, true)
    assert fitted == fit_calibration(labels, true)
    assert Calibration.from_dict(fitted.to_dict()) == fitted


@pytest.mark.parametrize("numbers", [(-0.1, 0.0), (np.nan, 0.0), (1.0, np.inf), (np.inf, 0.0)])
def test_a_calibration_that_is_not_monotone_and_finite_cannot_exist(numbers: tuple[float, float]) -> None:
    with pytest.raises(InvariantError, match="slope >= 0"):
        Calibration(*numbers)


def test_labels_of_one_kind_cannot_calibrate() -> None:
    with pytest.raises(InvariantError, match="one kind only"):
        fit_calibration(np.ones(10, np.float32), np.linspace(0.1, 0.9, 10))


def test_a_perfect_separation_ends_in_finite_numbers() -> None:
    raw = np.linspace(0.01, 0.99, 100)
    fitted = fit_calibration((raw > 0.5).astype(np.float32), raw)
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
