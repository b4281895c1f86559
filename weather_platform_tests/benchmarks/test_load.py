"""The load generator: it counts every answer and every failure, keeps to its rate, and sees a server that stalls."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from weather_platform_tests.lock_digest import ROOT

GENERATOR = ROOT / "benchmarks" / "serving" / "load.py"


@contextmanager
def answering(status_of: Callable[[int], int]) -> Iterator[int]:
    """A server that gives its n-th request this status; 0 closes the connection without an answer. Its port."""
    count = iter(range(1 << 30))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                status = status_of(next(count))
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(tmp_path: Path, port: int, **plan: Any) -> dict[str, Any]:
    """Run the generator in its own process, as the benchmarks do."""
    requests = [{"path": "/", "headers": {}, "body": json.dumps({"n": n})} for n in range(3)]
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"port": port, "requests": requests, "seconds": 1.0, "warmup_seconds": 0.2} | plan))
    done = subprocess.run([sys.executable, str(GENERATOR), str(file)], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_sound_server_has_no_failures_and_every_body_arrives(tmp_path: Path) -> None:
    record = tmp_path / "answers"
    with answering(lambda _: 200) as port:
        result = load(tmp_path, port, connections=2, record=str(record), fields=["n"])
    assert result["failed"] == 0
    assert result["statuses"] == {"200": result["requests"]}
    assert result["requests_per_second"] > 20
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"] <= result["max_ms"]
    answers = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(answers) == result["requests"]
    assert all(said == [index] and status == "200" for _, _, index, status, said in answers)


def test_every_failure_is_counted_by_its_kind(tmp_path: Path) -> None:
    with answering(lambda n: {3: 503, 6: 0}.get(n % 10, 200)) as port:
        result = load(tmp_path, port, connections=2)
    assert result["failures"].keys() == {"503", "connection closed"}
    assert result["failed"] == sum(result["failures"].values()) > 2
    assert result["statuses"]["200"] + result["failed"] == result["requests"]


@pytest.mark.parametrize("rate", [20, 50])
def test_the_open_loop_keeps_to_its_rate(tmp_path: Path, rate: int) -> None:
    with answering(lambda _: 200) as port:
        result = load(tmp_path, port, rate=rate, seconds=2)
    assert result["requests"] == pytest.approx(2 * rate, abs=0.2 * rate)


def test_the_open_loop_sees_what_waits_behind_a_stall(tmp_path: Path) -> None:
    def stalls_once(n: int) -> int:
        if n == 30:
            time.sleep(0.6)
        return 200

    with answering(stalls_once) as port:
        result = load(tmp_path, port, connections=1, rate=50, seconds=2)
    assert result["max_ms"] > 500
    assert result["p95_ms"] > 200, "requests that were due during the stall waited too"
