"""Drift of a month: which rows it is compared with, how far apart is far, and what the distances say.

What belongs here: the reference (the same calendar month of the years that the models learned from), the balanced
draw from both sides, the usual distance of each column, and the verdict with its reasons. What does not: the report
that people read (`evidently_report`), tables and models.

Station-days of one day share their weather, so a month holds a few dozen independent spells, not a thousand rows, and
a test of significance calls every month drift. So nothing here is a p-value: each training month is compared with the
same calendar month of the other training years, and the mean of these distances is what is usual for the column. A
column drifts when its distance is TIMES_USUAL times that. docs/adr/0011 says how the constants were found.

A distance compares the values that are there. Missing values are compared apart, as the share that is known: a column
whose usual values are mostly gone is drift too, however ordinary the rest of them is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.splits import day_number
from weather_platform.errors import InvariantError

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
ColumnKind = Literal["observation", "prediction", "label"]
ColumnStatus = Literal["none", "drift", "missing", "unknown"]
Status = Literal["none", "drift", "unknown"]

METHOD = "wasserstein"
"""Evidently's name of the distance: the first Wasserstein distance in standard deviations of the reference."""
TIMES_USUAL = 4.0
"""A column drifts from this many times its usual distance on."""
LEAST_DAYS = 25
"""Observed days of a month below which it cannot be compared: the usual distances are those of whole months."""
LEAST_YEARS = 2
"""Training years that must hold the calendar month: one year says nothing about the difference between years."""
LEAST_MONTHS = 12
"""Training months that a usual distance must be the mean of."""
LEAST_VALUES = 20
"""Known values of a column on each side below which it is not compared."""
LEAST_SHARE = 0.5
"""A station counts for a column where it reported it on this share of its days; below this share of the columns or of
the reference's stations compared, a month without drift is unknown."""
MOST_ROWS = 5_000
"""Rows drawn of a month at most."""
REFERENCE_ROWS_PER_ROW = 2
"""Rows drawn of the reference for each row of the month."""
MOST_STATIONS = 1_000
"""Stations watched at most; of more, so many are drawn."""


@dataclass(frozen=True, slots=True)
class WatchedColumn:
    """One column that is compared: an observation, a model's prediction, or a label."""

    name: str
    kind: ColumnKind


@dataclass(frozen=True, eq=False)
class WatchedRows:
    """Station-days of all months that are compared. Missing values are NaN."""

    stations: tuple[str, ...]
    station_index: NDArray[np.int32]
    day: NDArray[np.int32]
    columns: tuple[WatchedColumn, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.day), len(self.columns)) or len(self.station_index) != len(self.day):
            raise InvariantError(
                f"watched values of shape {self.values.shape} do not belong to {len(self.day)} rows of "
                f"{len(self.columns)} columns"
            )


@dataclass(frozen=True, eq=False)
class Sides:
    """A month and its reference, ready to be compared: the same stations in the same proportions on both sides.

    `current` and `reference` have a column for each of `columns`; cells that do not count are NaN. `lacking` says why
    there is nothing to compare; then both are empty.
    """

    month: str
    columns: tuple[WatchedColumn, ...]
    current: Floats
    reference: Floats
    lacking: tuple[str, ...]
    days: int
    rows: int
    reference_rows: int
    reference_months: tuple[str, ...]
    unseen_stations: tuple[str, ...]
    silent_stations: tuple[str, ...]
    stations_compared: int
    """Stations that count for at least one observed column."""
    reference_stations: int
    missing_share: Floats
    reference_missing_share: Floats
    weather_share: Floats
    """Of the reference's standard deviation: what is left of it within a station. The rest is place, not weather."""
    lost: Floats
    """Of each observed column: the share of the values which the same stations report in the reference, and of which
    the month has none. NaN where the reference has too few."""

    def comparable(self) -> list[int]:
        """The columns with enough known values on both sides and a reference that is not one constant."""
        enough = (np.count_nonzero(~np.isnan(self.current), axis=0) >= LEAST_VALUES) & (
            np.count_nonzero(~np.isnan(self.reference), axis=0) >= LEAST_VALUES
        )
        return np.flatnonzero(enough & (self.weather_share > 0)).tolist()


