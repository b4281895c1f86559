"""One worker of the endpoint: its parts, the order in which they start, and the order in which they end.

What belongs here: that order. What does not: what a part does, BentoML (`service`).

It ends from the front to the back: when `stop` is called no more requests come in; the models are let go, the
prediction log writes what it still holds, and at last the database is closed.
"""

import logging
import os
import signal
import time
from contextlib import ExitStack, closing
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from weather_platform.observability.logs import configure_logging
from weather_platform.observability.metrics import ServingMetrics
from weather_platform.observability.traces import Tracing
from weather_platform.serving.answers import problem
from weather_platform.serving.app import create_app
from weather_platform.serving.auth import Authenticator
from weather_platform.serving.forecasting import Forecaster
from weather_platform.serving.lean import be_lean
from weather_platform.serving.model_store import ModelStore, StoreEvent
from weather_platform.serving.prediction_log import PredictionLog
from weather_platform.serving.server import metrics_folder
from weather_platform.serving.supervisor import when_orphaned
from weather_platform.settings import Settings
from weather_platform.stores import application_database

_LOG_SECONDS = 15.0
"""How long the prediction log may write at the end."""

_STATE_SECONDS = 15.0
"""How long a worker waits for the first state; without one it answers that nothing is loaded."""

_logger = logging.getLogger(__name__)


class Worker:
    """ASGI: the application, from `start` to `stop`."""

    def __init__(self) -> None:
        self._app: ASGIApp = problem(503, "the worker is starting; come back in a second")
        self._parts = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def start(self, settings: Settings) -> None:
        """Make and start every part.

        Without its server a worker ends by itself, in order: nobody would notice it, and it would answer for ever.
        """
        configure_logging(settings.log_format, settings.log_level)
        be_lean()
        when_orphaned(os.getppid(), partial(os.kill, os.getpid(), signal.SIGTERM))
        metrics = ServingMetrics.shared(metrics_folder(settings), service=str(os.getppid()))
        database = self._parts.enter_context(closing(application_database(settings)))
        self._parts.callback(metrics.flush)
        tracing = Tracing.from_environment()
        if tracing is not None:
            self._parts.callback(tracing.close)
        log = PredictionLog.from_settings(settings, database, metrics)
        log.start()
        self._parts.callback(log.close, _LOG_SECONDS)
        authenticator = Authenticator.from_settings(settings, database)
        authenticator.start()
        self._parts.callback(authenticator.stop)

        def tell(event: StoreEvent) -> None:
            metrics.store_event(event)
            _tell(event)

        store = ModelStore(settings, tell)
        store.start()
        self._parts.callback(store.stop)
        _await_state(store)
        forecaster = Forecaster.from_settings(settings)
        self._app = create_app(settings, store, authenticator, log, metrics, forecaster, tracing)

    def stop(self) -> None:
        """End every part, the last one first."""
        self._parts.close()


def _await_state(store: ModelStore) -> None:
    """Come in for requests only with a state to answer from: until then the other workers take them."""
    give_up = time.monotonic() + _STATE_SECONDS
    while store.served is None and time.monotonic() < give_up:
        time.sleep(0.02)


def _tell(event: StoreEvent) -> None:
    """Into the log, once per change."""
    name = f"{event.target}@{event.alias} version {event.version}" if event.target else "what is served"
    reason = f": {event.reason}" if event.reason else ""
    level = logging.INFO if event.kind in ("swapped", "fresh", "withdrawn") else logging.WARNING
    _logger.log(level, "%s: %s%s", event.kind, name, reason)
