"""Time and peak memory of the feature matrix as stations or years grow, and the latency of one row.

    python benchmarks/features_scale.py [--years 1] [--largest 100] [--json]

Rows are random but plausible. Growth is by stations (one call holds them all) and by years (one call a year,
as the asset graph does it). Every case runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from typing import Any

import numpy as np
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


def peak_mb() -> float:
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def alone(stations: int, years: int) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (stations, years))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=1, help="years of the smallest case (default 1)")
    parser.add_argument("--largest", type=int, default=100, choices=(1, 10, 100), help="largest multiple (default 100)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of the table")
    arguments = parser.parse_args()
    for what, stations, years in (("stations", 1, 0), ("years", 0, 1)):
        base: dict[str, float] = {}
        for times in (1, 10, 100):
            if times > arguments.largest:
                continue
            found = alone(BASE_STATIONS * times**stations, arguments.years * times**years)
            base = base or found
            ratio = found["seconds"] / base["seconds"]
            if arguments.json:
                print(json.dumps({"by": what, "times": times, "ratio": ratio, **found}))
            else:
                print(
                    f"{what:>8} x{times:<4d} {found['rows']:>10,.0f} rows "
                    f"{found['seconds']:8.2f} s (x{ratio:6.1f}) "
                    f"{found['rows'] / found['seconds']:>9,.0f} rows/s  peak {found['peak_mb']:6,.0f} MB "
                    f"(input {found['input_mb']:6,.0f} MB)  weights {found['weights_s']:.3f} s",
                    flush=True,
                )
    latency = one_row()
    if arguments.json:
        print(json.dumps({"by": "one row", **latency}))
    else:
        print(
            f"one row: {latency['prepared_us']:.0f} us with a prepared history, "
            f"{latency['full_us']:.0f} us from the observations"
        )


if __name__ == "__main__":
    main()