@dataclass(frozen=True, eq=False)
class Usual:
    """How far a training month is from the same calendar month of the other training years, column by column.

    In standard deviations within a station, so that it does not depend on which stations there are: with a station of
    another climate the same weather is fewer standard deviations of all stations together.
    """

    distance: Floats
    lost: Floats
    """The mean of `Sides.lost` over the same months."""
    months: int

    def gone(self, sides: Sides) -> list[int]:
        """The columns that lost most of their usual values, and many times as many as they lose at times."""
        least = np.fmax(LEAST_SHARE, TIMES_USUAL * self.lost)
        return np.flatnonzero((sides.lost >= least) & ~np.isnan(self.lost)).tolist()

    def of(self, sides: Sides) -> Floats:
        """The usual distances of this month, as METHOD measures them."""
        return self.distance * sides.weather_share

    def thresholds(self, sides: Sides) -> dict[str, float]:
        """The columns that can be compared, and from which distance on each drifts."""
        usual = self.of(sides)
        limits = {at: _threshold(usual[at]) for at in sides.comparable()}
        return {sides.columns[at].name: limit for at, limit in limits.items() if limit is not None}


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """What one column did. Distances are in standard deviations of the reference; None where not compared."""

    name: str
    kind: ColumnKind
    status: ColumnStatus
    distance: float | None
    usual_distance: float | None
    threshold: float | None
    known_values: int
    reference_known_values: int
    missing_share: float | None
    reference_missing_share: float | None


