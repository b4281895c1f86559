"""CSV files as received: nothing lost, nothing changed, every row in one month, and no file read by half."""

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weather_platform.domain.observations import OBSERVATION_COLUMNS, RAW_SCHEMA
from weather_platform.errors import SourceError
from weather_platform.sources import Source, csv_files
from weather_platform.sources.csv_files import CsvSource

FETCHED_AT = datetime(2016, 2, 10, 8, 0, tzinfo=ZoneInfo("Australia/Sydney"))
MODIFIED_AT = datetime(2016, 2, 9, 1, 2, 3, 456789, tzinfo=UTC)
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "weatherAUS_2007_2015.csv.gz"

QUANTITIES = [c.weather_aus for c in OBSERVATION_COLUMNS]
HEADER = ["Date", "Location", *QUANTITIES, "RISK_MM", "RainTomorrow"]
CELLS = ["13.4", "22.9", "0.6", "NA", "NA", "W", "44", "W", "WNW", "20", "24", "71", "22",
         "1007.7", "1007.1", "8", "NA", "16.9", "21.8", "No"]  # fmt: skip


def row(day: str, station: str = "Albury", **changed: str) -> dict[str, str]:
    cells = dict(zip(HEADER, [day, station, *CELLS, "0.2", "No"], strict=True))
    return cells | changed


def table(*rows: dict[str, str], header: list[str] | None = None, end: str = "\n") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header or HEADER, lineterminator=end, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def bureau(
    *days: str,
    station: str = "Mount Gambier, South Australia",
    title: bool = True,
    end: str = "\r\n",
    wind: str = "Calm",
) -> str:
    """A month of one station as the Bureau lays it out: a preamble, an unnamed first column, quoted headers."""
    columns = {c.bureau: text for c, text in zip(OBSERVATION_COLUMNS, CELLS, strict=True) if c.bureau}
    columns["Time of maximum wind gust"] = "14:07"
    columns["9am wind speed (km/h)"] = wind
    # The real files have a blank at the end of one header.
    names = [name.replace("Direction of maximum wind gust", "Direction of maximum wind gust ") for name in columns]
    lines = [
        *([f'"Daily Weather Observations for {station} for November 2009"'] if title else []),
        '"Prepared at 13:01 UTC on 30 November 2009 IDCJDW5041.200911"',
        '"Copyright 2003 Commonwealth Bureau of Meteorology"',
        '"Observations were drawn from the airport {station 026021}, see the notes"',
        "",
        "," + ",".join(f'"{name}"' for name in ["Date", *names]),
        *("," + ",".join([day, *columns.values()]) for day in days),
    ]
    return end.join(lines) + end


def touch(file: Path, moment: datetime) -> None:
    """Let a file have been changed at this moment."""
    ns = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    os.utime(file, ns=(ns, ns))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., CsvSource]]:
    """Open files given as {name: text or bytes} in a folder, or a path."""
    sources: list[CsvSource] = []

    def make(
        files: dict[str, str | bytes] | Path, first_month: str = "2007-11", fetched_at: datetime = FETCHED_AT
    ) -> CsvSource:
        path = files if isinstance(files, Path) else tmp_path / "observations"
        if not isinstance(files, Path):
            for name, content in files.items():
                file = path / name
                file.parent.mkdir(parents=True, exist_ok=True)
                data = content.encode() if isinstance(content, str) else content
                file.write_bytes(gzip.compress(data) if name.endswith(".gz") and not data.startswith(b"\x1f") else data)
        sources.append(CsvSource(path, first_month=first_month, fetched_at=fetched_at))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def months(source: Source) -> list[str]:
    covered = source.coverage()
    first = covered.first_day.year * 12 + covered.first_day.month - 1
    last = covered.last_day.year * 12 + covered.last_day.month - 1
    return [f"{index // 12}-{index % 12 + 1:02}" for index in range(first, last + 1)]


def everything(source: Source) -> list[dict[str, Any]]:
    return [r for month in months(source) for r in source.rows(month).to_pylist()]


# Layouts, encodings, line ends


