"""`weather replay`: past days arrive one by one in a home of their own, as if the platform had run then.

What belongs here: carrying out what the triggers ask for, what is kept from day to day, and the report. What does not:
the triggers (``automation.replay``).

What is kept is one file in the home, written after each day: a replay that ended early goes on after its last whole
day.
"""

import gc
import html
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dagster as dg
import pyarrow.compute as pc
from pydantic import BaseModel, Field, ValidationError
from rich.console import Console

from weather_platform.automation import plan
from weather_platform.automation.replay import REPLAY_TAG, Asked, ReplayedSource, Triggers, together
from weather_platform.build import build_definitions
from weather_platform.cli.decisions import decisions_of
from weather_platform.cli.home import open_instance, tidy
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.cli.runs import execute_asked
from weather_platform.domain.matured import HEADINGS, combine, with_scores
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import SettingsError, SourceError, WeatherError
from weather_platform.folders import is_home, take_home
from weather_platform.plots import markdown_image
from weather_platform.resources.source import open_source
from weather_platform.settings import Settings
from weather_platform.skill_plots import skill_by_month_png
from weather_platform.stores import application_database

if TYPE_CHECKING:
    from weather_platform.database import Database

KEPT: Final = "replay.json"
_DAY: Final = timedelta(days=1)
_MOST_ROUNDS: Final = 20
"""Looks of the conditions after one arrival; they end when nothing is behind, long before."""


class Kept(BaseModel):
    """What a replay knows from day to day."""

    first: date
    last: date
    source: str
    training: bool
    done: date | None = None
    """The newest whole day; None: not even what was there before is stored."""
    cursors: dict[str, str] = Field(default_factory=dict)
    runs: dict[str, int] = Field(default_factory=dict)
    """Runs by job."""
    cpu_seconds: float = 0.0


def replay(settings: Settings, first: date, last: date, into: Path, *, training: bool) -> None:
    """Replay these days into a home of their own, write the report there, and print where it is."""
    report = _replayed(settings, first, last, into, training=training)
    gc.collect()  # DuckDB complains at the end of the process of what is left of runs that used it
    Console(highlight=False).print(f"replayed {first} to {last}; the report is {report}", soft_wrap=True)


def _replayed(settings: Settings, first: date, last: date, into: Path, *, training: bool) -> Path:
    if settings.profile != "embedded":
        raise SettingsError("a replay keeps everything in a folder of its own: use the embedded profile for it")
    with ExitStack() as stack:
        logging.disable(logging.INFO)  # each look of a sensor writes a line
        stack.callback(logging.disable, logging.NOTSET)
        whole = stack.enter_context(closing(open_source(settings, settings.now())))
        with doing("reading the source"):
            covered = whole.coverage()
        if not (covered.first_day < first <= last <= covered.last_day):
            raise SourceError(
                f"the source covers {covered.first_day} to {covered.last_day}: choose days of a replay inside, the "
                "first one after enough days to train on"
            )
        # After the days are known to be right: wrong ones must not claim the folder.
        kept = _kept(settings, first, last, into, training=training)
        own = settings.model_copy(update={"home": into.resolve(), "automation": False})
        source = ReplayedSource(whole, first - _DAY)
        resource = dg.ResourceDefinition.hardcoded_resource(source)
        with doing("making the asset graph"):
            definitions = build_definitions(own, resource_overrides={"source": resource})
        instance = stack.enter_context(open_instance(own))
        database = stack.enter_context(closing(application_database(own)))
        database.migrate()
        _Replay(own, kept, source, definitions, instance).run()
        return write_report(own, kept, database)


def _kept(settings: Settings, first: date, last: date, into: Path, *, training: bool) -> Kept:
    """What an earlier start of this replay kept, or a new beginning in an empty folder."""
    file = into / KEPT
    if file.exists():
        try:
            kept = Kept.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise SettingsError(
                f"{file} is not what a replay keeps ({type(error).__name__}); choose another folder"
            ) from None
        if (kept.first, kept.source, kept.training) != (first, settings.source, training):
            raise SettingsError(
                f"{into} holds another replay, from {kept.first} of the {kept.source} source; give the same --from, or "
                "another folder"
            )
        tidy(into)
        return kept.model_copy(update={"last": max(last, kept.last)})
    if into.exists() and (is_home(into) or any(into.iterdir())):
        raise SettingsError(f"{into} is not empty: a replay needs a folder of its own")
    into.mkdir(parents=True, exist_ok=True)
    take_home(into)
    kept = Kept(first=first, last=last, source=settings.source, training=training)
    # The first model takes longest: a replay that is killed in it is known again, and begins again in its own folder.
    write_kept(into, kept)
    return kept


def write_kept(home: Path, kept: Kept) -> None:
    """Write it in one step: a replay that is killed finds the day before whole, or this one."""
    scratch = home / f"{KEPT}.new"
    scratch.write_text(kept.model_dump_json(indent=1), encoding="utf-8")
    scratch.replace(home / KEPT)


