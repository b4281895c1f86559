"""Which requests the guard lets through: the rules as a table, and the guard around an application on a real server."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from weather_platform.ui.guard import Guard, hosts_of, refusal

HOSTS = frozenset({"localhost:3000", "127.0.0.1:3000", "weather.example.org"})
JSON = {"content-type": "application/json"}
OWN = {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
FOREIGN = "may not use this interface"
FORM = "the content of a form"
GET, POST, SOCKET = "GET", "POST", "WEBSOCKET"


def why(method: str, target: str, headers: dict[str, str], host: str = "127.0.0.1:3000") -> str | None:
    path, _, query = target.partition("?")
    return refusal(method, path, query.encode(), Headers({"host": host} | headers), HOSTS)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (GET, "/", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
        (GET, "/runs?status=FAILURE", LINK),
        (GET, "/runs", LINK | {"sec-fetch-site": "same-site"}),
        (GET, "/static/js/main.js", {"sec-fetch-site": "same-origin"}),
        (GET, "/graphql", {"accept": "text/html"}),
        (POST, "/graphql", OWN | JSON),
        (POST, "/graphql", OWN | {"content-type": "Application/JSON; charset=utf-8"}),
        (POST, "/graphql", JSON),  # a program
        (SOCKET, "/graphql", {"origin": "http://127.0.0.1:3000"}),
        (SOCKET, "/graphql", {}),
        (POST, "/report_asset_materialization/raw_observations", JSON),
        (POST, "/v1/traces", {"content-type": "application/x-protobuf"}),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/model", {}),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/model", OWN),
        ("OPTIONS", "/graphql", {}),
    ],
)
def test_the_interface_itself_links_and_programs_pass(method: str, target: str, headers: dict[str, str]) -> None:
    assert why(method, target, headers) is None


@pytest.mark.parametrize(
    ("method", "target", "headers", "said"),
    [
        # Another page reads, or sends what a page may send without asking.
        (GET, "/", {"origin": "http://evil.example"}, FOREIGN),
        (GET, "/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, FOREIGN),
        (GET, "/", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": "http://evil.example"}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": "null"}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": ""}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": "http://127.0.0.1:3001"}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": "http://127.0.0.1"}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": "http://localhost:3000"}, FOREIGN),  # a name, but not of this request
        (POST, "/graphql", JSON | {"origin": "http://127.0.0.1:3000.evil.example"}, FOREIGN),
        (POST, "/graphql", JSON | {"origin": "http://evil.example://127.0.0.1:3000"}, FOREIGN),
        (POST, "/graphql", JSON | {"sec-fetch-site": "same-site"}, FOREIGN),
        (POST, "/graphql", LINK | JSON, FOREIGN),  # a form whose answer opens a page
        (SOCKET, "/graphql", {"origin": "http://evil.example"}, FOREIGN),
        (SOCKET, "/graphql", {"origin": "http://127.0.0.1:3001"}, FOREIGN),
        (SOCKET, "/graphql", {"sec-fetch-site": "cross-site"}, FOREIGN),
        ("OPTIONS", "/graphql", {"origin": "http://evil.example"}, FOREIGN),
        # A page around the interface.
        (GET, "/", LINK | {"sec-fetch-dest": "iframe"}, FOREIGN),
        (GET, "/", LINK | {"sec-fetch-dest": "object"}, FOREIGN),
        # GraphQL otherwise than by a JSON POST, from anywhere.
        (GET, "/graphql?query=mutation", LINK, "no query by GET"),
        (GET, "/graphql?query=mutation", {}, "no query by GET"),
        (GET, "/graphql/?query=mutation", {}, "no query by GET"),
        ("HEAD", "/graphql?query=mutation", {}, "no query by GET"),
        (POST, "/graphql?query=mutation", {}, "application/json only, not a body without a type"),
        (POST, "/graphql", {"content-type": "text/plain; application/json"}, "application/json only, not text/plain"),
        (POST, "/graphql", {"content-type": "application/graphql"}, "application/json only"),
        (POST, "/mlflow/graphql", {"content-type": "text/plain"}, "application/json only"),
        # Other routes that change something.
        (POST, "/report_asset_materialization/raw_observations?partition=1", {}, FORM),
        (POST, "/report_asset_check/x", {"content-type": "text/plain"}, FORM),
        (POST, "/ajax-api/2.0/mlflow/runs/delete", {"content-type": "multipart/form-data; boundary=x"}, FORM),
        (POST, "/x", {"content-type": "APPLICATION/x-www-form-urlencoded"}, FORM),
    ],
)
def test_what_a_page_from_elsewhere_can_make_a_browser_send_is_refused(
    method: str, target: str, headers: dict[str, str], said: str
) -> None:
    answer = why(method, target, headers)
    assert answer is not None
    assert said in answer
    assert "\n" not in answer


@pytest.mark.parametrize(
    "host", ["evil.example:3000", "127.0.0.1", "127.0.0.1:3001", "localhost.:3000", "", "127.0.0.1:3000, evil.example"]
)
def test_an_address_that_was_not_given_is_refused(host: str) -> None:
    said = why(GET, "/", {}, host)
    assert said is not None
    assert "WEATHER_UI_HOSTS" in said


def test_a_name_of_the_settings_passes_and_its_own_page_with_it() -> None:
    assert why(POST, "/graphql", JSON | {"origin": "https://weather.example.org"}, "Weather.example.org") is None
    assert why(POST, "/graphql", JSON | OWN, "weather.example.org") is not None


def test_two_host_headers_or_none_are_refused() -> None:
    twice = Headers(raw=[(b"host", b"127.0.0.1:3000"), (b"host", b"127.0.0.1:3000")])
    assert refusal(GET, "/", b"", twice, HOSTS) is not None
    assert refusal(GET, "/", b"", Headers(), HOSTS) is not None


@pytest.mark.parametrize(
    ("server", "named", "some", "absent"),
    [
        (("127.0.0.1", 3000), None, {"localhost:3000", "127.0.0.1:3000", "[::1]:3000"}, {"localhost", "0.0.0.0:3000"}),
        (("192.168.1.5", 3000), "station:3000", {"192.168.1.5:3000", "station:3000"}, {"station"}),
        (("fd00::5", 3000), None, {"[fd00::5]:3000"}, {"fd00::5:3000"}),
        (("127.0.0.1", 80), None, {"localhost", "localhost:80", "127.0.0.1"}, {"[::1]:3000"}),
        (("/run/ui", None), " Weather.Example.org, localhost:8080 ", {"weather.example.org", "localhost:8080"}, {""}),
        (None, None, set(), {"localhost:3000"}),
    ],
)
def test_hosts_are_loopback_the_address_itself_and_what_the_settings_name(
    server: tuple[str, int | None] | None, named: str | None, some: set[str], absent: set[str]
) -> None:
    hosts = hosts_of(server, named)
    assert some <= hosts
    assert not absent & hosts


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """A real server of the application, by its host and port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.method, headers={"Content-Security-Policy": "default-src 'self'"})


