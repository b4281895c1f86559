"""Connections of one worker, within bounds: what a client can make the server keep before and between requests.

What belongs here: how long a head may be and take, how many connections there are and which one makes room, answers
that are not read. What does not: bodies (`bodies`), logins and rates (`auth`, `limits`), anything about a request that
was read.

uvicorn reads with httptools, which bounds neither the size of a head nor the number of its lines nor the time it takes.
uvicorn's other parser, h11, bounds the size alone and costs three times as much a request; see docs/adr/0020. So the
protocol of uvicorn is extended here, by the methods that asyncio and httptools call.

When a worker has as many connections as it may, a new one takes the place of another: of the address with most
connections, one that keeps the server waiting. So a client that sends its requests and reads its answers is served
however many connections others hold open, also from its own address.
"""

import logging
import resource
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import uvicorn.config
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from weather_platform.serving.answers import problem
from weather_platform.serving.limits import network

_LOOK_SECONDS = 1.0
_REPORT_SECONDS = 60.0
_OTHER_FILES = 200
"""Files and sockets that a worker opens beside its connections."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one worker allows. `head_bytes` is also what is read at a time."""

    connections: int
    head_bytes: int = 16 * 2**10
    head_lines: int = 100
    head_seconds: float = 10.0
    new_seconds: float = 1.0
    """How long a new connection may take to send its head before it is the first to make room."""
    pipelined: int = 16
    unread_bytes: int = 64 * 2**20
    """Of answers that wait for their clients, over all connections."""
    unread_seconds: float = 30.0
    """How long a client may take none of its answer."""
    pause_seconds: float = 3.0
    """The same while answers are over their bound: who pauses longer is the first to be dropped."""


def bound_connections(connections: int) -> None:
    """Let uvicorn, which BentoML starts with its defaults, use the protocol of this module in this process."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    bounds = Bounds(connections=max(1, min(connections, files - _OTHER_FILES)))
    uvicorn.config.HTTP_PROTOCOLS["auto"] = protocol(bounds)
    # It has a line for every request that cannot be read: clients could fill the disk.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def protocol(bounds: Bounds) -> Any:
    """What uvicorn calls for every connection; all that come from one call share the bounds."""
    return partial(BoundedProtocol, Connections(bounds))


class Connections:
    """All connections of one worker, and which of them goes when there is no room."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.too_large = _refusal(
            431, f"the head of a request has at most {bounds.head_bytes:,} bytes and {bounds.head_lines} lines"
        )
        self.too_slow = _refusal(408, f"the head of the request did not arrive within {bounds.head_seconds:g} s")
        self._of: dict[str, _Address] = {}
        self._count = 0
        self._closed: Counter[str] = Counter()
        self._look_at: TimerHandle | None = None
        self._report_at = 0.0

    def __iter__(self) -> Iterator["BoundedProtocol"]:
        return chain.from_iterable(map(iter, self._of.values()))

    def take(self, connection: "BoundedProtocol") -> bool:
        """Take a new connection in; whether there is room for it."""
        if self._count >= self.bounds.connections and not self._make_room():
            self.count("refused, as all others were at work")
            return False
        self._of.setdefault(connection.address, _Address()).new[connection] = None
        self._count += 1
        if self._look_at is None:
            self._look_at = connection.loop.call_later(_LOOK_SECONDS, self._look, connection.loop)
        return True

    def asked(self, connection: "BoundedProtocol") -> None:
        """Note that the connection has sent a whole head."""
        of = self._of[connection.address]
        (of.seen if connection in of.seen else of.new).pop(connection)
        of.seen[connection] = None

    def drop(self, connection: "BoundedProtocol", reason: str) -> None:
        """End a connection at once, whatever waits to be sent."""
        self.count(reason)
        self.forget(connection)
        connection.transport.abort()

    def forget(self, connection: "BoundedProtocol") -> None:
        """A connection has ended; it may be forgotten already."""
        of = self._of.get(connection.address)
        if of is None or connection not in of:
            return
        of.new.pop(connection, None)
        of.seen.pop(connection, None)
        self._count -= 1
        if not of.new and not of.seen:
            del self._of[connection.address]

    def count(self, reason: str) -> None:
        """Count a connection that is closed."""
        self._closed[reason] += 1

    def bound_unread(self, now: float) -> None:
        """Drop answers until what waits to be sent is within its bound: first who stopped reading, then the largest."""
        waiting = {each: each.unread_bytes(now) for each in self if each.flow.write_paused}
        total = sum(waiting.values())
        if total <= self.bounds.unread_bytes:
            return
        stopped = {each: now - each.read_at > self.bounds.pause_seconds for each in waiting}
        for connection in sorted(waiting, key=lambda each: (stopped[each], waiting[each]), reverse=True):
            if total <= self.bounds.unread_bytes:
                return
            total -= waiting[connection]
            self.drop(connection, "dropped, as too much waited to be read")

    def _make_room(self) -> bool:
        for of in sorted(self._of.values(), key=len, reverse=True):
            if (connection := of.to_make_room(self.bounds.new_seconds)) is not None:
                self.drop(connection, "dropped for a new one")
                return True
        return False

    def _look(self, loop: AbstractEventLoop) -> None:
        """Once a second: what takes too long."""
        now = loop.time()
        for connection in list(self):
            connection.look(now)
        if self._closed and now >= self._report_at:
            self._report_at = now + _REPORT_SECONDS
            told = ", ".join(f"{count:,} {reason}" for reason, count in self._closed.items())
            _log.warning("connections closed by the bounds of the server: %s", told)
            self._closed.clear()
        again = self._count or self._closed
        self._look_at = loop.call_later(_LOOK_SECONDS, self._look, loop) if again else None