class _Replay:
    """The days of one replay."""

    def __init__(
        self,
        settings: Settings,
        kept: Kept,
        source: ReplayedSource,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
    ) -> None:
        self._home, self._kept, self._source = settings.home, kept, source
        self._definitions, self._instance = definitions, instance
        self._triggers = Triggers(settings, definitions, kept.cursors)
        self._console = console_of_errors()
        self._started = time.process_time()

    def run(self) -> None:
        """What was there before, once, and then day after day."""
        kept = self._kept
        if kept.done is None:
            before = kept.first - _DAY
            self._console.print(f"[bold]{before}[/bold] what was there before, and the first model")
            for stage in plan.plan_runs(self._source.coverage(), [], 1):
                self._execute(Asked(job=stage.job, partitions=(stage.first, stage.last)))
            self._keep(before)
        self._source.recent_only = True
        day = kept.done or kept.first
        while day < kept.last:
            day += _DAY
            self._one(day)

    def _one(self, day: date) -> None:
        self._source.until = day
        before = sum(self._kept.runs.values())
        started = time.perf_counter()
        for asked in self._triggers.arrival(self._instance):
            self._execute(asked)
        self._follow()
        for asked in self._triggers.month_ended(self._instance, day):
            self._execute(asked)
        if self._kept.training:
            for asked in self._triggers.decisions(self._instance):
                self._execute(asked, may_fail=True)
            self._triggers.outcomes(self._instance)
            self._follow()
        self._keep(day)
        runs = sum(self._kept.runs.values()) - before
        self._console.print(f"[bold]{day}[/bold] {runs} runs, {time.perf_counter() - started:.1f} s")

    def _follow(self) -> None:
        for _ in range(_MOST_ROUNDS):
            asked = together(self._triggers.follow(self._instance))
            if not asked:
                return
            for each in asked:
                self._execute(each)
        raise WeatherError(f"the conditions still ask for runs after {_MOST_ROUNDS} looks at one day; see their runs")

    def _execute(self, asked: Asked, *, may_fail: bool = False) -> None:
        self._kept.runs[asked.job] = self._kept.runs.get(asked.job, 0) + 1
        try:
            execute_asked(self._definitions, self._instance, asked, {REPLAY_TAG: f"{self._kept.first}"})
        except WeatherError as error:
            if not may_fail:
                raise
            self._console.print(str(error), style="yellow", markup=False, soft_wrap=True)

    def _keep(self, day: date) -> None:
        now = time.process_time()
        self._kept.cpu_seconds += now - self._started
        self._started = now
        self._kept.done, self._kept.cursors = day, self._triggers.cursors
        write_kept(self._home, self._kept)


Block = tuple[str, str, Sequence[Sequence[str]] | str]
"""A heading, what is said below it, and a table (the first line is its head) or a picture as a data address."""


def write_report(settings: Settings, kept: Kept, database: "Database") -> Path:
    """Write `replay.md` and `replay.html` into the home; the address of the second."""
    blocks = list(_blocks(kept, database))
    title = f"Replay of {kept.first} to {kept.done}"
    markdown, page = [f"# {title}"], [f"<h1>{html.escape(title)}</h1>"]
    for heading, said, what in blocks:
        markdown += [f"## {heading}", said]
        page += [f"<h2>{html.escape(heading)}</h2>", f"<p>{html.escape(said)}</p>"]
        if isinstance(what, str):
            markdown.append(f"![{heading}]({what})")
            page.append(f'<img alt="{html.escape(heading)}" src="{what}">')
        elif what:
            head, *rows = what
            lines = [head, ["---"] * len(head), *rows]
            markdown.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
            page.append(f"<table>{_row(head, 'th')}{''.join(_row(row, 'td') for row in rows)}</table>")
    (settings.home / "replay.md").write_text("\n\n".join(markdown) + "\n", encoding="utf-8")
    report = settings.home / "replay.html"
    report.write_text(_PAGE.format(title=html.escape(title), body="\n".join(page)), encoding="utf-8")
    return report


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }}
table {{ border-collapse: collapse }}
th, td {{ border-bottom: 1px solid #d5dbe1; padding: .25rem .75rem; text-align: left }}
img {{ max-width: 100% }}
</style></head><body>
{body}
</body></html>
"""


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _blocks(kept: Kept, database: "Database") -> Iterator[Block]:
    hours = kept.cpu_seconds / 3600
    runs = [["job", "runs"], *([job, f"{count:,}"] for job, count in sorted(kept.runs.items()))]
    yield "What it cost", f"{hours:.2f} hours of processor time; source: {kept.source}.", runs
    for name, target in TARGETS.items():
        skill = database.matured_skill(name).skill
        live = skill.filter(pc.equal(skill["kind"], "live"))
        heads = HEADINGS[target.task]
        table = [["month", "version", "forecasts with an answer", *heads.values()]]
        for row in (
            with_scores(combine(live, ("month", "model_version")))
            .sort_by([("month", "ascending"), ("model_version", "ascending")])
            .to_pylist()
        ):
            scores = ["" if row[score] is None else f"{row[score]:.3f}" for score in heads]
            table.append([row["month"], str(row["model_version"]), f"{row['matured']:,}", *scores])
        yield f"{target.title}: live skill by month and version", "Of the version that served on each day.", table
        if len(pc.unique(live["month"])) > 1:
            image = markdown_image("skill", skill_by_month_png(target, live, target.title))
            yield f"{target.title}: picture", "", image.split("](", 1)[1].rstrip(")")
        made = (
            [f"{each['kind']}: {each['what']}", "; ".join(each["reasons"])] for each in decisions_of(database, name)
        )
        decided = [["what", "why"], *made]
        yield f"{target.title}: decisions", "Each kind in the order in which they were made.", decided
