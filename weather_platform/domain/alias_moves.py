"""Which recorded decision the Production alias still has to follow. Pure; the move itself is the registry's."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from weather_platform.errors import PromotionConflictError


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


D = TypeVar("D", bound=Decided)


def due_move(decisions: Sequence[D], *, carried_out: Collection[int | None], production: int | None) -> D | None:
    """The newest DEPLOY that is not carried out yet, or None.

    `decisions` are a target's, oldest first; `production` is the version the alias names now. The decision must rest on
    that version: it compared with it, or with the challenger of an earlier DEPLOY that did, and so on (a range of years
    decides each year against the champion that the years before leave). Otherwise PromotionConflictError: the champion
    changed meanwhile.
    """
    deploys = [decision for decision in decisions if decision.decision == "DEPLOY"]
    if not deploys:
        return None
    newest = deploys[-1]
    if newest.id in carried_out or newest.challenger_version == production:
        return None
    champion = newest.champion_version
    for earlier in reversed(deploys[:-1]):
        if champion == production:
            break
        if earlier.challenger_version == champion and earlier.id not in carried_out:
            champion = earlier.champion_version
    if champion != production:
        raise PromotionConflictError(
            f"Production is on {_name(production)}, and the decision for version {newest.challenger_version} rests on "
            f"{_name(champion)}; nothing moved, materialise promotion again"
        )
    return newest


def _name(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
