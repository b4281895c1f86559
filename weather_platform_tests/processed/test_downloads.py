"""From files to clean rows: which of two downloads of a month wins, and what is believed of a file's dates."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from weather_platform.sources.csv_files import CsvSource
from weather_platform_tests.processed.rows import Cleaned, cleaning
from weather_platform_tests.sources.test_csv_files import bureau, months, opened, row, table, touch

__all__ = ["opened"]


def cleaned(source: CsvSource, scratch: Path) -> Cleaned:
    return Cleaned(cleaning(scratch), pa.concat_tables([source.rows(month) for month in months(source)]))


def download(prepared: str, *rows: tuple[str, str]) -> str:
    """A file of November 2009, prepared then, with the maximum temperature of some days."""
    text = bureau(*(day for day, _ in rows)).replace("13:01 UTC on 30 November 2009", prepared)
    for day, warmest in rows:
        text = text.replace(f",{day},13.4,22.9,", f",{day},13.4,{warmest},")
    return text


OLD = download("01:00 UTC on Tuesday 3 November 2009", ("2009-11-1", "20.1"), ("2009-11-2", ""))
NEW = download(
    "01:00 UTC on Wednesday 4 November 2009", ("2009-11-1", "20.2"), ("2009-11-2", "17.4"), ("2009-11-3", "")
)

FOLDERS = {
    "a browser's second download": ("x.csv", "x (1).csv"),
    "the other way round": ("x (1).csv", "x.csv"),
    "subfolders": ("z/x.csv", "a/x.csv"),
    "compressed": ("x.csv.gz", "x.csv"),
}


@pytest.mark.parametrize("touched_last", ["old", "new"])
@pytest.mark.parametrize("names", FOLDERS.values(), ids=FOLDERS)
def test_the_download_that_was_prepared_last_wins_whatever_its_name_and_place(
    opened: Callable[..., CsvSource], tmp_path: Path, names: tuple[str, str], touched_last: str
) -> None:
    old, new = names
    source = opened({old: OLD, new: NEW})
    for name, is_last in ((old, touched_last == "old"), (new, touched_last == "new")):
        touch(tmp_path / "observations" / name, datetime(2016, 1, 2 if is_last else 1, tzinfo=UTC))
    found = cleaned(source, tmp_path)
    rows = found.observations.select(["day", "max_temp_c", "file"]).to_pylist()
    assert [(r["day"].day, r["max_temp_c"], r["file"]) for r in rows] == [
        (1, 20.2, new),
        (2, 17.4, new),
        (3, None, new),
    ]
    rejected = found.quarantined.select(["rule", "file", "prepared_at"]).to_pylist()
    assert rejected == [
        {"rule": "duplicate", "file": old, "prepared_at": datetime(2009, 11, 3, 1, tzinfo=UTC)} for _ in range(2)
    ]


def test_an_older_file_still_gives_the_days_that_the_newer_one_lacks(
    opened: Callable[..., CsvSource], tmp_path: Path
) -> None:
    newer = download("01:00 UTC on 5 November 2009", ("2009-11-2", "18.0"))
    rows = cleaned(opened({"a.csv": NEW, "b.csv": newer}), tmp_path).observations
    assert [(r["day"].day, r["max_temp_c"]) for r in rows.to_pylist()] == [(1, 20.2), (2, 18.0), (3, None)]


@pytest.mark.parametrize("newer", ["a.csv", "b.csv"])
def test_tables_that_do_not_say_when_they_were_made_go_by_the_change_on_disk(
    opened: Callable[..., CsvSource], tmp_path: Path, newer: str
) -> None:
    source = opened({name: table(row("2009-11-01", MaxTemp=text)) for name, text in (("a.csv", "20"), ("b.csv", "21"))})
    for name in ("a.csv", "b.csv"):
        touch(tmp_path / "observations" / name, datetime(2016, 1, 2 if name == newer else 1, tzinfo=UTC))
    assert cleaned(source, tmp_path).observations["file"].to_pylist() == [newer]


def test_files_of_the_same_moment_go_by_name_then_by_line(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    text = table(row("2009-11-01", MaxTemp="20"), row("2009-11-01", MaxTemp="21"))
    source = opened({"a.csv": text, "a.csv.gz": text})
    for name in ("a.csv", "a.csv.gz"):
        touch(tmp_path / "observations" / name, datetime(2016, 1, 1, tzinfo=UTC))
    [found] = cleaned(source, tmp_path).observations.to_pylist()
    assert (found["file"], found["row_number"], found["max_temp_c"]) == ("a.csv.gz", 3, 21)


def test_rows_outside_of_their_files_month_and_strays_are_quarantined_with_the_reason(
    opened: Callable[..., CsvSource], tmp_path: Path
) -> None:
    long = [row(f"2008-{month:02}-{day:02}") for month in range(1, 13) for day in range(1, 29)]
    source = opened({"a.csv": bureau("2009-11-1", "2009-12-1"), "b.csv": table(*long, row("2010-06-01", "Cobar"))})
    found = cleaned(source, tmp_path)
    assert {(r["day"], r["rule"]) for r in found.quarantined.to_pylist()} == {
        (date(2009, 12, 1), "outside_file_month"), (date(2010, 6, 1), "stray_date"),
    }  # fmt: skip
    assert found.observations.num_rows == len(long) + 1
