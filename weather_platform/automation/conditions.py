"""The automation conditions: from asset to asset, what is made again when what it was made from has changed.

What belongs here: one named function for each followed asset, which says why. What does not: the clock
(``automation.schedules``), the world outside of Dagster (``automation.sensors``), and what counts as behind
(``automation.plan``, which `weather update` uses too).

A condition looks at the state of the tables and not at events: whatever was missed between two ticks is found at the
next tick, and nothing is asked for that is up to date. What it asked for it does not ask for again until something
changes: a run that failed is tried again by Dagster's own retries, or by a person, and never without limit. Training
and promotion have no condition: new rows alone never train a model.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, Final

import dagster as dg

from weather_platform.automation.behind import DRIFT, FEATURES, OBSERVATIONS, RAW, Behind, Behindhand
from weather_platform.automation.failing_checks import failing_partitions
from weather_platform.domain.forecast_days import FORECAST_DAYS
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.settings import Settings
from weather_platform.stores import application_database

NAME: Final = "follow_upstream"
INTERVAL_SECONDS: Final = 5
"""Between two looks; the daemon looks no more often. One that finds nothing costs a fraction of a second."""

Context = dg.AutomationContext[dg.AssetKey]
What = Callable[[Context], Behind]
Held = Mapping[dg.AssetKey, Callable[[str], Iterable[str]]]
"""Upstream assets whose blocking checks hold a partition back, with the partitions of theirs that it is made from."""


class BehindUpstream(dg.AutomationCondition[dg.AssetKey]):
    """True for the partitions that are behind what they are made from, were not asked for in this state, and are made
    from nothing that a blocking check failed."""

    def __init__(self, said: str, what: What, held: Held) -> None:
        self._said, self._what, self._held = said, what, held

    @property
    def name(self) -> str:
        """The name that Dagster keeps the cursor under."""
        return "behind_upstream"

    @property
    def description(self) -> str:
        """What the UI shows."""
        return self._said

    def evaluate(self, context: Context) -> dg.AutomationResult[dg.AssetKey]:
        """Ask for what is behind; remember in which state it was asked for."""
        behind = self._what(context)
        asked: dict[str, str] = json.loads(context.cursor or "{}")
        asked = {partition: state for partition, state in asked.items() if partition in behind}
        new = {partition for partition, state in behind.items() if asked.get(partition) != state}
        # Partitions in flight are no candidates: they are looked at again when their run has ended.
        wanted = context.candidate_subset.compute_intersection_with_partition_keys(new & self._known(context, new))
        keys = set(wanted.expensively_compute_partition_keys())
        for partition, why in self._held_back(context, keys).items():
            context.log.warning(f"{context.key.to_user_string()} {partition} waits: {why}")
            keys.discard(partition)
        asked |= {partition: behind[partition] for partition in keys}
        return dg.AutomationResult(
            context,
            context.candidate_subset.compute_intersection_with_partition_keys(keys),
            cursor=json.dumps(asked, sort_keys=True),
        )

    def _known(self, context: Context, partitions: Iterable[str]) -> set[str]:
        """Those that exist: a row of tomorrow has a partition when tomorrow has come."""
        definition = context.partitions_def
        assert definition is not None  # noqa: S101 - every followed asset has partitions
        return {partition for partition in partitions if definition.has_partition_key(partition)}

    def _held_back(self, context: Context, partitions: Iterable[str]) -> dict[str, str]:
        held: dict[str, str] = {}
        partitions = sorted(partitions)
        for asset, upstream_of in self._held.items() if partitions else ():
            failing = failing_partitions(context.asset_graph_view.instance, context.asset_graph, asset)
            for partition in partitions if failing else ():
                at_fault = [name for name in ("", *upstream_of(partition)) if name in failing]
                if at_fault:
                    where = f"{asset.to_user_string()} {at_fault[0]}".strip()
                    held[partition] = f"the check {failing[at_fault[0]]} failed at {where}"
        return held


def automation_conditions(settings: Settings) -> dict[dg.AssetKey, dg.AutomationCondition[dg.AssetKey]]:
    """The condition of each followed asset."""
    now = Behindhand()
    conditions = {
        OBSERVATIONS: cleaned_after_received(now),
        FEATURES: features_after_observations(now),
        DRIFT: drift_after_late_features(now),
    }
    for target in TARGETS.values():
        conditions[dg.AssetKey([target.name, "forecasts"])] = forecasts_after_features(now, settings, target)
        conditions[dg.AssetKey([target.name, "matured_skill"])] = skill_after_answers(now, settings, target)
    return conditions


def condition_sensor(status: dg.DefaultSensorStatus) -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions; a range of partitions becomes one run."""
    return dg.AutomationConditionSensorDefinition(
        NAME,
        target=dg.AssetSelection.all(),
        default_status=status,
        minimum_interval_seconds=INTERVAL_SECONDS,
        emit_backfills=True,
        # Conditions of our own run where our code is.
        use_user_code_server=True,
        description="From asset to asset: what is made again when what it was made from has changed.",
    )


