"""What `weather skill` prints: the test years side by side, and what forecasts were worth after the fact.

Months are added up from the database.
"""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from weather_platform.cli.reading import reading_database
from weather_platform.domain.leaderboard import Entry
from weather_platform.domain.matured import (
    COUNTS,
    HEADINGS,
    SEASONS,
    combine,
    notable_biases,
    with_scores,
    with_season,
)
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.errors import PartitionMissingError
from weather_platform.settings import Settings

SLICES: tuple[tuple[str, ...], ...] = ((), ("model_version",), ("state",), ("season",))
"""What the lines of a table are about, block by block; the first is everything."""


def show_skill(settings: Settings, targets: list[str]) -> None:
    """Test years, then matured skill by version, state and season, live and hindcast apart.

    PartitionMissingError when there is neither.
    """
    console = Console(highlight=False)
    with reading_database(settings) as database:
        stored = {name: database.matured_skill(name) for name in targets or TARGETS}
        found = {name: with_season(of_target.skill) for name, of_target in stored.items()}
        boards = {name: database.leaderboards(name) for name in found}
    for name, of_years in boards.items():
        if of_years:
            _show_years(console, TARGETS[name], of_years)
    matured = {name: rows for name, rows in found.items() if pc.sum(rows["matured"]).as_py()}
    if not matured and not any(boards.values()):
        raise PartitionMissingError(
            f"nothing of {', '.join(found)} was learned or forecast yet; `weather run` does both"
        )
    for name in found:
        if name not in matured:
            waiting = pc.sum(found[name]["pending"]).as_py() or 0
            pending = f" ({waiting:,} pending)" if waiting else ""
            console.print(
                f"{name}: no forecast was held against what happened yet{pending}; "
                "`weather watch --month YYYY-MM` does that for a month",
                soft_wrap=True,
            )
            continue
        rows = matured[name]
        months = pc.min_max(rows["month"]).as_py()
        console.print(f"[bold]{TARGETS[name].title}[/bold]: issued {months['min']} to {months['max']}", soft_wrap=True)
        for kind in ("live", "hindcast"):
            of_kind = rows.filter(pc.field("kind") == kind)
            if of_kind.num_rows:
                _show_kind(console, TARGETS[name], kind, of_kind)
        _show_bias(console, stored[name].bias.filter(pc.field("kind") == "live"))


def _show_years(console: Console, target: ForecastTarget, boards: Mapping[int, Sequence[Entry]]) -> None:
    """Every candidate and baseline on its test years; the challengers, best on validation, with a star."""
    lines = {entry.name: entry.rank is None for board in boards.values() for entry in board}
    table = Table(box=None, padding=(0, 1, 0, 0), title_justify="left")
    table.title = f"{target.title}: {target.primary_metric} by test year, 95 % intervals; * best on validation"
    for heading in ("", *map(str, boards)):
        table.add_column(heading, justify="right" if heading else "left")
    for name in sorted(lines, key=lambda name: (lines[name], name)):
        row = [next((_figure(entry) for entry in board if entry.name == name), "") for board in boards.values()]
        table.add_row(f"{name} (baseline)" if lines[name] else name, *row)
    console.print(table)


def _figure(entry: Entry) -> str:
    star = "*" if entry.rank == 1 else ""
    if entry.test_low is None or entry.test_high is None:
        return f"{entry.test:.3f}{star}"
    return f"{entry.test:.3f}{star} ±{(entry.test_high - entry.test_low) / 2:.3f}"


def _show_kind(console: Console, target: ForecastTarget, kind: str, rows: pa.Table) -> None:
    note = "" if kind == "live" else ": days of the models' own data, which say nothing about skill"
    table = Table(title=f"{kind}{note}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    scores = HEADINGS[target.task]
    for heading in ("", *COUNTS[1:], *scores.values()):
        table.add_column(heading, justify="right" if heading else "left", vertical="bottom")
    for slice_ in SLICES:
        lines = with_scores(combine(rows, slice_)).to_pylist()
        if slice_ == ("season",):
            lines.sort(key=lambda line: list(SEASONS).index(line["season"]))
        for line in lines:
            label = f"version {line['model_version']}" if slice_ == ("model_version",) else "all"
            cells = ("" if line[name] is None else f"{line[name]:.3f}" for name in scores)
            table.add_row(str(line.get("state", line.get("season", label))), *_counts(line), *cells)
        table.add_row()
    console.print(table)


def _show_bias(console: Console, bias: pa.Table) -> None:
    """The bias of each version in its newest month, and the places where it is not 0."""
    if not bias.num_rows:
        return
    console.print("live bias of the newest month: mean of forecast minus observed, 98 % interval", soft_wrap=True)
    for version in pc.unique(bias["model_version"]).sort().to_pylist():
        of_version = bias.filter(pc.field("model_version") == version)
        month = pc.max(of_version["month"]).as_py()
        whole, *places = notable_biases(of_version.filter(pc.field("month") == month)).sort_by("scope").to_pylist()
        console.print(f"  version {version}, {month}: {_interval(whole)} over {whole['days']} days", soft_wrap=True)
        if places:
            named = ", ".join(f"{place['place']} {_interval(place)}" for place in places)
            console.print(f"    not 0 at {named}", soft_wrap=True, markup=False)
    console.print()


def _interval(row: Mapping[str, float | None]) -> str:
    if row["low"] is None:
        return f"{row['bias']:+.3f}"
    return f"{row['bias']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def _counts(line: Mapping[str, int]) -> Iterator[str]:
    return (f"{line[name]:,}" for name in COUNTS[1:])
