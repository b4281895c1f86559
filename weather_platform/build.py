"""build_definitions: the one way in which the graph is put together. No input or output happens here.

What belongs here: which assets, checks, jobs and resources there are, made from the registries of targets and
algorithms. What does not: what any of them does.
"""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from weather_platform.assets.drift import drift_asset
from weather_platform.assets.endpoint import endpoint_asset
from weather_platform.assets.features import features_asset, masks_spec
from weather_platform.assets.forecasts import forecasts_asset
from weather_platform.assets.leaderboard import leaderboard_asset
from weather_platform.assets.matured_skill import matured_skill_asset
from weather_platform.assets.models import candidate_asset
from weather_platform.assets.processed import processed_assets
from weather_platform.assets.production import production_asset, promotion_asset
from weather_platform.assets.raw import raw_assets
from weather_platform.assets.retraining import retraining_asset
from weather_platform.assets.splits import split_asset
from weather_platform.automation.aliases import alias_sensors
from weather_platform.automation.conditions import automation_conditions, condition_sensor
from weather_platform.automation.housekeeping import housekeeping_job
from weather_platform.automation.import_model import import_job
from weather_platform.automation.jobs import stage_jobs
from weather_platform.automation.notices import notice_sensors
from weather_platform.automation.recalibration import recalibrate_job
from weather_platform.automation.retraining import retraining_sensors
from weather_platform.automation.rollback import rollback_job
from weather_platform.automation.schedules import schedules
from weather_platform.automation.sensors import observation_sensors
from weather_platform.checks.drift import drift_checks
from weather_platform.checks.endpoint import endpoint_checks
from weather_platform.checks.features import features_checks
from weather_platform.checks.forecasts import forecasts_checks
from weather_platform.checks.leaderboard import leaderboard_checks
from weather_platform.checks.matured_skill import matured_skill_checks
from weather_platform.checks.models import model_checks
from weather_platform.checks.processed import processed_checks
from weather_platform.checks.production import production_checks
from weather_platform.checks.raw import raw_checks
from weather_platform.checks.retraining import retraining_checks
from weather_platform.checks.splits import split_checks
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.targets import TARGETS
from weather_platform.garbage import look_for_garbage_seldom
from weather_platform.partitions import day_partitions, month_partitions, year_partitions
from weather_platform.profiles import resources_for
from weather_platform.settings import Settings


def build_definitions(settings: Settings, *, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole graph for these settings. `resource_overrides` replace resources by key, for tests."""
    # Read when OpenMP is loaded. Threads that wait asleep instead of spinning: on two cores that something else keeps
    # busy, spinning made training four times slower, and on idle cores it gains nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    look_for_garbage_seldom()
    with warnings.catch_warnings():
        # Single-run backfills and absent upstream partitions are beta in Dagster 1.13; the pin and the tests hold them.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(settings, resource_overrides or {})


def _definitions(settings: Settings, resource_overrides: Mapping[str, Any]) -> dg.Definitions:
    months, years, days = month_partitions(settings), year_partitions(settings), day_partitions(settings)
    status = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED
    scheduled = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED
    assets: list[dg.AssetsDefinition] = [
        *raw_assets(months),
        processed_assets(settings, years),
        features_asset(years),
        drift_asset(settings, months),
    ]
    checks: list[dg.AssetChecksDefinition] = [*raw_checks(), *processed_checks(), *features_checks(), *drift_checks()]
    for target in TARGETS.values():
        algorithms = [algorithm for algorithm in ALGORITHMS.values() if target.task in algorithm.tasks]
        assets += [
            split_asset(target, years),
            *(candidate_asset(target, algorithm, settings, years) for algorithm in algorithms),
            leaderboard_asset(target, years),
            promotion_asset(target, settings, years),
            production_asset(target),
            forecasts_asset(target, days),
            matured_skill_asset(target, months),
            retraining_asset(target, settings, months),
            endpoint_asset(target),
        ]
        checks += [
            *split_checks(target),
            *(check for algorithm in algorithms for check in model_checks(target, algorithm)),
            *leaderboard_checks(target),
            *production_checks(target),
            *forecasts_checks(target),
            *matured_skill_checks(target),
            *retraining_checks(target),
            *endpoint_checks(target),
        ]
    conditions = automation_conditions(settings)
    return dg.Definitions(
        assets=[
            masks_spec(years),
            *(
                asset.map_asset_specs(
                    lambda spec: spec.replace_attributes(automation_condition=conditions.get(spec.key))
                )
                for asset in assets
            ),
        ],
        asset_checks=checks,
        jobs=[*stage_jobs(), rollback_job(), import_job(), recalibrate_job(settings), housekeeping_job(settings)],
        schedules=schedules(settings, scheduled),
        sensors=[
            *observation_sensors(settings, status),
            condition_sensor(status),
            *retraining_sensors(status),
            *alias_sensors(settings, settings.now, status),
            *notice_sensors(settings, settings.now, status),
        ],
        resources={**resources_for(settings), **resource_overrides},
        executor=dg.in_process_executor,
    )
