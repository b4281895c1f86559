"""How fast the service answers, against a bare route and against MLflow's server, all in one run on one machine.

    python benchmarks/serving_speed.py [--home HOME] [--rounds 3] [--seconds 8] [--only single batch] [--json FILE]

The contenders answer with the same Production model file, one worker each, 8 connections that are kept alive:

* weather serve: token, validation, features from the observation and from what is stored, calibration, prediction log
* bare FastAPI: ready features in the body, the model's own probability, nothing else
* mlflow models serve: ready features in the body

Each contender runs alone, in turn, `rounds` times over; a figure is the median of its rounds. The load comes from a
process of its own that costs little (its share of a core stands beside). Before anything is timed, the answers of the
service are compared with the model's own, bit for bit. Batches are sent by one connection; XGBoost's own predict is
`Booster.inplace_predict` on the ready features of the same rows, both on one thread and on all cores.

HOME gets a user and a prediction log; without it, one is trained on the real table first.
"""

import os
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from common import Report, parser
from numpy.typing import NDArray
from serving.load import Plan, Result
from serving.parts import Bench, batch_body, invocations, load, one_by_one, prepared, ready_features, verified
from serving.servers import Server, bare, mlflow_serve, weather_serve

from weather_platform.domain.features import HISTORY_DAYS

CONNECTIONS = 8
OPEN_LOOP_RATE = 500.0
STATION_DAYS = 300
BATCH_ROWS = 10_000
BATCH_REPEATS = 7
AT_RATE = f"p99 at {OPEN_LOOP_RATE:.0f} req/s"
BARE_SHARE_BAR, MLFLOW_TIMES_BAR = 0.9, 5.0
TABLE_SHARE_BAR, JSON_ROWS_BAR, WORKER_BAR_MB = 0.6, 30_000.0, 350.0
_BARS = {AT_RATE: 15.0, "failed requests": 0.0, "start to ready": 6.0, "worker's memory": WORKER_BAR_MB}

OURS, BARE, MLFLOW = "weather serve", "bare FastAPI", "mlflow models serve"


class Contender:
    """A server that is started again for every round, and what its rounds gave."""

    def __init__(self, start: Callable[[], AbstractContextManager[Server]]) -> None:
        self.start = start
        self.ready_s: list[float] = []
        self.worker_mb: list[float] = []
        self.processor_us: list[float] = []
        self.closed: list[Result] = []
        self.open: list[Result] = []

    def rate(self) -> float:
        """Median requests a second of the closed loop."""
        return _median(self.closed, "requests_per_second")


def single(bench: Bench, report: Report, seconds: float, rounds: int, scratch: Path) -> None:
    """All contenders, one station-day a request."""
    rows = bench.observations(STATION_DAYS)
    values = bench.features(rows)
    forecasts = bench.predictor.predict(values).value
    env = bench.service_env
    contenders = {
        OURS: Contender(lambda: weather_serve(bench.home, env, 1, scratch / "serve.log")),
        BARE: Contender(lambda: bare(bench.model_folder / "model.ubj", scratch / "bare.log")),
        MLFLOW: Contender(lambda: mlflow_serve(bench.model_folder, scratch / "mlflow.log")),
    }
    for at in range(rounds):
        for name, contender in contenders.items():
            with contender.start() as server:
                contender.ready_s.append(server.ready_seconds)
                if name == OURS:
                    with bench.client(server.port) as client:
                        if not at:
                            unlike = verified(bench, client, rows.slice(0, 100), dict(enumerate(forecasts)))
                            report.figure("answers unlike the model's own, of 100", unlike, "", at_most=0)
                        requests = one_by_one(bench, rows, client.token())
                else:
                    requests = ready_features(values) if name == BARE else invocations(bench, values)
                before = server.processor_seconds()
                result = load(Plan(server.port, requests, CONNECTIONS, seconds))
                used = max(after - before.get(pid, 0.0) for pid, after in server.processor_seconds().items())
                contender.closed.append(result)
                contender.processor_us.append(used / result.requests_with_warmup * 1e6)
                if name != MLFLOW:
                    contender.open.append(load(Plan(server.port, requests, CONNECTIONS, seconds, rate=OPEN_LOOP_RATE)))
                contender.worker_mb.append(worker_mb(server))
    _say_single(contenders, report)


def _say_single(contenders: dict[str, Contender], report: Report) -> None:
    for name, contender in contenders.items():
        bars = _BARS if name == OURS else {}

        def figure(what: str, value: float, unit: str, note: str = "", name: str = name, bars: Any = bars) -> None:
            report.figure(f"{name}: {what}", value, unit, at_most=bars.get(what), note=note)

        rounds = ", ".join(f"{each.requests_per_second:,.0f}" for each in contender.closed)
        figure("requests", contender.rate(), "req/s", f"rounds {rounds}")
        figure("worker's processor time", statistics.median(contender.processor_us), "us/req")
        figure("p99", _median(contender.closed, "p99_ms"), "ms", _latencies(contender.closed))
        if contender.open:
            figure(AT_RATE, _median(contender.open, "p99_ms"), "ms", _latencies(contender.open))
        figure("failed requests", sum(each.failed for each in [*contender.closed, *contender.open]), "")
        figure("start to ready", statistics.median(contender.ready_s), "s")
        figure("worker's memory", statistics.median(contender.worker_mb), "MB")
        figure("generator's share of a core", _median(contender.closed, "cpu_share"), "")
    ours = contenders[OURS].rate()
    report.figure("against the bare route", ours / contenders[BARE].rate(), "times", at_least=BARE_SHARE_BAR)
    report.figure("against mlflow models serve", ours / contenders[MLFLOW].rate(), "times", at_least=MLFLOW_TIMES_BAR)


