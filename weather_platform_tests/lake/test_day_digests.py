"""Which days of a partition differ between two versions of its table."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from weather_platform.lake import Lake
from weather_platform.lake.day_digests import DayDigests, day_digests, differing_days

SCHEMA = pa.schema(
    [("year", pa.string()), ("day", pa.date32()), ("station", pa.string()), ("rainfall_mm", pa.float32()),
     ("rain_today", pa.bool_()), ("row_number", pa.int64())]
)  # fmt: skip
ONE, TWO = date(2015, 1, 1), date(2015, 1, 2)
ROWS: list[dict[str, Any]] = [
    {"day": ONE, "station": "Albury", "rainfall_mm": 1.0, "rain_today": False, "row_number": 1},
    {"day": ONE, "station": "Sydney", "rainfall_mm": None, "rain_today": None, "row_number": 2},
    {"day": TWO, "station": "Albury", "rainfall_mm": 2.0, "rain_today": True, "row_number": 3},
]
COLUMNS = ("station", "day", "rainfall_mm", "rain_today")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def stored(lake: Lake, rows: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> DayDigests:
    table = pa.Table.from_pylist([{"year": "2015"} | row for row in rows], schema=SCHEMA)
    return day_digests(
        lake.snapshot("observations", lake.replace_partition("observations", "year", "2015", table)), "2015", columns
    )


def changed(at: int, **values: Any) -> list[dict[str, Any]]:
    return [row | values if position == at else row for position, row in enumerate(ROWS)]


def test_the_same_rows_in_another_order_or_from_another_line_are_the_same(lake: Lake) -> None:
    before = stored(lake, ROWS)
    assert differing_days(before, stored(lake, ROWS[::-1])) == []
    assert differing_days(before, stored(lake, changed(0, row_number=9))) == []


@pytest.mark.parametrize(
    ("rows", "days"),
    [
        (changed(0, rainfall_mm=1.5), [ONE]),
        (changed(1, rainfall_mm=0.0), [ONE]),
        (changed(1, rain_today=False), [ONE]),
        (changed(2, station="Sydney"), [TWO]),
        (changed(2, day=ONE), [ONE, TWO]),
        (ROWS[1:], [ONE]),
        (ROWS[:2], [TWO]),
        ([*ROWS, ROWS[0]], [ONE]),
        ([], [ONE, TWO]),
    ],
    ids=["a value", "a value instead of none", "a flag instead of none", "a station", "a day", "a row less",
         "a day less", "a row twice", "nothing left"],
)  # fmt: skip
def test_days_with_other_rows_differ(lake: Lake, rows: list[dict[str, Any]], days: list[date]) -> None:
    assert differing_days(stored(lake, ROWS), stored(lake, rows)) == days


def test_values_that_change_places_differ(lake: Lake) -> None:
    swapped = [
        ROWS[0] | {"station": "Sydney"}, ROWS[1] | {"station": "Albury"}, ROWS[2],
    ]  # fmt: skip
    assert differing_days(stored(lake, ROWS), stored(lake, swapped)) == [ONE]


def test_a_partition_that_the_version_lacks_has_no_days_and_a_new_column_was_empty(lake: Lake) -> None:
    before = stored(lake, ROWS, (*COLUMNS, "humidity_3pm_pct"))
    assert day_digests(lake.snapshot("observations"), "2016", COLUMNS) == {}
    assert before == stored(lake, ROWS, (*COLUMNS, "humidity_3pm_pct"))
    assert set(before) == {ONE, TWO}
