import json
from dataclasses import replace
from datetime import date

import pytest

from weather_platform.domain.metrics import Interval
from weather_platform.domain.promotion import (
    FRESH_EXAM_MIN_DAYS,
    FRESH_EXAM_MIN_ROWS,
    STANDING_EXAM_MIN_ROWS,
    Contender,
    Evidence,
    Gates,
    Verdict,
    decide,
)
from weather_platform.domain.skill import ClassicalTest, Comparison
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import InvariantError

GATES = Gates.of(TARGETS["rain_tomorrow"])
CHALLENGER = Contender("7", "c" * 64, date(2014, 12, 30))
SAME_AGE = Contender("6", "a" * 64, date(2014, 12, 30))
OLD = Contender("5", "b" * 64, date(2013, 12, 30))
DAYS_88 = replace(OLD, tuned_through=date(2014, 10, 3))
DAYS_89 = replace(OLD, tuned_through=date(2014, 10, 2))
NEWER = replace(SAME_AGE, tuned_through=date(2014, 12, 31))
BASELINES = {"persistence": 0.44, "climatology": 0.37}


def _standing(difference: float, better: float) -> Comparison:
    return Comparison(
        metric="f1", rows=5000, days=300, champion=0.68, challenger=0.68 + difference, difference=difference,
        interval=Interval(difference - 0.01, difference + 0.01), share_better=better, resamples=1000, seed=1,
        classical=ClassicalTest("McNemar", 0.5 + difference, 0.04, "challenger", 400),
    )  # fmt: skip


def _fresh(difference: float, better: float) -> Comparison:
    return Comparison(
        metric="brier", rows=5000, days=300, champion=0.093, challenger=0.093 + difference, difference=difference,
        interval=Interval(difference - 0.01, difference + 0.01), share_better=better, resamples=1000, seed=1,
        classical=ClassicalTest("Diebold-Mariano", -1.2, 0.04, "challenger", 300),
    )  # fmt: skip


EQUAL = _standing(0.0, 0.5)
CLEARLY_WORSE = _standing(-0.02, 0.02)
SLIGHTLY_WORSE = _standing(-0.004, 0.01)
WORSE_BY_THE_MARGIN = _standing(-GATES.margin, 0.01)
UNSURELY_WORSE = _standing(-0.02, 0.021)

BETTER = _fresh(-0.003, 0.98)
SMALLEST = replace(BETTER, days=FRESH_EXAM_MIN_DAYS, rows=FRESH_EXAM_MIN_ROWS)
AS_GOOD = _fresh(0.0, 0.5)
NOT_CLEARLY_WORSE = _fresh(0.002, 0.05)
CLEARLY_WORSE_SCORE = _fresh(0.002, 0.049)
THE_SAME_FORECASTS = _fresh(0.0, 0.0)

FIRST = Evidence(
    challenger=CHALLENGER,
    champion=None,
    test=0.69,
    baselines=BASELINES,
    standing_exam=0.67,
    standing_exam_rows=4000,
)


def _against(
    champion: Contender, fresh: Comparison | None, standing: Comparison = EQUAL, standing_exam: float = 0.67
) -> Evidence:
    return replace(FIRST, champion=champion, standing=standing, fresh=fresh, standing_exam=standing_exam)


def _recalibrated(fresh: Comparison, standing: Comparison = EQUAL) -> Evidence:
    challenger = replace(CHALLENGER, tuned_through=date(2015, 6, 30), trained_through=SAME_AGE.tuned_through)
    evidence = _against(SAME_AGE, fresh, standing)
    return replace(evidence, challenger=challenger, baselines={}, recalibration=True)


