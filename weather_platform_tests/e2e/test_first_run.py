"""One small run of the whole graph by the real command, from an empty folder, and everything it must have left."""

import json
import math
import stat
from collections import Counter
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus

from weather_platform.database import FORECASTS_SCHEMA
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.feature_table import (
    OBSERVED,
    observation_arrays,
    station_grid,
    training_columns,
    training_data,
)
from weather_platform.domain.features import FEATURE_VERSION, build_features, feature_names, neighbour_weights
from weather_platform.domain.splits import day_number
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainingData, sha256
from weather_platform.profiles import EXPERIMENT
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PREVIOUS, PRODUCTION
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome, files_of
from weather_platform_tests.small_models import model_folder

TARGET, VALUES = "rain_tomorrow", "max_temp_tomorrow"
FOR_RAIN = {name for name, each in ALGORITHMS.items() if "classification" in each.tasks}
METRICS = {"f1", "roc_auc", "pr_auc", "brier", "log_loss", "ece", "precision", "recall"}
STAGES = ["ingest", "process", "learn", "forecast"]
NEWEST, FORECAST_DAYS = date(2015, 6, 30), 14


# ---------------------------------------------------------------- the command


def test_the_run_ends_well_and_says_so(first: MadeHome) -> None:
    done = first.first_output
    assert done.code == 0, done.err
    rows = first.json["rows"]
    assert f"{rows['raw']:,} raw rows = {rows['clean']:,} clean + {rows['quarantined']:,} quarantined" in done.out
    assert "DEPLOY version 1" in done.out
    assert "synthetic weather" in done.out
    assert f"issued {NEWEST}, for 2015-07-01" in " ".join(done.out.split())


@pytest.mark.parametrize(
    "asset",
    ["stations", "raw_observations", "observations", "quarantined_observations", "features", f"{TARGET}/split",
     f"{TARGET}/xgboost", f"{TARGET}/leaderboard", f"{TARGET}/forecasts"],
)  # fmt: skip
def test_whatever_was_made_of_synthetic_weather_says_so(first: MadeHome, asset: str) -> None:
    with first.dagster() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["source"].value == "synthetic"
    assert first.registry.production(TARGET).tags["source"] == "synthetic"


@pytest.mark.parametrize(
    "noise", ["terminate called", "Traceback", "Warning", "warning", "Exception ignored", "ERROR", "leaked", "✗"]
)
def test_the_run_leaves_no_noise_on_the_terminal(first: MadeHome, noise: str) -> None:
    assert noise not in first.first_output.err
    assert noise not in first.first_output.out


def test_every_asset_and_check_is_shown_with_a_tick(first: MadeHome) -> None:
    shown = {line.split()[1] for line in first.first_output.err.splitlines() if line.strip().startswith("✓")}
    candidates = {f"{TARGET}/{name}" for name in FOR_RAIN}
    assert {"raw_observations", "clean_observations", "features", f"{TARGET}/forecasts"} | candidates <= shown


def test_the_json_holds_what_the_issue_lists(first: MadeHome) -> None:
    result = first.json
    assert set(result) == {"source", "rows", "targets", "seconds", "peak_rss_mb"}
    assert result["source"] == "synthetic"
    assert set(result["rows"]) == {"raw", "clean", "quarantined"}
    assert set(result["targets"]) == set(TARGETS)
    assert set(result["targets"][TARGET]["years"]["2015"]) == FOR_RAIN
    metrics = result["targets"][TARGET]["years"]["2015"]["xgboost"]
    assert set(metrics) >= METRICS
    confusion = metrics.pop("confusion")
    assert set(confusion) == {"true_positive", "false_positive", "false_negative", "true_negative"}
    assert metrics["precision"] == pytest.approx(
        confusion["true_positive"] / (confusion["true_positive"] + confusion["false_positive"])
    )
    assert all(low <= metrics[name] <= high for name, (low, high) in metrics["intervals"].items() if name != "ece")
    assert {"persistence", "climatology"} <= set(metrics["baselines"])
    assert all(math.isfinite(value) for value in numbers_of(metrics))
    assert set(result["targets"][TARGET]["promotion"]) == {"decision", "reasons", "version"}
    assert list(result["seconds"]) == STAGES
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert 50 < result["peak_rss_mb"] < 4000


