"""`weather replay`: days arrive one by one, and end in what one update makes of them, also when it was killed."""

import json
import os
import signal
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from weather_platform.domain.targets import TARGETS
from weather_platform_tests.e2e.homes import SMALL, MadeHome, empty_home
from weather_platform_tests.small_models import TARGET

FIRST, SECOND, LAST = "2015-05-31", "2015-06-01", "2015-06-03"
OWN_TO_A_RUN = ["issued_at", "dagster_run_id"]


def start(folder: Path, last: str, *options: str) -> MadeHome:
    """A replay up to this day in a home of its own; it must end well."""
    home = empty_home(folder)
    done = home.run("replay", "--from", FIRST, "--to", last, "--into", str(folder), *options)
    assert done.code == 0, done.err
    assert f"replayed {FIRST} to {last}" in done.out
    return home


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """The home after the first two days: the second ends a month."""
    return start(tmp_path_factory.mktemp("replay") / "home", SECOND)


@pytest.fixture(scope="module")
def four_days(two_days: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """A copy of it that was started again, for two days more."""
    folder = copy(two_days, tmp_path_factory.mktemp("more") / "home")
    return start(folder, LAST)


def copy(home: MadeHome, folder: Path) -> Path:
    os.system(f"cp -a {home.folder} {folder}")  # noqa: S605 - two folders of this test
    return folder


def forecasts(home: MadeHome, target: str) -> pa.Table:
    return home.database.forecasts(target, date(2015, 5, 1), date(2015, 7, 1)).drop_columns(OWN_TO_A_RUN)


def tables(home: MadeHome) -> dict[str, pa.Table]:
    """What is observed and made of it, by year of the replay."""
    return {
        name: home.lake.snapshot(name).read(keys=["2015"]).sort_by([("day", "ascending"), ("station", "ascending")])
        for name in ("observations", "features")
    }


def test_each_day_is_forecast_once_and_live_by_the_model_that_served(four_days: MadeHome) -> None:
    for target in TARGETS:
        issued = forecasts(four_days, target)
        replayed = issued.filter(pa.compute.greater_equal(issued["day"], date.fromisoformat(FIRST)))
        assert set(replayed["kind"].to_pylist()) == {"live"}
        days = replayed["day"].unique().to_pylist()
        assert [day.isoformat() for day in days] == ["2015-05-31", "2015-06-01", "2015-06-02", "2015-06-03"]
    assert {1} == set(forecasts(four_days, TARGET)["model_version"].to_pylist())


def test_nothing_of_a_later_day_is_seen(two_days: MadeHome) -> None:
    newest = max(two_days.lake.snapshot("raw_observations").read(keys=["2015-06"])["day"].to_pylist())
    assert newest.isoformat() == SECOND


def test_a_month_that_ended_is_reported_on_and_decided(two_days: MadeHome) -> None:
    assert list(two_days.database.drift(["2015-05"])) == ["2015-05"]
    for target in TARGETS:
        months = [decision.month for decision, _ in two_days.database.retraining(target)]
        assert months == ["2015-04", "2015-05"], "on its first day, April was whole; on its second, May"


def test_days_that_arrived_one_by_one_are_what_one_update_makes_of_them(
    two_days: MadeHome, four_days: MadeHome, tmp_path: Path
) -> None:
    at_once = empty_home(copy(two_days, tmp_path / "home"))
    done = at_once.run("update", WEATHER_SYNTHETIC_LAST_DAY=LAST)
    assert done.code == 0, done.err
    for name, table in tables(at_once).items():
        assert table.equals(tables(four_days)[name]), name
    for target in TARGETS:
        assert forecasts(at_once, target).equals(forecasts(four_days, target))


def test_a_replay_that_was_killed_ends_as_one_that_was_not(
    two_days: MadeHome, four_days: MadeHome, tmp_path: Path
) -> None:
    folder = copy(two_days, tmp_path / "home")
    home = empty_home(folder)
    for seconds in (7, 11, 15, 20):
        process = home.start("replay", "--from", FIRST, "--to", LAST, "--into", str(folder))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    start(folder, LAST)
    assert json.loads((folder / "replay.json").read_text())["done"] == LAST
    for name, table in tables(home).items():
        assert table.equals(tables(four_days)[name]), name
    for target in TARGETS:
        assert forecasts(home, target).equals(forecasts(four_days, target))


def test_a_replay_that_was_killed_in_its_first_training_begins_again_in_its_folder(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    process = home.start("replay", "--from", FIRST, "--to", FIRST, "--into", str(home.folder))
    deadline = time.monotonic() + 300
    while not (home.folder / "mlflow.db").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert json.loads((home.folder / "replay.json").read_text())["done"] is None
    start(home.folder, FIRST)


def test_the_report_says_what_was_decided_and_what_it_was_worth(two_days: MadeHome) -> None:
    said = (two_days.folder / "replay.md").read_text()
    assert f"# Replay of {FIRST} to {SECOND}" in said
    for target in TARGETS.values():
        assert f"## {target.title}: live skill by month and version" in said
    assert "after 2015-05" in said
    page = (two_days.folder / "replay.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2015-06-03", "2015-06-01", "choose days of a replay inside"),
        ("2011-06-01", "2015-06-01", "choose days of a replay inside"),
        ("2015-06-01", "2016-06-01", "choose days of a replay inside"),
    ],
    ids=["backwards", "before the first day", "after the last day"],
)
def test_days_that_the_source_does_not_cover_are_refused(tmp_path: Path, first: str, last: str, said: str) -> None:
    folder = tmp_path / "replay"
    done = empty_home(tmp_path / "own").call("replay", "--from", first, "--to", last, "--into", str(folder))
    assert (done.code, done.out) == (1, "")
    assert said in done.err


def test_a_folder_with_something_else_in_it_is_refused_and_left_as_it_was(two_days: MadeHome, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("mine")
    home = empty_home(tmp_path / "none")
    done = home.call("replay", "--from", FIRST, "--to", LAST, "--into", str(tmp_path))
    assert (done.code, "a replay needs a folder of its own" in done.err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]
    other = home.call("replay", "--from", SECOND, "--to", LAST, "--into", str(two_days.folder))
    assert (other.code, "holds another replay" in other.err) == (1, True)
    assert SMALL["WEATHER_SYNTHETIC_LAST_DAY"] == "2015-06-30"
