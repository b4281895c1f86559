"""Whether a target is to be trained again: one pure function of the facts of a month.

What belongs here: the rule, the facts that it looks at and the decision with its reasons. What does not: gathering the
facts (`{target}/retraining`), training, and whether what was trained may serve (`promotion`).

Every fact is dated by the data (months of observations), never by the clock, so that the same month of the same data
gives the same decision whenever it is asked. In this order:

1. RETRAIN: a person asked for it
2. UNKNOWN: a fact is missing; the reasons name it
3. RETRAIN or RECALIBRATE: there is a cause, and nothing holds it back
4. WAIT: there is a cause, and something holds it back (a veto, the cooldown, the budget, the same rows again)
5. OK: there is no cause

Drift is never a cause. A model needs a year of rows to learn around a broken sensor, while the sensor can be repaired
at once; and input alarms rose in a third of the months in which nothing had changed. So drift is a notice to people.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from weather_platform.errors import InvariantError

BIAS_MONTHS = 2
"""Months in a row in which the matured bias must differ from 0, with the same sign, before it is a cause. In 75 months
without a shift a single month gave three false alarms, two in a row none; a climate with 30 % more wet days showed in
the first month."""

BIAS_LEAST_DAYS = 15
"""Days with matured forecasts below which a month has no bias: half a month holds a handful of spells of weather."""

RECALIBRATION_MONTHS = 2
"""Months that a recalibration is given. Two numbers fitted on 60 to 90 days end a bias at once where they can (they won
back half of the damage of the wetter climate after one month), so a bias that is still there needs a new model."""


class Action(StrEnum):
    """What is to be done with a target."""

    RETRAIN = "RETRAIN"
    RECALIBRATE = "RECALIBRATE"
    WAIT = "WAIT"
    OK = "OK"
    UNKNOWN = "UNKNOWN"


class Outcome(StrEnum):
    """What came of a decision to retrain: the promotion decision on what was trained, or that nothing was."""

    DEPLOY = "DEPLOY"
    SKIP = "SKIP"
    REJECT = "REJECT"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Rules:
    """When there is a cause, and what holds it back.

    Measured on the real table, as a share of what retraining every quarter gains over never: rows + 10 % .97 to .99
    with 10 or 11 trainings of 26, + 15 % .96, + 20 % .93 with 6; every 12 months .90 to .95 with 6 or 7; every 6 months
    .97 with 12; with a cooldown of 3 to 6 months nothing is lost that counts. `row_growth` is a share of the rows that
    the model was made from; `look_months` are the calendar months in which rows and age are looked at, each about the
    month that has just ended; `yearly_budget` is of twelve months.
    """

    row_growth: float = 0.15
    age_months: int = 9
    look_months: tuple[int, ...] = (1, 4, 7, 10)
    cooldown_months: int = 3
    yearly_budget: int = 6

    def __post_init__(self) -> None:
        if not self.look_months or not set(self.look_months) <= set(range(1, 13)):
            raise InvariantError(f"{self.look_months} are not calendar months; give some of 1 to 12")


@dataclass(frozen=True, slots=True)
class BiasMonth:
    """The matured bias of the live forecasts of one month with its interval, in the unit of the target."""

    month: str
    bias: float
    low: float
    high: float
    days: int
    rows: int

    @property
    def sign(self) -> int:
        """1 or -1 when the interval is on one side of 0, else 0."""
        return (self.low > 0) - (self.high < 0)


@dataclass(frozen=True, slots=True)
class DriftNotice:
    """What the drift report of the month found, of the columns or of single stations. Never a cause."""

    status: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier decision RETRAIN or RECALIBRATE; `outcome` is None while nothing came of it yet.

    The rows and the version of the features table are None where the decision did not need them (a person asked).
    """

    month: str
    action: Action
    outcome: Outcome | None = None
    labelled_rows: int | None = None
    features_lake_version: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person said last: train (`until` is None), or do not train until this day."""

    who: str
    why: str
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a decision looks at, and so everything that is recorded with it. None: missing.

    `labelled_rows` are those outside of the standing exam up to the end of the month, `model_rows` the train,
    validation and test rows of the Production model, `model_data_through` the last day of them. `bias` are the live
    months of the Production model up to this one, ascending; it is empty where the model has learned from days of this
    month. `attempts` are earlier decisions, `last_month` the newest month decided before. `wish` is None when no person
    asked for anything.
    """

    month: str
    production_version: int | None = None
    model_rows: int | None = None
    model_data_through: date | None = None
    labelled_rows: int | None = None
    features_lake_version: int | None = None
    bias: tuple[BiasMonth, ...] | None = None
    drift: DriftNotice | None = None
    departures: DriftNotice | None = None
    attempts: tuple[Attempt, ...] = ()
    last_month: str | None = None
    wish: Wish | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values as JSON knows them; days as YYYY-MM-DD."""
        return {name: _plain(value) for name, value in asdict(self).items()}


MEASURED: Mapping[str, str] = {
    "production_version": "the Production model",
    "model_rows": "the number of rows that the Production model was made from",
    "model_data_through": "the last day of the Production model's data",
    "labelled_rows": "the number of labelled rows up to the month",
    "features_lake_version": "the version of the features table",
    "bias": "the matured bias of the month",
    "drift": "the drift report of the month",
}
"""The facts that a decision cannot do without, as people call them."""


@dataclass(frozen=True, slots=True)
class RetrainingDecision:
    """What is to be done, why (the causes first, then what holds them back), and what people should look at."""

    action: Action
    reasons: tuple[str, ...]
    notices: tuple[str, ...]
    facts: Facts


def decide_retraining(facts: Facts, rules: Rules) -> RetrainingDecision:
    """The decision on a month. InvariantError when a number is not finite."""
    _verify(facts)
    notices = tuple(_notices(facts))
    missing = tuple(f"{text} is missing" for name, text in MEASURED.items() if getattr(facts, name) is None)
    if facts.wish is not None and facts.wish.until is None:
        asked = f"{facts.wish.who} asked for it: {facts.wish.why}"
        return RetrainingDecision(Action.RETRAIN, (asked,), notices, facts)
    if missing:
        return RetrainingDecision(Action.UNKNOWN, missing, notices, facts)
    if _number(facts.month) <= _number(_data_month(facts)):
        seen = f"version {facts.production_version} has learned from data up to {facts.model_data_through}"
        return RetrainingDecision(Action.OK, (f"{seen}, which is not before the end of this month",), notices, facts)
    causes = {
        Action.RETRAIN: [*_growth_and_age(facts, rules), *_lasting_bias(facts)],
        Action.RECALIBRATE: _bias(facts),
    }
    held: list[str] = []
    for action, reasons in causes.items():
        if reasons:
            holds = _holds(action, facts, rules)
            if not holds:
                return RetrainingDecision(action, tuple(reasons), notices, facts)
            held += [*reasons, *holds]
    if held:
        return RetrainingDecision(Action.WAIT, tuple(dict.fromkeys(held)), notices, facts)
    due, waiting = _due(facts, rules), _looked_at_later(facts, rules)
    if due and waiting:
        return RetrainingDecision(Action.WAIT, (*due, waiting), notices, facts)
    return RetrainingDecision(Action.OK, (_nothing_due(facts),), notices, facts)


def _growth_and_age(facts: Facts, rules: Rules) -> list[str]:
    return [] if _looked_at_later(facts, rules) else _due(facts, rules)


def _due(facts: Facts, rules: Rules) -> list[str]:
    reasons = []
    growth, age = _growth(facts), _age(facts)
    if growth >= rules.row_growth:
        reasons.append(
            f"labelled rows grew by {growth:.1%} (from {facts.model_rows:,} to {facts.labelled_rows:,}), "
            f"and {rules.row_growth:.0%} ask for training"
        )
    if age >= rules.age_months:
        reasons.append(
            f"the model's data end {age} months before this month's, on {facts.model_data_through}, "
            f"and {rules.age_months} months ask for training"
        )
    return reasons


def _looked_at_later(facts: Facts, rules: Rules) -> str | None:
    """When rows and age are looked at next; None when that is this month's decision."""
    deciding = _number(facts.month) + 1
    later = next(month for month in range(deciding, deciding + 12) if month % 12 + 1 in rules.look_months)
    return None if later == deciding else f"rows and age are looked at next in {_key(later)}"


