"""Where observations come from. A source says which days it covers, then gives the rows of a month as received.

What belongs here: reading and generating rows, and their place in a month. What does not: cleaning, typing, or any
judgement of a row; that is the dbt project's, so that every rejected row keeps its reason.
"""

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import pyarrow as pa

from weather_platform.domain.stations import Station


@dataclass(frozen=True, slots=True)
class Coverage:
    """The first and last day a source has anything to say about (both inclusive)."""

    first_day: date
    last_day: date


class Source(Protocol):
    """One origin of raw rows, made for one run: its `fetched_at` is fixed when it is built.

    Any months of the coverage in any order, then `close`.
    """

    name: str
    """"csv" or "synthetic"; stored with every row."""
    synthetic: bool
    """Whether the rows are generated rather than observed."""
    generator: str | None
    """What generates them, the `file` of every row; rows of another one are another source's. None: observed."""

    def stations(self) -> tuple[Station, ...]:
        """The station catalogue that goes with this source."""

    def stamp(self) -> str:
        """What the source is now, in one word, found without reading rows: the same stamp, the same rows.

        Another stamp does not mean other rows; ``sources.changes`` compares those.
        """

    def coverage(self) -> Coverage:
        """The days covered. Reads what it must to know; SourceError names file, line and column."""

    def remarks(self) -> tuple[str, ...]:
        """What the run's last lines say of the source, a line each: what was passed over or doubted."""

    def rows(self, month: str) -> pa.Table:
        """All rows of one month (YYYY-MM) as RAW_SCHEMA, ordered by file and row number.

        A month inside the coverage may have no rows; a month outside is a SourceError. Everything but
        `fetched_at` is the same at every call.
        """

    def close(self) -> None:
        """Release scratch files."""