def test_a_weather_aus_row_arrives_untouched(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    source = opened({"aus.csv": table(row("2009-11-03", MinTemp=" 13.40 ", Evaporation="", WindGustDir="calm"))})
    touch(tmp_path / "observations" / "aus.csv", MODIFIED_AT)
    got = source.rows("2009-11")
    assert got.schema.equals(RAW_SCHEMA)
    (cells,) = got.to_pylist()
    assert cells == {
        "month": "2009-11", "day": date(2009, 11, 3), "station": "Albury", "date": "2009-11-03",
        "station_state": None, "bureau_product": None, "bureau_stations": None,
        **{c.name: text for c, text in zip(OBSERVATION_COLUMNS, CELLS, strict=True)},
        "min_temp_c": " 13.40 ", "evaporation_mm": "", "wind_gust_direction_deg": "calm",
        "wind_gust_time": None, "risk_mm": "0.2", "rain_tomorrow": "No",
        "source": "csv", "file": "aus.csv", "row_number": 2, "fetched_at": FETCHED_AT.astimezone(UTC),
        "prepared_at": None, "modified_at": MODIFIED_AT, "date_fault": None,
    }  # fmt: skip
    assert not source.synthetic
    assert len(source.stations()) == 49


def test_a_bureau_row_takes_its_station_from_the_preamble(opened: Callable[..., CsvSource]) -> None:
    source = opened({"IDCJDW5041.200911.csv": bureau("2009-11-1", "2009-11-02").encode("cp1252")})
    first, second = source.rows("2009-11").to_pylist()
    assert first["station"] == "Mount Gambier"
    assert first["date"] == "2009-11-1"
    assert (first["day"], second["day"]) == (date(2009, 11, 1), date(2009, 11, 2))
    assert (first["row_number"], second["row_number"]) == (7, 8)
    assert first["wind_speed_9am_kmh"] == "Calm"
    assert first["wind_gust_time"] == "14:07"
    assert first["max_temp_c"] == "22.9"
    assert (first["rain_today"], first["risk_mm"], first["rain_tomorrow"]) == (None, None, None)


@pytest.mark.parametrize(
    ("station", "expected"),
    [
        ("Sydney, New South Wales", "Sydney"),
        ("Norfolk Island", "Norfolk Island"),
        ("Perth Airport, WA", "Perth Airport"),
        ("Melbourne (Olympic Park), Victoria", "Melbourne (Olympic Park)"),
    ],
)
def test_a_station_line_may_lack_the_state(opened: Callable[..., CsvSource], station: str, expected: str) -> None:
    source = opened({"b.csv": bureau("2009-11-1", station=station)})
    assert source.rows("2009-11")["station"].to_pylist() == [expected]


def test_columns_may_stand_in_any_order_and_without_tomorrows_answer(opened: Callable[..., CsvSource]) -> None:
    for optional in ([], ["RISK_MM"], ["RainTomorrow"]):
        header = [*reversed(QUANTITIES), *optional, "Location", "Date"]
        (got,) = opened({"a.csv": table(row("2009-11-03"), header=header)}).rows("2009-11").to_pylist()
        assert (got["station"], got["min_temp_c"], got["rain_today"]) == ("Albury", "13.4", "No")
        assert got["risk_mm"] == ("0.2" if optional == ["RISK_MM"] else None)
        assert got["rain_tomorrow"] == ("No" if optional == ["RainTomorrow"] else None)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
def test_line_ends_encodings_and_compression_change_no_cell(
    opened: Callable[..., CsvSource], end: str, encoding: str, name: str
) -> None:
    text = table(row("2009-11-03", station="Zürich°"), row("2009-11-04"), end=end)
    for data in (text, text.rstrip()):  # with and without a line end at the end
        got = opened({name: data.encode(encoding)}).rows("2009-11")
        assert got["station"].to_pylist() == ["Zürich°", "Albury"]
        assert got["rain_tomorrow"].to_pylist() == ["No", "No"]


def test_layouts_encodings_and_folders_may_be_mixed(opened: Callable[..., CsvSource]) -> None:
    source = opened(
        {
            "z.csv": table(row("2009-11-03")),
            "b/2009/mount.csv.gz": bureau("2009-11-1").encode("cp1252"),
            "b/aus.csv": table(row("3/11/2009", "Cobar"), row("13/11/2009", "Cobar"), end="\r\n").encode("utf-8-sig"),
            "notes.txt": "not read",
        }
    )
    got = source.rows("2009-11")
    assert got["file"].to_pylist() == ["b/2009/mount.csv.gz", "b/aus.csv", "b/aus.csv", "z.csv"]
    assert got["station"].to_pylist() == ["Mount Gambier", "Cobar", "Cobar", "Albury"]


def test_quotes_line_breaks_and_blank_lines_keep_the_line_numbers(opened: Callable[..., CsvSource]) -> None:
    text = table(
        row("2009-11-01", station="A,B"), row("2009-11-02", station='say "so"'), row("2009-11-03", station="two\nlines")
    )
    source = opened(
        {"a.csv": text.replace("2009-11-02", "\n\n2009-11-02", 1) + "\n" + table(row("2009-11-04")).split("\n")[1]}
    )
    got = source.rows("2009-11")
    assert got["station"].to_pylist() == ["A,B", 'say "so"', "two\nlines", "Albury"]
    assert got["row_number"].to_pylist() == [2, 5, 6, 9]


OPTIONAL = [name for name in QUANTITIES if name not in ("MaxTemp", "Rainfall")]


def test_quantities_that_a_table_does_not_have_are_not_observed_and_named(
    opened: Callable[..., CsvSource], tmp_path: Path
) -> None:
    lean = ["Date", "Location", "MaxTemp", "Rainfall"]
    source = opened({"a.csv": table(row("2009-11-03"), header=lean), "b.csv": table(row("2009-11-04"), header=lean)})
    first, _ = source.rows("2009-11").to_pylist()
    assert (first["max_temp_c"], first["rainfall_mm"]) == ("22.9", "0.6")
    assert {first[c.name] for c in OBSERVATION_COLUMNS if c.weather_aus in OPTIONAL} == {None}
    assert source.remarks() == (
        f"{tmp_path / 'observations' / 'a.csv'} and 1 more file without {', '.join(OPTIONAL)}: not observed there, and "
        "forecasts are less certain for it",
    )


@pytest.mark.parametrize(
    ("missing", "target"), [("Rainfall", "rain_tomorrow"), ("MaxTemp", "max_temp_tomorrow"), ("Sunshine", None)]
)
def test_a_table_without_the_label_of_one_target_serves_the_other(
    opened: Callable[..., CsvSource], missing: str, target: str | None
) -> None:
    source = opened({"a.csv": table(row("2009-11-03"), header=[name for name in HEADER if name != missing])})
    (said,) = source.remarks()
    other = {"rain_tomorrow": "max_temp_tomorrow", "max_temp_tomorrow": "rain_tomorrow"}.get(target or "")
    said_of_it = f"for it; no label of {target}: `weather run --target {other}` trains without" if target else "for it"
    assert said.endswith(said_of_it)
    assert f"a.csv without {missing}: " in said
    assert len(source.rows("2009-11")) == 1


def test_a_bureau_file_may_lack_a_quantity(opened: Callable[..., CsvSource]) -> None:
    text = "\n".join(
        ",".join(cell for at, cell in enumerate(line.split(",")) if len(line.split(",")) < 22 or at != 6)
        for line in bureau("2009-11-1").splitlines()
    )
    source = opened({"a.csv": text})
    (got,) = source.rows("2009-11").to_pylist()
    assert (got["sunshine_hours"], got["evaporation_mm"], got["max_temp_c"]) == (None, "NA", "22.9")
    assert "a.csv without Sunshine (hours): not observed" in source.remarks()[0]


@pytest.mark.parametrize("name", ["", '""', "Unnamed: 0"])
def test_an_index_in_an_unnamed_first_column_is_ignored(opened: Callable[..., CsvSource], name: str) -> None:
    lines = table(row("2009-11-03"), row("2009-11-04"), row("2009-11-05")).splitlines()
    text = "\n".join([f"{name},{lines[0]}", f"0,{lines[1]}", f'"1",{lines[2]}', f",{lines[3]}"])
    source = opened({"a.csv": text})
    assert [(r["day"].day, r["station"], r["rain_tomorrow"]) for r in everything(source)] == [
        (3, "Albury", "No"), (4, "Albury", "No"), (5, "Albury", "No"),
    ]  # fmt: skip
    assert source.remarks() == ()


BLOCKS = [8 << 20, *range(400, 420), 1000]
"""So many bytes at a time: the whole file at once, and borders at every byte of a sequence."""


def encoded(*stations: bytes) -> bytes:
    """A table with these stations, and rows of ASCII around them."""
    plain = [row(f"2009-11-{day:02}", "plain") for day in range(1, 9)]
    rows = [r for i in range(len(stations)) for r in (*plain, row("2009-11-09", f"<{i}>"))]
    data = table(*rows, *plain).encode()
    for i, station in enumerate(stations):
        data = data.replace(f"<{i}>".encode(), station)
    return data


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("stations", "read"),
    [
        (["Zürich".encode(), "雨°é".encode()], ["Zürich", "雨°é"]),
        ([b"Z\xfcrich", b"\xb0"], ["Zürich", "°"]),
        ([b"Z\xfcrich", "é".encode()], ["Zürich", "Ã©"]),  # as in any Windows-1252 file
        ([b"\xfc " + "é".encode()], ["ü Ã©"]),
    ],
)
def test_the_first_sequence_beyond_ascii_decides_the_encoding_of_the_whole_file(
    opened: Callable[..., CsvSource],
    monkeypatch: pytest.MonkeyPatch,
    block: int,
    stations: list[bytes],
    read: list[str],
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    got = opened({"a.csv": encoded(*stations)}).rows("2009-11")["station"].to_pylist()
    assert [name for name in got if name != "plain"] == read


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("stations", "line"),
    [(["Zürich".encode(), b"Z\xfcrich"], 19), (["é".encode() + b" \xfc"], 10), (["é".encode(), b"", b"\xc3"], 28)],
)
def test_a_byte_that_is_not_utf8_in_a_file_that_began_so_is_the_same_error_in_any_block(
    opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch, block: int, stations: list[bytes], line: int
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    with pytest.raises(SourceError, match=rf"a\.csv, line {line}, column 2: a byte that is not UTF-8, in a file"):
        opened({"a.csv": encoded(*stations)}).coverage()


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6), min_size=1, max_size=12
    )
)
def test_any_text_in_a_cell_comes_back_as_it_was(cells: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cells") / "a.csv"
    path.write_bytes(table(*(row("2009-11-01", station=cell, RainTomorrow=cell) for cell in cells)).encode())
    with CsvSource(path, first_month="2007-11", fetched_at=FETCHED_AT) as source:
        got = source.rows("2009-11")
    assert got["station"].to_pylist() == cells
    assert got["rain_tomorrow"].to_pylist() == cells


def test_blocks_and_scratch_flushes_do_not_show(
    opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        row(f"2009-{i % 12 + 1:02}-{i % 28 + 1:02}", station=f's{i}\n"é"' if i % 7 == 0 else f"s{i}")
        for i in range(400)
    ]
    files: dict[str, str | bytes] = {"a.csv": table(*rows, end="\r\n"), "b.csv.gz": table(*rows[:50])}
    source = opened(files)
    whole = everything(source)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 997)
    monkeypatch.setattr(csv_files, "PENDING_BYTES", 20_000)
    assert everything(opened(tmp_path / "observations")) == whole
    assert len(whole) == 450


