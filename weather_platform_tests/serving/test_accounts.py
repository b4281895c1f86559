"""What a whole service of two workers says of itself: metrics that add up, and a prediction log that loses nothing
unsaid when its workers are ended or killed."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from weather_platform.serving.follower import Follower
from weather_platform.serving.state import StateFolder
from weather_platform_tests import loopback
from weather_platform_tests.e2e.homes import MadeHome, copied
from weather_platform_tests.serving.homes import eventually
from weather_platform_tests.serving.servers import (
    PASSWORD,
    READY_SECONDS,
    Server,
    add_user,
    is_ready,
    one_worker,
    running,
)

WORKERS = ("--workers", "2")
BATCH = 10
SLOW = {"WEATHER_PREDICTION_LOG_INTERVAL_SECONDS": "60", "WEATHER_PREDICTION_LOG_BATCH": str(BATCH)}
"""A log that writes ten answers at a time: fewer wait for a minute."""

ASKED = 47


@dataclass(frozen=True)
class Killed:
    """Two workers that were killed: their home, what they had answered, and what of that is in the prediction log."""

    home: MadeHome
    sent: set[str]
    found: list[str]

    @property
    def lost(self) -> int:
        return len(self.sent) - len(self.found)


@pytest.fixture(scope="module")
def killed(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    home = copied(first, folder / "home")
    add_user(home, "ada", "predict", "admin")
    with closing(home.database) as database:
        database.migrate()
    follower = Follower.from_settings(home.settings, StateFolder(home.folder))
    follower.mend()
    follower.poll()
    with one_worker(home, folder, **SLOW) as one, one_worker(home, folder, **SLOW) as other:
        sent = ask(one, other)
        eventually(lambda: len(list(logged(home))) > ASKED - 2 * BATCH, "whole batches, written beside the answers")
    return Killed(home, sent, list(logged(home)))


@pytest.fixture(scope="module")
def again(killed: Killed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The next service of that home."""
    with running(killed.home, tmp_path_factory.mktemp("again"), *WORKERS, **SLOW) as server:
        eventually(
            lambda: [keeps_counts(worker) for worker in server.workers()] == [True] * 2, "workers", READY_SECONDS
        )
        server.wait_until_ready()  # of both, now that the second is there
        yield server


def keeps_counts(worker: psutil.Process) -> bool:
    """Whether a worker has begun: it holds the file of its counts open."""
    return any(file.path.endswith(".counts") for file in worker.open_files())


def ask(*urls: str) -> set[str]:
    """ASKED forecasts of them in turn, each by a connection of its own, so that all workers get some; their ids."""
    ids = set()
    eventually(lambda: all(is_ready(url) for url in urls), "the models", READY_SECONDS)
    login = {"username": "ada", "password": PASSWORD}
    token = loopback.post(f"{urls[0]}/v1/token", json=login, timeout=30).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    station = loopback.get(f"{urls[0]}/v1/stations", headers=headers).json()["stations"][0]["id"]
    body = {"target": "rain_tomorrow", "station": station, "day": "2015-06-30"}
    for number in range(ASKED):
        url = urls[number % len(urls)]
        answer = loopback.post(f"{url}/v1/predict", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        ids.add(answer.json()["request_id"])
    assert len(ids) == ASKED
    return ids


def bearer(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token()}"}


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of the samples of that name; whichever worker is asked."""
    text = loopback.get(f"{server.url}/metrics", headers=bearer(server), timeout=30).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def logged(home: MadeHome) -> Iterator[str]:
    """The request ids in the prediction log."""
    with closing(home.database) as database:
        yield from (row.request_id for row in database.predictions())


def test_a_kill_loses_only_unwritten_answers(killed: Killed) -> None:
    assert set(killed.found) <= killed.sent
    assert 0 < killed.lost < 2 * BATCH, "each worker held back fewer than a batch"


def test_the_next_service_says_what_was_lost_counts_its_own_and_writes_everything_when_it_is_ended(
    killed: Killed, again: Server
) -> None:
    sent = ask(again.url)
    answered = {"route": "/v1/predict", "method": "POST", "status": "200"}
    eventually(lambda: metric(again, "weather_http_requests_total", **answered) == ASKED, "counts of all workers")
    assert {metric(again, "weather_http_requests_total", **answered) for _ in range(6)} == {ASKED}
    assert metric(again, "weather_forecast_probability_count", target="rain_tomorrow") == ASKED
    assert metric(again, "weather_model_info", target="rain_tomorrow", alias="Production") == 1
    waiting = metric(again, "weather_prediction_log_queue_rows")
    assert waiting + metric(again, "weather_prediction_log_written_rows_total") == ASKED
    eventually(lambda: metric(again, "weather_prediction_log_lost_rows_total") == killed.lost, "the lost are counted")
    told = [json.loads(line) for line in again.text.splitlines() if "was ended before it could write" in line]
    assert 1 <= len(told) <= 2, "one line for each worker that lost some"

    own = {worker.pid for worker in again.workers()}
    processes = again.processes()
    assert again.end(signal.SIGTERM) == 0
    assert psutil.wait_procs(processes, timeout=10)[1] == []
    found = list(logged(killed.home))
    assert (len(found), set(found)) == (len(killed.found) + ASKED, {*killed.found, *sent})
    with closing(killed.home.database) as database:
        accounts = database.prediction_log_writers()
    ended = [each for each in accounts if each.process_id in own]
    dead = [each for each in accounts if each.process_id not in own and (each.written or each.lost)]
    assert (sum(each.written for each in ended), [each.lost for each in ended]) == (ASKED, [0, 0])
    assert sum(each.written + (each.lost or 0) for each in dead) == ASKED
    assert sum(each.lost or 0 for each in dead) == killed.lost
