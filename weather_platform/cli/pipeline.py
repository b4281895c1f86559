"""`weather run`: the plan, one stage after the other, and what came out of it."""

import resource
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import dagster as dg

from weather_platform.assets.raw import letting_go
from weather_platform.assets.splits import REASON
from weather_platform.automation import updates
from weather_platform.automation.plan import (
    FORECAST,
    INGEST,
    LEARN,
    PROCESS,
    plan_runs,
    refuse_years_without_split,
    too_short_to_learn,
)
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.cli.runs import StageResult, execute
from weather_platform.domain.alias_moves import serving
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import NotEnoughDataError
from weather_platform.lake import Lake
from weather_platform.lake.provenance import refuse_other_source
from weather_platform.lake.unknown_stations import in_words, unknown_stations
from weather_platform.resources.registry import PRODUCTION
from weather_platform.resources.source import open_source
from weather_platform.settings import Settings, remember_source
from weather_platform.stores import application_database, open_lake

_TRAINING = {
    True: "training is quick, a trial in seconds (kept for this home; `weather run --no-quick` trains in full)",
    False: "training is in full (kept for this home; `weather run --quick` makes a trial in seconds)",
}


@dataclass(frozen=True)
class Outcome:
    """What a whole run gave, read back from the lake and from the events of its Dagster runs."""

    source: str
    synthetic: bool
    rows: dict[str, int]
    targets: dict[str, dict[str, Any]]
    stages: list[StageResult]
    peak_rss_mb: float
    remarks: tuple[str, ...] = ()
    """What the source passed over or doubted, a line each."""
    forecast: tuple[str, ...] = ()
    """Targets with a model that serves, and so with forecasts."""
    untrained: str | None = None
    """Why nothing was trained; None when something was."""

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` writes."""
        return {
            "source": self.source,
            "rows": self.rows,
            "targets": self.targets,
            "seconds": {name: round(value, 3) for name, value in self._seconds().items()},
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            **({"remarks": list(self.remarks)} if self.remarks else {}),
            **({"untrained": self.untrained} if self.untrained else {}),
        }

    def _seconds(self) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for stage in self.stages:
            seconds[stage.run.job] = seconds.get(stage.run.job, 0.0) + stage.seconds
        return seconds


def run_pipeline(
    settings: Settings, targets: list[str], years: list[int], forecast_days: int, let_go: bool = False
) -> Outcome:
    """Materialise the whole graph (or some targets of it) on the instance of the home.

    When what there is does not suffice to train the newest year, everything else is done, and `untrained` says so. A
    year that was asked for and cannot be split is refused before anything runs.
    """
    console = console_of_errors()
    with closing(open_source(settings, settings.now())) as source:
        with doing("reading the source"):
            stamp = source.stamp()  # before its rows, as they may change meanwhile
            coverage, remarks = source.coverage(), source.remarks()
        for remark in remarks:  # now too: a run that fails has no last lines
            console.print(remark, style="yellow", markup=False, soft_wrap=True)
        plan = plan_runs(coverage, years, forecast_days)
        synthetic = source.synthetic
        lake = open_lake(settings)
        refuse_other_source(lake, source)
        stored = lake.partitions("raw_observations", "month")
        untrained = None if years else too_short_to_learn(coverage, stored)
        if untrained is None:
            refuse_years_without_split(coverage, stored, plan)
        else:
            plan = [stage for stage in plan if stage.job != LEARN]
    remember_source(settings)
    if synthetic:
        console.print("[yellow]synthetic weather: generated, not observed[/yellow]")
    console.print(_TRAINING[settings.quick], soft_wrap=True)
    with doing("making the asset graph"):
        definitions = build_definitions(settings)
    chosen = targets or list(TARGETS)
    configs = {INGEST: letting_go()} if let_go else {}
    with open_instance(settings) as instance:
        updates.settled(instance)  # reads the history: a damaged one is found before a run begins, and leaves none
        stages = []
        for stage in plan:
            config = configs.get(stage.job)
            targets_of_stage = _served(settings, chosen) if stage.job == FORECAST and untrained else chosen
            if targets_of_stage:
                stages.append(
                    execute(definitions, instance, stage, console, targets=targets_of_stage, run_config=config)
                )
            if stage.job == PROCESS:
                updates.settle(instance, lake, stamp)
                _refuse_without_clean_rows(lake, row_totals(settings))
        learned = _learned(instance, [stage.run_id for stage in stages if stage.run.job == LEARN], chosen)
    unknown = in_words(unknown_stations(lake))
    return Outcome(
        source=settings.source,
        synthetic=synthetic,
        rows=row_totals(settings),
        targets=learned,
        stages=stages,
        # Linux counts in kibibytes.
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        remarks=remarks if synthetic or unknown is None else (*remarks, unknown),
        forecast=tuple(_served(settings, chosen)),
        untrained=untrained,
    )


def _refuse_without_clean_rows(lake: Lake, rows: Mapping[str, int]) -> None:
    """NotEnoughDataError, with the reasons and the unknown stations, when cleaning left nothing to train on."""
    if rows["clean"]:
        return
    counts = Counter(lake.read("quarantined_observations", columns=["rule"])["rule"].to_pylist())
    rules = ", ".join(f"{rule} {count:,}" for rule, count in counts.most_common())
    remedy = in_words(unknown_stations(lake)) or "correct the rows and run again"
    raise NotEnoughDataError(f"none of {rows['raw']:,} rows can be used ({rules}), so nothing is trained; {remedy}")


def _served(settings: Settings, targets: list[str]) -> list[str]:
    """Those of the targets that a model serves."""
    with closing(application_database(settings)) as database:
        database.migrate()
        return [name for name in targets if serving(database.alias_changes(name, PRODUCTION)) is not None]


def row_totals(settings: Settings) -> dict[str, int]:
    """Rows of the lake: raw = clean + quarantined, always."""
    lake = open_lake(settings)
    tables = {"raw": "raw_observations", "clean": "observations", "quarantined": "quarantined_observations"}
    columns = {"raw": "month", "clean": "year", "quarantined": "year"}
    return {name: sum(lake.row_counts(table, columns[name]).values()) for name, table in tables.items()}


def _learned(instance: dg.DagsterInstance, run_ids: list[str], targets: list[str]) -> dict[str, dict[str, Any]]:
    """Test metrics of every year and algorithm and the decision of every year, from the runs' materializations.

    `promotion` is the decision of the newest year.
    """
    found: dict[str, dict[str, Any]] = {name: {"years": {}, "promotion": None, "decisions": {}} for name in targets}
    for run_id in run_ids:
        for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records:
            event = record.event_log_entry.dagster_event
            if event is None or event.asset_key is None or len(event.asset_key.path) != 2:
                continue  # not an asset of a target
            target, name = event.asset_key.path
            metadata = event.step_materialization_data.materialization.metadata
            if metrics := {k.removeprefix("test_"): v.value for k, v in metadata.items() if k.startswith("test_")}:
                found[target]["years"].setdefault(event.partition, {})[name] = metrics
            elif "decision" in metadata:
                found[target]["decisions"][event.partition] = {
                    "decision": metadata["decision"].value,
                    "reasons": metadata["reasons"].value,
                    "version": metadata["version"].value,
                }
            elif REASON in metadata and name == "split":
                raise NotEnoughDataError(f"{target} {event.partition}: {metadata[REASON].value} (run {run_id})")
    for learned in found.values():
        if decisions := learned["decisions"]:
            learned["promotion"] = decisions[max(decisions)]
    return found
