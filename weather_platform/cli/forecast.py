"""`weather forecast`: the Production models' forecasts of one issue day, as a table, as a map, or for programs.

What belongs here: finding the stored forecasts, having them made when there are none, and showing them. What does not:
making them (the asset `{target}/forecasts`), and what the map looks like (``plots``).
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from weather_platform.cli.names import catalogue_of, stations_named
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.cli.show import parse_day
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.errors import PartitionMissingError, WeatherError
from weather_platform.lake import Lake
from weather_platform.lake.provenance import SYNTHETIC, lake_source
from weather_platform.regular_files import replace_file
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import Settings
from weather_platform.stores import application_database, open_lake

if TYPE_CHECKING:
    from weather_platform.resources.registry import RegisteredModel

COLUMNS = (
    "station",
    "issue_day",
    "forecast_day",
    "target",
    "unit",
    "probability",
    "threshold",
    "yes",
    "value",
    "value_low",
    "value_high",
    "interval_pct",
    "kind",
    "model_version",
    "model_sha256",
    "source",
)
"""What `--json` and `--csv` give of a station and target.

`probability` and `threshold` are from 0 to 1; `value` and the ends of its interval are in `unit`. A target has either
the three of a probability or the four of a value.
"""

_INTERVAL_PCT = 90


@dataclass(frozen=True)
class Shown:
    """The forecasts of one target: its Production model, and a row of the database a station."""

    target: ForecastTarget
    model: "RegisteredModel"
    forecasts: pa.Table

    def __post_init__(self) -> None:
        assert self.forecasts.num_rows, "whoever finds none says so"  # noqa: S101

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The largest forecast first."""
        return sorted(self.forecasts.to_pylist(), key=lambda row: (-_height(row), row["station"]))


@dataclass(frozen=True)
class DayForecast:
    """The forecasts of one issue day, by target, and what the lake was filled from."""

    day: date
    source: str | None
    targets: Sequence[Shown]

    @property
    def stations(self) -> list[str]:
        """Stations with a forecast, in the order of the first target."""
        return list(dict.fromkeys(row["station"] for shown in self.targets for row in shown.rows))


def find_forecast(
    settings: Settings, stations: Sequence[str], day_text: str | None, targets: Sequence[str]
) -> DayForecast:
    """The Production models' forecasts of one issue day. Days that were never forecast are materialised first."""
    lake = open_lake(settings)
    day = _issue_day(lake, day_text)
    chosen = set(stations_named(stations, catalogue_of(lake))) if stations else set()
    _require_reports(lake, day, chosen)
    registry = ModelRegistry.for_reading(settings)
    found: list[Shown] = []
    with closing(application_database(settings)) as database:
        database.migrate()
        learned = [name for name in TARGETS if registry.versions(name)]
        # A target that was never learned here is not meant unless it is named; one that lost its alias is an error.
        for target in [TARGETS[name] for name in targets or learned or TARGETS]:
            model = registry.production(target.name)
            rows = database.forecasts(target.name, day, day, model_version=model.version)
            if not rows.num_rows:
                _make(settings, target, day)
                rows = database.forecasts(target.name, day, day, model_version=model.version)
            if chosen:
                rows = rows.filter(pc.is_in(rows["station"], pa.array(sorted(chosen))))
            if not rows.num_rows:
                raise PartitionMissingError(
                    f"version {model.version} of {target.name} has no forecast of {day} for a station that reported; "
                    "materialise the features of that year again"
                )
            found.append(Shown(target, model, rows))
    return DayForecast(day, lake_source(lake), found)


def show_forecast(forecast: DayForecast) -> None:
    """Print one table of all targets."""
    console = Console(highlight=False)
    synthetic = " [yellow](synthetic weather, not observed)[/yellow]" if forecast.source == SYNTHETIC else ""
    console.print(f"[bold]Forecast[/bold] issued {forecast.day}, for {forecast.day + timedelta(days=1)}{synthetic}")
    console.print(_table(forecast))
    first = forecast.targets[0].target
    by = "the chance of" if first.task == "classification" else "the"
    console.print(f"Sorted by {by} {_lower(first.title)}, the highest first.", soft_wrap=True)
    for shown in forecast.targets:
        kind = "" if shown.rows[0]["kind"] == "live" else ", hindcast: the day lies in the model's own data"
        model = f"{shown.target.title} (model version {shown.model.version}{kind})"
        console.print(f"[dim]{model}: {shown.target.description}[/dim]")


def print_for_programs(forecast: DayForecast, *, as_csv: bool) -> None:
    """Print a record a station and target, in the columns of COLUMNS: a JSON list, or CSV with a header."""
    records = [_record(forecast, shown, row) for shown in forecast.targets for row in shown.rows]
    if not as_csv:
        typer.echo(json.dumps(records, indent=2))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    written = {True: "true", False: "false"}  # as JSON has them
    writer.writerows(record | {"yes": written.get(record["yes"])} for record in records)
    typer.echo(text.getvalue(), nl=False)


