"""Checks of drift: firing and not firing, on a real report store and a real database."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from weather_platform.checks.drift import KEY, columns_nobody_reported, departing, of_status, unlike_their_files
from weather_platform.database import Database, DriftRecord
from weather_platform.io_managers.reports import publish
from weather_platform.partitions import month_partitions
from weather_platform.resources.reports import ReportStore
from weather_platform_tests.databases import migrated
from weather_platform_tests.domain.drifting import in_month, judged, watched_rows
from weather_platform_tests.drift_reports import departures_of, drift_report
from weather_platform_tests.stages import Home, evaluations, failing, made

CHECKS = (
    "report_is_stored",
    "no_drift",
    "drift_status_known",
    "every_column_reported",
    "stations_like_their_neighbours",
)
FIRST, SECOND, THIRD = MONTHS = ["2014-06", "2014-07", "2014-08"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def store(home: Home) -> ReportStore:
    return ReportStore(str(home.settings.home / "reports"))


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    opened = migrated(home.settings.home / "weather.db")
    yield opened
    opened.close()


def reported(store: ReportStore, database: Database, *statuses: str) -> dict[str, DriftRecord]:
    """Reports of the first months with these statuses."""
    for month, status in zip(MONTHS, statuses, strict=False):
        publish(store, database, month, drift_report(status, month))
    return database.drift()


def checked(home: Home) -> dg.ExecuteInProcessResult:
    @dg.asset(
        deps=[KEY], partitions_def=month_partitions(home.settings), backfill_policy=dg.BackfillPolicy.single_run()
    )
    def after() -> None:
        return

    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(KEY, name) for name in CHECKS))
    return home.run(checks | dg.AssetSelection.assets("after"), FIRST, THIRD, more=[after])


def test_quiet_months_with_whole_reports_pass(home: Home, store: ReportStore, database: Database) -> None:
    reported(store, database, "none", "none", "none")
    result = checked(home)
    assert result.success
    assert made(result) == {"after"}
    assert {name: told.passed for name, told in evaluations(result).items()} == dict.fromkeys(CHECKS, True)


def test_drift_and_not_knowing_are_warned_about_month_by_month(
    home: Home, store: ReportStore, database: Database
) -> None:
    reported(store, database, "none", "drift", "unknown")
    result = checked(home)
    assert result.success
    told = evaluations(result)
    assert told["report_is_stored"].passed
    # A month that is not known is no month without drift.
    for name, months in (("no_drift", [SECOND, THIRD]), ("drift_status_known", [THIRD])):
        assert (told[name].passed, told[name].severity) == (False, dg.AssetCheckSeverity.WARN)
        assert list(failing(told[name])) == months
    assert "column_0: " in failing(told["no_drift"])[SECOND]
    missing = told["every_column_reported"]
    assert (missing.passed, missing.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert failing(missing) == {THIRD: "nobody reported column_0, column_1, column_2, column_3"}


def test_a_column_that_the_reference_never_knew_is_not_asked_for(store: ReportStore, database: Database) -> None:
    rows = watched_rows(4)
    rows.values[:, 0] = np.nan
    rows.values[in_month(rows, FIRST), 1] = np.nan
    record = publish(store, database, FIRST, drift_report(verdict=judged(rows, FIRST)))
    assert record.verdict.named("missing") == ["column_0", "column_1"]
    assert columns_nobody_reported({FIRST: record}) == {FIRST: "nobody reported column_1"}


def test_a_report_that_is_gone_stops_what_comes_after_it(home: Home, store: ReportStore, database: Database) -> None:
    records = reported(store, database, "none", "none", "none")
    store.delete(records[SECOND].page_path)
    result = checked(home)
    assert not result.success
    assert made(result) == set()
    told = evaluations(result)["report_is_stored"]
    assert (told.passed, told.blocking) == (False, True)
    assert failing(told) == {SECOND: f"{records[SECOND].page_path} is not in the report store"}


def test_a_month_without_a_row_is_named(store: ReportStore, database: Database) -> None:
    records = reported(store, database, "none")
    assert unlike_their_files(MONTHS[:2], records, store) == {SECOND: "the database has no report"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values["verdict"].update(status="none"), "does not say what the database says"),
        (lambda values: values["verdict"]["columns"][0].update(distance=0.0), "does not say what the database says"),
        (lambda values: values.pop("verdict"), "is no drift report"),
        (
            lambda values: values["evidently"].update(
                metrics=[{"metric_name": "DriftedColumnsCount()", "value": {"share": 0.5}}]
            ),
            "has the share 0.5 from Evidently, and the database 0.25",
        ),
    ],
)
def test_values_that_say_something_else_are_named(
    store: ReportStore, database: Database, change: object, said: str
) -> None:
    records = reported(store, database, "drift")
    assert unlike_their_files([FIRST], records, store) == {}
    values = json.loads(store.read(records[FIRST].values_path))
    change(values)  # type: ignore[operator]
    store.write(records[FIRST].values_path, json.dumps(values).encode())
    assert said in unlike_their_files([FIRST], records, store)[FIRST]


def test_values_that_are_no_json_are_named(store: ReportStore, database: Database) -> None:
    records = reported(store, database, "drift")
    store.write(records[FIRST].values_path, b"half a fi")
    assert "is no drift report" in unlike_their_files([FIRST], records, store)[FIRST]


def test_months_are_found_by_their_status_with_the_reasons(store: ReportStore, database: Database) -> None:
    records = reported(store, database, "none", "drift", "unknown")
    assert list(of_status(records, "drift")) == [SECOND]
    assert of_status(records, "unknown") == {THIRD: "0 of 4 observed columns could be compared"}
    assert of_status({}, "drift") == {}


def test_a_station_that_departs_is_found_and_a_report_that_did_not_look_is_not_fine(
    store: ReportStore, database: Database
) -> None:
    publish(store, database, FIRST, drift_report("none", FIRST))
    publish(store, database, SECOND, drift_report("none", SECOND, departures=departures_of(SECOND, temp_3pm_c=6.0)))
    records = database.drift()
    assert departing(records) == {SECOND: "Albury temp_3pm_c by +3 (z +6.0) departs from its neighbours"}
    earlier = {FIRST: replace(records[FIRST], departures=None)}
    assert "not compared" in departing(earlier)[FIRST]


def test_each_departing_station_has_one_notice_until_the_newest_month_is_as_usual(
    store: ReportStore, database: Database
) -> None:
    def opened() -> list[tuple[str, tuple[str, ...]]]:
        with database.outbox(writing=False) as outbox:
            return [(each.title, each.items) for each in outbox.notices(open_only=True)]

    def publish_at(month: str, day: int, **columns: float) -> None:
        at = drift_report().reported_at + timedelta(days=day)
        verdict = departures_of(month, **columns)
        publish(store, database, month, drift_report("none", month, departures=verdict, reported_at=at))

    publish_at(FIRST, 1, temp_3pm_c=6.0, pressure_3pm_hpa=5.0)
    title = "Albury departs from its neighbours in pressure_3pm_hpa, temp_3pm_c"
    assert opened() == [(title, ("pressure_3pm_hpa", "temp_3pm_c"))]
    publish_at(FIRST, 2, temp_3pm_c=6.0, pressure_3pm_hpa=5.0)
    publish_at(SECOND, 3, temp_3pm_c=7.0)
    assert len(opened()) == 1
    publish_at(FIRST, 4)
    assert len(opened()) == 1, "an earlier month says nothing of today"
    publish_at(SECOND, 5)
    assert opened() == []
