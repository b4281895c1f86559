"""`weather ui`: the two user interfaces as child processes, ended together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from weather_platform.cli.home import dagster_home
from weather_platform.errors import WeatherError
from weather_platform.profiles import mlflow_tracking_uri
from weather_platform.settings import PROJECT_DIR, Settings

_GRACE_SECONDS = 15


def serve_user_interfaces(settings: Settings, host: str, port: int, mlflow_port: int) -> None:
    """Run `dagster dev` and `mlflow ui` until one of them ends or Ctrl-C; then end both."""
    here = Path(sys.executable).parent
    environment = os.environ | {
        "WEATHER_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home(settings)),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    commands = {
        "Dagster": [str(here / "dagster"), "dev", "--host", host, "--port", str(port), "--workspace", "workspace.yaml"],
        "MLflow": [
            str(here / "mlflow"), "ui", "--host", host, "--port", str(mlflow_port), "--workers", "1",
            "--backend-store-uri", mlflow_tracking_uri(settings),
        ],
    }  # fmt: skip
    if settings.profile == "stack":
        del commands["MLflow"]  # the stack has a server of its own
    console = Console(highlight=False)
    console.print(f"Dagster  http://{host}:{port}\nMLflow   http://{host}:{mlflow_port}\nCtrl-C ends both.")
    servers = {
        name: subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, start_new_session=True)
        for name, command in commands.items()
    }
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        while all(server.poll() is None for server in servers.values()):
            time.sleep(0.5)
        ended = next(name for name, server in servers.items() if server.poll() is not None)
        raise WeatherError(f"{ended} ended with code {servers[ended].returncode}; its last lines above say why")
    except KeyboardInterrupt:
        console.print("ending both")
    finally:
        for server in servers.values():
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGINT)
        for server in servers.values():
            try:
                server.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
