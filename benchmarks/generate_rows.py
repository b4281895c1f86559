"""Rows a second of the two sources, each at several sizes in one run, so that the ratios can be trusted.

    python benchmarks/generate_rows.py [--largest 4900]

Time per row should not grow with the number of rows: the last column is the time per row relative to the smallest
size of the same source. Every size is run three times and the fastest counts.
"""

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from weather_platform.sources import Source
from weather_platform.sources.csv_files import CsvSource
from weather_platform.sources.synthetic import SyntheticSource

REAL_TABLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "weatherAUS_2007_2015.csv.gz"
REPEATS = 3


def months(source: Source) -> list[str]:
    covered = source.coverage()
    first = covered.first_day.year * 12 + covered.first_day.month - 1
    last = covered.last_day.year * 12 + covered.last_day.month - 1
    return [f"{index // 12}-{index % 12 + 1:02}" for index in range(first, last + 1)]


def synthetic(station_count: int, years: int) -> SyntheticSource:
    return SyntheticSource(
        seed=1,
        station_count=station_count,
        first_day=date(2008, 1, 1),
        last_day=date(2007 + years, 12, 31),
        shift=None,
        first_month="2007-11",
        fetched_at=datetime.now(UTC),
    )


def real_table(path: Path) -> CsvSource:
    return CsvSource(path, first_month="2007-11", fetched_at=datetime.now(UTC))


def measure(make: Callable[[], Source]) -> tuple[int, float]:
    """Rows and the fastest time from opening the source to closing it, every month read once."""
    best, rows = float("inf"), 0
    for _ in range(REPEATS):
        start = time.perf_counter()
        source = make()
        rows = sum(len(source.rows(month)) for month in months(source))
        source.close()
        best = min(best, time.perf_counter() - start)
    return rows, best


def report(title: str, cases: dict[str, Callable[[], Source]]) -> None:
    print(f"\n{title:<28} {'rows':>10} {'seconds':>8} {'rows/s':>10} {'per row':>8}")
    base = 0.0
    for name, make in cases.items():
        rows, seconds = measure(make)
        base = base or seconds / rows
        print(f"{name:<28} {rows:>10,} {seconds:>8.2f} {rows / seconds:>10,.0f} {seconds / rows / base:>7.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--largest", type=int, default=4_900, help="most synthetic stations")
    largest = parser.parse_args().largest

    synthetic(1, 1).rows("2008-01")  # imports and first calls
    sizes = [(49, 2), (49, 8), (490, 2), (largest, 1)]
    report(
        "synthetic", {f"{count} stations, {years} years": partial(synthetic, count, years) for count, years in sizes}
    )
    if not REAL_TABLE.exists():
        print(f"\nno CSV figures: {REAL_TABLE} is not there")
        return
    with tempfile.TemporaryDirectory() as folder:
        content = gzip.decompress(REAL_TABLE.read_bytes())
        cases: dict[str, Callable[[], Source]] = {}
        for copies in (1, 4, 8):
            path = Path(folder) / f"{copies} copies"
            path.mkdir()
            for copy in range(copies):
                (path / f"{copy}.csv").write_bytes(content)
            cases[path.name] = partial(real_table, path)
        cases["1 copy, gzip"] = partial(real_table, REAL_TABLE)
        report("csv, the real table", cases)


if __name__ == "__main__":
    main()
