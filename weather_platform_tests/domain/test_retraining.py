"""The decision to retrain as a truth table: every cause and every hold fires and does not, and nothing missing acts."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_platform.domain.retraining import (
    MEASURED,
    Action,
    Attempt,
    BiasMonth,
    DriftNotice,
    Facts,
    Outcome,
    RetrainingDecision,
    Rules,
    Wish,
    decide_retraining,
)
from weather_platform.errors import InvariantError

RULES = Rules()
QUIET = DriftNotice("none", ("no column is far",))


def bias(month: str, low: float, high: float) -> BiasMonth:
    return BiasMonth(month, (low + high) / 2, low, high, days=30, rows=1400)


LEVEL = (bias("2015-11", -0.01, 0.02), bias("2015-12", -0.02, 0.01))
HIGH = (bias("2015-11", 0.01, 0.03), bias("2015-12", 0.02, 0.05))
CALM = Facts(
    month="2015-12",
    production_version=3,
    model_rows=10_000,
    model_data_through=date(2015, 6, 30),
    labelled_rows=11_000,
    features_lake_version=7,
    bias=LEVEL,
    drift=QUIET,
    departures=QUIET,
)
"""December, decided in January: six months of data after the model, ten per cent more rows, no bias, no drift."""


def decided(rules: Rules = RULES, /, **changes: Any) -> RetrainingDecision:
    return decide_retraining(replace(CALM, **changes), rules)


def attempt(
    month: str, action: Action = Action.RETRAIN, outcome: Outcome | None = Outcome.SKIP, **rows: Any
) -> Attempt:
    return Attempt(month, action, outcome, **({"labelled_rows": 1, "features_lake_version": 1} | rows))


GROWN = {"labelled_rows": 11_500}
OLD = {"model_data_through": date(2015, 3, 31)}


@pytest.mark.parametrize(
    ("changes", "action", "said"),
    [
        ({}, Action.OK, "rows grew by 10.0%, the data are 6 months old, and the forecasts of the month are not biased"),
        (GROWN, Action.RETRAIN, "labelled rows grew by 15.0% (from 10,000 to 11,500)"),
        ({"labelled_rows": 11_499}, Action.OK, "rows grew by 15.0%"),
        (OLD, Action.RETRAIN, "the model's data end 9 months before this month's, on 2015-03-31"),
        ({"model_data_through": date(2015, 4, 1)}, Action.OK, "the data are 8 months old"),
        ({"bias": HIGH}, Action.RECALIBRATE, "the forecasts are too high on average: +0.020 (+0.010 to +0.030)"),
        ({"bias": tuple(bias(b.month, -b.high, -b.low) for b in HIGH)}, Action.RECALIBRATE, "too low on average"),
        ({"bias": HIGH[1:]}, Action.OK, "the bias of the month may be chance"),
        ({"bias": (LEVEL[0], HIGH[1])}, Action.OK, "may be chance"),
        ({"bias": (HIGH[0], LEVEL[1])}, Action.OK, "are not biased"),
        ({"bias": (bias("2015-11", -0.03, -0.01), HIGH[1])}, Action.OK, "may be chance"),
        ({"bias": (bias("2015-10", 0.01, 0.03), HIGH[1])}, Action.OK, "may be chance"),
        ({"bias": ()}, Action.OK, "no bias of live forecasts is known"),
        (GROWN | {"bias": HIGH}, Action.RETRAIN, "labelled rows grew"),
        ({"month": "2015-06", "bias": ()}, Action.OK, "version 3 has learned from data up to 2015-06-30"),
        (GROWN | {"month": "2015-03", "bias": ()}, Action.OK, "which is not before the end of this month"),
    ],
)
def test_each_cause_acts_and_its_absence_does_not(changes: dict[str, Any], action: Action, said: str) -> None:
    decision = decided(**changes)
    assert (decision.action, said in decision.reasons[0]) == (action, True), decision.reasons


BIASED = {"bias": HIGH}
VETO = Wish("ann", "the stations are being moved", date(2016, 1, 1))
OVER = replace(VETO, until=date(2015, 12, 31))
FAILED = Outcome.FAILED
LASTING = {"bias": HIGH, "attempts": (attempt("2015-10", Action.RECALIBRATE, None),)}


@pytest.mark.parametrize(
    ("cause", "hold", "free", "said"),
    [
        (GROWN, {"wish": VETO}, {"wish": OVER}, "ann asked to leave it until 2016-01-01"),
        (OLD, {"wish": VETO}, {}, "the stations are being moved"),
        (BIASED, {"wish": VETO}, {"wish": OVER}, "ann asked to leave it"),
        (GROWN, {"last_month": "2016-01"}, {"last_month": "2015-12"}, "2016-01 was decided already"),
        (BIASED, {"last_month": "2016-01"}, {"last_month": "2015-11"}, "2016-01 was decided already"),
        (GROWN, {"attempts": (attempt("2015-10"),)}, {"attempts": (attempt("2015-09"),)}, "training was of 2015-10"),
        (GROWN, {"attempts": (attempt("2015-12", outcome=None),)}, {}, "the last training was of 2015-12"),
        (GROWN, {"model_data_through": date(2015, 10, 1)}, {"model_data_through": date(2015, 9, 30)}, "3 months pass"),
        (GROWN, {"attempts": (attempt("2015-10"),)}, {"attempts": (attempt("2015-10", outcome=FAILED),)}, "the last"),
        (
            GROWN,
            {"attempts": tuple(attempt(f"2015-{m:02}", outcome=FAILED) for m in range(4, 10))},
            {"attempts": tuple(attempt(f"2015-{m:02}", outcome=FAILED) for m in range(5, 10))},
            "6 trainings in twelve months, and the budget is 6",
        ),
        (
            GROWN,
            {"attempts": (attempt("2015-11", outcome=FAILED, labelled_rows=11_500),)},
            {"attempts": (attempt("2015-11", outcome=FAILED, labelled_rows=11_499),)},
            "2015-11 was tried on the same 11,500 rows (FAILED)",
        ),
        (
            GROWN,
            {"attempts": (attempt("2015-08", features_lake_version=7),)},
            {"attempts": (attempt("2015-08", features_lake_version=6),)},
            "2015-08 was tried on the same 11,500 rows (SKIP)",
        ),
        (
            BIASED,
            {"attempts": (attempt("2015-11", Action.RECALIBRATE, None),)},
            {"attempts": (attempt("2015-11", outcome=Outcome.SKIP), attempt("2015-05", Action.RECALIBRATE, None))},
            "recalibration was decided for 2015-11, and is given 2 months",
        ),
        (
            BIASED,
            {"attempts": (attempt("2015-11", outcome=None),)},
            {"attempts": (attempt("2015-11", outcome=Outcome.SKIP), attempt("2015-09", outcome=None))},
            "the training that was decided for 2015-11 has no outcome yet",
        ),
        (LASTING, {"wish": VETO}, {}, "recalibration was decided for 2015-10 and the bias did not end"),
    ],
)  # fmt: skip
def test_each_hold_makes_the_platform_wait_and_its_absence_does_not(
    cause: dict[str, Any], hold: dict[str, Any], free: dict[str, Any], said: str
) -> None:
    held = decided(**(cause | hold))
    assert held.action is Action.WAIT, held.reasons
    assert any(said in reason for reason in held.reasons), held.reasons
    assert decided(**(cause | free)).action in (Action.RETRAIN, Action.RECALIBRATE)


def test_nothing_that_holds_back_turns_a_month_without_a_cause_into_waiting() -> None:
    assert decided(wish=VETO, attempts=(attempt("2015-12"),), last_month="2016-02").action is Action.OK


@pytest.mark.parametrize("month", ["2015-10", "2015-11", "2016-01", "2016-02"])
def test_rows_and_age_are_looked_at_after_a_quarter_and_only_waited_for_in_between(month: str) -> None:
    decision = decided(month=month, bias=(bias(month, -0.01, 0.01),), **GROWN)
    assert decision.action is Action.WAIT
    assert decision.reasons[-1].startswith(
        "rows and age are looked at next in 2016-0" + ("1" if month < "2016" else "4")
    )
    monthly = replace(RULES, look_months=tuple(range(1, 13)))
    assert decided(monthly, month=month, bias=(bias(month, -0.01, 0.01),), **GROWN).action is Action.RETRAIN


def test_a_bias_that_recalibration_did_not_end_retrains_in_any_month_and_one_that_it_had_no_time_for_does_not() -> None:
    def of(*attempts: Attempt) -> Action:
        months = (bias("2016-01", 0.01, 0.03), bias("2016-02", 0.02, 0.05))
        return decided(month="2016-02", bias=months, attempts=attempts).action

    assert of() is Action.RECALIBRATE
    assert of(attempt("2016-01", Action.RECALIBRATE, None)) is Action.WAIT
    assert of(attempt("2015-12", Action.RECALIBRATE, None)) is Action.RETRAIN
    assert (
        of(attempt("2015-12", Action.RECALIBRATE, None), attempt("2016-01", Action.RECALIBRATE, None)) is Action.RETRAIN
    )
    assert of(attempt("2015-08", Action.RECALIBRATE, None), attempt("2015-09")) is Action.RECALIBRATE, "trained since"
    assert of(attempt("2015-05", Action.RECALIBRATE, None)) is Action.RECALIBRATE, "of another model"


def test_a_bias_is_recalibrated_while_its_training_has_to_wait() -> None:
    decision = decided(bias=HIGH, attempts=(attempt("2015-10"),), **GROWN)
    assert decision.action is Action.RECALIBRATE


@pytest.mark.parametrize("name", MEASURED)
def test_a_missing_fact_is_unknown_and_named(name: str) -> None:
    decision = decided(**(GROWN | OLD | {"bias": HIGH} | {name: None}))
    assert (decision.action, decision.reasons) == (Action.UNKNOWN, (f"{MEASURED[name]} is missing",))


def test_a_person_who_asks_is_enough_by_himself() -> None:
    asked = Wish("ann", "new stations since May")
    decision = decide_retraining(Facts(month="2015-12", wish=asked), RULES)
    assert (decision.action, decision.reasons) == (Action.RETRAIN, ("ann asked for it: new stations since May",))
    assert decided(wish=asked, attempts=(attempt("2015-12"),)).action is Action.RETRAIN


def test_a_station_that_departs_is_named_and_never_a_cause() -> None:
    broken = DriftNotice("departs", ("Albury pressure_3pm_hpa by +3 (z +9.0) departs from its neighbours",))
    decision = decided(departures=broken)
    assert decision.action is Action.OK
    [notice] = decision.notices
    assert notice.startswith("Albury pressure_3pm_hpa by +3")
    assert "never retrains" in notice


@pytest.mark.parametrize("departures", [None, DriftNotice("unknown", ("only 3 comparisons",))])
def test_stations_that_could_not_be_compared_are_not_known_and_never_fine(departures: DriftNotice | None) -> None:
    [notice] = decided(departures=departures).notices
    assert notice.startswith("whether stations depart from their neighbours is not known")


@pytest.mark.parametrize(
    ("status", "notices"),
    [
        ("none", ()),
        ("drift", ("the month drifted: cloud_3pm: 9 times; look at its sensors: drift alone never retrains",)),
        ("unknown", ("whether the month drifted is not known: cloud_3pm: 9 times",)),
    ],
)
def test_drift_is_a_notice_and_never_a_cause(status: str, notices: tuple[str, ...]) -> None:
    decision = decided(drift=DriftNotice(status, ("cloud_3pm: 9 times",)))
    assert (decision.action, decision.notices) == (Action.OK, notices)


MONTHS = st.builds(lambda year, month: f"{year}-{month:02}", st.integers(2014, 2017), st.integers(1, 12))
BIASES = st.builds(lambda month, low, width: bias(month, low, low + width), MONTHS, st.floats(-1, 1), st.floats(0, 1))
ATTEMPTS = st.builds(
    Attempt, MONTHS, st.sampled_from([Action.RETRAIN, Action.RECALIBRATE]), st.none() | st.sampled_from(Outcome),
    st.none() | st.integers(1, 5), st.none() | st.integers(1, 5),
)  # fmt: skip
FACTS = st.builds(
    Facts,
    month=MONTHS,
    production_version=st.none() | st.just(3),
    model_rows=st.none() | st.integers(1, 5),
    model_data_through=st.none() | st.dates(date(2014, 1, 1), date(2017, 12, 31)),
    labelled_rows=st.none() | st.integers(1, 5),
    features_lake_version=st.none() | st.integers(1, 5),
    bias=st.none() | st.lists(BIASES, max_size=3).map(tuple),
    drift=st.none() | st.builds(DriftNotice, st.sampled_from(["none", "drift", "unknown"])),
    attempts=st.lists(ATTEMPTS, max_size=4).map(tuple),
    last_month=st.none() | MONTHS,
    wish=st.none() | st.builds(Wish, st.just("ann"), st.just("why"), st.dates(date(2014, 1, 1), date(2018, 1, 1))),
)


@given(FACTS)
def test_whatever_the_facts_a_missing_one_never_acts_and_is_never_fine(facts: Facts) -> None:
    decision = decide_retraining(facts, RULES)
    missing = [name for name in MEASURED if getattr(facts, name) is None]
    assert (decision.action is Action.UNKNOWN) == bool(missing)
    assert decision.reasons
    if decision.action is Action.RETRAIN:
        open_or_trained = [a for a in facts.attempts if a.action is Action.RETRAIN and a.outcome is not Outcome.FAILED]
        assert facts.month not in [each.month for each in open_or_trained], "never twice for a month"
        assert facts.labelled_rows not in [a.labelled_rows for a in facts.attempts if a.action is Action.RETRAIN]
    if facts.drift is not None:
        assert decide_retraining(replace(facts, drift=QUIET), RULES).action is decision.action, "drift changes nothing"


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(InvariantError, match="bias of 2015-12 is nan"):
        decided(bias=(bias("2015-12", float("nan"), 0.1),))
    with pytest.raises(InvariantError, match="made from 0 rows"):
        decided(model_rows=0)
    with pytest.raises(InvariantError, match="not calendar months"):
        Rules(look_months=(0, 4))


def test_a_lasting_bias_is_recalibrated_then_trained_for_and_then_waited_for() -> None:
    months = [f"2015-{month:02}" for month in range(7, 13)]
    attempts: tuple[Attempt, ...] = ()
    course = []
    for at, month in enumerate(months):
        so_far = tuple(bias(each, -0.14, -0.05) for each in months[: at + 1])[-2:]
        action = decided(month=month, bias=so_far, attempts=attempts, last_month=month).action
        course.append(action.value)
        if action in (Action.RETRAIN, Action.RECALIBRATE):
            attempts = (*attempts, attempt(month, action, None))
    assert course == ["OK", "RECALIBRATE", "WAIT", "RETRAIN", "WAIT", "WAIT"]
