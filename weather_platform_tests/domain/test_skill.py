import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weather_platform.domain.metrics import resample_days
from weather_platform.domain.skill import (
    PRIMARY_METRICS,
    Comparison,
    compare,
    diebold_mariano,
    mcnemar,
    primary_value,
)
from weather_platform.errors import InvariantError


def _exam(rows: int = 6000, days: int = 365, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.random(rows) < 0.22).astype(np.float32), rng.integers(0, days, rows).astype(np.int32)


def _noisy(labels: np.ndarray, wrong: float, seed: int) -> np.ndarray:
    flip = np.random.default_rng(seed).random(len(labels)) < wrong
    return np.asarray(np.where(flip, labels == 0, labels == 1))


def _compare(champion: np.ndarray, challenger: np.ndarray, **options: int) -> Comparison:
    labels, day = _exam()
    return compare("f1", labels, day, champion=champion, challenger=challenger, **({"seed": 1} | options))


def test_the_values_are_the_f1_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    labels, _ = _exam()
    champion, challenger = _noisy(labels, 0.2, 1), _noisy(labels, 0.1, 2)
    found = _compare(champion, challenger)
    assert found.champion == pytest.approx(f1_score(labels, champion))
    assert found.challenger == pytest.approx(f1_score(labels, challenger))
    assert found.difference == found.challenger - found.champion
    assert primary_value("f1", labels, challenger) == found.challenger


def test_a_resample_is_the_metric_of_the_days_drawn() -> None:
    from sklearn.metrics import f1_score

    labels, day = _exam(rows=400, days=20)
    champion, challenger = _noisy(labels, 0.2, 1), _noisy(labels, 0.1, 2)
    found = compare("f1", labels, day, champion=champion, challenger=challenger, seed=4, resamples=1)
    draw = resample_days(len(np.unique(day)), 1, 4)[0]
    rows = np.repeat(np.arange(len(day)), draw[np.searchsorted(np.unique(day), day)])
    expected = f1_score(labels[rows], challenger[rows]) - f1_score(labels[rows], champion[rows])
    assert found.interval.low == found.interval.high == pytest.approx(expected)


def test_a_clearly_better_challenger_leads_in_every_resample_and_its_mirror_in_none() -> None:
    labels, _ = _exam()
    good, bad = _noisy(labels, 0.05, 1), _noisy(labels, 0.2, 2)
    better, worse = _compare(bad, good), _compare(good, bad)
    assert (better.share_better, worse.share_better) == (1, 0)
    assert better.interval.low > 0 > worse.interval.high


def test_the_same_forecast_is_never_better() -> None:
    labels, _ = _exam()
    same = _noisy(labels, 0.1, 1)
    found = _compare(same, same)
    assert (found.difference, found.share_better) == (0, 0)


def test_equals_are_rarely_told_apart() -> None:
    labels, _ = _exam()
    found = _compare(_noisy(labels, 0.1, 1), _noisy(labels, 0.1, 2))
    assert 0.05 < found.share_better < 0.95


def test_a_seed_repeats_itself_in_any_order_of_rows_and_another_differs() -> None:
    labels, day = _exam()
    champion, challenger = _noisy(labels, 0.1, 1), _noisy(labels, 0.09, 2)
    found = _compare(champion, challenger)
    assert found == _compare(champion, challenger)
    assert found.interval != _compare(champion, challenger, seed=2).interval
    order = np.random.default_rng(0).permutation(len(labels))
    assert found == compare(
        "f1",
        labels[order],
        day[order],
        champion=champion[order],
        challenger=challenger[order],
        seed=1,
    )


def test_no_event_and_no_forecast_is_an_f1_of_zero_not_an_error() -> None:
    value = PRIMARY_METRICS["f1"].value(np.zeros(2))
    assert value == 0


