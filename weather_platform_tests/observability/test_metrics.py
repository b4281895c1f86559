"""Every metric moves when it should and stays when it should not, in one process and added up over several."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Message, Scope

from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.errors import WeatherError
from weather_platform.observability.metrics import NO_ROUTE, MetricsMiddleware, ServingMetrics
from weather_platform_tests.processes import Beside, beside

Reading = dict[str, float]


def read(text: str) -> Reading:
    """Every sample by its name and labels, as they are written."""
    return {
        sample.name + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def reading(metrics: ServingMetrics) -> Reading:
    return read(metrics.exposition().decode())


def moved(before: Reading, after: Reading) -> Reading:
    """What changed, ages apart, and by how much."""
    return {
        name: after.get(name, 0.0) - before.get(name, 0.0)
        for name in sorted(before.keys() | after.keys())
        if after.get(name, 0.0) != before.get(name, 0.0) and "_age_" not in name and "staleness" not in name
    }


@pytest.fixture
def metrics() -> ServingMetrics:
    return ServingMetrics(CollectorRegistry())


@dataclass(frozen=True)
class Model:
    """What the metrics say of a model that serves."""

    target: ForecastTarget = TARGETS["rain_tomorrow"]
    alias: str = "Production"
    version: int = 3
    digest: str = "abc"
    algorithm: str = "xgboost"
    since: datetime = datetime(2015, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """As the store of models tells it."""

    kind: str
    target: str | None = "rain_tomorrow"
    alias: str | None = "Production"


# ------------------------------------------------------------------------------------------------ forecasts and models

OF = ",alias=Production,target=rain_tomorrow"

ACTS: dict[str, tuple[Callable[[ServingMetrics], None], Reading]] = {
    "a refused login": (lambda m: m.auth_refused("expired"), {"weather_auth_failures_total,reason=expired": 1}),
    "an unknown station": (lambda m: m.unknown_station(), {"weather_unknown_stations_total": 1}),
    "missing fields": (
        lambda m: m.missing_fields({"rainfall_mm": 3, "sunshine_h": 3}),
        {"weather_missing_fields_total,field=rainfall_mm": 3, "weather_missing_fields_total,field=sunshine_h": 3},
    ),
    "no missing fields": (lambda m: m.missing_fields({}), {}),
    "a swap": (lambda m: m.store_event(Event("swapped")), {f"weather_model_reloads_total{OF}": 1}),
    "a failed load": (lambda m: m.store_event(Event("load_failed")), {f"weather_model_load_failures_total{OF}": 1}),
    "a state folder that cannot be read": (
        lambda m: m.store_event(Event("load_failed", None, None)),
        {"weather_model_load_failures_total,alias=,target=": 1},
    ),
    "a corrupted artifact": (lambda m: m.store_event(Event("refused")), {f"weather_model_refusals_total{OF}": 1}),
    "an alias that goes": (lambda m: m.store_event(Event("withdrawn")), {}),
    "a registry that goes": (lambda m: m.store_event(Event("stale", None, None)), {"weather_registry_stale": 1}),
    "a registry that is there": (lambda m: m.store_event(Event("fresh", None, None)), {}),
    "refused versions": (
        lambda m: m.serving([], refused=2, registry_lag_seconds=0),
        {"weather_model_refused_versions": 2},
    ),
    "no refused versions": (lambda m: m.serving([], refused=0, registry_lag_seconds=0), {}),
    "a full queue": (lambda m: m.log_depth(7), {"weather_prediction_log_queue_rows": 7}),
    "an empty queue": (lambda m: m.log_depth(0), {}),
    "a written batch": (lambda m: m.log_written(9), {"weather_prediction_log_written_rows_total": 9}),
    "an overflow": (lambda m: m.log_dropped(4), {"weather_prediction_log_dropped_rows_total": 4}),
    "a kill": (lambda m: m.log_lost(5), {"weather_prediction_log_lost_rows_total": 5}),
    "an outage": (lambda m: m.log_write_failed(), {"weather_prediction_log_write_failures_total": 1}),
}


@pytest.mark.parametrize("act", ACTS)
def test_each_thing_that_happens_moves_its_own_metric_and_no_other(metrics: ServingMetrics, act: str) -> None:
    before = reading(metrics)
    does, expected = ACTS[act]
    does(metrics)
    assert moved(before, reading(metrics)) == expected


def test_a_registry_that_comes_back_is_not_stale_any_more(metrics: ServingMetrics) -> None:
    metrics.store_event(Event("stale", None, None))
    metrics.store_event(Event("fresh", None, None))
    assert reading(metrics)["weather_registry_stale"] == 0


def test_forecasts_are_counted_by_target_in_the_cells_of_their_kind(metrics: ServingMetrics) -> None:
    metrics.forecast("rain_tomorrow", "classification", 0.05)
    metrics.forecast("rain_tomorrow", "classification", 0.93)
    metrics.forecast("max_temp_tomorrow", "regression", -21.5)
    metrics.forecast("max_temp_tomorrow", "regression", 31.0)
    found = reading(metrics)
    rain = "weather_forecast_probability_bucket,le={},target=rain_tomorrow"
    assert [found[rain.format(bound)] for bound in ("0.05", "0.9", "0.95", "1.0", "+Inf")] == [1, 1, 2, 2, 2]
    assert found["weather_forecast_probability_sum,target=rain_tomorrow"] == pytest.approx(0.98)
    heat = "weather_forecast_value_bucket,le={},target=max_temp_tomorrow"
    assert [found[heat.format(bound)] for bound in ("-20.0", "30.0", "35.0", "+Inf")] == [1, 1, 2, 2]
    assert "weather_forecast_value_count,target=rain_tomorrow" not in found


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_many_forecasts_are_counted_as_one_by_one(task: Any) -> None:
    rng = np.random.default_rng(1)
    drawn = np.concatenate([rng.normal(20, 300, 500), rng.random(500), [0.05, 0.1, 1.0, 1.5, -20, 5, 1000]])
    one, many, none = (ServingMetrics(CollectorRegistry()) for _ in range(3))
    for value in drawn.tolist():
        one.forecast("t", task, value)
    many.forecasts("t", task, drawn)
    none.forecasts("t", task, drawn[:0])
    assert reading(one).keys() == reading(many).keys()
    assert reading(many) == pytest.approx(reading(one))
    assert {value for name, value in reading(none).items() if name.startswith("weather_forecast")} == {0}


def test_what_serves_is_shown_with_its_age_and_what_serves_no_more_is_not(metrics: ServingMetrics) -> None:
    now = datetime.now(UTC)
    old, other = Model(since=now - timedelta(hours=2)), Model(TARGETS["max_temp_tomorrow"], "shadow", 7, "def")
    metrics.serving([old, other], refused=0, registry_lag_seconds=30)
    found = reading(metrics)
    info = "weather_model_info,algorithm=xgboost,alias={},digest={},target={},version={}"
    assert found[info.format("Production", "abc", "rain_tomorrow", 3)] == 1
    assert found[info.format("shadow", "def", "max_temp_tomorrow", 7)] == 1
    assert found[f"weather_alias_age_seconds{OF}"] == pytest.approx(7200, abs=20)
    assert found["weather_registry_staleness_seconds"] == pytest.approx(30, abs=20)

    metrics.serving([replace(old, version=4, digest="new", since=now)], refused=0, registry_lag_seconds=0)
    found = reading(metrics)
    assert [name for name in found if name.startswith("weather_model_info")] == [
        info.format("Production", "new", "rain_tomorrow", 4)
    ]
    assert found[f"weather_alias_age_seconds{OF}"] == pytest.approx(0, abs=20)
    assert found["weather_registry_staleness_seconds"] == pytest.approx(0, abs=20)
    assert "weather_alias_age_seconds,alias=shadow,target=max_temp_tomorrow" not in found


def test_an_age_grows_although_nobody_says_so(metrics: ServingMetrics) -> None:
    metrics.serving([Model()], refused=0, registry_lag_seconds=0)
    first = reading(metrics)
    time.sleep(0.05)
    second = reading(metrics)
    for name in (f"weather_alias_age_seconds{OF}", "weather_registry_staleness_seconds"):
        assert second[name] >= first[name] + 0.05


def test_nothing_that_never_happened_has_an_age(metrics: ServingMetrics) -> None:
    assert not [name for name in reading(metrics) if "_age_" in name or "staleness" in name or "info" in name]


def test_every_metric_has_the_prefix_a_text_and_the_endings_of_prometheus(metrics: ServingMetrics) -> None:
    metrics.serving([Model()], refused=0, registry_lag_seconds=0)
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    assert len(families) >= 20
    for family in families:
        assert family.name.startswith("weather_")
        assert family.documentation or family.name.endswith("_created"), family.name
        assert not (family.type == "gauge" and family.name.endswith("_total"))


def test_the_description_names_every_metric_that_is_shown_and_no_other(metrics: ServingMetrics) -> None:
    metrics.serving([Model()], refused=0, registry_lag_seconds=0)
    shown = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(metrics.exposition().decode())
        if not family.name.endswith("_created")
    }
    described = list(metrics.described())
    assert {name for name, _, _, _ in described} == shown
    assert all(text for _, _, _, text in described)
    labels = {name: of for name, _, of, _ in described}
    assert labels["weather_http_requests_total"] == ("route", "method", "status")


# ------------------------------------------------------------------------------------------------ requests


def application(metrics: ServingMetrics) -> ASGIApp:
    """A small application: routes, a refusal before the routes, a failure, one that nobody answers."""
    api = FastAPI(openapi_url=None)

    @api.get("/v1/forecast/{station}")
    async def forecast(station: str) -> Response:
        if station == "nowhere":
            raise HTTPException(404)
        if station == "broken":
            raise RuntimeError("broken")
        return PlainTextResponse("rain")

    @api.post("/v1/predict")
    async def predict(request: Request) -> Response:
        return PlainTextResponse(str(reading(metrics)["weather_http_requests_in_flight"]))

    async def guarded(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["query_string"] == b"refused":
            await Response(status_code=401)(scope, receive, send)
        elif scope["type"] != "http" or scope["query_string"] != b"gone":
            await api(scope, receive, send)

    return MetricsMiddleware(guarded, metrics, api.routes)


def asked(app: ASGIApp, path: str, method: str = "GET", query: str = "") -> list[Message]:
    """The answer of the application itself."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "headers": [], "root_path": "", "scheme": "http",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return sent


