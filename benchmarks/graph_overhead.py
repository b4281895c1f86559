"""The whole graph against the same domain calls in a plain script, on the real table, in one go.

    python benchmarks/graph_overhead.py [--path FILE] [--year 2015] [--json FILE]

Without --path it looks for the real table beside the checkout and else uses synthetic weather. The graph is the
product's own `weather run` (Dagster with its instance, MLflow, checks, plots) on a fresh temporary home. The script
calls the same functions of our own packages in the same order: source, lake, cleaning, features, split, training,
exam and decision, forecasts into the database; no Dagster, no MLflow, no plots, no asset checks. Each runs in a
process of its own, the script before the graph and after it: its seconds are the mean of both, so that a machine that
becomes slower meanwhile does so for both sides.

Counted apart, before the clock starts: on both sides importing dbt and a first cleaning of no rows, for the graph
importing MLflow and the migration of its new store. A later call of dbt begins with what it parsed then, and the
seconds that a second cleaning of no rows still takes are taken off both sides.

All algorithms of one target are trained on both sides.
"""

import os
import shutil
import tempfile
import time
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from common import REAL_TABLE, Report, Timed, alone, parser

TARGET = "rain_tomorrow"
FORECAST_DAYS = 14
RATIO_BAR = 1.25


def settings_of(home: Path, path: Path | None) -> Any:
    """The product's settings for this home and table."""
    from weather_platform.settings import load_settings

    os.environ.pop("DAGSTER_HOME", None)
    return load_settings(home=home, source="csv", csv_path=path) if path else load_settings(home=home)


def dbt_start_up(settings: Any) -> dict[str, float]:
    """Seconds of importing dbt with a first cleaning of no rows, and of cleaning no rows again."""
    import pyarrow as pa

    from weather_platform.domain.observations import RAW_SCHEMA
    from weather_platform.domain.stations import STATIONS, station_table
    from weather_platform.resources.dbt import DbtCleaning
    from weather_platform.settings import PROJECT_DIR

    cleaning = DbtCleaning(
        PROJECT_DIR / "dbt_project", settings.first_month, settings.timezone, settings.home / "scratch"
    )
    stations = station_table(STATIONS)
    found = {}
    for name in ("dbt_first", "dbt_again"):
        start = time.perf_counter()
        with cleaning.cleaned(pa.RecordBatchReader.from_batches(RAW_SCHEMA, []), stations):
            pass
        found[name] = time.perf_counter() - start
    return found


def mlflow_start_up(settings: Any) -> dict[str, float]:
    """Seconds of importing MLflow, and of making and migrating the store of this home."""
    from weather_platform.profiles import EXPERIMENT
    from weather_platform.resources.mlflow_client import ensure_experiment, mlflow_client, prepare_mlflow
    from weather_platform.stores import mlflow_tracking_uri

    start = time.perf_counter()
    prepare_mlflow()
    import dagster_mlflow  # noqa: F401
    import mlflow.xgboost  # noqa: F401

    imported = time.perf_counter()
    uri = mlflow_tracking_uri(settings)
    ensure_experiment(mlflow_client(uri), uri, EXPERIMENT)
    return {"mlflow_import": imported - start, "mlflow_migration": time.perf_counter() - imported}


