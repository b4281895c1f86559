"""Whether a challenger becomes the Production model: one pure function of recorded evidence.

What belongs here: the gates, the evidence they look at and the decision with its reasons. What does not: how
the evidence is measured (`skill`, `training`), or moving the alias (`production` asset).

In this order, the first that applies decides; all that apply are in the reasons:

1. REJECT: the challenger is below the floor on the standing exam, or clearly worse there than the champion
2. SKIP: it was taken back before, it is the champion's own file, it was tuned up to an earlier day than the
   champion or to one that is not yet three months of data later, or (with a champion) the fresh exam is empty or too
   small
3. DEPLOY: there is no champion, or one that the code of today cannot ask, and both baselines are beaten; or it is not
   clearly worse than the champion in the proper score of the fresh exam
4. SKIP: otherwise

A challenger need not prove that it is better. More rows make a model better on average, and 90 days seldom show it: an
exam of a quarter is uncertain by 0.0012 of Brier, and a year of new data brings 0.0015. So the exam keeps out what is
clearly worse, and the cooldown keeps the same few days from being asked again and again.

A RECALIBRATION is the champion's own model file with another calibration. It is meant to say something else of the
climate of before, which the standing exam is of, and the order of its forecasts is the champion's: so that exam is
recorded and decides nothing of it, and the fresh exam alone does. No cooldown holds it back, as its model file has
learned from no other rows.

It fails closed: a missing or non-finite number raises, and what raises promotes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from weather_platform.domain.skill import Comparison
from weather_platform.errors import InvariantError

if TYPE_CHECKING:  # it brings SciPy, for a word in a signature
    from weather_platform.domain.targets import ForecastTarget

CONFIDENCE = 0.98
"""Share of paired bootstraps in which the challenger must be behind on the standing exam to be clearly worse there."""

CLEARLY_WORSE_BELOW = 0.05
"""Share of paired bootstraps below which a challenger that has the better score is clearly worse on the fresh exam.