def requests(found: Reading) -> Reading:
    return {
        name.removeprefix("weather_http_requests_total,"): value
        for name, value in found.items()
        if name.startswith("weather_http_requests_total,")
    }


def test_requests_are_counted_by_route_template_method_and_status(metrics: ServingMetrics) -> None:
    app = application(metrics)
    assert requests(reading(metrics)) == {}
    for station in ("Hobart", "Perth", "nowhere"):
        asked(app, f"/v1/forecast/{station}")
    with pytest.raises(RuntimeError, match="broken"):
        asked(app, "/v1/forecast/broken")
    asked(app, "/v1/forecast/Hobart", query="refused")
    asked(app, "/v1/forecast/Hobart", query="gone")
    asked(app, "/v1/predict")
    asked(app, "/v1/predict", method="BREW")
    asked(app, "/v2/anything")
    asked(app, "/v2/anything/else")
    forecast, predict = "route=/v1/forecast/{station}", "route=/v1/predict"
    assert requests(reading(metrics)) == {
        f"method=GET,{forecast},status=200": 2,
        f"method=GET,{forecast},status=404": 1,
        f"method=GET,{forecast},status=500": 1,
        f"method=GET,{forecast},status=401": 1,
        f"method=GET,{forecast},status=499": 1,
        f"method=GET,{predict},status=405": 1,
        f"method=OTHER,{predict},status=405": 1,
        f"method=GET,route={NO_ROUTE},status=404": 2,
    }


