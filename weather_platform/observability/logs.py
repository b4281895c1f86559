"""Logs of the service: which request a line speaks of, and JSON lines for programs to read.

What belongs here: the id of a request, the format of lines, where they go. What does not: what is logged, or spans
(`traces`, which says here what trace a request belongs to).

Every request has an id: its own `X-Request-ID` if that is a decent one, else a new one. It is in the answer, in the
prediction log, in every line that is logged while the request is answered, and in its span.
"""

import json
import logging
import re
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID_HEADER = "X-Request-ID"

_HEADER = REQUEST_ID_HEADER.lower().encode()
_decent = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_trace: ContextVar[tuple[str, str] | None] = ContextVar("trace", default=None)

_ACCESS_LOGS = ("uvicorn.access", "bentoml.access")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def speak_of_trace(trace_id: str, span_id: str) -> None:
    """Lines of the present request belong to this span, from now on."""
    _trace.set((trace_id, span_id))


class RequestIdMiddleware:
    """Gives every request its id; pure ASGI, outermost.

    It is `scope["state"]["request_id"]`, and the header X-Request-ID of the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        request_id = own.decode() if _decent(own) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        header = (_HEADER, request_id.encode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        _trace.set(None)  # a connection may be one task with many requests
        _request_id.set(request_id)
        await self._app(scope, receive, named)


class JsonFormatter(logging.Formatter):
    """One line of JSON: at, level, logger, message; request_id, trace_id and span_id when there are any; the extras of
    the record; and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := _request_id.get()) is not None:
            line["request_id"] = request_id
        if (trace := _trace.get()) is not None:
            line["trace_id"], line["span_id"] = trace
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # ASCII: every stream can take it


class TextFormatter(logging.Formatter):
    """A line for people, with the request id at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of logging
        """The line without its traceback."""
        request_id = _request_id.get()
        return super().formatMessage(record) + (f" [{request_id}]" if request_id is not None else "")


def configure_logging(log_format: Literal["json", "text"], level: str) -> None:
    """Everything that is logged in this process goes to the error output, once, in this format.

    Handlers that other packages attached are taken away. There is no access log: requests are counted, traced and, when
    they are answered with a forecast, written down in the prediction log.
    """
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate, logger.disabled = True, False
    for name in _ACCESS_LOGS:
        logging.getLogger(name).propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