def graph(path: Path | None, year: int) -> dict[str, Any]:
    """The product's own run: seconds of every step, and how many of them Dagster spent on recording."""
    from dagster import DagsterInstance

    from weather_platform.cli.pipeline import run_pipeline
    from weather_platform.io_managers import mlflow_models

    home = Path(tempfile.mkdtemp(prefix="weather-graph-"))
    try:
        settings = settings_of(home, path)
        found: dict[str, Any] = dbt_start_up(settings) | mlflow_start_up(settings)
        recording = Timed(DagsterInstance, "handle_new_event", recorded_in)
        plots, logging = Timed(mlflow_models, "model_plots"), Timed(mlflow_models, "log_candidate")
        start, cpu = time.perf_counter(), time.process_time()
        outcome = run_pipeline(settings, [TARGET], [year], FORECAST_DAYS)
        found |= {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        found |= {"recording": recording.seconds, "events": recording.calls}
        found["recording_in"] = recording.by_label
        found |= {"plots": plots.seconds, "mlflow": logging.seconds - plots.seconds}
        found["runs"] = {f"{stage.run.job} run": stage.seconds for stage in outcome.stages}
        found["steps"] = {key: value for stage in outcome.stages for key, value in stage.step_seconds.items()}
        [trained] = outcome.targets[TARGET]["years"].values()
        found["values"] = {name: metrics["f1"] for name, metrics in trained.items()}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return found


def script(path: Path | None, year: int) -> dict[str, Any]:
    """The same domain calls without Dagster and MLflow: seconds of every stage."""
    import pyarrow.compute as pc

    from weather_platform.assets.forecasts import forecast_rows
    from weather_platform.assets.processed import publish_years
    from weather_platform.domain.algorithms import ALGORITHMS
    from weather_platform.domain.exams import gather_evidence, standing_exam_days
    from weather_platform.domain.feature_table import (
        OBSERVED,
        feature_table,
        label_column,
        observation_arrays,
        station_grid,
        training_columns,
        training_data,
    )
    from weather_platform.domain.features import HISTORY_DAYS, build_features, missing_share, neighbour_weights
    from weather_platform.domain.promotion import Contender, Gates, decide
    from weather_platform.domain.splits import (
        day_date,
        day_number,
        manifest,
        newest_labelled_day,
        plan_split,
        split_from_manifest,
    )
    from weather_platform.domain.stations import station_table
    from weather_platform.domain.targets import TARGETS
    from weather_platform.domain.training import Predictor, TrainingConfig, train
    from weather_platform.lake import Lake, TablePartitions
    from weather_platform.resources.dbt import DbtCleaning
    from weather_platform.resources.registry import RegisteredModel
    from weather_platform.resources.source import open_source
    from weather_platform.settings import PROJECT_DIR
    from weather_platform.stores import application_database

    home = Path(tempfile.mkdtemp(prefix="weather-script-"))
    stages: dict[str, float] = {}
    try:
        settings = settings_of(home, path)
        found: dict[str, Any] = dbt_start_up(settings)
        start, cpu = time.perf_counter(), time.process_time()
        lap = partial(_lap, stages, [start])
        target = TARGETS[TARGET]

        lake = Lake(str(home / "lake"))
        with closing(open_source(settings, settings.now())) as source:
            lake.replace_table("stations", station_table(source.stations()))
            lap("stations")
            covered = source.coverage()
            months = _months(covered.first_day, covered.last_day)
            for _ in lake.replace_partitions("raw_observations", "month", ((m, source.rows(m)) for m in months)):
                pass
        lap("raw_observations")

        years = [str(y) for y in range(covered.first_day.year, covered.last_day.year + 1)]
        stations = lake.read("stations")
        cleaning = DbtCleaning(
            PROJECT_DIR / "dbt_project", settings.first_month, settings.timezone, settings.home / "scratch"
        )
        raw = TablePartitions.of(lake, "raw_observations", months)
        for _ in publish_years(cleaning, lake, raw, stations, years):
            pass
        lap("clean_observations")

        grid = station_grid(stations)
        weights = neighbour_weights(grid)
        observed = TablePartitions.of(lake, "observations", years).select(OBSERVED)

        def features_of(y: str) -> Any:
            first, last = day_number(date(int(y), 1, 1)), day_number(date(int(y), 12, 31))
            window = (pc.field("day") >= day_date(first - HISTORY_DAYS)) & (pc.field("day") <= day_date(last + 1))
            near = observed.only((str(int(y) - 1), y, str(int(y) + 1))).where(window)
            arrays = observation_arrays(near.table(), grid)
            matrix = build_features(arrays, grid, weights, first_day=first, last_day=last)
            missing_share(matrix)
            return feature_table(y, matrix, grid, arrays)

        for _ in lake.replace_partitions("features", "year", ((y, features_of(y)) for y in years)):
            pass
        lap("features")

        features = TablePartitions.of(lake, "features", years).up_to(str(year))
        narrow = features.select(("day", label_column(TARGET))).table()
        days, known = narrow["day"].cast("int32").to_numpy(), narrow[label_column(TARGET)].to_numpy()
        plan = plan_split(year, day_date(days.min()), newest_labelled_day(days, known))
        stored = manifest(plan, days, known, classification=True, features_lake_version=features.version)
        for _ in lake.replace_partitions(f"{TARGET}__split", "year", [(str(year), stored)]):
            pass
        split = split_from_manifest(stored)
        lap(f"{TARGET}__split")

        wide = features.select(training_columns(target))
        data = training_data(wide.reader(), sum(wide.row_counts.values()), target)
        models = {}
        for name, algorithm in ALGORITHMS.items():
            if target.task in algorithm.tasks:
                models[name] = train(target, algorithm, data, split, TrainingConfig(settings.seed, settings.threads))
                lap(f"{TARGET}__{name}")
        model = max(models.values(), key=lambda each: each.validation_metrics[target.primary_metric])

        predictor = Predictor.load(model.contract_bytes, model.model_bytes, digest=model.digest)
        exam = pc.field("day").isin(standing_exam_days(split.train.first, split.test.last)) | (
            (pc.field("day") >= split.test.first) & (pc.field("day") <= split.test.last)
        )
        rows = wide.where(exam).table()
        metric = target.primary_metric
        evidence = gather_evidence(
            target,
            split,
            training_data(rows.to_batches(), rows.num_rows, target),
            (Contender("1", model.digest, split.tuned_through), predictor),
            None,
            test=model.metrics[metric],
            baselines={name: baseline.metrics[metric] for name, baseline in model.baselines.items()},
            seed=settings.seed,
        )
        decide(evidence, Gates.of(target))
        lap(f"{TARGET}__promotion")

        predictor = Predictor.load(model.contract_bytes, model.model_bytes, digest=model.digest)
        newest = day_date(day_number(covered.last_day) - FORECAST_DAYS + 1)
        rows = (
            TablePartitions.of(lake, "features", [str(newest.year), str(covered.last_day.year)])
            .select(training_columns(target))
            .where((pc.field("day") >= newest) & (pc.field("day") <= covered.last_day))
            .table()
        )
        tags = {"tuned_through": str(split.tuned_through), "tested_through": str(split.test.last)}
        now = datetime.now(UTC)
        version = RegisteredModel(
            target=TARGET, version=1, run_id="", model_uri="", digest=model.digest, tags=tags, registered_at=now
        )
        with closing(application_database(settings)) as database:
            database.migrate()
            asked = training_data(rows.to_batches(), rows.num_rows, target)
            issued = forecast_rows(target, asked, predictor, version, "script", now)
            database.replace_forecasts(TARGET, version.version, newest, covered.last_day, issued)
        lap(f"{TARGET}__forecasts")
        found |= {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        found |= {"steps": stages, "values": {name: each.metrics["f1"] for name, each in models.items()}}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return found


def recorded_in(_instance: Any, event: Any, **_: Any) -> str:
    """The step in which an event was recorded; what is planned is recorded before the first step."""
    planned = event.is_dagster_event and event.dagster_event_type.value.endswith("_PLANNED")
    return "" if planned else event.step_key or ""


def _lap(stages: dict[str, float], clock: list[float], stage: str) -> None:
    now = time.perf_counter()
    stages[stage], clock[0] = now - clock[0], now


def _months(first: date, last: date) -> list[str]:
    return [
        f"{index // 12:04}-{index % 12 + 1:02}"
        for index in range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    ]


def main() -> None:
    """Parse, run both, print both beside each other."""
    options = parser(__doc__)
    options.add_argument("--path", type=Path, help="table of the csv source; default: the real one beside the checkout")
    options.add_argument("--year", type=int, help="test year; default: 2015, or the newest of synthetic weather")
    chosen = options.parse_args()
    path = chosen.path or (REAL_TABLE if REAL_TABLE.exists() else None)
    year = chosen.year or (2015 if path else date.today().year)  # noqa: DTZ011 - the newest year of the generator
    report = Report(f"the graph against a script, {path.name if path else 'synthetic weather'}, {year}", chosen.json)
    before = alone(script, path, year)
    whole = alone(graph, path, year)
    after = alone(script, path, year)
    plain = {name: (before[name] + after[name]) / 2 for name in ("seconds", "cpu", "dbt_first", "dbt_again")}
    plain["steps"] = {step: (seconds + after["steps"][step]) / 2 for step, seconds in before["steps"].items()}
    plain["values"] = before["values"]
    assert plain["values"] == whole["values"], "both sides must have trained the same models"

    report.say("\ncounted apart")
    report.figure("dbt: import and first start", whole["dbt_first"], "s", note=f"script {plain['dbt_first']:.2f} s")
    report.figure("dbt: each start", whole["dbt_again"], "s", note=f"script {plain['dbt_again']:.2f} s, taken off")
    report.figure("MLflow: import", whole["mlflow_import"], "s")
    report.figure("MLflow: new store and its migration", whole["mlflow_migration"], "s")

    report.say("\nseconds of each step")
    for step, seconds in whole["steps"].items():
        beside = f"script {plain['steps'][step]:.3f} s" if step in plain["steps"] else "graph only"
        recording = whole["recording_in"].get(step, 0.0)
        report.figure(step, seconds, "s", note=f"{beside}, {recording:.2f} s of recording")
    for run, seconds in whole["runs"].items():
        report.figure(run, seconds, "s")

    report.say("\nwhere the graph's own time goes")
    report.figure("Dagster's recording", whole["recording"], "s", note=f"{whole['events']} events")
    report.figure("plots of the models", whole["plots"], "s")
    report.figure("logging the models to MLflow", whole["mlflow"], "s")
    outside = sum(whole["runs"].values()) - sum(whole["steps"].values())
    report.figure("in runs, outside of steps", outside, "s", note="plans, resources, planned events")

    report.say("\nagainst the bars")
    seconds = {"graph": whole["seconds"] - whole["dbt_again"], "script": plain["seconds"] - plain["dbt_again"]}
    report.figure("graph", seconds["graph"], "s")
    report.figure("script", seconds["script"], "s", note=f"{before['seconds']:.1f} and {after['seconds']:.1f} s")
    report.figure("graph against script", seconds["graph"] / seconds["script"], "times", at_most=RATIO_BAR)
    report.figure("the same in processor seconds", whole["cpu"] / plain["cpu"], "times")
    # Training is one and the same call and most of the time: a busy moment during one of the two says nothing.
    steps = [f"{TARGET}__{name}" for name in plain["values"]]
    logged = whole["plots"] + whole["mlflow"] + sum(whole["recording_in"].get(step, 0.0) for step in steps)
    training = {
        "graph": sum(whole["steps"][step] for step in steps) - logged,
        "script": sum(plain["steps"][step] for step in steps),
    }
    alike = {side: seconds[side] - training[side] + min(training.values()) for side in seconds}
    note = f"graph {training['graph']:.1f} s, script {training['script']:.1f} s"
    report.figure("the same, training as quick on both sides", alike["graph"] / alike["script"], "times", note=note)
    report.figure("graph more than script, training aside", alike["graph"] - alike["script"], "s")
    report.close()


if __name__ == "__main__":
    main()
