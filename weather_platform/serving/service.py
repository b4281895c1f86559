"""The BentoML service: one class, whose workers each hold one application.

What belongs here: what BentoML is told. What does not: the application (`app`), the parts of a worker and their order
(`worker`), what is done once for all workers (`server`), the command (`cli.serve`).

BentoML starts the processes and watches over them, and packs the code (`bentoml build`). Requests go to the application
directly: BentoML's own routes, access log, metrics and traces are not in the way, as the application has its own.
"""

import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from weather_platform.errors import WeatherError
from weather_platform.serving.lean import starting
from weather_platform.serving.server import CANNOT_START, prepare
from weather_platform.settings import load_settings

if TYPE_CHECKING:
    from weather_platform.serving.worker import Worker

    BentoService = Any
else:
    from _bentoml_sdk import Service as BentoService

_log = logging.getLogger(__name__)


@cache
def _worker() -> "Worker":
    """The worker that this process is. Imported only then: the first process answers nothing and is through sooner."""
    with starting():
        from weather_platform.serving.worker import Worker

        return Worker()


class FrontDoor:
    """ASGI: requests to the application of the worker, the events of the server's life to BentoML."""

    def __init__(self, bentoml_app: ASGIApp, worker: ASGIApp) -> None:
        self._bentoml, self._worker = bentoml_app, worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._bentoml if scope["type"] == "lifespan" else self._worker)(scope, receive, send)


class DirectService(BentoService):  # type: ignore[misc]
    """A service whose workers answer with the application itself."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """What a worker runs, and from whom uvicorn takes it: BentoML passes it no class of connections."""
        with starting():
            from weather_platform.serving.connections import bound_connections

        bound_connections(load_settings().serving_connections)
        return FrontDoor(super().to_asgi(is_main), _worker())


@bentoml.service(
    name="weather",
    service_class=DirectService,
    workers=load_settings().serving_workers,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class WeatherService:
    """Forecasts of tomorrow's weather by the promoted models."""

    def __init__(self) -> None:
        try:
            with starting():
                _worker().start(load_settings())
        except WeatherError as error:
            # Raised, it would be a traceback, and the worker would be started again and again.
            _log.error("a worker cannot start: %s", error)
            _worker().stop()
            os._exit(CANNOT_START)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def ready() -> None:
        """Once, before any worker: what no worker could start without is refused here, in one line."""
        prepare(load_settings())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """After the last answer of the worker."""
        _worker().stop()
