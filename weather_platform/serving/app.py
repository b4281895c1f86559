"""The application of one worker: every route, who may use it, and its OpenAPI document.

What belongs here: putting the parts together. What does not: any route, or starting a process (`service`).
"""

from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from weather_platform.observability.logs import RequestIdMiddleware
from weather_platform.observability.metrics import MetricsMiddleware, ServingMetrics
from weather_platform.observability.traces import Tracing
from weather_platform.serving.answers import problem
from weather_platform.serving.auth import MAX_LOGIN_BYTES, Authenticator, AuthMiddleware
from weather_platform.serving.bodies import BodyLimitMiddleware
from weather_platform.serving.contract import MODELS
from weather_platform.serving.forecasting import Forecaster
from weather_platform.serving.http import Directory, internal_error, request_id
from weather_platform.serving.model_store import ModelStore
from weather_platform.serving.operations import DOCS, HOME, METRICS, OPENAPI, OPERATIONS, TITLE
from weather_platform.serving.prediction_log import PredictionLog
from weather_platform.serving.routes import BATCH, TOKEN, V1
from weather_platform.serving.scoring_routes import INVOCATIONS, SCORING
from weather_platform.serving.services import Services
from weather_platform.settings import Settings

_DESCRIPTION = """\
Forecasts of tomorrow's weather by the models that were promoted.

A forecast belongs to its issue day D, knows what is reported up to the end of D, and speaks of D+1. In the Bureau's
convention rain and minimum temperature of a day are for the 24 hours to 9 am, the maximum for the 24 hours from 9 am.
So rain "tomorrow" is that of 9 am of D to 9 am of D+1, part of which has passed at the end of D: do not compare it with
forecasts that are issued the day before or in the morning.

Get a token from `/v1/token` and send it as `Authorization: Bearer`. Refusals are problem details (RFC 9457): a 422
names every faulty field by its path. Every answer says which model version gave it.
"""

_OPEN = frozenset({HOME, TOKEN, "/livez", "/readyz", OPENAPI, DOCS})
_SCOPES = {"predict": "Forecasts", "admin": "Metrics"}


def create_app(
    settings: Settings,
    store: ModelStore,
    authenticator: Authenticator,
    log: PredictionLog,
    metrics: ServingMetrics,
    forecaster: Forecaster,
    tracing: Tracing | None = None,
) -> ASGIApp:
    """The whole application, middlewares included. The parts are started and stopped by the caller."""
    api = documented_api()
    api.state.services = services = Services(settings, store, authenticator, log, metrics, forecaster)
    metrics.follow(services.tell_metrics)
    app: ASGIApp = BodyLimitMiddleware(
        Directory(api), partial(limit_bytes, settings), seconds=settings.request_body_seconds
    )
    app = AuthMiddleware(
        app, authenticator, partial(required_scope, open_metrics=settings.serving_open_metrics), metrics.auth_refused
    )
    if tracing is not None:
        app = tracing.middleware(app)
    return RequestIdMiddleware(MetricsMiddleware(app, metrics, api.routes))


def documented_api() -> FastAPI:
    """All routes and their OpenAPI document, without the parts that answer."""
    api = FastAPI(title=TITLE, version="1", description=_DESCRIPTION, openapi_url=None, docs_url=None, redoc_url=None)
    for router in (V1, SCORING, OPERATIONS):
        # Not included but added: an included router is looked up again on every request.
        api.router.routes.extend(router.routes)
    api.add_exception_handler(HTTPException, _refuse)
    api.add_exception_handler(Exception, _fail)
    fastapi_document = api.openapi

    def document() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _completed(fastapi_document())
        return api.openapi_schema

    api.openapi = document  # type: ignore[method-assign]
    return api


def required_scope(path: str, method: str, *, open_metrics: bool) -> str | None:  # noqa: ARG001
    """The scope that a path asks for; None for an open one. What does not exist is not open either."""
    if path in _OPEN or path.startswith(f"{DOCS}/"):
        return None
    if path == METRICS:
        return None if open_metrics else "admin"
    return "predict"


def limit_bytes(settings: Settings, path: str) -> int:
    """How large a body may be."""
    if path == TOKEN:
        return MAX_LOGIN_BYTES
    many = path == BATCH or path.endswith(INVOCATIONS)
    return settings.batch_body_bytes if many else settings.request_body_bytes


async def _refuse(request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such path, another method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return problem(error.status_code, error.detail, request_id=request_id(request.scope), headers=error.headers)


async def _fail(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the server logs it
    return internal_error(request.scope)


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """With the models that the routes refer to, and the way to identify oneself."""
    _, models = models_json_schema(
        [(model, "validation") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    document["components"] = {
        "schemas": dict(sorted(models["$defs"].items())),
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "password": {
                "type": "oauth2",
                "description": "Name and password of a user; the fields of a client stay empty.",
                "flows": {"password": {"tokenUrl": TOKEN, "scopes": _SCOPES}},
            },
        },
    }
    return document
