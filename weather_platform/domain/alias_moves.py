"""Where the Production alias has to go: after the recorded decisions, or back. Pure; the registry moves it."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

from weather_platform.errors import PromotionConflictError, RollbackRefusedError

PRODUCTION: Final = "Production"
"""The alias of the version that serves."""
CANARY: Final = "canary: "
ROLLBACK: Final = "rollback"
FOUND_SO: Final = "found so: "
"""How the recorded reason of a move begins that no decision asked for."""


class Decided(Protocol):
    """What matters here of a recorded decision."""

    @property
    def id(self) -> int | None: ...
    @property
    def decision(self) -> str: ...
    @property
    def challenger_version(self) -> int | None: ...
    @property
    def champion_version(self) -> int | None: ...


class Moved(Protocol):
    """What matters here of a recorded move of Production; without `to_version` the alias was taken away."""

    @property
    def from_version(self) -> int | None: ...
    @property
    def to_version(self) -> int | None: ...
    @property
    def decision_id(self) -> int | None: ...


D = TypeVar("D", bound=Decided)
M = TypeVar("M", bound=Moved)


def serving(moves: Sequence[Moved]) -> int | None:
    """The version that serves by the recorded moves of Production, oldest first; None when there is none.

    For what is planned and shown without asking the registry, which knows.
    """
    return moves[-1].to_version if moves else None


def settled_through(moves: Iterable[Moved]) -> int:
    """The newest decision that the moves settle, carried out or overruled by a rollback; 0 when there is none."""
    return max((move.decision_id or 0 for move in moves), default=0)


def due_move(decisions: Sequence[D], *, settled: int, production: int | None) -> D | None:
    """The newest DEPLOY that is not settled yet, or None.

    `decisions` are a target's, oldest first; `settled` is what `settled_through` says of the recorded moves;
    `production` is the version the alias names now. The decision must rest on that version: it compared with it, or
    with the challenger of an earlier DEPLOY that did, and so on (a range of years decides each year against the
    champion that the years before leave). Otherwise PromotionConflictError: the champion changed meanwhile; until
    promotion was asked again and has compared with the version that serves. When the alias names the challenger
    already, a killed process moved it and the move is still to be recorded.

    A DEPLOY counts no more once its challenger was judged again and not deployed.
    """
    deploys = [
        each
        for at, each in enumerate(decisions)
        if each.decision == "DEPLOY" and (each.id or 0) > settled and not _judged_otherwise(each, decisions[at + 1 :])
    ]
    if not deploys:
        return None
    newest = deploys[-1]
    if newest.challenger_version == production:
        return newest
    champion = newest.champion_version
    for earlier in reversed(deploys[:-1]):
        if champion == production:
            break
        if earlier.challenger_version == champion:
            champion = earlier.champion_version
    if champion == production:
        return newest
    if any(later.champion_version == production for later in decisions[decisions.index(newest) + 1 :]):
        return None
    raise PromotionConflictError(
        f"Production is on {version_name(production)}, and the decision for version {newest.challenger_version} "
        f"rests on {version_name(champion)}; nothing moved, materialise promotion again"
    )


def _judged_otherwise(deploy: Decided, later: Iterable[Decided]) -> bool:
    """Whether the challenger was judged again, as the challenger of another version, and not deployed."""
    version = deploy.challenger_version
    return any(
        each.challenger_version == version != each.champion_version and each.decision != "DEPLOY" for each in later
    )


def version_before(moves: Sequence[Moved], production: int | None) -> int | None:
    """The version that served before `production`, by the recorded moves, oldest first; None when there was none.

    The last move may be missing from the record: of a process killed before its commit, or made by hand.
    """
    if not moves:
        return None
    last = moves[-1]
    # An alias that is where the last recorded move came from is a way back that was interrupted: it stays the way.
    return last.from_version if production in (last.to_version, last.from_version) else last.to_version


def version_below(moves: Sequence[Moved], production: int | None) -> int | None:
    """The version to fall back on when `production` may not serve: the one it was promoted over; None without one.

    Not `version_before`: a version that was left by going back was left for a reason, and nothing but a person goes
    there again.
    """
    stack, _ = _ways_back(moves)
    if stack and stack[-1] == production:
        stack.pop()
    return stack[-1] if stack else None


def taken_back(moves: Sequence[M]) -> dict[int, M]:
    """The versions that were left by going back, with the last move that left them: no promotion goes there again.

    A version that a person went to again is not among them.
    """
    return _ways_back(moves)[1]


def _ways_back(moves: Sequence[M]) -> tuple[list[int], dict[int, M]]:
    """The versions that were promoted one over the other and never left, and those that were left by going back."""
    stack: list[int] = []
    left: dict[int, M] = {}
    for move in moves:
        if move.to_version in stack:  # back: what lies above is left
            above = stack.index(move.to_version) + 1
            left |= dict.fromkeys(stack[above:], move)
            del stack[above:]
        elif move.to_version is not None:
            stack.append(move.to_version)
            left.pop(move.to_version, None)
        elif stack:
            left[stack.pop()] = move
    return stack, left


def unfinished_rollback(moves: Sequence[Moved], *, production: int | None, previous: int | None) -> bool:
    """Whether the aliases show a way back that was made and not recorded, because its process was killed.

    Moved back by hand, `Previous` would not name the version that was left.
    """
    if not moves or production is None:
        return False
    last = moves[-1]
    return production == last.from_version != last.to_version == previous


def moved_by_hand(
    decisions: Sequence[Decided], moves: Sequence[Moved], *, production: int | None, previous: int | None
) -> bool:
    """Whether the alias names another version than was recorded, and no interrupted move of the platform explains it.

    False for an alias that is gone: a registry that is empty or was restored from long ago has none either.
    """
    if production is None or production == serving(moves):
        return False
    if unfinished_rollback(moves, production=production, previous=previous):
        return False
    try:
        due = due_move(decisions, settled=settled_through(moves), production=production)
    except PromotionConflictError:
        return True
    return due is None or due.challenger_version != production


def rollback_destination(target: str, moves: Sequence[Moved], *, production: int | None, asked: int | None) -> int:
    """The version to go back to: the one asked for, or the one that served before.

    RollbackRefusedError for a version that never served, because only promotion lets a new one in, and for the version
    that serves. A move to it that was interrupted before it was recorded is not refused: it is to be completed.
    """
    served = sorted({move.to_version for move in moves if move.to_version is not None})
    destination = version_before(moves, production) if asked is None else asked
    if destination is None:
        raise RollbackRefusedError(
            f"{target}: no version served before {version_name(production)}; nothing moved, promote another one, "
            "or take Production away with --nowhere"
        )
    if destination not in served:
        said = ", ".join(map(str, served)) or "none"
        raise RollbackRefusedError(
            f"{target}: version {destination} never served (those that did: {said}); "
            "nothing moved, a version comes in by promotion"
        )
    if destination == production == moves[-1].to_version:
        raise RollbackRefusedError(f"{target}: Production is on version {destination} already; nothing moved")
    return destination


def version_name(version: int | None) -> str:
    """A version as messages call it."""
    return "no version" if version is None else f"version {version}"