On the real table this keeps .97 to .98 of what promoting every quarterly challenger gains; a lead on average keeps
.93. What a wrong promotion costs is in docs/measurements.md (benchmarks/decision_quality.py).
"""

COOLDOWN_DAYS = 89
"""Days of data between the tuning of two champions: three months, of which the shortest (February to April) are 89
days. Decisions to retrain wait three months as well."""

FRESH_EXAM_MIN_DAYS = 56
"""On a month of days the bootstrap is too sure of itself (it says 0.0069 where R² varies by 0.0085); on two months it
is not. January and February are 57 days without the embargo and the day that has no label yet: a model trained two
months after a new calibration must not fail for want of days."""

FRESH_EXAM_MIN_ROWS = 300
"""Below this F1 has a standard error above 0.05 at one rain day in five, ten times the margin."""

STANDING_EXAM_MIN_ROWS = 100
"""Below this the floor cannot be judged at all, so there is no decision. Five per cent of two years of one
station is less; of 49 stations it is 1,800."""


class Verdict(StrEnum):
    """What is to be done with the challenger."""

    DEPLOY = "DEPLOY"
    SKIP = "SKIP"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True)
class Gates:
    """The metrics and numbers of one target that decide."""

    metric: str
    floor: float
    margin: float
    score: str
    confidence: float = CONFIDENCE
    clearly_worse_below: float = CLEARLY_WORSE_BELOW
    cooldown_days: int = COOLDOWN_DAYS

    @classmethod
    def of(cls, target: "ForecastTarget") -> "Gates":
        """The gates a target declares."""
        return cls(target.primary_metric, target.floor, target.margin, target.proper_score)


@dataclass(frozen=True, slots=True)
class Contender:
    """A model as the evidence knows it: its version, its digest, the last day that had a say in it.

    ``trained_through`` is the last day that had a say in its model file, where its calibration was fitted again later;
    None where that is the same day.
    """

    version: str
    digest: str
    tuned_through: date
    trained_through: date | None = None

    @property
    def learned_through(self) -> date:
        """The last day that had a say in the model file."""
        return self.trained_through or self.tuned_through


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a decision looks at, and so everything that is recorded with it.

    ``test`` and ``baselines`` are the primary metric on the challenger's own test rows. ``standing`` (by the primary
    metric) and ``fresh`` (by the proper score) compare with the champion. They are None without one, and with one that
    the code of today cannot ask (``champion_unfit`` says why: other features, another format); ``fresh`` is also None
    when no row is fresh to both. ``taken_back`` says when and why the challenger itself was taken back, None when it
    never was. ``recalibration`` says that the challenger is the champion with another calibration.
    """

    challenger: Contender
    champion: Contender | None
    test: float
    baselines: Mapping[str, float]
    standing_exam: float
    standing_exam_rows: int
    standing: Comparison | None = None
    fresh: Comparison | None = None
    champion_unfit: str | None = None
    taken_back: str | None = None
    recalibration: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the audit record; days as YYYY-MM-DD."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict with its reasons, in sentences, and what it rests on."""

    verdict: Verdict
    reasons: tuple[str, ...]
    evidence: Evidence
    gates: Gates

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the audit record."""
        return {
            "decision": self.verdict.value,
            "reasons": list(self.reasons),
            "evidence": self.evidence.to_dict(),
            "gates": asdict(self.gates),
        }


def decide(evidence: Evidence, gates: Gates) -> Decision:
    """The decision. Raises InvariantError when the evidence is incomplete, never decides on less."""
    _verify(evidence, gates)
    for verdict, reasons in (
        (Verdict.REJECT, _reject(evidence, gates)),
        (Verdict.SKIP, _not_comparable(evidence, gates)),
        (Verdict.DEPLOY, _deploy(evidence, gates)),
    ):
        if reasons:
            return Decision(verdict, tuple(reasons), evidence, gates)
    return Decision(Verdict.SKIP, tuple(_not_enough(evidence, gates)), evidence, gates)


def _reject(evidence: Evidence, gates: Gates) -> list[str]:
    if evidence.recalibration:
        return []
    reasons = []
    if evidence.standing_exam < gates.floor:
        reasons.append(
            f"{gates.metric} {evidence.standing_exam:.4f} on the standing exam is below the floor {gates.floor:.2f}"
        )
    exam = evidence.standing
    if exam is not None and clearly_worse(exam, gates):
        reasons.append(
            f"clearly worse than the champion on the standing exam: {gates.metric} "
            f"{exam.challenger:.4f} against {exam.champion:.4f}, "
            f"behind in {1 - exam.share_better:.1%} of bootstraps"
        )
    return reasons


def clearly_worse(exam: Comparison, gates: Gates) -> bool:
    """Behind by more than the margin, and behind at all in at least ``confidence`` of the bootstraps."""
    return exam.difference < -gates.margin and 1 - exam.share_better >= gates.confidence


def _not_comparable(evidence: Evidence, gates: Gates) -> list[str]:
    champion, challenger = evidence.champion, evidence.challenger
    reasons = []
    if evidence.taken_back is not None:
        reasons.append(
            f"version {challenger.version} was taken back {evidence.taken_back}; train another one, or go back to it "
            "with `weather rollback --to`"
        )
    if champion is None:
        return reasons
    if challenger.digest == champion.digest:
        reasons.append(f"the challenger is version {champion.version}, the champion itself (same digest)")
    if challenger.learned_through < champion.learned_through:
        reasons.append(
            f"the challenger was tuned up to {challenger.learned_through}, "
            f"the champion up to {champion.learned_through}; an older model never replaces a newer one"
        )
    fresh = evidence.fresh
    if evidence.champion_unfit is not None:
        return reasons
    age = (challenger.learned_through - champion.learned_through).days
    if 0 <= age < gates.cooldown_days and not evidence.recalibration:
        reasons.append(
            f"the challenger was tuned on {age} days of data more than the champion, "
            f"and {gates.cooldown_days} days pass between two"
        )
    if fresh is None:
        reasons.append("the fresh exam is empty: no test row is new to both models")
    elif fresh.days < FRESH_EXAM_MIN_DAYS or fresh.rows < FRESH_EXAM_MIN_ROWS:
        reasons.append(
            f"the fresh exam is too small: {fresh.days} days and {fresh.rows} rows, "
            f"and {FRESH_EXAM_MIN_DAYS} days and {FRESH_EXAM_MIN_ROWS} rows are needed"
        )
    return reasons


def _deploy(evidence: Evidence, gates: Gates) -> list[str]:
    champion, fresh = evidence.champion, evidence.fresh
    if champion is None or evidence.champion_unfit is not None:
        if _unbeaten(evidence):
            return []
        beaten = ", ".join(f"{name} {value:.4f}" for name, value in sorted(evidence.baselines.items()))
        none = "there is no champion" if champion is None else f"the champion cannot serve ({evidence.champion_unfit})"
        return [
            f"{none}, {gates.metric} {evidence.standing_exam:.4f} on the standing exam meets "
            f"the floor {gates.floor:.2f} and {evidence.test:.4f} on test beats {beaten}"
        ]
    if fresh is None or fresh.share_better < gates.clearly_worse_below:
        return []
    return [f"not clearly worse than the champion on the fresh exam: {_against(fresh)}"]


def _not_enough(evidence: Evidence, gates: Gates) -> list[str]:
    champion, fresh = evidence.champion, evidence.fresh
    if champion is None or fresh is None:  # or cannot serve
        return [
            f"{gates.metric} {evidence.test:.4f} on test does not beat the baseline {name} ({value:.4f})"
            for name, value in _unbeaten(evidence)
        ]
    return [
        f"clearly worse than the champion on the fresh exam: {_against(fresh)}, "
        f"and {gates.clearly_worse_below:.0%} are needed"
    ]


def _against(exam: Comparison) -> str:
    return (
        f"{exam.metric} {exam.challenger:.4f} against {exam.champion:.4f} (lower is better), "
        f"lower in {exam.share_better:.1%} of bootstraps"
    )


def _unbeaten(evidence: Evidence) -> list[tuple[str, float]]:
    return sorted((name, value) for name, value in evidence.baselines.items() if evidence.test <= value)


def _verify(evidence: Evidence, gates: Gates) -> None:
    def fail(what: str) -> InvariantError:
        return InvariantError(
            f"no decision on version {evidence.challenger.version}: {what}; the alias stays where it is"
        )

    numbers: dict[str, float] = {
        "the test metric": evidence.test,
        "the standing exam metric": evidence.standing_exam,
        **{f"the baseline {name}": value for name, value in evidence.baselines.items()},
    }
    for what, metric, exam in (
        ("standing", gates.metric, evidence.standing),
        ("fresh", gates.score, evidence.fresh),
    ):
        if exam is None:
            continue
        if exam.metric != metric:
            raise fail(f"the {what} exam compares {exam.metric}, and the gates ask for {metric}")
        for name in ("champion", "challenger", "difference", "share_better"):
            numbers[f"{name} on the {what} exam"] = getattr(exam, name)
        if math.isfinite(exam.share_better) and not 0 <= exam.share_better <= 1:
            raise fail(f"share_better on the {what} exam is {exam.share_better}, not a share")
    for what, value in numbers.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise fail(f"{what} is {value}")
    if not evidence.baselines and not evidence.recalibration:
        raise fail("no baseline was measured")
    if evidence.standing_exam_rows < STANDING_EXAM_MIN_ROWS:
        raise fail(f"the standing exam has {evidence.standing_exam_rows} rows, and {STANDING_EXAM_MIN_ROWS} are needed")
    if not evidence.challenger.digest or (evidence.champion and not evidence.champion.digest):
        raise fail("a model has no digest")
    compared = evidence.standing is not None or evidence.fresh is not None
    if evidence.champion is None and (compared or evidence.champion_unfit is not None):
        raise fail("there is a comparison with a champion, and no champion")
    if evidence.champion is not None and evidence.champion_unfit is None and evidence.standing is None:
        raise fail("champion and challenger were not compared on the standing exam")
    if evidence.recalibration and (evidence.champion is None or evidence.champion_unfit is not None):
        raise fail("it is a champion with another calibration, and there is no champion to ask")
    if evidence.champion_unfit is not None and compared:
        raise fail("there is a comparison with a champion that cannot be asked")


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value
