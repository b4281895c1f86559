"""How the service begins, follows the aliases under load, and ends."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pyarrow.compute as pc
import pytest
import sqlalchemy as sa

from weather_platform.cli import serve as command
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import SettingsError
from weather_platform.serving.arbiter import PrivateArbiter, is_hopeless
from weather_platform.serving.server import CANNOT_START
from weather_platform.serving.state import StateFolder
from weather_platform.settings import PROJECT_DIR, load_settings
from weather_platform_tests import loopback
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.serving.homes import AUDIT, eventually
from weather_platform_tests.serving.servers import END_SECONDS, SECRET, Server, add_user, free_port, running, start

PAUSE_SECONDS = 0.01
PROMISED_SECONDS = 1.0
"""After the first answer of a version no worker answers with the one before."""
"""Between two requests of one client: there are some hundred a second, and the other processes have the cores, too."""

ASKED = {"target": "rain_tomorrow", "station": "Canberra", "day": "2015-06-30"}


@pytest.mark.parametrize(
    ("env", "options", "said"),
    [
        ({}, [], "WEATHER_JWT_SECRET"),
        ({"WEATHER_JWT_SECRET": "short"}, [], "32"),
        ({"WEATHER_JWT_KEY_FILE": "/nowhere/key.pem"}, [], "/nowhere/key.pem"),
        ({"WEATHER_JWT_SECRET": SECRET}, ["--host", "localhost"], "--host takes an IP address"),
    ],
)
def test_it_refuses_to_start_in_one_line(tmp_path: Path, env: dict[str, str], options: list[str], said: str) -> None:
    home = empty_home(tmp_path / "home")
    done = home.call("serve", "--port", str(free_port()), *options, **env)
    assert done.code == 1
    (line,) = done.lines
    assert line.startswith("weather: ")
    assert said in line
    assert SECRET not in line


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = empty_home(tmp_path / "home").call("serve", "--port", port, WEATHER_JWT_SECRET=SECRET)
    assert done.code == 1
    assert "choose another --port" in done.err


@pytest.mark.parametrize("spoiled", ["serving", "serving/metrics", "serving/prediction_log"])
def test_it_does_not_start_without_the_folders_of_its_workers(tmp_path: Path, spoiled: str) -> None:
    home = empty_home(tmp_path / "home")
    path = home.folder / spoiled
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    done = home.call("serve", "--port", str(free_port()), WEATHER_JWT_SECRET=SECRET)
    assert done.code == 1
    (line,) = done.lines
    assert line.startswith(f"weather: the service cannot write in {path}")


def test_a_service_none_of_whose_workers_can_start_ends(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    lock = home.folder / "serving" / "metrics" / "lock"
    lock.mkdir(parents=True)  # where the workers open a file
    server = start(home, tmp_path, "--workers", "2")
    try:
        assert server.process.wait(END_SECONDS) == 1
    finally:
        server.end()
    assert "a worker cannot start: the metrics cannot be kept in" in server.text
    assert server.text.splitlines()[-1] == "weather: the service ends, as no worker can start; its log says why"
    assert "Traceback" not in server.text


@pytest.mark.parametrize(
    ("exit_code", "ages", "ends"),
    [
        (CANNOT_START, [], True),
        (CANNOT_START, [4.0, 5.0], True),
        (CANNOT_START, [4.0, 3600.0], False),
        (1, [], False),
        (-9, [], False),
        (0, [], False),
    ],
)
def test_a_service_ends_when_a_worker_cannot_start_and_none_serves(
    exit_code: int, ages: list[float], ends: bool
) -> None:
    assert is_hopeless(exit_code, ages) is ends


def test_what_would_need_an_open_control_port_is_refused() -> None:
    with pytest.raises(SettingsError, match="leave --reload out"):
        PrivateArbiter([], endpoint="tcp://127.0.0.1:1", pubsub_endpoint="tcp://127.0.0.1:2", plugins=[{"use": "it"}])


def test_nothing_but_the_port_of_the_service_can_be_reached(server: Server) -> None:
    assert server.listening() == {server.port}


def test_its_workers_bound_the_heads_of_requests(server: Server) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
    assert loopback.get(f"{server.url}/livez", headers={"X": "x" * 10_000}).status_code == 200


def test_bentoml_itself_refuses_too_and_starts_no_worker(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    environment = os.environ | dict(home.env) | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("WEATHER_JWT_SECRET", None)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "bentoml"), "serve", command.SERVICE, "--port", str(free_port())],
        cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "tokens cannot be signed" in done.stdout + done.stderr


def test_two_workers_follow_flips_without_losing_a_request_or_mixing_versions_and_end_in_order(
    several: MadeHome, tmp_path: Path
) -> None:
    """Flips Production under load between two models; then Ctrl-C, after which every answer is in the log."""
    add_user(several, "ada", "predict")
    said_by = {version: _forecasts(several, version) for version in (1, 2)}
    stations = sorted(said_by[1])[:4]
    assert all(said_by[1][station][-1] != said_by[2][station][-1] for station in stations)
    answers: list[tuple[str, int, Any]] = []
    switches: list[tuple[float, float, int]] = []
    moved: list[tuple[float, int]] = []
    env = {"WEATHER_SERVING_POLL_SECONDS": "0.5", "WEATHER_PREDICTION_LOG_INTERVAL_SECONDS": "30"}
    with running(several, tmp_path, "--workers", "2", **env) as server:
        stop = threading.Event()
        token = server.token()

        def ask(station: str) -> None:
            with loopback.Client(
                base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=30
            ) as client:
                while not stop.is_set():
                    asked_at = time.monotonic()
                    answer = client.post("/v1/predict", json=ASKED | {"station": station})
                    answers.append((station, answer.status_code, answer.json()))
                    switches.append((asked_at, time.monotonic(), answer.json()["model_version"]))
                    time.sleep(PAUSE_SECONDS)

        threads = [threading.Thread(target=ask, args=[station]) for station in stations]
        for thread in threads:
            thread.start()
        try:
            for champion, version in ((1, 2), (2, 1)) * 3:
                moved.append((time.monotonic(), version))
                several.registry.move_production("rain_tomorrow", version, champion, AUDIT)
                _wait_for(answers, version)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert {status for _, status, _ in answers} == {200}
        for station, _, body in answers:
            said = (body["model_version"], body["model_digest"], body["threshold"], body["probability"])
            assert said == said_by[body["model_version"]][station]
        for (at, version), (end, _) in zip(moved, [*moved[1:], (math.inf, 0)], strict=True):
            during = [each for each in switches if at <= each[0] < end]
            first = min(got for _, got, served in during if served == version)
            assert {served for asked_at, _, served in during if asked_at > first + PROMISED_SECONDS} <= {version}
        processes = server.processes()
        assert server.end(signal.SIGINT) == 0
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert alive == []
    with closing(several.database) as database:
        logged = {row.request_id for row in database.predictions()}
    assert {body["request_id"] for _, _, body in answers} <= logged


def _forecasts(home: MadeHome, version: int) -> dict[str, tuple[Any, ...]]:
    """By station: the version, its digest, its threshold, and what it says of the day that is asked for."""
    target, day = TARGETS[ASKED["target"]], date.fromisoformat(ASKED["day"])
    model = home.registry.version(target.name, version)
    predictor = home.registry.ready(model)
    table = home.lake.read("features", columns=training_columns(target))
    table = table.filter(pc.field("day") == day)
    said = predictor.predict(training_data(table.to_batches(), table.num_rows, target).values).value.tolist()
    about = (version, model.digest, predictor.contract.threshold)
    return {name: (*about, value) for name, value in zip(table["station"].to_pylist(), said, strict=True)}


def test_a_killed_follower_is_started_again_and_all_end_when_the_server_is_killed_with_their_log_written(
    home: MadeHome, tmp_path: Path
) -> None:
    """By BentoML's own command, which serves the same as `weather serve`."""
    bentoml = (str(Path(sys.executable).parent / "bentoml"), "serve", command.SERVICE, "--host", "127.0.0.1")
    env = {
        "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True", "WEATHER_SERVING_WORKERS": "2",
        "WEATHER_PREDICTION_LOG_INTERVAL_SECONDS": "60",
    }  # fmt: skip
    with running(home, tmp_path, command=bentoml, **env) as server:
        assert server.listening() == {server.port}
        with server.client() as client:
            assert client.get("/v1/forecast/Cobar").status_code == 200
        for number in range(6):
            loopback.post(
                f"{server.url}/v1/token",
                json={"username": "ada", "password": "not the password of anybody"},
                headers={"X-Forwarded-For": f"192.0.2.{number}"},
                timeout=30,
            )
        with closing(home.database) as database, database.engine.connect() as connection:
            counted: Sequence[int] = connection.execute(sa.text("SELECT failures FROM failed_logins")).scalars().all()
        assert counted == [6], "guesses of who claims other addresses count together"
        killed, folder = server.follower(), StateFolder(home.folder)
        killed.kill()
        eventually(lambda: "the follower ended with -9; it is started again in 1 s" in server.text, "the restart")
        seen = folder.signature()
        eventually(lambda: folder.signature() != seen, "what the new one found", 60)
        others = [server.follower(), *server.workers()]
        assert len(others) == 3
        server.process.kill()
        assert psutil.wait_procs(others, timeout=END_SECONDS)[1] == []
    with closing(home.database) as database:
        assert len(database.predictions()) >= 1


def _wait_for(answers: list[tuple[str, int, Any]], version: int) -> None:
    """Until the newest answers are of this version."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        newest = answers[-12:]
        if len(newest) == 12 and all(status == 200 and body["model_version"] == version for _, status, body in newest):
            return
        time.sleep(0.05)
    raise AssertionError(f"version {version} was not answered within 20 s")


def test_the_settings_of_the_command_reach_the_workers(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, serving_workers=3)
    environment = command.environment(settings, 3000)
    assert environment["WEATHER_SERVING_WORKERS"] == "3"
    assert environment["WEATHER_HOME"] == str(tmp_path)
    assert environment["BENTOML_HOME"] != command.environment(settings, 3001)["BENTOML_HOME"]
