"""Made-up station-days with shared weather, for tests of what is compared and what the distances say."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.drift import ColumnKind, DriftVerdict, Usual, Watch, WatchedColumn, WatchedRows, distance
from weather_platform.domain.splits import day_number

FIRST, LAST = date(2008, 1, 1), date(2014, 12, 31)
LEARNED_THROUGH = date(2012, 12, 30)
STATIONS = ("Albury", "Cobar", "Perth", "Sydney", "Uluru")
SEED = 7


def watched_rows(columns: int = 20, *, kinds: tuple[ColumnKind, ...] = (), seed: int = 1) -> WatchedRows:
    """Seven stationary years of five stations: each column has spells of some days that all stations share."""
    random = np.random.default_rng(seed)
    days = np.arange(day_number(FIRST), day_number(LAST) + 1, dtype=np.int32)
    noise = random.normal(size=(len(days), columns))
    spells = np.copy(noise)
    for at in range(1, len(days)):
        spells[at] = 0.6 * spells[at - 1] + 0.8 * noise[at]
    own = random.normal(scale=0.5, size=(len(days), len(STATIONS), columns))
    climate = np.arange(len(STATIONS))[:, None] * np.linspace(0, 2, columns)
    season = 3 * np.sin(2 * np.pi * days / 365.25)[:, None, None]
    values = (spells[:, None, :] + own + climate + season).reshape(-1, columns)
    return WatchedRows(
        stations=STATIONS,
        station_index=np.tile(np.arange(len(STATIONS), dtype=np.int32), len(days)),
        day=np.repeat(days, len(STATIONS)),
        columns=tuple(WatchedColumn(f"column_{at}", kinds[at] if kinds else "observation") for at in range(columns)),
        values=values.astype(np.float32),
    )


def in_month(rows: WatchedRows, month: str) -> NDArray[np.bool_]:
    """The rows of a month."""
    return np.asarray(rows.day.astype("datetime64[D]").astype("datetime64[M]") == np.datetime64(month))


def judged(rows: WatchedRows, month: str, *, learned_through: date = LEARNED_THROUGH) -> DriftVerdict:
    """The verdict on a month, the distances measured as Evidently measures them."""
    watch = Watch(rows, learned_through, SEED)
    usual = watch.usual()
    return judged_by(watch, usual, month)


def judged_by(watch: Watch, usual: Usual, month: str) -> DriftVerdict:
    """The same when the usual distances are known."""
    sides = watch.sides(month)
    at = {column.name: position for position, column in enumerate(sides.columns)}
    distances = {}
    for name in usual.thresholds(sides):
        now, then = sides.current[:, at[name]], sides.reference[:, at[name]]
        distances[name] = distance(then[~np.isnan(then)], now[~np.isnan(now)])
    return watch.judge(sides, usual, distances)
