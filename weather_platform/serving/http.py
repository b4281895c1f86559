"""What all routes share: how one is declared, found and answered, and what it takes from a request.

What belongs here: the class of routes, the lookup by path, refusals as problem details. What does not: routes.

FastAPI holds the routes and writes the OpenAPI document. Its own way from the socket to a handler costs about 0.2 ms
a request, half as much as a forecast: so a route here is a function of the request alone that gives a response, and
one without parameters in its path is found by a lookup.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weather_platform.domain.targets import TARGETS
from weather_platform.serving.answers import problem
from weather_platform.serving.contract import JSON, PROBLEM, Fault, RequestRefusedError, invalid

_logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


class LeanRoute(APIRoute):
    """A route whose endpoint takes the request and gives a response; nothing is injected or serialised around it."""

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        declared = (options.get("openapi_extra") or {}).get("parameters", ())
        query = {each["name"]: each["schema"].get("type") == "array" for each in declared if each["in"] == "query"}
        self.app = _answering(endpoint, query)


def _answering(endpoint: Endpoint, query: Mapping[str, bool]) -> ASGIApp:
    """`query` are the names that the route takes in its query, and whether one may come several times."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if scope["query_string"]:
                _require_query(request, query)
            response = await endpoint(request)
        except RequestRefusedError as refused:
            response = problem(refused.status, refused.detail, refused.faults, request_id=request_id(scope))
        except ClientDisconnect:
            return  # nobody is there to be answered
        await response(scope, receive, send)

    return app


def _require_query(request: Request, query: Mapping[str, bool]) -> None:
    """RequestRefusedError for a name that the route does not take, or takes once: it would be ignored."""
    counted = Counter(name for name, _ in request.query_params.multi_items())
    faults = [
        Fault(name[:64], f"this route takes {', '.join(query) or 'nothing'} in its query")
        for name in counted
        if name not in query
    ]
    faults += [Fault(name, "comes twice") for name, times in counted.items() if times > 1 and query.get(name) is False]
    if faults:
        raise invalid(faults)


class Directory:
    """ASGI: routes without parameters by a lookup of method and path, all others through the application."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in app.routes
            if isinstance(route, LeanRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["app"], scope["route"] = self._app, route
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await route.app(scope, receive, noted)
        except Exception:
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                raise  # an answer cannot be taken back: the server breaks the connection, and the client knows
            await internal_error(scope)(scope, receive, send)


def internal_error(scope: Scope) -> Response:
    """The answer to a request on which the service failed."""
    return problem(500, "the service failed on this request; its log has the request id", request_id=request_id(scope))


def request_id(scope: Scope) -> str:
    """The X-Request-ID of a request."""
    found: str = scope["state"]["request_id"]
    return found


def router() -> APIRouter:
    """A router of lean routes."""
    return APIRouter(route_class=LeanRoute)


def documented(
    answer: type[BaseModel] | None,
    *refusals: int,
    body: Mapping[str, Mapping[str, Any]] | None = None,
    also: Mapping[str, Mapping[str, Any]] | None = None,
    parameters: tuple[Mapping[str, Any], ...] = (),
    is_open: bool = False,
    status: int = 200,
    responses: Mapping[int, Any] | None = None,
) -> dict[str, Any]:
    """What OpenAPI says of a route: its answer and the media types beside JSON, refusals, body, parameters."""
    content: dict[str, Any] = {} if answer is None else {JSON: {"schema": reference(answer)}}
    described = {
        status: {
            "description": (answer.__doc__ or "").split("\n")[0] if answer else "Success",
            "content": {**content, **(also or {})},
        }
    }
    refused = [*refusals, 422, *(() if is_open else (401, 403, 429)), 500]
    described |= {
        status: {
            "description": PROBLEMS[status],
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in sorted(set(refused))
    }
    described |= responses or {}
    extra: dict[str, Any] = {"security": [] if is_open else [{"bearer": []}, {"password": []}]}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": dict(body)}
    if parameters:
        extra["parameters"] = list(parameters)
    return {"responses": described, "openapi_extra": extra, "response_model": None}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """A reference to a model of the document."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


PROBLEMS: Mapping[int, str] = {
    400: "The body cannot be read.",
    401: "No valid token.",
    403: "The token lacks the scope, or the user is locked.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body has a type that is not taken.",
    422: "Fields, or names of the query, are not as the contract says; each is named by its path.",
    429: "Too many requests; Retry-After says when to come back.",
    500: "The service failed.",
    501: "There is no exact answer.",
    503: "No verified model or no observations yet.",
}

PATH_OF_MODEL: tuple[Mapping[str, Any], ...] = (
    {"name": "target", "in": "path", "required": True, "schema": {"type": "string", "enum": list(TARGETS)}},
    {"name": "alias", "in": "path", "required": True, "schema": {"type": "string", "examples": ["Production"]}},
)
"""The parameters of the routes of one model."""
