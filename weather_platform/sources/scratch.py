"""Rows of a source sorted into months, in a temporary folder, and the days they are of.

What belongs here: keeping rows and giving them back by month, and which days are covered. What does not: reading files
(``csv_files``), and what a stray is (``domain.strays``).
"""

import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.domain.observations import RAW_SCHEMA
from weather_platform.domain.strays import stray_days
from weather_platform.errors import SourceError

STRAY_DATE: Final = "stray_date"
EPOCH: Final = date(1970, 1, 1).toordinal()
NO_DAY: Final = -(1 << 31)
HEAD: Final = -(1 << 31)
"""In place of a month: rows of the file that is being read that wait for its first datable one."""

TEXT_COLUMNS = tuple(
    field.name
    for field in RAW_SCHEMA
    if field.type == pa.string() and field.name not in ("month", "source", "file", "date_fault")
)
"""The raw columns that a file can fill: `station` to `rain_tomorrow`."""
SCRATCH_SCHEMA = pa.schema(
    [RAW_SCHEMA.field(name) for name in ("day", *TEXT_COLUMNS, "file", "row_number", "date_fault")]
)


def month_of(day: int) -> int:
    """Months since 1970-01 of a day since 1970-01-01."""
    return int(months_of(np.array([day]))[0])


def months_of(days: NDArray[np.signedinteger]) -> NDArray[np.int64]:
    """Months since 1970-01 of days since 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def day_numbers(table: pa.Table) -> NDArray[np.int32]:
    """Days since 1970-01-01; NO_DAY where there is none."""
    numbers: NDArray[np.int32] = pc.fill_null(table["day"].cast(pa.int32()), NO_DAY).to_numpy()
    return numbers


@dataclass(frozen=True, slots=True)
class _Strays:
    """Stray days of one file (None: of all), and the first and last day of what they strayed from."""

    file: str | None
    days: NDArray[np.int64]
    first: int
    last: int


class Scratch:
    """Rows sorted into months: every flush writes one Arrow file for each month it holds.

    `first_day` and `last_day`, since 1970-01-01, bound the days that can be covered.
    """

    def __init__(self, pending_bytes: int, first_day: int, last_day: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="weather-csv-", ignore_cleanup_errors=True)
        self._pending_limit = pending_bytes
        self._pending: dict[int, list[pa.Table]] = {}
        self._pending_bytes = 0
        self._segments: dict[int, list[Path]] = {}
        self._written = 0
        self._first_day, self._last_day = first_day, last_day
        self._rows: Counter[int] = Counter()
        self._sure: set[int] = set()
        self._strays: list[_Strays] = []
        self._moved_into: set[int] = set()
        self.first, self.last = 0, 0
        """The days covered, since 1970-01-01, once `settle` was called."""

    def add(self, month: int, table: pa.Table) -> None:
        """Append rows to a month. Within a month they stay in the order in which they were added."""
        self._pending.setdefault(month, []).append(table)
        self._pending_bytes += table.nbytes
        if self._pending_bytes > self._pending_limit:
            self.flush()

    def place_head(self, month: int) -> None:
        """Append the rows that waited for their month to it."""
        if HEAD in self._segments:  # too many to wait in memory
            self.flush()
            self._segments.setdefault(month, []).extend(self._segments.pop(HEAD))
        elif waiting := self._pending.pop(HEAD, None):
            self._pending.setdefault(month, []).extend(waiting)

    def flush(self) -> None:
        """Write what is in memory."""
        for month, tables in sorted(self._pending.items()):
            path = Path(self._folder.name) / f"{self._written}.arrow"
            self._written += 1
            try:
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCRATCH_SCHEMA) as writer:
                    writer.write_table(pa.concat_tables(tables).combine_chunks())
            except OSError as error:
                raise SourceError(f"{path}: cannot be written ({error}); free disk space or set TMPDIR") from error
            self._segments.setdefault(month, []).append(path)
        self._pending.clear()
        self._pending_bytes = 0

    def count(self, file: str, days: NDArray[np.int64], rows: NDArray[np.int64], *, sure: bool) -> None:
        """Take in the datable days of a file, ascending, and the rows of each. `sure` ones are never strays."""
        strays = np.zeros(len(days), dtype=np.bool_) if sure else stray_days(days, rows)
        body = days[~strays]
        if strays.any():
            self._strays.append(_Strays(file, days[strays], int(body[0]), int(body[-1])))
        self._rows.update(dict(zip(body.tolist(), rows[~strays].tolist(), strict=True)))
        if sure:
            self._sure.update(body.tolist())

    def settle(self) -> list[tuple[str, int, str]]:
        """Set aside stray rows and say what is covered, after the last file. Gives file, line and date of each stray.

        Their rows, and those without a usable date after them, go to the month of the other rows that is nearest.
        """
        self.flush()
        days = np.array(sorted(self._rows), dtype=np.int64)
        rows = np.array([self._rows[day] for day in days.tolist()], dtype=np.int64)
        strays = stray_days(days, rows, np.array([day in self._sure for day in days.tolist()], dtype=np.bool_))
        body = days[~strays]
        self.first, self.last = int(body[0]), int(body[-1])
        if strays.any():
            self._strays.append(_Strays(None, days[strays], self.first, self.last))
        found: list[tuple[str, int, str]] = []
        for each in self._strays:
            for month in np.unique(months_of(each.days)).tolist():
                found += self._set_aside(each, month)
        self.flush()
        return sorted(found)

    def _set_aside(self, strays: _Strays, month: int) -> list[tuple[str, int, str]]:
        """Move the stray rows of a month to the nearest month of the body."""
        nearest = strays.first if month_of(strays.first) > month else strays.last
        target = month_of(min(max(nearest, self.first), self.last))
        table = self.read(month)
        days = day_numbers(table)
        datable = (days >= self._first_day) & (days <= self._last_day) & (months_of(days) == month)
        datable &= table["date_fault"].is_null().to_numpy()
        stray = datable & np.isin(days, strays.days)
        if strays.file is not None:
            stray &= np.asarray(pc.equal(table["file"], strays.file).to_numpy(), dtype=np.bool_)
        moving = stray[_leaders(table["file"], datable)]
        faults = pc.if_else(pa.array(stray), STRAY_DATE, table["date_fault"])
        table = table.set_column(table.schema.get_field_index("date_fault"), SCRATCH_SCHEMA.field("date_fault"), faults)
        self._segments.pop(month, None)
        self.add(month, table.filter(pa.array(~moving)))
        self.add(target, table.filter(pa.array(moving)))
        self._moved_into.add(target)
        self.flush()
        named = table.filter(pa.array(stray)).select(["file", "row_number", "date"])
        return [(row["file"], row["row_number"], row["date"]) for row in named.to_pylist()]

    def read(self, month: int) -> pa.Table:
        """The rows of a month in the order of files and lines."""
        tables = []
        for path in self._segments.get(month, []):
            with pa.OSFile(str(path), "rb") as source:
                tables.append(pa.ipc.open_file(source).read_all())
        if not tables:
            return SCRATCH_SCHEMA.empty_table()
        table = pa.concat_tables(tables).combine_chunks()
        return (
            table.sort_by([("file", "ascending"), ("row_number", "ascending")]) if month in self._moved_into else table
        )

    def remove(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()


def _leaders(files: pa.ChunkedArray, datable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the one whose month it was given: the last datable one before it in its file, else the next one."""
    codes = files.combine_chunks().dictionary_encode().indices.to_numpy()
    at = np.arange(len(codes))
    starts = np.maximum.accumulate(np.where(np.r_[True, codes[1:] != codes[:-1]], at, 0)) if len(at) else at
    before = np.maximum.accumulate(np.where(datable, at, -1)) if len(at) else at
    after = np.minimum.accumulate(np.where(datable, at, len(at))[::-1])[::-1] if len(at) else at
    return np.where(before >= starts, before, np.minimum(after, np.maximum(len(at) - 1, 0)))
