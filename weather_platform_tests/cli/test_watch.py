"""`weather watch`: which month is watched without being named, and what is printed."""

import re
from datetime import date
from pathlib import Path

import pytest

from weather_platform.cli.watch import newest_whole_month
from weather_platform_tests.e2e.conftest import first, home
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.small_models import TARGET

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


def test_what_the_forecasts_of_the_month_were_worth_is_told(home: MadeHome) -> None:
    done = home.call("watch", "--month", "2015-06")
    assert done.code == 0, done.err
    [line, decided] = [line.strip() for line in done.out.splitlines() if line.strip().startswith(f"{TARGET}: ")]
    assert decided.startswith(f"{TARGET}: OK, version 1 has learned from data up to 2015-06-29")
    told = re.fullmatch(
        rf"{TARGET}: 0 of (\d+) live forecasts have matured; (\d+) of (\d+) hindcast forecasts have matured, "
        r"Brier score (0\.\d+), Brier skill against climatology .*",
        line,
    )
    assert told, done.out
    assert int(told[1]) + int(told[3]) == home.database.count_forecasts(TARGET, date(2015, 6, 1), date(2015, 6, 30))
    assert 0 < int(told[2]) <= int(told[3])


def test_a_check_that_did_not_pass_is_not_shown_as_done(home: MadeHome) -> None:
    done = home.call("watch", "--month", "2015-07")
    marks = {line.split()[1]: line.split()[0] for line in done.lines if "drift_report_" in line}
    assert marks["drift_report_report_is_stored"] == "✓"
    assert marks["drift_report_drift_status_known"] == "!"


def test_a_month_of_a_year_without_features_is_refused_before_anything_runs(first: MadeHome, tmp_path: Path) -> None:
    with first.dagster() as instance:
        before = instance.get_runs_count()
    done = first.call("watch", "--month", "2016-03")
    assert done.code == 1
    assert done.lines == ["weather: there are no features of 2016-03; there are those of 2012 to 2015"]
    with first.dagster() as instance:
        assert instance.get_runs_count() == before
    nothing = empty_home(tmp_path / "home").call("watch", "--month", "2015-03")
    assert nothing.lines == ["weather: there are no features yet; `weather run` or `weather demo` makes them"]


def test_a_month_that_is_none_is_refused(home: MadeHome) -> None:
    assert "no month 1815-06" in home.call("watch", "--month", "1815-06").err
