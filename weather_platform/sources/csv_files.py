"""Observations from CSV files: the weatherAUS table and the Bureau of Meteorology's monthly station files.

What belongs here: finding the files, telling the layouts apart, decoding, and giving every row its month.
What does not: any judgement of a cell. Text stays exactly as received, and a file that cannot be read whole
is not read at all.

Overlapping files: every row of every file is kept here, with the moment the file was prepared (`prepared_at`, where
it says so) and last changed on disk (`modified_at`). The rule for cleaning is that for the same station and day the row
of the newest file wins, by the first of the two moments that is known; of files of the same moment the LAST in the
order of the `file` text, and within one file the row with the highest `row_number`. Rows are given out in the order of
file and line.
"""

import csv
import gzip
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from weather_platform.domain.date_order import DateOrder, UndecidedOrderError
from weather_platform.domain.dates import parse_days
from weather_platform.domain.observations import OBSERVATION_COLUMNS, RAW_SCHEMA
from weather_platform.domain.stations import STATIONS, Station
from weather_platform.domain.strays import FEW_DAYS, FEW_SHARE
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import SourceError
from weather_platform.sources import Coverage
from weather_platform.sources.bureau import BUREAU, BUREAU_OPTIONAL, Preamble, columns_without_header
from weather_platform.sources.input_files import InputFile, find_files
from weather_platform.sources.issues import Issue, issue_of
from weather_platform.sources.own_stations import own_stations, stations_file
from weather_platform.sources.scratch import (
    EPOCH,
    HEAD,
    NO_DAY,
    SCRATCH_SCHEMA,
    STRAY_DATE,
    Scratch,
    day_numbers,
    month_of,
    months_of,
)

BLOCK_BYTES = 8 << 20
"""Bytes read, checked and parsed at a time."""
LONGEST_ROW_BYTES = 1 << 20
"""A row may not be longer than this: it is a quote that was never closed."""
PENDING_BYTES = 64 << 20
"""Parsed rows kept in memory before they are written to the scratch folder."""
INDEX_HEADERS = ("Unnamed: 0",)
"""What the first, unnamed column of a weatherAUS table is called once pandas has read and written it."""
LABEL_COLUMNS = frozenset(target.column for target in TARGETS.values())
OUTSIDE_FILE_MONTH = "outside_file_month"
SHOWN = 5
"""Files or rows that a remark names."""
PREAMBLE_LINES = 100
"""The header of a Bureau file stands within so many lines."""

WEATHER_AUS: dict[str, str] = {
    "Date": "date",
    "Location": "station",
    **{c.weather_aus: c.name for c in OBSERVATION_COLUMNS},
    "RISK_MM": "risk_mm",
    "RainTomorrow": "rain_tomorrow",
}
"""Header to raw column. Date, Location and the label of one target must be there; the others may be absent."""
WEATHER_AUS_OPTIONAL = frozenset({"RISK_MM", "RainTomorrow"})

SOUND_FIELDS = re.compile(r'(?:(?:"(?:[^"]|"")*+"|[^",][^,]*+|),)*+')
"""The fields of a line, each with its comma, up to the first one whose quotes are at fault."""
LAYOUT_HINT = "expected a weatherAUS table (Date,Location,MinTemp,...) or a Bureau monthly file"

NEWLINE, RETURN, COMMA, QUOTE = b"\n"[0], b"\r"[0], b","[0], b'"'[0]


