"""The features of a year as an asset: what they know of the year before."""

from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa

from weather_platform.domain.observations import OBSERVATIONS_SCHEMA
from weather_platform_tests.stages import Home, days_of, evaluations, failing, observation


def test_a_new_year_remembers_the_rain_of_the_old_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.know_stations()
    for year, days in (
        ("2015", [(date(2015, 12, 20), 5.0), (date(2015, 12, 31), 0.0)]),
        ("2016", [(date(2016, 1, 2), 0.0)]),
    ):
        rows = [observation(year, day, "Albury") | {"rainfall_mm": rain} for day, rain in days]
        table = pa.Table.from_pylist(rows, schema=OBSERVATIONS_SCHEMA)
        home.lake.replace_partition("observations", "year", year, table)
    home.run(dg.AssetSelection.assets("features"), "2016", raise_on_error=True)
    assert home.lake.read("features", columns=["days_since_rain"]).to_pylist() == [{"days_since_rain": 13.0}]


def test_years_around_what_is_observed_are_passed_over_and_the_checks_pass(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.know_stations()
    home.observe("2015", days_of(date(2015, 1, 1), date(2015, 1, 9)))
    result = home.run(dg.AssetSelection.groups("features"), "2007", "2016")
    assert result.success
    told = {each.partition: each.metadata for each in result.asset_materializations_for_node("features")}
    passed = {year for year, metadata in told.items() if "reason" in metadata}
    assert passed == {*map(str, range(2007, 2015)), "2016"}
    assert str(told["2007"]["reason"].value) == "2007 is passed over: observations holds 2015 to 2015"
    assert home.lake.row_counts("features", "year") == {"2015": 18}
    assert all(said.passed for name, said in evaluations(result).items() if name != "no_empty_feature")


def test_a_run_over_nothing_that_is_observed_stores_no_features_and_ends_well(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.know_stations()
    home.observe("2015", days_of(date(2015, 1, 1), date(2015, 1, 9)))
    assert home.run(dg.AssetSelection.groups("features"), "2007").success
    assert not home.lake.exists("features")


def test_an_observed_year_without_features_is_found_by_the_blocking_check(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.know_stations()
    home.observe("2015", days_of(date(2015, 1, 1), date(2015, 1, 9)))
    assert home.run(dg.AssetSelection.groups("features"), "2015").success
    home.observe("2016", [])
    checks = dg.AssetSelection.checks_for_assets(dg.AssetKey("features"))
    result = home.run(checks, "2014", "2016")
    assert list(failing(evaluations(result)["a_row_per_observation"])) == ["2016"]