class _Address:
    """The connections of one address: those that never sent a whole head, and the others, the last to ask last."""

    __slots__ = ("new", "seen")

    def __init__(self) -> None:
        self.new: dict[BoundedProtocol, None] = {}
        self.seen: dict[BoundedProtocol, None] = {}

    def __len__(self) -> int:
        return len(self.new) + len(self.seen)

    def __iter__(self) -> Iterator["BoundedProtocol"]:
        return chain(self.new, self.seen)

    def __contains__(self, connection: "BoundedProtocol") -> bool:
        return connection in self.new or connection in self.seen

    def to_make_room(self, new_seconds: float) -> "BoundedProtocol | None":
        """The one whose end costs its client least: first one that has sent no head for so long, then one that does not
        send its body or read its answer, then a new one, last one that is idle between requests."""
        oldest = next((each for each in self.new if each.waits_for_client), None)
        if oldest is not None and oldest.waited_seconds() > new_seconds:
            return oldest
        stalled = next((each for each in self.seen if each.is_stalled), None)
        return stalled or oldest or next((each for each in self.seen if each.waits_for_client), None)


def _refusal(status: int, detail: str) -> Response:
    return problem(status, detail, headers={"Connection": "close"})


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Its parser never holds more than `head_bytes` twice."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.ws_protocol_class = None  # it would take the connection out of its bounds, and no route has one
        self.address = ""
        self.read_at = 0.0
        self._connections, self._bounds = connections, connections.bounds
        self._asks_since = 0.0
        self._unparsed_bytes = 0
        self._unread_bytes = 0

    # ------------------------------------------------------------------------------------------- called by asyncio

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = network(self.client[0]) if self.client else ""
        self._asks_since = self.read_at = self.loop.time()
        if not self._connections.take(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        size = self._bounds.head_bytes
        if len(data) <= size:
            self._parse(data)
            return
        for start in range(0, len(data), size):
            if self.transport.is_closing():
                return
            self._parse(data[start : start + size])

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.bound_unread(self.loop.time())

    def resume_writing(self) -> None:
        self.read_at = self.loop.time()
        super().resume_writing()

    # ----------------------------------------------------------------------------------------- called by httptools

    def on_headers_complete(self) -> None:
        if len(self.headers) > self._bounds.head_lines or self._is_head_too_large():
            self._connections.count("refused with 431")
            self.app = self._connections.too_large
        self._unparsed_bytes = 0
        self._connections.asked(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    # ------------------------------------------------------------------------------------------- called by uvicorn

    def on_response_complete(self) -> None:
        self._asks_since = self.loop.time()
        super().on_response_complete()

    # --------------------------------------------------------------------------------------- called by Connections

    @property
    def waits_for_client(self) -> bool:
        """Whether it costs nobody an answer to end it: the client has to send or to read."""
        return not self._is_answering or self.is_stalled

    @property
    def is_stalled(self) -> bool:
        """Whether a request or an answer is held up, because the client does not send its body or does not read."""
        return self.flow.write_paused or (self._is_answering and self.cycle.more_body)

    def waited_seconds(self) -> float:
        """How long it has had time to send a head."""
        return self.loop.time() - self._asks_since

    def unread_bytes(self, now: float) -> int:
        """What waits to be sent; when it has become less, the client has read."""
        left = self.transport.get_write_buffer_size()
        if not left or left < self._unread_bytes:
            self.read_at = now
        self._unread_bytes = left
        return left

    def look(self, now: float) -> None:
        """End it when it takes too long."""
        self.unread_bytes(now)
        if now - self.read_at > self._bounds.unread_seconds:
            self._connections.drop(self, "dropped, as the answer was not read")
        elif self.transport.is_closing() or self._is_answering:
            return
        elif now - self._asks_since > self._bounds.head_seconds:
            if self._unparsed_bytes:
                self._refuse(self._connections.too_slow)
            else:
                self._connections.count("closed, as nothing was sent")
                self.transport.close()

    @property
    def _is_answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_head_too_large(self) -> bool:
        """What came with the head, such as its body, may be in the bytes that were not counted apart yet."""
        if self._unparsed_bytes <= self._bounds.head_bytes:
            return False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        return size > self._bounds.head_bytes

    def _parse(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.app is self._connections.too_large:
            return
        if len(self.pipeline) > self._bounds.pipelined:
            self._connections.drop(self, "dropped, as too many requests were sent ahead")
        elif self._unparsed_bytes > self._bounds.head_bytes or len(self.headers or ()) > self._bounds.head_lines:
            self._refuse(self._connections.too_large)

    def _refuse(self, refusal: Response) -> None:
        """Answer, unless another answer is on its way, and close."""
        self._connections.count(f"refused with {refusal.status_code}")
        if not self._is_answering:
            fields = b"".join(b"%b: %b\r\n" % field for field in refusal.raw_headers)
            self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[refusal.status_code], fields, bytes(refusal.body)))
        self.transport.close()