def cleaned_after_received(now: Behindhand) -> dg.AutomationCondition[dg.AssetKey]:
    """A year with a raw month that its clean rows were not made from is cleaned again.

    The year is the unit of cleaning: a row may be a repetition of one in another month.
    """

    def behind(context: Context) -> Behind:
        return now.observations(context.asset_graph_view.instance)

    return _follows(cleaned_after_received, behind, {RAW: _months_of_year})


def features_after_observations(now: Behindhand) -> dg.AutomationCondition[dg.AssetKey]:
    """The features of a year are made again, in the run that cleans it, or when a neighbouring year changed them.

    The first day of a year labels the last day of the year before, and the last days of a year are the history of the
    first days of the next. Other changes of a neighbour do not touch the year.
    """

    def behind(context: Context) -> Behind:
        instance = context.asset_graph_view.instance
        cleaning = _requested(context, OBSERVATIONS)
        unclean = now.observations(instance)
        alone = {year: state for year, state in now.features(instance).items() if year not in unclean}
        return alone | {year: f"cleaned of {unclean[year]}" for year in cleaning if year in unclean}

    return _follows(features_after_observations, behind, {OBSERVATIONS: _year_and_neighbours})


def forecasts_after_features(
    now: Behindhand, settings: Settings, target: ForecastTarget
) -> dg.AutomationCondition[dg.AssetKey]:
    """Days that the Production model has not forecast yet are forecast, and days again whose features changed.

    A version without forecasts begins with the newest days: history is forecast by a person who asks for it. A training
    in flight does not delay it: the version that serves forecasts today.
    """

    def behind(context: Context) -> Behind:
        instance = context.asset_graph_view.instance
        with closing(application_database(settings)) as database:
            database.migrate()
            days = now.forecasts(instance, database, target.name, FORECAST_DAYS)
        waiting = now.observations(instance).keys() | now.features(instance).keys()
        return {day: state for day, state in days.items() if day[:4] not in waiting}

    return _follows(
        forecasts_after_features, behind, {FEATURES: _year}, unless_in_progress=dg.AssetSelection.assets(FEATURES)
    )


def skill_after_answers(
    now: Behindhand, settings: Settings, target: ForecastTarget
) -> dg.AutomationCondition[dg.AssetKey]:
    """A month is measured again when a forecast of it was made, or when what happened after one is known or changed."""

    def behind(context: Context) -> Behind:
        instance = context.asset_graph_view.instance
        with closing(application_database(settings)) as database:
            database.migrate()
            months = now.matured_skill(instance, database, target.name)
        waiting = now.observations(instance).keys() | now.features(instance).keys()
        forecast_now = {day[:7] for day in _requested(context, dg.AssetKey([target.name, "forecasts"]))}
        return {
            month: state for month, state in months.items() if month[:4] not in waiting and month not in forecast_now
        }

    forecasts = dg.AssetKey([target.name, "forecasts"])
    return _follows(skill_after_answers, behind, {FEATURES: _year, forecasts: _days_of_month})


def drift_after_late_features(now: Behindhand) -> dg.AutomationCondition[dg.AssetKey]:
    """A month that was reported on, and whose features changed since, is reported on again.

    For the first time a month is reported on by the monthly schedule, when it has ended.
    """

    def behind(context: Context) -> Behind:
        instance = context.asset_graph_view.instance
        waiting = now.observations(instance).keys() | now.features(instance).keys()
        return {month: state for month, state in now.drift(instance).items() if month[:4] not in waiting}

    return _follows(
        drift_after_late_features, behind, {FEATURES: _year}, unless_in_progress=dg.AssetSelection.assets(FEATURES)
    )


def _follows(
    why: Callable[..., Any], what: What, held: Held, unless_in_progress: dg.AssetSelection | None = None
) -> dg.AutomationCondition[dg.AssetKey]:
    """The condition of one asset; `why` is the function whose docstring says it."""
    upstream = dg.AutomationCondition.any_deps_in_progress()
    if unless_in_progress is not None:
        upstream = upstream.allow(unless_in_progress)
    said = " ".join((why.__doc__ or "").split("\n\n")[0].split())
    condition = ~dg.AutomationCondition.in_progress() & ~upstream & BehindUpstream(said, what, held)
    return condition.with_label(why.__name__)


def _requested(context: Context, asset: dg.AssetKey) -> set[str]:
    """The partitions of another asset that this tick asks for."""
    subset = context.request_subsets_by_key.get(asset)
    return set(subset.expensively_compute_partition_keys()) if subset is not None else set()


def _year(partition: str) -> list[str]:
    return [partition[:4]]


def _year_and_neighbours(year: str) -> list[str]:
    return [str(int(year) + offset) for offset in (-1, 0, 1)]


def _months_of_year(year: str) -> list[str]:
    return [f"{year}-{month:02}" for month in range(1, 13)]


def _days_of_month(month: str) -> list[str]:
    return [f"{month}-{day:02}" for day in range(1, 32)]
