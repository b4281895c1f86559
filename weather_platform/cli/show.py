"""What the commands print: tables for people, on stdout."""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from weather_platform.automation.freshness import late_parts
from weather_platform.cli.notices import show_counts
from weather_platform.cli.reading import no_home, reading_database, reading_history
from weather_platform.domain.targets import TARGETS, Task
from weather_platform.errors import RegistryError, RegistryUnreachableError
from weather_platform.lake.provenance import SYNTHETIC, lake_source, made_from
from weather_platform.resources.registry import PRODUCTION, SOURCE_TAG, ModelRegistry
from weather_platform.settings import Settings
from weather_platform.stores import open_lake

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
    """The end of `weather run`: rows, skill, decisions, and the forecasts of the newest day."""
    from weather_platform.cli.forecast import find_forecast, show_forecast

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
        for year, decided in sorted(learned["decisions"].items()):
            console.print(
                f"{target}: [bold]{decided['decision']}[/bold] version {decided['version']}, by test year {year}"
            )
            for reason in decided["reasons"]:
                console.print(f"  {reason}", soft_wrap=True)
    seconds = f"{sum(stage.seconds for stage in outcome.stages):.1f} s in {len(outcome.stages)} Dagster runs"
    forecast = find_forecast(settings, [], None, list(outcome.forecast)) if outcome.forecast else None
    if forecast is not None:
        show_forecast(forecast)
    for remark in outcome.remarks:
        console.print(remark, style="yellow", markup=False, soft_wrap=True)
    again = "" if forecast is None else f", `weather forecast --station {forecast.stations[0]}` asks again"
    console.print(
        f"{seconds}; `weather ui` shows them{again}",
        soft_wrap=True,
    )


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
    if settings.profile != "embedded" or (settings.home / "weather.db").exists():
        with reading_database(settings) as database:
            for late in late_parts(settings, database, settings.now()):
                console.print(f"late: {late.in_words()}", style="yellow", markup=False, soft_wrap=True)
    show_counts(settings)
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


def _console() -> Console:
    return Console(highlight=False)
