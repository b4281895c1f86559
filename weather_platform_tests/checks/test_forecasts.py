"""Checks of stage forecasts, firing and not firing, as functions and inside real runs."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.checks.forecasts import (
    impossible_probabilities,
    impossible_values,
    silent_days,
    unmatched_stations,
)
from weather_platform.domain.targets import TARGETS
from weather_platform.partitions import day_partitions
from weather_platform.resources.registry import Audit
from weather_platform_tests.small_models import TARGET, Store
from weather_platform_tests.stages import MOMENT, Home, evaluations, failing, forecast_table, made

CHECKS = ("a_forecast_per_report", "probabilities_in_range", "some_station_reported")
MAX_TEMP = TARGETS["max_temp_tomorrow"]
FIRST, SECOND = date(2014, 12, 31), date(2015, 1, 1)
DAYS = [FIRST, SECOND]


def _every_station() -> list[dict[str, Any]]:
    return [{"day": day, "station": station} for day in DAYS for station in ("Albury", "Sydney")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    observed = Home(tmp_path)
    for day in DAYS:
        observed.observe(str(day.year), [day])
    return observed


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (_every_station(), {}),
        (_every_station()[1:], {"2014-12-31": "Albury: no forecast"}),
        (
            [*_every_station(), {"day": SECOND, "station": "Perth"}],
            {"2015-01-01": "Perth: a forecast without a report"},
        ),
        (
            [*_every_station()[:3], {"day": SECOND, "station": "Albury"}, {"day": SECOND, "station": "Sydney"}],
            {"2015-01-01": "Albury: a forecast without a report"},  # twice
        ),
        ([], {"2014-12-31": "Sydney: no forecast", "2015-01-01": "Sydney: no forecast"}),
    ],
)  # fmt: skip
def test_a_day_whose_forecasts_are_not_those_of_the_stations_that_reported_is_named(
    home: Home, rows: list[dict[str, Any]], said: dict[str, str]
) -> None:
    assert unmatched_stations(home.lake, forecast_table(rows), DAYS) == said


@pytest.mark.parametrize(
    ("cells", "sound"),
    [
        ({"probability": 0.0, "label": False}, True),
        ({"probability": 1.0, "label": True}, True),
        ({"probability": 0.5, "threshold": 0.5, "label": True}, True),
        ({"probability": 0.5, "threshold": 0.5, "label": False}, False),
        ({"probability": 0.49, "threshold": 0.5, "label": True}, False),
        ({"probability": -0.01, "label": False}, False),
        ({"probability": 1.01, "label": True}, False),
        ({"probability": float("nan"), "label": False}, False),
    ],
)
def test_a_probability_that_is_none_and_a_label_on_the_wrong_side_are_named(
    cells: Mapping[str, Any], sound: bool
) -> None:
    findings = impossible_probabilities(TARGETS[TARGET], forecast_table([{}, {"day": SECOND, **cells}]))
    assert list(findings) == ([] if sound else ["2015-01-01"])


def test_no_forecast_at_all_is_not_impossible() -> None:
    assert impossible_probabilities(TARGETS[TARGET], forecast_table([])) == {}
    assert impossible_values(MAX_TEMP, forecast_table([])) == {}


@pytest.mark.parametrize(
    ("cells", "sound"),
    [
        ({}, True),
        ({"value": 55.0, "value_low": 50.0, "value_high": 60.0}, True),  # an interval may reach beyond what is possible
        ({"value": -30.0, "value_low": -30.0, "value_high": -30.0}, True),
        ({"value": 55.1, "value_low": 50.0, "value_high": 60.0}, False),
        ({"value": -30.1, "value_low": -31.0, "value_high": -30.0}, False),
        ({"value": 21.0, "value_low": 21.5}, False),
        ({"value": 21.0, "value_high": 20.5}, False),
        ({"value": float("nan")}, False),
        ({"value": None, "probability": 0.5}, False),
    ],
)
def test_a_value_that_cannot_be_and_one_outside_its_interval_are_named(cells: Mapping[str, Any], sound: bool) -> None:
    value = {
        "target": MAX_TEMP.name, "probability": None, "threshold": None, "label": None,
        "value": 21.4, "value_low": 18.9, "value_high": 24.6,
    }  # fmt: skip
    findings = impossible_values(MAX_TEMP, forecast_table([value, value | {"day": SECOND, **cells}]))
    assert list(findings) == ([] if sound else ["2015-01-01"])


def test_a_day_on_which_nobody_reported_is_named() -> None:
    assert silent_days(forecast_table(_every_station()), DAYS) == {}
    assert silent_days(forecast_table([{"day": FIRST}]), DAYS) == {"2015-01-01": "no station reported"}


def _checked(home: Home, store: Store, rows: list[dict[str, Any]]) -> dg.ExecuteInProcessResult:
    audit = Audit(decision_id=None, reason="DEPLOY", dagster_run_id="run-1", changed_at=MOMENT)
    version = store.registry.move_production(TARGET, 1, None, audit).production.version
    table = forecast_table([row | {"model_version": version} for row in rows])
    store.database.replace_forecasts(TARGET, version, FIRST, SECOND, table)

    @dg.asset(
        deps=[[TARGET, "forecasts"]], partitions_def=day_partitions(home.settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )  # fmt: skip
    def after() -> None:
        return

    key = dg.AssetKey([TARGET, "forecasts"])
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, name) for name in CHECKS))
    selection = checks | dg.AssetSelection.assets("after")
    return home.run(selection, FIRST.isoformat(), SECOND.isoformat(), more=[after])


def test_sound_forecasts_of_a_range_of_days_pass(home: Home, store: Store) -> None:
    old = [{"day": FIRST, "station": "Albury", "probability": 0.9}]  # of another version: not looked at
    table = forecast_table([row | {"model_version": 99} for row in old])
    store.database.replace_forecasts(TARGET, 99, FIRST, SECOND, table)
    result = _checked(home, store, _every_station())
    assert result.success
    assert made(result) == {"after"}
    assert {name: each.passed for name, each in evaluations(result).items()} == dict.fromkeys(CHECKS, True)


def test_a_station_that_was_left_out_stops_what_comes_after_the_forecasts(home: Home, store: Store) -> None:
    result = _checked(home, store, _every_station()[:3])
    assert not result.success
    assert made(result) == set()
    told = evaluations(result)
    assert (told["a_forecast_per_report"].passed, told["a_forecast_per_report"].blocking) == (False, True)
    assert failing(told["a_forecast_per_report"]) == {"2015-01-01": "Sydney: no forecast"}
    assert told["some_station_reported"].passed


def test_a_label_on_the_wrong_side_stops_what_comes_after_the_forecasts(home: Home, store: Store) -> None:
    rows = [*_every_station()[:3], _every_station()[3] | {"probability": 0.4, "threshold": 0.3}]
    result = _checked(home, store, rows)
    assert not result.success
    assert made(result) == set()
    told = evaluations(result)["probabilities_in_range"]
    assert (told.passed, told.blocking, list(failing(told))) == (False, True, ["2015-01-01"])


def test_a_silent_day_is_only_warned_about(tmp_path: Path, store: Store) -> None:
    home = Home(tmp_path)
    home.observe("2014", [FIRST])
    home.observe("2015", [])
    result = _checked(home, store, _every_station()[:2])
    assert result.success
    told = evaluations(result)["some_station_reported"]
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert failing(told) == {"2015-01-01": "no station reported"}