def test_requests_are_timed_and_those_under_way_are_counted_until_they_end(metrics: ServingMetrics) -> None:
    app = application(metrics)
    assert asked(app, "/v1/predict", method="POST")[1]["body"] == b"1.0"
    with pytest.raises(RuntimeError):
        asked(app, "/v1/forecast/broken")
    found = reading(metrics)
    assert found["weather_http_requests_in_flight"] == 0
    timed = "method=POST,route=/v1/predict"
    assert found[f"weather_http_request_duration_seconds_count,{timed}"] == 1
    assert found[f"weather_http_request_duration_seconds_bucket,le=10.0,{timed}"] == 1
    assert 0 < found[f"weather_http_request_duration_seconds_sum,{timed}"] < 10
    metrics.request_started()
    metrics.request_finished("/slow", "GET", 200, 0.004)
    found = reading(metrics)
    cell = "weather_http_request_duration_seconds_bucket,le={},method=GET,route=/slow"
    assert [found[cell.format(bound)] for bound in ("0.003", "0.005", "+Inf")] == [0, 1, 1]


def test_what_is_no_request_is_passed_on_and_not_counted(metrics: ServingMetrics) -> None:
    kinds = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        kinds.append(scope["type"])

    asyncio.run(MetricsMiddleware(app, metrics)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert (kinds, requests(reading(metrics))) == (["lifespan"], {})


# ------------------------------------------------------------------------------------------------ processes


def share(pipe: Connection, folder: Path, service: str) -> None:
    """Share metrics with the other workers of a service, and evaluate what is asked."""
    metrics = ServingMetrics.shared(folder, service)
    names = {"metrics": metrics, "Event": Event, "Model": Model, "reading": reading}
    pipe.send("ready")
    while True:
        pipe.send(eval(pipe.recv(), names))  # noqa: S307


@contextmanager
def worker(folder: Path, service: str = "1") -> Iterator[Beside]:
    """A process that shares its metrics, and does what it is told."""
    with beside(share, folder, service) as process:
        assert process.hear() == "ready"
        yield process


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Beside, Beside]]:
    with worker(tmp_path / "metrics") as first, worker(tmp_path / "metrics") as second:
        yield first, second


