"""Checks of stage features, firing and not firing, as functions and inside real runs."""

from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from weather_platform.checks.features import empty_features, foreign_columns, years_with_other_rows
from weather_platform.domain.feature_table import FEATURES_SCHEMA
from weather_platform.domain.features import feature_names
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import Home, days_of, evaluations, failing, made

YEARS = ["2014", "2015"]


def _filled(folder: Path) -> Home:
    home = Home(folder)
    home.know_stations()
    home.observe("2014", days_of(date(2014, 12, 1), date(2014, 12, 31)))
    home.observe("2015", days_of(date(2015, 1, 1), date(2015, 1, 31)))
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return _filled(tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dg.ExecuteInProcessResult]:
    filled = _filled(tmp_path_factory.mktemp("home"))
    return filled, filled.run(dg.AssetSelection.assets("features"), *YEARS)


def test_features_as_their_asset_makes_them_pass_every_blocking_check(
    sound: tuple[Home, dg.ExecuteInProcessResult],
) -> None:
    home, result = sound
    assert result.success
    told = evaluations(result)
    assert told["columns_of_the_contract"].passed
    assert told["a_row_per_observation"].passed
    assert foreign_columns(home.lake) == {}
    assert years_with_other_rows(home.lake, YEARS) == {}


def test_features_that_nobody_observed_all_year_are_named_and_only_warned_about(
    sound: tuple[Home, dg.ExecuteInProcessResult],
) -> None:
    home, result = sound
    told = evaluations(result)["no_empty_feature"]
    assert (told.passed, told.blocking, told.severity) == (False, False, dg.AssetCheckSeverity.WARN)
    named = failing(told)["2015"].split(", ")
    assert "evaporation_mm" in named
    assert "humidity_3pm_pct" not in named
    said = told.description or ""
    assert said.startswith(f"{min(failing(told))}: ")
    assert "No station reported what these features are made of" in said
    assert said.endswith("look at its files; else there is nothing to do.")
    assert len(said) < len("; ".join(failing(told).values())), "the metadata has all of them"
    assert empty_features(home.lake, []) == {}


def _features(year: str, rows: int, **full: float) -> pa.Table:
    values = dict.fromkeys(feature_names(), 1.0) | full
    row = {"year": year, "station": "Albury", "day": date(int(year), 1, 1), f"label_{TARGET}": 0.0} | values
    return pa.Table.from_pylist([row] * rows, schema=FEATURES_SCHEMA)


def test_a_year_in_which_every_feature_has_a_value_somewhere_and_a_year_without_rows_are_not_named(home: Home) -> None:
    home.lake.replace_partition("features", "year", "2014", _features("2014", 0))
    home.lake.replace_partition("features", "year", "2015", _features("2015", 3))
    assert empty_features(home.lake, YEARS) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table, {}),
        (lambda table: table.drop_columns(["humidity_3pm_pct"]), {"humidity_3pm_pct": "missing"}),
        (lambda table: table.append_column("luck", pa.array([7.0] * len(table))), {"luck": "not in the contract"}),
        (
            lambda table: table.set_column(3, table.field(3).with_type(pa.float64()), table[3].cast(pa.float64())),
            {FEATURES_SCHEMA.names[3]: "stored as double, the contract says float"},
        ),
    ],
)  # fmt: skip
def test_a_stored_column_that_the_contract_does_not_know_lacks_or_has_otherwise_is_named(
    home: Home, change: object, said: dict[str, str]
) -> None:
    home.lake.replace_partition("features", "year", "2015", change(_features("2015", 2)))  # type: ignore[operator]
    assert foreign_columns(home.lake) == said


@pytest.mark.parametrize(
    ("year", "rows", "said"),
    [
        ("2015", 62, None),
        ("2015", 61, "61 rows, 62 observations"),
        ("2013", 1, "1 rows, 0 observations"),
    ],
)
def test_a_year_with_more_or_fewer_feature_rows_than_observations_is_named(
    home: Home, year: str, rows: int, said: str | None
) -> None:
    home.lake.replace_partition("features", "year", year, _features(year, rows))
    assert years_with_other_rows(home.lake, [year]) == ({} if said is None else {year: said})


def test_a_year_that_was_observed_and_has_no_features_is_named(home: Home) -> None:
    assert years_with_other_rows(home.lake, ["2014"]) == {"2014": "None rows, 62 observations"}


def test_an_observation_of_a_station_outside_the_catalogue_stops_the_split(home: Home) -> None:
    home.observe("2015", days_of(date(2015, 1, 1), date(2015, 1, 31)), ("Albury", "Atlantis"))
    result = home.run(dg.AssetSelection.assets("features", [TARGET, "split"]), *YEARS)
    assert not result.success
    assert made(result) == {"features"}
    told = evaluations(result)["a_row_per_observation"]
    assert (told.passed, told.blocking) == (False, True)
    assert failing(told) == {"2015": "31 rows, 62 observations"}


def test_stored_features_with_a_foreign_column_stop_the_split(home: Home) -> None:
    for year in YEARS:
        table = _features(year, 62)
        home.lake.replace_partition("features", "year", year, table.append_column("luck", pa.array([7.0] * 62)))
    checks = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("features"), "columns_of_the_contract"))
    result = home.run(checks | dg.AssetSelection.assets([TARGET, "split"]), *YEARS)
    assert not result.success
    assert made(result) == set()
    assert failing(evaluations(result)["columns_of_the_contract"]) == {"luck": "not in the contract"}
