"""The guard in front of a user interface that has no login: which requests of a browser reach it.

Dagster's and MLflow's interfaces do whatever a request asks. A browser also sends requests on behalf of pages from
elsewhere, so a request passes only if it comes from the interface's own page, from a link that somebody clicked, or
from a program. The rules are one pure function, `refusal`; `Guard` applies them to an ASGI application.

What belongs here: rules that hold for both interfaces. What does not: who may sign in. Every program of this machine,
of any user, reaches an interface that listens on loopback.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_TYPES: Final = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
"""Content types that a page may send to another origin without asking that origin first."""
_SHOWN_CHARACTERS: Final = 100


def refusal(method: str, path: str, query: bytes, headers: Headers, hosts: Collection[str]) -> str | None:
    """Why a request is refused, in one line with what to do; None when it passes.

    `method` is the HTTP method, or WEBSOCKET for the handshake of one; `path` is decoded; `hosts` are the values of the
    Host header by which people reach the interface, in lower case.
    """
    named = [host.lower() for host in headers.getlist("host")]
    if len(named) != 1 or named[0] not in hosts:
        return (
            f"this address is not one of the user interface ({_shown(', '.join(named)) or 'no Host header'}); open "
            f"http://{min(hosts, default='')} or add yours to WEATHER_UI_HOSTS"
        )
    origins = headers.getlist("origin")
    if any(origin.lower().partition("://")[2] != named[0] for origin in origins):
        return f"a page of {_shown(', '.join(origins))} may not use this interface; open it in a tab of its own"
    site = headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") and not _is_clicked_link(method, headers):
        return f"a {_shown(site)} page may not use this interface; open it in a tab of its own"
    return _refusal_of_content(method, path, query, headers)


def _is_clicked_link(method: str, headers: Headers) -> bool:
    """A page that opens in a tab of its own. It cannot be read from elsewhere, and opening a page changes nothing."""
    return (
        method == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


def _refusal_of_content(method: str, path: str, query: bytes, headers: Headers) -> str | None:
    if method == "WEBSOCKET":
        return None
    is_graphql = path.rstrip("/").endswith("/graphql")
    if method in _SAFE:
        # Dagster executes mutations that are sent by GET, so a link could delete a run.
        return "GraphQL takes no query by GET; send it by POST as application/json" if is_graphql and query else None
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if is_graphql and content_type != "application/json":
        return f"GraphQL takes application/json only, not {_shown(content_type) or 'a body without a type'}"
    if method == "POST" and content_type in _FORM_TYPES:
        return f"the content of a form ({_shown(content_type) or 'no type'}) is not taken; send application/json"
    return None


def _shown(text: str) -> str:
    """A value of the request as one short line of printable characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN_CHARACTERS])


def hosts_of(server: tuple[str, int | None] | None, named: str | None) -> frozenset[str]:
    """Values of the Host header that mean this interface, in lower case.

    `server` is the address that the connection was made to, as ASGI gives it; `named` are further `host` or
    `host:port`, comma-separated, from the settings.
    """
    further = frozenset(each.strip().lower() for each in (named or "").split(",") if each.strip())
    if server is None or server[1] is None:
        return further
    address, port = server
    # An attacker's page cannot have the address itself as its host, only a name that leads to it.
    own = {*LOOPBACK, f"[{address}]" if ":" in address else address}
    return further | {f"{host}:{port}" for host in own} | (own if port == 80 else frozenset())


class Guard:
    """An ASGI application behind the rules. Refused requests are answered with 403 and one line of text."""

    def __init__(self, app: ASGIApp, named: str | None) -> None:
        self._app = app
        self._named = named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and forbid other pages to frame the answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
        hosts = hosts_of(scope.get("server"), self._named)
        why = refusal(method, scope["path"], scope["query_string"], Headers(scope=scope), hosts)
        if why is not None:
            answer = PlainTextResponse(f"refused: {why}\n", 403, {"X-Content-Type-Options": "nosniff"})
            # Starlette turns the answer to a WebSocket handshake into ASGI's denial of it.
            await answer(scope, receive, send)
            return

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # Beside a policy of the application's own: a browser holds both.
                headers.append("Content-Security-Policy", "frame-ancestors 'self'")
                headers["X-Frame-Options"] = "SAMEORIGIN"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, framed)