def _nothing_due(facts: Facts) -> str:
    biased = "the bias of the month may be chance" if facts.bias else "no bias of live forecasts is known"
    if facts.bias and not facts.bias[-1].sign:
        biased = "the forecasts of the month are not biased"
    return f"rows grew by {_growth(facts):.1%}, the data are {_age(facts)} months old, and {biased}"


def _bias(facts: Facts) -> list[str]:
    """The cause for new calibration: the bias of this month and of those right before it, all on one side of 0."""
    running = _running(facts)
    if len(running) < BIAS_MONTHS:
        return []
    figures = ", ".join(f"{each.bias:+.3f} ({each.low:+.3f} to {each.high:+.3f}) in {each.month}" for each in running)
    return [f"the forecasts are {'too high' if running[-1].sign > 0 else 'too low'} on average: {figures}"]


def _lasting_bias(facts: Facts) -> list[str]:
    """The cause for a new model: a bias that is still there months after new calibration was decided."""
    began = _recalibration_since_training(facts)
    if began is None or not _bias(facts) or _number(facts.month) - _number(began) < RECALIBRATION_MONTHS:
        return []
    return [*_bias(facts), f"recalibration was decided for {began} and the bias did not end"]


def _running(facts: Facts) -> list[BiasMonth]:
    """The newest months without a gap whose bias has the sign of this month's."""
    found: list[BiasMonth] = []
    for each in reversed(facts.bias or ()):
        if not each.sign or each.sign != (found[0] if found else each).sign:
            break
        if _number(each.month) != _number(facts.month) - len(found):
            break
        found.append(each)
    return found[::-1]