def test_the_metrics_of_two_workers_add_up_whichever_is_asked(workers: tuple[Beside, Beside]) -> None:
    first, second = workers
    now = datetime.now(UTC).timestamp()
    for each, count, hours in ((first, 2, 3), (second, 3, 1)):
        for _ in range(count):
            each.ask("metrics.request_started()")
            each.ask("metrics.request_finished('/v1/predict', 'POST', 200, 0.004)")
        each.ask("metrics.request_started()")
        each.ask("metrics.forecast('rain_tomorrow', 'classification', 0.5)")
        each.ask(f"metrics.log_depth({count})")
        each.ask(f"metrics.log_written({10 * count})")
        each.ask("metrics.auth_refused('expired')")
        since = f"__import__('datetime').datetime.fromtimestamp({now - 3600 * hours}, __import__('datetime').UTC)"
        each.ask(f"metrics.serving([Model(since={since})], refused=1, registry_lag_seconds={10 * count})")
    for each in workers:
        each.ask("metrics.flush()")
    one, other = first.ask("reading(metrics)"), second.ask("reading(metrics)")
    assert moved(one, other) == {}
    assert one["weather_http_requests_total,method=POST,route=/v1/predict,status=200"] == 5
    assert one["weather_http_request_duration_seconds_count,method=POST,route=/v1/predict"] == 5
    assert one["weather_http_request_duration_seconds_bucket,le=0.005,method=POST,route=/v1/predict"] == 5
    assert one["weather_http_request_duration_seconds_bucket,le=0.003,method=POST,route=/v1/predict"] == 0
    assert one["weather_forecast_probability_count,target=rain_tomorrow"] == 2
    assert one["weather_http_requests_in_flight"] == 2
    assert one["weather_prediction_log_queue_rows"] == 5
    assert one["weather_prediction_log_written_rows_total"] == 50
    assert one["weather_auth_failures_total,reason=expired"] == 2
    assert [value for name, value in one.items() if name.startswith("weather_model_info")] == [1]
    assert one["weather_model_refused_versions"] == 1
    assert one[f"weather_alias_age_seconds{OF}"] == pytest.approx(3 * 3600, abs=60)
    assert one["weather_registry_staleness_seconds"] == pytest.approx(30, abs=9)


def test_what_one_worker_counts_reaches_the_others_by_itself(workers: tuple[Beside, Beside]) -> None:
    first, second = workers
    assert requests(second.ask("reading(metrics)")) == {}
    first.ask("metrics.request_started()")
    first.ask("metrics.request_finished('/v1/predict', 'POST', 200, 0.004)")
    deadline = time.monotonic() + 20
    while requests(second.ask("reading(metrics)")) != {"method=POST,route=/v1/predict,status=200": 1}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_worker_serves_reaches_the_others_without_anything_asked_of_it(workers: tuple[Beside, Beside]) -> None:
    for each in workers:
        each.ask("metrics.serving([Model(version=3)], refused=1, registry_lag_seconds=0)")
    told = "metrics.serving([Model(version=4)], refused=0, registry_lag_seconds=0)"
    for each in workers:
        each.ask(f"metrics.follow(lambda: {told})")
    deadline = time.monotonic() + 20
    while (found := workers[1].ask("reading(metrics)"))["weather_model_refused_versions"] != 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [name[-9:] for name in found if name.startswith("weather_model_info")] == ["version=4"]


