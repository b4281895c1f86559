"""Station-days that are stored already: a month that is received again must not lose any of them unawares.

What belongs here: which station-days the stored raw rows speak of, and which of them new rows of a month lack. What
does not: whether that may be (``assets``). Rows that cleaning rejects whatever else they say do not count: their day
cannot be read or lies outside of their month, or their station is not in the catalogue.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.domain.recognition import STATION_COLUMNS, Recogniser
from weather_platform.domain.stations import Station
from weather_platform.lake.provenance import RAW_TABLE
from weather_platform.lake.tables import Lake

MONTHS_AT_ONCE: Final = 24
"""Months that are read in one scan: opening as many files apart takes longer than what is in them."""
ROWS_AT_ONCE: Final = 1_000_000
"""Rows that are read in one scan, unless one month has more."""

_NO_DAY: Final = -(1 << 31)
_STATIONS: Final = 1 << 20
"""More than a catalogue has: a station-day is the number `day * _STATIONS + station`, so that they sort by day."""


class StoredStationDays:
    """What the lake held of some months when this was made. Months without stored rows cost nothing."""

    def __init__(self, lake: Lake, months: Iterable[str], stations: Iterable[Station]) -> None:
        self._snapshot = lake.snapshot(RAW_TABLE) if lake.exists(RAW_TABLE) else None
        stored = self._snapshot.row_counts() if self._snapshot else {}
        self._rows = {month: stored[month] for month in sorted(months) if stored.get(month)}
        catalogue = list(stations)
        self._names = [station.id for station in catalogue]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._recogniser = Recogniser(catalogue)
        self._stored: dict[str, NDArray[np.int64]] = {}

    def lost(self, month: str, rows: pa.Table) -> str | None:
        """What the lake holds of this month and these rows (RAW_SCHEMA) lack, in words; None when nothing."""
        if self._snapshot is None or month not in self._rows:
            return None
        if month not in self._stored:
            self._read_from(month)
        lost = np.setdiff1d(self._stored.pop(month), self._station_days(rows), assume_unique=True)
        if not len(lost):
            return None
        day, station = divmod(int(lost[0]), _STATIONS)
        first = f"{self._names[station]} {date(1970, 1, 1) + timedelta(days=day)}"
        count = f"{len(lost):,} station-day{'' if len(lost) == 1 else 's'}"
        return f"{month}: the lake holds {count} that the source no longer has (first: {first})"

    def _read_from(self, month: str) -> None:
        """Read this month and those after it, as far as one scan goes."""
        assert self._snapshot is not None  # noqa: S101 - or no month would be stored
        together, rows = [month], self._rows[month]
        for other in (other for other in self._rows if other > month):
            rows += self._rows[other]
            if len(together) == MONTHS_AT_ONCE or rows > ROWS_AT_ONCE:
                break
            together.append(other)
        found = self._station_days(self._snapshot.read(keys=together, columns=self._columns()))
        starts = np.array([*together, together[-1]], dtype="datetime64[M]")
        starts[-1] += 1
        bounds = np.searchsorted(found // _STATIONS, starts.astype("datetime64[D]").astype(np.int64))
        for number, name in enumerate(together):
            self._stored[name] = found[bounds[number] : bounds[number + 1]]

    def _station_days(self, rows: pa.Table) -> NDArray[np.int64]:
        """The station-days of these rows, ascending, each once."""
        days = pc.fill_null(rows["day"].cast(pa.int32()), _NO_DAY).to_numpy().astype(np.int64)
        months = rows["month"].combine_chunks().dictionary_encode()
        own = np.array(months.dictionary.to_pylist(), dtype="datetime64[M]")[months.indices.to_numpy()]
        ids = self._recogniser.ids(rows)
        names = np.array([*(self._numbers[name] for name in ids.dictionary.to_pylist()), -1], dtype=np.int64)
        stations = names[pc.fill_null(ids.indices, len(names) - 1).to_numpy()]
        counted = (stations >= 0) & (days.astype("datetime64[D]").astype("datetime64[M]") == own)
        return np.unique(days[counted] * _STATIONS + stations[counted])

    def _columns(self) -> list[str]:
        """What is read of the stored rows; tables of earlier versions lack some of the station's columns."""
        assert self._snapshot is not None  # noqa: S101 - as above
        stored = self._snapshot.schema.names
        return ["month", "day", *(name for name in STATION_COLUMNS if name in stored)]
