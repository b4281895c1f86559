"""Whether moving the Production alias under load costs an answer: flips, two workers, requests all the while.

    python benchmarks/serving_flips.py [--home HOME] [--flips 100] [--rate 300] [--json FILE]

The alias goes back and forth between the Production version and another one, by the same compare-and-swap as a
promotion. The next move comes after both workers answer with the new version, and a pause of random length, so that
moves fall anywhere between two polls; a move that is not answered within LIMIT_SECONDS has failed. Every answer is kept
with its version, digest, threshold and forecast and compared with what that version says of that station-day, bit for
bit: an answer that fits neither version is a mixture. Seconds are from the moment at which the alias has moved until
the new version answers for the first time, and until the old one has answered for the last time (by the other worker).

HOME gets a user, a prediction log, a second registered version if there is only one, and `flips` alias changes; without
it, one is trained on the real table first.
"""

import json
import random
import statistics
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from common import Report, parser
from serving.load import Plan, Result
from serving.parts import Bench, one_by_one, prepared, start_load
from serving.servers import weather_serve

from weather_platform.resources.registry import Audit, RegisteredModel
from weather_platform.serving.state import StateFolder

CONNECTIONS = 8
WORKERS = 2
STATION_DAYS = 100
NEW_VERSION_BAR_S = 5.0
LIMIT_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 2.0
"""As long as from one poll to the next."""

SETTLE_SECONDS = 1.0
IN_A_ROW = 12
"""Answers over connections of their own after which both workers have the new version: else half would say the old."""

FIELDS = ["model_version", "model_digest", "threshold", "probability", "value"]


@dataclass(frozen=True)
class Answer:
    """One answer of the load."""

    sent: float
    got: float
    request: int
    said: tuple[Any, ...]


def two_versions(bench: Bench) -> tuple[RegisteredModel, RegisteredModel]:
    """The Production version and another one; the best other candidate of its year is registered if need be."""
    registry, current = bench.registry, bench.model
    others = [each for each in registry.versions(bench.target.name) if each.version != current.version]
    if others:
        return current, others[-1]
    year = int(current.tags["year"])
    board = bench.database.leaderboard(bench.target.name, year)
    runs = {each.rank: each.run_id for each in board if each.rank and each.run_id and each.run_id != current.run_id}
    return current, registry.register(registry.reference(runs[min(runs)]))


def expected_answers(bench: Bench, models: tuple[RegisteredModel, ...]) -> dict[int, list[tuple[Any, ...]]]:
    """By version: what it says of each station-day, as FIELDS."""
    values = bench.features(bench.observations(STATION_DAYS))
    found = {}
    for model in models:
        predictor = bench.registry.ready(model)
        threshold = predictor.contract.threshold
        said = predictor.predict(values).value.tolist()
        found[model.version] = [
            (model.version, model.digest, threshold, *((each, None) if threshold is not None else (None, each)))
            for each in said
        ]
    return found


@dataclass(frozen=True)
class Move:
    """When the alias had moved, to which version, and whether it was answered with before the limit."""

    at: float
    version: int
    answered: bool


def flip(
    bench: Bench, models: tuple[RegisteredModel, RegisteredModel], flips: int, ask: Callable[[], int]
) -> list[Move]:
    """Move the alias back and forth. `ask` gives the version that answers over a connection of its own."""
    moves = []
    present, other = models
    pauses = random.Random(1)  # noqa: S311 - a pause, not a secret
    for at in range(flips):
        audit = Audit(
            decision_id=None, reason=f"benchmark of alias moves, {at + 1} of {flips}", dagster_run_id="benchmark",
            changed_at=datetime.now(UTC),
        )  # fmt: skip
        bench.registry.move_production(bench.target.name, other.version, present.version, audit)
        moved = time.perf_counter()
        moves.append(Move(moved, other.version, _answered(ask, other.version, moved + LIMIT_SECONDS)))
        present, other = other, present
        time.sleep(pauses.uniform(0, LONGEST_PAUSE_SECONDS))
    return moves


def _answered(ask: Callable[[], int], version: int, give_up: float) -> bool:
    in_a_row = 0
    while in_a_row < IN_A_ROW and time.perf_counter() < give_up:
        in_a_row = in_a_row + 1 if ask() == version else 0
        time.sleep(0.02)
    return in_a_row == IN_A_ROW


