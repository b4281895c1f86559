"""How the service begins, follows the aliases under load, and ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from weather_platform.cli import serve as command
from weather_platform.resources.registry import RegisteredModel
from weather_platform.settings import PROJECT_DIR, load_settings
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.serving.servers import END_SECONDS, SECRET, Server, add_user, free_port, running, start

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


def test_a_port_that_is_taken_is_said(server: Server, tmp_path: Path) -> None:
    done = empty_home(tmp_path / "home").call("serve", "--port", str(server.port), WEATHER_JWT_SECRET=SECRET)
    assert done.code == 1
    assert "choose another --port" in done.err


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


def test_it_listens_on_loopback_alone_and_without_dagster_mlflow_or_access_log(server: Server) -> None:
    with server.client() as client:
        assert client.post("/v1/predict", json=ASKED).status_code == 200
    listening = {
        connection.laddr.ip
        for process in server.processes()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == server.port
    }
    assert listening == {"127.0.0.1"}
    worker = next(each for each in server.processes() if "_bentoml_impl.worker.service" in each.cmdline())
    mapped = {Path(each.path).name for each in worker.memory_maps()}
    assert not [name for name in mapped if "duckdb" in name or "_grpc" in name]
    assert "POST /v1/predict" not in server.text


def test_an_empty_home_is_alive_and_not_ready(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    server = start(home, tmp_path)
    try:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            try:
                answer = httpx.get(f"{server.url}/readyz", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert httpx.get(f"{server.url}/livez", timeout=5).status_code == 200
        assert answer.status_code == 503
        assert answer.json()["ready"] is False
        add_user(home, "ada", "predict")
        with server.client() as client:
            refused = client.post("/v1/predict", json=ASKED)
        assert refused.status_code == 503
    finally:
        assert server.end() == 0


def test_two_workers_follow_flips_without_losing_a_request_and_end_in_order(home: MadeHome, tmp_path: Path) -> None:
    """Flips Production under load between two versions; then SIGTERM, after which every answer is in the log."""
    first = home.registry.production("rain_tomorrow")
    other = _registered_again(home, first)
    answers: list[tuple[int, Any]] = []
    with running(home, tmp_path, "--workers", "2", WEATHER_SERVING_POLL_SECONDS="0.3") as server:
        stop = threading.Event()
        token = server.token()

        def ask() -> None:
            with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
                while not stop.is_set():
                    answer = client.post("/v1/predict", json=ASKED)
                    body = answer.json()
                    answers.append((answer.status_code, body))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for version in (other, first.version) * 3:
                _flip(home, version)
                _wait_for(answers, version)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert {status for status, _ in answers} == {200}
        said = {(body["model_version"], body["model_digest"], body["probability"]) for _, body in answers}
        assert {version for version, _, _ in said} == {first.version, other}
        assert len(said) == 2
        processes = server.processes()
        assert server.end(signal.SIGTERM) == 0
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert alive == []
    with closing(home.database) as database:
        logged = {row.request_id for row in database.predictions()}
    assert {body["request_id"] for _, body in answers} <= logged


def test_ctrl_c_ends_it_with_its_log_written(home: MadeHome, tmp_path: Path) -> None:
    with running(home, tmp_path, WEATHER_PREDICTION_LOG_INTERVAL_SECONDS="30") as server:
        with server.client() as client:
            asked = [client.post("/v1/predict", json=ASKED).json()["request_id"] for _ in range(20)]
        assert server.end(signal.SIGINT) == 0
    with closing(home.database) as database:
        assert set(asked) <= {row.request_id for row in database.predictions()}


def test_when_the_command_is_killed_its_workers_write_their_log_and_end_with_the_follower(
    home: MadeHome, tmp_path: Path
) -> None:
    with running(home, tmp_path, "--workers", "2", WEATHER_PREDICTION_LOG_INTERVAL_SECONDS="60") as server:
        with server.client() as client:
            assert client.get("/v1/forecast/Cobar").status_code == 200
        command, *others = server.processes()
        assert len(others) >= 3
        command.kill()
        assert psutil.wait_procs(others, timeout=END_SECONDS)[1] == []
    with closing(home.database) as database:
        assert len(database.predictions()) >= 1


def _registered_again(home: MadeHome, model: RegisteredModel) -> int:
    """The same model as another version."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    version = client.get_model_version(model.target, str(model.version))
    made = client.create_model_version(
        model.target, version.source, version.run_id, tags=dict(version.tags), model_id=version.model_id
    )
    return int(made.version)


def _flip(home: MadeHome, version: int) -> None:
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}").set_registered_model_alias(
        "rain_tomorrow", "Production", str(version)
    )


def _wait_for(answers: list[tuple[int, Any]], version: int) -> None:
    """Until the newest answers are of this version."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        newest = answers[-12:]
        if len(newest) == 12 and all(status == 200 and body["model_version"] == version for status, body in newest):
            return
        time.sleep(0.05)
    raise AssertionError(f"version {version} was not answered within 20 s")


def test_the_settings_of_the_command_reach_the_workers(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, serving_workers=3)
    environment = command.environment(settings, 3000)
    assert environment["WEATHER_SERVING_WORKERS"] == "3"
    assert environment["WEATHER_HOME"] == str(tmp_path)
    assert environment["BENTOML_HOME"] != command.environment(settings, 3001)["BENTOML_HOME"]
