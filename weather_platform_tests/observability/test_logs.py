"""Lines of the log and ids of requests, against a real server."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from weather_platform.observability.logs import JsonFormatter, RequestIdMiddleware, TextFormatter, configure_logging
from weather_platform_tests import loopback
from weather_platform_tests.small_server import SmallServer, small_server

_logger = logging.getLogger("weather_platform.small")


def application() -> ASGIApp:
    """Logs what it is asked, in the loop and in a thread."""
    return _application("json")


def application_for_people() -> ASGIApp:
    return _application("text")


def _application(log_format: Any) -> ASGIApp:
    logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler())
    logging.getLogger("weather_platform.small").addHandler(logging.StreamHandler())
    configure_logging(log_format, "INFO")
    api = FastAPI(openapi_url=None)

    @api.get("/say/{word}")
    async def say(word: str, request: Request) -> Response:
        _logger.info("said %s", word, extra={"station": word})
        await run_in_threadpool(_logger.warning, "said in a thread")
        _logger.debug("nobody hears this")
        return PlainTextResponse(request.state.request_id)

    @api.get("/fail")
    async def fail() -> Response:
        raise RuntimeError("two\nlines")

    return RequestIdMiddleware(api)


@pytest.fixture
def server() -> Iterator[SmallServer]:
    with small_server(__name__, "application") as started:
        yield started


def lines(server: SmallServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.stop().splitlines()]


@pytest.mark.parametrize("own", ["a", "A-b_c.9", "x" * 128])
def test_a_decent_id_of_a_request_is_kept_and_answered(server: SmallServer, own: str) -> None:
    answer = loopback.get(f"{server.url}/say/rain", headers={"X-Request-ID": own})
    assert (answer.text, answer.headers["x-request-id"]) == (own, own)


@pytest.mark.parametrize("own", [None, "", "x" * 129, "a b", "a\u00e9", "a;b", '"}'])
def test_any_other_request_gets_a_new_id(server: SmallServer, own: str | None) -> None:
    headers = {} if own is None else {"X-Request-ID": own.encode("latin-1")}
    first, second = (loopback.get(f"{server.url}/say/rain", headers=headers) for _ in range(2))  # type: ignore[arg-type]
    assert re.fullmatch(r"[0-9a-f]{32}", first.text)
    assert first.headers["x-request-id"] == first.text
    assert first.text != second.text


def test_refusals_and_failures_bear_the_id_too(server: SmallServer) -> None:
    for path in ("/nowhere", "/fail"):
        assert loopback.get(server.url + path, headers={"X-Request-ID": "mine"}).headers.get("x-request-id") == "mine"


def test_lines_bear_the_id_of_their_request_in_the_loop_and_in_threads_and_others_none(server: SmallServer) -> None:
    with loopback.Client(base_url=server.url) as client:  # one connection
        client.get("/say/rain", headers={"X-Request-ID": "first"})
        client.get("/say/hail", headers={"X-Request-ID": "second"})
    found = lines(server)
    ours = [line for line in found if line["logger"] == "weather_platform.small"]
    assert [(line["message"], line["level"], line["request_id"]) for line in ours] == [
        ("said rain", "INFO", "first"),
        ("said in a thread", "WARNING", "first"),
        ("said hail", "INFO", "second"),
        ("said in a thread", "WARNING", "second"),
    ]
    assert [line.get("station") for line in ours] == ["rain", None, "hail", None]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", line["at"]) for line in found)
    others = [line for line in found if line["logger"].startswith("uvicorn")]
    assert others
    assert not [line for line in others if "request_id" in line]
    assert not [line for line in found if line["logger"] == "uvicorn.access"], "requests are counted, not logged"
    assert not [line for line in found if "trace_id" in line]


def test_a_failure_is_one_line_with_its_traceback(server: SmallServer) -> None:
    loopback.get(f"{server.url}/fail", headers={"X-Request-ID": "mine"})
    (line,) = [line for line in lines(server) if line["level"] == "ERROR"]
    assert 'raise RuntimeError("two\\nlines")' in line["traceback"]
    assert line["request_id"] == "mine"


def test_lines_for_people_are_no_json_and_bear_the_id_at_their_end() -> None:
    with small_server(__name__, "application_for_people") as server:
        loopback.get(f"{server.url}/say/rain", headers={"X-Request-ID": "mine"})
        text = server.stop()
    assert "INFO weather_platform.small: said rain [mine]\n" in text
    assert "uvicorn.error: Started server process" in text


def test_a_line_holds_what_no_json_type_fits_as_text() -> None:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "m", "folder": {1, 2}, "name_\ud83c": 1})
    assert json.loads(JsonFormatter().format(record))["folder"] == "{1, 2}"
    assert "[" not in TextFormatter().format(record)
