"""Observations -> feature matrix: the ONE implementation, called by training and by serving.

What belongs here: every number a model may see, its name, unit and meaning. What does not: labels
(``targets``), which rows train (``splits``), the geometry of neighbours (``neighbours``), what a request sends
(``live``), reading or writing tables.

A row is a station and a day D. It knows what all stations reported up to and including D, and nothing later.
Its bits do not depend on what is computed with it: one row alone, a year or a million rows give the same
float32. So sums run in a fixed order (one sparse product, cumulative sums over lags), nothing between an
observation and a feature calls sin, cos, exp or log (there are tables), and every missing value is the same
NaN.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.neighbours import (
    FIELDS,
    NeighbourWeights,
    StationGrid,
    neighbour_weights,
)
from weather_platform.domain.observations import OBSERVATION_COLUMNS, RAIN_DAY_MM
from weather_platform.errors import InvariantError

__all__ = [
    "FEATURES",
    "FEATURE_VERSION",
    "HISTORY_DAYS",
    "OWN_DAY",
    "Feature",
    "FeatureMatrix",
    "History",
    "NeighbourWeights",
    "StationGrid",
    "build_features",
    "feature_names",
    "missing_share",
    "neighbour_weights",
    "own_values",
]

HISTORY_DAYS = 30
"""Days before D that a row of D may look back to."""

CODE_REVISION = 1
"""Raise by one when any feature's value changes while its name stays."""

_RAIN_WINDOWS_DAYS = (3, 7, 30)
_CELLS_AT_ONCE = 1_024
"""Station-days computed together: keeps the working set inside the processor's cache, changes no result."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix; the unit is also the end of the name."""

    name: str
    unit: str
    description: str


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """``values[i, j]`` is feature ``FEATURES[j]`` of station ``station_index[i]`` on ``day[i]``; C order."""

    station_index: NDArray[np.int32]
    day: NDArray[np.int32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.day)


# The columns of the dense block: the 16 observed numbers in contract order, then what one station-day
# implies.
_NUMBERS = tuple(c for c in OBSERVATION_COLUMNS if c.kind == "number")
_WINDS = (
    ("wind_9am", "wind_speed_9am_kmh", "wind_direction_9am_deg", "the 9 am wind"),
    ("wind_3pm", "wind_speed_3pm_kmh", "wind_direction_3pm_deg", "the 3 pm wind"),
    ("wind_gust", "wind_gust_speed_kmh", "wind_gust_direction_deg", "the strongest gust"),
)
_OWN: tuple[Feature, ...] = (
    *(Feature(c.name, c.unit, c.description) for c in _NUMBERS),
    *(
        Feature(f"{name}_{axis}_kmh", "km/h", f"Speed of {text} towards the {heading}")
        for name, _, _, text in _WINDS
        for axis, heading in (("eastward", "east"), ("northward", "north"))
    ),
    Feature("rain_day", "-", "1 when more than 1.0 mm fell in the 24 hours to 9 am, else 0"),
)
_AT = {f.name: i for i, f in enumerate(_OWN)}

_PLACE: tuple[Feature, ...] = (
    Feature("season_sin", "-", "Sine of the day of the year as an angle"),
    Feature("season_cos", "-", "Cosine of the day of the year as an angle"),
    Feature("latitude_deg", "deg", "Latitude of the station, south negative"),
    Feature("longitude_deg", "deg", "Longitude of the station, west negative"),
    Feature("elevation_m", "m", "Elevation of the station above sea level"),
)

_YESTERDAY_OF = (
    "rainfall_mm",
    "max_temp_c",
    "sunshine_hours",
    "humidity_3pm_pct",
    "pressure_3pm_hpa",
    "cloud_3pm_oktas",
    "temp_3pm_c",
    "wind_3pm_eastward_kmh",
    "wind_3pm_northward_kmh",
)
_YESTERDAY = tuple(
    Feature(f"yesterday_{name}", _OWN[_AT[name]].unit, f"The day before: {_OWN[_AT[name]].description}")
    for name in _YESTERDAY_OF
)
_DIFFERENCES: tuple[Feature, ...] = (
    Feature("pressure_change_24h_hpa", "hPa", "3 pm pressure minus that of the day before"),
    Feature("pressure_tendency_9am_3pm_hpa", "hPa", "3 pm pressure minus 9 am pressure"),
)
_RAIN: tuple[Feature, ...] = (
    *(
        Feature(f"rainfall_mean_{d}d_mm", "mm", f"Mean daily rainfall of the observed days among the last {d}")
        for d in _RAIN_WINDOWS_DAYS
    ),
    Feature(
        "days_since_rain",
        "d",
        f"Days since the last known rain day (0 today), at most {_RAIN_WINDOWS_DAYS[-1]}",
    ),
)

