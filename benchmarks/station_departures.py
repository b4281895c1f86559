"""How often a station is said to depart from its neighbours where nothing was changed, and which changes are seen.

    python benchmarks/station_departures.py [--draws 3] [--stations 1000] [--path FILE] [--json FILE]

The real table, every month from 2011 to 2015 judged against the years before it: without a change (its departures may
be real: nobody knows which of its sensors were moved), then with pressure 3 hPa too high at a third of the stations,
and with humidity 15 % too low at ten, judged in the first month. Last, the time for the real table, and for made-up
rows of many stations.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
from common import REAL_TABLE, Report, parser
from skill_real_table import read

from weather_platform.domain.departures import DepartureVerdict, Neighbourhood
from weather_platform.domain.drift import WatchedColumn, WatchedRows
from weather_platform.domain.neighbours import StationGrid
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.stations import STATIONS

FIRST_YEAR, LAST_YEAR = 2011, 2015
NAMES = tuple(column.name for column in OBSERVATION_COLUMNS if column.kind == "number")
MOST_SECONDS = 2.0


@dataclass(frozen=True)
class Change:
    """What happens to some columns of so many stations."""

    name: str
    columns: tuple[str, ...]
    stations: int
    of: Callable[[np.ndarray], np.ndarray]


def real_rows(path: Path) -> WatchedRows:
    """Every station-day of the table."""
    observed = read(path)
    known = observed["station_index"] >= 0
    return WatchedRows(
        stations=tuple(station.id for station in STATIONS),
        station_index=observed["station_index"][known],
        day=observed["day"][known],
        columns=tuple(WatchedColumn(name, "observation") for name in NAMES),
        values=np.column_stack([observed[name][known] for name in NAMES]).astype(np.float32),
    )


def judged(rows: WatchedRows, grid: StationGrid, year: int, months: range) -> list[DepartureVerdict]:
    """Months of a year, each against the years before it."""
    until = rows.day < np.datetime64(f"{year + 1}-01-01").astype(np.int32)
    seen = replace(rows, station_index=rows.station_index[until], day=rows.day[until], values=rows.values[until])
    neighbourhood = Neighbourhood(seen, grid, date(year - 1, 12, 30))
    return [neighbourhood.verdict(f"{year}-{month:02}") for month in months]


def changed(rows: WatchedRows, change: Change, who: np.ndarray, first: str) -> WatchedRows:
    """The rows with these columns of these stations changed from a day on."""
    from_day = np.datetime64(first).astype(np.int32)
    here = np.flatnonzero(np.isin(rows.station_index, who) & (rows.day >= from_day))
    values = rows.values.copy()
    for name in change.columns:
        values[here, NAMES.index(name)] = change.of(values[here, NAMES.index(name)])
    return replace(rows, values=values)


def without_change(rows: WatchedRows, grid: StationGrid, report: Report) -> None:
    verdicts = [each for year in range(FIRST_YEAR, LAST_YEAR + 1) for each in judged(rows, grid, year, range(1, 13))]
    known = [each for each in verdicts if each.status != "unknown"]
    flagged = Counter(each.column for verdict in verdicts for each in verdict.departures)
    report.figure("months judged", len(known), "")
    report.figure("months unknown", len(verdicts) - len(known), "")
    report.figure("months with a departure in any column", sum(each.status == "departs" for each in known), "")
    report.figure("comparisons", sum(each.compared for each in verdicts), "")
    report.figure("departures", sum(flagged.values()), "")
    for name in NAMES:
        months = sum(any(each.column == name for each in verdict.departures) for verdict in verdicts)
        report.figure(f"months with a departure in {name}", months, "")


def seen(rows: WatchedRows, grid: StationGrid, report: Report, change: Change, draws: int) -> None:
    """Shares of the changed stations that are seen in the first month, and departures of unchanged ones."""
    random = np.random.default_rng(1)
    found = total = others = months = 0
    column = NAMES.index(change.columns[0])
    reporting = np.unique(rows.station_index[~np.isnan(rows.values[:, column])])
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        for month in (1, 7):
            for _ in range(draws):
                who = random.choice(reporting, change.stations, replace=False)
                shifted = changed(rows, change, who, f"{year}-{month:02}-01")
                [verdict] = judged(shifted, grid, year, range(month, month + 1))
                departing = {each.station for each in verdict.departures if each.column in change.columns}
                mine = {rows.stations[at] for at in who}
                found += len(departing & mine)
                others += len(departing - mine)
                total, months = total + change.stations, months + 1
    report.figure(f"{change.name}: changed stations seen in month 1", found / total, "")
    report.figure(f"{change.name}: unchanged stations flagged, a month", others / months, "")


def many_stations(count: int, report: Report) -> None:
    """Seven made-up years of many stations."""
    random = np.random.default_rng(1)
    days = np.arange(np.datetime64("2009-01-01").astype(int), np.datetime64("2016-01-01").astype(int), dtype=np.int32)
    values = random.normal(size=(len(days) * count, len(NAMES))).astype(np.float32) ** 2
    latitude, longitude = random.uniform(-38, -12, count), random.uniform(115, 153, count)
    ids = tuple(f"station {at}" for at in range(count))
    grid = StationGrid(ids, latitude, longitude, np.zeros(count))
    columns = tuple(WatchedColumn(name, "observation") for name in NAMES)
    index = np.tile(np.arange(count, dtype=np.int32), len(days))
    rows = WatchedRows(ids, index, np.repeat(days, count), columns, values)
    began = time.perf_counter()
    Neighbourhood(rows, grid, date(2014, 12, 30)).verdict("2015-06")
    report.figure(f"seconds for {count} stations", time.perf_counter() - began, "s", note=f"{len(rows.day):,} rows")


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--draws", type=int, default=3)
    asked.add_argument("--stations", type=int, default=1000)
    asked.add_argument("--path", type=Path, default=REAL_TABLE)
    chosen = asked.parse_args()
    report = Report("stations against their neighbours", chosen.json)
    rows, grid = real_rows(chosen.path), StationGrid.from_stations(STATIONS)
    began = time.perf_counter()
    judged(rows, grid, LAST_YEAR, range(1, 13))
    report.figure("seconds for the real table", time.perf_counter() - began, "s", at_most=MOST_SECONDS)
    without_change(rows, grid, report)
    pressure, humidity = ("pressure_3pm_hpa", "pressure_9am_hpa"), ("humidity_3pm_pct", "humidity_9am_pct")
    third = len(grid) // 3
    seen(rows, grid, report, Change("pressure + 3 hPa", pressure, third, lambda values: values + 3), chosen.draws)
    seen(rows, grid, report, Change("humidity - 15 %", humidity, 10, lambda values: values * 0.85), chosen.draws)
    many_stations(chosen.stations, report)
    report.close()


if __name__ == "__main__":
    main()