class CsvSource:
    """All rows of one CSV file, or of every `*.csv` and `*.csv.gz` below a folder, by month.

    The first use reads every file once, in blocks, and sorts the rows into a scratch folder with the months
    apart; after that a month costs only its own rows. `close`, or leaving the `with` block, removes the
    scratch folder.

    `row_number` is the line on which the row starts, the first line of the file being 1: blank lines, a
    preamble and line breaks inside quotes all count as lines, so it is what an editor shows.

    A file is UTF-8 or Windows-1252. Its first sequence beyond ASCII decides: when that is valid UTF-8 the file
    is UTF-8, and a byte further on that is not is an error; otherwise the whole file is Windows-1252.

    A row whose date cannot be read, lies before `first_month` or after the day of `fetched_at` goes to the
    month of the last datable row before it in its file, else of the first one after it; its `day` stays what
    was read.

    The order of day and month is decided once a file (``domain.date_order``). A row outside the month that a Bureau
    file names, and a handful of rows far from all others (``domain.strays``), keep their day, carry the reason in
    `date_fault`, go to the nearest month of the others, and are no part of the coverage.
    """

    name: str = "csv"
    synthetic: bool = False
    generator: str | None = None

    def __init__(self, path: Path, *, first_month: str, fetched_at: datetime) -> None:
        if fetched_at.tzinfo is None:
            raise ValueError("fetched_at must carry a time zone: the platform's, which says which day today is")
        self._path = path
        self._first_day = date.fromisoformat(f"{first_month}-01")
        self._fetched_at = fetched_at
        self._scratch: Scratch | None = None
        self._moments: dict[str, tuple[datetime | None, int]] = {}
        self._remarks: tuple[str, ...] = ()
        self._own_stations: tuple[Station, ...] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stations(self) -> tuple[Station, ...]:
        """The 49 stations of the weatherAUS table, then those of the `stations.csv` beside the observations."""
        if self._own_stations is None:
            self._own_stations = own_stations(self._path)
        return (*STATIONS, *self._own_stations)

    def stamp(self) -> str:
        """A digest of the name, size and times of every file, `stations.csv` included. The time of the last change of
        a file's entry is among them, so that a file that was replaced by one of the same size and age is noticed, too.
        """
        digest = hashlib.sha256(str(self._path).encode())
        files = [(file.shown, file.path, file.real) for file in find_files(self._path).files]
        if os.path.lexists(own := stations_file(self._path)):
            files.append((f"own {own.name}", own, own))
        for shown, path, real in files:
            try:
                found = real.stat()
            except OSError as error:
                raise SourceError(f"{path}: cannot be read ({error.strerror}); check the disk") from error
            digest.update(f"\0{shown}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}".encode())
        return digest.hexdigest()

    def coverage(self) -> Coverage:
        """From the earliest to the latest datable day of all files."""
        scratch = self._read_files()
        return Coverage(date.fromordinal(scratch.first + EPOCH), date.fromordinal(scratch.last + EPOCH))

    def remarks(self) -> tuple[str, ...]:
        """What was passed over, and which dates are not believed, a line each."""
        self._read_files()
        return self._remarks

    def rows(self, month: str) -> pa.Table:
        """The rows of one month (YYYY-MM), ordered by file and line."""
        scratch = self._read_files()
        index = _month_index(month)
        if index is None or not month_of(scratch.first) <= index <= month_of(scratch.last):
            covered = self.coverage()
            raise SourceError(
                f"{self._path} covers the months {covered.first_day:%Y-%m} to {covered.last_day:%Y-%m}, "
                f"not {month!r}; ask for one of those"
            )
        table = scratch.read(index)
        constants = {
            "month": pa.repeat(pa.scalar(month), len(table)),
            "source": pa.repeat(pa.scalar(self.name), len(table)),
            "fetched_at": pa.repeat(pa.scalar(self._fetched_at, RAW_SCHEMA.field("fetched_at").type), len(table)),
        }
        files = table["file"].combine_chunks().dictionary_encode()
        moments = [self._moments[name] for name in files.dictionary.to_pylist()]
        for at, name in enumerate(("prepared_at", "modified_at")):
            of_files = pa.array([moment[at] for moment in moments], RAW_SCHEMA.field(name).type)
            constants[name] = of_files.take(files.indices)
        columns = [constants[n] if n in constants else table.column(n) for n in RAW_SCHEMA.names]
        return pa.Table.from_arrays(columns, schema=RAW_SCHEMA)

    def close(self) -> None:
        """Remove the scratch folder; the source cannot be used afterwards."""
        self._closed = True
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _read_files(self) -> Scratch:
        if self._closed:
            raise SourceError(f"{self._path} was closed by this run; open the source again")
        if self._scratch is None:
            self.stations()  # its faults are named before the files are read
            files = find_files(self._path)
            last_day = self._fetched_at.date()
            scratch = Scratch(PENDING_BYTES, self._first_day.toordinal() - EPOCH, last_day.toordinal() - EPOCH)
            read: dict[str, _FileReader] = {}
            try:
                for file in files.files:
                    reader = read[file.shown] = _FileReader(file, self._first_day, last_day, scratch)
                    reader.read()
                strays = scratch.settle()
            except BaseException:
                scratch.remove()
                raise
            self._scratch = scratch
            self._moments = {shown: (reader.issue.prepared_at, reader.modified_us) for shown, reader in read.items()}
            self._remarks = (
                *(f"{self._path}: passed over {name}" for name in files.passed_over),
                *_of_missing(read.values()),
                *_of_other_months(read.values()),
                *_of_strays(strays, scratch),
            )
        return self._scratch


