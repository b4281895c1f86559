"""From a month that is over to a new version: decided, requested by the sensor, learned, promoted, written back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.assets.retraining import facts_of
from weather_platform.automation.recalibration import recalibration_of
from weather_platform.domain.feature_table import training_data
from weather_platform.domain.retraining import Action, Outcome
from weather_platform.domain.splits import split_from_manifest
from weather_platform.domain.targets import TARGETS
from weather_platform.resources.registry import PRODUCTION
from weather_platform_tests.database.test_retraining import ASKED, outcome, retraining
from weather_platform_tests.e2e.homes import Done, MadeHome, copied, empty_home
from weather_platform_tests.e2e.test_outages import part
from weather_platform_tests.small_models import TARGET

LATER = {"WEATHER_SYNTHETIC_YEARS": "5", "WEATHER_SYNTHETIC_LAST_DAY": "2016-03-31"}
"""Nine months after the model's data end, from the same first day on."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Later:
    """A home whose observations and forecasts went on for nine months after its only training."""

    home: MadeHome
    watched: Done


@pytest.fixture(scope="module")
def later(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Later:
    home = copied(first, tmp_path_factory.mktemp("later") / "home")
    home = MadeHome(home.folder, {**home.env, **LATER})
    updated = home.run("update")
    assert updated.code == 0, updated.err
    watched = home.run("watch", "--month", "2016-02", "--month", "2016-03")
    assert watched.code == 0, watched.err
    return Later(home, watched)


@pytest.fixture
def home(later: Later, tmp_path: Path) -> MadeHome:
    """A copy of that home for one test."""
    return copied(later.home, tmp_path / "home")


def decisions(home: MadeHome) -> list[tuple[str, Action]]:
    return [(record.month, record.decision) for record, _ in home.database.retraining(TARGET)]


def requested(home: MadeHome, sensor: str = "retraining") -> list[dg.RunRequest]:
    """What a sensor of the target asks for at its first tick."""
    repository = home.graph.get_repository_def()
    with (
        home.dagster() as instance,
        dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"database": home.database}
        ) as context,
    ):
        return list(repository.get_sensor_def(f"{TARGET}_{sensor}").evaluate_tick(context).run_requests or [])


def learn(home: MadeHome, request: dg.RunRequest, config: Mapping[str, object] | None = None) -> bool:
    """The run that was asked for, as the daemon would start it."""
    with home.dagster() as instance:
        result = home.graph.resolve_job_def("learn").execute_in_process(
            instance=instance, asset_selection=list(request.asset_selection or []), tags=dict(request.tags),
            partition_key=request.tags["dagster/partition"], run_config=QUIET | dict(config or request.run_config),
            raise_on_error=False,
        )  # fmt: skip
    return bool(result.success)


def test_months_are_decided_from_what_was_measured_and_the_quarter_asks_for_training(later: Later) -> None:
    assert decisions(later.home) == [("2016-02", Action.WAIT), ("2016-03", Action.RETRAIN)]
    [_, (record, outcomes)] = later.home.database.retraining(TARGET)
    assert outcomes == []
    model = later.home.registry.production(TARGET)
    facts = record.inputs
    assert (facts["production_version"], facts["model_data_through"]) == (1, model.tested_through.isoformat())
    metrics = later.home.registry.recorded(model.run_id)[2]
    assert facts["model_rows"] == sum(metrics[f"rows_{part}"] for part in ("train", "validation", "test"))
    assert [month["month"] for month in facts["bias"]] == ["2016-02", "2016-03"]  # type: ignore[attr-defined]
    assert facts["drift"]["status"] in ("none", "drift")  # type: ignore[index]
    assert facts["features_lake_version"] == later.home.lake.version("features")
    assert "and 9 months ask for training" in record.reasons[-1]


