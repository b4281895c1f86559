"""What the commands print: tables for people, on stdout."""

from collections.abc import Mapping
from contextlib import closing
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from weather_platform.cli.reading import no_home, reading_database, reading_history
from weather_platform.domain.recognition import Recogniser, StationText
from weather_platform.domain.stations import stations_of
from weather_platform.domain.targets import TARGETS, ForecastTarget, Task
from weather_platform.errors import PartitionMissingError, RegistryError, RegistryUnreachableError, SourceError
from weather_platform.lake import Lake
from weather_platform.lake.provenance import SYNTHETIC, lake_source, made_from
from weather_platform.resources.registry import PRODUCTION, SOURCE_TAG, ModelRegistry
from weather_platform.settings import Settings
from weather_platform.stores import application_database, open_lake

if TYPE_CHECKING:
    from weather_platform.cli.pipeline import Outcome

_WIDE_ENOUGH = 78
"""Columns of a terminal that `weather models` needs for everything it has."""

METRICS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("roc_auc", "f1", "brier", "ece"),
    "regression": ("r2", "rmse", "mae", "coverage_90"),
}
"""What is shown of a model on one line; MLflow has the rest."""


def show_outcome(settings: Settings, outcome: "Outcome") -> None:
    """The end of `weather run`: rows, skill, decision, and the forecasts of the newest day."""
    console = _console()
    rows = outcome.rows
    console.print(
        f"\n{rows['raw']:,} raw rows = {rows['clean']:,} clean + {rows['quarantined']:,} quarantined"
        + ("   [yellow](synthetic weather, not observed)[/yellow]" if outcome.synthetic else ""),
        soft_wrap=True,
    )
    for target, learned in outcome.targets.items():
        shown = METRICS[TARGETS[target].task]
        for year, algorithms in sorted(learned["years"].items()):
            for algorithm, metrics in algorithms.items():
                said = "  ".join(f"{name} {metrics[name]:.4f}" for name in shown if name in metrics)
                console.print(f"{target} {algorithm}, test {year}: {said}", soft_wrap=True)
        if promotion := learned["promotion"]:
            console.print(f"{target}: [bold]{promotion['decision']}[/bold] version {promotion['version']}")
            for reason in promotion["reasons"]:
                console.print(f"  {reason}", soft_wrap=True)
        show_forecast(settings, [], None, targets=[target])
    for remark in outcome.remarks:
        console.print(remark, style="yellow", markup=False, soft_wrap=True)
    station = open_lake(settings).read("stations", columns=["id"])["id"][0]
    console.print(
        f"{sum(stage.seconds for stage in outcome.stages):.1f} s in {len(outcome.stages)} Dagster runs; "
        f"`weather ui` shows them, `weather forecast --station {station}` asks again",
        soft_wrap=True,
    )


def show_forecast(
    settings: Settings, stations: list[str], day_text: str | None, targets: list[str] | None = None
) -> None:
    """The Production models' forecasts of one issue day. Days that were never forecast are materialised first."""
    console = _console()
    lake = open_lake(settings)
    day = _issue_day(lake, day_text)
    chosen = stations_asked(lake, stations)
    _require_reports(lake, day, chosen)
    registry = ModelRegistry.for_reading(settings)
    with closing(application_database(settings)) as database:
        database.migrate()
        learned = [name for name in TARGETS if registry.versions(name)]
        # A target that was never learned here is not meant unless it is named; one that lost its alias is an error.
        for target in [TARGETS[name] for name in targets or learned or TARGETS]:
            model = registry.production(target.name)
            if database.forecasts(target.name, day, day, model_version=model.version).num_rows == 0:
                from weather_platform.automation.plan import StageRun
                from weather_platform.build import build_definitions
                from weather_platform.cli.home import open_instance
                from weather_platform.cli.runs import console_of_errors, execute

                stage = StageRun("forecast", day.isoformat(), day.isoformat())
                with open_instance(settings) as instance:
                    execute(
                        build_definitions(settings),
                        instance,
                        stage,
                        console_of_errors(),
                        targets=[target.name],
                    )
            found = database.forecasts(target.name, day, day, model_version=model.version)
            rows = [row for row in found.to_pylist() if not chosen or row["station"] in chosen]
            if not rows:
                raise PartitionMissingError(
                    f"version {model.version} of {target.name} has no forecast of {day} for a station that reported; "
                    "materialise the features of that year again"
                )
            kind = "" if rows[0]["kind"] == "live" else ", hindcast: the day lies in the model's own data"
            synthetic = ", [yellow]synthetic weather[/yellow]" if lake_source(lake) == SYNTHETIC else ""
            console.print(
                f"{target.title}: issued {day}, for {day + timedelta(days=1)} "
                f"(version {model.version}{kind}{synthetic})",
                soft_wrap=True,
            )
            console.print(_forecast_table(target, rows))
            console.print(f"[dim]{target.description}[/dim]")


