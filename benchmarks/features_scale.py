"""Time and peak memory of the feature matrix as stations or years grow, and the latency of one row.

    python benchmarks/features_scale.py [--years 1] [--largest 100] [--json FILE]

Rows are random but plausible. Growth is by stations (one call holds them all) and by years (one call a year,
as the asset graph does it). Every case runs in a process of its own, so that its peak memory is its own.
"""

import statistics
import time
from typing import Any

import numpy as np
from common import Report, alone, parser, peak_mb
from numpy.typing import NDArray

from weather_platform.domain.features import (
    HISTORY_DAYS,
    History,
    StationGrid,
    build_features,
    neighbour_weights,
)
from weather_platform.domain.observations import OBSERVATION_COLUMNS

BASE_STATIONS = 49
FIRST_DAY = 14_000
DAYS_IN_YEAR = 365


def plausible(stations: int, first_day: int, last_day: int, seed: int = 1) -> dict[str, NDArray[Any]]:
    """Every station on every day, a tenth of the values missing."""
    rng = np.random.default_rng(seed)
    rows = (last_day - first_day + 1) * stations
    day, station = np.divmod(np.arange(rows, dtype=np.int32), np.int32(stations))
    table: dict[str, NDArray[Any]] = {"station_index": station, "day": day + np.int32(first_day)}
    for c in OBSERVATION_COLUMNS:
        low, high = (0.0, 1.0) if c.low is None or c.high is None else (c.low, c.high)
        values = rng.random(rows)
        if c.kind == "compass":
            values = np.floor(values * 16) * 22.5
        elif c.kind == "flag":
            values = np.floor(values * 2)
        else:
            values = low + values * (high - low) * 0.5
        values[rng.random(rows) < 0.1] = np.nan
        table[c.name] = values
    return table


def grid_of(stations: int) -> StationGrid:
    rng = np.random.default_rng(stations)
    return StationGrid(
        ids=tuple(f"S{i}" for i in range(stations)),
        latitude_deg=rng.uniform(-43, -11, stations),
        longitude_deg=rng.uniform(114, 153, stations),
        elevation_m=rng.uniform(0, 1000, stations),
    )


def measure(stations: int, years: int) -> dict[str, float]:
    """Seconds inside the feature function and peak memory, one call a year."""
    start = time.perf_counter()
    grid = grid_of(stations)
    weights = neighbour_weights(grid)
    weights_s = time.perf_counter() - start
    seconds, rows = 0.0, 0
    before_mb = 0.0
    for year in range(years):
        first = FIRST_DAY + year * DAYS_IN_YEAR
        last = first + DAYS_IN_YEAR - 1
        observations = plausible(stations, first - HISTORY_DAYS, last, seed=year)
        before_mb = max(before_mb, peak_mb())
        start = time.perf_counter()
        matrix = build_features(observations, grid, weights, first_day=first, last_day=last)
        seconds += time.perf_counter() - start
        rows += len(matrix)
    return {
        "rows": rows,
        "seconds": seconds,
        "weights_s": weights_s,
        "input_mb": before_mb,
        "peak_mb": peak_mb(),
    }


def one_row() -> dict[str, float]:
    """Microseconds for one station-day of 49 stations: with a prepared history, and from the observations."""
    grid = grid_of(BASE_STATIONS)
    weights = neighbour_weights(grid)
    observations = plausible(BASE_STATIONS, FIRST_DAY - HISTORY_DAYS, FIRST_DAY)
    row = (np.array([7], dtype=np.int32), np.array([FIRST_DAY], dtype=np.int32))
    history = History(observations, grid, weights, first_day=FIRST_DAY, last_day=FIRST_DAY)
    prepared, full = [], []
    for _ in range(500):
        start = time.perf_counter()
        history.features(row)
        prepared.append(time.perf_counter() - start)
        start = time.perf_counter()
        build_features(observations, grid, weights, first_day=FIRST_DAY, last_day=FIRST_DAY, rows=row)
        full.append(time.perf_counter() - start)
    return {"prepared_us": statistics.median(prepared) * 1e6, "full_us": statistics.median(full) * 1e6}


def main() -> None:
    """Parse, measure case after case, print."""
    options = parser(__doc__)
    options.add_argument("--years", type=int, default=1, help="years of the smallest case (default 1)")
    options.add_argument(
        "--largest", type=int, default=100, choices=(1, 10, 100), help="largest multiple (default 100)"
    )
    chosen = options.parse_args()
    report = Report("the feature function, rows x1 to x100", chosen.json)
    for what, stations, years in (("stations", 1, 0), ("years", 0, 1)):
        base: float | None = None
        for times in (1, 10, 100):
            if times > chosen.largest:
                continue
            found = alone(measure, BASE_STATIONS * times**stations, chosen.years * times**years)
            per_row = found["seconds"] / found["rows"]
            base = base or per_row
            name = f"x{times} by {what}"
            report.figure(f"{name}: seconds", found["seconds"], "s", note=f"{found['rows']:,.0f} rows")
            report.figure(f"{name}: time per row against x1", per_row / base, "")
            report.figure(f"{name}: peak memory", found["peak_mb"], "MB", note=f"input {found['input_mb']:,.0f} MB")
            report.figure(f"{name}: weights", found["weights_s"], "s")
    latency = one_row()
    report.figure("one row with a prepared history", latency["prepared_us"], "us")
    report.figure("one row from the observations", latency["full_us"], "us")
    report.close()


if __name__ == "__main__":
    main()
