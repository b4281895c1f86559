"""Checks of matured skill, firing and not firing, as functions and inside real runs."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from weather_platform.checks.matured_skill import ENOUGH_MATURED, forecasts_lost, unskilled_months
from weather_platform.database import Database
from weather_platform.domain.matured import MATURED_SCHEMA, RELIABILITY_SCHEMA, Matured
from weather_platform.domain.targets import TARGETS
from weather_platform.partitions import month_partitions
from weather_platform_tests.databases import migrated
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import MOMENT, Home, evaluations, failing, forecast_table, made

RAIN = TARGETS[TARGET]
MONTHS = ["2015-05", "2015-06"]
CHECKS = ("counts_add_up", "beats_climatology")


def matured_row(**cells: Any) -> dict[str, Any]:
    """A row of matured skill: two forecasts of June, one of which has matured."""
    sound = dict.fromkeys(MATURED_SCHEMA.names, None) | {
        "target": TARGET, "month": "2015-06", "model_version": 1, "kind": "live", "state": "NSW",
        "forecasts": 2, "matured": 1, "pending": 1, "unmatched": 0,
        "true_positive": 0, "false_positive": 0, "false_negative": 0,
        "forecast_sum": 0.4, "observed_sum": 0.0, "observed_squared_sum": 0.0, "squared_error": 0.16,
        "absolute_error": 0.4, "climatology_squared_error": 0.25, "climatology_absolute_error": 0.5,
        "persistence_squared_error": 0.25, "persistence_absolute_error": 0.5,
    }  # fmt: skip
    return sound | cells


def matured(rows: Iterable[Mapping[str, Any]], bins: Mapping[int, int]) -> Matured:
    """These rows, and how many forecasts each bin holds."""
    slices = {"target": TARGET, "month": "2015-06", "model_version": 1, "kind": "live", "state": "NSW"}
    binned = [slices | {"bin": k, "matured": n, "forecast_sum": 0.4, "observed_sum": 0.0} for k, n in bins.items()]
    return Matured(
        pa.Table.from_pylist([dict(row) for row in rows], schema=MATURED_SCHEMA),
        pa.Table.from_pylist(binned, schema=RELIABILITY_SCHEMA),
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def database(home: Home) -> Database:
    """With two forecasts of June and none of May."""
    opened = migrated(home.settings.home / "weather.db")
    forecast_of_june(opened, TWO)
    return opened


TWO: list[dict[str, Any]] = [{"day": date(2015, 6, 1)}, {"day": date(2015, 6, 30)}]


def forecast_of_june(database: Database, rows: list[dict[str, Any]]) -> None:
    """Store these as all forecasts of version 1 in June."""
    database.replace_forecasts(TARGET, 1, date(2015, 6, 1), date(2015, 6, 30), forecast_table(rows))


def store(database: Database, rows: Matured) -> None:
    database.replace_matured_skill(TARGET, "2015-06", rows, measured_at=MOMENT, dagster_run_id="run-1")


@pytest.mark.parametrize(
    ("rows", "bins", "said"),
    [
        ([{}], {4: 1}, None),
        ([{"forecasts": 1, "pending": 0}], {4: 1}, "2 forecasts, but 1 matured + 0 pending + 0 unmatched"),
        ([{"forecasts": 3, "pending": 2}], {4: 1}, "2 forecasts, but 1 matured + 2 pending + 0 unmatched"),
        ([], {}, "2 forecasts, but 0 matured + 0 pending + 0 unmatched"),
        ([{}], {}, "1 matured, but 0 in the bins of reliability"),
        ([{}], {4: 1, 5: 1}, "1 matured, but 2 in the bins of reliability"),
    ],
)
def test_a_month_that_loses_or_invents_a_forecast_is_named(
    database: Database, rows: list[dict[str, Any]], bins: dict[int, int], said: str | None
) -> None:
    store(database, matured([matured_row(**cells) for cells in rows], bins))
    assert forecasts_lost(RAIN, database, MONTHS) == ({"2015-06": said} if said else {})


def test_no_month_at_all_loses_nothing(database: Database) -> None:
    assert forecasts_lost(RAIN, database, []) == {}


def _enough(**cells: Any) -> dict[str, Any]:
    return matured_row(**({"forecasts": ENOUGH_MATURED, "matured": ENOUGH_MATURED, "pending": 0} | cells))


@pytest.mark.parametrize(
    ("cells", "unskilled"),
    [
        ({"squared_error": 20.0, "climatology_squared_error": 40.0}, False),
        ({"squared_error": 50.0, "climatology_squared_error": 40.0}, True),
        ({"squared_error": 40.0, "climatology_squared_error": 40.0}, True),
        ({"squared_error": 50.0, "climatology_squared_error": 40.0, "kind": "hindcast"}, False),
        ({"squared_error": 50.0, "climatology_squared_error": 40.0, "matured": ENOUGH_MATURED - 1}, False),
    ],
)
def test_a_month_in_which_live_forecasts_do_not_beat_climatology_is_named(
    cells: dict[str, Any], unskilled: bool
) -> None:
    assert list(unskilled_months(RAIN, matured([_enough(**cells)], {}))) == (["2015-06 version 1"] if unskilled else [])


def test_a_good_version_does_not_hide_a_bad_one() -> None:
    good = _enough(squared_error=1.0, climatology_squared_error=40.0)
    bad = _enough(squared_error=50.0, climatology_squared_error=40.0, model_version=2)
    said = unskilled_months(RAIN, matured([good, bad], {}))
    assert said == {"2015-06 version 2": "Brier skill against climatology -0.250 of 300 forecasts"}


def _checked(home: Home) -> dg.ExecuteInProcessResult:
    @dg.asset(
        deps=[[TARGET, "matured_skill"]], partitions_def=month_partitions(home.settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )  # fmt: skip
    def after() -> None:
        return

    key = dg.AssetKey([TARGET, "matured_skill"])
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, name) for name in CHECKS))
    return home.run(checks | dg.AssetSelection.assets("after"), *MONTHS, more=[after])


def test_a_range_of_sound_months_passes_and_so_does_a_month_without_forecasts(home: Home, database: Database) -> None:
    store(database, matured([matured_row()], {4: 1}))
    result = _checked(home)
    assert result.success
    assert made(result) == {"after"}
    assert {name: each.passed for name, each in evaluations(result).items()} == dict.fromkeys(CHECKS, True)


def test_a_lost_forecast_stops_what_comes_after(home: Home, database: Database) -> None:
    store(database, matured([matured_row(forecasts=1, pending=0)], {4: 1}))
    result = _checked(home)
    assert not result.success
    assert made(result) == set()
    told = evaluations(result)["counts_add_up"]
    assert (told.passed, told.blocking, list(failing(told))) == (False, True, ["2015-06"])


def test_a_month_without_skill_is_only_warned_about(home: Home, database: Database) -> None:
    forecast_of_june(database, [*TWO, *({"station": f"station {n}"} for n in range(ENOUGH_MATURED - 2))])
    store(
        database,
        matured([_enough(squared_error=50.0, climatology_squared_error=40.0)], {4: ENOUGH_MATURED}),
    )
    result = _checked(home)
    assert result.success
    told = evaluations(result)["beats_climatology"]
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert list(failing(told)) == ["2015-06 version 1"]