def _holds(action: Action, facts: Facts, rules: Rules) -> list[str]:
    """What stands against acting on a cause."""
    month, holds = _number(facts.month), []
    if facts.wish is not None and facts.wish.until is not None and _first_day(month + 1) <= facts.wish.until:
        holds.append(f"{facts.wish.who} asked to leave it until {facts.wish.until}: {facts.wish.why}")
    if facts.last_month is not None and _number(facts.last_month) > month:
        holds.append(f"{facts.last_month} was decided already, and an earlier month starts nothing")
    if action is Action.RECALIBRATE:
        began = _recalibration_since_training(facts)
        if began is not None and month - _number(began) < RECALIBRATION_MONTHS:
            holds.append(f"recalibration was decided for {began}, and is given {RECALIBRATION_MONTHS} months")
        recent = [each for each in _trained(facts) if 0 <= month - _number(each.month) < rules.cooldown_months]
        if opened := [each for each in recent if each.outcome is None]:
            holds.append(f"the training that was decided for {opened[-1].month} has no outcome yet")
        return holds
    last = _key(max(_number(_data_month(facts)), *(_number(each.month) for each in _trained(facts)), 0))
    if month - _number(last) < rules.cooldown_months:
        holds.append(f"the last training was of {last}, and {rules.cooldown_months} months pass between two")
    tries = [each for each in facts.attempts if each.action is Action.RETRAIN]
    this_year = [each for each in tries if 0 <= month - _number(each.month) < 12]
    if len(this_year) >= rules.yearly_budget:
        holds.append(f"{len(this_year)} trainings in twelve months, and the budget is {rules.yearly_budget}")
    if same := [each for each in tries if _same_rows(each, facts)]:
        holds.append(f"{same[-1].month} was tried on the same {facts.labelled_rows:,} rows ({_ended(same[-1])})")
    return holds


def _recalibration_since_training(facts: Facts) -> str | None:
    """The first month for which recalibration was decided since the last training; None when it was not."""
    trained = max([_number(_data_month(facts)), *(_number(each.month) for each in _trained(facts))])
    months = [each.month for each in facts.attempts if each.action is Action.RECALIBRATE]
    return min((month for month in months if trained < _number(month) <= _number(facts.month)), default=None)


def _trained(facts: Facts) -> list[Attempt]:
    """The attempts that cool down: a failed run trained nothing. One without an outcome may be running."""
    return [each for each in facts.attempts if each.action is Action.RETRAIN and each.outcome is not Outcome.FAILED]


def _same_rows(attempt: Attempt, facts: Facts) -> bool:
    return facts.labelled_rows == attempt.labelled_rows or facts.features_lake_version == attempt.features_lake_version


def _ended(attempt: Attempt) -> str:
    return "no outcome yet" if attempt.outcome is None else attempt.outcome.value


def _notices(facts: Facts) -> list[str]:
    return [*_of_drift(facts.drift), *_of_departures(facts.departures)]


def _of_departures(departures: DriftNotice | None) -> list[str]:
    """What is said of stations and their neighbours; a fact that is missing is said to be unknown, never fine."""
    if departures is None:
        return ["whether stations depart from their neighbours is not known: the drift report did not look"]
    if departures.status == "none":
        return []
    said = "; ".join(departures.reasons)
    if departures.status == "unknown":
        return [f"whether stations depart from their neighbours is not known: {said}"]
    return [f"{said}; look at these sensors (`weather stations mask` leaves one out); this alone never retrains"]


def _of_drift(drift: DriftNotice | None) -> list[str]:
    if drift is None or drift.status == "none":
        return []
    said = {"drift": "the month drifted", "unknown": "whether the month drifted is not known"}[drift.status]
    advice = "; look at its sensors: drift alone never retrains" if drift.status == "drift" else ""
    return [f"{said}: {', '.join(drift.reasons)}{advice}"]


def _growth(facts: Facts) -> float:
    """By which share the labelled rows outnumber those of the model. Only asked when both are known."""
    known = facts.model_rows or 1
    return ((facts.labelled_rows or 0) - known) / known


def _age(facts: Facts) -> int:
    """Months from the model's last day of data to this month."""
    return _number(facts.month) - _number(_data_month(facts))


def _data_month(facts: Facts) -> str:
    return str(facts.model_data_through)[:7]


def _verify(facts: Facts) -> None:
    for each in facts.bias or ():
        if not all(map(math.isfinite, (each.bias, each.low, each.high))):
            raise InvariantError(
                f"the bias of {each.month} is {each.bias} ({each.low} to {each.high}); measure it again"
            )
    if facts.model_rows is not None and facts.model_rows < 1:
        raise InvariantError(f"the Production model was made from {facts.model_rows} rows; look at its run")


def _number(month: str) -> int:
    """Months since the year 0: those that follow each other have numbers that do."""
    return int(month[:4]) * 12 + int(month[5:7]) - 1


def _key(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def _first_day(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
