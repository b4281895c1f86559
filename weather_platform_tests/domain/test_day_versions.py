"""In which version each day last changed, and what a month is measured of."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from weather_platform.domain.day_versions import DayVersions
from weather_platform.domain.forecast_days import ForecastDay, state_of_month

FIRST = date(2015, 1, 1)
RECORDS = st.dictionaries(st.integers(0, 400).map(lambda at: FIRST + timedelta(days=at)), st.integers(0, 9))


@given(RECORDS)
def test_a_record_is_read_back_as_it_was_written(versions: dict[date, int]) -> None:
    record = DayVersions(versions)
    assert DayVersions.of_spans(record.spans()) == record
    assert dict(record.items()) == versions


def test_neighbouring_days_of_one_version_share_a_span() -> None:
    record = DayVersions({FIRST + timedelta(days=at): 3 for at in range(365)})
    assert record.spans() == [["2015-01-01", "2015-12-31", 3]]
    record = record.changed_in(5, [date(2015, 3, 1)])
    assert record.spans() == [
        ["2015-01-01", "2015-02-28", 3], ["2015-03-01", "2015-03-01", 5], ["2015-03-02", "2015-12-31", 3],
    ]  # fmt: skip


def test_days_that_never_had_rows_are_older_than_every_version() -> None:
    record = DayVersions({FIRST: 0})
    assert (record.get(FIRST), record.get(date(2016, 1, 1))) == (0, -1)
    assert (record.newest(), record.newest([date(2016, 1, 1)]), record.newest([])) == (0, -1, -1)
    assert (DayVersions({}).newest(), DayVersions({}).oldest()) == (-1, -1)


def test_what_a_month_is_measured_of_changes_with_its_forecasts_and_its_answers_alone() -> None:
    days = [ForecastDay(FIRST, 1, 49, 7), ForecastDay(FIRST + timedelta(days=1), 1, 49, 7)]
    labels = DayVersions({FIRST: 3})
    state = state_of_month(days, labels)
    assert state_of_month(days[::-1], labels) == state
    assert state_of_month(days, labels.changed_in(9, [date(2015, 1, 20)])) == state
    assert state_of_month(days, labels.changed_in(9, [FIRST])) != state
    assert state_of_month(days[:1], labels) != state
    assert state_of_month([days[0], ForecastDay(days[1].day, 1, 49, 8)], labels) != state
