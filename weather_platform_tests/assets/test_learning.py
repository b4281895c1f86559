"""Raw, split, candidate, promotion and production as assets: what they refuse, and ranges of years in order."""

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.assets.raw import letting_go
from weather_platform.errors import SourceError
from weather_platform.io_managers.mlflow_models import logged_run_id
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PREVIOUS, PRODUCTION, Audit
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.e2e.test_outages import another_version, nothing_moves, part
from weather_platform_tests.mlflow_stores import empty_mlflow, tracking_uri
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.sources.test_csv_files import row, table
from weather_platform_tests.stages import MOMENT, Home, days_of, made

__all__ = ["empty_mlflow", "tracking_uri"]


def test_rows_of_another_source_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.receive("2015-01", [{"source": "csv", "file": "a.csv", "row_number": 2, "day": date(2015, 1, 1)}])
    result = home.run(dg.AssetSelection.groups("raw"), "2015-01", "2015-02")
    assert not result.success
    assert made(result) == set()
    assert home.lake.row_counts("raw_observations", "month") == {"2015-01": 1}
    assert not home.lake.exists("stations")


def test_the_catalogue_of_another_source_never_replaces_the_one_of_the_stored_rows(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.know_stations()
    home.receive("2015-01", [{"source": "csv", "file": "a.csv", "row_number": 2, "day": date(2015, 1, 1)}])
    with pytest.raises(SourceError, match="holds csv rows and the source is synthetic: set WEATHER_HOME to another"):
        home.run(dg.AssetSelection.assets("stations"), raise_on_error=True)
    assert home.lake.read("stations").num_rows == 49


def _other(folder: Path, **settings: int) -> Home:
    """The home of this folder with other settings of the generator."""
    return Home(folder, synthetic_last_day=date(2015, 2, 10), **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"synthetic_seed": 7}, "holds rows of synthetic:42 and the source is synthetic:7: set WEATHER_SYNTHETIC_SEED"),
        (
            {"synthetic_stations": 3},
            r"rows of stations that the source lacks \(1, first: AliceSprings\): give it as many",
        ),
    ],
)
def test_another_seed_and_fewer_stations_are_another_source(
    tmp_path: Path, settings: dict[str, int], said: str
) -> None:
    first = Home(tmp_path)
    assert first.run(dg.AssetSelection.groups("raw"), "2015-01").success
    tables = {name: first.lake.version(name) for name in ("stations", "raw_observations")}
    for asset in tables:
        with pytest.raises(SourceError, match=said):
            _other(tmp_path, **settings).run(dg.AssetSelection.assets(asset), "2015-01", "2015-02", raise_on_error=True)
    assert {name: first.lake.version(name) for name in tables} == tables


def test_more_stations_and_another_shift_of_the_climate_are_the_same_source(tmp_path: Path) -> None:
    assert Home(tmp_path).run(dg.AssetSelection.groups("raw"), "2015-01").success
    more = Home(tmp_path, synthetic_stations=5, synthetic_shift_day=date(2015, 1, 10), synthetic_shift_temp_c=2.0)
    assert more.run(dg.AssetSelection.groups("raw"), "2015-01", "2015-02").success
    assert more.lake.read("stations").num_rows == 5


def test_a_catalogue_that_another_source_left_behind_is_replaced_when_no_row_needs_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.run(dg.AssetSelection.groups("raw"), "2015-01").success
    home.know_stations()
    assert home.run(dg.AssetSelection.assets("stations")).success
    assert home.lake.read("stations").num_rows == 4


def test_the_refusal_names_both_sources_and_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.receive("2015-01", [{"source": "csv", "file": "a.csv", "row_number": 2, "day": date(2015, 1, 1)}])
    with pytest.raises(SourceError, match="holds csv rows and the source is synthetic: set WEATHER_HOME to another"):
        home.run(dg.AssetSelection.assets("raw_observations"), "2015-01", raise_on_error=True)


THREE = ("Albury", "Cobar", "Sale")


def _files(folder: Path, **files: list[dict[str, str]]) -> Home:
    """The home of this folder, with these csv files as its source."""
    received = folder / "files"
    shutil.rmtree(received, ignore_errors=True)
    received.mkdir(parents=True)
    for name, rows in files.items():
        (received / f"{name}.csv").write_text(table(*rows))
    return Home(folder, source="csv", csv_path=received)


