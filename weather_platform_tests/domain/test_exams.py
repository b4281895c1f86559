"""The evidence of both exams, of models that are always right or always wrong."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray

from weather_platform.domain.exams import gather_evidence
from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.promotion import Contender, Evidence
from weather_platform.domain.splits import is_standing_exam
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import Predictor, TrainingData
from weather_platform_tests.domain.learning import small_data, small_split

RAIN, SPLIT = TARGETS["rain_tomorrow"], small_split()
CHALLENGER = Contender("2", "b", SPLIT.tuned_through)
CHAMPION = Contender("1", "a", date(2012, 6, 30))


class Says(Predictor):
    """A model that reads the label in the first column, and says it or the opposite."""

    def __init__(self, *, right: bool) -> None:
        self.right = right

    def predict(self, values: NDArray[np.float32]) -> Forecasts:
        yes = (values[:, 0] == 1) == self.right
        return Forecasts(yes.astype(np.float64), label=yes)


@pytest.fixture(scope="module")
def rows() -> TrainingData:
    """Rows whose first column is the label."""
    data = small_data()
    values = data.values.copy()
    values[:, 0] = data.labels
    return replace(data, values=values)


def _examined(rows: TrainingData, champion: Contender | None, *, challenger_is_right: bool) -> Evidence:
    return gather_evidence(
        RAIN, SPLIT, rows, (CHALLENGER, Says(right=challenger_is_right)),
        (champion, Says(right=not challenger_is_right)) if champion else None,
        test=0.7, baselines={"persistence": 0.4}, seed=1,
    )  # fmt: skip


@pytest.mark.parametrize("right", [True, False])
def test_both_exams_compare_the_challenger_with_the_champion(rows: TrainingData, right: bool) -> None:
    found = _examined(rows, CHAMPION, challenger_is_right=right)
    assert (found.challenger, found.champion) == (CHALLENGER, CHAMPION)
    assert found.standing_exam == float(right)
    for exam, metric, of_the_right_one in ((found.standing, "f1", 1.0), (found.fresh, "brier", 0.0)):
        assert exam is not None
        assert exam.metric == metric
        assert exam.challenger == (of_the_right_one if right else 1 - of_the_right_one)
        assert exam.champion == 1 - exam.challenger
        assert exam.share_better == float(right)
    assert (found.test, found.baselines) == (0.7, {"persistence": 0.4})


def test_the_standing_exam_is_all_its_labelled_days_and_the_fresh_one_the_days_new_to_both(rows: TrainingData) -> None:
    found = _examined(rows, CHAMPION, challenger_is_right=True)
    assert found.standing is not None
    assert found.fresh is not None
    labelled_days = is_standing_exam(rows.day) & ~np.isnan(rows.labels)
    assert found.standing_exam_rows == found.standing.rows == np.count_nonzero(labelled_days)
    assert found.fresh.days == (date(2012, 12, 30) - date(2012, 7, 2)).days + 1


def test_without_a_champion_nothing_is_compared(rows: TrainingData) -> None:
    found = _examined(rows, None, challenger_is_right=True)
    assert (found.champion, found.standing, found.fresh) == (None, None, None)
    assert found.standing_exam == 1


def test_a_champion_tuned_through_the_last_test_day_leaves_no_fresh_exam(rows: TrainingData) -> None:
    newest = replace(CHAMPION, tuned_through=SPLIT.test.last)
    assert _examined(rows, newest, challenger_is_right=True).fresh is None
