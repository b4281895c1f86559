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
DAYS_180 = replace(OLD, tuned_through=date(2014, 7, 3))
DAYS_181 = replace(OLD, tuned_through=date(2014, 7, 2))
NEWER = replace(SAME_AGE, tuned_through=date(2014, 12, 31))
BASELINES = {"persistence": 0.44, "climatology": 0.37}


def _comparison(
    difference: float,
    *,
    better: float,
    by_margin: float = 0.0,
    not_inferior: float = 0.0,
    rows: int = 5000,
    days: int = 300,
) -> Comparison:
    return Comparison(
        metric="f1", rows=rows, days=days, champion=0.68, challenger=0.68 + difference, difference=difference,
        interval=Interval(difference - 0.01, difference + 0.01), margin=GATES.margin, share_better=better,
        share_better_by_margin=by_margin, share_not_inferior=not_inferior, resamples=1000, seed=1,
        classical=ClassicalTest("McNemar", 0.5 + difference, 0.04, "challenger", 400),
    )  # fmt: skip


EQUAL = _comparison(0.0, better=0.5, not_inferior=0.9)
CLEARLY_WORSE = _comparison(-0.02, better=0.02)
SLIGHTLY_WORSE = _comparison(-0.004, better=0.01, not_inferior=0.7)
WORSE_BY_THE_MARGIN = _comparison(-GATES.margin, better=0.01)
UNSURELY_WORSE = _comparison(-0.02, better=0.021)
BETTER = _comparison(0.02, better=1.0, by_margin=0.98, not_inferior=1.0)
SMALLEST = replace(BETTER, days=FRESH_EXAM_MIN_DAYS, rows=FRESH_EXAM_MIN_ROWS)
NOT_SURELY_BETTER = _comparison(0.02, better=0.99, by_margin=0.979, not_inferior=1.0)
NOT_INFERIOR = _comparison(0.0, better=0.5, by_margin=0.1, not_inferior=0.98)
MAYBE_INFERIOR = _comparison(0.0, better=0.5, by_margin=0.1, not_inferior=0.979)

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
        (_against(SAME_AGE, BETTER, standing_exam=0.59), "REJECT", "below the floor"),
        (_against(SAME_AGE, BETTER, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(OLD, NOT_INFERIOR, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(OLD, None, CLEARLY_WORSE), "REJECT", "clearly worse"),
        (_against(SAME_AGE, BETTER, SLIGHTLY_WORSE), "DEPLOY", "better than the champion"),
        (_against(SAME_AGE, BETTER, WORSE_BY_THE_MARGIN), "DEPLOY", "better than the champion"),
        (_against(SAME_AGE, BETTER, UNSURELY_WORSE), "DEPLOY", "better than the champion"),
        # Nothing to compare with.
        (_against(replace(SAME_AGE, digest=CHALLENGER.digest), BETTER), "SKIP", "the champion itself"),
        (_against(NEWER, BETTER), "SKIP", "older model never replaces"),
        (_against(OLD, None), "SKIP", "fresh exam is empty"),
        (_against(OLD, replace(BETTER, days=FRESH_EXAM_MIN_DAYS - 1)), "SKIP", "too small"),
        (_against(OLD, replace(BETTER, rows=FRESH_EXAM_MIN_ROWS - 1)), "SKIP", "too small"),
        (_against(OLD, SMALLEST), "DEPLOY", "better"),
        # Better by the margin in 98 % of bootstraps.
        (_against(SAME_AGE, BETTER), "DEPLOY", "better than the champion by more than 0.005 in 98.0%"),
        (_against(SAME_AGE, NOT_SURELY_BETTER), "SKIP", "in only 97.9%"),
        (_against(OLD, BETTER), "DEPLOY", "better than the champion"),
        # Refresh.
        (_against(OLD, NOT_INFERIOR), "DEPLOY", "refresh: the champion is 365 days"),
        (_against(OLD, MAYBE_INFERIOR), "SKIP", "not inferior in only 97.9%"),
        (_against(SAME_AGE, NOT_INFERIOR), "SKIP", "champion is 0 days of data older"),
        (_against(DAYS_180, NOT_INFERIOR), "SKIP", "180 days of data older, not more"),
        (_against(DAYS_181, NOT_INFERIOR), "DEPLOY", "refresh: the champion is 181"),
    ],
)  # fmt: skip
def test_the_truth_table(evidence: Evidence, verdict: str, reason: str) -> None:
    decision = decide(evidence, GATES)
    assert decision.verdict == verdict
    assert any(reason in sentence for sentence in decision.reasons), decision.reasons
    assert decision.evidence is evidence


def test_a_fresh_exam_has_two_months_of_days_and_rows_enough_for_f1() -> None:
    assert (FRESH_EXAM_MIN_DAYS, FRESH_EXAM_MIN_ROWS) == (60, 300)


def test_all_reasons_of_a_verdict_are_given() -> None:
    assert len(decide(_against(SAME_AGE, BETTER, CLEARLY_WORSE, standing_exam=0.5), GATES).reasons) == 2
    newer_twin = Contender("8", CHALLENGER.digest, date(2015, 12, 30))
    assert len(decide(_against(newer_twin, None), GATES).reasons) == 3
    better_and_old = decide(_against(OLD, BETTER), GATES)
    assert [reason.split()[0] for reason in better_and_old.reasons] == ["better", "refresh:"]


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
        (replace(FIRST, standing=EQUAL), "no champion"),
        (replace(FIRST, champion_unfit="of another format"), "no champion"),
        (replace(UNFIT, standing=EQUAL), "comparison with a champion that cannot be asked"),
        (replace(UNFIT, fresh=BETTER), "comparison with a champion that cannot be asked"),
        (replace(FIRST, challenger=replace(CHALLENGER, digest="")), "no digest"),
        (_against(replace(SAME_AGE, digest=""), BETTER), "no digest"),
        (replace(_against(SAME_AGE, BETTER), standing=None), "not compared on the standing exam"),
        (_against(SAME_AGE, replace(BETTER, difference=NAN)), "difference on the fresh exam is nan"),
        (_against(SAME_AGE, replace(BETTER, share_better=NAN)), "share_better on the fresh exam is nan"),
        (_against(SAME_AGE, replace(BETTER, share_better_by_margin=NAN)), "on the fresh exam is nan"),
        (_against(SAME_AGE, replace(BETTER, share_not_inferior=1.2)), "not a share"),
        (_against(SAME_AGE, BETTER, replace(EQUAL, champion=NAN)), "champion on the standing exam is nan"),
        (_against(SAME_AGE, replace(BETTER, margin=0.0)), "the gates ask for f1 by 0.005"),
        (_against(SAME_AGE, replace(BETTER, metric="accuracy")), "the gates ask for f1"),
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
    }
    assert record["evidence"]["fresh"]["share_better_by_margin"] == 0.98
    assert record["gates"]["margin"] == 0.005
    assert record["evidence"]["fresh"]["classical"] == {
        "name": "McNemar", "statistic": 0.52, "p_value": 0.04, "favours": "challenger", "cases": 400,
    }  # fmt: skip


def test_the_verdict_reads_as_its_word() -> None:
    assert [str(verdict) for verdict in Verdict] == ["DEPLOY", "SKIP", "REJECT"]
