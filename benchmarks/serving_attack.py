"""What hostile clients without a token cost the service, and whether the requests of others go on.

    python benchmarks/serving_attack.py [--home HOME] [--connections 10000] [--seconds 20] [--workers 1] [--json FILE]

One kind of attack after the other, each against a service that was just started and from 40 loopback addresses, then
from the address of the other clients. Meanwhile a client with a token sends forecasts over connections that are kept
alive, and another opens a connection for each of its requests. Memory is what the workers have more at the worst moment
than before; what the kernel keeps for sockets is not in it.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from argparse import Namespace
from pathlib import Path

from common import Report, parser
from serving.attack import KINDS
from serving.load import Plan, Result
from serving.parts import Bench, one_by_one, prepared, start_load
from serving.servers import HERE, Server, weather_serve

COST_BAR_MB = 200.0
ADDRESSES = 40
RATE, STATION_DAYS = 50.0, 50


class Beside:
    """A client that opens a connection for every request, and the memory of the workers."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.asked = self.failed = 0
        self.before_mb = self.highest_mb = self._memory_mb()
        self._threads = [threading.Thread(target=each) for each in (self._ask, self._weigh)]

    def __enter__(self) -> "Beside":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    def _ask(self) -> None:
        while not self._stop.wait(0.02):
            self.asked += 1
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._server.port}/readyz", timeout=30) as answer:
                    answer.read()
            except (urllib.error.URLError, OSError):
                self.failed += 1

    def _weigh(self) -> None:
        while not self._stop.wait(0.2):
            self.highest_mb = max(self.highest_mb, self._memory_mb())

    def _memory_mb(self) -> float:
        return sum(size for command, size in self._server.memory_mb().values() if "worker.service" in command)


def attacked(bench: Bench, kind: str, addresses: int, options: Namespace, scratch: Path) -> tuple[float, int, str]:
    """Megabytes that the workers had more, the failed requests of others, and what was done."""
    rows = bench.observations(STATION_DAYS)
    with weather_serve(bench.home, bench.service_env, options.workers, scratch / "serve.log") as server:
        with bench.client(server.port) as client:
            requests = one_by_one(bench, rows, client.token())
        plan = Plan(server.port, requests, 4, options.seconds + 2.0, warmup_seconds=0.5, rate=RATE)
        loading = start_load(plan)
        time.sleep(1.0)
        with Beside(server) as beside:
            command = [sys.executable, str(HERE / "attack.py"), kind, str(server.port)]
            command += [str(options.connections), str(int(options.seconds)), str(addresses)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        output, _ = loading.communicate()
        result = Result(**json.loads(output))
    opened, left = done.stdout.split()
    note = f"{opened} opened, {left} open at the end; {beside.asked + result.requests} requests of others"
    if result.failures:
        note += f"; failures {result.failures}"
    return beside.highest_mb - beside.before_mb, beside.failed + result.failed, note


def main() -> None:
    """Parse, attack, print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, help="a trained home; default: one is made from the real table")
    options.add_argument("--target", default="rain_tomorrow", help="the target whose Production model answers")
    options.add_argument("--connections", type=int, default=10_000, help="hostile connections (default 10000)")
    options.add_argument("--seconds", type=float, default=20, help="seconds of each attack (default 20)")
    options.add_argument("--workers", type=int, default=1, help="workers of the service (default 1)")
    options.add_argument("--only", nargs="+", choices=tuple(KINDS), default=tuple(KINDS))
    chosen = options.parse_args()
    report = Report("the service under attack by clients without a token", chosen.json)
    with tempfile.TemporaryDirectory() as folder:
        bench = prepared(chosen.home, chosen.target, Path(folder))
        for kind in chosen.only:
            for addresses, where in ((ADDRESSES, ""), (0, ", same address")):
                cost_mb, failed, note = attacked(bench, kind, addresses, chosen, Path(folder))
                report.figure(f"{kind}{where}: memory", cost_mb, "MB", at_most=COST_BAR_MB, note=note)
                report.figure(f"{kind}{where}: failed requests of others", failed, "", at_most=0)
    report.close()


if __name__ == "__main__":
    main()