CALIBRATED_LATER = replace(OLD, tuned_through=date(2015, 6, 30), trained_through=OLD.tuned_through)
TAKEN_BACK = "on 2015-03-01 (rollback: floods)"
UNFIT = replace(FIRST, champion=OLD, champion_unfit="version 5: trained on other features")


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        # No champion.
        (FIRST, "DEPLOY", "there is no champion"),
        (replace(FIRST, standing_exam=0.60), "DEPLOY", "meets the floor"),
        (replace(FIRST, standing_exam=0.5999), "REJECT", "below the floor 0.60"),
        (replace(FIRST, test=0.44), "SKIP", "does not beat the baseline persistence"),
        (replace(FIRST, test=0.40), "SKIP", "does not beat the baseline persistence"),
        (replace(FIRST, baselines={"climatology": 0.70}), "SKIP", "not beat the baseline climatology"),
        (replace(FIRST, standing_exam=0.1, test=0.1), "REJECT", "below the floor"),
        # A champion that the code of today cannot ask: the same gates as without one, and never an older model.
        (UNFIT, "DEPLOY", "the champion cannot serve (version 5: trained on other features)"),
        (replace(UNFIT, standing_exam=0.5999), "REJECT", "below the floor"),
        (replace(UNFIT, test=0.44), "SKIP", "does not beat the baseline persistence"),
        (replace(UNFIT, champion=NEWER), "SKIP", "older model never replaces"),
        (replace(UNFIT, champion=replace(OLD, digest=CHALLENGER.digest)), "SKIP", "the champion itself"),
        # Taken back before.
        (replace(FIRST, taken_back=TAKEN_BACK), "SKIP", "version 7 was taken back on 2015-03-01 (rollback: floods)"),
        (replace(_against(OLD, BETTER), taken_back=TAKEN_BACK), "SKIP", "was taken back"),
        (replace(UNFIT, taken_back=TAKEN_BACK), "SKIP", "was taken back"),
        (replace(FIRST, taken_back=TAKEN_BACK, standing_exam=0.1), "REJECT", "below the floor"),
        # Below the floor or clearly worse on the standing exam, whatever the fresh exam says.
        (_against(OLD, BETTER, standing_exam=0.59), "REJECT", "below the floor"),
        (_against(OLD, BETTER, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(SAME_AGE, BETTER, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(OLD, AS_GOOD, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(OLD, None, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(OLD, CLEARLY_WORSE_SCORE, CLEARLY_WORSE), "REJECT", "on the standing exam: f1"),
        (_against(OLD, BETTER, SLIGHTLY_WORSE), "DEPLOY", "not clearly worse than the champion"),
        (_against(OLD, BETTER, WORSE_BY_THE_MARGIN), "DEPLOY", "not clearly worse than the champion"),
        (_against(OLD, BETTER, UNSURELY_WORSE), "DEPLOY", "not clearly worse than the champion"),
        # Nothing to compare with.
        (_against(replace(OLD, digest=CHALLENGER.digest), BETTER), "SKIP", "the champion itself"),
        (_against(NEWER, BETTER), "SKIP", "older model never replaces"),
        (_against(OLD, None), "SKIP", "fresh exam is empty"),
        (_against(OLD, replace(BETTER, days=FRESH_EXAM_MIN_DAYS - 1)), "SKIP", "too small"),
        (_against(OLD, replace(BETTER, rows=FRESH_EXAM_MIN_ROWS - 1)), "SKIP", "too small"),
        (_against(OLD, SMALLEST), "DEPLOY", "not clearly worse"),
        # Promoted unless clearly worse in the proper score.
        (_against(OLD, BETTER), "DEPLOY", "brier 0.0900 against 0.0930 (lower is better), lower in 98.0% of"),
        (_against(OLD, AS_GOOD), "DEPLOY", "lower in 50.0% of bootstraps"),
        (_against(OLD, NOT_CLEARLY_WORSE), "DEPLOY", "brier 0.0950 against 0.0930 (lower is better), lower in 5.0%"),
        (_against(OLD, CLEARLY_WORSE_SCORE), "SKIP", "clearly worse than the champion on the fresh exam"),
        (_against(OLD, CLEARLY_WORSE_SCORE), "SKIP", "lower in 4.9% of bootstraps, and 5% are needed"),
        (_against(OLD, THE_SAME_FORECASTS), "SKIP", "lower in 0.0% of bootstraps"),
        # Three months of data between two champions, however good the challenger.
        (_against(SAME_AGE, BETTER), "SKIP", "tuned on 0 days of data more than the champion, and 89 days pass"),
        (_against(DAYS_88, BETTER), "SKIP", "tuned on 88 days of data more"),
        (_against(DAYS_89, BETTER), "DEPLOY", "not clearly worse"),
        (_against(DAYS_88, CLEARLY_WORSE_SCORE), "SKIP", "tuned on 88 days of data more"),
        (replace(UNFIT, champion=DAYS_88), "DEPLOY", "the champion cannot serve"),
        # The champion with another calibration: no cooldown, and the standing exam decides nothing.
        (_recalibrated(BETTER), "DEPLOY", "not clearly worse than the champion on the fresh exam"),
        (_recalibrated(BETTER, CLEARLY_WORSE), "DEPLOY", "not clearly worse than the champion on the fresh exam"),
        (_recalibrated(CLEARLY_WORSE_SCORE), "SKIP", "clearly worse than the champion on the fresh exam"),
        (_recalibrated(replace(BETTER, days=FRESH_EXAM_MIN_DAYS - 1)), "SKIP", "too small"),
        (replace(_recalibrated(BETTER), standing_exam=0.5), "DEPLOY", "not clearly worse"),
        (replace(_recalibrated(CLEARLY_WORSE_SCORE), standing_exam=0.5), "SKIP", "clearly worse"),
        (replace(_recalibrated(BETTER), taken_back=TAKEN_BACK), "SKIP", "was taken back"),
        # A champion whose calibration saw later days than the challenger: its model file says which is older.
        (_against(CALIBRATED_LATER, BETTER), "DEPLOY", "not clearly worse"),
        (_against(replace(CALIBRATED_LATER, trained_through=NEWER.tuned_through), BETTER), "SKIP", "older model never"),
        (_against(replace(CALIBRATED_LATER, trained_through=DAYS_88.tuned_through), BETTER), "SKIP", "88 days of data"),
    ],
)  # fmt: skip
def test_the_truth_table(evidence: Evidence, verdict: str, reason: str) -> None:
    decision = decide(evidence, GATES)
    assert decision.verdict == verdict
    assert any(reason in sentence for sentence in decision.reasons), decision.reasons
    assert decision.evidence is evidence


def test_a_fresh_exam_has_two_months_of_days_and_rows_enough_for_f1() -> None:
    assert (FRESH_EXAM_MIN_DAYS, FRESH_EXAM_MIN_ROWS) == (56, 300)


def test_all_reasons_of_a_verdict_are_given() -> None:
    assert len(decide(_against(OLD, BETTER, CLEARLY_WORSE, standing_exam=0.5), GATES).reasons) == 2
    newer_twin = Contender("8", CHALLENGER.digest, date(2015, 12, 30))
    assert len(decide(_against(newer_twin, None), GATES).reasons) == 3
    assert len(decide(_against(DAYS_88, None), GATES).reasons) == 2


def test_a_target_of_values_is_promoted_by_its_own_score() -> None:
    gates = Gates.of(TARGETS["max_temp_tomorrow"])
    evidence = _against(OLD, replace(BETTER, metric="rmse"), replace(EQUAL, metric="r2"))
    decision = decide(evidence, gates)
    assert decision.verdict == "DEPLOY"
    assert "rmse 0.0900 against 0.0930" in decision.reasons[0]


NAN = float("nan")


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        (replace(FIRST, test=NAN), "the test metric is nan"),
        (replace(FIRST, standing_exam=NAN), "the standing exam metric is nan"),
        (replace(FIRST, standing_exam=float("inf")), "inf"),
        (replace(FIRST, test=None), "the test metric is None"),  # type: ignore[arg-type]
        (replace(FIRST, baselines={}), "no baseline"),
        (replace(FIRST, baselines={"persistence": NAN}), "baseline persistence is nan"),
        (replace(FIRST, standing_exam_rows=STANDING_EXAM_MIN_ROWS - 1), "standing exam has 99 rows"),
        (replace(FIRST, fresh=BETTER), "no champion"),
        (replace(FIRST, recalibration=True), "there is no champion to ask"),
        (replace(UNFIT, recalibration=True), "there is no champion to ask"),
        (replace(_recalibrated(BETTER), recalibration=False), "no baseline"),
        (replace(FIRST, standing=EQUAL), "no champion"),
        (replace(FIRST, champion_unfit="of another format"), "no champion"),
        (replace(UNFIT, standing=EQUAL), "comparison with a champion that cannot be asked"),
        (replace(UNFIT, fresh=BETTER), "comparison with a champion that cannot be asked"),
        (replace(FIRST, challenger=replace(CHALLENGER, digest="")), "no digest"),
        (_against(replace(SAME_AGE, digest=""), BETTER), "no digest"),
        (replace(_against(SAME_AGE, BETTER), standing=None), "not compared on the standing exam"),
        (_against(SAME_AGE, replace(BETTER, difference=NAN)), "difference on the fresh exam is nan"),
        (_against(SAME_AGE, replace(BETTER, share_better=NAN)), "share_better on the fresh exam is nan"),
        (_against(OLD, replace(BETTER, share_better=1.2)), "not a share"),
        (_against(OLD, BETTER, replace(EQUAL, share_better=NAN)), "share_better on the standing exam is nan"),
        (_against(SAME_AGE, BETTER, replace(EQUAL, champion=NAN)), "champion on the standing exam is nan"),
        (_against(OLD, replace(BETTER, metric="f1")), "fresh exam compares f1, and the gates ask for brier"),
        (_against(OLD, BETTER, replace(EQUAL, metric="brier")), "exam compares brier, and the gates ask for f1"),
    ],
)  # fmt: skip
def test_incomplete_evidence_raises_and_never_decides(evidence: Evidence, sentence: str) -> None:
    with pytest.raises(InvariantError, match=sentence):
        decide(evidence, GATES)


def test_a_decision_can_be_recorded_with_everything_it_rests_on() -> None:
    record = json.loads(json.dumps(decide(_against(OLD, BETTER), GATES).to_dict(), allow_nan=False))
    assert record["decision"] == "DEPLOY"
    assert record["evidence"]["champion"] == {
        "version": "5",
        "digest": "b" * 64,
        "tuned_through": "2013-12-30",
        "trained_through": None,
    }
    assert record["evidence"]["fresh"]["share_better"] == 0.98
    assert (record["gates"]["margin"], record["gates"]["score"]) == (0.005, "brier")
    assert (record["gates"]["clearly_worse_below"], record["gates"]["cooldown_days"]) == (0.05, 89)
    assert record["evidence"]["fresh"]["classical"] == {
        "name": "Diebold-Mariano", "statistic": -1.2, "p_value": 0.04, "favours": "challenger", "cases": 300,
    }  # fmt: skip


def test_the_verdict_reads_as_its_word() -> None:
    assert [str(verdict) for verdict in Verdict] == ["DEPLOY", "SKIP", "REJECT"]
