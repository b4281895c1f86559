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
from weather_platform.domain.skill import primary_value
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
@pytest.mark.parametrize("margins", [-2, 0, 4])
def test_in_the_long_run_two_models_differ_by_what_was_asked_for(
    simulation: ModuleType, target: str, margins: float
) -> None:
    gates, kind = GATES[target], simulation.KINDS[target]
    rng = np.random.default_rng(1)
    labels, _, (champion, challenger) = kind.exams(rng, 20 * simulation.YEAR_DAYS, (margins * gates.margin,))
    values = [primary_value(gates.metric, labels, forecast) for forecast in (champion, challenger)]
    assert values[0] == pytest.approx(kind.champion, abs=0.006)
    assert values[1] - values[0] == pytest.approx(margins * gates.margin, abs=0.0025)


def test_models_of_rain_disagree_as_often_as_real_ones_do(simulation: ModuleType) -> None:
    labels, day, (champion, challenger) = simulation.RAIN.exams(np.random.default_rng(2), 365, (0.0,))
    assert 0.038 <= np.mean(champion != challenger) <= 0.054
    assert labels.mean() == pytest.approx(0.21, abs=0.03)
    assert len(np.unique(day)) == 365
    assert len(day) == pytest.approx(17_080, rel=0.01)


def test_errors_of_two_temperature_models_correlate_as_real_ones_do(simulation: ModuleType) -> None:
    labels, _, (champion, challenger) = simulation.TEMPERATURE.exams(np.random.default_rng(2), 365, (0.0,))
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
def test_the_rule_hardly_ever_promotes_a_model_that_is_no_better_and_finds_one_that_is(
    simulation: ModuleType, target: str
) -> None:
    tally = simulation.simulate(target, GATES[target], pairs=20, campaigns=1, seed=1)
    for days in simulation.FRESH_DAYS:
        assert tally.better[days, 0] <= simulation.WRONG_AT_MOST
        assert tally.better[days, -1] <= tally.better[days, 0] <= tally.better[days, 4]
        assert all(tally.refresh[days, step] >= tally.better[days, step] for step in simulation.STEPS)
    assert tally.refresh[simulation.YEAR_DAYS, -2] <= simulation.WRONG_AT_MOST
    assert tally.better[simulation.YEAR_DAYS, 4] > 0.9
    assert tally.wrong_of_promoted <= simulation.WRONG_AT_MOST


def test_the_program_prints_draws_and_writes_its_figures(tmp_path: Path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "power.png"
    program = [sys.executable, str(BENCHMARKS / "decision_quality.py"), "--pairs", "2", "--campaigns", "1"]
    options = ["--workers", "1", "--targets", "rain_tomorrow", "--json", str(figures), "--plot", str(plot)]
    done = subprocess.run([*program, *options], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "true difference, in margins" in done.stdout
    found = json.loads(figures.read_text())
    assert found["comparisons on two exams, decided"]["value"] == 2 * 9 * 2 + 2 * 12
    assert found["rain_tomorrow 90 d: promoted as better at 0"]["bar"] == "<= 0.05 met"
    assert plot.read_bytes().startswith(b"\x89PNG")
