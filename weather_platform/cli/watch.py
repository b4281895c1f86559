"""`weather watch`: months as the Production models see them, through the job `watch`, and what came of it."""

from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from weather_platform.automation.plan import StageRun
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.cli.runs import execute
from weather_platform.domain.matured import HEADINGS, combine, with_scores
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.errors import PartitionMissingError
from weather_platform.resources.reports import ReportStore
from weather_platform.resources.source import open_source
from weather_platform.settings import Settings
from weather_platform.stores import application_database, open_lake

_COLOURS = {"none": "green", "drift": "red", "unknown": "yellow"}


def show_watch(settings: Settings, months: list[str]) -> None:
    """Report on these months, or on the newest one that the source covers whole; print verdicts and decisions."""
    asked = sorted(set(months)) or [newest_whole_month(_last_day(settings))]
    _require_features(settings, asked)
    with doing("making the asset graph"):
        definitions = build_definitions(settings)
    with open_instance(settings) as instance:
        for month in asked:
            run = StageRun("watch", month, month)
            execute(definitions, instance, run, console_of_errors(), targets=list(TARGETS))
    store, console = ReportStore.from_settings(settings), Console(highlight=False)
    with closing(application_database(settings)) as database:
        for month, record in database.drift(asked).items():
            verdict = record.verdict
            share = "" if verdict.share is None else f"  {verdict.share:.0%} of observed columns"
            console.print(f"{month} [{_COLOURS[verdict.status]}]{verdict.status}[/]{share}", soft_wrap=True)
            for reason in verdict.reasons:
                console.print(f"  {reason}", soft_wrap=True, markup=False)
            console.print(f"  {store.address(record.page_path)}", soft_wrap=True, markup=False)
            for target in TARGETS.values():
                console.print(
                    f"  {_worth(target, database.matured_skill(target.name, month, month).skill)}", soft_wrap=True
                )
            for name in TARGETS:
                decided = [each for each, _ in database.retraining(name) if each.month == month][-1]
                said = f"  {name}: {decided.decision}, {'; '.join(decided.reasons)}"
                console.print(said, soft_wrap=True, markup=False)


def _require_features(settings: Settings, months: Sequence[str]) -> None:
    """Refuse before a run is started: a month of a year without features has nothing to be compared."""
    years = sorted(open_lake(settings).row_counts("features", "year"))
    if not years:
        raise PartitionMissingError("there are no features yet; `weather run` or `weather demo` makes them")
    if without := [month for month in months if month[:4] not in years]:
        raise PartitionMissingError(
            f"there are no features of {', '.join(without)}; there are those of {years[0]} to {years[-1]}"
        )


def _worth(target: ForecastTarget, rows: pa.Table) -> str:
    """What the forecasts of a month were worth, live and hindcast apart, in one line."""
    parts = []
    for kind in ("live", "hindcast"):
        of_kind = rows.filter(pc.field("kind") == kind)
        if not of_kind.num_rows:
            continue
        [line] = with_scores(combine(of_kind, ())).to_pylist()
        said = f"{line['matured']:,} of {line['forecasts']:,} {kind} forecasts have matured"
        scores = [f"{text} {line[name]:.3f}" for name, text in HEADINGS[target.task].items() if line[name] is not None]
        parts.append(", ".join([said, *scores[:2]]))
    return f"{target.name}: {'; '.join(parts) or 'no forecast was issued'}"


def newest_whole_month(last_day: date) -> str:
    """The newest month that ends on or before this day, YYYY-MM."""
    following = last_day + timedelta(days=1)
    return (following.replace(day=1) - timedelta(days=1)).isoformat()[:7]


def _last_day(settings: Settings) -> date:
    with closing(open_source(settings, settings.now())) as source:
        return source.coverage().last_day
