"""What a whole service of two workers says of itself: metrics that add up, and a prediction log that loses nothing
unsaid when it is ended or killed."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from weather_platform_tests import loopback
from weather_platform_tests.e2e.homes import MadeHome, copied
from weather_platform_tests.serving.homes import eventually
from weather_platform_tests.serving.servers import Server, add_user, running

WORKERS = ("--workers", "2")
SLOW = {"WEATHER_PREDICTION_LOG_INTERVAL_SECONDS": "60", "WEATHER_PREDICTION_LOG_BATCH": "10"}
"""A log that writes ten answers at a time: fewer wait for a minute."""

ASKED = 47


@pytest.fixture
def home(first: MadeHome, tmp_path: Path) -> MadeHome:
    made = copied(first, tmp_path / "home")
    add_user(made, "ada", "predict", "admin")
    return made


def ask(server: Server, times: int) -> set[str]:
    """So many forecasts, each by a connection of its own, so that both workers get some; gives the request ids."""
    ids = set()
    station = loopback.get(f"{server.url}/v1/stations", headers=bearer(server)).json()["stations"][0]["id"]
    body = {"target": "rain_tomorrow", "station": station, "day": "2015-06-30"}
    for _ in range(times):
        answer = loopback.post(f"{server.url}/v1/predict", json=body, headers=bearer(server), timeout=30)
        assert answer.status_code == 200, answer.text
        ids.add(answer.json()["request_id"])
    assert len(ids) == times
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


def test_two_workers_count_together_and_write_everything_when_they_are_ended(home: MadeHome, tmp_path: Path) -> None:
    with running(home, tmp_path, *WORKERS, **SLOW) as server:
        sent = ask(server, ASKED)
        answered = {"route": "/v1/predict", "method": "POST", "status": "200"}
        eventually(lambda: metric(server, "weather_http_requests_total", **answered) == ASKED, "counts of all workers")
        assert {metric(server, "weather_http_requests_total", **answered) for _ in range(6)} == {ASKED}
        assert metric(server, "weather_forecast_probability_count", target="rain_tomorrow") == ASKED
        assert metric(server, "weather_model_info", target="rain_tomorrow", alias="Production") == 1
        waiting = metric(server, "weather_prediction_log_queue_rows")
        assert waiting + metric(server, "weather_prediction_log_written_rows_total") == ASKED
        processes = server.processes()
        assert server.end(signal.SIGTERM) == 0
        assert psutil.wait_procs(processes, timeout=10)[1] == []
    found = list(logged(home))
    assert (len(found), set(found)) == (ASKED, sent)
    with closing(home.database) as database:
        accounts = database.prediction_log_writers()
    assert (sum(each.written for each in accounts), [each.lost for each in accounts]) == (ASKED, [0, 0])


def test_a_kill_of_the_service_loses_only_unwritten_answers_and_the_next_start_says_how_many(
    home: MadeHome, tmp_path: Path
) -> None:
    with running(home, tmp_path, *WORKERS, **SLOW) as server:
        sent = ask(server, ASKED)
        processes = server.processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)
    found = list(logged(home))
    assert set(found) <= sent
    lost = ASKED - len(found)
    assert 0 < lost < 2 * 10, "each worker held back fewer than a batch"
    (tmp_path / "again").mkdir()
    with running(home, tmp_path / "again", *WORKERS, WEATHER_PREDICTION_LOG_INTERVAL_SECONDS="0.1") as server:
        eventually(lambda: metric(server, "weather_prediction_log_lost_rows_total") == lost, "the lost are counted")
        told = [json.loads(line) for line in server.text.splitlines() if "was ended before it could write" in line]
    assert 1 <= len(told) <= 2, "one line for each worker that lost some"
    with closing(home.database) as database:
        dead = [each for each in database.prediction_log_writers() if each.written or each.lost]
    assert sum(each.written + (each.lost or 0) for each in dead) == ASKED
