"""Homes of earlier versions: what is in the archives beside this file is opened, read, forecast and run again.

Each was made in a folder that is not there any more (``make``), so it is a moved home as well.
"""

import sqlite3
import tarfile
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from weather_platform.folders import take_home
from weather_platform.resources.registry import PRODUCTION
from weather_platform_tests.e2e.homes import Done, MadeHome
from weather_platform_tests.old_homes.make import ARCHIVES, PLACE, TINY
from weather_platform_tests.small_models import TARGET

READING = (
    ["status"],
    ["models"],
    ["skill"],
    ["lineage", TARGET, "Albury", "2015-03-31"],
    ["env"],
)
DAY = date(2015, 3, 1)
"""A day that was not forecast when the homes were made."""


@pytest.fixture(params=sorted(ARCHIVES.glob("*.tar.*")), ids=lambda path: path.name.partition(".tar")[0])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> MadeHome:
    """An unpacked home of an earlier version."""
    folder = tmp_path / "home"
    with tarfile.open(request.param) as packed:
        packed.extractall(folder, filter="data")
    take_home(folder)  # the archive opened it to other users, and the first command would say that it closed it
    return MadeHome(folder, {**TINY, "WEATHER_HOME": str(folder)})


def works_or_says_what_to_do(done: Done) -> None:
    """Exit code 0, or one line with a remedy."""
    if done.code:
        assert done.code == 1
        *progress, line = done.lines
        assert line.startswith("weather: "), done.err
        assert "; " in line, f"no remedy: {line}"
        said = [each for each in progress if each.startswith(("weather: ", "Traceback"))]
        # The first command closes the unpacked home, whatever becomes of it.
        assert [each for each in said if not each.endswith(" to other users of this machine")] == []


def test_there_is_a_home_of_an_earlier_version() -> None:
    assert [*ARCHIVES.glob("*.tar.*")]


def test_a_home_of_an_earlier_version_is_read_and_forecasts_a_day_that_it_had_not(old: MadeHome) -> None:
    for command in (*READING, ["reproduce", TARGET, "1"]):
        works_or_says_what_to_do(old.call(*command))
    assert "Production" in old.call("models").out
    forecast = old.call("forecast", "--date", DAY.isoformat(), "--target", TARGET)
    assert forecast.code == 0, forecast.err
    assert old.database.forecasts(TARGET, DAY, DAY, model_version=1).num_rows
    with closing(sqlite3.connect(old.folder / "mlflow.db")) as store:
        named = store.execute("SELECT count(*) FROM runs WHERE artifact_uri LIKE ?", (f"{PLACE.as_uri()}/%",))
        assert named.fetchone() == (0,)


def test_a_home_of_an_earlier_version_is_watched_and_run_again(old: MadeHome) -> None:
    for command in (["watch", "--month", "2015-02"], ["run", "--target", TARGET, "--forecast-days", "1"], *READING):
        done = old.call(*command)
        assert done.code == 0, (command, done.err)
    assert old.registry.alias(TARGET, PRODUCTION) is not None
