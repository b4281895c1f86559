"""Exit codes and what is said: 2 for what cannot be asked, 1 with one line for what cannot be done; nothing written."""

import errno
import gzip
import os
import shutil
import signal
from datetime import date, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from sqlalchemy.exc import OperationalError

from weather_platform.automation.plan import StageRun
from weather_platform.cli import pipeline, show
from weather_platform.cli.runs import execute
from weather_platform.errors import WeatherError
from weather_platform_tests.e2e.homes import MadeHome, empty_home, files_of
from weather_platform_tests.small_models import TARGET

HEADER = (
    "Date,Location,MinTemp,MaxTemp,Rainfall,Evaporation,Sunshine,WindGustDir,WindGustSpeed,WindDir9am,WindDir3pm,"
    "WindSpeed9am,WindSpeed3pm,Humidity9am,Humidity3pm,Pressure9am,Pressure3pm,Cloud9am,Cloud3pm,Temp9am,Temp3pm,"
    "RainToday,RainTomorrow"
)
ROW = ",Albury,13.4,22.9,0.6,NA,NA,W,44,W,WNW,20,24,71,22,1007.7,1007.1,8,NA,16.9,21.8,No,No"


@pytest.fixture
def nothing(tmp_path: Path) -> MadeHome:
    """A home in which nothing was run."""
    return empty_home(tmp_path / "home")