def _temperatures(
    rows: int = 6000, days: int = 365, offset: float = 20.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels in degrees, their days, and what a better and a worse model say."""
    rng = np.random.default_rng(5)
    day = rng.integers(0, days, rows).astype(np.int32)
    labels = (offset + 6 * np.sin(day / 58) + rng.normal(0, 4, rows)).astype(np.float32)
    return labels, day, labels + rng.normal(0, 1.5, rows), labels + rng.normal(0, 2.5, rows)


def test_r2_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    labels, day, good, bad = _temperatures()
    found = compare("r2", labels, day, champion=bad, challenger=good, seed=1)
    assert found.champion == pytest.approx(r2_score(labels, bad), rel=1e-12)
    assert found.challenger == pytest.approx(r2_score(labels, good), rel=1e-12)
    assert primary_value("r2", labels, good) == pytest.approx(found.challenger, rel=1e-12)
    assert primary_value("r2", labels, labels) == 1
    assert primary_value("r2", labels, -labels) == pytest.approx(r2_score(labels.astype(float), -labels), rel=1e-12)
    assert found.share_better == 1


def test_a_resample_of_r2_is_that_of_the_days_drawn() -> None:
    from sklearn.metrics import r2_score

    labels, day, good, bad = _temperatures(rows=400, days=20)
    found = compare("r2", labels, day, champion=bad, challenger=good, seed=4, resamples=1)
    draw = resample_days(len(np.unique(day)), 1, 4)[0]
    rows = np.repeat(np.arange(len(day)), draw[np.searchsorted(np.unique(day), day)])
    expected = r2_score(labels[rows], good[rows]) - r2_score(labels[rows], bad[rows])
    assert found.interval.low == found.interval.high == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(
    labels=arrays(np.float32, 12, elements=st.floats(-50, 60, width=32)),
    errors=arrays(np.float64, 12, elements=st.floats(-20, 20)),
    offset=st.sampled_from([0.0, 1015.0, 273.15]),
)
def test_r2_agrees_with_scikit_learn_wherever_the_labels_lie(
    labels: np.ndarray, errors: np.ndarray, offset: float
) -> None:
    from sklearn.metrics import r2_score

    shifted = (labels + np.float32(offset)).astype(np.float32)
    assume(np.ptp(shifted) > 0.1)
    forecast = shifted + errors
    assert primary_value("r2", shifted, forecast) == pytest.approx(
        r2_score(shifted.astype(float), forecast), rel=1e-7, abs=1e-9
    )


def test_r2_of_labels_far_from_zero_does_not_cancel() -> None:
    from sklearn.metrics import r2_score

    labels, day, good, bad = _temperatures(offset=100_000)
    found = compare("r2", labels, day, champion=bad, challenger=good, seed=1)
    near = compare("r2", labels - np.float32(100_000), day, champion=bad - 1e5, challenger=good - 1e5, seed=1)
    assert found.challenger == pytest.approx(r2_score(labels, good), rel=1e-9)
    assert found.interval.low == pytest.approx(near.interval.low, rel=1e-9)


def test_labels_that_do_not_vary_have_no_r2() -> None:
    labels, day = np.full(40, 0.1, dtype=np.float32), np.arange(40, dtype=np.int32)
    forecast = labels + 0.5
    with pytest.raises(InvariantError, match=r"all 40 labels are 0\.1, and R² says nothing"):
        primary_value("r2", labels, forecast)
    with pytest.raises(InvariantError, match="labels that do not vary"):
        compare("r2", labels, day, champion=forecast, challenger=forecast, seed=1)


def test_a_resample_whose_labels_do_not_vary_speaks_against_the_challenger() -> None:
    labels, day = np.array([10, 10, 30, 30], dtype=np.float32), np.array([1, 1, 2, 2], dtype=np.int32)
    found = compare("r2", labels, day, champion=labels + 5, challenger=labels, seed=1)
    assert found.share_better == pytest.approx(0.5, abs=0.05)
    assert found.interval.low == found.interval.high == found.difference


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_forecast_that_is_no_number_is_not_compared(wrong: float) -> None:
    labels, day, good, bad = _temperatures(rows=50)
    broken = good.copy()
    broken[3] = wrong
    for champion, challenger in ((broken, bad), (bad, broken)):
        with pytest.raises(InvariantError, match="not a finite number"):
            compare("r2", labels, day, champion=champion, challenger=challenger, seed=1)
    with pytest.raises(InvariantError, match="not a finite number"):
        primary_value("r2", labels, broken)


def _probabilities(seed: int, spread: float) -> np.ndarray:
    """Forecasts of the rain of `_exam`: near the truth by so much."""
    labels, _ = _exam()
    return np.clip(0.22 + 0.5 * (labels - 0.22) + np.random.default_rng(seed).normal(0, spread, len(labels)), 0, 1)


def test_the_brier_score_is_that_of_scikit_learn_and_lower_is_better() -> None:
    from sklearn.metrics import brier_score_loss

    labels, day = _exam()
    good, bad = _probabilities(1, 0.05), _probabilities(2, 0.3)
    better = compare("brier", labels, day, champion=bad, challenger=good, seed=1)
    worse = compare("brier", labels, day, champion=good, challenger=bad, seed=1)
    assert better.challenger == pytest.approx(brier_score_loss(labels, good))
    assert better.champion == pytest.approx(brier_score_loss(labels, bad))
    assert better.difference == better.challenger - better.champion < 0
    assert better.interval.high < 0 < worse.interval.low
    assert (better.share_better, worse.share_better) == (1, 0)
    assert better.classical is not None
    assert (better.classical.name, better.classical.favours) == ("Diebold-Mariano", "challenger")


def test_rmse_is_that_of_scikit_learn_and_lower_is_better() -> None:
    from sklearn.metrics import root_mean_squared_error

    labels, day, good, bad = _temperatures()
    found = compare("rmse", labels, day, champion=bad, challenger=good, seed=1)
    assert found.challenger == pytest.approx(root_mean_squared_error(labels, good))
    assert found.champion == pytest.approx(root_mean_squared_error(labels, bad))
    assert (found.share_better, compare("rmse", labels, day, champion=good, challenger=bad, seed=1).share_better) == (
        1,
        0,
    )


@pytest.mark.parametrize("metric", ["brier", "rmse"])
def test_a_resample_of_a_score_is_that_of_the_days_drawn(metric: str) -> None:
    rng = np.random.default_rng(3)
    labels, day = _exam(rows=400, days=20)
    champion, challenger = rng.random(400), rng.random(400)
    found = compare(metric, labels, day, champion=champion, challenger=challenger, seed=4, resamples=1)
    draw = resample_days(len(np.unique(day)), 1, 4)[0]
    rows = np.repeat(np.arange(len(day)), draw[np.searchsorted(np.unique(day), day)])
    squares = [np.mean((labels[rows] - each[rows]) ** 2) for each in (champion, challenger)]
    expected = np.sqrt(squares) if metric == "rmse" else squares
    assert found.interval.low == found.interval.high == pytest.approx(expected[1] - expected[0])


def _disagreeing(only_challenger: int, only_champion: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    labels = np.ones(only_challenger + only_champion + 20, dtype=np.float32)
    champion, challenger = labels.astype(np.float64), labels.astype(np.float64)
    champion[:only_challenger] = 0
    challenger[only_challenger : only_challenger + only_champion] = 0
    return labels, np.arange(len(labels), dtype=np.int32), champion, challenger


@pytest.mark.parametrize(
    ("only_challenger", "only_champion", "p_value", "favours"),
    [
        (3, 12, 0.03515625, "champion"),  # 2 x 576 / 2**15: the binomial tail by hand
        (12, 3, 0.03515625, "challenger"),
        (1, 0, 1.0, "challenger"),
        (0, 6, 0.03125, "champion"),  # 2 / 2**6
        (4, 4, 1.0, "neither"),
        (0, 0, 1.0, "neither"),
    ],
)
def test_mcnemar_is_the_exact_binomial_of_the_disagreements(
    only_challenger: int, only_champion: int, p_value: float, favours: str
) -> None:
    found = mcnemar(*_disagreeing(only_challenger, only_champion))
    assert found.p_value == pytest.approx(p_value)
    assert found.favours == favours
    assert found.cases == only_challenger + only_champion
    assert found.statistic == (only_challenger / found.cases if found.cases else 0.5)


def _dm_of(excess: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Forecasts of which the champion's squared error exceeds the challenger's by ``excess``."""
    labels = np.zeros(len(excess), dtype=np.float32)
    return labels, day.astype(np.int32), np.sqrt(50 + excess), np.full(len(excess), np.sqrt(50.0))


def test_diebold_mariano_of_four_days_is_what_a_hand_computes() -> None:
    found = diebold_mariano(*_dm_of(np.array([1.0, 3.0, 2.0, 6.0]), np.arange(4)))
    # mean 3, deviations -2 0 -1 3; lags floor(4 * 0.04**(2/9)) = 1; variance (14 + 2 * 1/2 * -3) / 4 = 2.75
    statistic = 3 / np.sqrt(2.75 / 4) * np.sqrt(3 / 4)
    assert found is not None
    assert found.statistic == pytest.approx(statistic)
    # Student's t with 3 degrees of freedom has a closed form.
    tail = 0.5 - (np.arctan(statistic / np.sqrt(3)) + statistic / np.sqrt(3) / (1 + statistic**2 / 3)) / np.pi
    assert found.p_value == pytest.approx(2 * tail)
    assert (found.favours, found.cases) == ("challenger", 4)


def test_diebold_mariano_joins_no_days_across_a_gap() -> None:
    excess = np.array([1.0, 3.0, 2.0, 6.0])
    found = diebold_mariano(*_dm_of(excess, np.array([0, 1, 20, 40])))
    # Only the first two days are neighbours, and one of them is at the mean: the covariance of lag 1 is 0.
    assert found is not None
    assert found.statistic == pytest.approx(3 / np.sqrt(3.5 / 4) * np.sqrt(3 / 4))


def test_diebold_mariano_takes_a_day_as_one_case_however_many_stations_report() -> None:
    excess, day = np.random.default_rng(3).normal(0.3, 2, 90), np.arange(90)
    once = diebold_mariano(*_dm_of(excess, day))
    often = diebold_mariano(*_dm_of(np.repeat(excess, 49), np.repeat(day, 49)))
    assert once is not None
    assert often is not None
    assert (once.cases, often.cases) == (90, 90)
    assert often.statistic == pytest.approx(once.statistic)


@settings(deadline=None, max_examples=50)
@given(
    excess=arrays(np.float64, 40, elements=st.floats(-20, 20)), gaps=arrays(np.int32, 40, elements=st.integers(1, 4))
)
def test_swapping_champion_and_challenger_turns_diebold_mariano_around(excess: np.ndarray, gaps: np.ndarray) -> None:
    assume(np.ptp(excess) > 0.1)
    labels, day, champion, challenger = _dm_of(excess, np.cumsum(gaps))
    found, swapped = (
        diebold_mariano(labels, day, champion, challenger),
        diebold_mariano(labels, day, challenger, champion),
    )
    assert found is not None
    assert swapped is not None
    assert swapped.statistic == pytest.approx(-found.statistic)
    assert swapped.p_value == pytest.approx(found.p_value)
    assert 0 <= found.p_value <= 1


def test_days_that_do_not_differ_have_no_diebold_mariano() -> None:
    labels, day, champion, _ = _dm_of(np.zeros(30), np.arange(30))
    assert diebold_mariano(labels, day, champion, champion) is None
    assert diebold_mariano(labels, np.zeros(30, dtype=np.int32), champion, champion + 1) is None


def test_days_that_differ_by_rounding_alone_have_no_diebold_mariano() -> None:
    labels = np.random.default_rng(7).normal(20, 6, 300).astype(np.float32)
    exact, day = labels.astype(np.float64), np.repeat(np.arange(60, dtype=np.int32), 5)
    for far in (0.0, 1000.0):
        champion, challenger = exact + far + 2.1, exact + far + 1.3
        assert np.ptp((exact - champion) ** 2 - (exact - challenger) ** 2) > 0
        assert diebold_mariano(labels, day, champion, challenger) is None
        champion[0] += 0.001
        found = diebold_mariano(labels, day, champion, challenger)
        assert found is not None
        assert found.favours == "challenger"


def test_spells_of_weather_make_diebold_mariano_less_sure() -> None:
    rng = np.random.default_rng(4)
    shuffled = np.repeat(rng.normal(0.5, 2, 40), 5)
    spells = diebold_mariano(*_dm_of(shuffled, np.arange(200)))
    rng.shuffle(shuffled)
    apart = diebold_mariano(*_dm_of(shuffled, np.arange(200)))
    assert spells is not None
    assert apart is not None
    assert spells.p_value > 2 * apart.p_value


def test_each_comparison_carries_the_test_of_its_kind() -> None:
    labels, _ = _exam()
    yes_no = _compare(_noisy(labels, 0.1, 1), _noisy(labels, 0.05, 2)).classical
    assert yes_no is not None
    assert (yes_no.name, yes_no.favours) == ("McNemar", "challenger")
    temperatures, day, good, bad = _temperatures()
    values = compare("r2", temperatures, day, champion=good, challenger=bad, seed=1).classical
    assert values is not None
    assert (values.name, values.favours) == ("Diebold-Mariano", "champion")
    assert max(yes_no.p_value, values.p_value) < 0.001


def test_rows_that_cannot_be_compared_are_named() -> None:
    labels, day = _exam(rows=10)
    forecast = labels == 1
    with pytest.raises(InvariantError, match="same rows"):
        compare("f1", labels, day, champion=forecast[1:], challenger=forecast, seed=1)
    with pytest.raises(InvariantError, match="empty exam"):
        compare("f1", labels[:0], day[:0], champion=forecast[:0], challenger=forecast[:0], seed=1)
    labels[0] = np.nan
    with pytest.raises(InvariantError, match="without a label"):
        compare("f1", labels, day, champion=forecast, challenger=forecast, seed=1)