def _median(results: list[Result], name: str) -> float:
    return statistics.median(float(getattr(each, name)) for each in results)


def _latencies(results: list[Result]) -> str:
    return ", ".join(f"{name} {_median(results, f'{name}_ms'):.1f}" for name in ("p50", "p95", "max"))


def worker_mb(server: Server) -> float:
    """Resident memory of the process of the tree that has used most processor time: the worker, after its load."""
    used = server.processor_seconds()
    return server.memory_mb()[max(used, key=lambda pid: used[pid])][1]


def batch(bench: Bench, report: Report, scratch: Path) -> None:
    """Batches by JSON, Arrow and Parquet against XGBoost's own predict, on one thread and on all cores."""
    rows = bench.observations(BATCH_ROWS)
    values = bench.features(rows)
    booster: Any = bench.predictor.model.booster  # type: ignore[attr-defined]
    for threads in sorted({1, os.cpu_count() or 1}):
        booster.set_param({"nthread": threads})
        used = time.process_time()
        own_s = _median_seconds(lambda: booster.inplace_predict(values))
        used_ms = (time.process_time() - used) / (BATCH_REPEATS + 1) * 1e3
        on = f"on {threads} thread{'s' if threads > 1 else ''}"
        note = f"{len(values):,} rows; {used_ms:.0f} ms of processor time"
        report.figure(f"XGBoost's own predict {on}", len(values) / own_s, "rows/s", note=note)
        env = {**bench.service_env, "WEATHER_SERVING_THREADS": str(threads)}
        with weather_serve(bench.home, env, 1, scratch / "serve.log") as server:
            token = _same_answers(bench, report, server, rows, values)
            for kind in ("JSON", "Arrow", "Parquet"):
                rate, note = _batch_rate(bench, server, token, kind, rows)
                all_cores = threads == os.cpu_count()  # as a service of one worker has unless it is told otherwise
                report.figure(
                    f"batch by {kind} {on}", rate, "rows/s",
                    at_least=JSON_ROWS_BAR if kind == "JSON" and all_cores else None, note=note,
                )  # fmt: skip
                if kind != "JSON":
                    share = rate * own_s / len(values)
                    report.figure(f"– against XGBoost's own {on}", share, "times", at_least=TABLE_SHARE_BAR)
            report.figure(f"worker's memory after batches {on}", worker_mb(server), "MB", at_most=WORKER_BAR_MB)


def _same_answers(bench: Bench, report: Report, server: Server, rows: pa.Table, values: NDArray[np.float32]) -> str:
    """Compare every bit of a batch with the model's own; gives the token that asked."""
    with bench.client(server.port) as client:
        token = client.token()
        answered = client.predict_table(bench.target.name, rows)
    name = "probability" if bench.target.task == "classification" else "value"
    # The oldest days of the batch lack the days before them, which the service keeps no longer.
    first = pc.min(rows["day"]).as_py() + timedelta(days=HISTORY_DAYS)
    whole = pc.greater_equal(rows["day"], first).to_numpy()
    unlike = int((answered[name].to_numpy() != bench.predictor.predict(values).value)[whole].sum())
    report.figure("batch answers unlike the model's own", unlike, "", at_most=0, note=f"{whole.sum():,} rows")
    return token


def _batch_rate(bench: Bench, server: Server, token: str, kind: str, rows: pa.Table) -> tuple[float, str]:
    """Rows a second by one connection, and what they cost."""
    body, headers = batch_body(kind, bench.target.name, rows)
    query = "" if kind == "JSON" else f"?target={bench.target.name}"
    asked = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/predict/batch{query}", body, {"Authorization": f"Bearer {token}", **headers}
    )
    before = sum(server.processor_seconds().values())
    rate = rows.num_rows / _median_seconds(partial(_read, asked))
    used_ms = (sum(server.processor_seconds().values()) - before) / (BATCH_REPEATS + 1) * 1e3
    return rate, f"{len(body) / 1e6:.1f} MB; {used_ms:.0f} ms of processor time a batch"


def _read(asked: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310 - loopback
        return bytes(answer.read())


def _median_seconds(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(BATCH_REPEATS + 1):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # the first warms up


def main() -> None:
    """Parse, measure, print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, help="a trained home; default: one is made from the real table")
    options.add_argument("--target", default="rain_tomorrow", help="the target whose Production model answers")
    options.add_argument("--rounds", type=int, default=3, help="times that each contender runs (default 3)")
    options.add_argument("--seconds", type=float, default=8, help="seconds of each load (default 8)")
    options.add_argument("--only", nargs="+", choices=("single", "batch"), default=("single", "batch"))
    chosen = options.parse_args()
    report = Report("the service against a bare route and mlflow models serve", chosen.json)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        bench = prepared(chosen.home, chosen.target, scratch)
        contract, notes = bench.predictor.contract, dict(bench.predictor.model.notes)
        report.say(f"{bench.model.name}: {contract.algorithm}, {notes}, {len(contract.feature_names)} features")
        if "batch" in chosen.only:
            batch(bench, report, scratch)
        if "single" in chosen.only:
            single(bench, report, chosen.seconds, chosen.rounds, scratch)
    report.close()


if __name__ == "__main__":
    main()
