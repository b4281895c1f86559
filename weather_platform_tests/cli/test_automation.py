"""`weather automation` and `weather automation why` on a real home, with what a daemon records written as it does."""

import json
import time
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from weather_platform_tests.e2e.homes import MadeHome, copied, empty_home, shared_home

ON = {"WEATHER_AUTOMATION": "true"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return shared_home(tmp_path_factory)


@pytest.fixture
def home(made: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return copied(made, tmp_path_factory.mktemp("automation") / "home")


def tick(home: MadeHome, name: str, status: TickStatus, **data: object) -> None:
    """One tick of a sensor, as the daemon records it."""
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository"), name)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
    with home.dagster() as instance:
        if instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
            instance.add_instigator_state(state)
        instance.create_tick(
            TickData(
                instigator_origin_id=origin.get_id(), instigator_name=name, instigator_type=InstigatorType.SENSOR,
                status=status, timestamp=datetime(2015, 6, 1, 2, tzinfo=UTC).timestamp(),
                selector_id=origin.get_selector().get_id(), **data,  # type: ignore[arg-type]
            )
        )  # fmt: skip


def beat(home: MadeHome) -> None:
    """A sign of life of the daemon."""
    with home.dagster() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "daemon", None))


def receive(home: MadeHome) -> None:
    """A month is received that the clean rows were not made from."""
    with home.dagster() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization("raw_observations", partition="2015-06", metadata={"lake_version": 999, "rows": 1})
        )


def why(home: MadeHome, *arguments: str, **env: str) -> list[str]:
    done = home.call("automation", "why", *arguments, **env)
    assert done.code == 0, done.err
    return [line.strip() for line in done.out.splitlines()]


def test_every_sensor_schedule_and_condition_is_listed_and_a_daemon_that_was_never_started(home: MadeHome) -> None:
    done = home.call("automation")
    assert done.code == 0, done.err
    assert done.out.startswith("the daemon does not run, it was never started; `weather ui --automation` starts it")
    repository = home.graph.get_repository_def()
    for sensor in repository.sensor_defs:
        assert f"sensor    {sensor.name}: off" in done.out
    for schedule in repository.schedule_defs:
        assert f"schedule  {schedule.name}: off" in done.out
    assert "condition features: features_after_observations" in done.out


def test_the_last_tick_says_what_it_asked_for_why_not_or_what_failed(home: MadeHome) -> None:
    error = SerializableErrorInfo("WeatherError: the lake is away", [], "WeatherError")
    tick(home, "new_observations", TickStatus.SUCCESS, run_ids=["a"], run_keys=["2015-06..2015-06"])
    tick(home, "send_notices", TickStatus.SKIPPED, skip_reason="0 messages sent")
    tick(home, "retraining_outcomes", TickStatus.FAILURE, error=error)
    beat(home)
    out = home.call("automation").out
    assert out.startswith("the daemon runs\n")
    assert "2015-06-01 02:00 UTC  asked: asked for 2015-06..2015-06" in out
    assert "2015-06-01 02:00 UTC  skipped: 0 messages sent" in out
    assert "2015-06-01 02:00 UTC  failed: WeatherError: the lake is away" in out


def test_the_same_as_json_with_the_next_times(home: MadeHome) -> None:
    tick(home, "new_observations", TickStatus.SKIPPED, skip_reason="the source has not changed")
    before = datetime.now(UTC)
    told = json.loads(home.call("automation", "--json", **ON).out)
    parts = {part["name"]: part for part in told["parts"]}
    assert told["daemon"] == {"runs": False, "said": "it was never started"}
    assert parts["new_observations"]["last"]["said"] == "the source has not changed"
    assert parts["new_observations"]["on"]
    schedules = [part for part in told["parts"] if part["kind"] == "schedule"]
    assert schedules
    assert all(datetime.fromisoformat(part["next_at"]) > before for part in schedules)
    assert {each["asset"] for each in told["conditions"]} >= {"observations", "rain_tomorrow/forecasts"}
    off = json.loads(home.call("automation", "--json").out)
    assert all(part["next_at"] is None for part in off["parts"] if part["kind"] == "schedule")


