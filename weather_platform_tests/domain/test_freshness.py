"""What is due, and what is late: by the day that a part is of."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from weather_platform.domain.freshness import Late, There, due_day, due_month, late_days

SYDNEY = ZoneInfo("Australia/Sydney")
JUNE_10 = date(2015, 6, 10)


def at(day: int, hour: int) -> datetime:
    return datetime(2015, 6, day, hour, tzinfo=SYDNEY)


@pytest.mark.parametrize(
    ("now", "due"),
    [(at(11, 17), date(2015, 6, 9)), (at(11, 18), JUNE_10), (at(12, 0), JUNE_10), (at(12, 18), date(2015, 6, 11))],
)
def test_the_reports_of_a_day_are_due_so_many_hours_after_its_end(now: datetime, due: date) -> None:
    assert due_day(now, 18) == due


@pytest.mark.parametrize(
    ("now", "observed", "month"),
    [
        (at(3, 12), date(2015, 6, 2), "2015-04"),
        (at(4, 0), date(2015, 6, 3), "2015-05"),
        (at(30, 0), date(2015, 5, 31), "2015-04"),
        (at(30, 0), date(2015, 6, 1), "2015-05"),
    ],
    ids=["too early", "three days after", "its last day has no answer", "it has"],
)
def test_a_month_is_due_when_it_has_ended_and_is_observed_to_its_end(now: datetime, observed: date, month: str) -> None:
    assert due_month(now, observed) == month


def late(observed: date | None, made: date | None, now: datetime) -> list[Late]:
    return list(late_days(There(observed, {"features": made}), now, 18))


def test_what_is_there_in_time_is_not_late() -> None:
    assert late(JUNE_10, JUNE_10, at(11, 20)) == []
    assert late(JUNE_10, JUNE_10, at(12, 17)) == []


def test_reports_that_do_not_come_are_late_and_what_follows_from_them_is_not() -> None:
    assert late(JUNE_10, JUNE_10, at(12, 21)) == [Late("observations", "2015-06-10", "2015-06-11")]


def test_what_does_not_follow_its_reports_is_late_after_the_hours_of_the_work() -> None:
    assert late(JUNE_10, date(2015, 6, 9), at(11, 19)) == []
    [found] = late(JUNE_10, date(2015, 6, 9), at(11, 20))
    assert found.in_words() == "features: the newest is 2015-06-09, and 2015-06-10 is due"
    assert late(JUNE_10, None, at(11, 20)) == [Late("features", "none", "2015-06-10")]


def test_nothing_is_late_while_nothing_is_stored() -> None:
    assert late(None, None, at(11, 20)) == []
