"""Observations -> feature matrix: the ONE implementation, called by training and by serving.

What belongs here: every number a model may see, its name, unit and meaning. What does not: labels
(``targets``), which rows train (``splits``), the geometry of neighbours (``neighbours``), reading or writing
tables.

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
]

HISTORY_DAYS = 30
"""Days before D that a row of D may look back to."""

CODE_REVISION = 1
"""Raise by one when any feature's value changes while its name stays."""

_RAIN_WINDOWS_DAYS = (3, 7, 30)
_CELLS_AT_ONCE = 16_384
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
_SIN = np.array([round(math.sin(math.radians(i / 2)), 15) for i in range(720)])
_COS = np.array([round(math.cos(math.radians(i / 2)), 15) for i in range(720)])
_SEASON = np.array([[f(2 * math.pi * i / 365.25) for f in (math.sin, math.cos)] for i in range(366)])


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
    """A dense block of days x stations, ready to give the features of any of its observed station-days.

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
        self._days = last_day - self._origin + 1
        self._stations = len(grid)
        cells = self._days * self._stations

        station = _column(observations, "station_index")
        day = _column(observations, "day")
        if len(station) and (station.min() < -1 or station.max() >= self._stations):
            raise InvariantError(
                f"features: station_index must be -1 or below {self._stations}, the size of the catalogue; "
                "use the index of the same catalogue"
            )
        inside = (station >= 0) & (day >= self._origin) & (day <= last_day)
        used = slice(None) if inside.all() else np.flatnonzero(inside)
        cell = (day[used].astype(np.intp) - self._origin) * self._stations + station[used]
        self._observed = np.zeros(cells, dtype=np.bool_)
        self._observed[cell] = True
        if np.count_nonzero(self._observed) != len(cell):
            times = np.bincount(cell, minlength=1)
            first = int(np.argmax(times > 1))
            raise InvariantError(
                f"features: station {grid.ids[first % self._stations]} has {times[first]} rows on "
                f"{_date(first // self._stations + self._origin)}; keep one row per station and day"
            )

        self._own = np.full((cells, len(_OWN)), np.nan)
        for name, values in _station_days(observations, used):
            self._own[cell, _AT[name]] = values
        self._rain = np.ascontiguousarray(self._own[:, _AT["rainfall_mm"]])
        self._rain_day = np.ascontiguousarray(self._own[:, _AT["rain_day"]])
        self._sources = self._neighbour_sources()

        days = np.arange(self._origin, last_day + 1).astype("datetime64[D]")
        of_year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.intp)
        self._season = _SEASON[of_year]
        self._place = np.column_stack((grid.latitude_deg, grid.longitude_deg, grid.elevation_m))

    def _neighbour_sources(self) -> NDArray[np.float32]:
        """(day, station, value or presence) of what neighbours tell: missing is value 0, presence 0."""
        shape = (self._days, self._stations, 2 * _VALUES)
        sources = np.zeros(shape, dtype=np.float32)
        flat = sources.reshape(-1, 2 * _VALUES)
        block = max(_CELLS_AT_ONCE, self._stations)
        pressure = _AT["pressure_3pm_hpa"]
        for start in range(self._stations, len(flat), block):  # the first day only serves as a yesterday
            stop = min(start + block, len(flat))
            values = self._own[start:stop][:, _NEIGHBOUR_OWN]
            values[:, _CHANGE] -= self._own[start - self._stations : stop - self._stations, pressure]
            values[:, _PRESSURE] -= _PRESSURE_ORIGIN_HPA
            known = ~np.isnan(values)
            np.copyto(flat[start:stop, :_VALUES], values, where=known, casting="same_kind")
            flat[start:stop, _VALUES:] = known
        return sources

    def observed_rows(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(station_index, day) of every observed station-day from ``first_day`` on, by day, then station."""
        cell = np.flatnonzero(self._observed[HISTORY_DAYS * self._stations :])
        day, station = np.divmod(cell, max(1, self._stations))
        return station.astype(np.int32), (day + self.first_day).astype(np.int32)

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
        at_once = max(1, _CELLS_AT_ONCE // self._stations)
        sorted_day = day if order is None else day[order]
        bounds = np.searchsorted(sorted_day, np.arange(sorted_day[0], sorted_day[-1] + at_once + 1, at_once))
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
        observed = self._observed[(day.astype(np.intp) - self._origin) * self._stations + station]
        if not observed.all():
            first = int(np.argmin(observed))
            raise InvariantError(
                f"features: station {self.grid.ids[station[first]]} reported nothing on "
                f"{_date(day[first])}; ask for observed station-days"
            )
        return station, day

    def _fill(self, out: NDArray[np.float32], station: NDArray[np.intp], day: NDArray[np.intp]) -> None:
        """Compute rows of a bounded number of days (counted from the block's first) into ``out``."""
        cell = day * self._stations + station
        own = self._own[cell]
        before = self._own[cell - self._stations]
        out[:, _OWN_AT] = own
        place = out[:, _PLACE_AT]
        place[:, :2] = self._season[day]
        place[:, 2:] = self._place[station]
        out[:, _YESTERDAY_AT] = before[:, _YESTERDAY_COLUMNS]
        pressure = own[:, _AT["pressure_3pm_hpa"]]
        differences = out[:, _DIFFERENCES_AT]
        differences[:, 0] = pressure - before[:, _AT["pressure_3pm_hpa"]]
        differences[:, 1] = pressure - own[:, _AT["pressure_9am_hpa"]]
        self._fill_rain(out[:, _RAIN_AT], cell)
        self._fill_neighbours(out[:, _NEIGHBOURS_AT], station, day)
        out[:, _CONTRASTS_AT] = out[:, _MINUENDS] - out[:, _SUBTRAHENDS]
        np.copyto(out, np.float32(np.nan), where=np.isnan(out))

    def _fill_rain(self, out: NDArray[np.float32], cell: NDArray[np.intp]) -> None:
        window = cell - _LAGS[:, None] * self._stations
        rain = self._rain[window]
        known = ~np.isnan(rain)
        total = np.cumsum(np.where(known, rain, 0.0), axis=0)  # strictly in the order of the lags
        count = np.cumsum(known, axis=0)
        with np.errstate(invalid="ignore"):
            for j, days in enumerate(_RAIN_WINDOWS_DAYS):
                out[:, j] = total[days - 1] / count[days - 1]
        rain_day = self._rain_day[window]
        wet = rain_day == 1.0
        since = np.where(wet.any(axis=0), wet.argmax(axis=0), float(_RAIN_WINDOWS_DAYS[-1]))
        out[:, -1] = np.where(np.isnan(rain_day).all(axis=0), np.nan, since)

    def _fill_neighbours(self, out: NDArray[np.float32], station: NDArray[np.intp], day: NDArray[np.intp]) -> None:
        stations, at_station = np.unique(station, return_inverse=True)
        days, at_day = np.unique(day, return_inverse=True)
        sources = self._sources[days].transpose(1, 0, 2).reshape(self._stations, -1)
        # scipy adds neighbour after neighbour, for every column alike; with two dimensions and many columns
        # it is always the same routine.
        sums = (self.weights.of_stations(stations) @ sources).reshape(
            len(stations), len(FIELDS), len(days), 2 * _VALUES
        )
        of_row = sums[at_station, :, at_day]
        with np.errstate(invalid="ignore"):
            means = of_row[:, :, :_VALUES] / of_row[:, :, _VALUES:]
        means[:, :, _PRESSURE] += np.float32(_PRESSURE_ORIGIN_HPA)
        out[:] = means.reshape(len(station), -1)


_LAGS = np.arange(_RAIN_WINDOWS_DAYS[-1], dtype=np.intp)
_YESTERDAY_COLUMNS = np.array([_AT[name] for name in _YESTERDAY_OF])
_NAMES = [f.name for f in FEATURES]
_MINUENDS = np.array([_NAMES.index(minuend) for _, minuend, _ in _CONTRASTS])
_SUBTRAHENDS = np.array([_NAMES.index(subtrahend) for _, _, subtrahend in _CONTRASTS])


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


def _date(day: int | np.integer) -> str:
    return str(np.datetime64(int(day), "D"))


def _column(observations: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    try:
        return observations[name]
    except KeyError:
        raise InvariantError(
            f"features: the observations have no column {name}; pass every column of the contract"
        ) from None


def _station_days(
    observations: Mapping[str, NDArray[Any]], used: NDArray[np.intp] | slice
) -> list[tuple[str, NDArray[np.float64]]]:
    """The station-day columns of the dense block, for the rows that are used."""

    def values(name: str) -> NDArray[np.float64]:
        return np.asarray(_column(observations, name)[used], dtype=np.float64)

    columns = [(c.name, values(c.name)) for c in _NUMBERS]
    for name, speed_name, direction_name, _ in _WINDS:
        speed, direction = values(speed_name), values(direction_name)
        known = ~np.isnan(direction)
        half_degrees = np.where(known, np.rint(direction * 2), 0).astype(np.intp) % 720
        blind = ~known & (speed != 0)  # a calm needs no direction
        for axis, table in (("eastward", _SIN), ("northward", _COS)):
            columns.append((f"{name}_{axis}_kmh", np.where(blind, np.nan, -speed * table[half_degrees])))
    rain, flag = values("rainfall_mm"), values("rain_today")
    columns.append(("rain_day", np.where(np.isnan(rain), flag, rain > RAIN_DAY_MM)))
    return columns