def test_a_partition_that_is_up_to_date_says_so_and_which_run_made_it(home: MadeHome) -> None:
    lines = why(home, "features", "2015")
    assert "2015 is not behind what it is made from" in lines
    assert any(line.startswith("its last run is ") and line.endswith(": success") for line in lines)
    assert lines[-1] == "so: nothing is to be done"


def test_a_partition_that_is_behind_says_of_what_and_what_keeps_it_from_running(home: MadeHome) -> None:
    receive(home)
    lines = why(home, "observations", "2015")
    assert "2015 is behind what it is made from now: raw_observations 999" in lines
    assert lines[-1].startswith("so: follow_upstream is off; `weather ui --automation` switches it on")
    assert why(home, "observations", "2015", **ON)[-1].startswith("so: the daemon does not run, it was never started")
    beat(home)
    assert why(home, "observations", "2015", **ON)[-1].startswith("so: the next look of follow_upstream asks for it")
    assert why(home, "observations", "2014", **ON)[-1] == "so: nothing is to be done"
    assert "behind what they are made from: 2015" in why(home, "observations", **ON)


def test_a_failed_check_upstream_is_named_for_the_partitions_made_from_it_alone(home: MadeHome) -> None:
    receive(home)
    beat(home)
    graph = home.graph.resolve_asset_graph()
    raw = dg.AssetKey("raw_observations")
    [check, *_] = [key for key in graph.get_check_keys_for_assets({raw}) if graph.get(key).blocking]
    with home.dagster() as instance:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=raw, check_name=check.name, passed=False, blocking=True, severity=dg.AssetCheckSeverity.ERROR,
                metadata={"failing_partitions": {"2015-06": "wrong"}},
            )
        )  # fmt: skip
    lines = why(home, "observations", "2015", **ON)
    assert f"the blocking check {check.name} failed at raw_observations 2015-06" in lines
    assert lines[-1] == "so: it waits until the check passes"
    assert not any("blocking check" in line for line in why(home, "observations", "2014", **ON))


def test_a_failed_run_and_one_under_way_are_the_reason(home: MadeHome) -> None:
    receive(home)
    beat(home)
    tags = {"dagster/asset_partition_range_start": "2015", "dagster/asset_partition_range_end": "2015"}
    job = home.graph.resolve_job_def("process")
    with home.dagster() as instance:
        run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert why(home, "observations", "2015", **ON)[-1] == "so: its run is under way"
    with home.dagster() as instance:
        instance.report_run_failed(run)
    lines = why(home, "observations", "2015", **ON)
    assert any(f"its last run is {run.run_id}" in line and "its process is killed" in line for line in lines)
    assert lines[-1].startswith("so: its run failed; it is asked for again when what it is made from changes")
    assert why(home, "observations", "2014", **ON)[-1] == "so: nothing is to be done"


def test_what_no_condition_follows_says_who_asks_for_it(home: MadeHome) -> None:
    tick(home, "new_observations", TickStatus.SKIPPED, skip_reason="the source has not changed")
    lines = why(home, "raw_observations", "2015-06")
    assert lines[1] == "asked for by ask_for_reports and new_observations and `weather update`"
    assert any("skipped, the source has not changed" in line for line in lines)
    [_, asked, *_] = why(home, "rain_tomorrow/promotion")
    assert asked == "asked for by rain_tomorrow_retraining and `weather retrain`"
    [_, asked, *_] = why(home, "rain_tomorrow/retraining", "2015-05")
    assert asked == "asked for by month_ended and `weather watch`"
    [_, asked, *_] = why(home, "rain_tomorrow/endpoint")
    assert asked == "asked for by a person alone"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetures"], "did you mean features"),
        (["features", "1815"], "no partition 1815"),
        (["rain_tomorrow/production", "2015"], "has no partitions"),
    ],
)
def test_an_unknown_asset_or_partition_is_a_wrong_use(made: MadeHome, arguments: list[str], said: str) -> None:
    done = made.call("automation", "why", *arguments)
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())


def test_a_folder_that_is_no_home_says_what_to_do_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = empty_home(tmp_path_factory.mktemp("none") / "home")
    for arguments in (["automation"], ["automation", "why", "features"]):
        done = home.call(*arguments)
        assert done.code == 1
        assert "is not a home yet" in done.err