# What the neighbours tell; a neighbour counts for a value when it reported it.
_NEIGHBOUR_VALUES: tuple[tuple[str, str, str], ...] = (
    ("pressure_3pm_hpa", "hPa", "3 pm pressure"),
    ("humidity_3pm_pct", "%", "3 pm relative humidity"),
    ("cloud_3pm_oktas", "oktas", "3 pm cloud amount"),
    ("rainfall_mm", "mm", "Rainfall in the 24 hours to 9 am"),
    ("rain_day", "-", "Share of rain days"),
    ("sunshine_hours", "h", "Bright sunshine"),
    ("temp_3pm_c", "degC", "3 pm temperature"),
    ("wind_3pm_eastward_kmh", "km/h", "Speed of the 3 pm wind towards the east"),
    ("wind_3pm_northward_kmh", "km/h", "Speed of the 3 pm wind towards the north"),
    ("pressure_change_24h_hpa", "hPa", "3 pm pressure minus that of the day before"),
    ("wind_gust_speed_kmh", "km/h", "Speed of the strongest gust"),
)
_NEIGHBOURS = tuple(
    Feature(f"{field.name}_{name}", unit, f"{text}, mean of {field.description}")
    for field in FIELDS
    for name, unit, text in _NEIGHBOUR_VALUES
)
_VALUES = len(_NEIGHBOUR_VALUES)
_PRESSURE, _CHANGE = (
    [name for name, _, _ in _NEIGHBOUR_VALUES].index(name) for name in ("pressure_3pm_hpa", "pressure_change_24h_hpa")
)
_NEIGHBOUR_OWN = np.array([_AT["pressure_3pm_hpa" if i == _CHANGE else v[0]] for i, v in enumerate(_NEIGHBOUR_VALUES)])
_PRESSURE_ORIGIN_HPA = 1000.0
"""Neighbour pressures are summed as differences from this, which keeps two more digits in float32."""


def _contrast(name: str, minuend: str, subtrahend: str, text: str) -> tuple[Feature, str, str]:
    unit = next(f.unit for f in (*_OWN, *_DIFFERENCES) if minuend.endswith(f.name))
    return Feature(name, unit, text), minuend, subtrahend


# Differences a tree cannot form by itself: the station against its surroundings, one side against the other.
_CONTRASTS: tuple[tuple[Feature, str, str], ...] = (
    *(
        _contrast(
            "{}_minus_within_400km_{}".format(*name.rsplit("_", 1)),
            name,
            f"within_400km_{name}",
            f"{text}, the station's own minus the mean within_400km",
        )
        for name, _, text in _NEIGHBOUR_VALUES
        if name
        in (
            "pressure_3pm_hpa",
            "humidity_3pm_pct",
            "temp_3pm_c",
            "cloud_3pm_oktas",
            "sunshine_hours",
            "wind_3pm_eastward_kmh",
            "wind_3pm_northward_kmh",
        )
    ),
    *(
        _contrast(
            f"{side}_minus_{other}_700km_{name}",
            f"{side}_700km_{name}",
            f"{other}_700km_{name}",
            f"{text}, mean of the stations to the {side} minus that to the {other}",
        )
        for side, other in (("west", "east"), ("north", "south"))
        for name, _, text in _NEIGHBOUR_VALUES
        if name in ("pressure_3pm_hpa", "humidity_3pm_pct", "temp_3pm_c", "pressure_change_24h_hpa")
    ),
    *(
        _contrast(
            f"{side}_700km_minus_own_pressure_3pm_hpa",
            f"{side}_700km_pressure_3pm_hpa",
            "pressure_3pm_hpa",
            f"3 pm pressure, mean of the stations to the {side} minus the station's own",
        )
        for side in ("north", "east", "south", "west")
    ),
)

