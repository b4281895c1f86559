"""The plan of a whole run: ranges of months, years and days from nothing but a coverage."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_platform.automation.plan import (
    StageRun,
    cleaning_runs,
    days_to_forecast,
    feature_runs,
    forecast_runs,
    ingest_runs,
    months_to_measure,
    plan_runs,
    refuse_years_without_split,
    skill_runs,
)
from weather_platform.errors import NotEnoughDataError, SourceError
from weather_platform.sources import Coverage

COVERAGE = Coverage(date(2012, 5, 3), date(2015, 6, 30))


def test_the_whole_coverage_is_ingested_and_processed_and_the_newest_year_learnt() -> None:
    assert plan_runs(COVERAGE, [], 14) == [
        StageRun("ingest", "2012-05", "2015-06"),
        StageRun("process", "2012", "2015"),
        StageRun("learn", "2015", "2015"),
        StageRun("forecast", "2015-06-17", "2015-06-30"),
    ]


@pytest.mark.parametrize(("last_day", "year"), [("2015-01-01", "2014"), ("2015-01-02", "2015"), ("2014-12-31", "2014")])
def test_a_year_whose_only_day_has_no_label_yet_is_not_learnt_unasked(last_day: str, year: str) -> None:
    coverage = Coverage(date(2012, 5, 3), date.fromisoformat(last_day))
    plan = plan_runs(coverage, [], 14)
    assert StageRun("learn", year, year) in plan
    refuse_years_without_split(coverage, [], plan)


@pytest.mark.parametrize(
    ("years", "learnt"),
    [
        ([2014], [("2014", "2014")]),
        ([2015, 2014], [("2014", "2015")]),
        ([2015, 2013], [("2013", "2013"), ("2015", "2015")]),
        ([2014, 2014], [("2014", "2014")]),
        ([2013, 2012, 2015, 2014], [("2012", "2015")]),
    ],
)
def test_years_that_follow_each_other_share_a_run_in_ascending_order(
    years: list[int], learnt: list[tuple[str, str]]
) -> None:
    plan = plan_runs(COVERAGE, years, 1)
    assert [(run.first, run.last) for run in plan if run.job == "learn"] == learnt


@pytest.mark.parametrize("years", [[2011], [2016], [2014, 2016]])
def test_a_year_outside_the_coverage_is_refused_with_what_is_covered(years: list[int]) -> None:
    with pytest.raises(SourceError, match="covers 2012-05-03 to 2015-06-30; choose a year inside") as caught:
        plan_runs(COVERAGE, years, 14)
    assert "2014" not in str(caught.value)


def test_no_day_before_the_coverage_is_forecast() -> None:
    short = Coverage(date(2015, 6, 28), date(2015, 6, 30))
    assert plan_runs(short, [], 14)[-1] == StageRun("forecast", "2015-06-28", "2015-06-30")


def test_a_year_that_can_be_split_is_not_refused() -> None:
    refuse_years_without_split(COVERAGE, [], plan_runs(COVERAGE, [2014, 2015], 14))


@pytest.mark.parametrize(("year", "part"), [(2012, "train"), (2013, "train")])
def test_a_year_with_too_little_before_it_is_refused_before_anything_runs(year: int, part: str) -> None:
    with pytest.raises(NotEnoughDataError, match=f"the split of {year} leaves no day for {part}"):
        refuse_years_without_split(COVERAGE, [], plan_runs(COVERAGE, [year], 14))


def test_what_the_lake_holds_already_counts_as_data_before_the_year() -> None:
    newest = Coverage(date(2015, 1, 1), date(2015, 6, 30))
    plan = plan_runs(newest, [], 14)
    refuse_years_without_split(newest, ["2012-05", "2012-06"], plan)
    with pytest.raises(NotEnoughDataError, match="the split of 2015 leaves no day for train"):
        refuse_years_without_split(newest, [], plan)


def test_a_source_that_ends_within_a_year_is_refused_as_a_complete_one_when_later_months_are_stored() -> None:
    spring = Coverage(date(2012, 1, 1), date(2013, 11, 30))
    plan = plan_runs(spring, [2013], 14)
    refuse_years_without_split(spring, ["2013-11"], plan)
    with pytest.raises(NotEnoughDataError, match="the split of 2013 leaves no day for train"):
        refuse_years_without_split(spring, ["2013-11", "2014-01"], plan)


@given(
    first=st.dates(date(1950, 1, 1), date(2100, 1, 1)),
    length=st.integers(0, 20_000),
    forecast_days=st.integers(1, 366),
    data=st.data(),
)
def test_every_plan_covers_what_it_should_once(
    first: date, length: int, forecast_days: int, data: st.DataObject
) -> None:
    last = first + timedelta(days=length)
    years = data.draw(st.lists(st.integers(first.year, last.year), max_size=5))
    plan = plan_runs(Coverage(first, last), years, forecast_days)
    assert [run.job for run in plan if run.job != "learn"] == ["ingest", "process", "forecast"]
    assert [run.job for run in plan][2:-1] == ["learn"] * (len(plan) - 3)
    learnt = [year for run in plan if run.job == "learn" for year in range(int(run.first), int(run.last) + 1)]
    newest_labelled = max(first, last - timedelta(days=1))
    assert learnt == sorted(set(years) or {newest_labelled.year})
    days = date.fromisoformat(plan[-1].last) - date.fromisoformat(plan[-1].first)
    assert (plan[-1].last, days.days + 1) == (last.isoformat(), min(forecast_days, length + 1))


def test_only_the_months_that_changed_are_received() -> None:
    assert ingest_runs(["2015-01", "2014-12", "2012-03"]) == [
        StageRun("ingest", "2012-03", "2012-03"),
        StageRun("ingest", "2014-12", "2015-01"),
    ]
    assert ingest_runs([]) == []


def test_a_year_is_cleaned_when_a_month_of_it_came_after() -> None:
    received = {"2012-03": 10, "2014-12": 11, "2015-01": 12}
    assert cleaning_runs(received, {"2012": 9, "2014": 20}) == [
        StageRun("process", "2012", "2012"),
        StageRun("process", "2015", "2015"),
    ]
    assert cleaning_runs(received, {"2012": 19, "2014": 20, "2015": 21}) == []


@pytest.mark.parametrize(
    ("month", "years"),
    [("2014-06", ["2014"]), ("2014-01", ["2013", "2014"]), ("2014-12", ["2014", "2015"]), ("2015-12", ["2015"])],
    ids=["its own year", "labels of the year before", "history of the year after", "no year after"],
)
def test_features_of_the_years_that_a_month_touches_are_made(month: str, years: list[str]) -> None:
    runs = feature_runs({month: 10}, {}, {"2013", "2014", "2015"})
    assert runs == [StageRun("process", years[0], years[-1], only="features")]
    assert feature_runs({month: 10}, dict.fromkeys(years, 11), {"2013", "2014", "2015"}) == []


DAY = date(2015, 6, 10)


def test_days_after_the_newest_forecast_are_forecast() -> None:
    assert days_to_forecast(DAY, [], {date(2015, 6, 7)}, 14) == [date(2015, 6, at) for at in (8, 9, 10)]
    assert days_to_forecast(DAY, [], {DAY}, 14) == []


def test_a_gap_is_filled_back_to_the_first_day_that_changed_and_no_further() -> None:
    old = {date(2014, 1, 5)}
    assert days_to_forecast(DAY, [], old, 2) == [date(2015, 6, 9), DAY]
    assert days_to_forecast(DAY, [date(2015, 6, 7)], old, 2) == [date(2015, 6, at) for at in (7, 8, 9, 10)]
    assert days_to_forecast(DAY, [date(2015, 6, 7)], set(), 2) == [date(2015, 6, 9), DAY]


def test_a_version_without_forecasts_begins_with_the_newest_days() -> None:
    assert days_to_forecast(DAY, [], set(), 3) == [date(2015, 6, at) for at in (8, 9, 10)]


def test_a_late_report_changes_the_forecasts_that_look_back_on_it_and_no_others() -> None:
    made = {date(2014, 1, 4), date(2014, 1, 5), date(2014, 2, 4), date(2014, 2, 5), DAY}
    assert days_to_forecast(DAY, [date(2014, 1, 5)], made, 14) == [date(2014, 1, 5), date(2014, 2, 4)]


def test_targets_with_the_same_days_share_a_run() -> None:
    assert forecast_runs({"a": [DAY, date(2015, 6, 9)], "b": [DAY, date(2015, 6, 9), date(2015, 6, 1)]}) == [
        (StageRun("forecast", "2015-06-01", "2015-06-01"), ["b"]),
        (StageRun("forecast", "2015-06-09", "2015-06-10"), ["a", "b"]),
    ]


def test_a_day_is_the_answer_to_the_forecasts_of_the_day_before() -> None:
    assert months_to_measure([date(2015, 6, 1)], []) == ["2015-05"]
    assert months_to_measure([date(2015, 6, 1), date(2015, 6, 2)], [date(2015, 7, 1)]) == [
        "2015-05",
        "2015-06",
        "2015-07",
    ]
    assert skill_runs({"a": ["2015-05", "2015-06"], "b": []}) == [
        (StageRun("watch", "2015-05", "2015-06", only="matured_skill"), ["a"])
    ]
