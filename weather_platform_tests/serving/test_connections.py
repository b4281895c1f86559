"""What clients can make a worker keep, on real sockets: each bound where it holds, and what stays below it."""

import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import psutil
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from weather_platform.serving.connections import Bounds, protocol
from weather_platform_tests import loopback
from weather_platform_tests.small_server import SmallServer, small_server

SLOTS = 20
BOUNDS = Bounds(connections=SLOTS, head_seconds=2.0, unread_bytes=12 * 2**20, unread_seconds=3.0)
LARGE_BYTES = 8 * 2**20
"""More than the kernel keeps of an answer."""

GET = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_SECONDS = 60.0


def application() -> ASGIApp:
    api = FastAPI(openapi_url=None)

    @api.get("/one")
    async def one(request: Request) -> Response:
        return PlainTextResponse(f"{len(request.headers)}")

    @api.post("/one")
    async def sent(request: Request) -> Response:
        return PlainTextResponse(f"{len(await request.body())}")

    @api.get("/large")
    async def large() -> Response:
        return Response(b"x" * LARGE_BYTES)

    return api


def bounded() -> object:
    return protocol(BOUNDS)


def patient() -> object:
    """Bounds that only the number of connections reaches."""
    return protocol(Bounds(connections=SLOTS, head_seconds=PATIENCE_SECONDS, new_seconds=PATIENCE_SECONDS))


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    with small_server(__name__, "application", http="bounded") as started:
        yield started


