"""What the commands print about a home that was run: forecasts, models, status, environment."""

import csv
import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow.compute as pc
import pytest

from weather_platform.cli.forecast import COLUMNS
from weather_platform.cli.pipeline import Outcome
from weather_platform.cli.show import show_outcome
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


def cells(out: str) -> dict[str, list[str]]:
    """The lines of the printed table by station."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    return {station: rest for station, *rest in lines}


def test_the_forecast_of_the_newest_day_is_one_table_of_both_targets_the_wettest_first(first: MadeHome) -> None:
    done = first.call("forecast", COLUMNS="80")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.out.count("━┓") == 1, "one table"
    assert "Sorted by the chance of rain tomorrow, the highest first." in done.out
    rain = first.database.forecasts(TARGET, NEWEST, NEWEST).to_pylist()
    warmth = {row["station"]: row for row in first.database.forecasts(VALUES, NEWEST, NEWEST).to_pylist()}
    shown = cells(done.out)
    assert list(shown) == [
        row["station"] for row in sorted(rain, key=lambda row: (-row["probability"], row["station"]))
    ]
    for row in rain:
        chance, yes, value, interval = shown[row["station"]]
        assert chance == ("<1 %" if row["probability"] < 0.005 else f"{100 * row['probability']:.0f} %")
        assert yes == ("yes" if row["label"] else "no")
        other = warmth[row["station"]]
        assert value == f"{other['value']:.1f}"
        assert interval == f"{other['value_low']:.1f} to {other['value_high']:.1f}"
    assert f"{100 * rain[0]['threshold']:.0f} %" in done.out
    assert "degC" in done.out
    assert "90 % interval" in done.out


def test_programs_get_the_stored_numbers_as_json_and_as_csv(first: MadeHome) -> None:
    asked = ("forecast", "--station", "cobar", "--station", "cairns")
    records = json.loads(first.call(*asked, "--json").out)
    assert [list(record) for record in records] == [list(COLUMNS)] * 4
    stored = {
        (name, row["station"]): row
        for name in (TARGET, VALUES)
        for row in first.database.forecasts(name, NEWEST, NEWEST).to_pylist()
    }
    for record in records:
        row = stored[record["target"], record["station"]]
        assert record["station"] in ("Cobar", "Cairns")
        assert (record["issue_day"], record["forecast_day"]) == ("2015-06-30", "2015-07-01")
        for name in ("probability", "threshold", "value", "value_low", "value_high", "kind", "model_version"):
            assert record[name] == row[name]
        assert (record["yes"], record["model_sha256"]) == (row["label"], row["model_digest"])
        of_value = record["target"] == VALUES
        assert (record["unit"], record["interval_pct"]) == (("degC", 90) if of_value else ("probability", None))
        assert record["source"] == "synthetic"
    lines = list(csv.DictReader(io.StringIO(first.call(*asked, "--csv").out)))
    texts = {True: "true", False: "false", None: ""}
    assert lines == [
        {name: texts[value] if value in (True, False, None) and name == "yes" else str("" if value is None else value)
         for name, value in record.items()}
        for record in records
    ]  # fmt: skip
    assert first.call(*asked, "--csv", "--json").code == 2


def test_a_map_is_drawn_to_the_file_and_the_output_says_where(first: MadeHome, tmp_path: Path) -> None:
    file = tmp_path / "map.png"
    done = first.call("forecast", "--map", str(file))
    assert f"map of rain tomorrow: {file} (`--target {VALUES}` draws another)" in done.out
    rain = file.read_bytes()
    assert rain.startswith(b"\x89PNG")
    done = first.call("forecast", "--target", VALUES, "--map", str(file), "--json")
    assert json.loads(done.out), "stdout is for the program alone"
    assert f"map of maximum temperature tomorrow: {file}" in done.err
    assert file.read_bytes() not in (rain, b"")
    for wrong, said in ((tmp_path / "map.gif", "--map draws a PNG"), (tmp_path / "none" / "map.png", "no folder")):
        refused = first.call("forecast", "--map", str(wrong))
        assert refused.code == 2
        assert said in " ".join(refused.err.replace("│", " ").split())
    (tmp_path / "full.png").symlink_to("/dev/full")
    full = first.call("forecast", "--map", str(tmp_path / "full.png"))
    assert full.code == 1
    assert full.err.splitlines()[-1].endswith("full.png: No space left on device; choose another file")


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
    assert "rain tomorrow" in done.out
    assert "temperature" not in done.out
    assert f"{VALUES} has no Production model" in home.call("forecast", "--target", VALUES).err
    client.delete_registered_model_alias(TARGET, PRODUCTION)
    refused = home.call("forecast")
    assert (refused.code, refused.out) == (1, "")
    assert f"{TARGET} has no Production model" in refused.err


def hint(out: str) -> str:
    """The station that the last line of a run names."""
    found: str = re.findall(r"`weather forecast --station (\S+)`", out.splitlines()[-1])[0]
    return found


def test_the_run_ends_by_naming_a_station_that_has_a_forecast(first: MadeHome, home: MadeHome) -> None:
    assert first.call("forecast", "--station", hint(first.first_output.out)).code == 0
    # Only one station, not the first of the catalogue, reported the newest day.
    [*_, last] = sorted(home.lake.read("stations", columns=["id"])["id"].to_pylist())
    for target in (TARGET, VALUES):
        version = home.registry.production(target).version
        rows = home.database.forecasts(target, NEWEST, NEWEST)
        rows = rows.filter(pc.field("station") == last)
        assert home.database.replace_forecasts(target, version, NEWEST, NEWEST, rows) == 1
    outcome = Outcome(
        "synthetic",
        True,
        home.json["rows"],
        {name: {"years": {}, "decisions": {}} for name in TARGETS},
        [],
        0,
        forecast=(TARGET, VALUES),
    )
    out = io.StringIO()
    with redirect_stdout(out):
        show_outcome(home.settings, outcome)
    assert hint(out.getvalue()) == last


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
    [late] = [line for line in done.out.splitlines() if line.startswith("late: observations")]
    assert "the newest is 2015-06-30, and 20" in late
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
    chosen.mkdir(parents=True)
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