def test_nothing_that_several_threads_count_at_once_is_missed_or_counted_twice(metrics: ServingMetrics) -> None:
    def count() -> None:
        for _ in range(2_000):
            metrics.request_started()
            metrics.request_finished("/v1/predict", "POST", 200, 0.004)
            metrics.forecast("rain_tomorrow", "classification", 0.5)
            metrics.missing_fields({"sunshine_h": 1})

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.flush()
    found = reading(metrics)
    assert found["weather_http_requests_total,method=POST,route=/v1/predict,status=200"] == 8_000
    assert found["weather_http_request_duration_seconds_count,method=POST,route=/v1/predict"] == 8_000
    assert found["weather_forecast_probability_count,target=rain_tomorrow"] == 8_000
    assert found["weather_missing_fields_total,field=sunshine_h"] == 8_000
    assert found["weather_http_requests_in_flight"] == 0


def test_two_workers_that_serve_different_versions_show_both(workers: tuple[Beside, Beside]) -> None:
    for each, version in zip(workers, (3, 4), strict=True):
        each.ask(f"metrics.serving([Model(version={version})], refused=0, registry_lag_seconds=0)")
    shown = sorted(name for name in workers[0].ask("reading(metrics)") if name.startswith("weather_model_info"))
    assert [name[-9:] for name in shown] == ["version=3", "version=4"]


def test_a_worker_that_is_killed_leaves_its_counts_and_takes_its_gauges(workers: tuple[Beside, Beside]) -> None:
    first, second = workers
    for each in workers:
        each.ask("metrics.request_started()")
        each.ask("metrics.log_depth(5)")
        each.ask("metrics.log_written(10)")
        each.ask("metrics.serving([Model(version=3)], refused=0, registry_lag_seconds=0)")
    second.ask("metrics.serving([Model(version=4)], refused=2, registry_lag_seconds=0)")
    second.ask("metrics.flush()")
    assert first.ask("reading(metrics)")["weather_http_requests_in_flight"] == 2
    second.kill()
    found = first.ask("reading(metrics)")
    assert found["weather_prediction_log_written_rows_total"] == 20
    assert found["weather_http_requests_in_flight"] == 1
    assert found["weather_prediction_log_queue_rows"] == 5
    assert found["weather_model_refused_versions"] == 0
    assert len([name for name in found if name.startswith("weather_model_info")]) == 1


def test_a_worker_that_comes_later_finds_the_counts_of_those_that_live(tmp_path: Path) -> None:
    with worker(tmp_path) as first:
        first.ask("metrics.log_written(10)")
        with worker(tmp_path) as second:
            assert second.ask("reading(metrics)")["weather_prediction_log_written_rows_total"] == 10


def test_a_service_that_starts_anew_begins_at_nothing(tmp_path: Path) -> None:
    with worker(tmp_path) as first:
        first.ask("metrics.log_written(10)")
        first.ask("metrics.auth_refused('expired')")
    with worker(tmp_path) as second:
        found = second.ask("reading(metrics)")
        assert found["weather_prediction_log_written_rows_total"] == 0
        assert "weather_auth_failures_total,reason=expired" not in found
    assert len(list(tmp_path.glob("1/*.db"))) <= 5, "the files of one process"


def test_two_services_of_one_folder_count_apart_and_leave_nothing_to_the_next(tmp_path: Path) -> None:
    with worker(tmp_path, "1") as first:
        first.ask("metrics.log_written(10)")
        with worker(tmp_path, "2") as second:
            second.ask("metrics.log_written(3)")
            for each, written in ((first, 10), (second, 3)):
                assert each.ask("reading(metrics)")["weather_prediction_log_written_rows_total"] == written
        with worker(tmp_path, "3"):
            assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3", "lock"]
        assert first.ask("reading(metrics)")["weather_prediction_log_written_rows_total"] == 10


def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeatherError, match=r"metrics cannot be kept in .*; make it a folder"):
        ServingMetrics.shared(tmp_path / "file", "1")
