"""Strays: a handful far from a body that is dense enough to be one, and nothing else."""

import numpy as np
import pytest

from weather_platform.domain.strays import is_handful, stray_days


def strays(days: list[int], rows: list[int] | None = None, sure: list[int] | None = None) -> list[int]:
    array = np.array(days, dtype=np.int64)
    counts = np.array(rows or [1] * len(days), dtype=np.int64)
    found = stray_days(array, counts, np.isin(array, sure) if sure else None)
    return [int(day) for day in array[found]]


BODY = list(range(1000, 1100))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [1131]), ([968], []), ([], [1400]), ([100], [9000]), ([], [1131, 1200, 1201, 5000, 9000]),
        ([0, 1, 2], [1140]),
        ([], [1466, 1467, 1468]),
    ],
)  # fmt: skip
def test_a_few_days_beyond_a_silence_are_strays(before: list[int], after: list[int]) -> None:
    assert strays([*before, *BODY, *after]) == [*before, *after]


@pytest.mark.parametrize(
    "days",
    [
        [],
        [7],
        [1, 5000],
        BODY,
        [*BODY, 1130],  # a silence of 31 days: a month without rows
        [*BODY, *range(1200, 1206)],  # six days
        [*range(1, 9), 100],  # one of nine is over a tenth
        list(range(0, 4000, 91)),  # a sparse record
        [*range(0, 400, 30), 600],  # 210 days where 30 are usual
        [*range(100), *range(500, 600)],  # two bodies
    ],
)
def test_what_is_near_many_or_usual_is_no_stray(days: list[int]) -> None:
    assert strays(days) == []


def test_beyond_a_year_a_mistyped_month_is_a_stray_and_four_weeks_are_data() -> None:
    body = [50] * 100
    for count in (27, 28):
        found = strays([*BODY, *range(2000, 2000 + count)], [*body, *[1] * count])
        assert found == (list(range(2000, 2027)) if count == 27 else [])
    assert strays([*BODY, *range(1200, 1227)], [*body, *[1] * 27]) == [], "a pause of less than a year"


def test_many_rows_of_one_far_day_are_data() -> None:
    assert strays([*BODY, 1200], [*[50] * 100, 49]) == []
    assert strays([*BODY, 1200], [*[50] * 100, 5]) == [1200]


def test_days_that_a_file_vouches_for_are_no_strays() -> None:
    assert strays([*BODY, 1200], sure=[1200]) == []
    assert strays([*BODY, 1200, 1300], sure=[1200]) == [1300]


@pytest.mark.parametrize(("rows", "total", "handful"), [
    (5, 50, True), (6, 60, False), (5, 49, False), (1, 10, True), (1, 9, False), (10, 1000, True), (11, 1000, False),
])  # fmt: skip
def test_a_handful(rows: int, total: int, handful: bool) -> None:
    assert is_handful(rows, total) is handful
