"""Stage endpoint: what the running service says, held against the registry and against the batch forecasts.

`{target}/endpoint` asks the service which version it serves and compares it with the `Production` alias, waiting a few
seconds because the service follows the alias by polling. Then it sends station-days of the newest day that this version
has forecast, as they were observed, one by one and as a batch, and compares every answer with the stored forecast, bit
for bit. It needs a service that runs (WEATHER_ENDPOINT_URL) and one of its users (WEATHER_USER, WEATHER_PASSWORD), so
it belongs to no other stage's job: `endpoint` is started by hand or after a deployment. Where no service is named, the
asset says so and asks nothing.
"""

import dagster as dg

from weather_platform.assets.catalogue import described, shared
from weather_platform.assets.splits import REASON
from weather_platform.database import Database
from weather_platform.domain.targets import ForecastTarget
from weather_platform.io_managers.costs import metered
from weather_platform.resources.endpoint import Endpoint, newest_forecasts, served_model, unlike_the_batch
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.registry import ModelRegistry


def endpoint_asset(target: ForecastTarget) -> dg.AssetsDefinition:
    """The `{target}/endpoint` asset. Its data version is the digest of the model that the service answers with."""

    @dg.asset(
        key=[target.name, "endpoint"],
        **shared("endpoint", "bentoml"),
        deps=[dg.AssetKey([target.name, "production"])],
        tags={"target": target.name},
        description=described(f"What the running service answers for {target.name}.\n\n{__doc__}", target),
    )
    @metered
    def endpoint(
        context: dg.AssetExecutionContext,
        endpoint: dg.ResourceParam[Endpoint],
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
    ) -> dg.MaterializeResult[None]:
        if endpoint.unnamed:
            context.log.warning(endpoint.unnamed)
            return dg.MaterializeResult(metadata={REASON: endpoint.unnamed}, data_version=dg.DataVersion("none"))
        with endpoint.client() as client:
            model = registry.production(target.name)
            served = served_model(client, model)
            forecasts = newest_forecasts(database, model)
            unlike = unlike_the_batch(client, lake.lake(), model, forecasts)
        context.log.info(f"{forecasts.num_rows} station-days asked, {len(unlike)} answers unlike the batch")
        return dg.MaterializeResult(
            metadata={
                "served_version": served.version if served else "none",
                "served_sha256": served.digest if served else "none",
                "alias_version": model.version,
                "day": forecasts["day"][0].as_py().isoformat(),
                "rows": forecasts.num_rows,
                "answers_unlike_the_batch": len(unlike),
            },
            data_version=dg.DataVersion(served.digest if served else "none"),
        )

    return endpoint
