"""Ctrl-C and kill -9 in the middle of a range, then again: every partition old or new, nothing lost, nothing doubled.

The home holds generated rows; the range that is killed brings those of a climate that is five degrees warmer, so that
the temperatures of every stored row tell which of the two it belongs to.
"""

import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pytest

from weather_platform.build import build_definitions
from weather_platform.resources.source import open_source
from weather_platform.settings import Settings
from weather_platform.sources.synthetic import ClimateShift, SyntheticSource
from weather_platform_tests.e2e.homes import Done, MadeHome, copied, empty_home
from weather_platform_tests.stages import RANGE_END, RANGE_START

OLD, NEW = "as it was", "five degrees warmer"
MANY_MONTHS = {
    "WEATHER_SYNTHETIC_YEARS": "6", "WEATHER_SYNTHETIC_SHIFT_DAY": "2010-01-01", "WEATHER_SYNTHETIC_SHIFT_TEMP_C": "5",
}  # fmt: skip
TEMPERATURES = ("min_temp_c", "max_temp_c", "temp_9am_c", "temp_3pm_c")
MOMENT = datetime(2015, 7, 1, tzinfo=ZoneInfo("Australia/Sydney"))
MONTHS = [f"{year}-{month:02}" for year in range(2010, 2016) for month in range(1, 13) if (year, month) < (2015, 7)]
TABLES = {"raw_observations": "month", "observations": "year", "quarantined_observations": "year"}


def kill_when(home: MadeHome, moment: Callable[[], bool], sent: signal.Signals) -> Done:
    """Start the whole run, and send the signal to it and all it started as soon as the moment has come."""
    process = home.start("run", "--source", "synthetic", **MANY_MONTHS)
    deadline = time.monotonic() + 180
    while not moment():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, sent)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Done(process.returncode, out, err)


def moved_on(home: MadeHome, table: str) -> Callable[[], bool]:
    """Whether the table has a commit more than now. Looks at the folder only: cheap enough for a tight loop."""
    log = home.folder / "lake" / table / "_delta_log"

    def commits() -> int:
        return len(list(log.glob("*.json")))

    before = commits()
    return lambda: commits() > before


def temperatures(rows: pa.Table) -> dict[int, tuple[float | None, ...]]:
    """Those of each row, by its number."""
    texts = rows.select(["row_number", *TEMPERATURES]).to_pylist()
    return {
        row["row_number"]: tuple(None if row[name] in (None, "NA") else float(row[name]) for name in TEMPERATURES)
        for row in texts
    }


@cache
def generated(warmer: float) -> dict[int, tuple[float | None, ...]]:
    """The temperatures of every row that the generator gives to these homes."""
    source = SyntheticSource(
        seed=42, station_count=12, first_day=date(2010, 1, 1), last_day=date(2015, 6, 30),
        shift=ClimateShift(date(2010, 1, 1), warmer, 1.0), first_month="2007-11", fetched_at=MOMENT,
    )  # fmt: skip
    return temperatures(pa.concat_tables([source.rows(month) for month in MONTHS]))


def origins(home: MadeHome, table: str) -> dict[str, set[str]]:
    """Per partition, the climates whose rows it holds."""
    old, new = generated(0.0), generated(5.0)
    found: dict[str, set[str]] = {}
    rows = home.lake.read(table, columns=[TABLES[table], "row_number", *TEMPERATURES])
    for key, (number, stored) in zip(rows[TABLES[table]].to_pylist(), temperatures(rows).items(), strict=True):
        told = [(mine, a, b) for mine, a, b in zip(stored, old[number], new[number], strict=True) if a != b]
        kinds = {OLD for mine, a, _ in told if mine == a} | {NEW for mine, _, b in told if mine == b}
        assert len(kinds) == 1, (table, number, told)
        found.setdefault(key, set()).update(kinds)
    return found


