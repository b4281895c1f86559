"""The simulation of promotions: its pairs have the difference they claim, and the rule is as careful as it promises."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from weather_platform.domain.promotion import Gates
from weather_platform.domain.skill import PROPER_SCORES, primary_value
from weather_platform.domain.targets import TARGETS
from weather_platform_tests.lock_digest import ROOT

BENCHMARKS = ROOT / "benchmarks"
GATES = {name: Gates.of(target) for name, target in TARGETS.items()}
each_target = pytest.mark.parametrize("target", GATES)


@pytest.fixture(scope="module")
def simulation() -> Iterator[ModuleType]:
    """The program as a module; its neighbours are found as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import decision_quality

        yield decision_quality


@each_target
@pytest.mark.parametrize("steps", [-4, 0, 4])
def test_in_the_long_run_two_models_differ_by_what_was_asked_for(
    simulation: ModuleType, target: str, steps: float
) -> None:
    gates, kind = GATES[target], simulation.KINDS[target]
    difference = steps * simulation.UNIT[gates.score]
    labels, _, forecasts = kind.exams(np.random.default_rng(1), 20 * simulation.YEAR_DAYS, (difference,))
    scores = [score_of(gates, labels, said) for said, _ in forecasts]
    assert scores[0] == pytest.approx(kind.score, rel=0.02)
    assert scores[0] - scores[1] == pytest.approx(difference, abs=0.2 * simulation.UNIT[gates.score])
    primary = primary_value(gates.metric, labels, forecasts[0][1])
    assert primary == pytest.approx(kind.champion, abs=0.006)


def score_of(gates: Gates, labels: np.ndarray, said: np.ndarray) -> float:
    score = PROPER_SCORES[gates.score]
    return float(score.value(score.terms(labels, said).sum(axis=0)))


def test_probabilities_of_rain_are_calibrated(simulation: ModuleType) -> None:
    labels, _, [(probability, _)] = simulation.RAIN.exams(np.random.default_rng(2), 3650, ())
    for low in (0.1, 0.3, 0.5, 0.7):
        near = (probability >= low) & (probability < low + 0.1)
        assert labels[near].mean() == pytest.approx(probability[near].mean(), abs=0.02)


def test_models_of_rain_disagree_as_often_as_real_ones_do(simulation: ModuleType) -> None:
    labels, day, [(_, champion), (_, challenger)] = simulation.RAIN.exams(np.random.default_rng(2), 365, (0.0,))
    assert 0.038 <= np.mean(champion != challenger) <= 0.054
    assert labels.mean() == pytest.approx(0.21, abs=0.03)
    assert len(np.unique(day)) == 365
    assert len(day) == pytest.approx(17_080, rel=0.01)


def test_errors_of_two_temperature_models_correlate_as_real_ones_do(simulation: ModuleType) -> None:
    labels, _, [(champion, _), (challenger, _)] = simulation.TEMPERATURE.exams(np.random.default_rng(2), 365, (0.0,))
    assert 0.91 <= np.corrcoef(champion - labels, challenger - labels)[0, 1] <= 0.96


@each_target
def test_a_seed_gives_the_same_pairs_and_campaigns_again(simulation: ModuleType, target: str) -> None:
    gates = GATES[target]
    pair = simulation.pair_of(target, gates, 60, 5)
    assert pair == simulation.pair_of(target, gates, 60, 5)
    assert pair != simulation.pair_of(target, gates, 60, 6)
    assert len(pair) == len(simulation.STEPS)
    looks = simulation.campaign_of(target, gates, 0.0, 5)
    assert looks == simulation.campaign_of(target, gates, 0.0, 5)
    assert {look.fresh.days for look in looks} == {simulation.UNFINISHED_TEST_DAYS}
    assert len({look.fresh.champion for look in looks}) == simulation.LOOKS == len(looks)


@each_target
def test_the_rule_hardly_ever_promotes_a_model_that_is_clearly_worse_and_hardly_ever_misses_one_as_good(
    simulation: ModuleType, target: str
) -> None:
    tally = simulation.simulate(target, GATES[target], pairs=20, campaigns=2, seed=1)
    unit = simulation.UNIT[GATES[target].score]
    for days in simulation.FRESH_DAYS:
        shares = [tally.promoted[days, step] for step in simulation.STEPS]
        assert shares[0] <= 0.1 < 0.8 <= tally.promoted[days, 0] <= tally.promoted[days, 4]
        assert max(tally.losses(days, unit).values()) < 1.5 * unit
        loss, gain, passed_over = tally.of_unknown(days, unit)
        assert loss < gain
        assert passed_over < 0.1 * gain
    assert tally.promoted[simulation.YEAR_DAYS, -2] <= tally.promoted[simulation.UNFINISHED_TEST_DAYS, -2]
    assert tally.looks[-4] <= tally.looks[-0.5]


def test_the_program_prints_draws_and_writes_its_figures(tmp_path: Path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "power.png"
    program = [sys.executable, str(BENCHMARKS / "decision_quality.py"), "--pairs", "2", "--campaigns", "1"]
    options = ["--workers", "1", "--targets", "rain_tomorrow", "--json", str(figures), "--plot", str(plot)]
    done = subprocess.run([*program, *options], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "how much better it is, in steps" in done.stdout
    found = json.loads(figures.read_text())
    assert found["comparisons on two exams, decided"]["value"] == 2 * 11 * 2 + 5 * 4
    assert found["rain_tomorrow 90 d: wrong, worse by two steps"]["value"] <= 1
    assert plot.read_bytes().startswith(b"\x89PNG")
