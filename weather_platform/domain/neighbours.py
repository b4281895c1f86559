"""Which stations lie around a station, and how much each of them counts.

What belongs here: positions in, sparse weights out, computed once per catalogue. What does not: observations,
and the weighted means themselves (``features``).

Seven fields surround every station: Gaussian means of all other stations at three radii, and the same mean in
four compass sectors, because what lies to the west today is often here tomorrow. A station at the same place lies
in no sector. A field keeps its ``MAX_NEIGHBOURS`` nearest stations, so the work grows with the number of stations,
never with that of pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from weather_platform.domain.stations import Station, bearing_deg, distance_km

MAX_NEIGHBOURS = 64
"""Nearest stations that one field may use."""

REACH = 3.0
"""A neighbour farther away than this many radii counts nothing (its weight would be below 0.011)."""

_KM_DIGITS = 6
"""Distances are the same if they are to the millimetre; what is nearer is at the same place."""


@dataclass(frozen=True, slots=True)
class Field:
    """One neighbourhood: all other stations, or those with a bearing within 45 degrees of ``sector_deg``."""

    name: str
    radius_km: float
    sector_deg: float | None
    description: str


FIELDS: tuple[Field, ...] = (
    Field("within_150km", 150.0, None, "the other stations, Gaussian weights of 150 km radius"),
    Field("within_400km", 400.0, None, "the other stations, Gaussian weights of 400 km radius"),
    Field("within_1000km", 1000.0, None, "the other stations, Gaussian weights of 1000 km radius"),
    Field("north_700km", 700.0, 0.0, "the stations to the north, Gaussian weights of 700 km radius"),
    Field("east_700km", 700.0, 90.0, "the stations to the east, Gaussian weights of 700 km radius"),
    Field("south_700km", 700.0, 180.0, "the stations to the south, Gaussian weights of 700 km radius"),
    Field("west_700km", 700.0, 270.0, "the stations to the west, Gaussian weights of 700 km radius"),
)


@dataclass(frozen=True, eq=False)
class StationGrid:
    """The catalogue as arrays. A station's index is its position here; -1 always means "unknown station"."""

    ids: tuple[str, ...]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    elevation_m: NDArray[np.float64]

    @classmethod
    def from_stations(cls, stations: Sequence[Station]) -> "StationGrid":
        return cls(
            ids=tuple(s.id for s in stations),
            latitude_deg=np.array([s.latitude_deg for s in stations], dtype=np.float64),
            longitude_deg=np.array([s.longitude_deg for s in stations], dtype=np.float64),
            elevation_m=np.array([s.elevation_m for s in stations], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, ids: Sequence[str | None]) -> NDArray[np.int32]:
        """The index of each id, -1 for an id that is not in the catalogue."""
        known = {name: i for i, name in enumerate(self.ids)}
        return np.fromiter((-1 if name is None else known.get(name, -1) for name in ids), np.int32, len(ids))


@dataclass(frozen=True, eq=False)
class NeighbourWeights:
    """Row ``station * len(FIELDS) + field``, column neighbour: its weight in that field (float32)."""

    matrix: sparse.csr_array
    _one: dict[int, sparse.csr_array] = field(default_factory=dict, init=False, repr=False)
    """The rows of single stations, once asked for."""

    def of_station(self, station: int) -> sparse.csr_array:
        """The rows of one station, as views: what one forecast needs."""
        known = self._one.get(station)
        if known is not None:
            return known
        first, m = station * len(FIELDS), self.matrix
        indptr = m.indptr[first : first + len(FIELDS) + 1]
        start, stop = indptr[0], indptr[-1]
        one = sparse.csr_array(
            (m.data[start:stop], m.indices[start:stop], indptr - start), shape=(len(FIELDS), m.shape[1])
        )
        self._one[station] = one
        return one

    def neighbours(self, station: int) -> NDArray[np.integer]:
        """The stations that count for a station in any field, in the order of the catalogue."""
        return np.unique(self.of_station(station).indices)

    def of_stations(self, stations: NDArray[np.intp]) -> sparse.csr_array:
        """The rows of several stations, in the order asked for."""
        if len(stations) == 1:
            return self.of_station(int(stations[0]))
        if len(stations) * len(FIELDS) == self.matrix.shape[0]:
            return self.matrix
        rows = stations[:, None] * len(FIELDS) + np.arange(len(FIELDS))[None, :]
        return self.matrix[rows.ravel()]


def neighbour_weights(grid: StationGrid) -> NeighbourWeights:
    """The weights of every station's neighbours in every field; nearest first, ties by catalogue order."""
    count = len(grid)
    width = min(count, 4 * MAX_NEIGHBOURS + 1)  # enough for four full sectors around most stations
    shape = (count * len(FIELDS), count)
    latitude, longitude = grid.latitude_deg, grid.longitude_deg
    station, neighbour, distance = _nearest(grid, width)
    bearing = bearing_deg(latitude[station], longitude[station], latitude[neighbour], longitude[neighbour])
    elsewhere = np.round(distance, _KM_DIGITS) > 0  # at the same place there is no bearing
    rows, columns, weights = [], [], []
    for number, around in enumerate(FIELDS):
        inside = distance <= REACH * around.radius_km
        if around.sector_deg is not None:
            inside &= elsewhere & ((bearing - around.sector_deg + 45.0) % 360.0 < 90.0)
        kept = np.flatnonzero(inside)
        first_of_station = np.searchsorted(station[kept], np.arange(count))
        kept = kept[np.arange(len(kept)) - first_of_station[station[kept]] < MAX_NEIGHBOURS]
        rows.append(station[kept] * len(FIELDS) + number)
        columns.append(neighbour[kept])
        weights.append(np.exp(-0.5 * (distance[kept] / around.radius_km) ** 2))
    matrix = sparse.csr_array(
        (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))),
        shape=shape,
    )
    matrix.sort_indices()
    return NeighbourWeights(matrix)


def stations_within(grid: StationGrid, radius_km: float, most: int) -> sparse.csr_array:
    """The nearest other stations within a radius, at most `most` of each: row station, column neighbour, ones."""
    count = len(grid)
    station, neighbour, distance = _nearest(grid, min(count, most + 1))
    station, neighbour = (part[distance <= radius_km] for part in (station, neighbour))
    ones = np.ones(len(station), dtype=np.float32)
    return sparse.csr_array((ones, (station, neighbour)), shape=(count, count))


def _nearest(grid: StationGrid, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """(station, neighbour, km) of the ``width`` nearest, by station, distance, neighbour; never itself."""
    if len(grid) == 0:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    latitude, longitude = grid.latitude_deg, grid.longitude_deg
    phi, lam = np.radians(latitude), np.radians(longitude)
    points = np.column_stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)))
    _, found = cKDTree(points).query(points, k=width)
    neighbour = np.sort(np.asarray(found, dtype=np.intp).reshape(len(grid), width), axis=1)
    station = np.broadcast_to(np.arange(len(grid), dtype=np.intp)[:, None], neighbour.shape)
    distance = distance_km(latitude[station], longitude[station], latitude[neighbour], longitude[neighbour])
    order = np.argsort(np.round(distance, _KM_DIGITS), axis=1, kind="stable")
    neighbour = np.take_along_axis(neighbour, order, axis=1)
    distance = np.take_along_axis(distance, order, axis=1)
    other = station != neighbour
    return station[other], neighbour[other], distance[other]
