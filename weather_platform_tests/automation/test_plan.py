"""The plan of a whole run: ranges of months, years and days from nothing but a coverage."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_platform.automation.plan import (
    StageRun,
    days_to_forecast,
    drift_runs,
    forecast_runs,
    ingest_runs,
    months_to_measure,
    months_to_report_again,
    plan_runs,
    refuse_years_without_split,
    skill_runs,
    year_runs,
    years_to_clean,
    years_to_make_features_of,
)
from weather_platform.domain.day_versions import DayVersions
from weather_platform.domain.forecast_days import ForecastDay
from weather_platform.errors import NotEnoughDataError, SourceError
from weather_platform.io_managers.stored import INPUTS, LABELS, ROWS, Stored
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


def raw(**versions: int) -> dict[str, Stored]:
    """Months that these versions of the table stored."""
    return {name.lstrip("m").replace("_", "-"): Stored(version) for name, version in versions.items()}


def cleaned(year: str, version: int, *, read: int, changed: dict[str, int] | None = None, rows: int = 1) -> Stored:
    """A clean year, made from a version of the raw rows, and in which version some of its days changed."""
    days = {date.fromisoformat(f"{year}-{day}"): at for day, at in (changed or {}).items()}
    return Stored(version, rows, read={"raw_observations": read}, changed={ROWS: DayVersions(days)})


def test_a_year_is_cleaned_when_a_month_of_it_came_after_what_its_rows_were_made_from() -> None:
    received = raw(m2012_03=10, m2014_12=11, m2015_01=12)
    assert set(
        years_to_clean(received, {"2012": cleaned("2012", 30, read=9), "2014": cleaned("2014", 1, read=11)})
    ) == {
        "2012",
        "2015",
    }
    up_to_date = {year: cleaned(year, 1, read=12) for year in ("2012", "2014", "2015")}
    assert years_to_clean(received, up_to_date) == {}


def test_what_is_behind_is_the_same_words_until_something_changes() -> None:
    first = years_to_clean(raw(m2015_01=12), {})
    assert first == years_to_clean(raw(m2014_01=3, m2015_01=12), {"2014": cleaned("2014", 1, read=3)})
    assert first != years_to_clean(raw(m2015_01=13), {})


@pytest.mark.parametrize(
    ("changed", "years"),
    [
        ({"2014": {"06-10": 7}}, ["2014"]),
        ({"2014": {"01-01": 7}}, ["2013", "2014"]),
        ({"2014": {"01-02": 7}}, ["2014"]),
        ({"2014": {"12-31": 7}}, ["2014", "2015"]),
        ({"2014": {"11-01": 7}}, ["2014"]),
        ({"2015": {"12-31": 7}}, ["2015"]),
    ],
    ids=["its own year", "the first day labels the year before", "the second does not", "history of the year after",
         "too long ago for that", "no year after"],
)  # fmt: skip
def test_features_of_the_years_that_a_changed_day_touches_are_made(
    changed: dict[str, dict[str, int]], years: list[str]
) -> None:
    made = {year: Stored(9, read={"observations": 6}) for year in ("2013", "2014", "2015")}
    observed = {year: cleaned(year, 7 if year in changed else 6, read=1, changed=changed.get(year)) for year in made}
    assert sorted(years_to_make_features_of(observed, made, {})) == years
    after = {year: Stored(10, read={"observations": 7}) for year in made}
    assert years_to_make_features_of(observed, after, {}) == {}


def test_a_year_without_an_observation_has_no_features_and_one_never_made_is_behind() -> None:
    observed = {"2013": cleaned("2013", 3, read=1, rows=0), "2014": cleaned("2014", 4, read=1)}
    assert list(years_to_make_features_of(observed, {}, {})) == ["2014"]


def test_features_of_the_years_that_a_mask_touches_are_made_until_they_know_it() -> None:
    observed = {year: cleaned(year, 6, read=1) for year in ("2013", "2014", "2015")}
    masks = {year: Stored(2) for year in ("2014", "2015", "2016")}
    made = {
        "2013": Stored(9, read={"observations": 6}),
        "2014": Stored(9, read={"observations": 6}),
        "2015": Stored(9, read={"observations": 6, "station_masks": 1}),
    }
    behind = years_to_make_features_of(observed, made, masks)
    assert behind == dict.fromkeys(("2014", "2015"), "observations 6, masks 2")
    knowing = {year: Stored(10, read={"observations": 6, "station_masks": 2}) for year in made}
    assert years_to_make_features_of(observed, knowing, masks) == {}


DAY = date(2015, 6, 10)
JUNE = dict.fromkeys((date(2015, 6, at) for at in range(1, 11)), 1)


def features(days: dict[date, int], labels: dict[date, int] | None = None, last: date = DAY) -> dict[str, Stored]:
    """A year of features, the version in which the inputs of each day changed, and the labels."""
    changed = {INPUTS: DayVersions(days), LABELS: DayVersions(labels or {})}
    return {"2015": Stored(max(days.values()), last_day=last, changed=changed)}


def forecast(*days: date, read: int | None = 1, version: int = 1) -> list[ForecastDay]:
    """Days that a version forecast from this version of the features."""
    return [ForecastDay(day, version, 49, read) for day in days]


def june(*days: int) -> list[date]:
    """Days of June."""
    return [date(2015, 6, day) for day in days]


def test_days_after_the_newest_forecast_are_forecast() -> None:
    assert list(days_to_forecast(features(JUNE), forecast(*june(7)), 1, 14)) == june(8, 9, 10)
    assert days_to_forecast(features(JUNE), forecast(DAY), 1, 14) == {}


def test_a_version_without_forecasts_begins_with_the_newest_days() -> None:
    assert list(days_to_forecast(features(JUNE), forecast(DAY, version=1), 2, 3)) == june(8, 9, 10)
    assert days_to_forecast({}, [], 1, 3) == {}


def test_a_gap_is_filled_back_to_what_changed_since_and_no_further() -> None:
    old = forecast(date(2015, 1, 5))
    assert list(days_to_forecast(features(JUNE), old, 1, 2)) == june(9, 10)
    since = JUNE | dict.fromkeys(june(7, 8), 2)
    assert list(days_to_forecast(features(since), old, 1, 2)) == june(7, 8, 9, 10)


def test_a_day_without_any_report_is_not_forecast() -> None:
    gap = {day: at for day, at in JUNE.items() if day.day != 9}
    assert list(days_to_forecast(features(gap), [], 1, 3)) == june(8, 10)


def test_days_whose_features_changed_after_their_forecast_are_forecast_again_and_no_others() -> None:
    changed = JUNE | dict.fromkeys(june(3, 5), 4)
    made = [*forecast(*june(2, 3)), *forecast(*june(5, 10), read=4)]
    assert list(days_to_forecast(features(changed), made, 1, 14)) == june(3)
    assert days_to_forecast(features(changed), [*made, *forecast(*june(3), read=4)], 1, 14) == {}


def test_forecasts_of_an_older_platform_are_made_again_when_their_day_changes_after_the_record_began() -> None:
    made = forecast(*june(3, 10), read=None)
    assert days_to_forecast(features(JUNE), made, 1, 14) == {}
    assert list(days_to_forecast(features(JUNE | dict.fromkeys(june(3), 2)), made, 1, 14)) == june(3)


def test_a_day_whose_first_report_came_late_is_forecast_when_it_is_one_of_the_newest() -> None:
    late = JUNE | dict.fromkeys(june(5), 2)
    made = forecast(*june(1, 2, 3, 4, 6, 7, 8, 9, 10))
    assert list(days_to_forecast(features(late), made, 1, 6)) == june(5)
    assert days_to_forecast(features(late), made, 1, 5) == {}


def test_an_old_day_that_this_version_never_forecast_stays_so() -> None:
    changed = JUNE | {date(2015, 1, 5): 9}
    assert days_to_forecast(features(changed), forecast(*june(9, 10)), 1, 14) == {}


def test_a_month_is_measured_when_a_forecast_or_an_answer_is_new_and_not_again() -> None:
    made = forecast(*june(1, 2))
    [(month, first)] = months_to_measure(features(JUNE), made, {}).items()
    assert month == "2015-06"
    assert months_to_measure(features(JUNE), made, {"2015-06": first}) == {}
    answered = features(JUNE, dict.fromkeys(june(2), 3))
    assert list(months_to_measure(answered, made, {"2015-06": first})) == ["2015-06"]
    more = [*made, *forecast(*june(3))]
    assert list(months_to_measure(features(JUNE), more, {"2015-06": first})) == ["2015-06"]
    other_day = features(JUNE, dict.fromkeys(june(9), 3))
    assert months_to_measure(other_day, made, {"2015-06": first}) == {}, "an answer that no forecast waits for"


def test_a_month_that_an_older_platform_measured_is_left_alone() -> None:
    assert months_to_measure(features(JUNE), forecast(DAY), {"2015-06": ""}) == {}


def test_a_reported_month_is_reported_again_when_its_features_changed_and_it_has_ended() -> None:
    may, late = date(2015, 5, 3), features({date(2015, 5, 3): 4, **JUNE})
    assert list(months_to_report_again(late, {"2015-05": 3, "2015-06": 0})) == ["2015-05"]
    assert months_to_report_again(late, {"2015-05": 4}) == {}
    assert months_to_report_again(late, {}) == {}, "the first report is the schedule's"
    assert months_to_report_again(features({may: 4}, last=may), {"2015-05": 3}) == {}, "it still grows"


def test_targets_with_the_same_days_share_a_run() -> None:
    assert forecast_runs({"a": [DAY, date(2015, 6, 9)], "b": [DAY, date(2015, 6, 9), date(2015, 6, 1)]}) == [
        (StageRun("forecast", "2015-06-01", "2015-06-01"), ["b"]),
        (StageRun("forecast", "2015-06-09", "2015-06-10"), ["a", "b"]),
    ]


def test_months_that_follow_each_other_share_a_run() -> None:
    assert skill_runs({"a": ["2015-05", "2015-06"], "b": []}) == [
        (StageRun("watch", "2015-05", "2015-06", only="matured_skill"), ["a"])
    ]
    assert drift_runs({"2014-12": "", "2015-01": "", "2015-03": ""}) == [
        StageRun("watch", "2014-12", "2015-01", only="drift_report"),
        StageRun("watch", "2015-03", "2015-03", only="drift_report"),
    ]
    assert year_runs(["2013", "2012"]) == [StageRun("process", "2012", "2013")]
