"""What a month that is received again would lose: which rows count, which do not, and of which version they are."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from weather_platform.domain.observations import RAW_SCHEMA
from weather_platform.domain.stations import STATIONS
from weather_platform.lake import Lake, station_days
from weather_platform.lake.station_days import StoredStationDays

FETCHED_AT = datetime(2016, 1, 1, tzinfo=UTC)
DECEMBER = [(name, date(2015, 12, day)) for name in ("Albury", "Cobar", "Sale") for day in range(1, 32)]

Report = tuple[str | None, date | None]


def rows(month: str, reports: Iterable[Report]) -> pa.Table:
    """Raw rows of a month."""
    full: list[dict[str, Any]] = [
        {"month": month, "station": station, "day": day, "source": "csv", "file": "a.csv", "row_number": number}
        | {"fetched_at": FETCHED_AT}
        for number, (station, day) in enumerate(reports, start=2)
    ]
    return pa.Table.from_pylist([dict.fromkeys(RAW_SCHEMA.names) | row for row in full], schema=RAW_SCHEMA)


def lake_with(folder: Path, **months: Iterable[Report]) -> Lake:
    """A lake that holds these months, named as `m2015_12`."""
    lake = Lake(str(folder))
    for name, reports in months.items():
        month = name[1:].replace("_", "-")
        lake.replace_partition("raw_observations", "month", month, rows(month, reports))
    return lake


def lost(lake: Lake, month: str, reports: Iterable[Report]) -> str | None:
    """What these rows would lose of the month."""
    return StoredStationDays(lake, [month], STATIONS).lost(month, rows(month, reports))


def test_station_days_that_the_new_rows_lack_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, m2015_12=DECEMBER)
    last_days = [("Albury", date(2015, 12, day)) for day in range(28, 32)]
    assert lost(lake, "2015-12", last_days) == (
        "2015-12: the lake holds 89 station-days that the source no longer has (first: Albury 2015-12-01)"
    )
    assert lost(lake, "2015-12", DECEMBER[:40] + DECEMBER[41:]) == (
        "2015-12: the lake holds 1 station-day that the source no longer has (first: Cobar 2015-12-10)"
    )


def test_a_station_under_another_of_its_names_is_lost_no_more_and_no_less(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, m2015_12=[("Albury-Wodonga", date(2015, 12, 1)), ("Yulara", date(2015, 12, 1))])
    assert lost(lake, "2015-12", [("Albury", date(2015, 12, 1)), ("Uluru", date(2015, 12, 1))]) is None
    assert lost(lake, "2015-12", [("Albury", date(2015, 12, 1))]) == (
        "2015-12: the lake holds 1 station-day that the source no longer has (first: Uluru 2015-12-01)"
    )


def test_a_lake_of_an_earlier_version_lacks_columns_and_loses_nothing_by_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    stored = rows("2015-12", DECEMBER).drop_columns(["station_state", "bureau_product", "bureau_stations"])
    lake.replace_partition("raw_observations", "month", "2015-12", stored)
    assert lost(lake, "2015-12", DECEMBER) is None
    assert "first: Sale 2015-12-31" in (lost(lake, "2015-12", DECEMBER[:-1]) or "")


def test_the_same_rows_and_more_of_them_lose_nothing(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, m2015_12=DECEMBER)
    assert lost(lake, "2015-12", DECEMBER) is None
    assert lost(lake, "2015-12", [("Uluru", date(2015, 12, 3)), *reversed(DECEMBER), *DECEMBER]) is None


def test_another_spelling_of_a_station_is_the_same_station(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, m2015_12=[("Nhil", date(2015, 12, 1)), ("alice springs", date(2015, 12, 1))])
    assert lost(lake, "2015-12", [("Nhill ", date(2015, 12, 1)), ("AliceSprings", date(2015, 12, 1))]) is None
    assert "first: Nhil 2015-12-01" in str(
        lost(lake, "2015-12", [("Nhilé", date(2015, 12, 1)), ("AliceSprings", date(2015, 12, 1))])
    )


@pytest.mark.parametrize(
    "report",
    [
        ("Atlantis", date(2015, 12, 1)),
        (None, date(2015, 12, 1)),
        ("Albury", None),
        ("Albury", date(2031, 1, 1)),  # after the day it was fetched
        ("Albury", date(2001, 1, 1)),  # before the first month
    ],
)
def test_rows_that_cleaning_rejects_anyway_may_go(tmp_path: Path, report: Report) -> None:
    lake = lake_with(tmp_path, m2015_12=[("Sale", date(2015, 12, 5)), report])
    assert lost(lake, "2015-12", [("Sale", date(2015, 12, 5))]) is None
    assert lost(lake, "2015-12", [report]) is not None, "nor do they stand for one that counts"


def test_a_month_that_is_not_stored_or_has_no_rows_loses_nothing(tmp_path: Path) -> None:
    assert lost(Lake(str(tmp_path / "new")), "2015-12", []) is None
    lake = lake_with(tmp_path / "lake", m2015_11=DECEMBER[:0], m2015_12=DECEMBER)
    for month in ("2015-11", "2016-01"):
        assert lost(lake, month, []) is None
    assert lost(lake, "2015-12", []) is not None


def test_what_was_stored_when_the_run_began_is_what_counts(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, m2015_12=DECEMBER)
    stored = StoredStationDays(lake, ["2015-12"], STATIONS)
    lake.replace_partition("raw_observations", "month", "2015-12", rows("2015-12", DECEMBER[:1]))
    assert "92 station-days" in str(stored.lost("2015-12", rows("2015-12", DECEMBER[:1])))


@pytest.mark.parametrize(("months_at_once", "rows_at_once"), [(24, 1_000_000), (1, 1_000_000), (2, 1_000_000), (24, 4)])
def test_months_are_told_apart_in_any_order_and_in_one_scan_or_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, months_at_once: int, rows_at_once: int
) -> None:
    monkeypatch.setattr(station_days, "MONTHS_AT_ONCE", months_at_once)
    monkeypatch.setattr(station_days, "ROWS_AT_ONCE", rows_at_once)
    reports = {
        f"{year}-{month:02}": [("Sale", date(year, month, day)) for day in (1, 28)]
        for year, month in ((2014, 12), (2015, 1), (2015, 3), (2015, 4))
    }
    lake = lake_with(tmp_path, **{f"m{month.replace('-', '_')}": some for month, some in reports.items()})
    stored = StoredStationDays(lake, reports, STATIONS)
    for month in ("2015-03", "2014-12", "2015-04", "2015-01", "2015-03"):
        assert stored.lost(month, rows(month, reports[month][1:])) == (
            f"{month}: the lake holds 1 station-day that the source no longer has (first: Sale {month}-01)"
        )
        assert stored.lost(month, rows(month, reports[month])) is None