def expected_months(home: MadeHome) -> dict[str, int]:
    """Rows of every month as the source gives them."""
    source = open_source(many_months(home), MOMENT)
    return {month: source.rows(month).num_rows for month in MONTHS}


def many_months(home: MadeHome) -> Settings:
    """The settings of the runs that were killed."""
    shift = {"synthetic_shift_day": date(2010, 1, 1), "synthetic_shift_temp_c": 5.0}
    return home.settings.model_copy(update={"synthetic_years": 6, **shift})


def stage(home: MadeHome, job: str, first: str, last: str) -> None:
    """Run a stage again, as `weather run` and the UI would, on the instance of the home."""
    with home.dagster() as instance:
        build_definitions(many_months(home)).resolve_job_def(job).execute_in_process(
            instance=instance, tags={RANGE_START: first, RANGE_END: last}
        )


@pytest.fixture(scope="module")
def killed(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> dict[str, MadeHome | Done]:
    """Copies of one home: after Ctrl-C while rows came in, after kill -9 while years were cleaned, and run again."""
    home = copied(first, tmp_path_factory.mktemp("killed") / "home")
    interrupted = kill_when(home, moved_on(home, "raw_observations"), signal.SIGINT)
    after_interrupt = copied(home, home.folder.with_name("after_interrupt"))
    shot = kill_when(home, moved_on(home, "observations"), signal.SIGKILL)
    after_shot = copied(home, home.folder.with_name("after_shot"))
    left = copied(home, home.folder.with_name("left"))
    stage(home, "ingest", "2010-01", "2015-06")
    stage(home, "process", "2010", "2015")
    return {
        "interrupted": interrupted, "after_interrupt": after_interrupt,
        "shot": shot, "after_shot": after_shot, "left": left, "home": home,
    }  # fmt: skip


def _home(killed: dict[str, MadeHome | Done], name: str) -> MadeHome:
    found = killed[name]
    assert isinstance(found, MadeHome)
    return found


def _done(killed: dict[str, MadeHome | Done], name: str) -> Done:
    found = killed[name]
    assert isinstance(found, Done)
    return found


def test_ctrl_c_ends_with_one_line_that_says_what_to_do(killed: dict[str, MadeHome | Done]) -> None:
    done = _done(killed, "interrupted")
    assert done.code == 1
    assert done.err.rstrip().splitlines()[-1].startswith("weather: interrupted; ")
    assert "Traceback" not in done.err
    assert "terminate called" not in done.err


def test_after_ctrl_c_every_month_is_wholly_old_or_wholly_new(killed: dict[str, MadeHome | Done]) -> None:
    home = _home(killed, "after_interrupt")
    found = origins(home, "raw_observations")
    assert all(len(files) == 1 for files in found.values())
    kinds = Counter(next(iter(files)) for files in found.values())
    assert set(kinds) <= {OLD, NEW}
    assert kinds[NEW] >= 1, "the signal came after the first commit"
    new = expected_months(home)
    counts = home.lake.row_counts("raw_observations", "month")
    for month, files in found.items():
        if files == {NEW}:
            assert counts[month] == new[month], month
    assert set(origins(home, "observations")) == {"2012", "2013", "2014", "2015"}
    assert set().union(*origins(home, "observations").values()) == {OLD}


def test_dagster_knows_that_the_interrupted_run_is_over(killed: dict[str, MadeHome | Done]) -> None:
    with dg.DagsterInstance.from_config(str(_home(killed, "after_interrupt").folder / "dagster")) as instance:
        assert [run.job_name for run in instance.get_runs() if not run.is_finished] == []


def test_after_kill_9_every_year_of_every_table_is_wholly_old_or_wholly_new(
    killed: dict[str, MadeHome | Done],
) -> None:
    assert _done(killed, "shot").code == -signal.SIGKILL
    home = _home(killed, "after_shot")
    for table in TABLES:
        for key, files in origins(home, table).items():
            assert len(files) == 1, f"{table} {key}"
    assert set().union(*origins(home, "raw_observations").values()) == {NEW}, "the months came in before"
    assert NEW in set().union(*origins(home, "observations").values())


def test_the_model_and_its_forecasts_survive_a_killed_run(first: MadeHome, killed: dict[str, MadeHome | Done]) -> None:
    home = _home(killed, "after_shot")
    assert home.registry.production("rain_tomorrow").digest == first.registry.production("rain_tomorrow").digest
    assert home.call("forecast", "--date", "2015-06-30").code == 0


def test_run_again_nothing_is_lost_and_nothing_is_doubled(killed: dict[str, MadeHome | Done]) -> None:
    home = _home(killed, "home")
    assert home.lake.row_counts("raw_observations", "month") == expected_months(home)
    raw = Counter[str]()
    for month, rows in home.lake.row_counts("raw_observations", "month").items():
        raw[month[:4]] += rows
    clean = home.lake.row_counts("observations", "year")
    quarantined = home.lake.row_counts("quarantined_observations", "year")
    assert {year: clean[year] + quarantined[year] for year in raw} == dict(raw)
    assert home.lake.row_counts("features", "year") == clean
    for table in TABLES:
        assert set().union(*origins(home, table).values()) == {NEW}, table


def test_run_again_gives_the_rows_of_a_home_that_was_never_killed(
    killed: dict[str, MadeHome | Done],
) -> None:
    home = _home(killed, "home")
    source = open_source(many_months(home), MOMENT)
    for month in ("2010-01", "2012-02", "2015-06"):
        stored = home.lake.snapshot("raw_observations").read(keys=[month])
        fresh = source.rows(month)
        names = [name for name in fresh.schema.names if name != "fetched_at"]
        assert stored.select(names).to_pylist() == fresh.select(names).to_pylist()


def unfinished(home: MadeHome) -> list[str]:
    """Runs of the home that are not over, read as they are: opening its instance would end them."""
    with closing(sqlite3.connect(home.folder / "dagster" / "history" / "runs.db")) as connection:
        query = "SELECT run_id FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
        return [run for (run,) in connection.execute(query)]


def scratch_folders(home: MadeHome) -> list[Path]:
    return list((home.folder / "scratch").glob("cleaning-*"))


def test_the_next_command_after_kill_9_ends_the_run_and_removes_its_scratch_folder(
    killed: dict[str, MadeHome | Done],
) -> None:
    home = _home(killed, "left")
    [left] = unfinished(home)
    assert scratch_folders(home), "it was killed while it cleaned"
    done = home.call("status")
    assert done.code == 0
    assert done.lines == [f"weather: run {left} (process) was left unfinished and is failed now"]
    assert unfinished(home) == []
    assert scratch_folders(home) == []
    assert home.call("status").err == ""


def test_a_run_that_goes_on_is_left_alone_by_other_commands(first: MadeHome, tmp_path: Path) -> None:
    home = copied(first, tmp_path / "home")
    process = home.start("run", "--source", "synthetic", **MANY_MONTHS)
    try:
        deadline = time.monotonic() + 180
        while not (unfinished(home) and any(any(folder.iterdir()) for folder in scratch_folders(home))):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGSTOP)
        going_on, scratch = unfinished(home), scratch_folders(home)
        done = home.call("env")
        assert (done.code, done.err) == (0, "")
        with home.dagster():
            pass
        assert unfinished(home) == going_on
        assert scratch_folders(home) == scratch
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert home.call("env").lines[-1].endswith("was left unfinished and is failed now")
    assert (unfinished(home), scratch_folders(home)) == ([], [])


def test_a_new_home_that_is_killed_at_once_can_be_run(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    kill_when(home, lambda: (home.folder / "weather.env").exists(), signal.SIGKILL)
    done = home.call("status")
    assert done.code == 0, done.err
    assert home.settings.synthetic_last_day == date(2015, 6, 30)
