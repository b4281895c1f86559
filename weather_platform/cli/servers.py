"""`weather ui`: the two user interfaces and what they need as child processes, ended together."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from weather_platform.cli.home import end_runs_of_dead_processes, ready_dagster_home
from weather_platform.cli.progress import doing
from weather_platform.errors import SettingsError, WeatherError
from weather_platform.resources.mlflow_client import ensure_store, experiment_path
from weather_platform.settings import Settings
from weather_platform.stores import mlflow_tracking_uri

_GRACE_SECONDS = 15
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # Said by MLflow at every start, about its own code.
    "PYTHONWARNINGS": "ignore:starlette.middleware.wsgi is deprecated",
}
_CODE, _DAGSTER, _DAEMON, _MLFLOW = "Dagster's code server", "Dagster", "Dagster's daemon", "MLflow"


def serve_user_interfaces(settings: Settings, host: str, port: int, mlflow_port: int) -> None:
    """Run both interfaces behind the guard until a server ends, Ctrl-C or SIGTERM; then end all."""
    from rich.console import Console

    console = Console(highlight=False)
    folder = ready_dagster_home(settings)
    ports = {_DAGSTER: port, _MLFLOW: mlflow_port}
    if settings.profile == "stack":
        del ports[_MLFLOW]  # the stack has a server of its own
    for name, wanted in ports.items():
        require_free(name, host, wanted, "--port" if name == _DAGSTER else "--mlflow-port")
    if _MLFLOW in ports:
        with doing("opening the store of MLflow"):
            ensure_store(mlflow_tracking_uri(settings))  # MLflow's own command would make it under its name, in pieces
    end_runs_of_dead_processes(settings)
    # Started in the background by a script, SIGINT is ignored, and the children would inherit that and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    servers: dict[str, subprocess.Popen[bytes]] = {}
    # Only this user gets into a folder of `tempfile`, and a browser into no socket at all.
    with tempfile.TemporaryDirectory(prefix="weather-ui-") as private:
        code = Path(private) / "code"
        commands = _commands(settings, host, ports, code)
        environment = (
            _QUIET
            | os.environ
            | {
                "WEATHER_HOME": str(settings.home),
                "WEATHER_AUTOMATION": str(settings.automation),
                "DAGSTER_HOME": str(folder),
            }
        )
        try:
            with doing(f"starting {' and '.join(ports)}", silent_seconds=0):
                for name, command in commands.items():
                    if name == _DAGSTER:
                        _wait_until(lambda: _listens(code), servers)
                    named = ",".join(filter(None, (settings.ui_hosts, f"{_in_address(host)}:{ports.get(name, port)}")))
                    servers[name] = subprocess.Popen(
                        command, cwd=folder, env=environment | {"WEATHER_UI_HOSTS": named}, start_new_session=True
                    )
                _wait_until(lambda: all(_answers(host, wanted) for wanted in ports.values()), servers)
            for name, wanted in ports.items():
                page = _experiment_page(host, wanted) if name == _MLFLOW else ""
                console.print(f"{name:<8} http://{_in_address(host)}:{wanted}{page}", soft_wrap=True)
            if settings.automation:
                console.print(
                    "automation is on: new months are received, trainings started and notices sent", soft_wrap=True
                )
            console.print("Ctrl-C ends both" if len(ports) > 1 else "Ctrl-C ends it")
            _wait_until(lambda: False, servers)
        except KeyboardInterrupt:
            console.print("ending")
        finally:
            _end(servers)


def _wait_until(ready: Callable[[], bool], servers: Mapping[str, "subprocess.Popen[bytes]"]) -> None:
    """WeatherError as soon as a server ends."""
    while not ready():
        for name, server in servers.items():
            if server.poll() is not None:
                raise WeatherError(f"{name} ended with code {server.returncode}; its last lines above say why")
        time.sleep(0.25)


def _commands(settings: Settings, host: str, ports: Mapping[str, int], code: Path) -> dict[str, list[str]]:
    """The program of each server. What `dagster dev` starts, but with the webserver inside the guard."""
    from weather_platform.cli.run_storage import LOCATION

    here = Path(sys.executable).parent
    workspace = code.with_name("workspace.yaml")
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": {"socket": str(code), "location_name": LOCATION}}]}))
    commands = {
        _MLFLOW: [
            str(here / "mlflow"), "ui", "--host", host, "--port", str(ports.get(_MLFLOW)), "--workers", "1",
            "--backend-store-uri", mlflow_tracking_uri(settings), "--uvicorn-opts", "--log-level warning",
            "--app-name", "weather",
        ],
        _CODE: [
            str(here / "dagster"), "code-server", "start", "--socket", str(code), "--log-level", "warning",
            "--location-name", LOCATION, "--module-name", "weather_platform.definitions",
            "--inject-env-vars-from-instance", "--use-python-environment-entry-point",
        ],
        _DAGSTER: [
            sys.executable, "-m", "weather_platform.ui.dagster", host, str(ports[_DAGSTER]), str(workspace),
        ],
        _DAEMON: [str(here / "dagster-daemon"), "run", "--workspace", str(workspace), "--log-level", "warning"],
    }  # fmt: skip
    return {name: command for name, command in commands.items() if name != _MLFLOW or name in ports}


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _experiment_page(host: str, port: int) -> str:
    """The path of the platform's experiment; the first page when nothing was trained yet."""
    import httpx

    from weather_platform.profiles import EXPERIMENT

    answer = httpx.get(
        f"http://{_reachable(host)}:{port}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": EXPERIMENT}, timeout=60,
    )  # fmt: skip
    if answer.status_code == httpx.codes.NOT_FOUND:
        return ""
    return experiment_path(answer.raise_for_status().json()["experiment"]["experiment_id"])


def require_free(name: str, host: str, port: int, option: str) -> None:
    """SettingsError when the port is taken: servers would only say so in the middle of a long trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        raise SettingsError(
            f"{name} cannot listen on {host}:{port}: {error.strerror}; choose another {option}"
        ) from None


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not listened on


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((_reachable(host), port), timeout=1):
            return True
    except OSError:
        return False


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _end(servers: Mapping[str, "subprocess.Popen[bytes]"]) -> None:
    """Ask every process of the servers to end, and make them when they do not."""
    for server in servers.values():
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
    for server in servers.values():
        try:
            server.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
