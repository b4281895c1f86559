"""What README.md tells people to type works: every shell command of it is run, on small homes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.csv
import pytest

from weather_platform.domain.leaderboard import Entry
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.targets import TARGETS
from weather_platform.settings import PROJECT_DIR
from weather_platform.sources.synthetic import SyntheticSource
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, empty_home, shared_home

NEWEST = date(2015, 6, 30)
OWN_TO_A_RUN = ["issued_at", "dagster_run_id"]
README = (PROJECT_DIR / "README.md").read_text(encoding="utf-8")
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)]
SERVICE = next(block for block in BLOCKS if any(line.startswith("weather serve") for line in block))
COMMANDS = [line.partition("   #")[0].strip() for block in BLOCKS if block is not SERVICE for line in block]


def commands(*beginnings: str) -> list[str]:
    """The commands of the README that begin so, in order."""
    return [command for command in COMMANDS if command.startswith(beginnings)]


def environment(home: MadeHome) -> dict[str, str]:
    """As in a shell that has activated .venv: nothing of the settings of whoever runs the tests."""
    kept = clean_environment()
    return kept | dict(home.env) | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def start(lines: list[str], home: MadeHome, folder: Path = PROJECT_DIR) -> "subprocess.Popen[str]":
    """The lines as one shell script that stops at the first command that fails."""
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder, env=environment(home), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def said_by(script: "subprocess.Popen[str]") -> str:
    said, _ = script.communicate(timeout=900)
    assert script.returncode == 0, said[-4000:]
    return said


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """The run on csv files, begun first and asked last, so that it goes on beside the others."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "observations").mkdir()
    write_weather_aus(folder / "observations" / "weather.csv")
    script = start(commands("WEATHER_HOME="), empty_home(folder / "unused"), folder)
    yield script
    script.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, real: "subprocess.Popen[str]") -> MadeHome:
    """A home that Dagster alone has filled, as the README says."""
    made = empty_home(tmp_path_factory.mktemp("filled by Dagster"))
    said_by(start(commands("eval", "dagster ", "dg "), made))
    return made


def write_weather_aus(path: Path) -> None:
    """Generated weather in the layout of the real table."""
    source = SyntheticSource(
        seed=42, station_count=12, first_day=date(2012, 1, 1), last_day=date(2015, 6, 30), shift=None,
        first_month="2007-11", fetched_at=datetime(2015, 7, 1, tzinfo=UTC),
    )  # fmt: skip
    months = [f"{year}-{month:02d}" for year in range(2012, 2016) for month in range(1, 13)]
    rows = pa.concat_tables([source.rows(month) for month in months if month <= "2015-06"])
    names = {"date": "Date", "station": "Location"} | {c.name: c.weather_aus for c in OBSERVATION_COLUMNS}
    pyarrow.csv.write_csv(rows.select(list(names)).rename_columns(list(names.values())), path)


def same(line: Entry) -> Entry:
    """A line of a leaderboard without what differs from run to run."""
    return replace(line, train_seconds=None, predict_rows_per_second=None, peak_memory_mb=None, run_id=None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own server on this machine
            said: str = reply.read().decode()
            return said
    except urllib.error.URLError as error:
        return str(error)


def test_every_command_of_the_readme_is_one_that_is_run_here_or_by_make() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT_DIR / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {command.split()[1] for command in commands("make ")} <= targets
    known = ("make ", ". .venv/bin/activate", "WEATHER_HOME=", "weather ", "eval ", "dagster ", "dg ")
    assert [command for command in COMMANDS if not command.startswith(known)] == []
    assert len(commands("dagster asset materialize")) == 4


def test_files_that_the_readme_points_to_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "://" not in link and not (PROJECT_DIR / link).exists()] == []


def test_dagster_alone_fills_a_home_and_every_other_command_reads_it(home: MadeHome) -> None:
    said = said_by(start([command for command in commands("weather ") if command != "weather ui"], home))
    assert "Canberra" in said
    assert "Production" in said
    assert "issued 2015-06-30, for 2015-07-01" in said


def test_dagster_alone_gives_the_rows_models_and_forecasts_of_the_command_in_another_home(
    home: MadeHome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    by_command = shared_home(tmp_path_factory)
    for table, key in (("raw_observations", "month"), ("observations", "year"), ("features", "year")):
        assert home.lake.row_counts(table, key) == by_command.lake.row_counts(table, key)
    for target in TARGETS:
        assert home.registry.production(target).digest == by_command.registry.production(target).digest
        [(year, board)] = by_command.database.leaderboards(target).items()
        assert [same(line) for line in home.database.leaderboard(target, year)] == [same(line) for line in board]
        rows, expected = (each.database.forecasts(target, NEWEST, NEWEST) for each in (home, by_command))
        assert rows.num_rows > 1
        assert rows.drop_columns(OWN_TO_A_RUN).equals(expected.drop_columns(OWN_TO_A_RUN))


def test_the_service_answers_what_the_readme_asks_it(home: MadeHome) -> None:
    port = str(free_port())
    lines = [line.replace("8000", port) for line in SERVICE]
    said = said_by(start(["trap 'kill $(jobs -p)' EXIT", *lines], home))
    assert "Canberra: issued 2015-06-30, for 2015-07-01" in said


def test_weather_ui_answers_on_both_ports_and_leaves_no_process_behind(home: MadeHome) -> None:
    assert commands("weather ui") == ["weather ui"]
    port, mlflow_port = free_port(), free_port()
    ui = start([f"exec weather ui --port {port} --mlflow-port {mlflow_port}"], home)
    try:
        assert ui.stdout is not None
        said: list[str] = []
        while "Ctrl-C" not in "".join(said[-1:]):
            said.append(ui.stdout.readline())
            assert ui.poll() is None, "".join(said)
        assert "dagster_webserver_version" in answer(f"http://127.0.0.1:{port}/server_info")
        assert answer(f"http://127.0.0.1:{mlflow_port}/health") == "OK"
        family = psutil.Process(ui.pid).children(recursive=True)
        assert len(family) >= 5
    finally:
        ui.send_signal(signal.SIGTERM)
        rest, _ = ui.communicate(timeout=60)
    assert ui.returncode == 0, rest
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_run_on_csv_files_in_a_home_of_its_own(real: "subprocess.Popen[str]") -> None:
    started = time.perf_counter()
    said = said_by(real)
    assert "test 2015" in said, f"after {time.perf_counter() - started:.0f} s"
    assert "DEPLOY" in said