def _december(*stations: str, first: int = 1) -> list[dict[str, str]]:
    return [row(f"2015-12-{day:02}", station) for station in stations for day in range(first, 32)]


def test_a_part_of_a_month_never_replaces_the_whole_one_unless_it_is_told_to(tmp_path: Path) -> None:
    raw, months = dg.AssetSelection.groups("raw"), ("2015-12", "2016-01")
    assert _files(tmp_path, full=_december(*THREE)).run(raw, "2015-12").success
    part = _files(tmp_path, new=[*_december("Albury", first=28), row("2016-01-01")])
    before = part.lake.version("raw_observations")
    with pytest.raises(SourceError) as caught:
        part.run(raw, *months, raise_on_error=True)
    assert str(caught.value) == (
        "2015-12: the lake holds 89 station-days that the source no longer has (first: Albury 2015-12-01); add what "
        "holds them to the source, or let them go with `weather run --let-go` (`let_go` of raw_observations)"
    )
    assert part.lake.version("raw_observations") == before
    assert part.run(raw, *months, config=letting_go()).success
    assert part.lake.row_counts("raw_observations", "month") == {"2015-12": 4, "2016-01": 1}


def test_the_missing_part_beside_the_new_rows_is_all_that_is_needed(tmp_path: Path) -> None:
    raw = dg.AssetSelection.groups("raw")
    assert _files(tmp_path, full=_december(*THREE)).run(raw, "2015-12").success
    both = _files(tmp_path, full=_december(*THREE), new=[*_december("Albury", first=28), row("2016-01-01")])
    assert both.run(raw, "2015-12", "2016-01").success
    assert both.lake.row_counts("raw_observations", "month") == {"2015-12": 97, "2016-01": 1}


def test_a_month_that_has_no_rows_any_more_is_refused_too(tmp_path: Path) -> None:
    raw, around = dg.AssetSelection.groups("raw"), [row("2015-11-30"), row("2016-01-01")]
    assert _files(tmp_path, full=[*around, *_december("Sale")]).run(raw, "2015-11", "2016-01").success
    hollow = _files(tmp_path, full=around)
    assert not hollow.run(raw, "2015-11", "2016-01").success
    assert hollow.lake.row_counts("raw_observations", "month") == {"2015-11": 1, "2015-12": 31, "2016-01": 1}


def test_generated_weather_passes_when_it_is_made_again_and_when_its_newest_month_has_grown(tmp_path: Path) -> None:
    raw, rows = dg.AssetSelection.groups("raw"), []
    for last_day in (date(2015, 2, 10), date(2015, 2, 10), date(2015, 2, 11), date(2015, 3, 1)):
        home = Home(tmp_path, synthetic_stations=49, synthetic_last_day=last_day)
        assert home.run(raw, "2015-01", f"{last_day:%Y-%m}").success
        rows.append(home.lake.row_counts("raw_observations", "month")["2015-02"])
    assert rows[0] == rows[1] < rows[2] < rows[3]
    assert not Home(tmp_path, synthetic_stations=49, synthetic_last_day=date(2015, 2, 9)).run(raw, "2015-02").success


def test_a_range_of_months_in_one_run_is_the_same_as_month_by_month(tmp_path: Path) -> None:
    together, apart = Home(tmp_path / "together"), Home(tmp_path / "apart")
    assert together.run(dg.AssetSelection.groups("raw"), "2015-01", "2015-03").success
    for month in ("2015-02", "2015-01", "2015-03"):
        assert apart.run(dg.AssetSelection.groups("raw"), month).success
    for month in ("2015-01", "2015-02", "2015-03"):
        one, other = (
            home.lake.snapshot("raw_observations").read(keys=[month]).drop_columns(["fetched_at"])
            for home in (together, apart)
        )
        assert one.equals(other)


