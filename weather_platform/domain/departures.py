"""Whether a station departs from its neighbours: a sensor that is broken, was moved or reports in another unit.

What belongs here: the mean difference of a station and column to the stations around it, month by month, and which of
these means are far from the usual ones. What does not: reading rows, and what people do about it. A departure never
retrains: a model needs a year to learn around a broken sensor.

What a station observes is compared with its own mean of the calendar month in the training years, and this anomaly
with the mean anomaly of the nearest stations: neither the season nor a neighbour that is silent for a while looks like
a departure. The days of a month share their weather, so a month is one value, and what is usual is how much it varied
between the training years.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from weather_platform.domain.drift import WatchedRows
from weather_platform.domain.neighbours import StationGrid, stations_within
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.splits import day_number

Floats = NDArray[np.float64]

RADIUS_KM: Final = 400.0
MOST_NEIGHBOURS: Final = 16
"""Nearest stations that a station is compared with; the work grows with the number of stations alone."""
LEAST_NEIGHBOURS: Final = 2
"""Neighbours that must report on a day: one alone may be the one that is wrong."""
LIMIT_Z: Final = 4.0
"""A station departs in a column beyond this. On the real table 0.1 % of the station-months of a column do."""
LEAST_DAYS: Final = 20
"""Days of a month on which station and neighbours must be known."""
LEAST_YEARS: Final = 2
"""Training years that must know the calendar month."""
LEAST_FREEDOM: Final = 8
"""Training months of a station and column, beyond one for each calendar month, that its usual variation rests on."""
LEAST_SHARE: Final = 0.5
"""A month without a departure is unknown when less than this share of what is usually compared could be."""
_LOGARITHMIC: Final = frozenset({"rainfall_mm", "evaporation_mm"})
"""Columns compared as ln(1 + value): a few days make most of their sum."""

Status = Literal["none", "departs", "unknown"]


@dataclass(frozen=True, slots=True)
class Departure:
    """One station and column. `difference` is to the neighbours, in the unit of the column (of ln(1 + mm) for amounts
    of rain and evaporation), beyond what is usual in this calendar month; `z` is that over its usual variation."""

    station: str
    column: str
    difference: float
    z: float

    def __str__(self) -> str:
        return f"{self.station} {self.column} by {self.difference:+.3g} (z {self.z:+.1f})"


@dataclass(frozen=True, kw_only=True)
class DepartureVerdict:
    """What a month says: the status, why, the departures (farthest first), and how many pairs of station and column
    were compared, of those that usually are."""

    month: str
    status: Status
    reasons: tuple[str, ...]
    departures: tuple[Departure, ...]
    compared: int
    usually_compared: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values as JSON knows them."""
        return asdict(self) | {"reasons": list(self.reasons), "departures": [asdict(each) for each in self.departures]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DepartureVerdict":
        """The verdict from its plain values."""
        departures = tuple(Departure(**each) for each in values["departures"])
        return cls(**{**values, "reasons": tuple(values["reasons"]), "departures": departures})

    def columns_of(self) -> dict[str, list[str]]:
        """The columns in which each station departs."""
        found: dict[str, list[str]] = {}
        for each in self.departures:
            found.setdefault(each.station, []).append(each.column)
        return {station: sorted(columns) for station, columns in sorted(found.items())}


class Neighbourhood:
    """The monthly differences of some rows to their neighbours, and the verdict of any of their months.

    `learned_through` is the last day of the training data: whole months up to it say what is usual.
    """

    def __init__(self, rows: WatchedRows, grid: StationGrid, learned_through: date) -> None:
        self._stations = rows.stations
        watched = {column.name: at for at, column in enumerate(rows.columns) if column.kind == "observation"}
        self.columns = [each.name for each in OBSERVATION_COLUMNS if each.kind == "number" and each.name in watched]
        origin, through = (int(rows.day.min()), int(rows.day.max())) if len(rows.day) else (0, 0)
        of_day = _months(np.arange(origin, through + 1))
        self._starts = np.flatnonzero(np.diff(of_day, prepend=of_day[0] - 1))
        self._numbers = of_day[self._starts]
        self._calendar = self._numbers % 12
        # As in `drift`: the label of the last day is the next day's, so a month is learned whole a day before its end.
        self._learned = _first_days(self._numbers + 1) - 2 <= day_number(learned_through)
        places = grid.index_of(rows.stations)
        self._known = np.flatnonzero(places >= 0)
        self._around = stations_within(grid, RADIUS_KM, MOST_NEIGHBOURS)[places[self._known]][:, places[self._known]]
        position = np.full(len(rows.stations), -1)
        position[self._known] = np.arange(len(self._known))
        own = position[rows.station_index]
        used = np.flatnonzero(own >= 0)
        cells = (rows.day[used] - origin, own[used])
        self._means = np.array(
            [
                self._monthly(rows.values[used, watched[name]], cells, of_day % 12, name in _LOGARITHMIC)
                for name in self.columns
            ]
        ).reshape(len(self.columns), len(self._numbers), len(self._known))

    def verdict(self, month: str) -> DepartureVerdict:
        """What a month says; `unknown` where there is too little to say, never `none`."""
        number = int(np.datetime64(month, "M").astype(np.int64))
        usual = self._learned & (self._numbers != number)
        same = usual & (self._calendar == number % 12)
        variation, freedom = self._variation(usual)
        years = np.count_nonzero(~np.isnan(self._means[:, same]), axis=1)
        comparable = (years >= LEAST_YEARS) & (freedom >= LEAST_FREEDOM) & (variation > 0)
        here = np.flatnonzero(self._numbers == number)
        now = self._means[:, here[0]] if len(here) else np.full(comparable.shape, np.nan)
        difference = now - _mean(self._means[:, same], axis=1)
        compared = comparable & ~np.isnan(difference)
        z = np.zeros(compared.shape)
        z[compared] = _normal(
            difference[compared] / (variation[compared] * np.sqrt(1 + 1 / years[compared])), freedom[compared]
        )
        found = sorted(zip(*np.nonzero(np.abs(z) > LIMIT_Z), strict=True), key=lambda cell: -abs(z[cell]))
        departures = tuple(
            Departure(
                self._stations[self._known[station]],
                self.columns[column],
                float(difference[column, station]),
                float(z[column, station]),
            )
            for column, station in found
        )
        count, usually = int(np.count_nonzero(compared)), int(np.count_nonzero(comparable))
        status: Status = "departs" if departures else "none"
        reasons = tuple(f"{each} departs from its neighbours" for each in map(str, departures))
        if not departures:
            reasons = (f"no station departs from its neighbours in {count} comparisons of station and column",)
        if not usually:
            status, reasons = (
                "unknown",
                (f"no station has {LEAST_NEIGHBOURS} neighbours within {RADIUS_KM:.0f} km and enough training months",),
            )
        elif not departures and count < LEAST_SHARE * usually:
            status, reasons = (
                "unknown",
                (f"only {count} of the usual {usually} comparisons of station and column have {LEAST_DAYS} days",),
            )
        return DepartureVerdict(
            month=month,
            status=status,
            reasons=reasons,
            departures=departures,
            compared=count,
            usually_compared=usually,
        )

    def _monthly(
        self, values: NDArray[np.float32], cells: tuple[Any, Any], calendar: NDArray[Any], logarithmic: bool
    ) -> Floats:
        """The mean difference to the neighbours by month and station; NaN below LEAST_DAYS."""
        days = len(calendar)
        table = np.full((days, self._around.shape[0]), np.nan, dtype=np.float32)
        table[cells] = np.log1p(values) if logarithmic else values
        sums, counts = self._by_month(table)
        for each in np.unique(self._calendar):
            learned = self._learned & (self._calendar == each)
            total = counts[learned].sum(axis=0)
            mean = np.where(total >= LEAST_YEARS * LEAST_DAYS, sums[learned].sum(axis=0) / np.maximum(total, 1), np.nan)
            table[calendar == each] -= mean.astype(np.float32)
        known = ~np.isnan(table)
        reporting = (self._around @ known.T.astype(np.float32)).T
        around = (self._around @ np.where(known, table, np.float32(0)).T).T
        around[reporting < LEAST_NEIGHBOURS] = np.nan
        sums, counts = self._by_month(table - around / np.maximum(reporting, 1))
        return np.where(counts >= LEAST_DAYS, sums / np.maximum(counts, 1), np.nan)

    def _by_month(self, table: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64]]:
        """Sums and counts of the known values of each month."""
        known = ~np.isnan(table)
        sums = np.add.reduceat(np.where(known, table, np.float32(0)), self._starts, axis=0, dtype=np.float64)
        return sums, np.add.reduceat(known, self._starts, axis=0, dtype=np.int64)

    def _variation(self, usual: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
        """How much the monthly means of each column and station vary between years, and the degrees of freedom."""
        squares = np.zeros(self._means[:, 0].shape)
        freedom = np.zeros(squares.shape, dtype=np.int64)
        for each in np.unique(self._calendar):
            means = self._means[:, usual & (self._calendar == each)]
            apart = means - _mean(means, axis=1)[:, None]
            known = np.count_nonzero(~np.isnan(means), axis=1)
            squares += np.where(known > 1, np.nansum(apart**2, axis=1), 0.0)
            freedom += np.maximum(known - 1, 0)
        return np.sqrt(squares / np.maximum(freedom, 1)), freedom


def _mean(values: Floats, axis: int) -> Floats:
    """The mean of the known values; NaN without one."""
    known = np.count_nonzero(~np.isnan(values), axis=axis)
    return np.asarray(np.where(known > 0, np.nansum(values, axis=axis) / np.maximum(known, 1), np.nan))


def _normal(t: Floats, freedom: NDArray[np.int64]) -> Floats:
    """The z that is as rare as this t: with few training months a large t is nothing unusual."""
    rare = np.maximum(stdtr(freedom, -np.abs(t)), 1e-300)
    return np.asarray(np.sign(t) * np.minimum(-ndtri(rare), np.abs(t)))


def _months(days: NDArray[Any]) -> NDArray[np.int64]:
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _first_days(months: NDArray[np.int64]) -> NDArray[np.int64]:
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
