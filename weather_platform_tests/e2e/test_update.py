"""`weather update`: what is new goes through the tables to the forecasts, nothing is trained; twice does nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.automation.plan import StageRun
from weather_platform.cli.runs import console_of_errors, execute
from weather_platform.database import FORECASTS_SCHEMA
from weather_platform.domain.targets import TARGETS
from weather_platform_tests.e2e.homes import Done, MadeHome, copied, empty_home, files_of
from weather_platform_tests.small_models import TARGET

EVER = (date(2000, 1, 1), date(2100, 1, 1))
TO_JULY = {"WEATHER_SYNTHETIC_LAST_DAY": "2015-07-02"}


def run_ids(home: MadeHome) -> set[str]:
    with home.dagster() as instance:
        return {run.run_id for run in instance.get_runs()}


def files(home: MadeHome, table: str, key: str) -> set[str]:
    """The files of the newest version of some partitions: a partition that is written again has another one."""
    return {fragment.path.split("/", 1)[-1] for fragment in home.lake.snapshot(table).dataset([key]).get_fragments()}


def stage(home: MadeHome, run: StageRun) -> None:
    """One stage of the graph, as another run would do it."""
    graph = home.graph  # of the settings of this environment, which the instance clears
    with home.dagster() as instance:
        execute(graph, instance, run, console_of_errors(), targets=list(TARGETS))


@dataclass(frozen=True)
class Updated:
    """A home, what it was before, and what the update said."""

    home: MadeHome
    before: Mapping[str, set[str]]
    done: Done
    runs: set[str]


YEARS = [("observations", year) for year in ("2012", "2013", "2014", "2015")]
YEARS += [("features", year) for year in ("2012", "2013", "2014", "2015")]
MONTHS = [("raw_observations", month) for month in ("2014-01", "2015-06")]


def all_files(home: MadeHome) -> dict[str, set[str]]:
    return {f"{table} {key}": files(home, table, key) for table, key in (*YEARS, *MONTHS)}


@pytest.fixture(scope="module")
def july(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Updated:
    """The first home after two days more."""
    home = copied(first, tmp_path_factory.mktemp("july") / "home")
    before, runs = all_files(home), run_ids(home)
    done = home.call("update", **TO_JULY)
    assert done.code == 0, done.err
    return Updated(home, before, done, run_ids(home) - runs)


def test_new_days_are_stored_cleaned_and_forecast_by_the_production_models(july: Updated) -> None:
    assert "new or changed: 2015-07 (2 days, a new month)" in july.done.out
    assert "cleaned 2015\n" in july.done.out
    for target in TARGETS:
        issued = july.home.database.forecasts(target, *EVER)
        assert pc.max(issued["day"]).as_py() == date(2015, 7, 2)
        assert f"{target}: forecasts issued 2015-07-01 to 2015-07-02 by version 1" in july.done.out
        assert pc.all(pc.equal(issued.filter(pc.field("day") > date(2015, 6, 30))["kind"], "live")).as_py()


def test_the_answers_that_came_are_held_against_the_forecasts(july: Updated) -> None:
    skill = july.home.database.matured_skill(TARGET).skill
    by_month = {
        month: pc.sum(skill.filter(pc.field("month") == month)["matured"]).as_py() for month in ("2015-06", "2015-07")
    }
    assert all(by_month.values()), by_month
    assert f"{TARGET}: matured skill of 2015-06 to 2015-07" in july.done.out


def test_nothing_is_trained_decided_or_promoted(first: MadeHome, july: Updated) -> None:
    with july.home.dagster() as instance:
        jobs = {instance.get_run_by_id(run).job_name for run in july.runs}  # type: ignore[union-attr]
    assert jobs == {"ingest", "process", "forecast", "watch"}
    for target in TARGETS:
        assert len(july.home.registry.versions(target)) == len(first.registry.versions(target))
        assert july.home.database.decisions(target) == first.database.decisions(target)


def test_what_is_not_touched_keeps_its_very_files(july: Updated) -> None:
    touched = {name for name, before in july.before.items() if files(july.home, *name.split()) != before}
    assert touched == {"observations 2015", "features 2015"}


def test_the_second_update_starts_no_run_and_says_so(july: Updated) -> None:
    before, kept = run_ids(july.home), files_of(july.home.folder / "lake")
    again = july.home.call("update", **TO_JULY)
    assert (again.code, again.out) == (0, "nothing new: all that the synthetic source has is stored\n")
    assert run_ids(july.home) == before
    assert files_of(july.home.folder / "lake") == kept


def test_an_update_after_the_run_that_made_the_home_measures_its_forecasts_and_does_nothing_else(
    home: MadeHome,
) -> None:
    before, kept = run_ids(home), files_of(home.folder / "lake")
    done = home.call("update")
    assert (done.code, done.out.count("matured skill of 2015-06\n")) == (0, len(TARGETS))
    with home.dagster() as instance:
        assert [instance.get_run_by_id(run).job_name for run in run_ids(home) - before] == ["watch"]  # type: ignore[union-attr]
    assert files_of(home.folder / "lake") == kept
    again = home.call("update")
    assert (again.code, again.out) == (0, "nothing new: all that the synthetic source has is stored\n")


def test_a_late_report_of_an_old_month_renews_what_looks_back_on_it_and_nothing_else(home: MadeHome) -> None:
    """A station-day of 2014-01-10 is missing at first; forecasts of the 5th, 10th and 12th were made without it."""
    missing = (pc.field("day") == date(2014, 1, 10)) & (pc.field("station") == "Albury")
    whole = home.lake.snapshot("raw_observations").read(keys=["2014-01"])
    home.lake.replace_partition("raw_observations", "month", "2014-01", whole.filter(~missing))
    stage(home, StageRun("process", "2013", "2014"))
    early, late, later = (date(2014, 1, day) for day in (5, 10, 12))
    for day in (early, late, later):
        stage(home, StageRun("forecast", day.isoformat(), day.isoformat()))
    kept = home.database.forecasts(TARGET, early, early)
    assert not home.database.forecasts(TARGET, late, late, station="Albury").num_rows
    issued = home.database.forecasts(TARGET, late, later).to_pylist()
    before, runs = all_files(home), run_ids(home)

    done = home.call("update")
    assert done.code == 0, done.err
    assert "new or changed: 2014-01 (1 day)" in done.out
    assert home.lake.snapshot("raw_observations").row_counts()["2014-01"] == whole.num_rows
    touched = {name for name, were in before.items() if files(home, *name.split()) != were}
    assert touched == {"raw_observations 2014-01", "observations 2014", "features 2014"}
    assert home.database.forecasts(TARGET, early, early).equals(kept)
    [albury] = home.database.forecasts(TARGET, late, late, station="Albury").to_pylist()
    assert albury["kind"] == "hindcast"
    renewed = home.database.forecasts(TARGET, late, later)
    assert renewed["day"].unique().to_pylist() == [late, later]
    others = [row for row in renewed.to_pylist() if row not in issued]
    assert {row["dagster_run_id"] for row in others} <= run_ids(home) - runs
    assert {"Albury"} < {row["station"] for row in others}, (
        "its neighbours are forecast otherwise, and a far one as it was"
    )
    assert f"{TARGET}: matured skill of 2014-01, 2015-06\n" in done.out, "and of the run that made the home"
    assert home.call("update").out.startswith("nothing new")


def test_an_update_that_was_interrupted_goes_on_where_it_ended(home: MadeHome) -> None:
    """Of the stages, only the first was done."""
    later = MadeHome(home.folder, {**home.env, **TO_JULY})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEATHER_SYNTHETIC_LAST_DAY", TO_JULY["WEATHER_SYNTHETIC_LAST_DAY"])
        stage(later, StageRun("ingest", "2015-07", "2015-07"))
    done = later.call("update")
    assert done.code == 0, done.err
    assert "new or changed" not in done.out
    assert "cleaned 2015\n" in done.out
    assert pc.max(home.database.forecasts(TARGET, *EVER)["day"]).as_py() == date(2015, 7, 2)
    assert later.call("update").out.startswith("nothing new")


def test_without_a_production_model_the_tables_are_brought_up_to_date(home: MadeHome) -> None:
    for target in TARGETS:
        assert home.call("rollback", target, "--nowhere", "--reason", "nothing shall serve").code == 0
    before = {target: home.database.forecasts(target, *EVER) for target in TARGETS}
    done = home.call("update", **TO_JULY)
    assert done.code == 0, done.err
    for target in TARGETS:
        assert f"{target}: no Production model, so no forecast" in done.out
        assert home.database.forecasts(target, *EVER).equals(before[target])
    newest = pc.max(home.lake.snapshot("features").read(keys=["2015"], columns=["day"])["day"]).as_py()
    assert newest == date(2015, 7, 2)


def test_station_days_that_the_source_lost_are_kept_unless_they_are_let_go(home: MadeHome) -> None:
    rows = home.lake.snapshot("raw_observations").read(keys=["2015-06"])
    extra = rows.filter(pc.field("day") == date(2015, 6, 30)).slice(0, 1)
    unknown = extra.set_column(extra.column_names.index("station"), "station", pa.array(["Albury"]))
    kept = rows.filter(~((pc.field("day") == date(2015, 6, 30)) & (pc.field("station") == "Albury")))
    home.lake.replace_partition("raw_observations", "month", "2015-06", pa.concat_tables([kept, unknown]))
    one_day_less = {"WEATHER_SYNTHETIC_LAST_DAY": "2015-06-29"}
    before = files(home, "raw_observations", "2015-06")
    refused = home.call("update", **one_day_less)
    assert refused.code == 1
    assert "2015-06: the lake holds" in refused.err
    assert "--let-go" in refused.err
    assert files(home, "raw_observations", "2015-06") == before
    let_go = home.call("update", "--let-go", **one_day_less)
    assert let_go.code == 0, let_go.err
    assert home.lake.snapshot("raw_observations").row_counts()["2015-06"] < rows.num_rows


def test_an_empty_home_has_nothing_to_update_and_is_not_made(tmp_path: Path) -> None:
    done = empty_home(tmp_path / "none").call("update")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "begin with `weather run --source csv --path" in done.err
    assert not (tmp_path / "none").exists()


def test_the_forecasts_hold_what_they_held_before(july: Updated, first: MadeHome) -> None:
    old = july.home.database.forecasts(TARGET, EVER[0], date(2015, 6, 30))
    assert old.schema.equals(FORECASTS_SCHEMA)
    assert old.equals(first.database.forecasts(TARGET, *EVER))


def test_the_record_of_an_update_is_seen_in_the_ui(july: Updated) -> None:
    with july.home.dagster() as instance:
        [record] = instance.fetch_observations(dg.AssetKey("raw_observations"), limit=1).records
    observation = record.asset_observation
    assert observation is not None
    assert observation.description == "All that the source has is stored."
    assert observation.metadata["lake_version"].value == july.home.lake.version("raw_observations")