def _month_index(month: str) -> int | None:
    """Months since 1970-01, or None when the text is not YYYY-MM."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month):
        return None
    return (int(month[:4]) - 1970) * 12 + int(month[5:]) - 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the rows of a file are to be read. `columns` has None for the Bureau's unnamed column.

    `constants` are the raw columns that have one text in the whole file.
    """

    columns: tuple[str | None, ...]
    constants: Mapping[str, str]
    body_offset: int
    body_line: int


class _FileReader:
    """Reads one file into the scratch folder, or raises SourceError naming file, line and column."""

    def __init__(self, file: InputFile, first_day: date, last_day: date, scratch: Scratch) -> None:
        self.file = file
        self.path = file.path
        self.shown = file.shown
        self.scratch = scratch
        self.first_day = first_day
        self.last_day = last_day
        self.encoding: str | None = None
        self.date_column = 1
        self.issue = Issue()
        self.modified_us = 0  # since 1970
        self.missing: tuple[str, ...] = ()  # headers of quantities that the file does not have
        self.without_label: tuple[str, ...] = ()  # the columns of targets' labels among them
        self.of_other_months: list[
            tuple[int, str]
        ] = []  # line and date of rows outside of the month that the file names
        self.month: int | None = None  # of the last datable row so far
        self._days: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # of each block, with the rows of each day
        self._depends = False  # whether a date of the block that is being read depends on the order
        self._month_first: bool | None = None  # the order of day and month, once it is decided
        self._waiting: list[pa.Table] = []  # rows since the first date that depends on the order
        self.first_date: tuple[str | None, int] | None = None  # its text and line, whether usable or not

    def read(self) -> None:
        chunks = self._chunks()
        first = next(chunks, b"")
        self._refuse_binary(first)
        data = first.removeprefix(b"\xef\xbb\xbf")
        if not data.strip():
            self._fail("the file is empty; remove it or fetch it again")
        if data is not first:
            self.encoding = "utf-8"
        self._refuse_bare_returns(data, 1)
        layout = self._layout(data)
        self.date_column = layout.columns.index("date") + 1
        above = data[: layout.body_offset].decode("cp1252", errors="replace")
        self.issue = issue_of([" ".join(line.split()) for line in above.splitlines()], self.path.name)
        self._order = DateOrder(self.issue.month, self.issue.hint)
        line, data, rows = layout.body_line, data[layout.body_offset :], 0
        while True:
            chunk = next(chunks, b"")
            if not chunk and data and not data.endswith(b"\n"):
                data += b"\n"
            records = self._records(data, line, last=not chunk)
            if len(records.ends):
                cut = int(records.ends[-1]) + 1
                table = self._parse(data[:cut], records, layout)
                rows += len(table)
                self._place_in_order(table)
                line += data.count(b"\n", 0, cut)
                data = data[cut:]
            if not chunk:
                break
            if len(data) > LONGEST_ROW_BYTES:
                opened = data.rfind(b'"') if data.count(b'"') % 2 else -1
                column = _column_of(data, opened) if opened >= 0 else None
                self._fail("a row of more than 1 MB; is a quote left open?", line, column)
            data += chunk
        if not rows:
            self._fail(
                "there is a header but no row below it; remove the file or fetch it again",
                layout.body_line - 1,
            )
        self._decide_order()
        if self.month is None and self.first_date is not None:
            text, at = self.first_date
            wanted = f"between {self.first_day} and {self.last_day}"
            if self.issue.month is not None:
                wanted += f" of {_month_text(self.issue.month)}, the month that the file names"
            self._fail(
                f"no row has a date {wanted}; the first one reads {text!r:.40}. "
                "Write days as YYYY-MM-DD or change the first month",
                at,
                self.date_column,
            )
        days, at_day = np.unique(np.concatenate([each for each, _ in self._days]), return_inverse=True)
        counts = np.bincount(at_day, weights=np.concatenate([each for _, each in self._days])).astype(np.int64)
        self.scratch.count(self.shown, days, counts, sure=self.issue.month is not None)

    def _fail(self, what: str, line: int | None = None, column: int | None = None) -> NoReturn:
        place = "".join(f", {name} {at}" for name, at in (("line", line), ("column", column)) if at is not None)
        raise SourceError(f"{self.path}{place}: {what}")

    def _fail_at(self, what: str, data: bytes, at: int, line: int) -> NoReturn:
        """Fail at a byte of `data`, which starts with a row on `line`."""
        self._fail(what, line + data.count(b"\n", 0, at), _column_of(data, at))

    # Bytes

    def _chunks(self) -> Iterator[bytes]:
        packed = self.path.name.lower().endswith(".gz")
        try:
            with self.file.open() as raw, gzip.GzipFile(fileobj=raw) if packed else raw as stream:
                self.modified_us = os.fstat(raw.fileno()).st_mtime_ns // 1000
                while chunk := stream.read(BLOCK_BYTES):
                    yield chunk
        except PermissionError as error:
            raise SourceError(f"{self.path}: permission denied; make the file readable") from error
        except EOFError as error:
            raise SourceError(f"{self.path}: the gzip file is cut off before its end; fetch it again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise SourceError(f"{self.path}: this is not a sound gzip file ({error}); fetch it again") from error
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read ({error.strerror}); check the disk") from error

    def _refuse_binary(self, data: bytes) -> None:
        if data.startswith(b"PK\x03\x04"):
            self._fail("this is a zip archive or a spreadsheet, not CSV text; unpack it or export it as CSV")
        if data.startswith(b"\x1f\x8b"):
            self._fail("this is gzip-compressed once more than its name says; rename it to end in .csv.gz")
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            self._fail("this is UTF-16 text; save it as UTF-8")
        self._refuse_nul(data, 1)

    def _refuse_nul(self, data: bytes, line: int) -> None:
        at = data.find(0)
        if at >= 0:
            what = "a NUL byte, which text does not contain; the file is binary or damaged, fetch it again"
            self._fail_at(what, data, at, line)

    def _refuse_bare_returns(self, data: bytes, line: int) -> None:
        if b"\r" in data:
            bare = re.search(rb"\r(?!\n)", data)
            if bare and bare.end() < len(data):  # at the very end, its line feed may be in the next block
                what = "a carriage return without a line feed; save the file with LF or CRLF line ends"
                self._fail_at(what, data, bare.start(), line)

    def _decoded(self, data: bytes, line: int) -> bytes:
        """The bytes as UTF-8. The first sequence beyond ASCII decides the encoding of the file.

        The data start with a row and end with one, so no sequence is cut, and where the blocks of the file
        end does not show.
        """
        if data.isascii():
            return data
        if self.encoding != "cp1252":
            try:
                data.decode("utf-8")
            except UnicodeDecodeError as error:
                # A sound sequence before this one makes the file UTF-8, even within the same block.
                if self.encoding == "utf-8" or not data[: error.start].isascii():
                    what = "a byte that is not UTF-8, in a file that was so far; save it again as UTF-8"
                    self._fail_at(what, data, error.start, line)
                self.encoding = "cp1252"
            else:
                self.encoding = "utf-8"
                return data
        try:
            return data.decode("cp1252").encode("utf-8")
        except UnicodeDecodeError as error:
            what = "a byte that is neither UTF-8 nor Windows-1252 text; save the file as UTF-8"
            self._fail_at(what, data, error.start, line)

    # Layout

    def _layout(self, data: bytes) -> _Layout:
        lines = data.split(b"\n", PREAMBLE_LINES)
        lines = lines[:PREAMBLE_LINES]
        end = np.cumsum([len(line) + 1 for line in lines])
        header_at, preamble = -1, Preamble(self.path.name)
        for index, line in enumerate(lines):
            cells = self._cells(self._decoded(line, index + 1).decode("utf-8"))
            preamble.read(",".join(cells))
            if "Date" in cells and any(cell in BUREAU for cell in cells if cell != "Date"):
                header_at = index
                break
            if "Date" in cells and "Location" in cells and not preamble.has_title:
                break
            if index == 0 and (columns := columns_without_header(cells)):
                return _Layout(columns, self._station_of(preamble, 1), 0, 1)
        constants: Mapping[str, str] = {}
        if header_at >= 0:
            constants = self._station_of(preamble, header_at + 1)
            known, optional = BUREAU, BUREAU_OPTIONAL
        elif preamble.has_title:
            self._fail(
                "a Bureau preamble without a header (Date, 'Minimum temperature (°C)', ...); fetch it again",
                1,
            )
        else:
            header_at = next((i for i, line in enumerate(lines) if line.strip()), 0)
            known, optional = WEATHER_AUS, WEATHER_AUS_OPTIONAL
        header = self._cells(self._decoded(lines[header_at], header_at + 1).decode("utf-8"), strict_at=header_at + 1)
        columns = self._columns(header, header_at + 1, known, optional)
        return _Layout(columns, constants, int(min(end[header_at], len(data))), header_at + 2)

    def _station_of(self, preamble: Preamble, line: int) -> Mapping[str, str]:
        if not (found := preamble.columns()):
            self._fail(
                "no line 'Daily Weather Observations for <Station>, <State> for <Month Year>' above the rows of a "
                "Bureau file and no product number in its name, so its station is unknown; fetch it again, or name "
                "it as the Bureau does (IDCJDW2124.202408.csv)",
                line,
            )
        return found

    def _cells(self, line: str, strict_at: int | None = None) -> list[str]:
        try:
            return [" ".join(cell.split()) for cell in next(csv.reader([line.rstrip("\r")], strict=True), [])]
        except csv.Error:
            if strict_at is not None and len(line) <= csv.field_size_limit():
                sound = SOUND_FIELDS.match(line)
                before = sound[0].encode() if sound else b""
                what = "a quote in the header that is not closed, or stands inside a name; repair it"
                self._fail(what, strict_at, _column_of(before, len(before)))
            return [line]  # of any length: then it is no header

    def _columns(
        self, header: list[str], line: int, known: dict[str, str], optional: frozenset[str]
    ) -> tuple[str | None, ...]:
        bureau = known is BUREAU
        if len(header) == 1:
            for character, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
                if header[0].count(character) > 1 or (character == "\t" and "Date Location" in header[0]):
                    self._fail(f"the fields are separated by {name}; save the file with commas", line)
        if not bureau and not set(header) & set(known):
            self._fail(f"unknown layout, the first header is {header[0]!r:.60}; {LAYOUT_HINT}", line, 1)
        seen: dict[str, int] = {}
        for column, cell in enumerate(header, 1):
            if cell in seen:
                self._fail(
                    f"the header {cell!r:.60} stands in column {seen[cell]} too; remove one of them",
                    line,
                    column,
                )
            seen[cell] = column
            if cell not in known and not (column == 1 and cell in ("", *(() if bureau else INDEX_HEADERS))):
                self._fail(f"unknown header {cell!r:.60}; remove or rename the column", line, column)
        missing = [wanted for wanted in known if wanted not in seen and wanted not in optional]
        labels = [wanted for wanted, name in known.items() if name in LABEL_COLUMNS]
        needed = [wanted for wanted in missing if known[wanted] in ("date", "station")]
        if needed or not set(labels) & set(seen):
            are = "header {} is" if len(missing) == 1 else "headers {} are"
            must = " and ".join([*needed, *([] if set(labels) & set(seen) else [f"one of {' and '.join(labels)}"])])
            named = ", ".join(repr(wanted) for wanted in missing)
            self._fail(f"the {are.format(named)} missing, and {must} must be there; {LAYOUT_HINT}", line)
        self.missing = tuple(missing)
        self.without_label = tuple(known[wanted] for wanted in labels if wanted in missing)
        return tuple(known.get(cell) for cell in header)

    # Rows

    def _records(self, data: bytes, line: int, *, last: bool) -> "_Records":
        """Where the complete rows of a block end, how many fields each has and on which line it starts."""
        self._refuse_nul(data, line)
        self._refuse_bare_returns(data, line)
        codes = np.frombuffer(data, dtype=np.uint8)
        newlines = np.flatnonzero(codes == NEWLINE)
        commas = np.flatnonzero(codes == COMMA)
        ends, quoted = newlines, QUOTE in data
        if quoted:
            quotes = np.flatnonzero(codes == QUOTE)
            self._refuse_stray_quotes(data, codes, quotes, line, last=last)
            ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
            commas = commas[np.searchsorted(quotes, commas) % 2 == 0]
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        fields = np.diff(np.searchsorted(commas, ends), prepend=0) + 1
        lines = line + np.searchsorted(newlines, starts)
        width = ends - starts
        blank = (width == 0) | ((width == 1) & (codes[starts] == RETURN))
        return _Records(ends, fields, lines, blank, quoted)

    def _refuse_stray_quotes(
        self, data: bytes, codes: NDArray[np.uint8], quotes: NDArray[np.int64], line: int, *, last: bool
    ) -> None:
        """Quotes alternate: one opens a field right after its separator, one closes it right before the next.

        A doubled quote inside a field closes and opens at once.
        """

        opening, closing = quotes[::2], quotes[1::2]
        before = codes[opening - 1]
        before[opening == 0] = NEWLINE
        doubled = np.zeros(len(opening), dtype=np.bool_)
        doubled[1:] = opening[1:] == closing[: len(opening) - 1] + 1
        stray = ~(doubled | (before == COMMA) | (before == NEWLINE))
        after_at = np.minimum(closing + 1, len(codes) - 1)
        after = codes[after_at]
        loose = ~((after == COMMA) | (after == NEWLINE) | (after == RETURN) | (after == QUOTE))
        loose &= closing + 1 < len(codes)
        candidates = []
        if stray.any():
            candidates.append((2 * int(np.argmax(stray)), "a quote inside a field; double it and quote the field"))
        if loose.any():
            first = 2 * int(np.argmax(loose))
            candidates.append((first, "a quoted field that is not closed properly; close it, double quotes inside"))
        if last and len(quotes) % 2:
            candidates.append((len(quotes) - 1, "a quote that is opened and never closed; close it"))
        if candidates:
            quote, what = min(candidates)
            self._fail_at(what, data, int(quotes[quote]), line)

    def _parse(self, data: bytes, records: "_Records", layout: _Layout) -> pa.Table:
        """The rows of a block as SCRATCH_SCHEMA."""
        count = len(layout.columns)
        wrong = (records.fields != count) & ~records.blank
        if wrong.any():
            at = int(np.argmax(wrong))
            fields = int(records.fields[at])
            self._fail(
                f"{fields} fields instead of {count}; repair the row or quote its commas",
                int(records.lines[at]),
                min(fields, count) + 1,  # the first field that is missing or too many
            )
        lines = records.lines[~records.blank]
        if not len(lines):
            self._depends = False
            return SCRATCH_SCHEMA.empty_table()
        names = [str(i) for i in range(count)]
        try:
            cells = arrow_csv.read_csv(
                pa.BufferReader(self._decoded(data, int(records.lines[0]))),
                read_options=arrow_csv.ReadOptions(column_names=names, block_size=1 << 20),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=records.quoted),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            detail = " ".join(str(error).split())
            self._fail(f"the rows from here on cannot be parsed ({detail:.200}); repair them", int(lines[0]))
        if len(cells) != len(lines):
            self._fail(f"{len(lines)} rows were counted but {len(cells)} parsed; repair the quoting", int(lines[0]))
        found = {name: cells.column(i) for i, name in enumerate(layout.columns) if name is not None}
        for i, name in enumerate(layout.columns):
            if name is None:
                # An index, which pandas and R write, says nothing; anything else would be lost.
                index = r"^[0-9]*$" if "station" in layout.columns else "^$"
                filled = pc.invert(pc.match_substring_regex(cells.column(i), index))
                if pc.any(filled).as_py():
                    at = int(lines[pc.index(filled, True).as_py()])
                    self._fail("a value in the column without a name; give it a known header or empty it", at, i + 1)
        found |= {name: pa.repeat(pa.scalar(text), len(lines)) for name, text in layout.constants.items()}
        dates = found["date"].combine_chunks().dictionary_encode()
        self._depends = self._order.add(dates, lines)
        found["day"] = parse_days(dates, month_first=bool(self._month_first))
        found["file"] = pa.repeat(pa.scalar(self.shown), len(lines))
        found["row_number"] = pa.array(lines, pa.int64())
        columns = [
            found[field.name] if field.name in found else pa.nulls(len(lines), field.type) for field in SCRATCH_SCHEMA
        ]
        return pa.Table.from_arrays(columns, schema=SCRATCH_SCHEMA)

    def _place_in_order(self, table: pa.Table) -> None:
        """Place rows whose day is known; those since the first date that depends on the order wait for it."""
        if self._month_first is None and (self._waiting or self._depends):
            self._waiting.append(table)
            if sum(each.nbytes for each in self._waiting) > PENDING_BYTES:
                self._decide_order()
        else:
            self._place(table)

    def _decide_order(self) -> None:
        """Decide the order of day and month from what was read, and place what waited for it.

        At the end of the file it must be what was decided before.
        """
        try:
            month_first = self._order.month_first()
        except UndecidedOrderError as error:
            self._fail(str(error), error.line, self.date_column)
        if self._month_first not in (None, month_first):
            self._fail("dates with the day first and with the month first; write all days as YYYY-MM-DD")
        self._month_first = month_first
        for table in self._waiting:
            days = parse_days(table["date"], month_first=month_first)
            self._place(table.set_column(table.schema.get_field_index("day"), SCRATCH_SCHEMA.field("day"), days))
        self._waiting.clear()

    def _place(self, table: pa.Table) -> None:
        """Give every row its month and hand the rows on, month by month."""
        days = day_numbers(table)
        first, last = self.first_day.toordinal() - EPOCH, self.last_day.toordinal() - EPOCH
        datable = (days >= first) & (days <= last)
        if self.first_date is None and len(table):
            self.first_date = table["date"][0].as_py(), table["row_number"][0].as_py()
        if self.issue.month is not None:
            outside = (days != NO_DAY) & (months_of(days) != self.issue.month)
            if outside.any():
                table = self._doubt(table, outside)
                datable &= ~outside
        if self.month is None:
            if not datable.any():
                self.scratch.add(HEAD, table)
                return
            self.month = month_of(days[np.argmax(datable)])
            self.scratch.place_head(self.month)
        self._days.append(np.unique(days[datable].astype(np.int64), return_counts=True))
        months = months_of(np.where(datable, days, 0))
        latest = np.maximum.accumulate(np.where(datable, np.arange(len(days)), -1))
        months = np.where(latest >= 0, months[latest], self.month)
        self.month = int(months[-1]) if len(months) else self.month
        if (months[1:] < months[:-1]).any():
            order = np.argsort(months, kind="stable")
            table, months = table.take(pa.array(order)), months[order]
        bounds = [0, *(np.flatnonzero(np.diff(months)) + 1).tolist(), len(months)]
        for start, stop in itertools.pairwise(bounds):
            if stop > start:
                self.scratch.add(int(months[start]), table.slice(start, stop - start))

    def _doubt(self, table: pa.Table, outside: NDArray[np.bool_]) -> pa.Table:
        """The rows with those outside of the month that the file names marked."""
        rows = table.filter(pa.array(outside))
        self.of_other_months += zip(rows["row_number"].to_pylist(), rows["date"].to_pylist(), strict=True)
        faults = pc.if_else(pa.array(outside), OUTSIDE_FILE_MONTH, pa.scalar(None, pa.string()))
        return table.set_column(table.schema.get_field_index("date_fault"), SCRATCH_SCHEMA.field("date_fault"), faults)


def _of_missing(readers: Iterable[_FileReader]) -> Iterator[str]:
    """What is said of quantities that files do not have: once for all files that lack the same ones."""
    alike: dict[tuple[str, ...], list[_FileReader]] = {}
    for reader in readers:
        alike.setdefault(reader.missing, []).append(reader)
    for missing, found in sorted(alike.items()):
        if missing:
            more = f" and {_counted(len(found) - 1, 'more file')}" if len(found) > 1 else ""
            lost = [target.name for target in TARGETS.values() if target.column in found[0].without_label]
            others = " ".join(f"--target {name}" for name in TARGETS if name not in lost)
            unlabelled = f"; no label of {' and '.join(lost)}: `weather run {others}` trains without" if lost else ""
            yield (
                f"{found[0].path}{more} without {', '.join(missing)}: not observed there, and forecasts are less "
                f"certain for it{unlabelled}"
            )


def _of_other_months(readers: Iterable[_FileReader]) -> Iterator[str]:
    """What is said of rows outside of the month that their file names: the files at fault, five of them by name."""
    found = [reader for reader in readers if reader.of_other_months]
    for reader in found[:SHOWN]:
        line, text = reader.of_other_months[0]
        month = _month_text(reader.issue.month or 0)
        yield (
            f"{reader.path}: {_rows(len(reader.of_other_months))} outside of {month}, the month that the file names, "
            f"quarantined (first: line {line}, {text!r:.40})"
        )
    if more := found[SHOWN:]:
        rows = sum(len(reader.of_other_months) for reader in more)
        yield f"{_rows(rows)} of {len(more)} more files outside of the month that their file names, quarantined"


def _of_strays(strays: list[tuple[str, int, str]], scratch: Scratch) -> Iterator[str]:
    """What is said of stray dates: how many rows, where the first ones are, and what to do."""
    if strays:
        first, last = (date.fromordinal(day + EPOCH) for day in (scratch.first, scratch.last))
        named = ", ".join(f"{file} line {line} ({text!r:.40})" for file, line, text in strays[:SHOWN])
        more = f" and {len(strays) - SHOWN:,} more" if len(strays) > SHOWN else ""
        yield (
            f"{_rows(len(strays))} far from all other dates ({first} to {last}), quarantined as {STRAY_DATE}: "
            f"{named}{more}; correct the dates (after a true pause: bring at least {FEW_DAYS} days, or "
            f"{FEW_SHARE:.0%} of all rows)"
        )


def _rows(count: int) -> str:
    return _counted(count, "row")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _month_text(month: int) -> str:
    return str(np.datetime64(month, "M"))


def _column_of(data: bytes, at: int) -> int:
    """The column of the field that holds the byte at `at`, in data that start with a row.

    For messages only: it goes through everything before the byte.
    """
    unquoted = b'"'.join(data[:at].split(b'"')[::2])
    return unquoted.count(b",", unquoted.rfind(b"\n") + 1) + 1


@dataclass(frozen=True, slots=True)
class _Records:
    """The complete rows of a block: where each ends, how many fields it has, on which line it starts."""

    ends: NDArray[np.int64]
    fields: NDArray[np.int64]
    lines: NDArray[np.int64]
    blank: NDArray[np.bool_]
    quoted: bool
