"""Which months of a source differ from the rows that are stored.

What belongs here: comparing the rows of a month as received with the stored ones, day by day. What does not: where the
stored rows are (the caller gives a function that reads them), whether files changed at all (``Source.stamp``, which
reads no file), and what is done about a change (``automation.updates``).

Where a row came from is not compared: a table that grows moves its lines, and a file may be renamed.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.domain.observations import RAW_SCHEMA, raw_rows
from weather_platform.sources import Coverage, Source

MONTHS_AT_ONCE = 24
"""Stored months that are read in one scan: opening as many files one by one takes longer than reading them."""

_PROVENANCE = ("file", "row_number", "fetched_at", "prepared_at", "modified_at")
_CONTENT = tuple(name for name in RAW_SCHEMA.names if name not in ("month", *_PROVENANCE))
_FIELD_END, _MISSING = "\x1f", "\x00"


@dataclass(frozen=True, slots=True)
class MonthChange:
    """A month (YYYY-MM) whose rows differ from the stored ones, and the days on which they do, ascending.

    `days` is empty when only rows without a readable day differ.
    """

    month: str
    days: tuple[date, ...]
    stored: bool
    """Whether the month was stored before."""


def changed_months(
    source: Source, stored: Mapping[str, int], read: Callable[[Sequence[str]], pa.Table]
) -> Iterator[MonthChange]:
    """The months of the source's coverage whose rows are not the stored ones, ascending.

    `stored` has the rows of each stored month; `read` gives the stored rows (RAW_SCHEMA) of some months. Stored months
    that the source does not cover are not looked at: a source may hold the newest days only.
    """
    months = months_of(source.coverage())
    for at in range(0, len(months), MONTHS_AT_ONCE):
        together = months[at : at + MONTHS_AT_ONCE]
        known = [month for month in together if month in stored]
        kept = read(known) if known else RAW_SCHEMA.empty_table()
        for month in together:
            rows = source.rows(month)
            before = kept.filter(pc.equal(kept["month"], month))
            if month not in stored:
                yield MonthChange(month, _days(rows), stored=False)
            elif not _content(rows).equals(_content(before)) and (days := _differing(rows, before)) is not None:
                yield MonthChange(month, days, stored=True)


def all_months(source: Source, stored: Collection[str]) -> Iterator[MonthChange]:
    """Every month of the source's coverage as changed on all of its days."""
    for month in months_of(source.coverage()):
        yield MonthChange(month, _days(source.rows(month)), stored=month in stored)


def months_of(coverage: Coverage) -> list[str]:
    """Every month (YYYY-MM) of these days."""
    month, months = coverage.first_day.replace(day=1), []
    while month <= coverage.last_day:
        months.append(month.isoformat()[:7])
        month = (month + timedelta(days=31)).replace(day=1)
    return months


def content_digest(rows: pa.Table) -> str:
    """A SHA-256 (hex) of what the rows of a month say, the same wherever and in which order of stations they came."""
    digest = hashlib.sha256()
    by_day = _lines_by_day(rows)
    for day in sorted(by_day, key=lambda day: day or date.min):
        digest.update("\x1e".join([str(day), *by_day[day]]).encode())
        digest.update(b"\x1d")
    return digest.hexdigest()


def _content(rows: pa.Table) -> pa.Table:
    """What the rows say. A column that an older version of the platform did not store is empty."""
    return raw_rows(rows).select(_CONTENT).combine_chunks()


def _days(rows: pa.Table) -> tuple[date, ...]:
    return tuple(pc.unique(rows["day"].drop_null()).sort().to_pylist())


def _differing(rows: pa.Table, before: pa.Table) -> tuple[date, ...] | None:
    """The days whose rows differ; None when the same rows come in another order."""
    now, then = _lines_by_day(rows), _lines_by_day(before)
    days = {day for day in now.keys() | then.keys() if now.get(day) != then.get(day)}
    return tuple(sorted(day for day in days if day is not None)) if days else None


def _lines_by_day(rows: pa.Table) -> dict[date | None, list[str]]:
    """The rows of each day as text, by station. Rows of one station-day keep their order: the last one counts."""
    content = _content(rows)
    texts = [content[name].cast(pa.string()) for name in _CONTENT]
    lines = pc.binary_join_element_wise(*texts, _FIELD_END, null_handling="replace", null_replacement=_MISSING)
    found: dict[date | None, list[tuple[str, int, str]]] = {}
    for at, (day, station, line) in enumerate(
        zip(content["day"].to_pylist(), content["station"].to_pylist(), lines.to_pylist(), strict=True)
    ):
        found.setdefault(day, []).append((station or "", at, line))
    return {day: [line for *_, line in sorted(of_day)] for day, of_day in found.items()}
