"""The load generator: a process of its own that costs the machine as little as a client can.

    python benchmarks/serving/load.py PLAN.json > RESULT.json

What belongs here: sending prepared requests over connections that are kept alive, counting and timing the answers.
What does not: knowing what is asked, or any server. The requests are bytes before the clock starts; on each connection
the next one goes out when the answer to the last is whole (closed loop), or when its moment has come and a connection
is free (open loop, `rate`). In the open loop the time that a request waits for a free connection is part of its
latency, so a server that stalls cannot hide it. SIGTERM ends it before its time, with its result.
"""

import asyncio
import gc
import json
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import httptools

_ANSWER_SECONDS = 30.0
"""Without an answer for so long a request has failed."""


@dataclass(frozen=True)
class Plan:
    """What to send. `requests` are sent in turn, over and over; `record` names a file for every answer's fields."""

    port: int
    requests: list[dict[str, Any]]
    connections: int = 8
    seconds: float = 10.0
    warmup_seconds: float = 2.0
    rate: float | None = None
    host: str = "127.0.0.1"
    record: str | None = None
    fields: list[str] = field(default_factory=list)

    def encoded(self) -> list[bytes]:
        """The requests as they go over the wire."""
        return [_encoded(self.host, self.port, each) for each in self.requests]


@dataclass
class Result:
    """What came back. Latencies are milliseconds."""

    seconds: float
    requests: int
    requests_with_warmup: int
    failed: int
    statuses: dict[str, int]
    failures: dict[str, int]
    requests_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    late_ms: float
    cpu_share: float


def _encoded(host: str, port: int, request: dict[str, Any]) -> bytes:
    body: bytes = request.get("body", "").encode()
    lines = [
        f"{request.get('method', 'POST')} {request['path']} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in request.get("headers", {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, done: "Callable[[Connection, str], None]") -> None:
        self._done = done
        self._parser: Any = None
        self._transport: asyncio.Transport | None = None
        self.index, self.due, self.waiting = -1, 0.0, False
        self.body = b""
        self._keep_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.waiting:
            self.waiting = False
            self._done(self, f"connection lost ({type(exc).__name__})" if exc else "connection closed")

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, index: int, request: bytes, due: float) -> None:
        """Send one request; `done` is called when its answer is whole or will never be."""
        assert self._transport is not None
        self.index, self.due, self.waiting, self.body = index, due, True, b""
        self._transport.write(request)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Part of an answer."""
        self.body += body

    def on_message_complete(self) -> None:
        """The whole answer."""
        status = self._parser.get_status_code()
        self._keep_alive = self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        self.waiting = False
        if not self._keep_alive:
            self.abort()
        self._done(self, str(status))


class Generator:
    """Keeps every connection busy, or sends at the rate."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._wire = plan, plan.encoded()
        self._next = 0
        self._latencies: list[float] = []
        self._outcomes: Counter[str] = Counter()
        self._records: list[tuple[float, float, int, str, Any]] = []
        self._connections: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._counting, self._running, self._late = False, True, 0.0
        self._answered = 0
        self._reconnecting: set[asyncio.Task[None]] = set()

    async def run(self) -> Result:
        plan, told_to_end = self._plan, asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
        self._connections = [await self._connected() for _ in range(plan.connections)]
        start = time.perf_counter()
        if plan.rate is None:
            for connection in self._connections:
                self._send(connection, start)
        dispatcher = asyncio.create_task(self._dispatch(start)) if plan.rate is not None else None
        guard = asyncio.create_task(self._abort_silent())
        await asyncio.sleep(plan.warmup_seconds)
        self._counting, self._late = True, 0.0
        began, cpu = time.perf_counter(), time.process_time()
        with suppress(TimeoutError):
            await asyncio.wait_for(told_to_end.wait(), plan.seconds)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        self._counting = False
        self._running = False
        guard.cancel()
        if dispatcher is not None:
            dispatcher.cancel()
        for connection in self._connections:
            connection.waiting = False
            connection.abort()
        return self._result(seconds, used)

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._done), self._plan.host, self._plan.port)
        return connection

    def _send(self, connection: Connection, due: float) -> None:
        index = self._next % len(self._wire)
        self._next += 1
        connection.send(index, self._wire[index], due)

    def _done(self, connection: Connection, outcome: str) -> None:
        now = time.perf_counter()
        self._answered += 1
        if self._counting:
            self._outcomes[outcome] += 1
            if outcome == "200":
                self._latencies.append(now - connection.due)
            if self._plan.record:
                said = _fields(connection.body, self._plan.fields) if outcome == "200" else None
                self._records.append((connection.due, now, connection.index, outcome, said))
        if not self._running:
            return
        if not connection.open:
            task = asyncio.create_task(self._reconnect(connection))
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)
        elif self._plan.rate is None:
            self._send(connection, now)
        elif self._waiting:
            self._send(connection, self._waiting.popleft())

    async def _reconnect(self, lost: Connection) -> None:
        while self._running:
            try:
                fresh = await self._connected()
            except OSError as error:
                if self._counting:
                    self._outcomes[f"cannot connect ({type(error).__name__})"] += 1
                await asyncio.sleep(0.05)
                continue
            self._connections[self._connections.index(lost)] = fresh
            if self._plan.rate is None:
                self._send(fresh, time.perf_counter())
            elif self._waiting:
                self._send(fresh, self._waiting.popleft())
            return

    async def _dispatch(self, start: float) -> None:
        assert self._plan.rate is not None
        sent = 0
        while True:
            now = time.perf_counter()
            while (due := start + sent / self._plan.rate) <= now:
                sent += 1
                # The timer's own lateness is the generator's, not the server's; it is reported beside the latencies.
                self._late = max(self._late, now - due)
                free = next((each for each in self._connections if each.open and not each.waiting), None)
                if free is None:
                    self._waiting.append(now)
                else:
                    self._send(free, now)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def _abort_silent(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            limit = time.perf_counter() - _ANSWER_SECONDS
            for connection in self._connections:
                if connection.waiting and connection.due < limit:
                    connection.abort()

    def _result(self, seconds: float, cpu_seconds: float) -> Result:
        if self._plan.record:
            with Path(self._plan.record).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in self._records)
        ranked = sorted(self._latencies)

        def percentile(share: float) -> float:
            return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1e3 if ranked else float("nan")

        failures = {name: count for name, count in self._outcomes.items() if name != "200"}
        return Result(
            seconds=seconds,
            requests=sum(self._outcomes.values()),
            requests_with_warmup=self._answered,
            failed=sum(failures.values()),
            statuses={name: count for name, count in self._outcomes.items() if name.isdigit()},
            failures=failures,
            requests_per_second=len(ranked) / seconds,
            p50_ms=percentile(0.50),
            p95_ms=percentile(0.95),
            p99_ms=percentile(0.99),
            max_ms=percentile(1.0),
            late_ms=self._late * 1e3,
            cpu_share=cpu_seconds / seconds,
        )


def _fields(body: bytes, names: list[str]) -> list[Any]:
    answer = json.loads(body)
    return [answer.get(name) for name in names]


def main() -> None:
    """Read the plan, send, print the result."""
    import uvloop

    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    gc.freeze()
    json.dump(asdict(uvloop.run(Generator(plan).run())), sys.stdout)


if __name__ == "__main__":
    main()
