"""Unknown stations are counted from the quarantine, and named in one line."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from weather_platform.domain.observations import QUARANTINE_SCHEMA
from weather_platform.lake import Lake
from weather_platform.lake.unknown_stations import QUARANTINE_TABLE, UnknownStation, in_words, unknown_stations


def lake_with(folder: Path, *rows: dict[str, Any], without: tuple[str, ...] = ()) -> Lake:
    lake = Lake(str(folder))
    for year in sorted({f"{row['day']:%Y}" for row in rows}):
        full = [
            dict.fromkeys(QUARANTINE_SCHEMA.names)
            | {"year": year, "month": f"{year}-01", "rule": "unknown_station", "source": "csv", "file": "a.csv"}
            | {"row_number": number, "fetched_at": datetime(2016, 1, 1, tzinfo=UTC)}
            | row
            for number, row in enumerate(rows)
            if f"{row['day']:%Y}" == year
        ]
        table = pa.Table.from_pylist(full, schema=QUARANTINE_SCHEMA).drop_columns(list(without))
        lake.replace_partition(QUARANTINE_TABLE, "year", year, table)
    return lake


def bathurst(day: date) -> dict[str, Any]:
    return {"station": "Bathurst", "station_state": "New South Wales", "bureau_product": "IDCJDW2012", "day": day}


def test_they_are_counted_over_all_years_the_most_rows_first(tmp_path: Path) -> None:
    lake = lake_with(
        tmp_path,
        {"station": "Nowhere", "day": date(2014, 5, 1)},
        bathurst(date(2014, 1, 2)),
        bathurst(date(2015, 1, 3)),
        {"station": "Albury", "day": date(2014, 5, 1), "rule": "duplicate"},
        {"station": None, "bureau_product": None, "day": date(2014, 5, 1), "file": "b.csv"},
    )
    found = unknown_stations(lake)
    assert found[0] == UnknownStation(
        "Bathurst", "New South Wales", "IDCJDW2012", 2, date(2014, 1, 2), date(2015, 1, 3), "a.csv"
    )
    assert sorted(map(str, found[1:])) == ["Nowhere", "without a name in b.csv"]
    line = in_words(found, most=1)
    assert line is not None
    assert line.startswith(
        "4 rows of 3 unknown stations cannot be used: Bathurst, New South Wales, IDCJDW2012 (2); and 2 more; "
        "`weather stations --unknown`"
    )
    assert str(in_words(found[1:2])).startswith("1 row of 1 unknown station cannot be used: ")


def test_a_lake_without_quarantine_or_with_other_rules_alone_has_none(tmp_path: Path) -> None:
    assert unknown_stations(Lake(str(tmp_path / "empty"))) == []
    lake = lake_with(tmp_path / "lake", {"station": "Albury", "day": date(2014, 5, 1), "rule": "duplicate"})
    assert unknown_stations(lake) == []
    assert in_words([]) is None


def test_a_quarantine_of_an_earlier_version_is_counted_by_name(tmp_path: Path) -> None:
    later = ("station_state", "bureau_product", "bureau_stations")
    lake = lake_with(tmp_path, bathurst(date(2014, 1, 2)), bathurst(date(2014, 1, 3)), without=later)
    assert [(each.name, each.state, each.rows) for each in unknown_stations(lake)] == [("Bathurst", None, 2)]