def connected(server: SmallServer, source: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS, (source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


@contextmanager
def many(server: SmallServer, count: int, source: str, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections from one address, each after it sent this."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(closing(connected(server, source))))
            made[-1].sendall(sent)
        yield made


def asked(connection: socket.socket) -> bytes:
    """One answer of a connection that stays open."""
    connection.sendall(GET)
    received = b""
    while not received.endswith(b"\r\n\r\n1"):
        piece = connection.recv(2**16)
        assert piece, received
        received += piece
    return received


def said(connection: socket.socket) -> bytes:
    """Everything until the server closes; what was reset is not there."""
    received = b""
    try:
        while piece := connection.recv(2**16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def sent_until_closed(connection: socket.socket, piece: bytes, at_most: int) -> int:
    """Bytes that could be sent before the server closed, a piece after the other; it has time to answer each."""
    sent = 0
    while sent < at_most and not select.select([connection], [], [], 0.01)[0]:
        try:
            connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return sent
        sent += len(piece)
    return sent


def is_open(connection: socket.socket) -> bool:
    """Whether the server has neither closed nor answered."""
    return not select.select([connection], [], [], 0)[0]


def eventually_open(connections: list[socket.socket], count: int) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while (left := sum(map(is_open, connections))) > count:
        assert time.monotonic() < give_up, f"{left} are open"
        time.sleep(0.02)


def process_of(server: SmallServer) -> psutil.Process:
    pid = server.process.process.pid
    assert pid is not None
    return psutil.Process(pid)


def memory_bytes(server: SmallServer) -> int:
    return process_of(server).memory_info().rss


def connections_at(server: SmallServer) -> int:
    """Connections that the server has open."""
    of_server = process_of(server).net_connections(kind="tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in of_server)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET /one HTTP/1.1\r\nX-Long: ", b"x" * 1024),
        (b"GET /one HTTP/1.1\r\n", b"X-Many: of these\r\n" * 60),
        (b"GET /one HTTP/1.1\r\n", b"a:\r\n"),
        (b"GET /one?", b"x" * 1024),
        (b"", b"\r\n" * 512),
        (GET + b"GET /one HTTP/1.1\r\nX-Long: ", b"x" * 1024),
        (b"POST /one HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-Trailer: of these\r\n" * 50),
        (b"POST /one HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 1024),
    ],
    ids=["value", "lines", "short-lines", "target", "nothing", "second-request", "trailers", "chunk-extension"],
)
def test_a_head_without_end_is_refused(server: SmallServer, begun: bytes, piece: bytes) -> None:
    with closing(connected(server)) as connection:
        if begun.startswith(GET):
            asked(connection)
        connection.sendall(begun.removeprefix(GET))
        assert sent_until_closed(connection, piece, 2**20) < 2**20
        if begun.startswith(b"GET"):
            assert said(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("lines", "bytes_each", "status"), [(99, 100, 200), (101, 10, 431), (10, 1_500, 200), (10, 2_000, 431)]
)
def test_a_whole_head_is_answered_up_to_its_bounds_and_refused_beyond(
    server: SmallServer, lines: int, bytes_each: int, status: int
) -> None:
    head = b"".join(b"X-Field-%d: %b\r\n" % (number, b"x" * bytes_each) for number in range(lines))
    with closing(connected(server)) as connection:
        connection.sendall(b"GET /one HTTP/1.1\r\n" + head + b"Connection: close\r\n" * (status == 200) + b"\r\n")
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status == 431:
        assert b"16,384 bytes and 100 lines" in answer


def test_a_large_body_in_pieces_and_in_chunks_is_read_whole(server: SmallServer) -> None:
    size = 3 * 2**20
    assert loopback.post(f"{server.url}/one", content=bytes(size)).text == str(size)
    assert loopback.post(f"{server.url}/one", content=(bytes(10) for _ in range(20_000))).text == "200000"


def test_a_head_that_does_not_end_in_time_is_answered_with_408_and_a_silent_connection_is_closed(
    server: SmallServer,
) -> None:
    """However little is sent now and then, also after a first request."""
    with (
        closing(connected(server)) as slow,
        closing(connected(server)) as silent,
        closing(connected(server)) as second,
        closing(connected(server)) as blank,
    ):
        asked(second)
        begun = time.monotonic()
        open_ones = {slow: b"GET /one HTTP/1.1\r\n", second: b"GET /one HTTP/1.1\r\n", blank: b"\r\n"}
        while open_ones and time.monotonic() < begun + PATIENCE_SECONDS:
            for connection, piece in list(open_ones.items()):
                if not is_open(connection):
                    del open_ones[connection]
                    continue
                connection.sendall(piece)
                open_ones[connection] = piece if piece == b"\r\n" else b"X: y\r\n"
            time.sleep(0.1)
        assert not open_ones
        assert said(slow).startswith(b"HTTP/1.1 408 ")
        assert said(second).startswith(b"HTTP/1.1 408 ")
        assert said(silent) == b""
    assert loopback.get(f"{server.url}/one").status_code == 200


def test_requests_sent_ahead_are_answered_in_order_and_too_many_of_them_are_dropped(server: SmallServer) -> None:
    with closing(connected(server)) as connection:
        ask = b"".join(b"POST /one HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (at, b"x" * at) for at in range(10))
        connection.sendall(ask + b"GET /one HTTP/1.1\r\nConnection: close\r\n\r\n")
        answers = said(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 11
    assert [answers.index(b"\r\n\r\n%d" % at) for at in range(10)] == sorted(
        answers.index(b"\r\n\r\n%d" % at) for at in range(10)
    )
    with closing(connected(server)) as connection:
        connection.sendall(GET * 5_000)
        assert said(connection).count(b"HTTP/1.1 200 ") < 100


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"], ids=["from-its-own-address", "from-another"])
@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /one HT", b"POST /one HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", GET],
    ids=["silent", "head", "body", "idle"],
)
def test_a_full_worker_answers_who_asks_in_the_place_of_who_waits(
    server: SmallServer, source: str, sent: bytes
) -> None:
    with many(server, 3 * SLOTS, source, sent) as hostile:
        for _ in range(SLOTS):
            assert loopback.get(f"{server.url}/one").status_code == 200
        closed = [connection for connection in hostile if not is_open(connection)]
        if sent != GET:
            assert len(closed) >= 2 * SLOTS


def test_who_has_few_connections_keeps_them_when_others_open_many(server: SmallServer) -> None:
    with closing(connected(server, "127.0.0.5")) as kept:
        for _ in range(3):
            asked(kept)
            with many(server, 2 * SLOTS, "127.0.0.6") as hostile:
                eventually_open(hostile, SLOTS)
        asked(kept)


def test_answers_that_are_not_read_are_bounded_and_who_reads_slowly_gets_everything(server: SmallServer) -> None:
    ask = b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n"
    before = memory_bytes(server)
    with closing(connected(server)) as slow, ThreadPoolExecutor() as beside:
        slow.sendall(ask)
        # Enough for the server to notice: the kernel reports room when a third of its buffer is free.
        received = read_slowly(slow, at_most=3 * 2**20)
        rest = beside.submit(read_slowly, slow)
        with many(server, SLOTS - 2, "127.0.0.7", ask) as hostile:
            assert received + rest.result(PATIENCE_SECONDS) > LARGE_BYTES
            assert memory_bytes(server) - before < SLOTS * LARGE_BYTES // 2
            give_up = time.monotonic() + PATIENCE_SECONDS
            while left := connections_at(server):
                assert time.monotonic() < give_up, f"{left} answers that nobody reads are kept"
                time.sleep(0.1)
            assert any(len(said(each)) < LARGE_BYTES for each in hostile)


def read_slowly(connection: socket.socket, at_most: int = 2 * LARGE_BYTES) -> int:
    """Bytes read until the server closes, about 6 MB/s."""
    received = 0
    while received < at_most and (piece := connection.recv(2**17)):
        received += len(piece)
        time.sleep(0.02)
    return received


def test_a_new_connection_has_time_to_ask_while_others_of_its_address_are_stalled() -> None:
    body = b"POST /one HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"
    with (
        small_server(__name__, "application", http="patient") as server,
        many(server, SLOTS - 1, "127.0.0.1", body) as hostile,
        closing(connected(server)) as fresh,
        many(server, 3, "127.0.0.1", body),
    ):
        eventually_open(hostile, SLOTS - 4)
        asked(fresh)


def test_the_closed_are_counted_in_one_line_and_a_bad_request_has_none() -> None:
    with small_server(__name__, "application", http="bounded") as server:
        for _ in range(3):
            with closing(connected(server)) as connection:
                connection.sendall(b"no request\r\n\r\n")
                assert b" 400 " in said(connection)
            with closing(connected(server)) as connection:
                connection.sendall(GET.strip())
                sent_until_closed(connection, b"x" * 2**14, 2**20)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while "connections closed by the bounds" not in server.output.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.1)
