"""The real service on a home, as `weather serve` starts it, on a free loopback port."""

import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from weather_platform.client import WeatherClient
from weather_platform.database import User
from weather_platform.serving.users import SCOPES, Passwords
from weather_platform_tests.e2e.homes import MadeHome

USER, PASSWORD = "tester", "grey clouds over the bay"
_READY_SECONDS = 90
_END_SECONDS = 30


@dataclass(frozen=True)
class RunningService:
    """A service that is ready, and one user of it with every scope."""

    url: str
    home: MadeHome

    @property
    def env(self) -> dict[str, str]:
        """The settings by which commands and assets find it."""
        return {"WEATHER_ENDPOINT_URL": self.url, "WEATHER_USER": USER, "WEATHER_PASSWORD": PASSWORD}

    def client(self, password: str = PASSWORD) -> WeatherClient:
        """A client of it."""
        return WeatherClient(self.url, USER, password)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(home: MadeHome, *arguments: str, port: int | None = None, **env: str) -> Iterator[RunningService]:
    """`weather serve` on this home until the end of the block; the home gets the user."""
    database = home.database
    database.migrate()
    database.add_user(
        User(name=USER, password_hash=Passwords().hash(PASSWORD), scopes=SCOPES, created_at=datetime.now(UTC))
    )
    database.close()
    port = port or free_port()
    secret = {"WEATHER_JWT_SECRET": secrets.token_hex(32)}
    process = home.start("serve", "--port", str(port), *arguments, **(secret | env))
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _is_ready(url):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the service did not become ready"
            time.sleep(0.1)
        yield RunningService(url, home)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_END_SECONDS)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False