def draw_map(settings: Settings, forecast: DayForecast, path: Path) -> str:
    """Write the map of the first target there; gives the line that says so. WeatherError when it cannot be written."""
    shown = forecast.targets[0]
    with doing("drawing the map"):
        from weather_platform.assets.forecasts import forecast_map

        drawn = forecast_map(
            shown.target, shown.forecasts, open_lake(settings).read("stations"), forecast.source or "unknown"
        )
    assert drawn is not None, "there is a forecast to draw"  # noqa: S101
    try:
        replace_file(path, drawn[1])
    except OSError as error:
        raise WeatherError(f"the map cannot be written to {path}: {error.strerror}; choose another file") from error
    others = [f"`--target {each.target.name}`" for each in forecast.targets[1:]]
    return f"map of {_lower(shown.target.title)}: {path}" + (f" ({', '.join(others)} draws another)" if others else "")


def _record(forecast: DayForecast, shown: Shown, row: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "issue_day": row["day"].isoformat(),
        "forecast_day": (row["day"] + timedelta(days=1)).isoformat(),
        "target": shown.target.name,
        "unit": shown.target.unit,
        "yes": row["label"],
        "interval_pct": None if row["value"] is None else _INTERVAL_PCT,
        "model_sha256": row["model_digest"],
        "source": forecast.source,
    }
    return {name: found[name] if name in found else row[name] for name in COLUMNS}


def _table(forecast: DayForecast) -> Table:
    """One line a station, two columns a target."""
    table = Table()
    table.add_column("station", no_wrap=True)
    cells: list[dict[str, tuple[str, str]]] = []
    for shown in forecast.targets:
        target, rows = shown.target, shown.rows
        if target.task == "classification":
            table.add_column(f"chance of\n{_lower(target.title)}", justify="right")
            table.add_column(f"yes from\n{_percent(rows[0]['threshold'])}", justify="center")
            cells.append({row["station"]: (_percent(_height(row)), "yes" if row["label"] else "no") for row in rows})
        else:
            table.add_column(f"{_lower(target.title)}, {target.unit}", justify="right", max_width=20)
            table.add_column(f"{_INTERVAL_PCT} % interval", justify="center")
            cells.append(
                {
                    row["station"]: (f"{row['value']:.1f}", f"{row['value_low']:.1f} to {row['value_high']:.1f}")
                    for row in rows
                }
            )
    for station in forecast.stations:
        table.add_row(station, *(text for of_target in cells for text in of_target.get(station, ("", ""))))
    return table


def _height(row: Mapping[str, Any]) -> float:
    return float(row["value"] if row["probability"] is None else row["probability"])


def _percent(share: float) -> str:
    """Whole per cent; only what cannot or must happen is 0 or 100."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 < share < 1 else f"{share:.0%}".replace("%", " %")


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


def _make(settings: Settings, target: ForecastTarget, day: date) -> None:
    with doing(f"loading Dagster to forecast {day}"):
        from weather_platform.automation.plan import StageRun
        from weather_platform.build import build_definitions
        from weather_platform.cli.home import open_instance
        from weather_platform.cli.runs import execute

        definitions = build_definitions(settings)
    stage = StageRun("forecast", day.isoformat(), day.isoformat())
    with open_instance(settings) as instance:
        execute(definitions, instance, stage, console_of_errors(), targets=[target.name])


def _issue_day(lake: Lake, text: str | None) -> date:
    day = None
    if text is not None:
        day = parse_day(text)
    years = [year for year, rows in lake.row_counts("observations", "year").items() if rows]
    if not years:
        raise PartitionMissingError("there are no observations yet; `weather run` or `weather demo` makes them")
    newest: date = pc.max(lake.snapshot("observations").read(keys=[max(years)], columns=["day"])["day"]).as_py()
    if day is not None and day > newest:
        raise PartitionMissingError(f"no station has reported {day} yet; the newest day is {newest}")
    return day or newest


def _require_reports(lake: Lake, day: date, chosen: set[str]) -> None:
    """Refuse before anything is materialised: without a report there is no forecast."""
    reports = lake.snapshot("observations").read(
        keys=[str(day.year)], columns=["station", "day"], where=pc.field("day") == day
    )
    reported = set(reports["station"].to_pylist())
    if not (reported & chosen if chosen else reported):
        asked = ", ".join(sorted(chosen)) or "any station"
        years = [year for year, rows in lake.row_counts("observations", "year").items() if rows]
        raise PartitionMissingError(
            f"no report of {asked} on {day}; choose another day or station (there are observations of "
            f"{min(years)} to {max(years)})"
        )
