"""What the commands print about a home that was run: forecasts, models, status, environment."""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.domain.targets import TARGETS
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import GOLDEN_TAG, PRODUCTION
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, files_of
from weather_platform_tests.small_models import TARGET

VALUES = "max_temp_tomorrow"
NEWEST = date(2015, 6, 30)
NOTHING_ASKED = date(2015, 3, 1)


def stations_of(out: str) -> set[str]:
    """Names in the first column of a printed table."""
    return {line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")}


def test_the_forecast_of_the_newest_day_has_every_station_the_wettest_first(first: MadeHome) -> None:
    done = first.call("forecast")
    assert done.code == 0, done.err
    rain, warmth = done.out.split(TARGETS[VALUES].title)
    stored = first.database.forecasts(TARGET, NEWEST, NEWEST).to_pylist()
    assert stations_of(rain) == {row["station"] for row in stored}
    shown = [float(line.split("│")[2]) for line in rain.splitlines() if line.startswith("│")]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(max(row["probability"] for row in stored), abs=0.005)
    stored = first.database.forecasts(VALUES, NEWEST, NEWEST).to_pylist()
    lines = {line.split("│")[1].strip(): line for line in warmth.splitlines() if line.startswith("│")}
    assert set(lines) == {row["station"] for row in stored}
    for row in stored:
        assert f"{row['value']:.1f}" in lines[row["station"]]
        assert f"{row['value_low']:.1f} to {row['value_high']:.1f}" in lines[row["station"]]
    assert "degC" in warmth
    assert "90 % interval" in warmth


@pytest.mark.parametrize("asked", ["AliceSprings", "alice springs", "Alice-Springs", "ALICESPRINGS"])
def test_a_station_is_found_however_people_write_it(first: MadeHome, asked: str) -> None:
    done = first.call("forecast", "--station", asked)
    assert done.code == 0, done.err
    assert stations_of(done.out) == {"AliceSprings"}


def test_several_stations_and_a_day_can_be_asked_for(first: MadeHome) -> None:
    done = first.call("forecast", "--station", "cobar", "--station", "cairns", "--date", "2015-06-29")
    assert stations_of(done.out) == {"Cobar", "Cairns"}
    assert "issued 2015-06-29, for 2015-06-30" in " ".join(done.out.split())
    assert "hindcast" in done.out


def test_a_forecast_says_that_the_weather_is_synthetic_and_what_tomorrow_means(first: MadeHome) -> None:
    said = " ".join(first.call("forecast").out.split())
    assert "synthetic weather" in said
    assert "hindcast" not in said
    assert "'tomorrow' runs from 9 am of the issue day to 9 am of the next" in said


def test_a_day_that_was_never_forecast_is_made_first_and_kept(home: MadeHome) -> None:
    assert home.database.forecasts(TARGET, NOTHING_ASKED, NOTHING_ASKED).num_rows == 0
    done = home.run("forecast", "--date", NOTHING_ASKED.isoformat(), "--station", "perth")
    assert done.code == 1  # Perth is not among these twelve stations
    assert home.database.forecasts(TARGET, NOTHING_ASKED, NOTHING_ASKED).num_rows == 0
    done = home.call("forecast", "--date", NOTHING_ASKED.isoformat())
    assert done.code == 0, done.err
    made = home.database.forecasts(TARGET, NOTHING_ASKED, NOTHING_ASKED)
    assert stations_of(done.out) == set(made["station"].to_pylist())
    assert set(made["kind"].to_pylist()) == {"hindcast"}
    again = home.call("forecast", "--date", NOTHING_ASKED.isoformat())
    assert again.out == done.out
    kept = home.database.forecasts(TARGET, NOTHING_ASKED, NOTHING_ASKED)
    assert kept.equals(made), "asking again makes nothing new"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--date", "2015-07-01"], "no station has reported 2015-07-01 yet; the newest day is 2015-06-30"),
        (["--date", "2011-12-31"], "no report of any station on 2011-12-31; choose another day or station"),
    ],
)
def test_a_day_without_reports_is_refused_before_anything_is_made(first: MadeHome, asked: list[str], said: str) -> None:
    with dg.DagsterInstance.from_config(str(first.folder / "dagster")) as instance:
        before = instance.get_runs_count()
        done = first.call("forecast", *asked)
        assert (done.code, instance.get_runs_count()) == (1, before)
    assert said in " ".join(done.err.split())


def test_a_target_that_was_never_learned_is_left_out_unless_it_is_asked_for(home: MadeHome) -> None:
    client = mlflow_client(mlflow_tracking_uri(home.settings))
    client.delete_registered_model(VALUES)
    done = home.call("forecast")
    assert done.code == 0, done.err
    assert TARGETS[TARGET].title in done.out
    assert TARGETS[VALUES].title not in done.out
    assert f"{VALUES} has no Production model" in home.call("forecast", "--target", VALUES).err
    client.delete_registered_model_alias(TARGET, PRODUCTION)
    refused = home.call("forecast")
    assert (refused.code, refused.out) == (1, "")
    assert f"{TARGET} has no Production model" in refused.err


