"""The sensor of the model registry: `production_alias` sees that somebody moved Production by hand.

What belongs here: noticing, and which run is requested. What does not: what is recorded, and whether the version may
stay (``resources.rollback``, by the asset `{target}/production`, which the run materialises).
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import dagster as dg

from weather_platform.database import Database
from weather_platform.domain.alias_moves import PRODUCTION, serving
from weather_platform.domain.notices import ALIAS_GONE_CAUSE, production_gone, wait_after
from weather_platform.domain.targets import TARGETS
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import Settings

MOVE_TAG: Final = "weather/alias_found"
"""Of a run that answers a move by hand: which one."""
_SETTLE_SECONDS: Final = 1.0
"""The platform takes an alias away in two steps, which are over by then."""


def alias_sensors(
    settings: Settings, now: Callable[[], datetime], status: dg.DefaultSensorStatus
) -> list[dg.SensorDefinition]:
    """The sensor `production_alias`."""
    keys = {target: dg.AssetKey([target, "production"]) for target in TARGETS}

    @dg.sensor(
        asset_selection=dg.AssetSelection.assets(*keys.values()),
        minimum_interval_seconds=30,
        default_status=status,
        description="A Production alias that somebody moved in MLflow becomes a run of `{target}/production`, which "
        "records the move, tries the version and puts back one that may not serve.",
    )
    def production_alias(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.SensorResult | dg.SkipReason:
        registry = ModelRegistry.for_reading(settings)
        looks = {target: _look_twice(registry, database, target) for target in keys}
        gone = {
            target: look.recorded for target, look in looks.items() if look.found is None and look.recorded is not None
        }
        _note_gone(database, gone, now())
        requests = []
        said = [f"{target}: the alias is gone, and nothing moves by itself" for target in gone]
        for target, look in looks.items():
            if look.found in (None, look.recorded):
                continue
            move = f"{target}: version {look.found} after change {look.change}"
            tries, held = _tries(context.instance, move, now())
            if held is None:
                tags = {MOVE_TAG: move}
                requests.append(
                    dg.RunRequest(run_key=f"{move}, try {tries + 1}", asset_selection=[keys[target]], tags=tags)
                )
            else:
                said.append(f"{move}: {held}")
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason("; ".join(said) or "no alias was moved by hand")

    return [production_alias]


class _Look(NamedTuple):
    """The version that an alias names, the recorded one, and the id of the last recorded change."""

    found: int | None
    recorded: int | None
    change: int | None


def _look_twice(registry: ModelRegistry, database: Database, target: str) -> _Look:
    """The platform moves an alias before it commits the record: a difference counts if it is still there afterwards."""
    look = _look(registry, database, target)
    if look.found != look.recorded:
        time.sleep(_SETTLE_SECONDS)
        with database.locked(target):
            look = _look(registry, database, target)
    return look


def _look(registry: ModelRegistry, database: Database, target: str) -> _Look:
    found = registry.aliases(target).get(PRODUCTION)
    moves = database.alias_changes(target, PRODUCTION)
    return _Look(found, serving(moves), moves[-1].id if moves else 0)


def _note_gone(database: Database, gone: Mapping[str, int], at: datetime) -> None:
    """Open a notice for each target whose alias is gone, with the recorded version, and end those of the others."""
    with database.outbox(writing=False) as outbox:
        opened = {cause.removeprefix(ALIAS_GONE_CAUSE) for cause in outbox.open_causes(ALIAS_GONE_CAUSE)}
    if opened == set(gone):
        return
    with database.outbox() as outbox:
        for target, version in gone.items():
            outbox.open(production_gone(target=target, version=version, at=at))
        for target in opened - set(gone):
            outbox.resolve(f"{ALIAS_GONE_CAUSE}{target}", at)


def _tries(instance: dg.DagsterInstance, move: str, now: datetime) -> tuple[int, str | None]:
    """How many runs answered this move so far, and what stands against another one now; None when nothing does."""
    records = instance.get_run_records(dg.RunsFilter(tags={MOVE_TAG: move}))
    if not records:
        return 0, None
    if any(not record.dagster_run.is_finished for record in records):
        return len(records), "its run is under way"
    wait = wait_after(len(records))
    if wait is None:
        return len(records), f"{len(records)} runs failed; look at them, and move the alias with `weather rollback`"
    ended = max(record.end_time or record.create_timestamp.timestamp() for record in records)
    due = datetime.fromtimestamp(ended, UTC) + wait
    return len(records), None if now >= due else f"its run did not settle it; the next try is at {due:%H:%M:%S} UTC"