def _forecast_table(target: ForecastTarget, rows: list[dict[str, Any]]) -> Table:
    """One line per station, the largest probability or value first."""
    yes_or_no = target.task == "classification"
    forecast = "probability" if yes_or_no else "value"
    table = Table()
    table.add_column("station")
    table.add_column(target.unit, justify="right")
    table.add_column(f"yes from {rows[0]['threshold']:.2f}" if yes_or_no else "90 % interval", justify="center")
    for row in sorted(rows, key=lambda row: (-row[forecast], row["station"])):
        if yes_or_no:
            table.add_row(row["station"], f"{row['probability']:.2f}", "yes" if row["label"] else "no")
        else:
            interval = f"{row['value_low']:.1f} to {row['value_high']:.1f}"
            table.add_row(row["station"], f"{row['value']:.1f}", interval)
    return table


def show_models(settings: Settings) -> None:
    """Versions of every target, newest first, with aliases and test metrics."""
    console = _console()
    if (line := no_home(settings)) is not None:
        console.print(line, soft_wrap=True, markup=False)
        return
    registry = ModelRegistry.for_reading(settings)
    for target, spec in TARGETS.items():
        aliases, metrics = registry.aliases(target), METRICS[spec.task]
        table = Table(title=target, title_justify="left", box=None, padding=(0, 1, 0, 0))
        # Short words, no frame: ten columns are whole on a terminal of 80, where only a long name breaks; a narrower
        # one gets fewer of them, because a table that does not fit loses the numbers people came for.
        wide = console.width >= _WIDE_ENOUGH
        metrics, others = (metrics, ("tuned to", "sha256")) if wide else (metrics[:1], ())
        for name in ("#", "alias", "algorithm", "year", *others[:1], *metrics, *others[1:]):
            long = name == "algorithm"
            table.add_column(
                name,
                justify="right" if name in metrics else "left",
                no_wrap=not long,
                overflow="fold" if long else "ellipsis",
            )
        old = []
        for model in reversed(registry.versions(target)):
            try:
                reference = registry.reference(model.run_id)
                measured = [f"{reference.metric(f'test_{name}'):.3f}" for name in metrics]
            except RegistryUnreachableError:
                raise
            except RegistryError as error:
                measured = ["old", *[""] * (len(metrics) - 1)]
                old.append(f"old: {model.name} lacks what this version of the package records of a model: {error}")
            if model.tags.get(SOURCE_TAG) == SYNTHETIC:
                table.title = f"{target}{made_from(SYNTHETIC)}"
            table.add_row(
                str(model.version),
                ", ".join(sorted(alias for alias, version in aliases.items() if version == model.version)),
                model.tags["algorithm"],
                model.tags["year"],
                *([model.tuned_through.isoformat()] if wide else []),
                *measured,
                *([model.digest[:7]] if wide else []),
            )
        console.print(table if table.row_count else f"{target}: no version is registered yet; `weather run` trains one")
        for line in old:
            console.print(line, soft_wrap=True, markup=False)


def show_status(settings: Settings) -> None:
    """Where the home stands, in one screen."""
    console = _console()
    if (line := no_home(settings)) is not None:
        console.print(line, soft_wrap=True, markup=False)
        return
    lake = open_lake(settings)
    registry = ModelRegistry.for_reading(settings)
    console.print(f"profile {settings.profile}, home {settings.home}")
    console.print(f"source  {settings.source}; the lake holds {lake_source(lake) or 'nothing yet'}")
    table = Table(title="Lake", title_justify="left")
    for name in ("table", "rows", "partitions", "first", "last", "version"):
        table.add_column(name, justify="right" if name in ("rows", "partitions", "version") else "left")
    for name, column in (
        ("raw_observations", "month"),
        ("observations", "year"),
        ("quarantined_observations", "year"),
        ("features", "year"),
    ):
        counts = lake.row_counts(name, column)
        if counts:
            version = str(lake.version(name))
            table.add_row(name, f"{sum(counts.values()):,}", str(len(counts)), min(counts), max(counts), version)
    if table.row_count:
        console.print(table)
    for target in TARGETS:
        model = registry.alias(target, PRODUCTION)
        if model is None:
            console.print(f"{target}: no Production model; `weather run` trains one")
            continue
        with reading_database(settings) as database:
            newest = database.newest_forecast_day(target, model.version)
        forecasts = f"forecasts up to {newest}" if newest else "no forecasts yet"
        console.print(
            f"{target}: Production is version {model.version}, tuned through {model.tuned_through}; {forecasts}",
            soft_wrap=True,
        )
    with reading_history(settings) as history:
        for run in history.newest_runs(5):
            when = f"{run.created_at:%Y-%m-%d %H:%M} UTC"
            console.print(f"  {when}  {run.job or 'assets':<8}  {run.status:<8}  {run.run_id}", soft_wrap=True)


def parse_day(text: str) -> date:
    """The day that was typed; a wrong use of the command when it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not a day; write it as YYYY-MM-DD") from None


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


def stations_asked(lake: Lake, asked: list[str]) -> set[str]:
    """Catalogue ids of what people type (`alice springs`); SourceError names what is not in the catalogue."""
    catalogue = stations_of(lake.read("stations"))
    recogniser = Recogniser(catalogue)
    found = {name: recogniser.recognise(StationText(name)) for name in asked}
    if unknown := [name for name, station in found.items() if station is None]:
        known = ", ".join(sorted(station.id for station in catalogue))
        raise SourceError(f"no station {', '.join(unknown)}; the catalogue has {known}")
    return {station.id for station in found.values() if station is not None}


def _console() -> Console:
    return Console(highlight=False)
