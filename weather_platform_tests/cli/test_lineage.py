"""`weather lineage`: the way back of a forecast, down to the very line of the file, and what changed on the way."""

import os
import re
import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from weather_platform.automation.plan import plan_runs
from weather_platform.build import build_definitions
from weather_platform.cli.runs import console_of_errors, execute
from weather_platform.resources.registry import PRODUCTION
from weather_platform.settings import load_settings, remember_source
from weather_platform.sources import Coverage
from weather_platform_tests.cli.test_exit_codes import HEADER, ROW, failed
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET

NEWEST = date(2015, 6, 30)


def told(home: MadeHome, station: str = "cobar", *options: str) -> str:
    """The tree of a forecast of the newest day."""
    done = home.call("lineage", TARGET, station, NEWEST.isoformat(), *options)
    assert done.code == 0, done.err
    return done.out


def line_with(tree: str, beginning: str) -> str:
    """The one line of the tree that begins so."""
    [line] = [line for line in tree.splitlines() if line.lstrip("│├└─ ").startswith(beginning)]
    return line


def of_cobar(table: pa.Table) -> pa.ChunkedArray:
    """Mask of the station's newest day."""
    return pc.and_(pc.equal(table["station"], "Cobar"), pc.equal(table["day"], NEWEST))


def test_every_step_back_is_what_was_recorded(first: MadeHome) -> None:
    tree = told(first)
    [forecast] = first.database.forecasts(TARGET, NEWEST, NEWEST, station="Cobar").to_pylist()
    model, [decision] = first.registry.production(TARGET), first.database.decisions(TARGET)
    recipe = first.registry.recipe(model.run_id)
    assert f"issued {NEWEST} for 2015-07-01: {forecast['probability']:.4f} probability" in tree
    assert f"; live, written by Dagster run {forecast['dagster_run_id']}" in tree
    assert f"version 1, xgboost, {PRODUCTION}, SHA-256 {model.digest}" in line_with(tree, "model: ")
    assert f"{model.run_id}: seed {recipe.seed}, threads 1; code {recipe.code}" in line_with(tree, "MLflow run")
    promotion = line_with(tree, "promotion: ")
    assert f"by decision {decision.id}, DEPLOY of 2015 against no champion: {'; '.join(decision.reasons)}" in promotion
    assert decision.dagster_run_id in promotion
    assert "validated on 2014-04-01 to 2015-03-30, tested on 2015-04-01 to 2015-06-29" in line_with(tree, "split: ")
    assert f"lake version {recipe.lake_versions['features']} of" in line_with(tree, "trained on features")
    assert tree.count("unchanged since") == 3
    clean = first.lake.snapshot("observations").read(keys=["2015"])
    [clean] = clean.filter(of_cobar(clean)).to_pylist()
    assert f"synthetic file {clean['file']}, line {clean['row_number']};" in line_with(tree, "raw row: ")
    assert line_with(tree, "station: ").endswith("station: Cobar, recognised by its name 'Cobar'")
    assert f", max_temp_c {clean['max_temp_c']}, " in line_with(tree, "min_temp_c")


def test_rows_that_changed_since_are_shown_as_they_were_with_what_became_of_them(home: MadeHome) -> None:
    before = told(home)
    rows = home.lake.snapshot("observations").read(keys=["2015"])
    at = rows.schema.get_field_index("humidity_3pm_pct")
    warmer = pc.if_else(of_cobar(rows), 99.5, rows["humidity_3pm_pct"])
    version = home.lake.replace_partition(
        "observations", "year", "2015", rows.set_column(at, rows.schema.field(at), warmer)
    )
    features = home.lake.snapshot("features").read(keys=["2015"])
    home.lake.replace_partition("features", "year", "2015", features.filter(pc.invert(of_cobar(features))))
    after = told(home)
    observation = line_with(after, "observation: ")
    assert f"changed since, in version {version}: humidity_3pm_pct " in observation
    assert " -> 99.5" in observation
    assert "taken back since" in line_with(after, "features: ")
    assert line_with(after, "min_temp_c") == line_with(before, "min_temp_c"), "shown as it was when it was used"
    DeltaTable(home.folder / "lake" / "observations").vacuum(0, dry_run=False, enforce_retention_duration=False)
    vacuumed = told(home)
    assert "not recorded or was vacuumed: this is the newest" in line_with(vacuumed, "observation: ")
    assert "humidity_3pm_pct 99.5" in vacuumed