_GROUPS = (_OWN, _PLACE, _YESTERDAY, _DIFFERENCES, _RAIN, _NEIGHBOURS, tuple(f for f, _, _ in _CONTRASTS))
FEATURES: tuple[Feature, ...] = tuple(f for group in _GROUPS for f in group)
"""Every column of the matrix, in order."""
OWN_DAY: tuple[Feature, ...] = _OWN
"""The columns that say what the station itself observed on the day: no memory, no neighbours, no place."""

_EDGES = [0, *(sum(len(g) for g in _GROUPS[: i + 1]) for i in range(len(_GROUPS)))]
_OWN_AT, _PLACE_AT, _YESTERDAY_AT, _DIFFERENCES_AT, _RAIN_AT, _NEIGHBOURS_AT, _CONTRASTS_AT = (
    slice(a, b) for a, b in pairwise(_EDGES)
)

FEATURE_VERSION: str = "{}-{}".format(
    CODE_REVISION, hashlib.sha256("\n".join(f.name for f in FEATURES).encode()).hexdigest()[:12]
)
"""Which features these are: the code's revision and a digest of the names in order."""

# Half-degree table of wind directions, and the season of each day of the year: the same bits in every batch.
_COMPONENTS = np.array([[round(f(math.radians(i / 2)), 15) for f in (math.sin, math.cos)] for i in range(720)])
_SEASON = np.array([[f(2 * math.pi * i / 365.25) for f in (math.sin, math.cos)] for i in range(366)])


_EPOCH = date(1970, 1, 1).toordinal()


def feature_names() -> list[str]:
    """The names of the matrix's columns, in order."""
    return [f.name for f in FEATURES]


def missing_share(matrix: FeatureMatrix) -> dict[str, float]:
    """The share of missing values of each feature (NaN when the matrix has no rows)."""
    missing = np.zeros(len(FEATURES), dtype=np.int64)
    for start in range(0, len(matrix), _CELLS_AT_ONCE):
        missing += np.count_nonzero(np.isnan(matrix.values[start : start + _CELLS_AT_ONCE]), axis=0)
    rows = len(matrix)
    return {f.name: float(m) / rows if rows else math.nan for f, m in zip(FEATURES, missing, strict=True)}


