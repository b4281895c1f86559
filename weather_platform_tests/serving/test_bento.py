"""The bento that is built from the repository holds all code of the package, and serves a home by itself."""

import os
import subprocess
import sys
from pathlib import Path

from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.serving.servers import free_port, started, until_ready

BENTOML = str(Path(sys.executable).parent / "bentoml")


def test_the_bento_that_is_built_holds_the_service_and_serves(served_home: MadeHome, tmp_path: Path) -> None:
    own = {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [BENTOML, "build", "--output", "tag"],
        cwd=PROJECT_DIR, env=os.environ | own | {"WEATHER_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (bento,) = tmp_path.glob("bentos/weather-platform/*/src")
    tracked = subprocess.run(
        ["git", "ls-files", "weather_platform"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {Path(name) for name in tracked} <= {path.relative_to(bento) for path in bento.rglob("*")}

    port = free_port()
    command = [BENTOML, "serve", "weather-platform:latest", "--host", "127.0.0.1", "--port", str(port)]
    with until_ready(started(served_home, tmp_path, port, command, tmp_path, own)) as server:
        with server.client() as client:
            answer = client.get("/v1/forecast/Canberra")
        assert answer.status_code == 200, answer.text
        assert {forecast["model_version"] for forecast in answer.json()["forecasts"]} == {1}
        [worker] = server.workers()
        assert Path(worker.cwd()) == bento.resolve()
        found = server.follower().environ()["PYTHONPATH"].split(os.pathsep)[0]
        assert Path(found) == bento.resolve(), "worker and follower run the code of the bento"
        assert server.end() == 0
