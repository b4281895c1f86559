"""Stored recent observations and what a request sends -> feature rows, by the code that training uses.

What belongs here: which observation counts when a request and the store both have one. What does not: any value of a
feature (`features`), where stored observations come from, validating what was sent.

Everything a request sends counts as reported, together: the station-days it asks for, other stations, earlier days.
With ``use_history`` a field that it does not name for a station-day is taken from the stored row of that station-day,
and station-days that it does not name are the stored ones. Without, everything that was not sent is missing. A field
sent as NaN is named, and missing. The rows have the bits that `build_features` gives for the rows so merged.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.features import (
    FEATURES,
    HISTORY_DAYS,
    FeatureMatrix,
    History,
    build_features,
    neighbour_weights,
    own_values,
)
from weather_platform.domain.masks import StationMask, masked
from weather_platform.domain.neighbours import StationGrid
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.errors import InvariantError

_NAMES = tuple(c.name for c in OBSERVATION_COLUMNS)
_AT = {name: i for i, name in enumerate(_NAMES)}

_CELLS_AT_ONCE = 1 << 17
"""Station-days that one block of a batch may hold: about 40 MB, whatever days a request names."""


class SentDay(NamedTuple):
    """What a request says of one station-day: the fields it names, in the units of the contract, NaN for null."""

    station_index: int
    day: int
    fields: Mapping[str, float]


class RecentObservations:
    """The observations from HISTORY_DAYS before ``first_day`` to ``last_day``; never changed, safe between threads.

    ``observations`` are the arrays that `build_features` takes. ``first_day`` is the first that knows as much as the
    lake does; a day outside the stored ones simply finds nothing there. What ``masks`` cover is missing, even if sent.
    """

    def __init__(
        self,
        observations: Mapping[str, NDArray[Any]],
        grid: StationGrid,
        *,
        first_day: int,
        last_day: int,
        masks: Sequence[StationMask] = (),
    ) -> None:
        observations = masked(observations, grid, masks)
        self._masked = _masks_of(masks, grid)
        self.grid = grid
        self.first_day = first_day
        self.last_day = last_day
        self._weights = neighbour_weights(grid)
        self._origin = first_day - HISTORY_DAYS
        # The days after the last one are asked for as well: they look back on it.
        self._held_through = last_day + HISTORY_DAYS
        station, day = observations["station_index"], observations["day"]
        used = np.flatnonzero((station >= 0) & (day >= self._origin) & (day <= last_day))
        stored = {name: observations[name][used] for name in ("station_index", "day", *_NAMES)}
        self._history = History(stored, grid, self._weights, first_day=self._origin, last_day=self._held_through)
        self._station, self._day = (stored[name].astype(np.int32) for name in ("station_index", "day"))
        self._rows = np.full((len(used) + 1, len(_NAMES)), np.nan)  # the last one is that of no station-day
        for j, name in enumerate(_NAMES):
            self._rows[:-1, j] = stored[name]
        self._row_at = np.full((last_day - self._origin + 1, len(grid)), -1, dtype=np.int32)
        self._row_at[self._day - self._origin, self._station] = np.arange(len(used), dtype=np.int32)

    def reported(self, station_index: int, day: int) -> bool:
        """Whether a stored row says what the station observed on the day."""
        return self._stores(day) and bool(self._row_at[day - self._origin, station_index] >= 0)

    def features_of_one(
        self,
        station_index: int,
        day: int,
        sent: Mapping[str, float],
        *,
        use_history: bool,
        others: Sequence[SentDay] = (),
    ) -> NDArray[np.float32]:
        """The features, shape (1, features), of one station-day of which ``sent`` says the fields it names.

        ``others`` are the other station-days of the same request.
        """
        own = own_values(self._observed(station_index, day, sent, use_history)[None])
        laid = {(station_index, day): own[0]}
        if others:
            rows = np.array([self._observed(*each, use_history) for each in others])
            laid |= {(each.station_index, each.day): own for each, own in zip(others, own_values(rows), strict=True)}
            if len(laid) <= len(others):
                raise InvariantError("a station-day was sent twice; send one row per station and day")
        held = use_history and self._origin <= day <= self._held_through
        return self._history.features_of_one(station_index, day, laid, held=held)

    def features_of_many(
        self,
        sent: Mapping[str, NDArray[Any]],
        rows: tuple[NDArray[Any], NDArray[Any]] | None = None,
        *,
        use_history: bool,
        named: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> FeatureMatrix:
        """The features of ``rows`` (station_index, day), or of all that was sent, in the order given.

        ``sent`` maps ``station_index``, ``day`` and any columns of the contract (float64, NaN missing) to arrays of
        one length; a column that is not there was not named. ``named`` tells, for columns that only some rows name,
        which ones do.
        """
        named = named or {}
        if unknown := (set(sent) | set(named)) - {"station_index", "day", *_NAMES}:
            raise _unknown_field(min(unknown))
        station, day = (np.asarray(sent[name], dtype=np.int32) for name in ("station_index", "day"))
        for each in np.unique(station):
            self._check(int(each))
        at = np.full(len(day), -1, dtype=np.int32)
        if use_history:
            inside = np.flatnonzero((day >= self._origin) & (day <= self.last_day))
            at[inside] = self._row_at[day[inside] - self._origin, station[inside]]
        observed = self._rows[at]
        for name in _NAMES:
            if name in sent:
                np.copyto(observed[:, _AT[name]], sent[name], where=named.get(name, True))
        for index, masks in self._masked.items():
            here = np.flatnonzero(station == index)
            for mask, columns in masks:
                covered = [each for each in here.tolist() if mask.covers(int(day[each]))]
                observed[np.ix_(covered, columns)] = np.nan
        asked = (station, day) if rows is None else rows
        if use_history:
            kept = np.ones(len(self._day), dtype=np.bool_)
            kept[at[at >= 0]] = False
            station = np.concatenate((station, self._station[kept]))
            day = np.concatenate((day, self._day[kept]))
            observed = np.concatenate((observed, self._rows[:-1][kept]))
        return self._built(station, day, observed, *(np.asarray(part, dtype=np.int32) for part in asked))

    def _observed(self, station: int, day: int, fields: Mapping[str, float], use_history: bool) -> NDArray[np.float64]:
        """What counts as observed of one station-day, in the order of the contract."""
        self._check(station)
        at = self._row_at[day - self._origin, station] if use_history and self._stores(day) else -1
        row: NDArray[np.float64] = self._rows[at].copy()
        try:
            for name, value in fields.items():
                row[_AT[name]] = value
        except KeyError:
            raise _unknown_field(name) from None
        for mask, at in self._masked.get(station, ()):
            if mask.covers(day):
                row[at] = np.nan
        return row

    def _built(
        self,
        station: NDArray[np.int32],
        day: NDArray[np.int32],
        observed: NDArray[np.float64],
        asked_station: NDArray[np.int32],
        asked_day: NDArray[np.int32],
    ) -> FeatureMatrix:
        """The features of the asked rows, block after block of days."""
        result = FeatureMatrix(asked_station, asked_day, np.empty((len(asked_day), len(FEATURES)), dtype=np.float32))
        for first, last in _spans(np.unique(asked_day), np.unique(day), _CELLS_AT_ONCE // max(1, len(self.grid))):
            near = np.flatnonzero((day >= first - HISTORY_DAYS) & (day <= last))
            rows = np.flatnonzero((asked_day >= first) & (asked_day <= last))
            block = build_features(
                {"station_index": station[near], "day": day[near], **dict(zip(_NAMES, observed[near].T, strict=True))},
                self.grid,
                self._weights,
                first_day=first,
                last_day=last,
                rows=(asked_station[rows], asked_day[rows]),
            )
            if len(rows) == len(result):
                return block
            result.values[rows] = block.values
        return result

    def _stores(self, day: int) -> bool:
        return self._origin <= day <= self.last_day

    def _check(self, station_index: int) -> None:
        if not 0 <= station_index < len(self.grid):
            raise InvariantError(
                f"there is no station {station_index} in the catalogue of {len(self.grid)}; send stations of it"
            )


def _masks_of(masks: Sequence[StationMask], grid: StationGrid) -> dict[int, list[tuple[StationMask, list[int]]]]:
    """The masks of each station by its index, with the positions of the columns that they cover."""
    found: dict[int, list[tuple[StationMask, list[int]]]] = {}
    for mask, index in zip(masks, grid.index_of([each.station for each in masks]).tolist(), strict=True):
        if index >= 0:
            found.setdefault(index, []).append((mask, [_AT[name] for name in mask.columns]))
    return found


def _spans(asked: NDArray[np.int32], reported: NDArray[np.int32], most: int) -> Iterator[tuple[int, int]]:
    """Rising days as (first, last) of parts that look at no more than ``most`` reported days, or are one day."""
    start = 0
    while start < len(asked):
        seen = np.searchsorted(reported, asked[start] - HISTORY_DAYS) + most
        stop = len(asked) if seen >= len(reported) else int(np.searchsorted(asked, reported[seen]))
        stop = max(stop, start + 1)
        yield int(asked[start]), int(asked[stop - 1])
        start = stop


def _unknown_field(name: str) -> InvariantError:
    return InvariantError(f"there is no observed field '{name}'; send fields of the column contract")
