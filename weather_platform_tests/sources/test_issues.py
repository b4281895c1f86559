"""What a file says about its issue: the month it is of, when it was prepared, and in which order its dates are."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from weather_platform.errors import SourceError
from weather_platform.sources import csv_files
from weather_platform.sources.csv_files import CsvSource
from weather_platform.sources.issues import issue_of
from weather_platform_tests.sources.test_csv_files import bureau, everything, months, opened, row, table, touch

__all__ = ["opened"]


def at(*parts: int) -> datetime:
    year, month, day, hour, minute, second = (*parts, 0)[:6]
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("Prepared at 13:01 UTC on Monday 1 September 2025 IDCJDW2801.202508", at(2025, 9, 1, 13, 1)),
        ("Prepared at 01:00 UTC on 4 September 2025", at(2025, 9, 4, 1, 0)),
        ('"Prepared at 1:00 UTC on Thursday, 4 Sep 2025",,,', at(2025, 9, 4, 1, 0)),
        ("prepared at 01:00:30 gmt on Thursday 4 September 2025", at(2025, 9, 4, 1, 0, 30)),
        ("Prepared at 11:00 AEST on Thursday 4 September 2025", at(2025, 9, 4, 1, 0)),
        ("Prepared at 10:30 pm ACST on 4 September 2025", at(2025, 9, 4, 13, 0)),
        ("Prepared at 12:30 am UTC on 4 September 2025", at(2025, 9, 4, 0, 30)),
        ("Prepared at 25:00 UTC on 4 September 2025", None),
        ("Prepared at 01:00 UTC on 31 February 2025", None),
        ("Prepared at 01:00 XYZ on 4 September 2025", None),
        ("Prepared at 01:00 UTC on 4 Septober9 2025", None),
        ("Copyright 2003 Commonwealth Bureau of Meteorology", None),
    ],
)  # fmt: skip
def test_the_moment_a_file_was_prepared(said: str, moment: datetime | None) -> None:
    assert issue_of(["Daily Weather Observations", said], "a.csv").prepared_at == moment


TITLE = "Daily Weather Observations for Canberra, Australian Capital Territory for December 2021"
PREPARED = "Prepared at 01:00 UTC on 3 January 2022 IDCJDW2801.202111"


@pytest.mark.parametrize(
    ("lines", "name", "month", "hint"),
    [
        ([TITLE, PREPARED], "IDCJDW2801.202110.csv", "2021-12", "2021-12"),
        ([PREPARED], "IDCJDW2801.202110.csv", "2021-11", "2021-11"),
        ([], "IDCJDW2801.202110.csv", "2021-10", "2021-10"),
        ([], "idcjdw2801.202110 (1).csv.gz", "2021-10", "2021-10"),
        ([], "IDCJDW2801.202113.csv", None, None),
        ([], "albury-2021-10.csv", None, "2021-10"),
        ([], "weatherAUS_2007_2015.csv.gz", None, None),
        ([], "rows_202101_202112.csv", None, None),  # a range
        ([], "rows-2021-10-31.csv", None, None),  # a day, perhaps that of the download
        ([], "rows.csv", None, None),
    ],
)
def test_the_month_a_file_is_of(lines: list[str], name: str, month: str | None, hint: str | None) -> None:
    issue = issue_of(lines, name)
    shown = [None if m is None else f"{1970 + m // 12}-{m % 12 + 1:02}" for m in (issue.month, issue.hint)]
    assert shown == [month, hint]


def month_of_bureau(*days: str, prepared: str = "13:01 UTC on 30 November 2009") -> str:
    """A file of November 2009 with these dates, prepared then."""
    return bureau(*days).replace("13:01 UTC on 30 November 2009", prepared)


# The order of day and month


def slashed(first: date, count: int, *, month_first: bool = False) -> list[str]:
    days = [first + timedelta(days=n) for n in range(count)]
    return [f"{d.month}/{d.day}/{d.year}" if month_first else f"{d.day}/{d.month}/{d.year}" for d in days]


@pytest.mark.parametrize("month_first", [True, False])
@pytest.mark.parametrize("count", [1, 12, 30])
def test_the_month_that_a_bureau_file_names_decides_the_order(
    opened: Callable[..., CsvSource], month_first: bool, count: int
) -> None:
    source = opened({"a.csv": bureau(*slashed(date(2009, 11, 1), count, month_first=month_first))})
    assert months(source) == ["2009-11"]
    assert [r["day"] for r in everything(source)] == [date(2009, 11, 1 + n) for n in range(count)]
    assert source.remarks() == ()


@pytest.mark.parametrize("block", [8 << 20, 1000])
@pytest.mark.parametrize("pending", [64 << 20, 20_000])
@pytest.mark.parametrize("month_first", [True, False])
def test_a_day_beyond_the_twelfth_decides_the_order_of_the_whole_file(
    opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch, block: int, pending: int, month_first: bool
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    monkeypatch.setattr(csv_files, "PENDING_BYTES", pending)
    dates = slashed(date(2009, 11, 1), 400, month_first=month_first)
    source = opened({"a.csv": table(row("2009-10-31"), *map(row, dates), row("2010-12-06"))})
    assert [r["day"] for r in everything(source)] == [date(2009, 10, 31) + timedelta(days=n) for n in range(402)]


AMBIGUOUS = {
    "one": [*slashed(date(2009, 4, 3), 1)],
    "twelve days of a month": slashed(date(2009, 11, 1), 12),
    "among others of the calendar": ["2009-11-13", "3/4/2009", "5/5/2009"],
    "with blanks": [" 3/4/2009 "],
}


@pytest.mark.parametrize("dates", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("block", [8 << 20, 1000])
def test_a_file_that_may_be_read_both_ways_is_refused_with_both_readings(
    opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch, dates: list[str], block: int
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    first = (
        "1/11/2009' is 2009-11-01 with the day first and 2009-01-11"
        if "1/11/2009" in dates
        else ("3/4/2009 ?' is 2009-04-03 with the day first and 2009-03-04")
    )
    with pytest.raises(SourceError, match=rf"a\.csv, line \d, column 1: ' ?{first} with the month first, and no date"):
        opened({"a.csv": table(*map(row, dates))}).coverage()


def test_a_month_in_the_name_decides_where_all_rows_agree(opened: Callable[..., CsvSource]) -> None:
    dates = slashed(date(2009, 11, 1), 12, month_first=True)
    source = opened({"albury-2009-11.csv": table(*map(row, dates))})
    assert [r["day"] for r in everything(source)] == [date(2009, 11, 1 + n) for n in range(12)]
    with pytest.raises(SourceError, match="with the day first and"):
        opened({"albury-2009-11.csv": table(*map(row, dates), row("3/4/2009"))}).coverage()
    # A word in a name does not reject rows.
    source = opened({"albury-2009-11.csv": table(row("2009-10-31"), row("2009-11-01"))})
    assert [r["date_fault"] for r in everything(source)] == [None, None]


def test_dates_of_both_orders_are_refused_and_a_mistyped_one_is_not_read(opened: Callable[..., CsvSource]) -> None:
    first = slashed(date(2009, 11, 1), 30)
    both = [*first, *slashed(date(2009, 12, 1), 30, month_first=True)]
    said = (
        r"line 44, column 1: '13/11/2009' \(line 14\) has the day first, 2009-11-13, and '12/13/2009' \(line 44\) the m"
    )
    with pytest.raises(SourceError, match=said):
        opened({"a.csv": table(*map(row, both))}).coverage()
    source = opened({"a.csv": table(*map(row, first), row("11/30/2009", "mistyped"))})
    assert [(r["day"], r["month"]) for r in everything(source) if r["station"] == "mistyped"] == [(None, "2009-11")]


# The month


def test_a_row_outside_of_the_month_that_its_file_names_is_marked_and_covers_nothing(
    opened: Callable[..., CsvSource], tmp_path: Path
) -> None:
    source = opened({"a.csv": bureau("2009-10-31", "2009-11-1", "2008-11-2", "2009-11-3", "2009-12-1", "nothing")})
    assert months(source) == ["2009-11"]
    assert [(r["date"], r["date_fault"]) for r in everything(source)] == [
        ("2009-10-31", "outside_file_month"), ("2009-11-1", None), ("2008-11-2", "outside_file_month"),
        ("2009-11-3", None), ("2009-12-1", "outside_file_month"), ("nothing", None),
    ]  # fmt: skip
    assert source.remarks() == (
        f"{tmp_path / 'observations' / 'a.csv'}: 3 rows outside of 2009-11, the month that the file names, quarantined "
        "(first: line 7, '2009-10-31')",
    )


def test_many_files_with_rows_outside_of_their_months_take_a_few_lines(opened: Callable[..., CsvSource]) -> None:
    source = opened({f"{n}.csv": bureau("2009-11-1", "2009-12-1") for n in range(9)})
    assert len(source.remarks()) == 6
    assert source.remarks()[-1] == "4 rows of 4 more files outside of the month that their file names, quarantined"


def test_a_file_with_no_row_of_its_month_is_refused(opened: Callable[..., CsvSource]) -> None:
    with pytest.raises(
        SourceError, match=r"of 2009-11, the month that the file names; the first one reads '2009-12-1'"
    ):
        opened({"a.csv": bureau("2009-12-1", "2009-12-2")}).coverage()


def test_rows_of_a_named_month_are_no_strays(opened: Callable[..., CsvSource]) -> None:
    years = [row(f"2012-{month:02}-{day:02}") for month in range(1, 13) for day in range(1, 29)]
    source = opened({"a.csv": table(*years), "b.csv": bureau("2009-11-1")})
    assert source.coverage().first_day == date(2009, 11, 1)
    assert source.remarks() == ()


# Which file is newer


def test_every_row_carries_the_moments_of_its_file(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    source = opened(
        {
            "a.csv": month_of_bureau("2009-11-1", "2009-11-2", prepared="01:00 UTC on Friday 4 December 2009"),
            "b.csv.gz": table(row("2009-11-01")),
        }
    )
    early, late = datetime(2011, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)
    touch(tmp_path / "observations" / "a.csv", early)
    touch(tmp_path / "observations" / "b.csv.gz", late)
    prepared = datetime(2009, 12, 4, 1, tzinfo=UTC)
    assert [(r["file"], r["prepared_at"], r["modified_at"]) for r in everything(source)] == [
        ("a.csv", prepared, early), ("a.csv", prepared, early), ("b.csv.gz", None, late),
    ]  # fmt: skip
