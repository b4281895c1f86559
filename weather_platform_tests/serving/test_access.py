"""Who is let in by the real service, with two workers and without a model: lockout, rotation, users, logs."""

import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from weather_platform.serving.state import State, StateFolder
from weather_platform_tests import loopback
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.serving.servers import (
    END_SECONDS,
    PASSWORD,
    READY_SECONDS,
    SECRET,
    Server,
    add_user,
    one_worker,
    start,
)

WRONG = "not the password of anybody"
SECOND = secrets.token_urlsafe(48)


@contextmanager
def up(home: MadeHome, folder: Path, *options: str, **env: str) -> Iterator[Server]:
    """A server that answers, though there is no model that it could serve."""
    server = start(home, folder, *options, **env)
    try:
        give_up = time.monotonic() + READY_SECONDS
        while True:
            assert server.process.poll() is None, server.text
            assert time.monotonic() < give_up, server.text
            try:
                if loopback.get(f"{server.url}/livez", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield server
    finally:
        server.end()


def login(url: str, password: str, user: str = "ada", **headers: str) -> httpx.Response:
    """One login on a connection of its own, which any worker may take."""
    fields = {"username": user, "password": password}
    return loopback.post(f"{url}/v1/token", data=fields, headers=headers, timeout=30)


def is_let_in(url: str, token: str) -> bool:
    """Whether a route that is not open looks at the request, on a connection of its own."""
    answer = loopback.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return answer.status_code != 401


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """A home without a model and with the users ada, bob and eve."""
    made = empty_home(tmp_path_factory.mktemp("access") / "home")
    for name in ("ada", "bob", "eve"):
        add_user(made, name, "predict")
    return made


@pytest.fixture(scope="module")
def two_workers(home: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Signs with SECOND, and takes tokens that were signed with SECRET before."""
    folder, both = tmp_path_factory.mktemp("two_workers"), {"WEATHER_JWT_PREVIOUS_SECRETS": SECRET}
    with up(home, folder, "--workers", "2", WEATHER_JWT_SECRET=SECOND, **both) as server:
        yield server
        assert server.end() == 0


def test_without_a_model_the_service_is_alive_and_not_ready(two_workers: Server) -> None:
    assert loopback.get(f"{two_workers.url}/livez", timeout=5).status_code == 200
    answer = loopback.get(f"{two_workers.url}/readyz", timeout=5)
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    with two_workers.client("eve") as client:
        body = {"target": "rain_tomorrow", "station": "Canberra", "day": "2015-06-30"}
        assert client.post("/v1/predict", json=body).status_code == 503


def test_why_the_registry_is_out_of_reach_is_told_to_users_alone(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    add_user(home, "ada", "predict")
    reason = "MLflow at http://10.0.0.7:5000 failed: /srv/weather/mlflow.db"
    folder = StateFolder(home.folder)
    folder.make()
    folder.write(State(checked_at=None, registry_error=reason, models={}))
    with one_worker(home, tmp_path) as url:
        open_to_all = loopback.get(f"{url}/readyz", timeout=30)
        assert open_to_all.json()["registry_error"] == "out of reach"
        assert "10.0.0.7" not in open_to_all.text
        token = login(url, PASSWORD).json()["access_token"]
        told = loopback.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        assert told.json()["registry_error"] == reason


def test_two_workers_count_failures_together_lock_nobody_out_and_follow_the_command_line(
    home: MadeHome, two_workers: Server
) -> None:
    server, url = two_workers, two_workers.url
    tokens = [login(url, PASSWORD, user).json()["access_token"] for user in ("ada", "bob")]
    assert all(is_let_in(url, token) for token in tokens * 5)
    said = [login(url, WRONG, **{"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(9)]
    assert said == [401] * 9
    with closing(home.database) as database, database.engine.connect() as connection:
        counted: Sequence[int] = connection.execute(sa.text("SELECT failures FROM failed_logins")).scalars().all()
    assert counted == [9], "whatever address is claimed"
    assert login(url, PASSWORD).status_code == 200, "though somebody guesses at the same address"
    assert login(url, PASSWORD, "bob").status_code == 200
    assert all(is_let_in(url, token) for token in tokens), "who has a token goes on"

    assert home.call("user", "disable", "bob").code == 0
    begun = time.monotonic()
    while any(is_let_in(url, tokens[1]) for _ in range(6)):
        assert time.monotonic() < begun + 30
        time.sleep(0.2)
    assert login(url, PASSWORD, "bob").status_code == 401
    assert all(is_let_in(url, tokens[0]) for _ in range(6))
    written = server.text
    for log in home.folder.rglob("*.log"):
        written += log.read_text()
    for hidden in (*tokens, PASSWORD, PASSWORD.replace(" ", "+"), WRONG, WRONG.replace(" ", "+"), SECRET, SECOND):
        assert hidden not in written


def test_tokens_outlive_a_restart_with_another_secret_until_the_former_one_is_taken_away(
    home: MadeHome, two_workers: Server, tmp_path: Path
) -> None:
    with one_worker(home, tmp_path) as before:
        first_token = login(before, PASSWORD, "eve").json()["access_token"]
        second_token = login(two_workers.url, PASSWORD, "eve").json()["access_token"]
        assert is_let_in(before, first_token)
        assert not is_let_in(before, second_token)
    assert all(is_let_in(two_workers.url, token) for token in (first_token, second_token) * 5)
    with one_worker(home, tmp_path, WEATHER_JWT_SECRET=SECOND) as after:
        assert is_let_in(after, second_token)
        assert not is_let_in(after, first_token), "replayed after the rotation"


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("", "tokens cannot be signed: set WEATHER_JWT_SECRET"),
        ("x" * 31, "WEATHER_JWT_SECRET has 31 bytes and at least 32 are needed"),
        ("your-256-bit-secret-goes-here-please", "WEATHER_JWT_SECRET is a placeholder"),
    ],
)
def test_the_service_does_not_start_without_a_good_secret(
    home: MadeHome, tmp_path: Path, secret: str, said: str
) -> None:
    server = start(home, tmp_path, WEATHER_JWT_SECRET=secret)
    try:
        assert server.process.wait(END_SECONDS) == 1
    except subprocess.TimeoutExpired:
        server.end()
        raise
    assert server.text.startswith(f"weather: {said}"), server.text
    assert server.text.count("\n") == 1
    assert not secret or secret not in server.text
