"""From a month that is over to a new version: decided, requested by the sensor, learned, promoted, written back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.assets.retraining import facts_of
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


def requested(home: MadeHome) -> list[dg.RunRequest]:
    """What the sensor of the target asks for at its first tick."""
    repository = home.graph.get_repository_def()
    with (
        home.dagster() as instance,
        dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"database": home.database}
        ) as context,
    ):
        return list(repository.get_sensor_def(f"{TARGET}_retraining").evaluate_tick(context).run_requests or [])


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
