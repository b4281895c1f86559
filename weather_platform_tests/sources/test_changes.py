"""What a source has that is not stored: by its stamp without reading, and by its rows day by day."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.domain.observations import OBSERVATION_COLUMNS, RAW_SCHEMA
from weather_platform.sources import Source
from weather_platform.sources.changes import MonthChange, changed_months, months_of
from weather_platform.sources.csv_files import CsvSource
from weather_platform.sources.synthetic import SyntheticSource

NOW = datetime(2015, 7, 10, tzinfo=UTC)
HEADER = ",".join(["Date", "Location", *(column.weather_aus for column in OBSERVATION_COLUMNS)])


def synthetic(last_day: str = "2015-06-30", seed: int = 7, stations: int = 3) -> SyntheticSource:
    return SyntheticSource(
        seed=seed, station_count=stations, first_day=date(2015, 3, 1), last_day=date.fromisoformat(last_day),
        shift=None, first_month="2015-01", fetched_at=NOW,
    )  # fmt: skip


def table(folder: Path, *lines: tuple[str, str, str], name: str = "all.csv") -> Path:
    """A weatherAUS table of (day, station, minimum temperature)."""
    rest = "," * (len(OBSERVATION_COLUMNS) - 1)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([HEADER, *(f"{day},{where},{cold}{rest}" for day, where, cold in lines), ""]))
    return folder


def csv(folder: Path) -> CsvSource:
    return CsvSource(folder, first_month="2015-01", fetched_at=NOW)


def stored(source: Source) -> pa.Table:
    """What the lake would hold of a source."""
    return pa.concat_tables([source.rows(month) for month in months_of(source.coverage())])


def changes(source: Source, rows: pa.Table) -> list[MonthChange]:
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["month"]).to_pylist()}

    def read(months: Sequence[str]) -> pa.Table:
        return rows.filter(pc.field("month").isin(list(months)))

    return list(changed_months(source, counts, read))


def test_the_same_rows_are_no_change() -> None:
    assert changes(synthetic(), stored(synthetic())) == []


def test_new_days_are_named_and_a_month_that_was_never_stored_is_new() -> None:
    assert changes(synthetic("2015-07-02"), stored(synthetic("2015-06-28"))) == [
        MonthChange("2015-06", (date(2015, 6, 29), date(2015, 6, 30)), stored=True),
        MonthChange("2015-07", (date(2015, 7, 1), date(2015, 7, 2)), stored=False),
    ]


def test_a_changed_cell_is_a_change_of_its_day_alone(tmp_path: Path) -> None:
    lines = [("2015-03-01", "Albury", "5"), ("2015-03-02", "Albury", "6"), ("2015-04-01", "Albury", "7")]
    before = stored(csv(table(tmp_path / "in", *lines)))
    lines[1] = ("2015-03-02", "Albury", "6.5")
    assert changes(csv(table(tmp_path / "in", *lines)), before) == [
        MonthChange("2015-03", (date(2015, 3, 2),), stored=True)
    ]


@pytest.mark.parametrize(
    "name", ["all.csv", "downloaded again.csv"], ids=["in a table that grew above them", "in a file of another name"]
)
def test_rows_that_only_stand_elsewhere_are_no_change(name: str, tmp_path: Path) -> None:
    lines = [("2015-03-01", "Albury", "5"), ("2015-03-02", "Albury", "6"), ("2015-03-02", "Perth", "9")]
    before = stored(csv(table(tmp_path / "in", *lines)))
    moved = [("2015-04-01", "Albury", "1"), lines[2], lines[0], lines[1]]
    assert changes(csv(table(tmp_path / "again", *moved, name=name)), before) == [
        MonthChange("2015-04", (date(2015, 4, 1),), stored=False)
    ]


def test_which_of_two_rows_of_a_station_day_comes_last_is_a_change(tmp_path: Path) -> None:
    lines = [("2015-03-01", "Albury", "5"), ("2015-03-01", "Albury", "6")]
    before = stored(csv(table(tmp_path / "in", *lines)))
    assert changes(csv(table(tmp_path / "in", *reversed(lines))), before) == [
        MonthChange("2015-03", (date(2015, 3, 1),), stored=True)
    ]


def test_a_row_without_a_readable_day_changes_its_month_and_no_day(tmp_path: Path) -> None:
    lines = [("2015-03-01", "Albury", "5")]
    before = stored(csv(table(tmp_path / "in", *lines)))
    assert changes(csv(table(tmp_path / "in", *lines, ("31.31.2015", "Albury", "6"))), before) == [
        MonthChange("2015-03", (), stored=True)
    ]


def test_stored_months_that_the_source_no_longer_covers_are_left_alone(tmp_path: Path) -> None:
    before = stored(csv(table(tmp_path / "in", ("2015-03-01", "Albury", "5"), ("2015-05-01", "Albury", "7"))))
    assert changes(csv(table(tmp_path / "in", ("2015-05-01", "Albury", "7"))), before) == []


def test_a_column_that_was_not_stored_then_is_compared_as_empty(tmp_path: Path) -> None:
    source = csv(table(tmp_path / "in", ("2015-03-01", "Albury", "5")))
    before = stored(source)
    assert changes(source, before.drop_columns(["wind_gust_time"])) == []
    assert [change.month for change in changes(source, before.drop_columns(["min_temp_c"]))] == ["2015-03"]


def test_months_of_a_coverage_are_all_of_them() -> None:
    assert months_of(synthetic("2015-05-31").coverage()) == ["2015-03", "2015-04", "2015-05"]
    assert RAW_SCHEMA.names[0] == "month"


def _rewrite(folder: Path) -> None:
    before = (folder / "all.csv").stat()
    table(folder, ("2015-03-01", "Albury", "6"))  # as long as before
    os.utime(folder / "all.csv", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: table(folder, ("2015-03-02", "Albury", "5"), name="more.csv"),
        lambda folder: (folder / "all.csv").rename(folder / "other.csv"),
        lambda folder: table(folder, ("2015-03-01", "Albury", "5"), ("2015-03-02", "Albury", "5")),
        _rewrite,
    ],
    ids=["a file more", "another name", "another size", "other rows, same size and age"],
)
def test_the_stamp_of_files_changes_with_any_of_them(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    folder = table(tmp_path / "in", ("2015-03-01", "Albury", "5"))
    before = csv(folder).stamp()
    assert csv(folder).stamp() == before
    spoil(folder)
    assert csv(folder).stamp() != before


def test_the_stamp_of_files_reads_none_of_them(tmp_path: Path) -> None:
    folder = table(tmp_path / "in", ("2015-03-01", "Albury", "5"))
    (folder / "broken.csv").write_bytes(b"\x00\xff no table")
    assert csv(folder).stamp()


def test_the_stamp_of_the_generator_is_what_its_rows_depend_on() -> None:
    stamps = [each.stamp() for each in (synthetic(), synthetic("2015-06-29"), synthetic(seed=8), synthetic(stations=4))]
    assert len(set(stamps)) == 4
    assert synthetic().stamp() == stamps[0]
