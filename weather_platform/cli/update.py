"""`weather update`: what is new in the source, brought through the tables to the forecasts. Trains nothing.

What belongs here: the order of the stages, and what is printed. What does not: what is new (``automation.updates``) and
which runs follow from it (``automation.plan``). Each stage looks at what the one before it left, so that an update that
was interrupted goes on where it ended.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from rich.console import Console

from weather_platform.automation import plan, updates
from weather_platform.automation.behind import Behindhand
from weather_platform.cli.home import open_instance
from weather_platform.cli.pipeline import row_totals
from weather_platform.cli.progress import console_of_errors
from weather_platform.cli.runs import execute
from weather_platform.domain.alias_moves import serving
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import PartitionMissingError
from weather_platform.lake.provenance import RAW_TABLE, refuse_other_source
from weather_platform.lake.unknown_stations import in_words, unknown_stations
from weather_platform.resources.registry import PRODUCTION
from weather_platform.resources.source import open_source
from weather_platform.settings import Settings
from weather_platform.sources.changes import MonthChange
from weather_platform.stores import application_database, open_lake

if TYPE_CHECKING:
    import dagster as dg

    from weather_platform.automation.plan import StageRun
    from weather_platform.database import Database
    from weather_platform.lake import Lake

Span = tuple[str, str]
"""First and last partition key of a run."""

MOST_NAMED = 5
"""Stations that a line names."""


@dataclass
class Done:
    """What an update did."""

    changes: list[MonthChange] = field(default_factory=list)
    stations: list[str] = field(default_factory=list)
    cleaned: list[Span] = field(default_factory=list)
    featured: list[Span] = field(default_factory=list)
    forecast: dict[str, list[Span]] = field(default_factory=dict)
    measured: dict[str, list[Span]] = field(default_factory=dict)
    reported: list[Span] = field(default_factory=list)
    without_model: list[str] = field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0


def update(settings: Settings, first_days: int, *, let_go: bool = False) -> None:
    """Bring in what is new and print what was done; a version without forecasts makes those of the newest `first_days`.

    PartitionMissingError when nothing was ever received here.
    """
    lake = open_lake(settings)
    if not lake.row_counts(RAW_TABLE, "month"):
        raise PartitionMissingError(
            f"nothing is stored in {settings.home} yet, so there is nothing to update; begin with "
            "`weather run --source csv --path FILE_OR_FOLDER`, or with `weather demo`"
        )
    with open_instance(settings) as instance, closing(application_database(settings)) as database:
        database.migrate()
        _Update(settings, lake, database, instance, first_days, let_go).run()


class _Update:
    """One update of a home."""

    def __init__(
        self,
        settings: Settings,
        lake: "Lake",
        database: "Database",
        instance: "dg.DagsterInstance",
        first_days: int,
        let_go: bool,
    ) -> None:
        self._settings, self._lake, self._database, self._instance = settings, lake, database, instance
        self._first_days, self._let_go = first_days, let_go
        self._console = console_of_errors()
        self._definitions: dg.Definitions | None = None
        self._behind = Behindhand()
        self.done = Done()

    def run(self) -> None:
        known = updates.settled(self._instance)
        stamp, last_day = self._look(known)
        self._receive()
        self._process()
        self._forecast()
        if known is None or not updates.is_settled(known, self._lake, stamp):
            updates.settle(self._instance, self._lake, stamp)
        self._say(last_day)

    def _look(self, known: updates.Settled | None) -> tuple[str, date | None]:
        """The stamp of the source, and its last day when it had to be read. Notes the changed months."""
        with closing(open_source(self._settings, self._settings.now())) as source:
            refuse_other_source(self._lake, source)
            # Before the rows: a file that is written meanwhile is new at the next update.
            stamp = source.stamp()
            if updates.is_settled(known, self._lake, stamp):
                return stamp, None
            with self._console.status("reading the source to see what is new"):
                self.done.stations = updates.changed_stations(source, self._lake)
                self.done.changes = updates.new_in(source, self._lake)
            for remark in source.remarks():
                self._console.print(remark, style="yellow", markup=False, soft_wrap=True)
            return stamp, source.coverage().last_day

    def _receive(self) -> None:
        from weather_platform.assets.raw import letting_go

        config = letting_go() if self._let_go else None
        for run in plan.ingest_runs(change.month for change in self.done.changes):
            self._execute(run, TARGETS, config)

    def _process(self) -> None:
        """Clean the years that are behind what was received; make the features that are behind their observations."""
        for run in plan.year_runs(self._behind.observations(self._instance)):
            self._execute(run, TARGETS)
            self.done.cleaned.append((run.first, run.last))
        for run in plan.year_runs(self._behind.features(self._instance), only="features"):
            self._execute(run, TARGETS)
            self.done.featured.append((run.first, run.last))

    def _forecast(self) -> None:
        """Forecast with each Production model what is new or changed, and measure what has matured."""
        days: dict[str, list[date]] = {}
        for target in TARGETS:
            if self._production(target) is None:
                self.done.without_model.append(target)
            asked = self._behind.forecasts(self._instance, self._database, target, self._first_days)
            days[target] = [date.fromisoformat(day) for day in asked]
        for run, targets in plan.forecast_runs(days):
            self._execute(run, targets)
            for target in targets:
                self.done.forecast.setdefault(target, []).append((run.first, run.last))
        months = {
            target: self._behind.matured_skill(self._instance, self._database, target).keys() for target in TARGETS
        }
        for run, targets in plan.skill_runs(months):
            self._execute(run, targets)
            for target in targets:
                self.done.measured.setdefault(target, []).append((run.first, run.last))
        for run in plan.drift_runs(self._behind.drift(self._instance)):
            self._execute(run, TARGETS)
            self.done.reported.append((run.first, run.last))

    def _production(self, target: str) -> int | None:
        return serving(self._database.alias_changes(target, PRODUCTION))

    def _execute(self, run: "StageRun", targets: Iterable[str], config: Mapping[str, object] | None = None) -> None:
        if self._definitions is None:
            from weather_platform.build import build_definitions

            self._definitions = build_definitions(self._settings)
        result = execute(
            self._definitions, self._instance, run, self._console, targets=list(targets), run_config=config
        )
        self.done.seconds += result.seconds
        self.done.runs += 1

    def _say(self, last_day: date | None) -> None:
        console, done = Console(highlight=False, soft_wrap=True), self.done
        if not done.runs:
            until = f"; its last day is {last_day}" if last_day else ""
            console.print(f"nothing new: all that the {self._settings.source} source has is stored{until}")
        else:
            if done.stations:
                more = f" and {len(done.stations) - MOST_NAMED:,} more" if len(done.stations) > MOST_NAMED else ""
                console.print(
                    f"new or changed stations: {', '.join(done.stations[:MOST_NAMED])}{more}; all months are made "
                    "again",
                    markup=False,
                )
            elif done.changes:
                console.print(f"new or changed: {_counted(done.changes)}")
            for what, spans in (("cleaned", done.cleaned), ("features made of", done.featured)):
                if spans:
                    console.print(f"{what} {_spans(spans)}")
            rows = row_totals(self._settings)
            console.print(f"{rows['raw']:,} raw rows = {rows['clean']:,} clean + {rows['quarantined']:,} quarantined")
            if self._settings.source != "synthetic" and (line := in_words(unknown_stations(self._lake))):
                console.print(line, style="yellow", markup=False)
            for target in TARGETS:
                if issued := done.forecast.get(target):
                    console.print(f"{target}: forecasts issued {_spans(issued)} by version {self._production(target)}")
                if measured := done.measured.get(target):
                    console.print(f"{target}: matured skill of {_spans(measured)}")
            if done.reported:
                console.print(f"drift reported again of {_spans(done.reported)}")
        for target in done.without_model:
            console.print(
                f"{target}: no Production model, so no forecast; `weather run` trains one, "
                "`weather model import` brings one from another home"
            )
        if done.runs:
            hint = "; `weather forecast` shows the newest day" if done.forecast else ""
            console.print(f"{done.seconds:.1f} s in {done.runs} Dagster run{'s' * (done.runs > 1)}{hint}")


def _counted(changes: list[MonthChange]) -> str:
    return ", ".join(
        f"{change.month} ({len(change.days)} day{'' if len(change.days) == 1 else 's'}"
        f"{'' if change.stored else ', a new month'})"
        for change in changes
    )


def _spans(spans: list[Span]) -> str:
    return ", ".join(first if first == last else f"{first} to {last}" for first, last in spans)