@dataclass(frozen=True, kw_only=True)
class DriftVerdict:
    """What a month says: the status, why, and each column. `share` is of the observed columns that were compared."""

    month: str
    status: Status
    reasons: tuple[str, ...]
    share: float | None
    columns: tuple[ColumnDrift, ...]
    days: int
    rows: int
    reference_rows: int
    current_sample: int
    reference_sample: int
    reference_months: tuple[str, ...]
    usual_months: int
    unseen_stations: tuple[str, ...]
    silent_stations: tuple[str, ...]
    learned_through: str
    hindcast: bool
    method: str
    times_usual: float
    seed: int

    def named(self, status: ColumnStatus) -> list[str]:
        """The columns of this status."""
        return [column.name for column in self.columns if column.status == status]

    def to_dict(self) -> dict[str, Any]:
        """Plain values as JSON knows them, in a fixed order."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def sampled_stations(stations: Iterable[str], seed: int) -> list[str]:
    """The stations that are watched, in the order of their names: all of them, or MOST_STATIONS of them drawn."""
    names = sorted(stations)
    if len(names) <= MOST_STATIONS:
        return names
    return [names[at] for at in np.sort(np.random.default_rng(seed).choice(len(names), MOST_STATIONS, replace=False))]


def distance(reference: Floats, current: Floats) -> float:
    """The distance of two samples without missing values, as METHOD measures it."""
    from scipy.stats import wasserstein_distance  # a second and 60 MB, which the service does without

    return float(wasserstein_distance(reference, current)) / float(reference.std())


class Watch:
    """The months of some rows, and which of them are compared with which. Deterministic for a seed.

    `learned_through` is the last day that every model under watch has learned from: whole months up to it are the
    reference. `tuned_through` has that day for each prediction column whose model has learned from later days too.
    Draws depend on the seed and the month alone, so a month of a range is that month asked for alone.
    """

    def __init__(
        self,
        rows: WatchedRows,
        learned_through: date,
        seed: int,
        tuned_through: Mapping[str, date] = MappingProxyType({}),
    ) -> None:
        self.rows = rows
        self.learned_through = learned_through
        self.tuned_through = tuned_through
        self.seed = seed
        self._newest = max([learned_through, *tuned_through.values()])
        order = np.argsort(rows.day, kind="stable")
        months = _month_numbers(rows.day[order])
        found, starts = np.unique(months, return_index=True)
        parts = np.split(order, starts[1:]) if len(found) else []
        self._rows_of: dict[int, Rows] = dict(zip(found.tolist(), parts, strict=True))
        self._learned = self._whole_months(learned_through)

    def sides(self, month: str) -> Sides:
        """A month beside the same calendar month of the other training years."""
        return self._sides(_number(month))

    def usual(self) -> Usual:
        """The mean distance of each column over the training months, each compared as `sides` compares a month.

        A model has seen most of its training rows, so what it says of them is sharper than what it will say of any
        new month. The last twelve months it learned from had no say in its fit (they tuned it), so for its predictions
        they are looked at alone too, and the larger mean counts.
        """
        found: dict[int, Floats] = {}

        def mean(months: list[int], least: int) -> Floats:
            for month in months:
                if month not in found:
                    found[month] = self._apart(month)
            lines = [found[month] for month in months]
            return _mean_of_columns(np.array(lines).reshape(len(lines), 2, len(self.rows.columns)), least)

        usual, lost = mean(self._learned, LEAST_MONTHS)
        for at, column in enumerate(self.rows.columns):
            if column.kind == "prediction":
                through = self.tuned_through.get(column.name, self.learned_through)
                tuning = self._whole_months(through)[-LEAST_MONTHS:]
                usual[at] = np.fmax(usual[at], mean(tuning, LEAST_MONTHS // 2)[0, at])
        return Usual(usual, lost, len(self._learned))

    def _apart(self, month: int) -> Floats:
        """How far a month is from its reference, column by column, and what it lost; NaN where it cannot be compared.

        (2, columns)
        """
        sides = self._sides(month)
        apart = np.full(len(self.rows.columns), np.nan)
        for at in sides.comparable():
            apart[at] = distance(_known(sides.reference, at), _known(sides.current, at)) / sides.weather_share[at]
        return np.stack([apart, sides.lost])

    def _whole_months(self, through: date) -> list[int]:
        """The months with enough days that a model tuned through this day has learned from whole.

        The label of its last day is the next day's observation, so a month ends with the day before its last: a split
        leaves that one out.
        """
        last = day_number(through) + 1
        return [
            month
            for month, at in self._rows_of.items()
            if _first_day(month + 1) - 1 <= last and self._days(at) >= LEAST_DAYS
        ]

    def judge(self, sides: Sides, usual: Usual, distances: Mapping[str, float]) -> DriftVerdict:
        """The verdict on a month from the distances of its columns (by name, for those that were compared)."""
        columns = tuple(
            _column(sides, at, usual_here, distances.get(column.name))
            for at, (column, usual_here) in enumerate(zip(sides.columns, usual.of(sides).tolist(), strict=True))
        )
        observed = [column for column in columns if column.kind == "observation"]
        compared = [column for column in observed if column.status in ("none", "drift")]
        drifted = [column for column in compared if column.status == "drift"]
        status, reasons = _status(sides, columns, usual)
        return DriftVerdict(
            month=sides.month,
            status=status,
            reasons=reasons,
            share=len(drifted) / len(compared) if compared else None,
            columns=columns,
            days=sides.days,
            rows=sides.rows,
            reference_rows=sides.reference_rows,
            current_sample=len(sides.current),
            reference_sample=len(sides.reference),
            reference_months=sides.reference_months,
            usual_months=usual.months,
            unseen_stations=sides.unseen_stations,
            silent_stations=sides.silent_stations,
            learned_through=self.learned_through.isoformat(),
            hindcast=_first_day(_number(sides.month)) <= day_number(self._newest),
            method=METHOD,
            times_usual=TIMES_USUAL,
            seed=self.seed,
        )

    def _sides(self, month: int) -> Sides:
        rows, stations = self.rows, len(self.rows.stations)
        present = self._rows_of.get(month, np.empty(0, np.intp))
        years = [other for other in self._learned if other != month and (other - month) % 12 == 0]
        learned = np.concatenate([self._rows_of[other] for other in years]) if years else np.empty(0, np.intp)
        here, there = _counts(rows.station_index[present], stations), _counts(rows.station_index[learned], stations)
        both = (here > 0) & (there > 0)
        days = self._days(present)
        lacking = _lacking(days, len(years), bool(both.any()))
        random = np.random.default_rng([self.seed, month % 2**32])  # months before 1970 are below zero
        empty = np.empty(0, np.intp)
        current = empty if lacking else _drawn(random, present[both[rows.station_index[present]]], MOST_ROWS)
        drawn = _counts(rows.station_index[current], stations)
        reference = empty if lacking else _balanced(random, learned, rows.station_index, drawn * REFERENCE_ROWS_PER_ROW)
        now, then = rows.values[current].astype(np.float64), rows.values[reference].astype(np.float64)
        counts = _reporting(now, rows.station_index[current], stations) & _reporting(
            then, rows.station_index[reference], stations
        )
        observed = [at for at, column in enumerate(rows.columns) if column.kind == "observation"]
        compared = counts[:, observed].any(axis=1) & both
        missing = _missing_share(rows.values[present]), _missing_share(rows.values[learned])
        lost = np.full(len(rows.columns), np.nan)
        lost[observed] = _lost(now, then)[observed]
        now[~counts[rows.station_index[current]]] = np.nan
        then[~counts[rows.station_index[reference]]] = np.nan
        return Sides(
            month=_key(month),
            columns=rows.columns,
            current=now,
            reference=then,
            lacking=lacking,
            days=days,
            rows=len(present),
            reference_rows=len(learned),
            reference_months=tuple(_key(other) for other in years),
            unseen_stations=self._names((here > 0) & (there == 0)),
            silent_stations=self._names((here == 0) & (there > 0)),
            stations_compared=int(np.count_nonzero(compared)),
            reference_stations=int(np.count_nonzero(there)),
            missing_share=missing[0],
            reference_missing_share=missing[1],
            weather_share=_weather_share(then, rows.station_index[reference], stations),
            lost=lost,
        )

    def _days(self, at: Rows) -> int:
        return len(np.unique(self.rows.day[at]))

    def _names(self, mask: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(self.rows.stations[at] for at in np.flatnonzero(mask))


def _lacking(days: int, years: int, comparable_station: bool) -> tuple[str, ...]:
    if not days:
        return ("no station reported in this month",)
    reasons = []
    if days < LEAST_DAYS:
        reasons.append(f"{days} observed days, and a month is compared from {LEAST_DAYS} on")
    if years < LEAST_YEARS:
        held = f"{years} training year holds" if years == 1 else f"{years or 'no'} training years hold"
        reasons.append(f"{held} this calendar month (the month itself left out), and {LEAST_YEARS} are needed")
    elif not comparable_station:
        reasons.append("no station of this month reported in the same calendar month of the training years")
    return tuple(reasons)


def _status(sides: Sides, columns: Iterable[ColumnDrift], usual: Usual) -> tuple[Status, tuple[str, ...]]:
    if sides.lacking:
        return "unknown", sides.lacking
    drifted = [column for column in columns if column.status == "drift"]
    if drifted:
        return "drift", tuple(_said(column) for column in sorted(drifted, key=_excess, reverse=True))
    observed = [column for column in columns if column.kind == "observation"]
    known = [column for column in observed if column.reference_missing_share != 1.0]
    compared = [column for column in observed if column.status == "none"]
    if not compared or len(compared) < LEAST_SHARE * len(known):
        return "unknown", (f"{len(compared)} of {len(known)} observed columns could be compared",)
    heard = f"{sides.stations_compared} of {sides.reference_stations} stations of the reference could be compared"
    if sides.stations_compared < LEAST_SHARE * sides.reference_stations:
        return "unknown", (heard,)
    if gone := usual.gone(sides):
        return "drift", tuple(
            f"{sides.columns[at].name}: {sides.lost[at]:.0%} of its usual values are gone" for at in gone
        )
    reasons = [f"no column is {TIMES_USUAL:g} times as far from the reference as is usual"]
    if missing := [column.name for column in known if column.status == "missing"]:
        reasons.append(f"missing all month: {', '.join(missing)}")
    if sides.stations_compared < sides.reference_stations:
        reasons.append(heard)
    return "none", tuple(reasons)


def _said(column: ColumnDrift) -> str:
    return f"{column.name}: {_excess(column):.1f} times the usual distance from the reference"


def _excess(column: ColumnDrift) -> float:
    return (column.distance or 0.0) / (column.usual_distance or 1.0)


def _column(sides: Sides, at: int, usual: float, found: float | None) -> ColumnDrift:
    threshold = _threshold(usual)
    status: ColumnStatus = "unknown"
    if found is not None and threshold is not None:
        status = "drift" if found >= threshold else "none"
    elif sides.rows and sides.missing_share[at] == 1.0:
        status = "missing"
    return ColumnDrift(
        name=sides.columns[at].name,
        kind=sides.columns[at].kind,
        status=status,
        distance=found,
        usual_distance=_finite(usual),
        threshold=threshold,
        known_values=int(np.count_nonzero(~np.isnan(sides.current[:, at]))),
        reference_known_values=int(np.count_nonzero(~np.isnan(sides.reference[:, at]))),
        missing_share=_finite(sides.missing_share[at]),
        reference_missing_share=_finite(sides.reference_missing_share[at]),
    )


def _threshold(usual: float) -> float | None:
    return float(usual) * TIMES_USUAL if usual > 0 else None  # NaN is not more than 0


def _drawn(random: np.random.Generator, at: Rows, most: int) -> Rows:
    return at if len(at) <= most else np.sort(random.choice(at, most, replace=False))


def _balanced(random: np.random.Generator, at: Rows, station: NDArray[np.int32], wanted: Rows) -> Rows:
    """So many rows of each station: spread over all that it has, each taken again only when all were taken."""
    order = at[np.lexsort((random.random(len(at)), station[at]))]
    have = _counts(station[at], len(wanted))
    wanted = np.where(have > 0, wanted, 0)
    of = np.repeat(np.arange(len(wanted)), wanted)
    turn = np.arange(len(of)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    taken: Rows = order[(np.cumsum(have) - have)[of] + turn % np.maximum(have, 1)[of]]
    return np.sort(taken)


def _reporting(values: Floats, station: NDArray[np.int32], stations: int) -> NDArray[np.bool_]:
    """(station, column): whether the station reported the column often enough to count for it."""
    rows = np.maximum(_counts(station, stations), 1)
    known = ~np.isnan(values)
    counts = [np.bincount(station, weights=known[:, at], minlength=stations) for at in range(values.shape[1])]
    return np.column_stack(counts) >= LEAST_SHARE * rows[:, None] if counts else np.empty((stations, 0), np.bool_)


def _weather_share(values: Floats, station: NDArray[np.int32], stations: int) -> Floats:
    """Of each column's standard deviation: what is left of it around the means of the stations. 0 without any."""
    shares = np.zeros(values.shape[1])
    for at in range(values.shape[1]):
        known = ~np.isnan(values[:, at])
        value, of = values[known, at], station[known]
        if len(value) and value.std() > 0:
            means = np.bincount(of, weights=value, minlength=stations) / np.maximum(_counts(of, stations), 1)
            shares[at] = (value - means[of]).std() / value.std()
    return shares


