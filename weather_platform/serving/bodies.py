"""Limits of what a request may send: how large a body may be, and how long it may take.

What belongs here: reading bodies within bounds, before the application sees the request. What does not: which route
may send how much (`app`), how many rows a body may hold (`contract`), or who may send (`auth`, which comes before it:
nobody without a token makes the service keep anything).
"""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weather_platform.serving.answers import problem

_DRAINED_BYTES = 64 * 2**20
"""So much of a body that is too large is read and thrown away: many clients read no answer before they sent it all."""


class BodyLimitMiddleware:
    """Reads the whole body before the application inside is called; pure ASGI.

    A body larger than `limit_bytes` of its path is answered with 413, one that is not there within `seconds` with 408.
    """

    def __init__(self, app: ASGIApp, limit_bytes: Callable[[str], int], seconds: float) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is too large or too slow, and pass on the rest with its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared, waits_for_leave = _announced(scope)
        if declared == 0:
            await self._app(scope, receive, send)
            return
        limit = self._limit_bytes(scope["path"])
        try:
            async with asyncio.timeout(self._seconds):
                hopeless = declared is not None and declared > (
                    limit if waits_for_leave else max(limit, _DRAINED_BYTES)
                )
                body = None if hopeless else await _read(receive, limit)
        except _GoneError:
            return
        except TimeoutError:
            await self._refuse(408, f"the body did not arrive within {self._seconds:g} s", scope, receive, send)
            return
        if body is None:
            await self._refuse(413, f"the body is larger than {limit:,} bytes", scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _refuse(self, status: int, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope.get("state", {}).get("request_id")
        # What is left of the body may still be coming: this connection is of no more use.
        answer = problem(status, detail, request_id=request_id, headers={"Connection": "close"})
        await answer(scope, receive, send)


class _GoneError(Exception):
    """The client left in the middle of its body."""


def _announced(scope: Scope) -> tuple[int | None, bool]:
    """The length of the body as far as its head says (0: there is none), and whether the client waits to send it."""
    declared: int | None = 0
    waits = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            declared = int(value)
        elif name == b"transfer-encoding":
            declared = None
        elif name == b"expect":
            waits = True
    return declared, waits


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body; None when it is larger than the limit, after throwing away what comes."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            chunks.clear()
            if size > max(limit, _DRAINED_BYTES):
                return None
        else:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return None if size > limit else b"".join(chunks)