# Months


def test_a_row_without_a_usable_date_goes_with_the_row_before_it(opened: Callable[..., CsvSource]) -> None:
    source = opened(
        {
            "a.csv": table(
                row("nonsense", "head"),
                row("2007-10-31", "too early"),
                row("2009-11-30", "first"),
                row("2015-02-30", "impossible"),
                row("2009-12-01", "second"),
                row("2016-02-11", "tomorrow"),
                row("2016-02-10", "today"),
                row("", "empty"),
            ),
            "b.csv": table(row("?", "other file"), row("2010-01-05", "its first")),
        }
    )
    placed = {r["station"]: (r["month"], r["day"]) for r in everything(source)}
    assert placed == {
        "head": ("2009-11", None),
        "too early": ("2009-11", date(2007, 10, 31)),
        "first": ("2009-11", date(2009, 11, 30)),
        "impossible": ("2009-11", None),
        "second": ("2009-12", date(2009, 12, 1)),
        "tomorrow": ("2009-12", date(2016, 2, 11)),
        "today": ("2016-02", date(2016, 2, 10)),
        "empty": ("2016-02", None),
        "other file": ("2010-01", None),
        "its first": ("2010-01", date(2010, 1, 5)),
    }
    assert (source.coverage().first_day, source.coverage().last_day) == (date(2009, 11, 30), date(2016, 2, 10))
    assert source.rows("2009-11")["station"].to_pylist() == ["head", "too early", "first", "impossible"]


