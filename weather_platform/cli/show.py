"""What the commands print: tables for people, on stdout."""

from contextlib import closing
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from weather_platform.automation.plan import StageRun
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance
from weather_platform.cli.runs import console_of_errors, execute
from weather_platform.domain.stations import match_key
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import PartitionMissingError, SourceError
from weather_platform.lake import Lake
from weather_platform.lake.provenance import lake_source
from weather_platform.profiles import application_database, model_registry
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.registry import PRODUCTION
from weather_platform.settings import Settings

if TYPE_CHECKING:
    from weather_platform.cli.pipeline import Outcome

METRICS = ("roc_auc", "f1", "brier", "ece")


def show_outcome(settings: Settings, outcome: "Outcome") -> None:
    """The end of `weather run`: rows, skill, decision, and tomorrow's wettest stations."""
    console = _console()
    rows = outcome.rows
    console.print(
        f"\n{rows['raw']:,} raw rows = {rows['clean']:,} clean + {rows['quarantined']:,} quarantined"
        + ("   [yellow](synthetic weather, not observed)[/yellow]" if outcome.synthetic else ""),
        soft_wrap=True,
    )
    for target, learned in outcome.targets.items():
        for year, algorithms in sorted(learned["years"].items()):
            for algorithm, metrics in algorithms.items():
                said = "  ".join(f"{name} {metrics[name]:.4f}" for name in METRICS if name in metrics)
                console.print(f"{target} {algorithm}, test {year}: {said}", soft_wrap=True)
        if promotion := learned["promotion"]:
            console.print(f"{target}: [bold]{promotion['decision']}[/bold] version {promotion['version']}")
            for reason in promotion["reasons"]:
                console.print(f"  {reason}", soft_wrap=True)
        show_forecast(settings, [], None, targets=[target])
    console.print(
        f"{sum(stage.seconds for stage in outcome.stages):.1f} s in {len(outcome.stages)} Dagster runs; "
        "`weather ui` shows them, `weather forecast --station Sydney` asks again",
        soft_wrap=True,
    )


def show_forecast(
    settings: Settings, stations: list[str], day_text: str | None, targets: list[str] | None = None
) -> None:
    """The Production models' forecasts of one issue day. Days that were never forecast are materialised first."""
    console = _console()
    lake = LakeResource.from_settings(settings).lake()
    day = _issue_day(lake, day_text)
    chosen = stations_asked(lake, stations)
    registry = model_registry(settings)
    with closing(application_database(settings)) as database:
        database.migrate()
        for target in [TARGETS[name] for name in targets or TARGETS]:
            model = registry.production(target.name)
            if database.forecasts(target.name, day, day, model_version=model.version).num_rows == 0:
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
                asked = ", ".join(sorted(chosen)) or "any station"
                raise PartitionMissingError(f"no report of {asked} on {day}; choose another day or station")
            rows.sort(key=lambda row: (-row["probability"], row["station"]))
            kind = "" if rows[0]["kind"] == "live" else ", hindcast: the day lies in the model's own data"
            synthetic = ", [yellow]synthetic weather[/yellow]" if lake_source(lake) == "synthetic" else ""
            console.print(
                f"{target.title}: issued {day}, for {day + timedelta(days=1)} "
                f"(version {model.version}{kind}{synthetic})",
                soft_wrap=True,
            )
            table = Table()
            table.add_column("station")
            table.add_column(target.unit, justify="right")
            table.add_column(f"yes from {rows[0]['threshold']:.2f}", justify="center")
            for row in rows:
                table.add_row(row["station"], f"{row['probability']:.2f}", "rain" if row["label"] else "dry")
            console.print(table)
            console.print(f"[dim]{target.description}[/dim]")


def show_models(settings: Settings) -> None:
    """Versions of every target, newest first, with aliases and test metrics."""
    console = _console()
    registry = model_registry(settings)
    for target in TARGETS:
        aliases = registry.aliases(target)
        table = Table(title=target, title_justify="left", box=None, padding=(0, 1, 0, 0))
        for name in ("#", "alias", "algorithm", "year", "tuned to", *METRICS, "sha256"):
            # Short words, no frame, no wrapping: ten columns must be whole on a terminal of 80.
            table.add_column(name, justify="right" if name in METRICS else "left", no_wrap=True)
        for model in reversed(registry.versions(target)):
            reference = registry.reference(model.run_id)
            table.add_row(
                str(model.version),
                ", ".join(sorted(alias for alias, version in aliases.items() if version == model.version)),
                model.tags["algorithm"],
                model.tags["year"],
                model.tuned_through.isoformat(),
                *(f"{reference.metric(f'test_{name}'):.3f}" for name in METRICS),
                model.digest[:7],
            )
        console.print(table if table.row_count else f"{target}: no version is registered yet; `weather run` trains one")


def show_status(settings: Settings) -> None:
    """Where the home stands, in one screen."""
    console = _console()
    lake = LakeResource.from_settings(settings).lake()
    registry = model_registry(settings)
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
        else:
            console.print(f"{target}: Production is version {model.version}, tuned through {model.tuned_through}")
    with open_instance(settings) as instance:
        for record in instance.get_run_records(limit=5):
            run = record.dagster_run
            when = record.create_timestamp.strftime("%Y-%m-%d %H:%M UTC")
            # Runs that `dagster` or a backfill started belong to no job; their name in Dagster tells nobody anything.
            job = "assets" if run.job_name.startswith("__") else run.job_name
            console.print(f"  {when}  {job:<8}  {run.status.value.lower():<8}  {run.run_id}", soft_wrap=True)


def parse_day(text: str) -> date:
    """The day that was typed."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SourceError(f"'{text}' is not a day; write it as YYYY-MM-DD") from None


def _issue_day(lake: Lake, text: str | None) -> date:
    if text is not None:
        return parse_day(text)
    years = [year for year, rows in lake.row_counts("observations", "year").items() if rows]
    if not years:
        raise PartitionMissingError("there are no observations yet; `weather run` or `weather demo` makes them")
    newest: date = pc.max(lake.snapshot("observations").read(keys=[years[-1]], columns=["day"])["day"]).as_py()
    return newest


def stations_asked(lake: Lake, asked: list[str]) -> set[str]:
    """Catalogue ids of what people type (`alice springs`); SourceError names what is not in the catalogue."""
    known = {match_key(name): name for name in lake.read("stations", columns=["id"])["id"].to_pylist()}
    if unknown := [name for name in asked if match_key(name) not in known]:
        raise SourceError(f"no station {', '.join(unknown)}; the catalogue has {', '.join(sorted(known.values()))}")
    return {known[match_key(name)] for name in asked}


def _console() -> Console:
    return Console(highlight=False)
