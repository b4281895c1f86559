"""`weather watch`: which month is watched without being named, and what is printed."""

from datetime import date

import pytest

from weather_platform.cli.watch import newest_whole_month
from weather_platform_tests.e2e.conftest import first, home
from weather_platform_tests.e2e.homes import MadeHome

__all__ = ["first", "home"]


@pytest.mark.parametrize(
    ("last_day", "month"),
    [(date(2015, 6, 30), "2015-06"), (date(2015, 6, 29), "2015-05"), (date(2016, 1, 30), "2015-12")],
)
def test_the_newest_whole_month_is_watched_unless_another_is_named(last_day: date, month: str) -> None:
    assert newest_whole_month(last_day) == month


def test_a_month_that_nobody_knows_anything_of_is_printed_as_unknown(home: MadeHome) -> None:
    done = home.call("watch", "--month", "2015-07")
    assert done.code == 0, done.err
    assert "2015-07 unknown" in done.out
    assert "no station reported in this month" in done.out
    assert str(home.folder / "reports" / "drift_report" / "2015-07") in done.out


def test_a_month_that_is_none_is_refused(home: MadeHome) -> None:
    assert "no month 1815-06" in home.call("watch", "--month", "1815-06").err
