"""Going back: the alias of a target returns to a version that served before, by request or because of the canary.

What belongs here: what a version must show before it may serve, and the way back with its audit. What does not: which
version that is (``domain.alias_moves``), the compare-and-swap itself (``registry``), who asks (the job `rollback` and
`weather rollback`, which runs it; the asset `production`).
"""

from dataclasses import replace

from weather_platform.database import Database
from weather_platform.domain.alias_moves import (
    CANARY,
    moved_by_hand,
    rollback_destination,
    serving,
    version_below,
    version_name,
)
from weather_platform.domain.canary import CanaryResult, require_reproduction
from weather_platform.errors import (
    CanaryError,
    PromotionConflictError,
    RegistryUnreachableError,
    RollbackRefusedError,
    WeatherError,
)
from weather_platform.resources.registry import PREVIOUS, PRODUCTION, AliasMove, Audit, ModelRegistry, RegisteredModel


def require_servable(registry: ModelRegistry, model: RegisteredModel) -> CanaryResult:
    """Raise unless the files are the registered ones, take the features of today and give the predictions on record."""
    predictor = registry.ready(model)
    golden = registry.golden(model, predictor.contract.feature_names)
    return require_reproduction(predictor, golden, model.name)


def keep_or_back_out(registry: ModelRegistry, database: Database, model: RegisteredModel, audit: Audit) -> CanaryResult:
    """The canary of the model that serves. When it fails, Production goes back by itself, and CanaryError is raised.

    It goes to the version below, or nowhere when there is none or that one may not serve either: a target
    that forecasts nothing is noticed, one that forecasts something else than was tested is not. What cannot be tried,
    as in an outage, raises and moves nothing; calling it again tries again.
    """
    try:
        return require_servable(registry, model)
    except CanaryError as failure:
        before = version_below(database.alias_changes(model.target, PRODUCTION), model.version)
        overruling = _overruling(database, model.target, replace(audit, reason=f"{CANARY}{failure}"))
        where = _back_out(registry, model.target, model.version, before, overruling)
        raise CanaryError(f"{failure}; {where}") from failure


def keep_or_put_back(registry: ModelRegistry, database: Database, target: str, audit: Audit) -> str | None:
    """Record a move of Production by hand, after its canary; says what came of it, or None without such a move.

    A version that may not serve is put back to the recorded one by compare-and-swap, or to nowhere when that one may
    not serve either. The canary comes first: a process that is killed leaves a move that is still to be recorded. What
    cannot be tried, as in an outage, raises and records nothing. Decisions are not overruled: they stay as they were
    before the hand.
    """
    present = registry.aliases(target)
    found = present.get(PRODUCTION)
    moves = database.alias_changes(target, PRODUCTION)
    decisions = database.decisions(target)
    if found is None or not moved_by_hand(decisions, moves, production=found, previous=present.get(PREVIOUS)):
        return None
    recorded = serving(moves)
    moved = f"Production was moved by hand from {version_name(recorded)} to version {found}"
    obstacle = _obstacle(registry, target, found)
    if obstacle is None:
        kept = registry.record_found(target, found, audit)
        return f"{moved}, which may serve" if kept else None
    why = f"{moved}, which may not serve: {obstacle}"
    try:
        where = _back_out(registry, target, found, recorded, replace(audit, reason=f"{CANARY}{why}"))
    except PromotionConflictError as conflict:  # somebody moves it still
        where = str(conflict)
    return f"{why}; {where}"


def roll_back(
    registry: ModelRegistry, database: Database, target: str, to_version: int | None, audit: Audit
) -> AliasMove:
    """Production goes to `to_version`, or to the version that served before; `Previous` to the one that it leaves.

    It overrules every decision made so far: only a newer DEPLOY moves the alias again. Nothing moves when the version
    never served, serves already or may not serve, or when Production moves meanwhile.
    """
    present = registry.aliases(target).get(PRODUCTION)
    moves = database.alias_changes(target, PRODUCTION)
    destination = rollback_destination(target, moves, production=present, asked=to_version)
    try:
        require_servable(registry, registry.version(target, destination))
    except CanaryError as failure:
        raise CanaryError(f"{failure}; nothing moved, name another version with --to") from failure
    return registry.move_production(target, destination, present, _overruling(database, target, audit))


def withdraw(registry: ModelRegistry, database: Database, target: str, audit: Audit) -> int:
    """Take Production away from the version that serves, which is returned: nothing serves until a newer DEPLOY.

    Asks nothing of the model, so that one whose files are damaged can be left, too.
    """
    present = registry.aliases(target).get(PRODUCTION)
    if present is None:
        raise RollbackRefusedError(f"{target}: nothing serves, so nothing is to be taken away")
    registry.withdraw_production(target, present, _overruling(database, target, audit))
    return present


def _back_out(registry: ModelRegistry, target: str, failed: int, before: int | None, audit: Audit) -> str:
    """Leave a version that failed its canary for the one before; says where Production is now."""
    obstacle = "no other version served before" if before is None else _obstacle(registry, target, before)
    if before is not None and obstacle is None:
        registry.move_production(target, before, failed, audit)
        return f"Production is back on version {before}"
    registry.withdraw_production(target, failed, audit)
    return f"nothing serves {target} now, because {obstacle}"


def _obstacle(registry: ModelRegistry, target: str, version: int) -> str | None:
    """Why a version may not serve; None when it may. What cannot be tried, as in an outage, raises."""
    try:
        require_servable(registry, registry.version(target, version))
    except RegistryUnreachableError:
        raise
    except WeatherError as error:
        return str(error)
    return None


def _overruling(database: Database, target: str, audit: Audit) -> Audit:
    latest = database.latest_decision(target)
    return replace(audit, decision_id=latest.id if latest else None)
