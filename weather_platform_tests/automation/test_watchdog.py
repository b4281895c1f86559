"""Notices about the automation itself, from what a real Dagster instance recorded of ticks and heartbeats."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from weather_platform.automation.watchdog import note_automation
from weather_platform.database import Database
from weather_platform_tests.databases import migrated

NOW = datetime(2015, 6, 1, 2, 0, tzinfo=UTC)


class Automation:
    """An instance with ticks that were written as the daemon writes them."""

    def __init__(self, instance: dg.DagsterInstance, database: Database) -> None:
        self.instance, self.database, self.at = instance, database, NOW

    def switched(self, name: str, status: InstigatorStatus, kind: InstigatorType = InstigatorType.SENSOR) -> None:
        data = SensorInstigatorData() if kind is InstigatorType.SENSOR else ScheduleInstigatorData("0 1 * * *")
        state = InstigatorState(self._origin(name), kind, status, data)
        if self.instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
            self.instance.add_instigator_state(state)
        else:
            self.instance.update_instigator_state(state)

    def tick(self, name: str, *results: TickStatus, kind: InstigatorType = InstigatorType.SENSOR) -> list[str]:
        """Ticks a minute apart, and the open notices after them."""
        self.switched(name, InstigatorStatus.RUNNING, kind)
        origin = self._origin(name)
        for result in results:
            self.at += timedelta(minutes=1)
            error = SerializableErrorInfo("no connection to a://secret@b", [], "WeatherError")
            self.instance.create_tick(
                TickData(
                    instigator_origin_id=origin.get_id(), instigator_name=name, instigator_type=kind, status=result,
                    timestamp=self.at.timestamp(), error=error if result is TickStatus.FAILURE else None,
                    selector_id=origin.get_selector().get_id(),
                    run_ids=["run"] if result is TickStatus.SUCCESS else [],
                )
            )  # fmt: skip
        return self.look()

    def look(self, *, expect_daemon: bool = False) -> list[str]:
        note_automation(self.instance, self.database, self.at, expect_daemon=expect_daemon)
        with self.database.outbox(writing=False) as outbox:
            return [f"{each.cause} | {each.text}" for each in outbox.notices(open_only=True)]

    def _origin(self, name: str) -> RemoteInstigatorOrigin:
        return RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository"), name)


@pytest.fixture
def automation(tmp_path: Path) -> Iterator[Automation]:
    database = migrated(tmp_path / "weather.db")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Automation(instance, database)
    database.close()


FAILURE, SUCCESS, SKIPPED = TickStatus.FAILURE, TickStatus.SUCCESS, TickStatus.SKIPPED


def test_a_sensor_of_which_three_ticks_failed_in_a_row_is_a_notice_until_one_succeeds(automation: Automation) -> None:
    assert automation.tick("watcher", FAILURE, FAILURE) == []
    [said] = automation.tick("watcher", FAILURE)
    assert said.startswith("automation failed: watcher | watcher: WeatherError in 3 ticks in a row")
    assert "secret" not in said
    assert len(automation.tick("watcher", FAILURE)) == 1
    assert automation.tick("watcher", SKIPPED) == []
    assert automation.tick("watcher", FAILURE, SUCCESS, FAILURE, FAILURE) == []


def test_a_sensor_that_was_switched_off_or_is_gone_is_no_notice(automation: Automation) -> None:
    assert len(automation.tick("watcher", FAILURE, FAILURE, FAILURE)) == 1
    automation.switched("watcher", InstigatorStatus.STOPPED)
    assert automation.look() == []
    assert len(automation.tick("gone", FAILURE, FAILURE, FAILURE)) == 1
    automation.at += timedelta(hours=2)
    assert automation.look() == []


def test_a_schedule_is_a_notice_after_one_failed_tick(automation: Automation) -> None:
    [said] = automation.tick("daily", FAILURE, kind=InstigatorType.SCHEDULE)
    assert said.startswith("automation failed: daily | daily: WeatherError in its last tick")
    automation.at += timedelta(hours=20)
    assert len(automation.look()) == 1, "its next tick is tomorrow"
    assert automation.tick("daily", SUCCESS, kind=InstigatorType.SCHEDULE) == []


def test_a_silent_daemon_is_a_notice_where_one_is_expected(automation: Automation) -> None:
    assert automation.look() == []
    assert automation.look(expect_daemon=True)[0].startswith("automation failed: the daemon | the daemon: it was never")
    automation.instance.add_daemon_heartbeat(DaemonHeartbeat(NOW.timestamp(), "SENSOR", "1", []))
    automation.at = NOW + timedelta(minutes=4)
    assert automation.look(expect_daemon=True) == []
    automation.at = NOW + timedelta(minutes=6)
    [said] = automation.look(expect_daemon=True)
    assert "its last sign of life was on 2015-06-01 at 02:00 UTC" in said
    assert len(automation.look()) == 1, "a look from inside says nothing of it"
