"""`weather ui`: the two user interfaces as child processes, ended together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from weather_platform.cli.home import dagster_home
from weather_platform.errors import SettingsError, WeatherError
from weather_platform.resources.mlflow_client import ensure_store
from weather_platform.settings import PROJECT_DIR, Settings
from weather_platform.stores import mlflow_tracking_uri

_GRACE_SECONDS = 15
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # What Dagster and MLflow say about themselves at every start and nobody here can mend.
    "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded,ignore:starlette.middleware.wsgi is deprecated",
}


def serve_user_interfaces(settings: Settings, host: str, port: int, mlflow_port: int) -> None:
    """Run `dagster dev` and `mlflow ui` until one of them ends, Ctrl-C or SIGTERM; then end both."""
    from rich.console import Console

    console = Console(highlight=False)
    folder = dagster_home(settings)
    here = Path(sys.executable).parent
    commands = {
        "Dagster": [
            str(here / "dagster"), "dev", "--host", host, "--port", str(port),
            "--workspace", str(PROJECT_DIR / "workspace.yaml"), "--log-level", "warning",
        ],
        "MLflow": [
            str(here / "mlflow"), "ui", "--host", host, "--port", str(mlflow_port), "--workers", "1",
            "--backend-store-uri", mlflow_tracking_uri(settings), "--uvicorn-opts", "--log-level warning",
        ],
    }  # fmt: skip
    ports = {"Dagster": port, "MLflow": mlflow_port}
    if settings.profile == "stack":
        del commands["MLflow"], ports["MLflow"]  # the stack has a server of its own
    for name, wanted in ports.items():
        require_free(name, host, wanted, "--port" if name == "Dagster" else "--mlflow-port")
    if "MLflow" in commands:
        ensure_store(mlflow_tracking_uri(settings))  # MLflow's own command would make it under its name, in pieces
    # Started in the background by a script, SIGINT is ignored, and the children would inherit that and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment = _QUIET | os.environ | {"WEATHER_HOME": str(settings.home), "DAGSTER_HOME": str(folder)}
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            servers[name] = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
        while not all(_answers(host, wanted) for wanted in ports.values()):
            _require_running(servers)
            time.sleep(0.25)
        for name, wanted in ports.items():
            console.print(f"{name:<8} http://{host}:{wanted}")
        console.print("Ctrl-C ends both" if len(servers) > 1 else "Ctrl-C ends it")
        while True:
            _require_running(servers)
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("ending")
    finally:
        _end(servers)


def _require_running(servers: Mapping[str, "subprocess.Popen[bytes]"]) -> None:
    for name, server in servers.items():
        if server.poll() is not None:
            raise WeatherError(f"{name} ended with code {server.returncode}; its last lines above say why")


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


def _answers(host: str, port: int) -> bool:
    reachable = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not listened on
    try:
        with socket.create_connection((reachable, port), timeout=1):
            return True
    except OSError:
        return False


def _end(servers: Mapping[str, "subprocess.Popen[bytes]"]) -> None:
    """Ask every process of both servers to end, and make them when they do not."""
    for name, server in servers.items():
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGINT if name == "Dagster" else signal.SIGTERM)
    for server in servers.values():
        try:
            server.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
