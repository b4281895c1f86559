"""The schedules tick by tick on a real home: what the clock asks for, and when there is nothing to ask for."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from weather_platform.automation.schedules import newest_answered_month
from weather_platform.domain.targets import TARGETS
from weather_platform.io_managers.stored import changes_of
from weather_platform.partitions import RANGE
from weather_platform_tests.stages import Home, days_of

SYDNEY = ZoneInfo("Australia/Sydney")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    (tmp_path / "dagster").mkdir()
    home.instance = dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))  # a schedule opens it again
    return home


def observed(home: Home, first: date, last: date) -> None:
    """Features of these days are stored and recorded."""
    year = f"{first:%Y}"
    home.know_stations()
    home.observe(year, days_of(first, last))
    assert home.run(dg.AssetSelection.assets("features"), year).success


def tick(home: Home, name: str, day: date, hour: int) -> dg.RunRequest | str:
    """One tick at this moment in Sydney: what is requested, or why nothing is."""
    repository = home.graph.get_repository_def()
    schedule = repository.get_schedule_def(name)
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=SYDNEY)
    with dg.build_schedule_context(
        home.instance, scheduled_execution_time=moment, repository_def=repository
    ) as context:
        ticked = schedule.evaluate_tick(context)
    return ticked.run_requests[0] if ticked.run_requests else ticked.skip_message or ""


def months(request: dg.RunRequest | str) -> tuple[str, str]:
    assert isinstance(request, dg.RunRequest), request
    return request.tags[RANGE[0]], request.tags[RANGE[1]]


def test_reports_that_are_there_are_not_asked_for(home: Home) -> None:
    observed(home, date(2015, 3, 1), date(2015, 3, 31))
    assert tick(home, "ask_for_reports", date(2015, 4, 1), 12) == "the reports are there up to 2015-03-31"


@pytest.mark.parametrize(
    ("today", "asked"),
    [
        (date(2015, 4, 2), ("2015-04", "2015-04")),
        (date(2015, 4, 30), ("2015-04", "2015-04")),
        (date(2015, 5, 3), ("2015-04", "2015-05")),
        (date(2016, 7, 9), ("2016-06", "2016-07")),
    ],
    ids=["a day late", "weeks late", "over the end of a month", "a source that ended"],
)
def test_silence_asks_the_source_for_what_is_missing(home: Home, today: date, asked: tuple[str, str]) -> None:
    observed(home, date(2015, 3, 1), date(2015, 3, 31))
    assert months(tick(home, "ask_for_reports", today, 12)) == asked


def test_the_day_is_the_one_of_the_stations_and_a_tick_is_asked_for_once(home: Home) -> None:
    observed(home, date(2015, 3, 1), date(2015, 3, 30))
    first = tick(home, "ask_for_reports", date(2015, 4, 1), 0)
    again = tick(home, "ask_for_reports", date(2015, 4, 1), 23)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(again, dg.RunRequest)
    assert first.run_key == again.run_key
    next_day = tick(home, "ask_for_reports", date(2015, 4, 2), 0)
    assert isinstance(next_day, dg.RunRequest)
    assert next_day.run_key != first.run_key, "a run that failed is tried again the next day"


@pytest.mark.parametrize("name", ["ask_for_reports", "month_ended"])
def test_an_empty_home_asks_for_nothing(home: Home, name: str) -> None:
    assert tick(home, name, date(2015, 4, 1), 12) == "nothing is stored yet; `weather run` begins"


@pytest.mark.parametrize(
    ("newest", "month"), [("2015-06-30", "2015-05"), ("2015-07-01", "2015-06"), ("2015-01-01", "2014-12")]
)
def test_a_month_is_whole_when_its_last_day_has_an_answer(newest: str, month: str) -> None:
    assert newest_answered_month(date.fromisoformat(newest)) == month


def test_without_a_production_model_there_is_no_month_to_report_on(home: Home) -> None:
    observed(home, date(2015, 3, 1), date(2015, 4, 1))
    said = tick(home, "month_ended", date(2015, 4, 2), 6)
    assert said == f"no Production model of {', '.join(TARGETS)}, so there is nothing to report on"


def test_a_month_that_is_reported_on_and_decided_is_left_alone(home: Home) -> None:
    observed(home, date(2015, 3, 1), date(2015, 4, 1))
    for key in (["drift_report"], *([target, "retraining"] for target in TARGETS)):
        home.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2015-03"))
    assert tick(home, "month_ended", date(2015, 4, 2), 6) == "2015-03 is reported on and decided"


def test_a_month_in_which_no_year_is_observed_is_not_asked_for(home: Home) -> None:
    observed(home, date(2015, 1, 1), date(2015, 1, 20))
    said = tick(home, "month_ended", date(2015, 2, 2), 6)
    assert said == "no month is observed to its end yet; the newest day is 2015-01-20"
    assert changes_of(home.instance, home.lake, "raw_observations", "2015-01", 0) == {}
