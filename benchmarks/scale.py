"""Time and peak memory from raw rows to features as stations, years or both grow, through the product's own runs.

    python benchmarks/scale.py [--largest 1|10|100] [--by stations years both] [--json FILE]

x1 is 49 synthetic stations over 8 years, about 143,000 rows; x100 is 14 million. Every size is an `ingest` and a
`process` run (assets, checks and Dagster's own recording included) on a fresh temporary home in a process of its own.
The generator's share is printed apart: it makes the rows, and no real source would. The settings allow 200 years, so
x100 by years alone does not exist: `both` is 490 stations over 80 years.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import Report, Timed, alone, parser, peak_mb

STATIONS, YEARS, LAST_YEAR = 49, 8, 2024
LINEAR = 1.25
"""Seconds per row may grow by so much and still count as about linear."""
MEMORY_GB = 12


class Size(NamedTuple):
    """One case."""

    by: str
    times: int
    stations: int
    years: int


SIZES = (
    Size("stations", 1, STATIONS, YEARS),
    Size("stations", 10, STATIONS * 10, YEARS),
    Size("stations", 100, STATIONS * 100, YEARS),
    Size("years", 10, STATIONS, YEARS * 10),
    Size("both", 100, STATIONS * 10, YEARS * 10),
)


def measure(size: Size) -> dict[str, float]:
    """Rows, seconds of each step and peak memory of one case, in this process."""
    from datetime import date

    from rich.console import Console

    from weather_platform.automation.plan import plan_runs
    from weather_platform.build import build_definitions
    from weather_platform.cli.home import open_instance
    from weather_platform.cli.pipeline import row_totals
    from weather_platform.cli.runs import execute
    from weather_platform.settings import load_settings
    from weather_platform.sources import Coverage
    from weather_platform.sources.synthetic import SyntheticSource

    home = Path(tempfile.mkdtemp(prefix="weather-scale-"))
    os.environ.pop("DAGSTER_HOME", None)
    generating = Timed(SyntheticSource, "rows")
    first, last = date(LAST_YEAR - size.years + 1, 1, 1), date(LAST_YEAR, 12, 31)
    settings = load_settings(
        home=home,
        source="synthetic",
        synthetic_stations=size.stations,
        synthetic_years=size.years,
        synthetic_last_day=last,
        first_month=f"{first:%Y-%m}",
    )
    try:
        runs = [run for run in plan_runs(Coverage(first, last), [], 1) if run.job in ("ingest", "process")]
        definitions = build_definitions(settings)
        found: dict[str, float] = {}
        start = time.perf_counter()
        with open_instance(settings) as instance:
            for run in runs:
                result = execute(definitions, instance, run, Console(quiet=True), targets=())
                found |= result.step_seconds | {f"{run.job} run": result.seconds}
                found[f"peak after {run.job}"] = peak_mb()
        found["total"] = time.perf_counter() - start
        found["generator"] = generating.seconds
        found["rows"] = row_totals(settings)["raw"]
        found["peak_mb"] = peak_mb()
        found["lake_mb"] = sum(file.stat().st_size for file in (home / "lake").rglob("*") if file.is_file()) / 1e6
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return found


def main() -> None:
    """Parse, measure size after size, print."""
    options = parser(__doc__)
    options.add_argument("--largest", type=int, default=100, choices=(1, 10, 100))
    ways = ("stations", "years", "both")
    options.add_argument("--by", nargs="+", default=ways, choices=ways)
    chosen = options.parse_args()
    report = Report("raw -> features, rows x1 to x100", chosen.json)
    base: float | None = None
    for size in SIZES:
        if size.times > chosen.largest or (size.times > 1 and size.by not in chosen.by):
            continue
        found = alone(measure, size)
        seconds = found["total"] - found["generator"]
        per_row = seconds / found["rows"]
        base = base or per_row
        name = f"x{size.times} by {size.by}"
        report.say(f"\n{name}: {size.stations:,} stations, {size.years} years, {found['rows']:,.0f} rows")
        report.figure(f"{name}: seconds", seconds, "s", note=f"and {found['generator']:.1f} s of the generator")
        report.figure(f"{name}: rows per second", 1 / per_row, "rows/s")
        report.figure(f"{name}: time per row against x1", per_row / base, "", at_most=LINEAR)
        report.figure(f"{name}: peak memory", found["peak_mb"] / 1000, "GB", at_most=MEMORY_GB)
        report.figure(f"{name}: lake on disk", found["lake_mb"], "MB")
        for step in ("stations", "raw_observations", "clean_observations", "features"):
            report.figure(f"{name}: {step}", found[step], "s")
        for run in ("ingest", "process"):
            report.figure(f"{name}: {run} run", found[f"{run} run"], "s")
            report.figure(f"{name}: peak after {run}", found[f"peak after {run}"] / 1000, "GB")
    report.close()


if __name__ == "__main__":
    main()
