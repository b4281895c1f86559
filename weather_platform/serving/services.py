"""What the routes work with, and the questions that several of them ask of it.

What belongs here: the parts of one worker, together. What does not: making them (`app`), or any route.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from fastapi import Request

from weather_platform.domain.live import RecentObservations
from weather_platform.domain.neighbours import StationGrid
from weather_platform.observability.metrics import ServingMetrics
from weather_platform.serving.auth import Authenticator
from weather_platform.serving.contract import RequestRefusedError
from weather_platform.serving.forecasting import Forecaster
from weather_platform.serving.model_store import ModelStore, Served, ServedModel
from weather_platform.serving.prediction_log import PredictionLog
from weather_platform.settings import Settings

PRODUCTION = "Production"
"""The alias that answers when none is named."""


@dataclass(frozen=True, eq=False)
class Services:
    """The parts of one worker."""

    settings: Settings
    store: ModelStore
    authenticator: Authenticator
    log: PredictionLog
    metrics: ServingMetrics
    forecaster: Forecaster

    def served(self) -> Served:
        """What is served now; 503 before anything was verified."""
        served = self.store.served
        if served is None:
            raise RequestRefusedError(503, "no verified model is loaded yet; ask /readyz and come back")
        return served

    def tell_metrics(self) -> None:
        """Bring what the metrics say of models and of the queue up to date."""
        served = self.store.served
        models = [] if served is None else [each for aliases in served.models.values() for each in aliases.values()]
        refused = 0 if served is None else len(served.refused)
        self.metrics.serving(models, refused=refused, registry_lag_seconds=self.store.lag_seconds())
        self.metrics.log_depth(self.log.depth)


def services_of(request: Request) -> Services:
    """The parts of the worker that has this request."""
    found: Services = request.app.state.services
    return found


def production(served: Served, target: str) -> ServedModel:
    """The Production model of a target; 503 while it has none."""
    model = served.models.get(target, {}).get(PRODUCTION)
    if model is None:
        raise RequestRefusedError(
            503, f"{target} has no Production model; promote one, and it is served within seconds"
        )
    return model


def recent_of(served: Served) -> RecentObservations:
    """The stored observations; 503 while there are none."""
    if served.recent is None:
        raise RequestRefusedError(503, "no observations are stored; run `weather run` first")
    return served.recent


_POSITIONS: WeakKeyDictionary[StationGrid, Mapping[str, int]] = WeakKeyDictionary()


def positions_of(recent: RecentObservations) -> Mapping[str, int]:
    """The index of each station in the catalogue, by its id."""
    known = _POSITIONS.get(recent.grid)
    if known is None:
        known = _POSITIONS[recent.grid] = {name: at for at, name in enumerate(recent.grid.ids)}
    return known
