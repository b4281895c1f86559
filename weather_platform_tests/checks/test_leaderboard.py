"""Checks of the leaderboard, firing and not firing, on boards as the database gives them back."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg

from weather_platform.checks.leaderboard import beaten_challengers, misranked
from weather_platform.domain.leaderboard import Entry, leaderboard
from weather_platform_tests.domain.test_leaderboard import RAIN, measured
from weather_platform_tests.small_models import TARGET, Store
from weather_platform_tests.stages import MOMENT, Home, evaluations, failing

BOARD = leaderboard(RAIN, "2015", [measured("a", validation_f1=0.8), measured("b", test_f1=0.9)])
CHECKS = ("ranked_by_validation", "challenger_beats_the_baselines")


def _swapped() -> list[Entry]:
    first, second, *baselines = BOARD
    return [replace(second, rank=1), replace(first, rank=2), *baselines]


def test_an_order_that_validation_does_not_give_is_a_finding_of_its_year() -> None:
    assert misranked({"2014": BOARD, "2015": BOARD}) == {}
    assert misranked({"2014": BOARD, "2015": _swapped()}) == {
        "2015": "b stands before a, and validation does not say so"
    }
    assert misranked({"2015": []}) == {"2015": "it has no candidate"}


def test_a_challenger_that_is_no_better_than_a_baseline_is_a_finding_of_its_year() -> None:
    weak = [replace(entry, test=0.68) if entry.name == "climatology" else entry for entry in BOARD]
    assert beaten_challengers({"2015": BOARD}) == {}
    assert beaten_challengers({"2014": BOARD, "2015": weak}) == {"2015": "climatology 0.6800 against a 0.6800"}
    assert beaten_challengers({"2015": []}) == {"2015": "there is no challenger"}


KEY = dg.AssetKey([TARGET, "leaderboard"])
SELECTION = dg.AssetSelection.checks(*(dg.AssetCheckKey(KEY, name) for name in CHECKS))


def _made(home: Home, store: Store, year: int, board: Sequence[Entry]) -> None:
    store.database.replace_leaderboard(TARGET, year, board, dagster_run_id="r", made_at=MOMENT)
    home.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=str(year)))


def test_checks_read_the_stored_board_and_the_order_alone_blocks(tmp_path: Path, store: Store) -> None:
    home = Home(tmp_path)
    _made(home, store, 2015, BOARD)
    sound = evaluations(home.run(SELECTION))
    assert {name: (sound[name].passed, sound[name].blocking) for name in CHECKS} == {
        "ranked_by_validation": (True, True),
        "challenger_beats_the_baselines": (True, False),
    }
    _made(home, store, 2014, [replace(entry, test=0.7) for entry in _swapped()])
    faulty = evaluations(home.run(SELECTION))
    assert {name: (list(failing(faulty[name])), faulty[name].severity) for name in CHECKS} == {
        "ranked_by_validation": (["2014"], dg.AssetCheckSeverity.ERROR),
        "challenger_beats_the_baselines": (["2014"], dg.AssetCheckSeverity.WARN),
    }
    assert not any(faulty[name].passed for name in CHECKS)

    alone = evaluations(home.run(SELECTION, one="2015"))  # looks at no other year
    assert all(alone[name].passed and alone[name].metadata["partitions"].value == 1 for name in CHECKS)