@pytest.mark.parametrize("stations", [("Albury", "Sydney"), ("Albury", "Sydney", "Perth")])  # it always rains in Perth
def test_a_year_before_which_it_never_rained_is_passed_over_with_its_reason(
    tmp_path: Path, tracking_uri: str, stations: tuple[str, ...]
) -> None:
    home = Home(tmp_path)
    home.know_stations()
    for year in (2013, 2014, 2015):
        home.observe(str(year), days_of(date(year, 1, 1), date(year, 12, 31)), stations)
    splits = [[TARGET, "split"], ["max_temp_tomorrow", "split"]]
    assert home.run(dg.AssetSelection.assets("features", *splits), "2013", "2015").success
    rows = {key[0]: home.lake.row_counts("__".join(key), "year")["2015"] for key in splits}
    assert rows == {TARGET: 0 if len(stations) == 2 else 4, "max_temp_tomorrow": 4}
    if len(stations) == 2:
        asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey([TARGET, "split"]), asset_partitions=["2015"])
        [record] = home.instance.fetch_materializations(asked, limit=1).records
        assert record.asset_materialization is not None
        assert "one kind only in train" in str(record.asset_materialization.metadata["reason"].value)
        learnt = home.run(dg.AssetSelection.assets([TARGET, "xgboost"]), "2015")
        assert learnt.success
        assert made(learnt) == {f"{TARGET}/xgboost"}


def test_production_without_any_decision_says_what_to_do(home: MadeHome) -> None:
    (home.folder / "weather.db").unlink()
    mlflow_client(mlflow_tracking_uri(home.settings)).delete_registered_model_alias(TARGET, PRODUCTION)
    said = part(home, "learn", "2015", "production")
    assert "rain_tomorrow has no Production model (nothing was decided yet); train another year or source" in said


def test_an_alias_that_is_gone_is_never_taken_for_no_champion_by_production(home: MadeHome) -> None:
    mlflow_client(mlflow_tracking_uri(home.settings)).delete_registered_model_alias(TARGET, PRODUCTION)
    said = part(home, "learn", "2015", "production")
    assert "the audit has Production on version 1, and the registry knows no such alias" in said
    assert home.registry.aliases(TARGET) == {}


def test_deciding_again_appends_and_never_rewrites(home: MadeHome) -> None:
    before = home.database.decisions(TARGET)
    assert part(home, "learn", "2015", "promotion", "production") == ""
    after = home.database.decisions(TARGET)
    assert after[: len(before)] == before
    assert [decision.decision for decision in after] == ["DEPLOY", "SKIP"]
    assert home.database.alias_changes(TARGET, PREVIOUS) == []


def test_a_range_of_years_goes_on_with_the_champion_that_it_deployed(home: MadeHome) -> None:
    withdrawal = Audit(decision_id=None, reason="not to serve", dagster_run_id="run-1", changed_at=MOMENT)
    home.registry.withdraw_production(TARGET, 1, withdrawal)
    assert part(home, "learn", "2014", "split", "xgboost") == ""
    with home.dagster() as instance:
        run_id = logged_run_id(instance, dg.AssetKey([TARGET, "xgboost"]), "2014")
    assert run_id is not None
    first = replace(
        home.database.leaderboard(TARGET, 2015)[0], run_id=run_id, digest=home.registry.reference(run_id).digest
    )
    home.database.replace_leaderboard(TARGET, 2014, [first], dagster_run_id="run-1", made_at=MOMENT)
    assert part(home, "learn", "2014", "promotion", last="2015") == ""
    earlier, later = home.database.decisions(TARGET)[-2:]
    assert (earlier.year, earlier.decision, earlier.champion_version) == (2014, "DEPLOY", None)
    assert (later.year, later.champion_version) == (2015, earlier.challenger_version)


def test_the_recipe_in_the_launchpad_is_the_recipe_that_is_recorded(home: MadeHome) -> None:
    version = home.registry.version(TARGET, another_version(home, trees=30, seed=1))
    params = mlflow_client(mlflow_tracking_uri(home.settings)).get_run(version.run_id).data.params
    assert (params["n_estimators"], params["seed"], params["threads"]) == ("30", "1", "1")


def test_a_challenger_whose_run_holds_another_model_now_is_not_judged(home: MadeHome) -> None:
    first = home.database.leaderboard(TARGET, 2015)[0]
    mlflow_client(mlflow_tracking_uri(home.settings)).set_tag(first.run_id, "sha256", "0" * 64)
    with nothing_moves(home):
        assert "materialise the leaderboard again" in part(home, "learn", "2015", "promotion")


def test_without_a_leaderboard_nothing_is_decided(home: MadeHome) -> None:
    moment = datetime(2015, 7, 1, tzinfo=UTC)
    home.database.replace_leaderboard(TARGET, 2015, [], dagster_run_id="r", made_at=moment)
    with nothing_moves(home):
        said = part(home, "learn", "2015", "promotion")
        assert "rain_tomorrow/leaderboard has no candidate for 2015; materialise it first" in said
