"""The one reading of a date: which spellings are days, and that nothing else ever becomes one."""

import re
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weather_platform.domain.dates import parse_days


def read(*texts: str | None) -> list[date | None]:
    days: list[date | None] = parse_days(pa.array(texts, pa.string())).to_pylist()
    return days


def by_the_calendar(text: str) -> date | None:
    """The same rule, written slowly."""
    text = text.strip()
    for pattern, order in (
        (r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})", (0, 1, 2)),
        (r"([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})", (0, 1, 2)),
        (r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})", (2, 1, 0)),
    ):
        if found := re.fullmatch(pattern, text):
            parts = [int(found[i + 1]) for i in order]
            try:
                return date(*parts)
            except ValueError:
                return None
    return None


@given(st.lists(st.dates()))
def test_every_day_is_read_back_from_all_its_spellings(days: list[date]) -> None:
    for spelling in (
        "{0.year:04}-{0.month:02}-{0.day:02}",
        "{0.year:04}-{0.month}-{0.day}",
        "{0.year:04}/{0.month:02}/{0.day}",
        "{0.day}/{0.month}/{0.year:04}",
        "  {0.day:02}/{0.month:02}/{0.year:04}\t",
    ):
        assert read(*(spelling.format(day) for day in days)) == days


@given(st.lists(st.from_regex(r"\s?[0-9]{1,4}[-/.][0-9]{1,2}[-/][0-9]{1,4}\s?", fullmatch=True) | st.text(max_size=12)))
@example(["2015-02-30", "2016-02-29", "2015-02-29", "0000-01-01", "2000-00-10", "2000-13-01", "2000-01-00"])
def test_a_text_is_a_day_exactly_when_the_calendar_says_so(texts: list[str]) -> None:
    assert read(*texts) == [by_the_calendar(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "", "NA", "2015-02-30", "2015-13-01", "2015-00-01", "2015-01-00", "31/04/2015", "2015-1/2", "1-2-2015",
        "20150102", "2015-01-02T00:00", "2015-01-02 03:04", "15-01-02", "1/2/15", "2015-01", "٢٠١٥-٠١-٠٢",
        "-2015-01-02",
    ],
)  # fmt: skip
def test_anything_else_is_no_day(text: str) -> None:
    assert read(text, None, "2015-01-02") == [None, None, date(2015, 1, 2)]


def test_a_day_first_date_is_never_read_month_first() -> None:
    assert read("03/04/2015", "13/12/2015", "12/13/2015") == [date(2015, 4, 3), date(2015, 12, 13), None]


def test_chunks_dictionaries_and_empty_columns_are_read_alike() -> None:
    texts = ["2015-01-02", None, "x", "2015-01-02"]
    expected = [date(2015, 1, 2), None, None, date(2015, 1, 2)]
    assert parse_days(pa.chunked_array([texts[:1], texts[1:]], pa.string())).to_pylist() == expected
    assert parse_days(pa.array(texts).dictionary_encode()).to_pylist() == expected
    assert parse_days(pa.array(texts, pa.large_string())).to_pylist() == expected
    for empty in (pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.nulls(2)):
        assert parse_days(empty).type == pa.date32()
        assert parse_days(empty).null_count == len(empty)
