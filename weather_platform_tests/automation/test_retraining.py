"""The sensors of the decision to retrain: one run for a decision, none for anything else, and failures are recorded."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.automation.recalibration import recalibration_of
from weather_platform.automation.retraining import retraining_sensors
from weather_platform.database import Database
from weather_platform.domain.retraining import Action, Outcome
from weather_platform.errors import WeatherError
from weather_platform.resources.retraining import RETRAINING_TAG
from weather_platform_tests.database.test_retraining import ASKED, outcome, retraining
from weather_platform_tests.databases import migrated
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import Home

LEARNING = {"split", "xgboost", "leaderboard", "promotion", "production"}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    opened = migrated(home.settings.home / "weather.db")
    yield opened
    opened.close()


def deliver(home: Home, month: str = "2015-12") -> None:
    """The asset was materialised for a month."""
    home.instance.report_runless_asset_event(dg.AssetMaterialization([TARGET, "retraining"], partition=month))


def tick(
    home: Home, database: Database, cursor: str | None = None, sensor: str = "retraining"
) -> tuple[list[dg.RunRequest], str | None]:
    """One tick of a sensor of the target on the real definitions; what it asks for, and its cursor afterwards."""
    repository = home.graph.get_repository_def()
    with dg.build_sensor_context(
        instance=home.instance, cursor=cursor, repository_def=repository, resources={"database": database}
    ) as context:
        ticked = repository.get_sensor_def(f"{TARGET}_{sensor}").evaluate_tick(context)
        return list(ticked.run_requests or []), ticked.cursor


def test_a_decision_to_retrain_asks_for_one_run_of_the_target_in_the_year_of_its_month(
    home: Home, database: Database
) -> None:
    record = database.record_retraining_decision(retraining())
    deliver(home)
    [asked], cursor = tick(home, database)
    assert (asked.run_key, asked.tags["dagster/partition"]) == (str(record.id), "2015")
    assert asked.tags[RETRAINING_TAG] == str(record.id)
    selected = {key.path[-1] for key in asked.asset_selection or []}
    assert selected >= LEARNING
    assert "retraining" not in selected
    assert {key.path[0] for key in asked.asset_selection or []} == {TARGET}
    assert tick(home, database, cursor)[0] == [], "the same event a second time"


def test_a_second_delivery_asks_for_the_same_run_by_its_key_which_dagster_starts_once(
    home: Home, database: Database
) -> None:
    database.record_retraining_decision(retraining())
    deliver(home)
    [first], cursor = tick(home, database)
    deliver(home)
    [second], _ = tick(home, database, cursor)
    assert second.run_key == first.run_key


@pytest.mark.parametrize("action", [each for each in Action if each is not Action.RETRAIN])
def test_no_other_decision_asks_for_a_run(home: Home, database: Database, action: Action) -> None:
    database.record_retraining_decision(retraining(decision=action))
    deliver(home)
    assert tick(home, database)[0] == []


def test_a_decision_to_recalibrate_asks_for_one_run_of_that_job_with_target_and_month(
    home: Home, database: Database
) -> None:
    record = database.record_retraining_decision(retraining(decision=Action.RECALIBRATE))
    deliver(home)
    [asked], cursor = tick(home, database, sensor="recalibration")
    assert (asked.run_key, asked.tags[RETRAINING_TAG]) == (str(record.id), str(record.id))
    assert asked.run_config == recalibration_of(TARGET, record.month)
    assert home.graph.get_repository_def().get_sensor_def(f"{TARGET}_recalibration").job_name == "recalibrate"
    deliver(home)
    [again], _ = tick(home, database, cursor, sensor="recalibration")
    assert again.run_key == asked.run_key, "which Dagster starts once"
    assert record.id is not None
    database.record_retraining_outcome(outcome(record.id, outcome=Outcome.SKIP))
    deliver(home)
    assert tick(home, database, sensor="recalibration")[0] == []


@pytest.mark.parametrize("action", [each for each in Action if each is not Action.RECALIBRATE])
def test_no_other_decision_asks_for_new_calibration(home: Home, database: Database, action: Action) -> None:
    database.record_retraining_decision(retraining(decision=action))
    deliver(home)
    assert tick(home, database, sensor="recalibration")[0] == []


def test_a_decision_is_not_lost_when_its_month_is_materialised_again_before_the_tick(
    home: Home, database: Database
) -> None:
    record = database.record_retraining_decision(retraining())
    deliver(home)
    database.record_retraining_decision(retraining(decision=Action.WAIT))
    deliver(home)
    assert [asked.run_key for asked in tick(home, database)[0]] == [str(record.id)]


def test_of_several_months_only_the_newest_decision_is_learned(home: Home, database: Database) -> None:
    database.record_retraining_decision(retraining(month="2015-03"))
    newest = database.record_retraining_decision(retraining(month="2015-12"))
    deliver(home)
    assert [asked.run_key for asked in tick(home, database)[0]] == [str(newest.id)]


@pytest.mark.parametrize("came", Outcome)
def test_a_decision_with_an_outcome_is_never_asked_for_again(home: Home, database: Database, came: Outcome) -> None:
    record = database.record_retraining_decision(retraining())
    assert record.id is not None
    database.record_retraining_outcome(outcome(record.id, outcome=came))
    deliver(home)
    assert tick(home, database)[0] == []


def test_a_request_of_a_person_and_another_target_are_left_to_their_own(home: Home, database: Database) -> None:
    database.record_retraining_request(ASKED, retraining())
    database.record_retraining_decision(retraining(target="max_temp_tomorrow"))
    deliver(home)
    assert tick(home, database)[0] == []


# ---------------------------------------------------------------- what failed


def failing_run(home: Home, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    """A run of `learn` that fails at its first step: there is no table of features."""
    return home.graph.resolve_job_def("learn").execute_in_process(
        instance=home.instance, asset_selection=[dg.AssetKey([TARGET, "split"])], partition_key="2015", tags=tags,
        run_config=QUIET, raise_on_error=False,
    )  # fmt: skip


def look(home: Home, database: Database) -> None:
    """One tick of the sensor that looks for trainings that gave nothing."""
    repository = home.graph.get_repository_def()
    with dg.build_sensor_context(
        instance=home.instance, repository_def=repository, resources={"database": database}
    ) as context:
        repository.get_sensor_def("retraining_outcomes").evaluate_tick(context)


def outcomes(database: Database) -> list[tuple[Outcome, str, str]]:
    [(_, came)] = database.retraining(TARGET)
    return [(each.outcome, each.reason, each.dagster_run_id) for each in came]


def test_a_failed_training_is_the_outcome_of_its_decision_and_recorded_once(home: Home, database: Database) -> None:
    record = database.record_retraining_decision(retraining())
    look(home, database)
    assert outcomes(database) == [], "not started yet"
    run = failing_run(home, {RETRAINING_TAG: str(record.id)})
    for _ in range(2):
        look(home, database)
    assert outcomes(database) == [(Outcome.FAILED, "the run failed", run.run_id)]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (dg.DagsterRunStatus.CANCELED, "the run was cancelled"),
        (dg.DagsterRunStatus.SUCCESS, "the run ended without a promotion decision"),
        (dg.DagsterRunStatus.STARTED, None),
        (dg.DagsterRunStatus.NOT_STARTED, None),
    ],
)
def test_a_run_that_ended_without_a_promotion_is_failed_and_one_that_goes_on_is_not(
    home: Home, database: Database, status: dg.DagsterRunStatus, said: str | None
) -> None:
    record = database.record_retraining_decision(retraining())
    run = home.instance.create_run_for_job(
        home.graph.resolve_job_def("learn"), status=status, tags={RETRAINING_TAG: str(record.id)}
    )
    look(home, database)
    assert outcomes(database) == ([(Outcome.FAILED, said, run.run_id)] if said else [])


@pytest.mark.parametrize("tags", [{}, {RETRAINING_TAG: "1", "dagster/will_retry": "true"}])
def test_another_run_and_one_that_is_tried_again_are_no_outcome(
    home: Home, database: Database, tags: dict[str, str]
) -> None:
    database.record_retraining_decision(retraining())
    failing_run(home, tags)
    look(home, database)
    assert outcomes(database) == []


def test_a_failure_while_the_database_was_away_is_recorded_when_it_is_back(home: Home, database: Database) -> None:
    record = database.record_retraining_decision(retraining())
    run = failing_run(home, {RETRAINING_TAG: str(record.id)})
    file, away = home.settings.home / "weather.db", home.settings.home / "away.db"
    database.close()
    file.rename(away)
    file.write_bytes(b"this is no database" * 200)
    with pytest.raises(WeatherError):
        look(home, database)
    database.close()
    away.rename(file)
    look(home, database)
    assert outcomes(database) == [(Outcome.FAILED, "the run failed", run.run_id)]


def test_there_is_a_sensor_for_every_target() -> None:
    sensors = {sensor.name for sensor in retraining_sensors(dg.DefaultSensorStatus.STOPPED)}
    asking = {f"{name}_{asks}" for name in (TARGET, "max_temp_tomorrow") for asks in ("retraining", "recalibration")}
    assert sensors == {*asking, "retraining_outcomes"}