def test_the_run_ends_by_naming_a_station_of_its_own_catalogue(first: MadeHome) -> None:
    [asked] = re.findall(r"`weather forecast --station (\S+)`", first.first_output.out)
    assert asked in first.lake.read("stations", columns=["id"])["id"].to_pylist()


def test_models_are_listed_with_alias_metrics_and_digest(first: MadeHome) -> None:
    done = first.call("models")
    assert done.code == 0, done.err
    model = first.registry.production(TARGET)
    algorithm = model.tags["algorithm"]
    metrics = first.json["targets"][TARGET]["years"]["2015"][algorithm]
    for text in ("Production", algorithm, "2015", "2015-03-30", model.digest[:7], f"{metrics['roc_auc']:.3f}"):
        assert text in done.out
    assert f"{TARGET} (synthetic weather)" in done.out
    served = first.registry.production(VALUES).tags["algorithm"]
    metrics = first.json["targets"][VALUES]["years"]["2015"][served]
    for name in ("r2", "rmse", "mae", "coverage_90"):
        assert name in done.out
        assert f"{metrics[name]:.3f}" in done.out


def test_a_version_of_which_an_earlier_package_recorded_less_is_listed_and_marked(home: MadeHome) -> None:
    client, run_id = mlflow_client(mlflow_tracking_uri(home.settings)), home.registry.production(TARGET).run_id
    client.delete_tag(run_id, GOLDEN_TAG)
    done = home.call("models")
    assert done.code == 0, done.err
    table, _, other = done.out.partition(f"old: {TARGET} version 1 lacks ")
    assert f"run {run_id} has no tag {GOLDEN_TAG}" in other.splitlines()[0]
    [line] = [line.split() for line in table.splitlines() if "Production" in line]
    assert (line[:2], "old" in line) == (["1", "Production"], True)
    [whole] = [line for line in other.splitlines() if "Production" in line]
    assert "old" not in whole.split(), "the versions of the other target are shown as ever"


def test_the_status_says_source_rows_model_and_last_runs(first: MadeHome) -> None:
    done = first.call("status")
    assert done.code == 0, done.err
    assert "the lake holds synthetic" in done.out
    assert f"{first.json['rows']['raw']:,}" in done.out
    assert f"{TARGET}: Production is version 1, tuned through 2015-03-30; forecasts up to 2015-06-30" in done.out
    for job in ("ingest", "process", "learn", "forecast"):
        assert [line for line in done.out.splitlines() if job in line and "success" in line]


def test_showing_changes_nothing_in_the_home(first: MadeHome) -> None:
    def state() -> dict[str, bytes]:
        names = [name for name in files_of(first.folder) if not name.endswith(("-wal", "-shm"))]
        return {name: (first.folder / name).read_bytes() for name in names if not name.startswith("dagster/")}

    before = state()
    for command in ("forecast", "models", "status"):
        assert first.call(command).code == 0
    assert state().keys() == before.keys()
    assert {name for name, data in state().items() if data != before[name]} == set()


def test_the_exports_make_dagster_use_this_home(first: MadeHome) -> None:
    done = first.call("env")
    assert done.out.splitlines() == [
        f"export WEATHER_HOME={first.folder}",
        f"export DAGSTER_HOME={first.folder}/dagster",
        "export FIRST_DAY=2012-01-01",
        "export LAST_DAY=2015-06-30",
    ]
    count = "from dagster import DagsterInstance; print(DagsterInstance.get().get_runs_count())"
    script = f'eval "$1"; exec "{sys.executable}" -c "{count}"'
    told = subprocess.run(
        ["bash", "-c", script, "bash", done.out], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert int(told.stdout) == 4


def test_a_dagster_home_left_in_the_shell_by_another_home_is_not_used(
    first: MadeHome, home: MadeHome, tmp_path: Path
) -> None:
    """`eval "$(weather env)"` of one home, then a command for another."""
    done = home.call("env", DAGSTER_HOME=str(first.folder / "dagster"))
    assert f"export DAGSTER_HOME={home.folder}/dagster" in done.out.splitlines()
    chosen = tmp_path / "instance" / "dagster"
    assert f"export DAGSTER_HOME={chosen}" in home.call("env", DAGSTER_HOME=str(chosen)).out.splitlines()


def test_a_narrow_terminal_keeps_the_number_of_a_version_and_its_algorithm(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    for columns in ("60", "80"):
        out = first.call("models", COLUMNS=columns).out
        line = next(line for line in out.splitlines() if "Production" in line)
        assert line.split()[:2] == ["1", "Production"]
        assert "…" not in out
        # A long name is folded into the lines below, never cut.
        name = "".join(part for part in out.split() if part.strip("_").isalpha())
        assert model.tags["algorithm"] in name


def test_a_home_with_odd_signs_in_its_name_is_quoted_for_the_shell(first: MadeHome) -> None:
    folder = first.folder.parent / "it's a $HOME; echo no"
    done = first.call("env", WEATHER_HOME=str(folder))
    script = 'eval "$1"; printf %s "$WEATHER_HOME"'
    told = subprocess.run(["bash", "-c", script, "bash", done.out], capture_output=True, text=True, check=True)
    assert told.stdout == str(folder)
