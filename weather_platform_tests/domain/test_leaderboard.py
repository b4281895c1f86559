"""The order of the leaderboard and what it refuses to show."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from weather_platform.domain.leaderboard import Entry, leaderboard, unbeaten_by_the_challenger, unranked
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import InvariantError, RegistryError

RAIN = TARGETS["rain_tomorrow"]
FIGURES = {
    "validation_f1": 0.70, "test_f1": 0.68, "test_f1_low": 0.66, "test_f1_high": 0.70,
    "rows_train": 1000, "rows_validation": 300, "rows_test": 200,
    "train_seconds": 2.0, "predict_rows_per_second": 9e4, "train_peak_memory_mb": 400.0,
    "persistence_f1": 0.50, "persistence_f1_low": 0.48, "persistence_f1_high": 0.52,
    "climatology_f1": 0.40, "climatology_f1_low": 0.38, "climatology_f1_high": 0.42,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A candidate with these figures."""

    algorithm: str
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return f"run of {self.algorithm}"

    @property
    def digest(self) -> str:
        return f"digest of {self.algorithm}"

    def metric(self, name: str) -> float:
        if name not in self.figures:
            raise RegistryError(f"{self.algorithm} has no metric {name}; train it again")
        return self.figures[name]


def measured(algorithm: str, **changes: float) -> Measured:
    return Measured(algorithm, FIGURES | changes)


def names(entries: Sequence[Entry]) -> list[tuple[int | None, str]]:
    return [(entry.rank, entry.name) for entry in entries]


def test_the_best_on_test_is_not_the_challenger_when_another_is_best_on_validation() -> None:
    lucky = measured("lucky", validation_f1=0.69, test_f1=0.99)
    steady = measured("steady", validation_f1=0.71, test_f1=0.60)
    for entrants in ([lucky, steady], [steady, lucky]):
        assert names(leaderboard(RAIN, "2015", entrants)) == [
            (1, "steady"), (2, "lucky"), (None, "climatology"), (None, "persistence"),
        ]  # fmt: skip


def test_a_baseline_is_never_the_challenger_however_good_it_is() -> None:
    entries = leaderboard(RAIN, "2015", [measured("model", persistence_f1=0.95)])
    assert names(entries) == [(1, "model"), (None, "climatology"), (None, "persistence")]
    assert entries[2].validation is None


def test_of_two_that_are_equal_the_first_in_the_registry_comes_first() -> None:
    assert names(leaderboard(RAIN, "2015", [measured("a"), measured("b")]))[:2] == [(1, "a"), (2, "b")]
    assert names(leaderboard(RAIN, "2015", [measured("b"), measured("a")]))[:2] == [(1, "b"), (2, "a")]


def test_a_line_says_where_its_figures_come_from() -> None:
    entry = leaderboard(RAIN, "2015", [measured("model")])[0]
    assert (entry.run_id, entry.digest, entry.metric, entry.test_rows) == ("run of model", "digest of model", "f1", 200)
    assert (entry.train_seconds, entry.predict_rows_per_second, entry.peak_memory_mb) == (2.0, 9e4, 400.0)


@pytest.mark.parametrize("lacking", sorted(FIGURES))
def test_a_figure_that_is_missing_is_an_error_and_never_a_partial_board(lacking: str) -> None:
    broken = Measured("broken", {name: value for name, value in FIGURES.items() if name != lacking})
    with pytest.raises(RegistryError, match=f"has no metric {lacking}"):
        leaderboard(RAIN, "2015", [broken, measured("sound")])


@pytest.mark.parametrize("figure", ["validation_f1", "test_f1", "train_seconds", "persistence_f1_low"])
def test_a_figure_that_is_not_a_number_is_an_error(figure: str) -> None:
    with pytest.raises(InvariantError, match=rf"rain_tomorrow 2015: {figure} of broken is nan; train it again"):
        leaderboard(RAIN, "2015", [measured("broken", **{figure: float("nan")})])


def test_a_year_without_candidates_has_no_board() -> None:
    with pytest.raises(InvariantError, match="2015 has no candidate; materialise the models"):
        leaderboard(RAIN, "2015", [])


@pytest.mark.parametrize("fact", ["rows_test", "rows_validation", "rows_train", "persistence_f1", "climatology_f1"])
def test_candidates_of_other_rows_are_never_put_beside_each_other(fact: str) -> None:
    other = measured("other", **{fact: FIGURES[fact] * 1.01})
    with pytest.raises(InvariantError, match=rf"own and other do not rest on the same rows \({fact}"):
        leaderboard(RAIN, "2015", [measured("own"), other])


def test_the_order_of_a_board_is_judged_by_validation_alone() -> None:
    board = leaderboard(RAIN, "2015", [measured("a", validation_f1=0.8, test_f1=0.1), measured("b", test_f1=0.9)])
    assert unranked(board) is None
    first, second, *baselines = board
    swapped = [replace(second, rank=1), replace(first, rank=2), *baselines]
    assert unranked(swapped) == "b stands before a, and validation does not say so"
    assert unranked([replace(first, rank=2), *baselines]) == "its ranks are 2"
    assert unranked(baselines) == "it has no candidate"
    assert unranked([]) == "it has no candidate"


def test_a_challenger_that_a_baseline_equals_is_named_with_it() -> None:
    assert unbeaten_by_the_challenger(leaderboard(RAIN, "2015", [measured("model")])) == []
    beaten = leaderboard(RAIN, "2015", [measured("model", persistence_f1=0.68)])
    assert unbeaten_by_the_challenger(beaten) == ["persistence 0.6800 against model 0.6800"]
