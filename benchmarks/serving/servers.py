"""The servers that are compared, each a real process tree on a free loopback port: start, memory, end.

What belongs here: how each contender is started, and when it is ready. What does not: load (`load`), figures.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
_START_SECONDS = 120.0
_END_SECONDS = 20.0
_QUIET_SHARE = 0.1
"""Of a core: a server that uses less for a second has nothing left to do of its own."""


@dataclass(frozen=True)
class Server:
    """A server that answers: its port, its first process, and how long it took to be ready."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    ready_seconds: float
    log: Path

    def memory_mb(self) -> dict[int, tuple[str, float]]:
        """Resident memory of every process of the tree, with its command line."""
        root = psutil.Process(self.process.pid)
        found = {}
        for each in [root, *root.children(recursive=True)]:
            try:
                found[each.pid] = " ".join(each.cmdline()), each.memory_info().rss / 2**20
            except psutil.NoSuchProcess:
                continue  # it ended while we looked
        return found

    def processor_seconds(self) -> dict[int, float]:
        """What every process of the tree has used until now."""
        root = psutil.Process(self.process.pid)
        return {each.pid: sum(each.cpu_times()[:2]) for each in [root, *root.children(recursive=True)]}


@contextmanager
def running(
    name: str, command: Sequence[str], ready_path: str, port: int, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """The server, once it is ready and has nothing left to do of its own; its process group is ended afterwards."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEATHER_")} | dict(env or {})
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        while not _answers(port, ready_path):
            if process.poll() is not None or time.perf_counter() - start > _START_SECONDS:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
                raise SystemExit(f"{name} did not become ready:\n{tail}")
            time.sleep(0.02)
        server = Server(name, port, process, time.perf_counter() - start, log)
        _await_quiet(server)
        yield server
    finally:
        _end(process)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _await_quiet(server: Server) -> None:
    """What a server still loads once it is ready would be measured with the first requests, and with no others."""
    give_up = time.perf_counter() + _START_SECONDS
    used, share = sum(server.processor_seconds().values()), 1.0
    while share > _QUIET_SHARE:
        if time.perf_counter() > give_up:
            raise SystemExit(f"{server.name} without requests still uses {share:.0%} of a core")
        start = time.perf_counter()
        time.sleep(1.0)
        before, used = used, sum(server.processor_seconds().values())
        share = (used - before) / (time.perf_counter() - start)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, and make it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def bare(model_file: Path, log: Path) -> AbstractContextManager[Server]:
    """The bare route under uvicorn: one worker, uvicorn's fastest parts, no access log."""
    port = free_port()
    command = [
        str(BIN / "uvicorn"), "bare:app", "--app-dir", str(HERE), "--port", str(port), "--no-access-log",
        "--loop", "uvloop", "--http", "httptools", "--log-level", "warning",
    ]  # fmt: skip
    return running("bare FastAPI", command, "/ready", port, log, {"BARE_MODEL_FILE": str(model_file)})


def mlflow_serve(model_folder: Path, log: Path) -> AbstractContextManager[Server]:
    """`mlflow models serve` in this environment, one worker."""
    port = free_port()
    command = [
        str(BIN / "mlflow"), "models", "serve", "-m", str(model_folder), "--env-manager", "local",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    # It starts its server by name.
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return running("mlflow models serve", command, "/ping", port, log, env)


def weather_serve(home: Path, env: Mapping[str, str], workers: int, log: Path) -> AbstractContextManager[Server]:
    """`weather serve` on this home."""
    port = free_port()
    command = [str(BIN / "weather"), "serve", "--port", str(port), "--workers", str(workers)]
    return running("weather serve", command, "/readyz", port, log, {"WEATHER_HOME": str(home), **env})
