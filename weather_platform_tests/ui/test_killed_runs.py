"""A run whose process is killed, with the real code server and the real daemon of `weather ui --automation`."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import dagster as dg
import httpx
import psutil
import pytest

from weather_platform_tests.e2e.homes import MadeHome, copied, shared_home
from weather_platform_tests.ui.test_user_interfaces import LAUNCH, Interfaces, running

Found = TypeVar("Found")
PATIENCE_SECONDS = 400
MONTH = "2015-05"


def launch(interfaces: Interfaces) -> str:
    """Ask for one month of `ingest`, as a person does in the UI; the id of the run."""
    selector = {
        "repositoryLocationName": "weather_platform", "repositoryName": "__repository__", "jobName": "ingest",
    }  # fmt: skip
    execution: dict[str, Any] = {
        "selector": selector,
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": MONTH}]},
    }
    answer = httpx.post(
        f"http://{interfaces.dagster}/graphql",
        json={"query": LAUNCH, "variables": {"execution": execution}}, timeout=60,
    )  # fmt: skip
    launched = answer.raise_for_status().json()["data"]["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", json.dumps(launched)
    run_id: str = launched["run"]["runId"]
    return run_id


def wait_for(look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.1)
    return found


def process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process that the code server started for a run."""
    for entry in instance.all_logs(run_id, dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is not None and "Started process for run" in (event.message or ""):
            return int(str(event.engine_event_data.metadata["pid"].value))
    return None


def kill(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    """Kill the process of a run; the run when it has ended."""
    os.kill(wait_for(lambda: process_of(instance, run_id)), signal.SIGKILL)
    return wait_for(lambda: ended(instance, run_id))


def ended(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    run = instance.get_run_by_id(run_id)
    if run is None or not run.is_finished:
        return None
    # Whether it is tried again is written a moment after its end.
    decided = run.status is not dg.DagsterRunStatus.FAILURE or "dagster/will_retry" in run.tags
    return run if decided else None


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def again(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id})))


def notices(home: MadeHome) -> list[tuple[str, tuple[str, ...], bool]]:
    with home.database.outbox(writing=False) as outbox:
        return [(each.cause, each.items, each.resolved_at is None) for each in outbox.notices(open_only=False)]


def failures(home: MadeHome) -> list[tuple[str, tuple[str, ...], bool]]:
    return [each for each in notices(home) if each[0].startswith("run failed")]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return copied(shared_home(tmp_path_factory), tmp_path_factory.mktemp("killed_run") / "home")


def test_a_killed_run_is_asked_for_once_more_and_after_a_second_kill_a_person_hears(home: MadeHome) -> None:
    with running(home, "--automation") as interfaces, home.dagster() as instance:
        first = kill(instance, launch(interfaces))
        assert (first.status, first.tags["dagster/will_retry"]) == (dg.DagsterRunStatus.FAILURE, "true")
        [second] = wait_for(lambda: again(instance, first.run_id) or None)
        assert (second.job_name, second.tags["dagster/partition"]) == ("ingest", MONTH)
        assert failures(home) == [], "it is tried again, so people need not know"
        last = kill(instance, second.run_id)
        assert (last.status, last.tags["dagster/will_retry"]) == (dg.DagsterRunStatus.FAILURE, "false")
        [(cause, items, is_open)] = wait_for(lambda: failures(home) or None)
        assert (items, is_open) == ((MONTH,), True)
        assert cause.startswith("run failed in no step: ingest")
        assert again(instance, last.run_id) == [], "there is a bound"


def test_a_killed_run_that_succeeds_the_second_time_is_no_notice(home: MadeHome) -> None:
    with running(home, "--automation") as interfaces, home.dagster() as instance:
        first = kill(instance, launch(interfaces))
        [second] = wait_for(lambda: again(instance, first.run_id) or None)
        assert wait_for(lambda: ended(instance, second.run_id)).status is dg.DagsterRunStatus.SUCCESS
        assert failures(home) == []


def test_a_run_that_was_killed_with_all_servers_is_ended_by_the_next_start_and_asked_for_once_more(
    home: MadeHome,
) -> None:
    with running(home, "--automation") as interfaces, home.dagster() as instance:
        first = launch(interfaces)
        process = wait_for(lambda: process_of(instance, first))
        servers = psutil.Process(interfaces.process.pid)
        killed = [*servers.children(recursive=True), servers, psutil.Process(process)]
        for each in killed:  # as when the power goes: the run too, so that no server of it sees its end
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        for each in killed:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        wait_for(lambda: has_ended(process) or None)
        left = instance.get_run_by_id(first)
        assert left is not None
        assert not left.is_finished
    with running(home, "--automation"), home.dagster() as instance:
        assert wait_for(lambda: ended(instance, first)).status is dg.DagsterRunStatus.FAILURE
        [second] = wait_for(lambda: again(instance, first) or None)
        assert wait_for(lambda: ended(instance, second.run_id)).status is dg.DagsterRunStatus.SUCCESS