USAGE = [
    (["run", "--target", "snow_tomorrow"], "no target snow_tomorrow; there is rain_tomorrow"),
    (["run", "--path", "rows.csv"], "--path goes with --source csv"),
    (["run", "--source", "synthetic", "--path", "rows.csv"], "--path goes with --source csv"),
    (["run", "--source", "csv"], "--source csv needs --path"),
    (["run", "--source", "radar"], "'radar' is not"),
    (["run", "--speed", "11"], "No such option"),
    (["run", "--year", "soon"], "should be a valid integer"),
    (["run", "--forecast-days", "0"], "should be greater than or equal to 1"),
    (["run", "--json", "/nowhere/at/all/result.json"], "there is no folder /nowhere/at/all"),
    (["run", "--json", "/"], "is a directory"),
    (["run", "2015"], "unexpected extra argument"),
    (["demo", "--year", "2015"], "No such option"),
    (["forecast", "--day", "2015-01-01"], "No such option"),
    (["forecast", "--date", "yesterday"], "'yesterday' is not a day; write it as YYYY-MM-DD"),
    (["forecast", "--date", "2015-06-31"], "'2015-06-31' is not a day"),
    (["lineage", TARGET, "cobar", "30 June"], "'30 June' is not a day; write it as YYYY-MM-DD"),
    (["lineage", "snow_tomorrow", "cobar", "2015-06-30"], "no target snow_tomorrow; there is rain_tomorrow"),
    (["reproduce", "snow_tomorrow", "1"], "no target snow_tomorrow; there is rain_tomorrow"),
    (["ui", "--port", "99999"], "should be less than or equal to 65535"),
    (["rollback"], "Missing argument 'TARGET'"),
    (["rollback", TARGET], "Missing option '--reason'"),
    (["rollback", TARGET, "--reason", "bad"], "--reason takes 8 to 500 characters"),
    (["rollback", TARGET, "--reason", " " * 20], "--reason takes 8 to 500 characters"),
    (["rollback", TARGET, "--reason", "x" * 501], "--reason takes 8 to 500 characters"),
    (["rollback", TARGET, "--reason", "no good at all", "--to", "0"], "should be greater than or equal to 1"),
    (["rollback", "snow_tomorrow", "--reason", "no good at all"], "no target snow_tomorrow"),
    (["update", "--year", "2015"], "No such option"),
    (["model", "export", "snow_tomorrow", "snow.model"], "no target snow_tomorrow"),
    (["model", "export", TARGET], "Missing argument 'FILE'"),
    (["model", "export", TARGET, "rain.model", "--version", "0"], "should be greater than or equal to 1"),
    (["model", "import"], "Missing argument 'FILE'"),
    (["model", "import", "rain.model", "--replace"], "--why takes 8 to 500 characters"),
    (["model", "import", "rain.model", "--why", "short"], "--why takes 8 to 500 characters"),
    (["predict"], "Missing argument 'STATION'"),
    (["predict", "Sydney", "--target", "snow_tomorrow"], "no target snow_tomorrow"),
    (["predict", "Sydney", "--password", "secret"], "No such option"),
    (["loadtest", "--connections", "0"], "should be greater than or equal to 1"),
    (["loadtest", "--rate", "0"], "should be greater than or equal to 0.01"),
    (["loadtest", "--seconds", "0"], "should be greater than or equal to 0.1"),
    (["loadtest", "--target", "snow_tomorrow"], "no target snow_tomorrow"),
    (["snow"], "No such command"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=[" ".join(arguments) for arguments, _ in USAGE])
def test_what_cannot_be_asked_ends_with_code_2_and_writes_nothing(
    nothing: MadeHome, arguments: list[str], said: str
) -> None:
    done = nothing.call(*arguments)
    assert done.code == 2
    assert said.lower() in " ".join(done.err.replace("│", " ").split()).lower()
    assert not nothing.folder.exists()


@pytest.mark.parametrize(
    "command", [[], ["run"], ["demo"], ["forecast"], ["rollback"], ["models"], ["status"], ["env"], ["ui"]]
)
def test_every_command_explains_itself(nothing: MadeHome, command: list[str]) -> None:
    done = nothing.call(*command, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    assert not nothing.folder.exists()


def failed(home: MadeHome, *arguments: str, **env: str) -> str:
    """The one line of a command that failed."""
    done = home.call(*arguments, **env)
    assert done.code == 1, done.out + done.err
    said = [line for line in done.err.splitlines() if line.startswith("weather: ")]
    assert len(said) == 1, done.err
    assert done.err.rstrip().endswith(said[0]), "the line is the last one"
    assert "Traceback" not in done.err
    return said[0]


def test_ctrl_c_outside_of_a_run_is_one_line_and_code_1(nothing: MadeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "show_status", lambda _: signal.raise_signal(signal.SIGINT))
    assert failed(nothing, "status") == "weather: interrupted; run it again to go on"


def test_sigterm_during_a_run_is_the_line_of_ctrl_c(nothing: MadeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    said = []
    for sent in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr(pipeline, "run_pipeline", lambda *_, sent=sent: signal.raise_signal(sent))
        said.append(failed(nothing, "run"))
    assert said[0].startswith("weather: interrupted; every partition is as it was or as it should be")
    assert said[0] == said[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interrupt_that_a_library_takes_for_its_own_error_is_one_all_the_same(
    nothing: MadeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ValueError("this text cannot be read") from None

    monkeypatch.setattr(pipeline, "run_pipeline", mistaken)
    assert failed(nothing, "run") == "weather: interrupted; run it again to go on"


UNFORESEEN = {
    "OSError: [Errno 5] Input/output error": OSError(errno.EIO, "Input/output error"),
    "OperationalError: (builtins.str) database is locked": OperationalError("SELECT 1", {}, "database is locked"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("said", UNFORESEEN)
def test_what_a_disk_or_a_database_raises_unforeseen_is_one_line_that_says_how_to_see_where(
    nothing: MadeHome, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def raising(_: object) -> None:
        raise UNFORESEEN[said]

    monkeypatch.setattr(show, "show_status", raising)
    assert failed(nothing, "status") == f"weather: {said}; `weather --traceback ...` shows where it was"
    with pytest.raises(type(UNFORESEEN[said])):
        nothing.call("--traceback", "status")


def test_a_full_disk_is_one_line_that_says_to_make_room(nothing: MadeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(show, "show_status", raising)
    assert failed(nothing, "status") == (
        "weather: [Errno 28] No space left on device; make room on that disk, then run again"
    )


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError])
def test_a_fault_of_the_program_is_not_hidden(
    nothing: MadeHome, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def raising(_: object) -> None:
        raise kind("a fault")

    monkeypatch.setattr(show, "show_status", raising)
    with pytest.raises(kind):
        nothing.call("status")


def test_a_result_that_cannot_be_written_after_the_run_is_one_line(
    nothing: MadeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_pipeline", lambda *_: pipeline.Outcome("synthetic", True, {}, {}, [], 0.0))
    monkeypatch.setattr(show, "show_outcome", lambda *_: None)
    said = failed(nothing, "demo", "--json", "/dev/full")
    assert said == "weather: the run is done, but /dev/full cannot be written: No space left on device"


def test_a_pipe_is_refused_for_the_result_before_the_run(nothing: MadeHome, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = nothing.call("demo", "--json", str(tmp_path / "pipe"))
    assert done.code == 2
    assert "is a named pipe; --json writes a regular file" in " ".join(done.err.replace("│", " ").split())
    assert not nothing.folder.exists()


def test_a_pipe_among_the_observations_is_named_and_does_not_stop_a_command(nothing: MadeHome, tmp_path: Path) -> None:
    folder = tmp_path / "observations"
    folder.mkdir()
    os.mkfifo(folder / "pipe.csv")
    refused = nothing.run("run", "--source", "csv", "--path", str(folder))
    assert refused.code == 1
    assert refused.lines[-1].endswith(
        "no *.csv or *.csv.gz file that can be read; passed over: pipe.csv (a named pipe); put the files there or "
        "change the path"
    )
    (folder / "rows.csv").write_text(f"{HEADER}\n2015-01-01{ROW}\n")
    few = nothing.run("run", "--source", "csv", "--path", str(folder))
    assert f"{folder}: passed over pipe.csv (a named pipe)" in few.lines


def test_a_table_of_unknown_stations_stops_before_training_and_names_them(nothing: MadeHome, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    days = [date(2010, 1, 1) + timedelta(days=n) for n in range(900)]
    lines = [f"{day}{ROW}".replace("Albury", "De Bilt" if n else "Cabauw") for n, day in enumerate(days)]
    path.write_text("\n".join([HEADER, *lines, ""]))
    done = nothing.run("run", "--source", "csv", "--path", str(path))
    assert done.code == 1
    assert done.lines[-1].startswith(
        "weather: none of 900 rows can be used (unknown_station 900), so nothing is trained; 900 rows of 2 unknown "
        "stations cannot be used: De Bilt (899); Cabauw (1); `weather stations --unknown` lists them"
    )
    assert "learn" not in done.err
    assert len(nothing.lake.read("quarantined_observations")) == 900


def test_the_real_command_gives_the_same_codes(nothing: MadeHome) -> None:
    usage = nothing.run("run", "--path", "rows.csv")
    assert (usage.code, usage.out) == (2, "")
    failure = nothing.run("run", "--source", "csv", "--path", "no such file.csv")
    assert (failure.code, failure.out) == (1, "")
    assert failure.lines == [line for line in failure.lines if line.startswith("weather: ")]
    assert len(failure.lines) == 1
    assert nothing.run("--help").code == 0


def test_a_setting_that_cannot_be_used_is_named(nothing: MadeHome) -> None:
    assert "WEATHER_THREADS: " in failed(nothing, "status", WEATHER_THREADS="0")
    assert "WEATHER_THREAD: no such setting" in failed(nothing, "status", WEATHER_THREAD="1")


def test_a_csv_that_is_not_there_is_named_and_nothing_is_written(nothing: MadeHome, tmp_path: Path) -> None:
    assert "nowhere.csv" in failed(nothing, "run", "--source", "csv", "--path", str(tmp_path / "nowhere.csv"))
    assert not nothing.folder.exists()


POISON = {
    "an empty file": b"",
    "no table at all": b"PK\x03\x04 this is an archive",
    "an unknown layout": b"day;place;rain\n2015-01-01;Albury;0\n",
    "a row that is too short": f"{HEADER}\n2015-01-01{ROW}\n2015-01-02,Albury,13.4\n".encode(),
    "a row that is too long": f"{HEADER}\n2015-01-01{ROW},1,2\n".encode(),
    "a quote that never ends": f'{HEADER}\n2015-01-01{ROW}\n"2015-01-02{ROW}\n'.encode(),
    "no date that can be read": f"{HEADER}\nyesterday{ROW}\n".encode(),
    "a header and nothing below": f"{HEADER}\n".encode(),
    "a null byte": f"{HEADER}\n2015-01-01{ROW}\n2015-01-02\0{ROW}\n".encode(),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_poisoned_csv_is_refused_by_name_and_nothing_is_written(nothing: MadeHome, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "poison.csv"
    path.write_bytes(POISON[kind])
    assert "poison.csv" in failed(nothing, "run", "--source", "csv", "--path", str(path))
    assert not nothing.folder.exists() or files_of(nothing.folder) == set()


def test_a_cut_off_gz_is_refused_and_nothing_is_written(nothing: MadeHome, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress((f"{HEADER}\n" + f"2015-01-01{ROW}\n" * 500).encode())[:-40])
    assert "rows.csv.gz" in failed(nothing, "run", "--source", "csv", "--path", str(path))
    assert not nothing.folder.exists()


@pytest.mark.parametrize("year", ["2011", "2016", "1"])
def test_a_year_outside_the_coverage_is_refused_with_what_is_covered(nothing: MadeHome, year: str) -> None:
    said = failed(nothing, "run", "--year", year)
    assert "the source covers 2012-01-01 to 2015-06-30" in said
    assert not nothing.folder.exists()


def test_a_home_without_a_run_says_what_to_do(nothing: MadeHome) -> None:
    said = "there are no observations yet; `weather run` or `weather demo` makes them"
    assert said in failed(nothing, "forecast")


def test_the_version_is_told(nothing: MadeHome) -> None:
    done = nothing.call("--version")
    assert (done.code, done.out) == (0, f"weather_platform {metadata.version('weather-platform')}\n")


def test_models_and_status_of_a_home_without_a_run_are_no_failure(nothing: MadeHome) -> None:
    for command in ("models", "status"):
        done = nothing.call(command)
        assert done.code == 0, done.err
        assert "`weather run` trains one" in done.out


def test_an_unknown_station_is_named(first: MadeHome) -> None:
    assert "no station Atlantis; the catalogue has Adelaide" in failed(first, "forecast", "--station", "Atlantis")


def test_a_day_that_nobody_observed_is_refused_in_one_line(home: MadeHome) -> None:
    for day in ("2015-07-01", "2100-01-01", "1999-01-01"):
        assert day in failed(home, "forecast", "--date", day)


def test_observed_rows_never_go_into_a_lake_of_synthetic_ones(first: MadeHome, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n2015-01-01{ROW}\n")
    before = first.lake.version("raw_observations")
    said = failed(first, "run", "--source", "csv", "--path", str(path))
    assert "holds synthetic rows and the source is csv: set WEATHER_HOME to another folder" in said
    assert first.lake.version("raw_observations") == before
    assert first.settings.source == "synthetic", "the refused source is not remembered"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"WEATHER_SYNTHETIC_SEED": "7"},
            "rows of synthetic:42 and the source is synthetic:7: set WEATHER_SYNTHETIC_SEED",
        ),
        (
            {"WEATHER_SYNTHETIC_STATIONS": "11"},
            "rows of stations that the source lacks (1, first: CoffsHarbour): give it",
        ),
    ],
)
def test_another_generator_is_refused_before_anything_is_written_or_remembered(
    first: MadeHome, changed: dict[str, str], said: str
) -> None:
    before = files_of(first.folder / "lake")
    assert said in failed(first, "run", **changed)
    assert files_of(first.folder / "lake") == before
    assert (first.settings.synthetic_seed, first.settings.synthetic_stations) == (42, 12)


def _one_day_more(home: MadeHome) -> str:
    """Store a station-day that the source does not report; gives its month."""
    rows = home.lake.snapshot("raw_observations").read(keys=["2014-03"])
    days = {(row["station"], row["day"]) for row in rows.select(["station", "day"]).to_pylist()}
    names = home.lake.read("stations")["id"].to_pylist()
    month = [date(2014, 3, day) for day in range(1, 32)]
    name, day = next((name, day) for name in names for day in month if (name, day) not in days)
    [more] = rows.slice(0, 1).to_pylist()
    more |= {"station": name, "day": day, "date": day.isoformat(), "row_number": 1}
    both = pa.concat_tables([rows, pa.Table.from_pylist([more], schema=rows.schema)])
    home.lake.replace_partition("raw_observations", "month", "2014-03", both)
    return f"{name} {day}"


def test_what_the_source_no_longer_has_is_let_go_of_only_when_the_run_is_told_so(
    home: MadeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_further(
        definitions: dg.Definitions, instance: dg.DagsterInstance, run: StageRun, *rest: Any, **more: Any
    ) -> Any:
        if run.job != "ingest":
            raise WeatherError("ingested")
        return execute(definitions, instance, run, *rest, **more)

    monkeypatch.setattr(pipeline, "execute", no_further)
    first = _one_day_more(home)
    stored = home.lake.version("raw_observations")
    said = failed(home, "run")
    assert f"2014-03: the lake holds 1 station-day that the source no longer has (first: {first}); add what" in said
    assert "or let them go with `weather run --let-go`" in said
    rows = home.lake.row_counts("raw_observations", "month")["2014-03"]
    assert home.lake.row_counts("raw_observations", "month", stored)["2014-03"] == rows
    assert failed(home, "run", "--let-go") == "weather: ingested"
    assert home.lake.row_counts("raw_observations", "month")["2014-03"] == rows - 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_named(nothing: MadeHome) -> None:
    nothing.folder.mkdir()
    nothing.folder.chmod(0o500)
    assert str(nothing.folder) in failed(nothing, "run")


def test_a_home_that_is_a_file_is_named(nothing: MadeHome) -> None:
    nothing.folder.write_text("not a folder")
    assert str(nothing.folder) in failed(nothing, "run")
    assert str(nothing.folder) in failed(nothing, "status")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"], ["status"], ["models"], ["skill"], ["env"], ["ui"], ["user", "list"],
        ["rollback", TARGET, "--reason", "no good at all"], ["reproduce", TARGET, "1"],
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_home_in_which_nothing_can_be_made_is_named_by_every_command(
    nothing: MadeHome, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (str(tmp_path / "file"), str(tmp_path / "file" / "home"), "/proc/home"):
        said = failed(nothing, *arguments, WEATHER_HOME=folder)
        assert said.startswith(f"weather: {folder}")
        assert said.endswith("set WEATHER_HOME to a writable folder")


def test_a_home_of_a_user_that_does_not_exist_is_named(nothing: MadeHome) -> None:
    said = failed(nothing, "status", WEATHER_HOME="~nobody at all/weather")
    assert "WEATHER_HOME: '~nobody at all/weather' begins with the home of a user that does not exist" in said


def test_remembered_settings_that_are_no_text_are_named(nothing: MadeHome) -> None:
    nothing.folder.mkdir()
    (nothing.folder / "weather.env").write_bytes(b"WEATHER_CSV_PATH=caf\xe9\n")
    assert f"{nothing.folder / 'weather.env'} is no text in UTF-8 (byte 20)" in failed(nothing, "status")


def test_a_registry_that_is_no_database_is_named_and_nothing_is_changed(home: MadeHome) -> None:
    (home.folder / "mlflow.db").write_bytes(b"this is no database" * 200)
    before = home.database.decisions(TARGET)
    for command in ("models", "status", "forecast"):
        assert "MLflow at sqlite:///" in failed(home, command)
    assert home.database.decisions(TARGET) == before


def test_an_application_database_that_is_no_database_is_named(home: MadeHome) -> None:
    for name in ("weather.db-wal", "weather.db-shm"):
        (home.folder / name).unlink(missing_ok=True)
    (home.folder / "weather.db").write_bytes(b"this is no database" * 200)
    assert "weather.db" in failed(home, "forecast")


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
def test_a_damaged_storage_of_dagster_is_named_and_can_be_moved_away(home: MadeHome, name: str) -> None:
    folder = home.folder / "dagster"
    for end in ("-wal", "-shm"):
        (folder / f"{name}{end}").unlink(missing_ok=True)
    (folder / name).write_bytes(b"this is no database" * 200)
    commands = [["run"], ["watch", "--month", "2015-06"], ["status"]]
    for command in commands if "index" not in name else commands[:2]:  # no event is read for the status
        said = failed(home, *command)
        assert f"the storage of Dagster in {folder} failed: file is not a database; put a copy of it back" in said
    folder.rename(home.folder / "away")
    assert home.call("status").code == 0
    assert home.call("forecast", "--date", "2015-06-30").code == 0


def test_a_lake_whose_log_is_gone_is_named(home: MadeHome) -> None:
    shutil.rmtree(home.folder / "lake" / "observations")
    assert "there are no observations yet" in failed(home, "forecast")