APP = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


def test_answers_may_not_be_framed_and_keep_a_policy_of_their_own() -> None:
    with served(Guard(APP, None)) as host:
        passed = httpx.get(f"http://{host}/")
    assert (passed.status_code, passed.text) == (200, "GET")
    assert passed.headers.get_list("content-security-policy") == ["default-src 'self'", "frame-ancestors 'self'"]
    assert passed.headers["x-frame-options"] == "SAMEORIGIN"
    assert passed.headers["x-content-type-options"] == "nosniff"


def test_a_refusal_is_a_403_of_one_line_that_shows_nothing_unprintable() -> None:
    with served(Guard(APP, None)) as host:
        refused = httpx.post(f"http://{host}/graphql", headers={b"Content-Type": b"text/\x85" + b"x" * 500})
    assert refused.status_code == 403
    assert refused.headers["content-type"].startswith("text/plain")
    assert refused.text == f"refused: GraphQL takes application/json only, not text/?{'x' * 94}\n"


def test_a_name_is_taken_in_by_the_setting() -> None:
    with served(Guard(APP, "weather.example.org")) as host:
        known = httpx.get(f"http://{host}/", headers={"Host": "weather.example.org"})
        unknown = httpx.get(f"http://{host}/", headers={"Host": "rebind.example"})
    assert (known.status_code, unknown.status_code) == (200, 403)
    assert "rebind.example" in unknown.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:9999", "Content-Type": "application/json"},  # any page from a port of this machine
        {"Host": "192.168.evil.example"},  # a name that its owner may lead to this machine
        {"Origin": "http://evil.example", "Content-Type": "text/plain"},  # outside of MLflow's API paths
    ],
)
def test_mlflow_lets_through_what_the_guard_refuses(headers: dict[str, str]) -> None:
    """Why MLflow's own rules do not suffice; when this fails, look whether they do."""
    from fastapi import FastAPI
    from mlflow.server.fastapi_security import init_fastapi_security

    async def ask(app: ASGIApp) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:5000") as client:
            return (await client.post("/graphql", headers=headers, content="{}")).status_code

    own = FastAPI()
    init_fastapi_security(own)
    own.mount("/", APP)
    assert asyncio.run(ask(own)) == 200
    assert asyncio.run(ask(Guard(own, None))) == 403
