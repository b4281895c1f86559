"""Checks of stage production: what the alias names is what the audit says, and its files are whole."""

import dagster as dg

from weather_platform.checks.reporting import Findings, report
from weather_platform.database import Database
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import DigestMismatchError
from weather_platform.resources.registry import PRODUCTION, ModelRegistry


def production_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of a target's alias."""

    @dg.asset_check(
        asset=dg.AssetKey([target.name, "production"]), name="alias_as_audited", blocking=True,
        description="The Production alias names the version that the audit recorded last, and its SHA-256 agrees.",
    )  # fmt: skip
    def alias_as_audited(
        registry: dg.ResourceParam[ModelRegistry], database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        return report(alias_faults(target, registry, database))

    return [alias_as_audited]


def alias_faults(target: ForecastTarget, registry: ModelRegistry, database: Database) -> Findings:
    """What is wrong with the alias; an unreachable registry is an error, not a finding."""
    model = registry.alias(target.name, PRODUCTION)
    if model is None:
        return {PRODUCTION: "no version has this alias"}
    moves = database.alias_changes(target.name, PRODUCTION)
    if not moves or moves[-1].to_version != model.version:
        said = f"version {moves[-1].to_version}" if moves else "no move at all"
        return {PRODUCTION: f"on version {model.version}, and the audit knows {said}"}
    try:
        registry.load(model)
    except DigestMismatchError as error:
        return {PRODUCTION: str(error)}
    return {}
