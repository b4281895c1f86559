"""The routes of those who run the service: alive, ready, metrics, documentation.

What belongs here: these routes. What does not: what is measured (`observability.metrics`), following the aliases
(`model_store`).
"""

import asyncio
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST

from weather_platform.serving.answers import JsonAnswer, encode
from weather_platform.serving.contract import JSON, LiveAnswer, ReadyAnswer, RequestRefusedError
from weather_platform.serving.http import documented, reference, router
from weather_platform.serving.services import PRODUCTION, services_of

OPERATIONS = router()
HOME = "/"
DOCS = "/docs"
OPENAPI = "/openapi.json"
METRICS = "/metrics"
TITLE = "weather_platform"

_OUT_OF_REACH = "out of reach"
"""All that everybody may know: the error itself has addresses and paths."""

_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
_ASSETS = {_SCRIPT: "text/javascript", _STYLE: "text/css"}


@OPERATIONS.get(
    "/livez", summary="Whether the process answers", tags=["operations"], **documented(LiveAnswer, is_open=True)
)
async def livez(request: Request) -> Response:  # noqa: ARG001 - every route takes the request
    """Always 200 while the process can answer."""
    return JsonAnswer({"live": True})


@OPERATIONS.get(
    "/readyz",
    summary="Whether verified models are loaded",
    tags=["operations"],
    **documented(
        ReadyAnswer, is_open=True,
        responses={503: {
            "description": "No verified Production model is loaded yet.",
            "content": {"application/json": {"schema": reference(ReadyAnswer)}},
        }},
    ),
)  # fmt: skip
async def readyz(request: Request) -> Response:
    """200 from the first verified Production model on; it stays so while the registry is away, and says how long."""
    served = services_of(request).store.served
    now = datetime.now(UTC)
    checked_at = None if served is None else served.checked_at
    models = {
        target: {
            "version": aliases[PRODUCTION].version,
            "digest": aliases[PRODUCTION].digest,
            "age_seconds": (now - aliases[PRODUCTION].since).total_seconds(),
        }
        for target, aliases in ({} if served is None else served.models).items()
        if PRODUCTION in aliases
    }
    ready = bool(models) and served is not None and served.recent is not None
    return JsonAnswer(
        {
            "ready": ready,
            "models": models,
            "checked_seconds_ago": None if checked_at is None else (now - checked_at).total_seconds(),
            "registry_error": None if served is None or served.registry_error is None else _OUT_OF_REACH,
        },
        200 if ready else 503,
    )


@OPERATIONS.get(
    METRICS,
    summary="Prometheus metrics",
    tags=["operations"],
    **documented(None, also={"text/plain": {"schema": {"type": "string"}}}),
)
async def metrics(request: Request) -> Response:
    """Of all workers together. Needs the scope `admin` unless the settings open it."""
    text = await asyncio.to_thread(services_of(request).metrics.exposition)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{TITLE}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}</style>
<h1>{TITLE}</h1>
<p>This service forecasts tomorrow's rain and maximum temperature for weather stations, with the promoted models.</p>
<ul>
<li><a href="{DOCS}">{DOCS}</a>: all routes, to read and to try; <em>Authorize</em> signs in.</li>
<li><a href="{OPENAPI}">{OPENAPI}</a>: the same for programs.</li>
<li><a href="/readyz">/readyz</a>: whether models are loaded.</li>
</ul>
<p>Forecasts need a token: <code>POST /v1/token</code> gives one for a user and a password. Whoever runs the service
adds users with <code>weather user add NAME</code>.</p>
</html>
"""


async def home(request: Request) -> Response:  # noqa: ARG001 - every route takes the request
    """What this is, and where its documentation is."""
    return HTMLResponse(_PAGE)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return Response(_document(request.app), media_type=JSON)


@cache
def _document(app: FastAPI) -> bytes:
    """The same bytes for everybody: answers that are not read yet share them."""
    return encode(app.openapi())


async def docs(request: Request) -> Response:  # noqa: ARG001 - every route takes the request
    """The OpenAPI document to read and try, without anything from the network."""
    return get_swagger_ui_html(
        openapi_url=OPENAPI,
        title=TITLE,
        swagger_js_url=f"{DOCS}/{_SCRIPT}",
        swagger_css_url=f"{DOCS}/{_STYLE}",
        swagger_favicon_url="data:,",
    )


async def asset(request: Request) -> Response:
    """A file of the documentation page."""
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise RequestRefusedError(404, "there is no such file")
    return Response(_content(name), media_type=_ASSETS[name])


@cache
def _content(name: str) -> bytes:
    """The same bytes for everybody, as those of the document. BentoML brings them."""
    from bentoml._internal import server

    return (Path(server.__file__).parent / "static_content" / name).read_bytes()


OPERATIONS.add_api_route(HOME, home, methods=["GET"], include_in_schema=False, response_model=None)
OPERATIONS.add_api_route(OPENAPI, openapi, methods=["GET"], include_in_schema=False, response_model=None)
OPERATIONS.add_api_route(DOCS, docs, methods=["GET"], include_in_schema=False, response_model=None)
OPERATIONS.add_api_route(f"{DOCS}/{{name}}", asset, methods=["GET"], include_in_schema=False, response_model=None)