def test_a_decision_becomes_one_run_whose_promotion_is_its_outcome(home: MadeHome) -> None:
    [request] = requested(home)
    assert learn(home, request)
    promotion = home.database.decisions(TARGET)[-1]
    [_, (record, [came])] = home.database.retraining(TARGET)
    assert (came.decision_id, came.outcome) == (record.id, Outcome(promotion.decision))
    assert (came.version, came.reason) == (2, promotion.reasons[0])
    assert came.dagster_run_id == promotion.dagster_run_id
    split = split_from_manifest(home.lake.snapshot(f"{TARGET}__split").read(keys=["2016"]))
    assert (split.kind, split.as_of) == ("newest", date(2016, 3, 31)), "the newest data, not the year"
    assert home.registry.version(TARGET, 2).tested_through > home.registry.version(TARGET, 1).tested_through
    assert requested(home) == [], "nothing is asked for twice"
    # The month again: version 2 serves, and has learned from it.
    assert promotion.decision == "DEPLOY"
    assert part(home, "watch", "2016-03", "retraining") == ""
    assert decisions(home)[-1] == ("2016-03", Action.OK)
    [said] = home.database.retraining(TARGET)[-1][0].reasons
    assert "version 2 has learned from data up to 2016-03-30" in said


def test_a_month_made_again_before_the_sensor_ticks_starts_no_second_training(home: MadeHome) -> None:
    assert part(home, "watch", "2016-03", "retraining") == ""
    assert decisions(home)[-1] == ("2016-03", Action.WAIT)
    [request] = requested(home)
    assert request.run_key == str(home.database.retraining(TARGET)[1][0].id)


def test_without_its_drift_report_a_month_is_unknown_and_nothing_is_asked_for(home: MadeHome) -> None:
    with home.dagster() as instance:
        before = instance.get_runs_count()
    assert part(home, "watch", "2016-01", "matured_skill", "retraining") == ""
    [*_, (record, _)] = home.database.retraining(TARGET)
    assert (record.decision, record.reasons) == (Action.UNKNOWN, ("the drift report of the month is missing",))
    with home.dagster() as instance:
        assert instance.get_runs_count() == before + 1


def test_without_labels_of_the_month_it_is_unknown(home: MadeHome) -> None:
    assert part(home, "watch", "2016-04", "matured_skill", "retraining") == ""
    [*_, (record, _)] = home.database.retraining(TARGET)
    assert record.decision is Action.UNKNOWN
    assert "the matured bias of the month is missing" in record.reasons


def test_a_request_whose_command_was_killed_before_its_run_holds_back_no_later_month(home: MadeHome) -> None:
    def attempts(month: str) -> list[str]:
        facts = facts_of(TARGETS[TARGET], month, home.registry, home.database, home.lake)
        return [each.month for each in facts.attempts]

    assert attempts("2016-03") == ["2016-03"]
    _, killed = home.database.record_retraining_request(ASKED, retraining(month="2016-02"))
    assert attempts("2016-02") == ["2016-03", "2016-02"], "it may be running"
    assert attempts("2016-03") == ["2016-03"]
    assert killed is not None
    assert killed.id is not None
    home.database.record_retraining_outcome(outcome(killed.id, outcome=Outcome.SKIP))
    assert attempts("2016-03") == ["2016-03", "2016-02"]


def test_a_registry_that_is_away_fails_the_month_and_decides_nothing(home: MadeHome) -> None:
    before = decisions(home)
    (home.folder / "mlflow.db").write_bytes(b"this is no database" * 200)
    assert "MLflow at sqlite:///" in part(home, "watch", "2016-03", "retraining")
    assert decisions(home) == before


def test_an_alias_that_vanished_is_an_error_and_not_a_missing_fact(home: MadeHome) -> None:
    before = decisions(home)
    home.registry._client.delete_registered_model_alias(TARGET, PRODUCTION)
    assert "the registry knows no such alias" in part(home, "watch", "2016-03", "retraining")
    assert decisions(home) == before


