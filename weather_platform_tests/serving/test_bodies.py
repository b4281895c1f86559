"""What a request may send, against a real server: bodies that are too large or too slow, and those that are neither."""

import socket
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from weather_platform.observability.logs import RequestIdMiddleware
from weather_platform.serving.bodies import BodyLimitMiddleware
from weather_platform_tests import loopback
from weather_platform_tests.small_server import SmallServer, small_server

LIMIT, BATCH_LIMIT, SECONDS = 10_000, 200_000, 1.0
TOO_LARGE_TO_DRAIN = 70 * 2**20


def application() -> ASGIApp:
    """Says how much it was sent, and how often it was asked."""
    api = FastAPI(openapi_url=None)
    api.state.asked = 0

    async def echo(request: Request) -> Response:
        api.state.asked += 1
        return PlainTextResponse(f"{len(await request.body())} {sum(await request.body()) % 256}")

    @api.get("/asked")
    async def asked() -> int:
        return int(api.state.asked)

    @api.post("/waits")
    async def waits(request: Request) -> Response:
        await request.body()
        try:
            while (await request.receive())["type"] != "http.disconnect":
                pass
        except ClientDisconnect:
            pass
        api.state.asked += 100
        return Response()

    api.post("/one")(echo)
    api.get("/one")(echo)
    api.post("/batch")(echo)
    limited = BodyLimitMiddleware(api, lambda path: BATCH_LIMIT if path == "/batch" else LIMIT, SECONDS)
    return RequestIdMiddleware(limited)


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    with small_server(__name__, "application") as started:
        yield started


def asked(server: SmallServer) -> int:
    """How many requests have reached the application."""
    return int(loopback.get(f"{server.url}/asked").text)


def pieces(size: int) -> Iterator[bytes]:
    """A body of unknown length."""
    for start in range(0, size, 3_000):
        yield b"x" * min(3_000, size - start)


@pytest.mark.parametrize(("path", "limit"), [("/one", LIMIT), ("/batch", BATCH_LIMIT)])
def test_a_body_up_to_the_limit_of_its_path_arrives_whole_and_a_larger_one_never(
    server: SmallServer, path: str, limit: int
) -> None:
    before = asked(server)
    body = bytes(number % 251 for number in range(limit))
    assert loopback.post(server.url + path, content=body).text == f"{limit} {sum(body) % 256}"
    assert loopback.post(server.url + path, content=pieces(limit)).text == f"{limit} {limit * ord('x') % 256}"
    assert asked(server) == before + 2
    for larger in (body + b"1", pieces(limit + 1)):
        answer = loopback.post(server.url + path, content=larger, headers={"X-Request-ID": "mine"})
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == f"the body is larger than {limit:,} bytes"
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    assert asked(server) == before + 2


def test_a_body_far_over_the_limit_is_answered_all_the_same(server: SmallServer) -> None:
    assert loopback.post(f"{server.url}/one", content=b"x" * (20 * 2**20)).status_code == 413


def test_a_body_that_nobody_would_read_to_its_end_is_refused_by_its_announcement(server: SmallServer) -> None:
    head = f"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: {TOO_LARGE_TO_DRAIN}\r\n\r\n"
    assert spoken(server, [head.encode()]).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("length", "answer"), [(LIMIT, b"HTTP/1.1 100 "), (LIMIT + 1, b"HTTP/1.1 413 ")])
def test_a_client_that_asks_before_it_sends_is_told_at_once(server: SmallServer, length: int, answer: bytes) -> None:
    head = f"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    assert spoken(server, [head.encode()]).startswith(answer)


def test_a_request_without_a_body_needs_none(server: SmallServer) -> None:
    assert loopback.get(f"{server.url}/one").text == "0 0"
    assert loopback.post(f"{server.url}/one").text == "0 0"


def test_many_requests_go_through_one_connection(server: SmallServer) -> None:
    with loopback.Client(base_url=server.url) as client:
        assert [client.post("/one", content=b"x" * size).text for size in (1, 2, 0, 3)] == [
            "1 120", "2 240", "0 0", "3 104",
        ]  # fmt: skip


HEAD = b"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


def spoken(server: SmallServer, parts: list[bytes], pause: float = 0.0) -> bytes:
    """What the server says to these bytes, sent with pauses; to its end of the connection or for a while."""
    said = b""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        connection.settimeout(4 * SECONDS)
        try:
            while chunk := connection.recv(65536):
                said += chunk
                if said.startswith((b"HTTP/1.1 200", b"HTTP/1.1 100")):
                    break
        except TimeoutError:
            said += b" and the connection stayed open"
    return said


def test_a_body_that_does_not_arrive_in_time_is_answered_and_the_connection_ended(server: SmallServer) -> None:
    before = asked(server)
    said = spoken(server, [HEAD + b"12345"])
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not arrive within 1 s" in said
    assert not said.endswith(b"stayed open")
    assert asked(server) == before


def test_drops_of_a_body_do_not_win_time(server: SmallServer) -> None:
    assert spoken(server, [HEAD, b"1", b"2", b"3", b"4"], pause=0.3).startswith(b"HTTP/1.1 408 ")


def test_a_body_in_parts_that_is_there_in_time_is_taken(server: SmallServer) -> None:
    assert spoken(server, [HEAD, b"12345", b"67890"], pause=0.2).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_in_the_middle_of_its_body_reaches_nobody(server: SmallServer) -> None:
    before = asked(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEAD + b"12345")
        time.sleep(0.1)
    time.sleep(0.2)
    assert asked(server) == before


def test_the_application_still_learns_that_its_client_left(server: SmallServer) -> None:
    before = asked(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEAD.replace(b"/one", b"/waits") + b"1234567890")
        time.sleep(0.1 + SECONDS)
        assert asked(server) == before, "the time for the body does not run once it is there"
    deadline = time.monotonic() + 10
    while asked(server) < before + 100:
        assert time.monotonic() < deadline
        time.sleep(0.02)