def measure(bench: Bench, report: Report, flips: int, rate: float, scratch: Path) -> None:
    """The load, the flips, and what became of the answers."""
    models = two_versions(bench)
    known = expected_answers(bench, models)
    record = scratch / "answers.jsonl"
    started_at = datetime.now(UTC)
    with weather_serve(bench.home, bench.service_env, WORKERS, scratch / "serve.log") as server:
        report.figure("start to ready, from the state folder", server.ready_seconds, "s")
        report.figure("– until the registry was asked, from then on", _await_follower(bench, started_at), "s")
        with bench.client(server.port) as client:
            requests = one_by_one(bench, bench.observations(STATION_DAYS), client.token())
        longest = flips * (LIMIT_SECONDS + LONGEST_PAUSE_SECONDS) + SETTLE_SECONDS
        plan = Plan(server.port, requests, CONNECTIONS, longest, rate=rate, record=str(record), fields=FIELDS)
        generator = start_load(plan)
        time.sleep(plan.warmup_seconds + 1)
        moves = flip(bench, models, flips, partial(_version_that_answers, server.port, requests[0]))
        time.sleep(SETTLE_SECONDS)
        generator.terminate()
        out, _ = generator.communicate()
        result = Result(**json.loads(out))
        workers = {pid: mb for pid, (command, mb) in server.memory_mb().items() if mb > 100}
    answers = [
        Answer(sent, got, index, tuple(said))
        for sent, got, index, status, said in map(json.loads, record.read_text().splitlines())
        if status == "200"
    ]
    _say(report, result, answers, known, moves)
    report.say(f"memory of the larger processes afterwards, MB: {', '.join(f'{mb:.0f}' for mb in workers.values())}")


def _version_that_answers(port: int, request: dict[str, Any]) -> int:
    url = f"http://127.0.0.1:{port}{request['path']}"
    asked = urllib.request.Request(url, request["body"].encode(), request["headers"])
    with urllib.request.urlopen(asked, timeout=LIMIT_SECONDS) as answer:  # noqa: S310
        return int(json.load(answer)["model_version"])


def _await_follower(bench: Bench, since: datetime) -> float:
    """Until the registry was asked after this moment; seconds. Workers are ready sooner, from the state folder."""
    began, folder = time.perf_counter(), StateFolder(bench.home)
    while (state := folder.read()) is None or state.checked_at is None or state.checked_at < since:
        time.sleep(0.02)
    return time.perf_counter() - began


def _say(
    report: Report,
    result: Result,
    answers: list[Answer],
    known: dict[int, list[tuple[Any, ...]]],
    moves: list[Move],
) -> None:
    mixed = [each for each in answers if each.said != known[each.said[0]][each.request]]
    first, last = [], []
    ends = [*(each.at for each in moves[1:]), float("inf")]
    for move, until in zip(moves, ends, strict=True):
        within = [each for each in answers if move.at < each.got and each.sent < until]
        new = [each.got - move.at for each in within if each.said[0] == move.version]
        old = [each.got - move.at for each in within if each.said[0] != move.version]
        first.append(min(new, default=LIMIT_SECONDS))
        last.append(max(old, default=0.0))
    seen = dict(Counter(each.said[0] for each in answers))
    report.figure("alias flips", len(moves), "", note=f"{WORKERS} workers, {CONNECTIONS} connections")
    report.figure("requests", result.requests, "", note=f"{result.requests_per_second:,.0f} req/s; {seen}")
    report.figure("failed requests", result.failed, "", at_most=0, note=str(result.failures or ""))
    report.figure("answers that mix versions", len(mixed), "", at_most=0)
    report.figure("p99 meanwhile", result.p99_ms, "ms", note=f"p50 {result.p50_ms:.1f}, max {result.max_ms:.1f}")
    report.figure(
        "moves that not both workers answered", sum(not each.answered for each in moves), "", at_most=0,
        note=f"within {LIMIT_SECONDS:.0f} s",
    )  # fmt: skip
    report.figure("until the new version answers: median", statistics.median(first), "s")
    slowest = sorted(range(len(first)), key=first.__getitem__)[-5:]
    longest = ", ".join(f"{first[at]:.2f} (move {at + 1})" for at in slowest)
    report.figure("– longest", max(first), "s", at_most=NEW_VERSION_BAR_S, note=longest)
    report.figure("until the old version answers no more: median", statistics.median(last), "s")
    report.figure("– longest", max(last), "s", at_most=NEW_VERSION_BAR_S)


def main() -> None:
    """Parse, measure, print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, help="a trained home; default: one is made from the real table")
    options.add_argument("--target", default="rain_tomorrow", help="the target whose alias is moved")
    options.add_argument("--flips", type=int, default=100, help="moves of the alias (default 100)")
    options.add_argument("--rate", type=float, default=300, help="requests a second meanwhile (default 300)")
    chosen = options.parse_args()
    report = Report("alias flips under load", chosen.json)
    with tempfile.TemporaryDirectory() as folder:
        bench = prepared(chosen.home, chosen.target, Path(folder))
        measure(bench, report, chosen.flips, chosen.rate, Path(folder))
    report.close()


if __name__ == "__main__":
    main()