def test_a_home_in_which_nothing_serves_is_unknown(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    home.database.migrate()
    assert part(home, "watch", "2016-03", "retraining") == ""
    [(record, _)] = home.database.retraining(TARGET)
    assert record.decision is Action.UNKNOWN
    assert record.reasons[0] == "the Production model is missing"


def test_a_training_that_has_nothing_to_train_on_is_the_outcome_failed(home: MadeHome) -> None:
    [request] = requested(home)
    before_all_data = request.with_replaced_attrs(tags={**request.tags, "dagster/partition": "2010"})
    assert learn(home, before_all_data)
    [_, (_, [came])] = home.database.retraining(TARGET)
    assert (came.outcome, came.version) == (Outcome.FAILED, None)
    assert came.reason.startswith("2010: ")
    assert len(home.database.decisions(TARGET)) == 1


def test_a_person_who_asks_is_recorded_and_served_at_once(home: MadeHome) -> None:
    done = home.run("retrain", TARGET, "--why", "new stations since May")
    assert done.code == 0, done.err
    *_, (record, [came]) = home.database.retraining(TARGET)
    [request] = home.database.retraining_requests(TARGET)
    assert (record.decision, record.month, record.request_id) == (Action.RETRAIN, "2016-03", request.id)
    assert record.reasons[0].endswith("asked for it: new stations since May")
    assert (came.outcome, came.version) == (Outcome(home.database.decisions(TARGET)[-1].decision), 2)
    assert f"{TARGET}: {came.outcome} version 2: " in done.out
    split = split_from_manifest(home.lake.snapshot(f"{TARGET}__split").read(keys=["2016"]))
    assert (split.kind, split.as_of) == ("newest", date(2016, 3, 31))
    assert home.registry.versions("max_temp_tomorrow")[-1].version == 1, "the other target is left alone"


def test_a_request_whose_training_fails_says_so_and_is_recorded_as_failed(home: MadeHome) -> None:
    (home.folder / "mlflow.db").write_bytes(b"this is no database" * 200)
    done = home.run("retrain", TARGET, "--why", "new stations since May")
    assert done.code == 1
    *_, (_, [came]) = home.database.retraining(TARGET)
    assert (came.outcome, came.version) == (Outcome.FAILED, None)
    assert came.reason in done.lines[-1]


# ---------------------------------------------------------------- new calibration


def recalibration_decided(home: MadeHome) -> dg.RunRequest:
    """What the sensor asks for after a month was decided to be calibrated again."""
    home.database.record_retraining_decision(retraining(month="2016-03", decision=Action.RECALIBRATE))
    [request] = requested(home, "recalibration")
    return request


def recalibrate(home: MadeHome, request: dg.RunRequest, config: Mapping[str, object] | None = None) -> bool:
    with home.dagster() as instance:
        result = home.graph.resolve_job_def("recalibrate").execute_in_process(
            instance=instance, tags=dict(request.tags), run_config=QUIET | dict(config or request.run_config),
            raise_on_error=False,
        )  # fmt: skip
    return bool(result.success)


def test_a_decision_to_recalibrate_becomes_a_version_of_the_same_model_file_judged_recorded_and_made_again(
    home: MadeHome,
) -> None:
    before = home.registry.production(TARGET)
    assert recalibrate(home, recalibration_decided(home))
    promotion = home.database.decisions(TARGET)[-1]
    *_, (record, [came]) = home.database.retraining(TARGET)
    assert (record.decision, came.outcome) == (Action.RECALIBRATE, Outcome(promotion.decision))
    assert (came.version, came.reason) == (promotion.challenger_version, promotion.reasons[0])
    assert requested(home, "recalibration") == [], "nothing is asked for twice"
    made = home.registry.version(TARGET, 2)
    assert (made.base, made.tested_through) == (1, date(2016, 3, 30))
    assert (made.trained_through, made.data_through) == (before.tuned_through, before.tested_through)
    assert home.registry.verified_files(made)[1] == home.registry.verified_files(before)[1], "the same model file"
    assert promotion.evidence["evidence"]["recalibration"] is True  # type: ignore[index]
    serves = home.registry.production(TARGET).version
    assert serves == (2 if promotion.decision == "DEPLOY" else 1)
    # Made again from what was recorded, also when the features went on since.
    done = home.run("reproduce", TARGET, "2")
    assert done.code == 0, done.err
    assert f"{TARGET} version 2 is reproduced: the same SHA-256 {made.digest}" in " ".join(done.out.split())
    assert home.run("models").code == 0
    if promotion.decision == "DEPLOY":
        assert part(home, "forecast", "2016-03-31", "forecasts") == ""
        station = home.database.forecasts(TARGET, date(2016, 3, 31), date(2016, 3, 31))["station"][0].as_py()
        told = home.run("lineage", TARGET, station, "2016-03-31")
        assert "the model file is that of version 1" in " ".join(told.out.split()), told.err
    facts = facts_of(TARGETS[TARGET], "2016-03", home.registry, home.database, home.lake)
    assert facts.model_data_through == before.tested_through, "the age is that of the model file"


def test_the_new_calibration_serves_as_any_version_and_forecasts_what_the_endpoint_would(home: MadeHome) -> None:
    before = home.registry.production(TARGET)
    biased(home)
    assert recalibrate(home, recalibration_decided(home))
    serving = home.registry.production(TARGET)
    assert (serving.version, serving.base) == (2, before.version), home.database.decisions(TARGET)[-1].reasons
    move = home.database.alias_changes(TARGET, PRODUCTION)[-1]
    assert (move.from_version, move.to_version) == (1, 2)
    assert move.decision_id == home.database.decisions(TARGET)[-1].id
    assert part(home, "forecast", "2016-03-30", "forecasts", last="2016-03-31") == ""
    rows = home.database.forecasts(TARGET, date(2016, 3, 31), date(2016, 3, 31), model_version=2).to_pylist()
    features = home.lake.snapshot("features").read(keys=["2016"], where=pc.field("day") == date(2016, 3, 31))
    data = training_data(features.to_batches(), features.num_rows, TARGETS[TARGET])
    said = dict(
        zip(features["station"].to_pylist(), home.registry.load(serving).predict(data.values).value, strict=True)
    )
    assert rows
    assert {row["station"]: row["probability"] for row in rows} == said
    seen = home.database.forecasts(TARGET, date(2016, 3, 30), date(2016, 3, 30), model_version=2)
    assert set(seen["kind"].to_pylist()) == {"hindcast"}, "its calibration has seen the day"
    assert {row["kind"] for row in rows} == {"live"}
    old = home.registry.load(before).predict(data.values).value
    assert np.mean(list(said.values())) > np.mean(old)


def test_a_recalibration_without_days_since_is_the_outcome_failed_and_registers_nothing(home: MadeHome) -> None:
    request = recalibration_decided(home)
    assert not recalibrate(home, request, recalibration_of(TARGET, "2015-05"))
    with home.dagster() as instance:
        repository = home.graph.get_repository_def()
        with dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"database": home.database}
        ) as context:
            repository.get_sensor_def("retraining_outcomes").evaluate_tick(context)
    *_, (_, [came]) = home.database.retraining(TARGET)
    assert (came.outcome, came.version) == (Outcome.FAILED, None)
    assert [each.version for each in home.registry.versions(TARGET)] == [1]


def biased(home: MadeHome) -> None:
    """Rain on every sixth dry row since the model was tested, or so."""
    label, last = f"label_{TARGET}", home.registry.production(TARGET).tested_through
    for year in ("2015", "2016"):
        rows = home.lake.snapshot("features").read(keys=[year])
        wet = [
            1.0 if value == 0 and day > last and number % 6 == 0 else value
            for number, (day, value) in enumerate(zip(rows["day"].to_pylist(), rows[label].to_pylist(), strict=True))
        ]
        at = rows.schema.get_field_index(label)
        changed = rows.set_column(at, rows.schema.field(at), pa.array(wet, rows.schema.field(at).type))
        home.lake.replace_partition("features", "year", year, changed)