def _counts(station: NDArray[np.int32], stations: int) -> Rows:
    return np.bincount(station, minlength=stations).astype(np.intp)


def _missing_share(values: NDArray[np.float32]) -> Floats:
    if not len(values):
        return np.full(values.shape[1], np.nan)
    share: Floats = np.count_nonzero(np.isnan(values), axis=0) / len(values)
    return share


def _lost(now: Floats, then: Floats) -> Floats:
    """The share of each column's usual values that a month lacks, 0 when it has more; both sides have the same stations
    in the same proportions. NaN where fewer than LEAST_VALUES are usual."""
    usual = np.count_nonzero(~np.isnan(then), axis=0)
    if not len(now):
        return np.full(then.shape[1], np.nan)
    known, usually = np.count_nonzero(~np.isnan(now), axis=0) / len(now), usual / max(len(then), 1)
    share: Floats = np.where(usual >= LEAST_VALUES, np.maximum(1 - known / np.where(usual, usually, 1), 0), np.nan)
    return share


def _mean_of_columns(found: Floats, least: int) -> Floats:
    known = np.count_nonzero(~np.isnan(found), axis=0)
    mean: Floats = np.where(known >= least, np.nansum(found, axis=0) / np.maximum(known, 1), np.nan)
    return mean


def _known(values: Floats, at: int) -> Floats:
    column: Floats = values[:, at]
    known: Floats = column[~np.isnan(column)]
    return known


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _month_numbers(days: NDArray[np.int32]) -> NDArray[np.int64]:
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _number(month: str) -> int:
    return int(np.datetime64(month, "M").astype(np.int64))


def _key(month: int) -> str:
    return str(np.datetime64(month, "M"))


def _first_day(month: int) -> int:
    return int(np.datetime64(month, "M").astype("datetime64[D]").astype(np.int64))