def numbers_of(value: Any) -> list[float]:
    """Every number in a piece of JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    return [number for part in value for number in numbers_of(part)] if isinstance(value, list) else [value]


def test_the_home_holds_all_state_and_no_scratch(first: MadeHome) -> None:
    assert list((first.folder / "scratch").iterdir()) == []
    assert {path.name for path in first.folder.iterdir() if path.is_dir()} == {
        "dagster", "lake", "mlflow_artifacts", "scratch",
    }  # fmt: skip


def test_the_home_and_all_in_it_are_its_owners_alone(first: MadeHome) -> None:
    made_by_the_test = first.folder / "output.json"
    paths = [path for path in (first.folder, *first.folder.rglob("*")) if path != made_by_the_test]
    assert [str(path) for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []
    assert first.folder / "result.json" in paths


def test_the_choice_of_source_is_remembered_for_later_commands(first: MadeHome) -> None:
    assert (first.settings.source, first.settings.synthetic_stations) == ("synthetic", 12)
    assert first.settings.synthetic_last_day == NEWEST


# ---------------------------------------------------------------- the rows


def test_every_raw_row_is_clean_or_quarantined_in_every_year(first: MadeHome) -> None:
    raw = Counter[str]()
    for month, rows in first.lake.row_counts("raw_observations", "month").items():
        raw[month[:4]] += rows
    clean = first.lake.row_counts("observations", "year")
    quarantined = first.lake.row_counts("quarantined_observations", "year")
    assert set(raw) == set(clean) == set(quarantined) == {"2012", "2013", "2014", "2015"}
    assert {year: clean[year] + quarantined[year] for year in raw} == dict(raw)
    assert first.json["rows"] == {
        "raw": sum(raw.values()), "clean": sum(clean.values()), "quarantined": sum(quarantined.values()),
    }  # fmt: skip
    assert sum(quarantined.values()) > 0, "the generator gives quarantine work to do"


def test_every_clean_row_leads_back_to_its_raw_row(first: MadeHome) -> None:
    origin = ["file", "row_number"]
    raw = first.lake.read("raw_observations", columns=origin)
    kept = [first.lake.read(table, columns=origin) for table in ("observations", "quarantined_observations")]
    together = pa.concat_tables([table.cast(raw.schema) for table in kept])
    assert together.sort_by([(name, "ascending") for name in origin]).equals(
        raw.sort_by([(name, "ascending") for name in origin])
    )


def test_features_have_one_row_per_observation_and_the_stored_labels_are_tomorrows_rain(first: MadeHome) -> None:
    features = first.lake.read("features", columns=["station", "day", f"label_{TARGET}"]).to_pylist()
    rain = {
        (row["station"], row["day"]): row["rainfall_mm"]
        for row in first.lake.read("observations", columns=["station", "day", "rainfall_mm"]).to_pylist()
    }
    assert {(row["station"], row["day"]) for row in features} == set(rain)
    assert len(features) == len(rain)
    for row in features:
        tomorrow = rain.get((row["station"], date.fromordinal(row["day"].toordinal() + 1)))
        assert row[f"label_{TARGET}"] == (None if tomorrow is None else float(tomorrow > 1.0))


# ---------------------------------------------------------------- the model


def test_production_is_the_version_that_the_decision_deployed(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    [decision] = first.database.decisions(TARGET)
    [move] = first.database.alias_changes(TARGET, PRODUCTION)
    assert first.registry.aliases(TARGET) == {PRODUCTION: 1}
    assert (decision.decision, decision.challenger_version, decision.champion_version) == ("DEPLOY", 1, None)
    assert (move.from_version, move.to_version, move.decision_id) == (None, 1, decision.id)
    assert model.digest == decision.challenger_digest == move.digest
    assert first.database.alias_changes(TARGET, PREVIOUS) == []
    told = first.json["targets"][TARGET]["promotion"]
    assert told == {"decision": "DEPLOY", "reasons": list(decision.reasons), "version": 1}


def test_the_decision_rests_on_what_training_measured_on_the_test_rows(first: MadeHome) -> None:
    [decision] = first.database.decisions(TARGET)
    measured = first.registry.reference(decision.challenger_run_id).metrics
    evidence: Any = decision.evidence["evidence"]
    assert evidence["test"] == measured["test_f1"] != measured["validation_f1"]
    assert evidence["baselines"] == {name: measured[f"{name}_f1"] for name in ("persistence", "climatology")}


def test_the_decision_and_the_move_name_the_dagster_run_that_made_them(first: MadeHome) -> None:
    [learn] = [run for run in runs(first) if run.job_name == "learn"]
    [decision] = first.database.decisions(TARGET)
    [move] = first.database.alias_changes(TARGET, PRODUCTION)
    assert decision.dagster_run_id == move.dagster_run_id == learn.run_id


def test_the_model_beats_both_baselines_on_the_test_rows(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    metrics = first.registry.reference(model.run_id).metrics
    for baseline in ("persistence", "climatology"):
        assert metrics["test_f1"] > metrics[f"{baseline}_f1"]
        assert metrics["test_roc_auc"] > metrics[f"{baseline}_roc_auc"]
    assert metrics["test_f1"] == first.json["targets"][TARGET]["years"]["2015"][model.tags["algorithm"]]["f1"]
    assert metrics["test_f1_low"] < metrics["test_f1"] < metrics["test_f1_high"]


def test_the_model_says_which_versions_of_the_lake_it_was_trained_from(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    versions = first.registry.reference(model.run_id).lake_versions
    assert versions == {
        "features": first.lake.version("features"),
        f"{TARGET}__split": first.lake.version(f"{TARGET}__split"),
    }


def test_the_target_of_values_went_all_the_way_and_says_how_good_it_is(first: MadeHome) -> None:
    learned = first.json["targets"][VALUES]
    metrics = learned["years"]["2015"]["xgboost"]
    assert set(metrics) >= {"r2", "rmse", "mae", "bias", "coverage_90", "interval_width", "mae_skill_vs_climatology"}
    assert "confusion" not in metrics
    assert all(low <= metrics[name] <= high for name, (low, high) in metrics["intervals"].items())
    assert all(metrics["r2"] > baseline["r2"] for baseline in metrics["baselines"].values())
    assert 0.8 < metrics["coverage_90"] < 1
    [decision] = first.database.decisions(VALUES)
    assert (decision.decision, learned["promotion"]["decision"]) == ("DEPLOY", "DEPLOY")
    model = first.registry.production(VALUES)
    assert "threshold" not in model.tags
    assert first.registry.reference(model.run_id).threshold is None
    names = {
        item.path for item in mlflow_client(mlflow_tracking_uri(first.settings)).list_artifacts(model.run_id, "plots")
    }
    assert names >= {"plots/forecast_against_observed.png", "plots/errors_by_month.png", "plots/importance.png"}


def test_a_forecast_of_a_value_is_stored_with_its_interval_as_it_is_made_of_one_row_alone(first: MadeHome) -> None:
    predictor = first.registry.load(first.registry.production(VALUES))
    forecasts = first.database.forecasts(VALUES, NEWEST, NEWEST)
    assert forecasts.schema == FORECASTS_SCHEMA
    stored = {row["station"]: row for row in forecasts.to_pylist()}
    rows = rows_of(first, NEWEST, VALUES)
    assert len(rows) == len(stored) > 5
    for number, station in enumerate(rows.station_index):
        row = stored[rows.station_ids[station]]
        alone = predictor.predict(np.ascontiguousarray(rows.values[number : number + 1]))
        ends = (alone.value, *alone.interval)
        for made, name in zip(ends, ("value", "value_low", "value_high"), strict=True):
            assert made[0].tobytes() == np.float64(row[name]).tobytes()
        assert (row["probability"], row["threshold"], row["label"]) == (None, None, None)


# ---------------------------------------------------------------- MLflow and Dagster


def runs(home: MadeHome) -> list[dg.DagsterRun]:
    """The Dagster runs of a home, oldest first."""
    with dg.DagsterInstance.from_config(str(home.folder / "dagster")) as instance:
        return list(reversed(instance.get_runs()))


def test_every_stage_is_a_run_of_its_job_in_the_instance_that_the_ui_shows(first: MadeHome) -> None:
    assert [run.job_name for run in runs(first)] == STAGES
    assert {run.status for run in runs(first)} == {DagsterRunStatus.SUCCESS}


def test_every_partition_of_every_asset_is_materialised_in_the_eyes_of_dagster(first: MadeHome) -> None:
    with dg.DagsterInstance.from_config(str(first.folder / "dagster")) as instance:
        for key, count in (
            ("raw_observations", 42), ("observations", 4), ("quarantined_observations", 4), ("features", 4),
            (f"{TARGET}/split", 1), *((f"{TARGET}/{name}", 1) for name in FOR_RAIN),
            (f"{TARGET}/leaderboard", 1), (f"{TARGET}/promotion", 1),
            (f"{TARGET}/forecasts", FORECAST_DAYS),
        ):  # fmt: skip
            assert len(instance.get_materialized_partitions(dg.AssetKey(key.split("/")))) == count, key
        event = instance.get_latest_materialization_event(dg.AssetKey([TARGET, "production"]))
    assert event is not None
    assert event.asset_materialization is not None
    tags = event.asset_materialization.tags or {}
    assert tags["dagster/data_version"] == first.registry.production(TARGET).digest


def test_the_parent_run_of_mlflow_is_finished_and_holds_the_nested_run_of_the_model(first: MadeHome) -> None:
    client = mlflow_client(mlflow_tracking_uri(first.settings))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in found} == {"FINISHED"}
    model = first.registry.production(TARGET)
    [nested] = [run for run in found if run.info.run_id == model.run_id]
    [parent] = [run for run in found if run.info.run_id == nested.data.tags["mlflow.parentRunId"]]
    [learn] = [run for run in runs(first) if run.job_name == "learn"]
    assert parent.data.tags["dagster_run_id"] == nested.data.tags["weather.dagster_run_id"] == learn.run_id
    assert nested.data.tags["asset_key"] == f"{TARGET}/{model.tags['algorithm']}"
    assert nested.data.tags["partition"] == "2015"
    assert nested.data.params["seed"] == str(first.settings.seed)
    assert {each.dataset.name for each in nested.inputs.dataset_inputs} == {"features", f"{TARGET}__split"}


def test_the_nested_run_holds_the_contract_of_its_input_a_sample_and_the_plots(first: MadeHome) -> None:
    client = mlflow_client(mlflow_tracking_uri(first.settings))
    run_id = first.registry.production(TARGET).run_id
    listed = {item.path for folder in ("data_contract", "plots") for item in client.list_artifacts(run_id, folder)}
    assert {"data_contract/input_schema.json", "data_contract/sample_input.csv"} <= listed
    assert len([path for path in listed if path.startswith("plots/") and path.endswith(".png")]) >= 3
    schema = json.loads(open_artifact(first, run_id, "data_contract/input_schema.json"))
    assert [column["name"] for column in schema["columns"]] == feature_names()
    sample = open_artifact(first, run_id, "data_contract/sample_input.csv").decode().splitlines()
    assert len(sample) > 1
    assert sample[0].replace('"', "").split(",") == feature_names()


def open_artifact(home: MadeHome, run_id: str, path: str) -> bytes:
    """One file of a run."""
    [found] = (home.folder / "mlflow_artifacts").glob(f"**/{run_id}/artifacts/{path}")
    return found.read_bytes()


def test_the_model_folder_holds_the_registered_bytes_and_nothing_that_executes_code(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    folder = model_folder(model)
    assert {"contract.json", "MLmodel"} <= files_of(folder)
    assert not [name for name in files_of(folder) if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert sha256((folder / "contract.json").read_bytes()) == model.digest
    contract = json.loads((folder / "contract.json").read_text())
    assert sha256((folder / contract["model_file"]).read_bytes()) == contract["model_sha256"]
    assert (contract["feature_version"], contract["feature_names"]) == (FEATURE_VERSION, feature_names())


def test_the_model_loads_as_any_mlflow_model_and_scores_the_same(first: MadeHome) -> None:
    import mlflow.pyfunc
    import pandas as pd

    model = first.registry.production(TARGET)
    predictor = first.registry.load(model)
    rows = rows_of(first, NEWEST)
    named = pd.DataFrame(rows.values, columns=list(rows.feature_names))
    raw = mlflow.pyfunc.load_model(str(model_folder(model))).predict(named)
    raw = raw[:, 1] if raw.ndim == 2 else raw  # scikit-learn gives the chances of no and of yes
    np.testing.assert_allclose(predictor.model.predict_raw(rows.values), raw, rtol=1e-4)


# ---------------------------------------------------------------- the forecasts


def rows_of(home: MadeHome, day: date, name: str = TARGET) -> TrainingData:
    """The stored features of one day as the model takes them."""
    target = TARGETS[name]
    table = home.lake.read("features", columns=training_columns(target), filter=pc.field("day") == day)
    return training_data(table.to_batches(), table.num_rows, target)


def test_every_station_that_reported_has_one_forecast_of_every_newest_day(first: MadeHome) -> None:
    days = [date.fromordinal(NEWEST.toordinal() - back) for back in range(FORECAST_DAYS)]
    forecasts = first.database.forecasts(TARGET, days[-1], NEWEST)
    seen = Counter(zip(forecasts["day"].to_pylist(), forecasts["station"].to_pylist(), strict=True))
    wanted = first.lake.read("observations", columns=["day", "station"], filter=pc.field("day") >= days[-1])
    assert seen == Counter(zip(wanted["day"].to_pylist(), wanted["station"].to_pylist(), strict=True))
    assert set(seen.values()) == {1}
    assert first.database.forecasts(TARGET, date(2000, 1, 1), date(2100, 1, 1)).num_rows == len(seen)


def test_a_forecast_says_which_model_made_it_and_what_it_means(first: MadeHome) -> None:
    model, predictor = first.registry.production(TARGET), None
    predictor = first.registry.load(model)
    forecasts = first.database.forecasts(TARGET, NEWEST, NEWEST)
    assert forecasts.schema == FORECASTS_SCHEMA
    [forecast_run] = [run for run in runs(first) if run.job_name == "forecast"]
    for row in forecasts.to_pylist():
        assert (row["model_version"], row["model_digest"]) == (model.version, model.digest)
        assert (row["feature_version"], row["dagster_run_id"]) == (FEATURE_VERSION, forecast_run.run_id)
        assert 0 <= row["probability"] <= 1
        assert row["label"] == (row["probability"] >= row["threshold"] == predictor.contract.threshold)


def test_only_days_after_everything_the_model_was_tested_on_count_as_live(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    assert model.tested_through == date(2015, 6, 29), "the newest day with a label"
    forecasts = first.database.forecasts(TARGET, date(2000, 1, 1), date(2100, 1, 1)).to_pylist()
    kinds = {row["day"]: row["kind"] for row in forecasts}
    assert {day for day, kind in kinds.items() if kind == "live"} == {NEWEST}
    assert {kind for day, kind in kinds.items() if day < NEWEST} == {"hindcast"}


def test_the_batch_forecast_equals_one_row_forecast_alone_to_the_bit(first: MadeHome) -> None:
    predictor = first.registry.load(first.registry.production(TARGET))
    stored = {row["station"]: row for row in first.database.forecasts(TARGET, NEWEST, NEWEST).to_pylist()}
    rows = rows_of(first, NEWEST)
    assert len(rows) == len(stored) > 5
    for number, station in enumerate(rows.station_index):
        alone = predictor.predict(np.ascontiguousarray(rows.values[number : number + 1]))
        row = stored[rows.station_ids[station]]
        assert alone.value[0].tobytes() == np.float64(row["probability"]).tobytes()
        assert bool(alone.decision[0]) is row["label"]


def test_features_built_for_one_station_alone_give_its_batch_forecast_to_the_bit(first: MadeHome) -> None:
    grid = station_grid(first.lake.read("stations"))
    observed = observation_arrays(first.lake.read("observations", columns=list(OBSERVED)), grid)
    weights, today = neighbour_weights(grid), day_number(NEWEST)
    predictor = first.registry.load(first.registry.production(TARGET))
    for row in first.database.forecasts(TARGET, NEWEST, NEWEST).to_pylist():
        one = (np.array([grid.ids.index(row["station"])], np.int32), np.array([today], np.int32))
        matrix = build_features(observed, grid, weights, first_day=today, last_day=today, rows=one)
        alone = predictor.predict(matrix.values)
        assert alone.value[0].tobytes() == np.float64(row["probability"]).tobytes()
