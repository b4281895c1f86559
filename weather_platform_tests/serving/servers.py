"""Real servers of the service: the command itself on a free loopback port, and what tests ask of it."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn

from weather_platform.client import WeatherClient
from weather_platform.database import User
from weather_platform.serving.users import Passwords
from weather_platform.serving.worker import Worker
from weather_platform.settings import PROJECT_DIR, load_settings
from weather_platform_tests import loopback
from weather_platform_tests.e2e.homes import WEATHER, MadeHome, clean_environment
from weather_platform_tests.processes import beside

SECRET = secrets.token_urlsafe(48)
PASSWORD = "seven green umbrellas 41"  # noqa: S105
SERVE = (str(WEATHER), "serve")
READY_SECONDS = 90.0
END_SECONDS = 40.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def add_user(home: MadeHome, name: str, *scopes: str) -> None:
    """A user whose password is PASSWORD."""
    with closing(home.database) as database:
        database.migrate()
        hashed = Passwords().hash(PASSWORD)
        assert database.add_user(User(name=name, password_hash=hashed, scopes=scopes, created_at=datetime.now(UTC)))


@dataclass
class Server:
    """One running `weather serve`."""

    home: MadeHome
    port: int
    process: "subprocess.Popen[str]"
    output: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text()

    def client(self, user: str | None = "ada", **options: Any) -> httpx.Client:
        """A client with a token of the user; None: without one."""
        headers = {} if user is None else {"Authorization": f"Bearer {self.token(user)}"}
        return loopback.Client(base_url=self.url, headers=headers, timeout=30, **options)

    def token(self, user: str = "ada") -> str:
        """A token of the user; the same one each time."""
        if user not in self.tokens:
            answer = loopback.post(f"{self.url}/v1/token", json={"username": user, "password": PASSWORD}, timeout=30)
            assert answer.status_code == 200, answer.text
            self.tokens[user] = answer.json()["access_token"]
        return self.tokens[user]

    def settings(self, user: str = "ada") -> dict[str, str]:
        """The settings by which commands find it, and sign in as this user."""
        return {"WEATHER_ENDPOINT_URL": self.url, "WEATHER_USER": user, "WEATHER_PASSWORD": PASSWORD}

    def typed_client(self, password: str = PASSWORD) -> WeatherClient:
        """The client of the package, as ada."""
        return WeatherClient(self.url, "ada", password)

    def wait_until_ready(self) -> None:
        """Until /readyz says so, to several connections in a row: each worker speaks for itself."""
        give_up = time.monotonic() + READY_SECONDS
        ready = 0
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.text}")
            try:
                ready = ready + 1 if loopback.get(f"{self.url}/readyz", timeout=5).status_code == 200 else 0
            except httpx.TransportError:
                ready = 0
            if ready == 8:
                return
            if not ready:
                time.sleep(0.1)
        raise AssertionError(f"the server was not ready within {READY_SECONDS} s:\n{self.text}")

    def processes(self) -> list[psutil.Process]:
        """The server and all its children."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def follower(self) -> psutil.Process:
        """The process that asks the registry: a child of the first one, whatever the number of workers."""
        children = psutil.Process(self.process.pid).children()
        [found] = [each for each in children if "weather_platform.serving.follow" in each.cmdline()]
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        return [each for each in self.processes() if "_bentoml_impl.worker.service" in each.cmdline()]

    def listening(self) -> set[int]:
        """The TCP ports on which one of its processes can be reached."""
        connections = (each for process in self.processes() for each in process.net_connections("tcp"))
        return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait for it; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(END_SECONDS)


def start(home: MadeHome, folder: Path, *options: str, command: Sequence[str] = SERVE, **env: str) -> Server:
    """Start the real command and do not wait."""
    port = free_port()
    return started(home, folder, port, [*command, "--port", str(port), *options], PROJECT_DIR, env)


def started(
    home: MadeHome, folder: Path, port: int, command: Sequence[str], cwd: Path, env: Mapping[str, str]
) -> Server:
    """Start a command that serves this home on this port, and do not wait."""
    output = folder / f"server-{port}.log"
    environment: Mapping[str, str] = clean_environment() | dict(home.env) | {"WEATHER_JWT_SECRET": SECRET} | dict(env)
    with output.open("w") as sink:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, text=True, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Server(home, port, process, output)


@contextmanager
def running(
    home: MadeHome, folder: Path, *options: str, command: Sequence[str] = SERVE, **env: str
) -> Iterator[Server]:
    """A server that is ready, ended afterwards with all its processes."""
    with until_ready(start(home, folder, *options, command=command, **env)) as server:
        yield server


@contextmanager
def one_worker(home: MadeHome, folder: Path, **env: str) -> Iterator[str]:
    """One worker of the service, as a process of its own on this home; gives its address. Killed at the end.

    For what a worker does with its settings: it is there at once, without a follower and without BentoML, and with the
    models soon if there are some.
    """
    output = folder / "worker.log"
    settings = dict(home.env) | {"WEATHER_JWT_SECRET": SECRET} | env
    with beside(_serve_alone, env=settings, output=output) as process:
        yield f"http://127.0.0.1:{process.hear()}"


def is_ready(url: str) -> bool:
    """Whether a service or worker has every model."""
    return loopback.get(f"{url}/readyz", timeout=30).status_code == 200


def _serve_alone(pipe: Connection) -> None:
    worker = Worker()
    worker.start(load_settings())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        pipe.send(listening.getsockname()[1])
        uvicorn.Server(uvicorn.Config(worker, log_config=None, lifespan="off")).run(sockets=[listening])


@contextmanager
def until_ready(server: Server) -> Iterator[Server]:
    """The server from when it is ready, ended afterwards with all its processes."""
    try:
        server.wait_until_ready()
        yield server
    finally:
        _end_for_sure(server)


def _end_for_sure(server: Server) -> None:
    if server.process.poll() is not None:
        return
    processes = server.processes()
    try:
        server.end()
    except subprocess.TimeoutExpired:
        os.killpg(server.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
