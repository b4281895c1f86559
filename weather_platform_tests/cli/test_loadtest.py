"""`weather loadtest --rate` against a small server that stalls: what was due and did not come is told."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.progress import Progress
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from weather_platform.cli.loadtest import NOT_SENT
from weather_platform.client import StationEntry, StationsAnswer
from weather_platform_tests.e2e.homes import Done, empty_home
from weather_platform_tests.loopback import get, post
from weather_platform_tests.small_server import SmallServer, small_server

SIGNED_IN = {"WEATHER_USER": "ada", "WEATHER_PASSWORD": "blue whales eat krill"}
RATE, SECONDS = 50, 2
SYDNEY = StationEntry(
    id="Sydney", state="NSW", latitude_deg=-33.9, longitude_deg=151.2, elevation_m=39.0, timezone="Australia/Sydney"
)
KNOWN = StationsAnswer(stations=(SYDNEY,), first_day=date(2015, 1, 1), last_day=date(2015, 6, 30))


def stalling() -> Starlette:
    """A service of one station that answers nothing between two moments after the first request."""
    state: dict[str, Any] = {}

    async def token(_: Request) -> JSONResponse:
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "expires_in": 900, "scope": "predict"})

    async def stations(_: Request) -> JSONResponse:
        return JSONResponse(TypeAdapter(StationsAnswer).dump_python(KNOWN, mode="json"))

    async def predict(_: Request) -> JSONResponse:
        state["first"] = state["first"] or time.monotonic()
        state["asked"] += 1
        passed = time.monotonic() - state["first"]
        if state["begin"] <= passed < state["end"]:
            await asyncio.sleep(state["end"] - passed)
        return JSONResponse({})

    async def begin(request: Request) -> JSONResponse:
        state.update({"first": None, "asked": 0, **await request.json()})
        return JSONResponse({})

    async def asked(_: Request) -> JSONResponse:
        return JSONResponse(state["asked"])

    return Starlette(
        routes=[
            Route("/v1/token", token, methods=["POST"]),
            Route("/v1/stations", stations),
            Route("/v1/predict", predict, methods=["POST"]),
            Route("/begin", begin, methods=["POST"]),
            Route("/asked", asked),
        ]
    )


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    """The service, which is told before each test when it stalls."""
    with small_server(__name__, "stalling") as running:
        yield running


def load_test(server: SmallServer, folder: Path, begin: float, end: float) -> tuple[Done, int]:
    """A load test of a service that stalls between these seconds; gives what it printed, and what the service got."""
    post(f"{server.url}/begin", json={"begin": begin, "end": end})
    done = empty_home(folder).call(
        "loadtest", "--target", "rain_tomorrow", "--url", server.url, "--connections", "2",
        "--rate", str(RATE), "--seconds", str(SECONDS), **SIGNED_IN,
    )  # fmt: skip
    return done, get(f"{server.url}/asked").json()


def percentiles(done: Done) -> list[float]:
    """p50, p95 and p99 in milliseconds."""
    found = re.search(r"p50 ([\d.]+) ms, p95 ([\d.]+) ms, p99 ([\d.]+) ms$", done.out, re.MULTILINE)
    assert found, done.out + done.err
    return [float(each) for each in found.groups()]


def test_requests_that_were_due_during_a_stall_are_sent_after_it_with_the_time_they_waited(
    server: SmallServer, tmp_path: Path
) -> None:
    done, asked = load_test(server, tmp_path / "home", 0.5, 1.5)
    assert done.code == 0, done.err
    assert asked == RATE * SECONDS
    assert f"{RATE * SECONDS} requests in" in done.out
    # Due evenly over a second in which nothing was answered: half of all requests waited, for half of it on average.
    _, p95, p99 = percentiles(done)
    assert p95 > 800
    assert p99 >= p95


def test_a_load_test_that_is_itself_late_counts_from_when_requests_were_due(
    server: SmallServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Progress.update
    times = iter((0.0, 0.0, 0.7))

    def late(*arguments: Any, **told: Any) -> None:
        time.sleep(next(times, 0.0))  # nothing else goes on meanwhile
        shown(*arguments, **told)

    monkeypatch.setattr(Progress, "update", late)
    done, asked = load_test(server, tmp_path / "home", 0.0, 0.0)
    assert (done.code, asked) == (0, RATE * SECONDS)
    _, p95, _ = percentiles(done)
    assert p95 > 400


def test_requests_that_were_due_and_never_sent_are_errors(server: SmallServer, tmp_path: Path) -> None:
    done, asked = load_test(server, tmp_path / "home", 0.5, 4.0)
    assert done.code == 1
    unsent = RATE * SECONDS - asked
    assert 50 < unsent < 80
    assert done.err.splitlines()[-1] == f"weather: {unsent} of 100 requests failed: {NOT_SENT} ({unsent})"
    assert f"{RATE * SECONDS} requests in" in done.out