@pytest.mark.parametrize("block", [8 << 20, 1000])
@pytest.mark.parametrize("pending", [64 << 20, 2_000])
def test_rows_before_the_first_month_wait_for_a_datable_one_however_many_they_are(
    opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch, block: int, pending: int
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    monkeypatch.setattr(csv_files, "PENDING_BYTES", pending)  # they do not wait in memory
    old = [row(f"2009-{i % 10 + 1:02}-{i % 28 + 1:02}", f"s{i}") for i in range(60)]
    files: dict[str, str | bytes] = {
        name: table(
            *old, row("2010-01-02", "first"), row("2010-02-03", "second"), *old[:30], row("2010-01-04", "third")
        )
        for name in ("a.csv", "b.csv")
    }
    source = opened(files, first_month="2010-01")
    waited = [f"s{i}" for i in range(60)]
    january, february = source.rows("2010-01"), source.rows("2010-02")
    assert january["station"].to_pylist() == [*waited, "first", "third"] * 2
    assert january["file"].to_pylist() == ["a.csv"] * 62 + ["b.csv"] * 62
    assert february["station"].to_pylist() == ["second", *waited[:30]] * 2
    assert source.coverage().first_day == date(2010, 1, 2)


def test_today_is_a_day_of_the_platforms_time_zone(opened: Callable[..., CsvSource]) -> None:
    """8 am in Sydney is still yesterday in UTC."""
    assert FETCHED_AT.astimezone(UTC).date() == date(2016, 2, 9)
    assert opened({"a.csv": table(row("2016-02-10"))}).coverage().last_day == date(2016, 2, 10)


def test_overlapping_files_keep_all_rows_in_the_order_that_decides(opened: Callable[..., CsvSource]) -> None:
    source = opened(
        {
            "2-later.csv": table(row("2009-11-01", MinTemp="2")),
            "10-early.csv": table(row("2009-11-01", MinTemp="1"), row("2009-11-01", MinTemp="1b")),
            "a/x.csv": table(row("2009-11-01", MinTemp="3")),
        }
    )
    got = source.rows("2009-11")
    assert got["min_temp_c"].to_pylist() == ["1", "1b", "2", "3"]
    files = got["file"].to_pylist()
    assert files == sorted(files)


def test_a_month_without_rows_inside_the_coverage_is_empty(opened: Callable[..., CsvSource]) -> None:
    source = opened({"a.csv": table(row("2009-11-01"), row("2010-02-01"))})
    assert source.rows("2009-12").equals(RAW_SCHEMA.empty_table())


DECEMBER = [
    row(f"2010-12-{day:02}", station) for day in range(1, 32) for station in ("Albury", "Cobar", "Sale", "Uluru")
]
"""124 rows: five more are a handful."""


@pytest.mark.parametrize(
    ("stray", "month"),
    [
        (["2015-12-30"], "2010-12"),
        (["2011-12-31"], "2010-12"),
        (["2011-02-01"], "2010-12"),  # 32 days after the others
        (["2009-12-01"], "2010-12"),
        (["2009-11-30", "2015-12-30"], "2010-12"),
        (["2015-12-30", "2015-11-30", "2012-03-01", "2008-01-01", "2013-01-01"], "2010-12"),
    ],
)
@pytest.mark.parametrize("block", [8 << 20, 1000])
@pytest.mark.parametrize("apart", [True, False], ids=["a file of their own", "the same file"])
def test_a_handful_of_rows_far_from_all_others_is_named_and_set_aside(
    opened: Callable[..., CsvSource],
    monkeypatch: pytest.MonkeyPatch,
    block: int,
    stray: list[str],
    month: str,
    apart: bool,
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    strays = [row(day, "stray") for day in stray]
    files = {"a.csv": table(*DECEMBER), "b.csv": table(*strays)}
    source = opened(files if apart else {"a.csv": table(*DECEMBER[:60], *strays, *DECEMBER[60:])})
    covered = source.coverage()
    assert (covered.first_day, covered.last_day) == (date(2010, 12, 1), date(2010, 12, 31))
    rows = everything(source)
    assert len(rows) == len(DECEMBER) + len(stray)
    assert [(r["date"], r["month"], r["date_fault"]) for r in rows if r["station"] == "stray"] == [
        (day, month, "stray_date") for day in stray
    ]
    assert {r["date_fault"] for r in rows if r["station"] != "stray"} == {None}
    assert rows == sorted(rows, key=lambda each: (each["file"], each["row_number"]))
    (said,) = source.remarks()
    where = "b.csv line 2" if apart else "a.csv line 62"
    assert (
        f"far from all other dates (2010-12-01 to 2010-12-31), quarantined as stray_date: {where} ('{stray[0]}')"
        in said
    )
    assert said.startswith(f"{len(stray)} row")


@pytest.mark.parametrize(
    "further",
    [
        ["2011-01-31"],  # 31 days: a month without rows, as real data have
        ["2015-12-30"] * 6,  # more than a handful: a network that paused
        [f"2012-{month:02}-01" for month in range(1, 13)],
    ],
)
def test_rows_that_are_near_or_many_are_covered(opened: Callable[..., CsvSource], further: list[str]) -> None:
    source = opened({"a.csv": table(*DECEMBER), "b.csv": table(*map(row, further))})
    assert source.coverage().last_day == date.fromisoformat(further[-1])
    assert source.remarks() == ()


def test_a_sparse_record_has_no_strays(opened: Callable[..., CsvSource]) -> None:
    days = [f"{year}-{month:02}-15" for year in (2009, 2010, 2011, 2012) for month in (1, 4, 7, 10)]
    source = opened({"a.csv": table(*map(row, days))})
    assert (source.coverage().first_day, source.coverage().last_day) == (date(2009, 1, 15), date(2012, 10, 15))


def test_a_row_far_from_its_own_file_is_a_stray_where_another_file_has_that_day(
    opened: Callable[..., CsvSource],
) -> None:
    later = [row(f"2013-{month:02}-{day:02}", "Cobar") for month in range(1, 8) for day in range(1, 29)]
    source = opened(
        {"a.csv": table(*DECEMBER, row("2013-05-05", "stray"), row("?", "after it")), "b.csv": table(*later)}
    )
    rows = {r["station"]: r for r in everything(source)}
    assert (rows["stray"]["month"], rows["stray"]["date_fault"]) == ("2010-12", "stray_date")
    assert (rows["after it"]["month"], rows["after it"]["date_fault"]) == ("2010-12", None)
    assert len(source.rows("2013-05")) == 28


def test_a_row_without_a_date_follows_the_stray_before_it_and_none_is_lost(opened: Callable[..., CsvSource]) -> None:
    source = opened({"a.csv": table(row("nonsense", "head"), row("2012-01-01", "stray"), row("", "after"), *DECEMBER)})
    rows = everything(source)
    assert len(rows) == len(DECEMBER) + 3
    assert [(r["station"], r["month"]) for r in rows[:3]] == [
        ("head", "2010-12"), ("stray", "2010-12"), ("after", "2010-12"),
    ]  # fmt: skip


@pytest.mark.parametrize(("days", "last"), [(27, date(2008, 12, 28)), (28, date(2015, 2, 28))])
def test_a_network_that_paused_for_years_goes_on_when_it_has_reported_for_four_weeks(
    opened: Callable[..., CsvSource], days: int, last: date
) -> None:
    before = [row(f"2008-{month:02}-{day:02}") for month in range(1, 13) for day in range(1, 29)] * 10
    source = opened({"a.csv": table(*before, *(row(f"2015-02-{day:02}") for day in range(1, days + 1)))})
    assert source.coverage().last_day == last
    assert [remark[:7] for remark in source.remarks()] == (["27 rows"] if days == 27 else [])
    assert len(everything(source)) == len(before) + days


@pytest.mark.parametrize("month", ["2009-10", "2010-03", "2009-1", "2009-13", "November"])
def test_a_month_outside_the_coverage_is_an_error(opened: Callable[..., CsvSource], month: str) -> None:
    source = opened({"a.csv": table(row("2009-11-01"), row("2010-02-01"))})
    with pytest.raises(SourceError, match=f"2009-11 to 2010-02, not '{month}'"):
        source.rows(month)


def test_a_closed_source_has_no_scratch_left_and_says_so(
    tmp_path: Path, opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with opened({"a.csv": table(row("2009-11-01"))}) as source:
        first = source.rows("2009-11")
        assert source.rows("2009-11").equals(first)
        assert any(scratch.iterdir())
    assert not any(scratch.iterdir())
    with pytest.raises(SourceError, match="closed"):
        source.rows("2009-11")


# Poison: the message names the file and the place, and nothing is left behind

ROWS = table(row("2009-11-01"), row("2009-11-02"), row("2009-11-03"))
THIRD = ROWS.split("\n")[3]


def without(*names: str) -> str:
    return table(row("2009-11-01"), header=[h for h in HEADER if h not in names])


POISON: dict[str, tuple[dict[str, str | bytes], str]] = {
    "empty": ({"p.csv": b""}, r"p\.csv: the file is empty"),
    "only blanks": ({"p.csv": " \n\n"}, r"p\.csv: the file is empty"),
    "only a byte order mark": ({"p.csv": b"\xef\xbb\xbf"}, r"p\.csv: the file is empty"),
    "empty gzip": ({"p.csv.gz": gzip.compress(b"")}, r"p\.csv\.gz: the file is empty"),
    "truncated gzip": (
        {"p.csv.gz": gzip.compress(ROWS.encode())[:-20]},
        r"p\.csv\.gz: the gzip file is cut off",
    ),
    "damaged gzip": (
        {"p.csv.gz": gzip.compress(ROWS.encode())[:-8] + bytes(8)},
        r"p\.csv\.gz: this is not a sound gzip file",
    ),
    "gzip that is none": (
        {"p.csv.gz": b"\x1f\x8bxx"},
        r"p\.csv\.gz: (this is not a sound gzip|the gzip file is cut)",
    ),
    "gzip without its suffix": (
        {"p.csv": gzip.compress(ROWS.encode())},
        r"p\.csv: .*rename it to end in \.csv\.gz",
    ),
    "zip": ({"p.csv": b"PK\x03\x04rest"}, r"p\.csv: this is a zip archive"),
    "utf-16": ({"p.csv": ROWS.encode("utf-16")}, r"p\.csv: this is UTF-16 text"),
    "png": ({"p.csv": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"}, r"p\.csv, line 3, column 1: a NUL byte"),
    "nul in a row": (
        {"p.csv": ROWS.replace("2009-11-03,Albury", "2009-11-03,Al\0ury")},
        r"p\.csv, line 4, column 2: a NUL",
    ),
    "neither utf-8 nor cp1252": (
        {"p.csv": ROWS.encode() + b"2009-11-04,\x81" + THIRD.encode()[11:]},
        r"p\.csv, line 5, column 2: a byte that is neither UTF-8 nor Windows-1252",
    ),
    "utf-8 and then not": (
        {"p.csv": b"\xef\xbb\xbf" + ROWS.encode() + THIRD.replace("Albury", "Alb\xfcry").encode("cp1252")},
        r"p\.csv, line 5, column 2: a byte that is not UTF-8",
    ),
    "utf-8 and then not, in a quoted field of two lines": (
        {"p.csv": ROWS.encode() + THIRD.encode().replace(b"Albury", '"Zürich,\n,'.encode() + b'\xfc"')},
        r"p\.csv, line 6, column 2: a byte that is not UTF-8",
    ),
    "utf-8 and then half a sequence at the end": (
        {"p.csv": ROWS.replace("Albury", "Zürich").encode() + THIRD.encode() + b"\xc3"},
        r"p\.csv, line 5, column 24: a byte that is not UTF-8",
    ),
    "bare carriage returns": ({"p.csv": ROWS.replace("\n", "\r")}, r"p\.csv, line 1, column 24: a carriage return"),
    "a bare carriage return": (
        {"p.csv": ROWS.replace("2009-11-03,", "2009-11-03,\r")},
        r"p\.csv, line 4, column 2: a carriage return",
    ),
    "unknown layout": ({"p.csv": "name,age\nAnn,4\n"}, r"p\.csv, line 1, column 1: unknown layout.*'name'"),
    "one endless line": (
        {"p.csv": "a" * 200_000},
        r"p\.csv, line 1, column 1: unknown layout, the first header is 'aaa",
    ),
    "json in one line": (
        {"p.csv": '{"data":"' + "a" * 200_000 + '"}'},
        r"p\.csv, line 1, column 1: unknown layout, the first header is '\{\"data",
    ),
    "unknown header": (
        {"p.csv": ROWS.replace("Sunshine", "Sunshin")},
        r"line 1, column 7: unknown header 'Sunshin'",
    ),
    "unnamed column": ({"p.csv": ROWS.replace("Date,", "Date,,", 1)}, r"line 1, column 2: unknown header ''"),
    "unnamed first column that is no index": (
        {"p.csv": ROWS.replace("Date,", ",Date,", 1).replace("2009-11-0", "x,2009-11-0")},
        r"p\.csv, line 2, column 1: a value in the column without a name",
    ),
    "missing label": (
        {"p.csv": without("Rainfall", "MaxTemp", "Cloud9am")},
        r"p\.csv, line 1: the headers 'MaxTemp', 'Rainfall', 'Cloud9am' are missing, and one of MaxTemp and Rainfall",
    ),
    "missing date and more": (
        {"p.csv": without("Date", "Location", "Sunshine")},
        r"p\.csv, line 1: the headers 'Date', 'Location', 'Sunshine' are missing, and Date and Location must be there",
    ),
    "missing date": ({"p.csv": without("Date")}, r"p\.csv, line 1: the header 'Date' is missing"),
    "missing station": ({"p.csv": without("Location")}, r"p\.csv, line 1: the header 'Location' is missing"),
    "duplicate header": (
        {"p.csv": ROWS.replace("MaxTemp", "MinTemp")},
        r"line 1, column 4: .*'MinTemp' stands in column 3",
    ),
    "no header": (
        {"p.csv": THIRD},
        r"p\.csv, line 1, column 1: unknown layout, the first header is '2009-11-03'",
    ),
    "semicolons": (
        {"p.csv": ROWS.replace(",", ";")},
        r"p\.csv, line 1: the fields are separated by semicolons",
    ),
    "tabs": ({"p.csv": ROWS.replace(",", "\t")}, r"p\.csv, line 1: the fields are separated by tabs"),
    "too few fields": ({"p.csv": ROWS + "2009-11-04,Albury,1\n"}, r"p\.csv, line 5, column 4: 3 fields instead of 24"),
    "too many fields": ({"p.csv": ROWS + THIRD + ",9\n"}, r"p\.csv, line 5, column 25: 25 fields instead of 24"),
    "a last row cut off": ({"p.csv": ROWS[:-30]}, r"p\.csv, line 4, column 18: 17 fields instead of 24"),
    "open quote": (
        {"p.csv": ROWS + THIRD.replace("Albury", '"Albury')},
        r"p\.csv, line 5, column 2: a quote that is opened and never",
    ),
    "open quote, then another": (
        {"p.csv": ROWS.replace("2009-11-02,", '2009-11-02,"').replace("2009-11-03,Albury", '2009-11-03,"Albury"')},
        r"p\.csv, line 3, column 2: a quoted field that is not closed",
    ),
    "quote inside a field": (
        {"p.csv": ROWS.replace("2009-11-02,Alb", '2009-11-02,Al"b')},
        r"p\.csv, line 3, column 2: a quote inside",
    ),
    "quote inside a field, after quoted commas and line breaks": (
        {"p.csv": ROWS.replace("2009-11-02,Albury,", '2009-11-02,"A ""b"",\n,c",1"')},
        r"p\.csv, line 4, column 3: a quote inside",
    ),
    "open quote in the header": (
        {"p.csv": ROWS.replace("Date", '"Date', 1)},
        r"p\.csv, line 1, column 1: a quote in the header",
    ),
    "quote inside a name of the header": (
        {"p.csv": ROWS.replace("Location", '"Location"', 1).replace("Sunshine", '"Sun"shine')},
        r"p\.csv, line 1, column 7: a quote in the header",
    ),
    "endless row": (
        {"p.csv": ROWS + '2009-11-04,"' + "x\n" * 5_000_000},
        r"p\.csv, line 5, column 2: a row of more than 1 MB; is a quote left open\?",
    ),
    "header only": ({"p.csv": ROWS.split("\n")[0]}, r"p\.csv, line 1: there is a header but no row"),
    "header and blank lines": (
        {"p.csv": ROWS.split("\n")[0] + "\n\n\n"},
        r"p\.csv, line 1: there is a header but no row",
    ),
    "no usable date": (
        {"p.csv": ROWS.replace("2009-11", "1909-11")},
        r"p\.csv, line 2, column 1: no row has a date between 2007-11-01 and 2016-02-10; .* reads '1909-11-01'",
    ),
    "no usable date in many blocks": (
        {"p.csv": table(*(row("1909-11-01") for _ in range(400)))},
        r"p\.csv, line 2, column 1: no row has a date between 2007-11-01 and 2016-02-10; .* reads '1909-11-01'",
    ),
    "bureau without station": (
        {"p.csv": "\n".join(bureau("2009-11-1", end="\n").split("\n")[4:])},
        r"p\.csv, line 2: no line 'Daily Weather .* and no product number in its name",
    ),
    "bureau without header": (
        {"p.csv": "\n".join(bureau("2009-11-1", end="\n").split("\n")[:4])},
        r"p\.csv, line 1: a Bureau preamble without a header",
    ),
    "bureau header only": ({"p.csv": bureau()}, r"p\.csv, line 6: there is a header but no row"),
    "bureau first column filled": (
        {"p.csv": bureau("2009-11-1", "2009-11-2").replace(",2009-11-2", "x,2009-11-2")},
        r"p\.csv, line 8, column 1: a value in the column without a name",
    ),
    "two bureau files in one": (
        {"p.csv": bureau("2009-11-1") * 2},
        r"p\.csv, line 8, column 2: 1 fields instead of 22",
    ),
    "no csv": ({"notes.txt": "x"}, r"observations holds no \*\.csv or \*\.csv\.gz file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISON)
def test_a_poisoned_file_is_named_with_its_place_and_nothing_is_read(
    kind: str, tmp_path: Path, opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    if kind == "no usable date in many blocks":
        monkeypatch.setattr(csv_files, "BLOCK_BYTES", 1000)
        monkeypatch.setattr(csv_files, "PENDING_BYTES", 2_000)
    files, message = POISON[kind]
    # A sound file before it must not be half of an answer.
    sound: dict[str, str | bytes] = {"a.csv": ROWS} if kind != "no csv" else {}
    source = opened(sound | files)
    with pytest.raises(SourceError, match=message) as caught:
        source.coverage()
    assert "\n" not in str(caught.value)
    assert not any(scratch.iterdir())
    with pytest.raises(SourceError):
        source.rows("2009-11")


def test_a_missing_path_is_named(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.csv does not exist"):
        opened(tmp_path / "nowhere.csv").coverage()


@pytest.mark.parametrize("alone", [True, False], ids=["the file", "its folder"])
@pytest.mark.parametrize("name", [b"a\xff.csv", b"a\nb.csv", b"a\x1b[1m.csv"])
def test_a_file_name_that_is_no_readable_text_is_refused_in_one_line(
    opened: Callable[..., CsvSource], tmp_path: Path, name: bytes, alone: bool
) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    file.write_text(ROWS)
    with pytest.raises(SourceError, match=r"not readable text; rename it|not UTF-8 text; rename it") as caught:
        opened(file if alone else tmp_path).coverage()
    assert str(caught.value).encode().isascii()
    assert str(caught.value).isprintable()


def test_a_folder_whose_name_is_not_utf8_is_refused_in_one_line(
    opened: Callable[..., CsvSource], tmp_path: Path
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"))
    folder.mkdir()
    (folder / "a.csv").write_text(ROWS)
    for path in (folder, folder / "a.csv"):
        with pytest.raises(SourceError, match="not UTF-8 text; rename it") as caught:
            opened(path).coverage()
        assert str(caught.value).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is readable for root")
def test_a_file_without_permission_is_named(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    source = opened({"p.csv": ROWS})
    (tmp_path / "observations" / "p.csv").chmod(0)
    with pytest.raises(SourceError, match=r"p\.csv: permission denied"):
        source.coverage()


def test_a_read_error_becomes_one_line(opened: Callable[..., CsvSource], monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened({"p.csv": ROWS})
    reach = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if Path(path).name == "p.csv":
            raise PermissionError(13, "Permission denied")
        return reach(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError, match=r"p\.csv: permission denied; make the file readable"):
        source.coverage()


def test_a_naive_clock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time zone"):
        CsvSource(tmp_path, first_month="2007-11", fetched_at=datetime(2016, 2, 10))  # noqa: DTZ001


@pytest.mark.skipif(not SHARED.exists(), reason="the real table is not here")
def test_the_real_table_is_read_to_the_last_row(opened: Callable[..., CsvSource]) -> None:
    source = opened(SHARED)
    counts: Counter[str] = Counter()
    empty = []
    for month in months(source):
        rows = source.rows(month)
        counts[month[:4]] += len(rows)
        assert rows["day"].null_count == 0
        if not len(rows):
            empty.append(month)
    assert counts == {
        "2007": 61, "2008": 2246, "2009": 16595, "2010": 16419, "2011": 15126, "2012": 15044, "2013": 16097,
        "2014": 17400, "2015": 17231,
    }  # fmt: skip
    assert empty == ["2011-04", "2012-12", "2013-02"]
    with gzip.open(SHARED, "rt", newline="") as file:
        originals = list(csv.DictReader(file))
    got = pa.concat_tables([source.rows(month) for month in months(source)]).sort_by("row_number")
    assert got["row_number"].to_pylist() == list(range(2, len(originals) + 2))
    for header, name in csv_files.WEATHER_AUS.items():
        assert got[name].to_pylist() == [original[header] for original in originals]
