"""Checks of stage endpoint: the service answers with the version that was promoted, and says what the batch said."""

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, report
from weather_platform.database import Database
from weather_platform.domain.targets import ForecastTarget
from weather_platform.resources.endpoint import Endpoint, newest_forecasts, served_model, unlike_the_batch
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.registry import PRODUCTION, ModelRegistry

_NOT_ASKED = "Nothing was compared. If a service runs, name it; else there is nothing to do."


def endpoint_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of what the service answers for a target; they ask it themselves."""
    key = dg.AssetKey([target.name, "endpoint"])

    @dg.asset_check(
        asset=key, name="serves_the_alias", blocking=True,
        description="The service answers with the version that the Production alias names, and its SHA-256 agrees.",
    )  # fmt: skip
    def serves_the_alias(
        endpoint: dg.ResourceParam[Endpoint], registry: dg.ResourceParam[ModelRegistry]
    ) -> dg.AssetCheckResult:
        if endpoint.unnamed:
            return report({"endpoint": endpoint.unnamed}, looked_at=0, severity=WARN, meaning=_NOT_ASKED)
        return report(unlike_the_alias(target, endpoint, registry))

    @dg.asset_check(
        asset=key, name="equals_the_batch_forecast", blocking=True,
        description="Observed station-days of the newest forecast day get, bit for bit, the forecasts of the batch.",
    )  # fmt: skip
    def equals_the_batch_forecast(
        endpoint: dg.ResourceParam[Endpoint],
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
    ) -> dg.AssetCheckResult:
        if endpoint.unnamed:
            return report({"endpoint": endpoint.unnamed}, looked_at=0, severity=WARN, meaning=_NOT_ASKED)
        model = registry.production(target.name)
        forecasts = newest_forecasts(database, model)
        with endpoint.client() as client:
            return report(unlike_the_batch(client, lake.lake(), model, forecasts), looked_at=forecasts.num_rows)

    return [serves_the_alias, equals_the_batch_forecast]


def unlike_the_alias(target: ForecastTarget, endpoint: Endpoint, registry: ModelRegistry) -> Findings:
    """How what is served differs from the alias; a service or a registry that does not answer is an error."""
    model = registry.production(target.name)
    with endpoint.client() as client:
        served = served_model(client, model)
    if served is None:
        return {PRODUCTION: f"the service serves no version, and the alias is on version {model.version}"}
    if (served.version, served.digest) != (model.version, model.digest):
        return {
            PRODUCTION: f"the service serves version {served.version} ({served.digest[:12]}), "
            f"and the alias is on version {model.version} ({model.digest[:12]})"
        }
    return {}