class History:
    """A dense block of reported days x stations, ready to give the features of any of its observed station-days.

    It covers ``first_day`` to ``last_day`` and the HISTORY_DAYS before; observations outside are ignored, so
    nothing after ``last_day`` is even held. Serving keeps one and asks for single rows; a batch builds one a
    call.
    """

    def __init__(
        self,
        observations: Mapping[str, NDArray[Any]],
        grid: StationGrid,
        weights: NeighbourWeights,
        *,
        first_day: int,
        last_day: int,
    ) -> None:
        if last_day < first_day:
            raise InvariantError(f"features: last day {last_day} is before first day {first_day}; swap them")
        self.grid = grid
        self.weights = weights
        self.first_day = first_day
        self.last_day = last_day
        self._origin = first_day - HISTORY_DAYS
        self._stations = len(grid)

        station = _column(observations, "station_index")
        day = _column(observations, "day")
        if len(station) and (station.min() < -1 or station.max() >= self._stations):
            raise InvariantError(
                f"features: station_index must be -1 or below {self._stations}, the size of the catalogue; "
                "use the index of the same catalogue"
            )
        inside = (station >= 0) & (day >= self._origin) & (day <= last_day)
        used = slice(None) if inside.all() else np.flatnonzero(inside)
        at_day = np.asarray(day[used], dtype=np.intp) - self._origin
        reported = np.zeros(last_day - self._origin + 1, dtype=np.bool_)
        reported[at_day] = True
        self._reported = np.flatnonzero(reported)
        # Only a reported day takes room, in a slot of its own: days that lie far apart cost no more than neighbours.
        # Slot 0 is that of every other day.
        self._slot = np.zeros(len(reported), dtype=np.int32)
        self._slot[self._reported] = np.arange(1, len(self._reported) + 1, dtype=np.int32)
        cells = (len(self._reported) + 1) * self._stations
        cell = self._slot[at_day].astype(np.intp) * self._stations + station[used]
        self._observed = np.zeros(cells, dtype=np.bool_)
        self._observed[cell] = True
        if np.count_nonzero(self._observed) != len(cell):
            times = np.bincount(cell, minlength=1)
            first = int(np.argmax(times > 1))
            raise InvariantError(
                f"features: station {grid.ids[first % self._stations]} has {times[first]} rows on "
                f"{_date(self._reported[first // self._stations - 1] + self._origin)}; keep one row per station and day"
            )

        self._own = np.full((cells, len(_OWN)), np.nan)
        columns = [_column(observations, c.name)[used] for c in OBSERVATION_COLUMNS]
        for start in range(0, len(cell), _CELLS_AT_ONCE):
            here = slice(start, start + _CELLS_AT_ONCE)
            observed = np.empty((len(cell[here]), len(columns)))
            for j, values in enumerate(columns):
                observed[:, j] = values[here]
            self._own[cell[here]] = own_values(observed)
        self._rain = np.ascontiguousarray(self._own[:, _AT["rainfall_mm"]])
        self._rain_day = np.ascontiguousarray(self._own[:, _AT["rain_day"]])
        self._sources = self._neighbour_sources()
        self._season = _season(np.append(0, self._reported) + self._origin)
        self._place = np.column_stack((grid.latitude_deg, grid.longitude_deg, grid.elevation_m))

    def _neighbour_sources(self) -> NDArray[np.float32]:
        """(slot, station, value or presence) of what neighbours tell: missing is value 0, presence 0."""
        own = self._own.reshape(len(self._reported) + 1, self._stations, len(_OWN))
        sources = np.zeros((len(own), self._stations, 2 * _VALUES), dtype=np.float32)
        # The slot before, when it is that of the day before.
        yesterday = np.where(np.diff(self._reported, prepend=-2) == 1, np.arange(len(self._reported)), 0)
        at_once = self._slots_at_once()
        for start in range(1, len(own), at_once):
            told, today = sources[start : start + at_once], own[start : start + at_once]
            before = own[yesterday[start - 1 : start - 1 + at_once]]
            _tell(told.reshape(-1, 2 * _VALUES), today.reshape(-1, len(_OWN)), before.reshape(-1, len(_OWN)))
        return sources

    def _slots_at_once(self) -> int:
        return max(1, _CELLS_AT_ONCE // max(1, self._stations))

    def observed_rows(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(station_index, day) of every observed station-day from ``first_day`` on, by day, then station."""
        first = int(np.searchsorted(self._reported, HISTORY_DAYS))
        cell = np.flatnonzero(self._observed[(first + 1) * self._stations :])
        nth, station = np.divmod(cell, max(1, self._stations))
        return station.astype(np.int32), (self._reported[first + nth] + self._origin).astype(np.int32)

    def features(self, rows: tuple[NDArray[Any], NDArray[Any]] | None = None) -> FeatureMatrix:
        """The features of ``rows`` (station_index, day) in their order, or of all ``observed_rows``."""
        station, day = self.observed_rows() if rows is None else self._checked(rows)
        result = FeatureMatrix(station, day, np.empty((len(day), len(FEATURES)), dtype=np.float32))
        if len(day) == 0:
            return result
        if len(day) == 1:
            self._fill(result.values, station.astype(np.intp), day.astype(np.intp) - self._origin)
            return result
        order = None
        if np.any(day[1:] < day[:-1]):
            order = np.argsort(day, kind="stable")
        at_once = self._slots_at_once()
        slot = self._slot[(day if order is None else day[order]) - self._origin]
        bounds = np.searchsorted(slot, np.arange(slot[0], slot[-1] + at_once + 1, at_once))
        for start, stop in pairwise(bounds.tolist()):
            if start == stop:
                continue
            part = slice(start, stop) if order is None else order[start:stop]
            chunk = np.empty((stop - start, len(FEATURES)), dtype=np.float32) if order is not None else None
            target = result.values[start:stop] if chunk is None else chunk
            self._fill(target, station[part].astype(np.intp), day[part].astype(np.intp) - self._origin)
            if chunk is not None:
                result.values[part] = chunk
        return result

    def _checked(self, rows: tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        station, day = (np.asarray(part, dtype=np.int32) for part in rows)
        if len(station) != len(day):
            raise InvariantError(f"features: {len(station)} stations but {len(day)} days; give one day per station")
        if len(day) == 0:
            return station, day
        if station.min() < 0 or station.max() >= self._stations:
            raise InvariantError(
                "features: a row of an unknown station was asked for; only catalogue stations have features"
            )
        if day.min() < self.first_day or day.max() > self.last_day:
            raise InvariantError(
                f"features: a row outside {_date(self.first_day)} to {_date(self.last_day)} was asked for; "
                "build the history for those days"
            )
        observed = self._observed[self._slot[day - self._origin].astype(np.intp) * self._stations + station]
        if not observed.all():
            first = int(np.argmin(observed))
            raise InvariantError(
                f"features: station {self.grid.ids[station[first]]} reported nothing on "
                f"{_date(day[first])}; ask for observed station-days"
            )
        return station, day

    def features_of_one(
        self, station: int, day: int, laid: Mapping[tuple[int, int], NDArray[np.float64]], *, held: bool = True
    ) -> NDArray[np.float32]:
        """The features of one station-day as if the block held the ``own_values`` of ``laid`` in place of its own.

        ``laid`` goes by (station, day) and has the row that is asked for. ``held`` False: as if the block held
        nothing else; only then may the day lie outside of it. Nothing is copied but what the row needs.
        """
        if held and not self.first_day <= day <= self.last_day:
            raise InvariantError(
                f"features: a row outside {_date(self.first_day)} to {_date(self.last_day)} was asked for; "
                "build the history for those days"
            )
        own = laid[station, day]
        if held:
            at = day - self._origin
            slots = self._slot[at : at - len(_LAGS) : -1]
            window = slots * np.intp(self._stations) + station
            before = self._own[window[1]]
            rain, rain_day = self._rain[window], self._rain_day[window]
            told = self._sources[slots[0]]
        else:
            before = _NOTHING
            rain, rain_day = np.full(len(_LAGS), np.nan), np.full(len(_LAGS), np.nan)
            told = np.zeros((self._stations, 2 * _VALUES), dtype=np.float32)
        rain[0], rain_day[0] = own[_AT["rainfall_mm"]], own[_AT["rain_day"]]
        if len(laid) > 1:
            before = laid.get((station, day - 1), before)
            for lag in range(1, len(_LAGS)):
                earlier = laid.get((station, day - lag))
                if earlier is not None:
                    rain[lag], rain_day[lag] = earlier[_AT["rainfall_mm"]], earlier[_AT["rain_day"]]
            told = self._told_with(laid, station, day, told, held=held)
        out = np.empty((1, len(FEATURES)), dtype=np.float32)
        _derive(
            out,
            own=own[None],
            before=before[None],
            season=_SEASON[_day_of_year(day)],
            place=self._place[station],
            rain=rain[:, None],
            rain_day=rain_day[:, None],
            sums=(self.weights.of_station(station) @ told)[None],
        )
        return out

    def _told_with(
        self,
        laid: Mapping[tuple[int, int], NDArray[np.float64]],
        station: int,
        day: int,
        told: NDArray[np.float32],
        *,
        held: bool,
    ) -> NDArray[np.float32]:
        """What the neighbours of a station tell on a day, with the laid rows in place of the block's."""
        changed = [n for n in self.weights.neighbours(station).tolist() if (n, day) in laid or (n, day - 1) in laid]
        if not changed:
            return told

        def own_of(neighbour: int, on: int) -> NDArray[np.float64]:
            row = laid.get((neighbour, on))
            if row is not None:
                return row
            return self._own[self._slot[on - self._origin] * self._stations + neighbour] if held else _NOTHING

        told = told.copy()
        rows = np.empty((len(changed), 2 * _VALUES), dtype=np.float32)
        _tell(rows, *(np.array([own_of(n, on) for n in changed]) for on in (day, day - 1)))
        told[changed] = rows
        return told

    def _fill(self, out: NDArray[np.float32], station: NDArray[np.intp], day: NDArray[np.intp]) -> None:
        """Compute rows of a bounded number of days (counted from the block's first) into ``out``."""
        slots = self._slot[day - _LAGS[:, None]]
        window = slots * np.intp(self._stations) + station
        _derive(
            out,
            own=self._own[window[0]],
            before=self._own[window[1]],
            season=self._season[slots[0]],
            place=self._place[station],
            rain=self._rain[window],
            rain_day=self._rain_day[window],
            sums=self._neighbour_sums(station, slots[0]),
        )

    def _neighbour_sums(self, station: NDArray[np.intp], slot: NDArray[np.int32]) -> NDArray[np.float32]:
        """(row, field, value or presence): the weighted sums of what the neighbours of each row tell."""
        stations, at_station = np.unique(station, return_inverse=True)
        slots, at_slot = np.unique(slot, return_inverse=True)
        sources = self._sources[slots].transpose(1, 0, 2).reshape(self._stations, -1)
        # scipy adds neighbour after neighbour, for every column alike; with two dimensions and many columns
        # it is always the same routine.
        sums = (self.weights.of_stations(stations) @ sources).reshape(
            len(stations), len(FIELDS), len(slots), 2 * _VALUES
        )
        return sums[at_station, :, at_slot]


def _tell(out: NDArray[np.float32], own: NDArray[np.float64], before: NDArray[np.float64]) -> None:
    """What station-days tell their neighbours, values then presences; ``before`` are those of the day before."""
    values = own.take(_NEIGHBOUR_OWN, axis=1)
    values[:, _CHANGE] -= before[:, _AT["pressure_3pm_hpa"]]
    values[:, _PRESSURE] -= _PRESSURE_ORIGIN_HPA
    known = ~np.isnan(values)
    out[:, :_VALUES] = np.where(known, values, 0.0)
    out[:, _VALUES:] = known


def _derive(
    out: NDArray[np.float32],
    *,
    own: NDArray[np.float64],
    before: NDArray[np.float64],
    season: NDArray[np.float64],
    place: NDArray[np.float64],
    rain: NDArray[np.float64],
    rain_day: NDArray[np.float64],
    sums: NDArray[np.float32],
) -> None:
    """The features of rows from what each row needs: every formula is here, for one row and for a million.

    ``rain`` and ``rain_day`` are (lag, row), today first, and ``rain`` is used up; ``sums`` are those of
    ``_neighbour_sums``.
    """
    out[:, _OWN_AT] = own
    out[:, _SEASON_AT] = season
    out[:, _POSITION_AT] = place
    out[:, _YESTERDAY_AT] = before.take(_YESTERDAY_COLUMNS, axis=1)
    pressure = own[:, _AT["pressure_3pm_hpa"]]
    out[:, _DIFFERENCES_AT.start] = pressure - before[:, _AT["pressure_3pm_hpa"]]
    out[:, _DIFFERENCES_AT.start + 1] = pressure - own[:, _AT["pressure_9am_hpa"]]

    unknown = np.isnan(rain)
    np.copyto(rain, 0.0, where=unknown)
    total = rain.cumsum(axis=0)  # strictly in the order of the lags
    count = (~unknown).cumsum(axis=0)
    wet = rain_day == 1.0
    since = np.where(np.logical_or.reduce(wet), wet.argmax(axis=0), float(_RAIN_WINDOWS_DAYS[-1]))
    np.copyto(since, np.nan, where=np.logical_and.reduce(np.isnan(rain_day)))
    out[:, _RAIN_AT.stop - 1] = since

    with np.errstate(invalid="ignore"):
        out[:, _RAIN_MEANS_AT] = (total.take(_WINDOW_ENDS, axis=0) / count.take(_WINDOW_ENDS, axis=0)).T
        means = sums[:, :, :_VALUES] / sums[:, :, _VALUES:]
    means[:, :, _PRESSURE] += np.float32(_PRESSURE_ORIGIN_HPA)
    out[:, _NEIGHBOURS_AT] = means.reshape(len(out), -1)
    out[:, _CONTRASTS_AT] = out.take(_MINUENDS, axis=1) - out.take(_SUBTRAHENDS, axis=1)
    np.copyto(out, _NAN, where=np.isnan(out))


_NAN = np.float32(np.nan)
_LAGS = np.arange(_RAIN_WINDOWS_DAYS[-1], dtype=np.intp)
_WINDOW_ENDS = np.array(_RAIN_WINDOWS_DAYS) - 1
_RAIN_MEANS_AT = slice(_RAIN_AT.start, _RAIN_AT.stop - 1)
_SEASON_AT = slice(_PLACE_AT.start, _PLACE_AT.start + 2)
_POSITION_AT = slice(_PLACE_AT.start + 2, _PLACE_AT.stop)
_NOTHING = np.full(len(_OWN), np.nan)
"""The own values of a station-day that reported nothing."""
_YESTERDAY_COLUMNS = np.array([_AT[name] for name in _YESTERDAY_OF])
_NAMES = [f.name for f in FEATURES]
_MINUENDS = np.array([_NAMES.index(minuend) for _, minuend, _ in _CONTRASTS])
_SUBTRAHENDS = np.array([_NAMES.index(subtrahend) for _, _, subtrahend in _CONTRASTS])

_OBSERVED_AT = {c.name: i for i, c in enumerate(OBSERVATION_COLUMNS)}
_NUMBERS_AT = np.array([_OBSERVED_AT[c.name] for c in _NUMBERS])
_SPEEDS_AT = np.array([_OBSERVED_AT[speed] for _, speed, _, _ in _WINDS])
_DIRECTIONS_AT = np.array([_OBSERVED_AT[direction] for _, _, direction, _ in _WINDS])


def own_values(observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """What station-days say by themselves, as OWN_DAY: from rows of the contract's columns in its order."""
    own = np.empty((len(observed), len(_OWN)))
    own[:, : len(_NUMBERS)] = observed.take(_NUMBERS_AT, axis=1)
    speed, direction = observed.take(_SPEEDS_AT, axis=1), observed.take(_DIRECTIONS_AT, axis=1)
    unknown = np.isnan(direction)
    half_degrees = np.rint(direction * 2)
    np.copyto(half_degrees, 0.0, where=unknown)
    components = -speed[:, :, None] * _COMPONENTS.take(half_degrees.astype(np.intp) % len(_COMPONENTS), axis=0)
    np.copyto(components, np.nan, where=(unknown & (speed != 0))[:, :, None])  # only a calm needs no direction
    own[:, len(_NUMBERS) : -1] = components.reshape(len(observed), -1)
    rain = observed[:, _OBSERVED_AT["rainfall_mm"]]
    own[:, -1] = rain > RAIN_DAY_MM
    np.copyto(own[:, -1], observed[:, _OBSERVED_AT["rain_today"]], where=np.isnan(rain))
    return own


def build_features(
    observations: Mapping[str, NDArray[Any]],
    grid: StationGrid,
    weights: NeighbourWeights,
    *,
    first_day: int,
    last_day: int,
    rows: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> FeatureMatrix:
    """The features of every station-day observed from ``first_day`` to ``last_day``, or of ``rows``.

    ``observations`` maps ``station_index`` (-1: unknown station, ignored), ``day`` (days since 1970-01-01)
    and the columns of the contract (float64, NaN missing, flags 0 or 1) to arrays of one length, rows in any
    order. The HISTORY_DAYS before ``first_day`` are used when present. ``rows`` is (station_index, day).
    """
    return History(observations, grid, weights, first_day=first_day, last_day=last_day).features(rows)


def _season(days: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sine and cosine of the season of each day."""
    dates = days.astype("datetime64[D]")
    return np.asarray(_SEASON[(dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.intp)])


def _day_of_year(day: int) -> int:
    """Days since the first of January."""
    on = date.fromordinal(_EPOCH + day)
    return on.toordinal() - date(on.year, 1, 1).toordinal()


def _date(day: int | np.integer) -> str:
    return str(np.datetime64(int(day), "D"))


def _column(observations: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    try:
        return observations[name]
    except KeyError:
        raise InvariantError(
            f"features: the observations have no column {name}; pass every column of the contract"
        ) from None
