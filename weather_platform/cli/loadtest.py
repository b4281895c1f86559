"""`weather loadtest`: how fast a running service answers, and whether it always does.

What belongs here: sending, counting and timing. What does not: comparing with other servers (``benchmarks``).

Every station of the service is asked for its newest day in turn, over connections that are kept alive. With a rate,
requests are due at fixed moments, and latency is from the moment at which one was due, however late a connection was
free for it; those that were never sent are errors. So a service that stalls cannot hide it.
"""

import asyncio
import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from weather_platform.cli.progress import console_of_errors
from weather_platform.cli.sign_in import signed_in
from weather_platform.client import PRODUCTION, WeatherClient
from weather_platform.errors import PartitionMissingError, WeatherError
from weather_platform.settings import Settings

_ANSWER_SECONDS = 30.0
_LATE_SECONDS = 1.0
"""So long after the end requests may still be sent that were due before it."""
NOT_SENT = "not sent in time"
_SHOW_SECONDS = 0.5
_LOOK_AT_TOKEN_SECONDS = 5.0


@dataclass
class Outcome:
    """What came back until now."""

    latencies_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the answers kept to."""
        ranked = sorted(self.latencies_s)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1e3


@dataclass(frozen=True)
class Load:
    """How much to ask: `rate` is requests a second over all connections, None as fast as they are answered."""

    connections: int
    seconds: float
    rate: float | None


def run_loadtest(settings: Settings, url: str | None, target: str | None, load: Load) -> None:
    """Ask, show progress, print the figures. WeatherError, one line, when any request was not answered with 200."""
    with signed_in(settings, url) as client:
        bodies = _bodies(client, target or _any_target(client))
        outcome, seconds = asyncio.run(_asked(client, bodies, load))
    console = Console(highlight=False)
    answered, failed = len(outcome.latencies_s), outcome.errors.total()
    if answered:
        shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
        said = ", ".join(f"{name} {outcome.percentile_ms(share):.1f} ms" for name, share in shares.items())
        console.print(f"{answered / seconds:,.0f} req/s, {said}", soft_wrap=True)
    console.print(
        f"{answered + failed:,} requests in {seconds:.1f} s over {load.connections} connections, {failed} errors"
    )
    if failed:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in outcome.errors.most_common())
        limited = any(reason.startswith("429") for reason in outcome.errors)
        remedy = "; ask for less with --rate, or give the service a higher WEATHER_RATE_LIMIT_PER_SECOND"
        raise WeatherError(f"{failed} of {answered + failed} requests failed: {reasons}{remedy if limited else ''}")


def _any_target(client: WeatherClient) -> str:
    for model in client.models().models:
        if model.alias == PRODUCTION:
            return model.target
    raise PartitionMissingError("the service has no Production model, so there is nothing to ask; promote one first")


def _bodies(client: WeatherClient, target: str) -> list[bytes]:
    known = client.stations()
    if known.last_day is None:
        raise PartitionMissingError(
            "the service has no observations yet, so there is nothing to ask; run the graph first"
        )
    day = known.last_day.isoformat()
    return [json.dumps({"target": target, "station": each.id, "day": day}).encode() for each in known.stations]


async def _asked(client: WeatherClient, bodies: list[bytes], load: Load) -> tuple[Outcome, float]:
    outcome = Outcome()
    headers = {"Authorization": f"Bearer {client.token()}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(limit=load.connections)
    start = time.perf_counter()
    end = start + load.seconds
    numbers = count()

    async def one(session: aiohttp.ClientSession, number: int, due: float) -> None:
        body = bodies[number % len(bodies)]
        try:
            async with session.post(f"{client.url}/v1/predict", data=body, headers=headers) as answer:
                await answer.read()
                reason = None if answer.status == 200 else f"{answer.status} {answer.reason}"
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        if reason is None:
            outcome.latencies_s.append(time.perf_counter() - due)
        else:
            outcome.errors[reason] += 1

    async def as_answered(session: aiohttp.ClientSession) -> None:
        while (now := time.perf_counter()) < end:
            await one(session, next(numbers), now)

    async def as_due(session: aiohttp.ClientSession, rate: float, in_all: int) -> None:
        while (number := next(numbers)) < in_all:
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() > end + _LATE_SECONDS:
                return
            await one(session, number, due)

    async def renew() -> None:
        while True:
            await asyncio.sleep(_LOOK_AT_TOKEN_SECONDS)
            headers["Authorization"] = f"Bearer {await asyncio.to_thread(client.token)}"

    async def show() -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console_of_errors(), transient=True) as progress:
            task = progress.add_task("asking", total=load.seconds)
            while True:
                passed = max(time.perf_counter() - start, 1e-9)
                told = f"{len(outcome.latencies_s) / passed:,.0f} req/s, {outcome.errors.total()} errors"
                progress.update(task, completed=passed, description=told)
                await asyncio.sleep(_SHOW_SECONDS)

    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        beside = [asyncio.create_task(each) for each in (show(), renew())]
        if load.rate is None:
            connections = [as_answered(session) for _ in range(load.connections)]
        else:
            in_all = math.ceil(load.seconds * load.rate)
            connections = [as_due(session, load.rate, in_all) for _ in range(load.connections)]
        try:
            await asyncio.gather(*connections)
        finally:
            for task in beside:
                task.cancel()
            ended = await asyncio.gather(*beside, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
    if load.rate is not None and (unsent := in_all - len(outcome.latencies_s) - outcome.errors.total()):
        outcome.errors[NOT_SENT] = unsent
    return outcome, time.perf_counter() - start
