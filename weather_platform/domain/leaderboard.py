"""The leaderboard of a test year: its candidates in order of validation, and the baselines beside them.

What belongs here: the order, and that all figures are of the same rows. What does not: measuring (`training`), storing
or drawing.

Candidates are ranked by the target's primary metric on validation, never on test: whoever chooses by test has no test
left to report. Baselines have no rank, for they are never challengers. Of equally good candidates the first in the
registry of algorithms wins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from weather_platform.domain.algorithms import BASELINES
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import InvariantError

PARTS = ("train", "validation", "test")


class Entrant(Protocol):
    """A trained candidate as the leaderboard sees it; `metric` raises for one that was never measured."""

    @property
    def algorithm(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def digest(self) -> str: ...
    def metric(self, name: str) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line. A baseline has no rank, no validation and no costs; its interval is None if it was not measured."""

    name: str
    rank: int | None
    metric: str
    validation: float | None
    test: float
    test_low: float | None
    test_high: float | None
    test_rows: int
    train_seconds: float | None = None
    predict_rows_per_second: float | None = None
    peak_memory_mb: float | None = None
    run_id: str | None = None
    digest: str | None = None


def leaderboard(target: ForecastTarget, year: str, entrants: Sequence[Entrant]) -> tuple[Entry, ...]:
    """Candidates by rank, then the baselines by name. Raises when a figure is missing: there is no partial board."""
    where = f"the leaderboard of {target.name} {year}"
    if not entrants:
        raise InvariantError(f"{where} has no candidate; materialise the models of that year first")
    baselines = sorted(name for name, baseline in BASELINES.items() if target.task in baseline.tasks)
    _verify_same_rows(where, target, entrants, baselines)
    ranked = sorted(entrants, key=lambda each: -_finite(where, each, f"validation_{target.primary_metric}"))
    lines = [_candidate(where, target, rank, each) for rank, each in enumerate(ranked, start=1)]
    return (*lines, *(_baseline(where, target, name, ranked[0]) for name in baselines))


def unranked(entries: Sequence[Entry]) -> str | None:
    """What breaks the order of a board: ranks that are not 1, 2, 3..., or that validation does not give."""
    candidates = [entry for entry in entries if entry.rank is not None]
    if not candidates:
        return "it has no candidate"
    if [entry.rank for entry in candidates] != list(range(1, len(candidates) + 1)):
        return f"its ranks are {', '.join(str(entry.rank) for entry in candidates)}"
    for better, worse in pairwise(candidates):
        if better.validation is None or worse.validation is None or better.validation < worse.validation:
            return f"{better.name} stands before {worse.name}, and validation does not say so"
    return None


def unbeaten_by_the_challenger(entries: Sequence[Entry]) -> list[str]:
    """Baselines that are as good on test as the candidate of rank 1."""
    challenger = next(entry for entry in entries if entry.rank == 1)
    return [
        f"{entry.name} {entry.test:.4f} against {challenger.name} {challenger.test:.4f}"
        for entry in entries
        if entry.rank is None and entry.test >= challenger.test
    ]


def _candidate(where: str, target: ForecastTarget, rank: int, entrant: Entrant) -> Entry:
    def figure(name: str) -> float:
        return _finite(where, entrant, name)

    metric = target.primary_metric
    return Entry(
        name=entrant.algorithm,
        rank=rank,
        metric=metric,
        validation=figure(f"validation_{metric}"),
        test=figure(f"test_{metric}"),
        test_low=figure(f"test_{metric}_low"),
        test_high=figure(f"test_{metric}_high"),
        test_rows=int(figure("rows_test")),
        train_seconds=figure("train_seconds"),
        predict_rows_per_second=figure("predict_rows_per_second"),
        peak_memory_mb=figure("train_peak_memory_mb"),
        run_id=entrant.run_id,
        digest=entrant.digest,
    )


def _baseline(where: str, target: ForecastTarget, name: str, witness: Entrant) -> Entry:
    """A baseline as one of the candidates measured it; all measured the same."""
    metric = target.primary_metric
    return Entry(
        name=name,
        rank=None,
        metric=metric,
        validation=None,
        test=_finite(where, witness, f"{name}_{metric}"),
        test_low=_finite(where, witness, f"{name}_{metric}_low"),
        test_high=_finite(where, witness, f"{name}_{metric}_high"),
        test_rows=int(_finite(where, witness, "rows_test")),
    )


def _verify_same_rows(where: str, target: ForecastTarget, entrants: Sequence[Entrant], baselines: list[str]) -> None:
    """Equal counts, and baselines that give the same bits: those depend on the rows alone."""
    facts = [*(f"rows_{part}" for part in PARTS), *(f"{name}_{target.primary_metric}" for name in baselines)]
    first = entrants[0]
    for other in entrants[1:]:
        for fact in facts:
            own, theirs = first.metric(fact), other.metric(fact)
            if own != theirs:
                raise InvariantError(
                    f"{where}: {first.algorithm} and {other.algorithm} do not rest on the same rows "
                    f"({fact} {own:g} and {theirs:g}); train them all again"
                )


def _finite(where: str, entrant: Entrant, name: str) -> float:
    value = entrant.metric(name)
    if not math.isfinite(value):
        raise InvariantError(f"{where}: {name} of {entrant.algorithm} is {value}; train it again")
    return value