def test_a_version_can_be_named_and_one_that_made_no_forecast_is_refused(first: MadeHome) -> None:
    assert told(first, "cobar", "--version", "1") == told(first)
    said = failed(first, "lineage", TARGET, "cobar", NEWEST.isoformat(), "--version", "7")
    assert "version 7 has not forecast Cobar on 2015-06-30; there are forecasts of 1;" in said
    assert said.endswith("`weather models` lists the versions"), "forecasting the day again would not make it"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((TARGET, "atlantis", "2015-06-30"), "no station atlantis; the catalogue has"),
        ((TARGET, "cobar", "2015-03-01"), "no version has forecast Cobar on 2015-03-01; `weather forecast --date"),
    ],
)
def test_what_cannot_be_traced_is_told_in_one_line(first: MadeHome, arguments: tuple[str, ...], said: str) -> None:
    assert said in failed(first, "lineage", *arguments)


def row(station: str, day: date, temp: str) -> str:
    """A line of weatherAUS in which the temperature at 3 pm is recognisable."""
    return f"{day}{ROW}".replace("Albury", station).replace(",21.8,", f",{temp},")


@pytest.fixture
def of_files(home: MadeHome, tmp_path: Path) -> tuple[MadeHome, Path]:
    """The home with its rows replaced by those of two csv files; the second corrects a row of the first."""
    folder = tmp_path / "files"
    folder.mkdir()
    days = [date(2015, 6, day) for day in range(24, 31)]
    lines = [
        row(station, day, f"2{number}.{day.day}") for day in days for number, station in enumerate(("Albury", "Cobar"))
    ]
    (folder / "a.csv").write_text("\n".join([HEADER, "", *lines, ""]))
    (folder / "b.csv").write_text("\n".join([HEADER, row("Albury", NEWEST, "30.1"), row("Albury", NEWEST, "30.2"), ""]))
    for name, moment in (("a.csv", 1435800000), ("b.csv", 1435900000)):  # 2 and 3 July 2015
        os.utime(folder / name, (moment, moment))
    for table in ("raw_observations", "observations", "quarantined_observations", "features", "stations"):
        shutil.rmtree(home.folder / "lake" / table)
    settings = load_settings(home=home.folder, threads=1, source="csv", csv_path=folder)
    remember_source(settings)
    with home.dagster() as instance:
        for stage in plan_runs(Coverage(days[0], days[-1]), [2015], 1):
            if stage.job != "learn":
                execute(build_definitions(settings), instance, stage, console_of_errors(), targets=[TARGET])
    return home, folder


def test_the_file_and_the_line_hold_the_very_row(of_files: tuple[MadeHome, Path]) -> None:
    home, folder = of_files
    for station, file, number, temp in (("Cobar", "a.csv", 16, "21.30"), ("Albury", "b.csv", 3, "30.2")):
        tree = told(home, station)
        found = re.search(r"csv file (.+), line (\d+);", tree)
        assert found is not None, tree
        assert found.groups() == (file, str(number))
        written = (folder / file).read_text().splitlines()[number - 1]
        assert written == row(station, NEWEST, temp)
        replaced = [line.partition("chosen over ")[2] for line in tree.splitlines() if "chosen over " in line]
        assert [line.split(",")[:2] for line in replaced] == (
            [] if station == "Cobar" else [["file a.csv", " line 15"], ["file b.csv", " line 2"]]
        )
        assert "last changed 2015-07-0" in line_with(tree, "the file was ")
        received = line_with(tree, "as received").partition("UTC: ")[2].strip().split(", ")
        assert sorted(received) == sorted(written.split(","))
        assert f"temp_3pm_c {float(temp)}" in line_with(tree, "min_temp_c")
        assert tree.count("unchanged since") == 3
