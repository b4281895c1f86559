"""Prometheus metrics of the service, added up over its worker processes.

What belongs here: every metric that the service has, with its name, labels and meaning; the folder through which the
workers share them; the middleware that counts requests. What does not: deciding what happened (`serving`).

Each worker writes its numbers to files of its own in the folder of its service (prometheus_client's multiprocess mode),
and the worker that is asked for the metrics adds up the files of all. Counters and histograms of a worker that died
stay, so that no sum goes down; its gauges go. When no worker of a service is left, the next one of any service takes
its folder away. A worker holds a lock on a file as long as it lives: process ids come again, locks do not.

What every request counts is counted in memory, which takes a third of the time of the files, and brought to them four
times a second, together with what serves.
"""

import fcntl
import os
import shutil
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weather_platform.errors import WeatherError

REQUEST_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 21))
VALUES = (*range(-20, 55, 5), 75, 100, 150, 250, 500, 1000)
"""Bounds of the distribution of forecast quantities, in the unit of the target."""

NO_ROUTE = "unmatched"
"""The route of a request for a path that does not exist."""

CLIENT_GONE = 499
"""The status of a request whose client left before it was answered."""

_FLUSH_SECONDS = 0.25
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_SINCE = {
    "weather_alias_since_timestamp_seconds": (
        "weather_alias_age_seconds",
        "Seconds since the version that an alias serves began to serve.",
    ),
    "weather_registry_checked_timestamp_seconds": (
        "weather_registry_staleness_seconds",
        "Seconds since the model registry last answered.",
    ),
}
"""Kept as moments, told as ages: an age that nobody refreshes would stand still just when it matters."""


class _Target(Protocol):
    @property
    def name(self) -> str: ...


class _Model(Protocol):
    """What the metrics say of a model that serves."""

    @property
    def target(self) -> _Target: ...
    @property
    def alias(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def since(self) -> datetime: ...


class _Event(Protocol):
    """What happened to a model: see `serving.model_store.StoreEvent`."""

    @property
    def kind(self) -> str: ...
    @property
    def target(self) -> str | None: ...
    @property
    def alias(self) -> str | None: ...


class ServingMetrics:
    """All metrics of the service; every method may be called from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Of this process alone. The workers of a service use `shared`."""
        self._source = _Source(registry, None)
        self._requests = Counter(
            "weather_http_requests_total",
            "Requests that were answered, by route template; status 499: the client left first.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "weather_http_request_duration_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["route", "method"],
            buckets=REQUEST_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "weather_http_requests_in_flight",
            "Requests that are being answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._probabilities = Histogram(
            "weather_forecast_probability",
            "Forecast probabilities of targets that are a yes or no.",
            ["target"],
            buckets=PROBABILITIES,
            registry=registry,
        )
        self._values = Histogram(
            "weather_forecast_value",
            "Forecast values of targets that are a quantity, in the unit of the target.",
            ["target"],
            buckets=VALUES,
            registry=registry,
        )
        self._model_info = Gauge(
            "weather_model_info",
            "1 for every version that an alias serves in some worker.",
            ["target", "alias", "version", "digest", "algorithm"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._alias_since = Gauge(
            "weather_alias_since_timestamp_seconds",
            "",
            ["target", "alias"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._registry_checked = Gauge(
            "weather_registry_checked_timestamp_seconds", "", multiprocess_mode="livemin", registry=registry
        )
        self._registry_stale = Gauge(
            "weather_registry_stale",
            "1 while the model registry is out of reach, or nobody follows it.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._reloads = Counter(
            "weather_model_reloads_total",
            "Versions that a worker began to serve; each worker counts.",
            ["target", "alias"],
            registry=registry,
        )
        self._load_failures = Counter(
            "weather_model_load_failures_total",
            "Versions that a worker could not load, while the one before serves on; each worker counts.",
            ["target", "alias"],
            registry=registry,
        )
        self._refusals = Counter(
            "weather_model_refusals_total",
            "Versions that were not let serve, as their files are corrupted or unfit; each worker counts.",
            ["target", "alias"],
            registry=registry,
        )
        self._refused = Gauge(
            "weather_model_refused_versions",
            "Versions that an alias names now and that may not serve, as their files are corrupted or unfit.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._unknown_stations = Counter(
            "weather_unknown_stations_total", "Requests for a station that is not in the catalogue.", registry=registry
        )
        self._missing_fields = Counter(
            "weather_missing_fields_total",
            "Observed fields that were missing in a forecast station-day.",
            ["field"],
            registry=registry,
        )
        self._auth_failures = Counter(
            "weather_auth_failures_total", "Requests that were refused before a route.", ["reason"], registry=registry
        )
        self._log_queue = Gauge(
            "weather_prediction_log_queue_rows",
            "Answers that wait for the prediction log.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._log_written = Counter(
            "weather_prediction_log_written_rows_total", "Answers in the prediction log.", registry=registry
        )
        self._log_dropped = Counter(
            "weather_prediction_log_dropped_rows_total",
            "Answers that found no room in the queue of the prediction log, or that the database refused.",
            registry=registry,
        )
        self._log_lost = Counter(
            "weather_prediction_log_lost_rows_total",
            "Answers of processes that were killed before they wrote them.",
            registry=registry,
        )
        self._log_failures = Counter(
            "weather_prediction_log_write_failures_total",
            "Attempts to write the prediction log that failed and are repeated.",
            registry=registry,
        )
        self._flushing = threading.Lock()
        self._counting = threading.Lock()  # of what follows, which `flush` brings to the metrics
        self._running = 0
        self._counted: dict[Counter, defaultdict[tuple[str, ...], int]] = {
            counter: defaultdict(int) for counter in (self._requests, self._missing_fields)
        }
        self._observed: dict[Histogram, defaultdict[tuple[str, ...], _Observed]] = {
            histogram: defaultdict(partial(_Observed, bounds))
            for histogram, bounds in (
                (self._request_seconds, REQUEST_SECONDS),
                (self._probabilities, PROBABILITIES),
                (self._values, VALUES),
            )
        }
        self._request_counts = self._counted[self._requests]
        self._request_times = self._observed[self._request_seconds]
        self._tell: Callable[[], None] | None = None
        self._shown_models: set[tuple[str, ...]] = set()
        self._shown_aliases: set[tuple[str, str]] = set()

    @classmethod
    def shared(cls, folder: Path, service: str) -> Self:
        """Of all workers of one of the services that keep their metrics in this folder; for the life of the process.

        Call it before anything else of the process makes a metric. WeatherError if the folder cannot be used.
        """
        share = _Share(folder, service)
        # prometheus_client knows no other way to say where the files lie, and reads it when a metric is made.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(share.folder)
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        metrics = cls(CollectorRegistry())
        metrics._source = _Source(CollectorRegistry(), share)
        threading.Thread(target=metrics._flush_for_ever, name="metrics", daemon=True).start()
        return metrics

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them. Reads files: not for the event loop."""
        self.flush()
        registry = CollectorRegistry()
        registry.register(self._source)
        return generate_latest(registry)

    def described(self) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
        """Name, type, labels and meaning of every metric, as `exposition` shows them."""
        for metric in vars(self).values():
            if isinstance(metric, MetricWrapperBase):
                name, text = _SINCE.get(metric._name, (metric._name, metric._documentation))
                ending = "_total" if metric._type == "counter" else ""
                yield name + ending, str(metric._type), tuple(metric._labelnames), text

    def follow(self, tell: Callable[[], None]) -> None:
        """Have `tell` say what this worker serves (`serving`), before every flush from now on."""
        self._tell = tell

    def flush(self) -> None:
        """Bring what was counted in memory to where the other workers see it."""
        with self._flushing:
            if self._tell is not None:
                self._tell()
            with self._counting:
                running = self._running
                counted = [
                    (counter, labels, count) for counter, of in self._counted.items() for labels, count in of.items()
                ]
                observed = [
                    (histogram, labels, each.cells, each.total)
                    for histogram, of in self._observed.items()
                    for labels, each in of.items()
                ]
                for of in self._counted.values():
                    of.clear()
                for seen in self._observed.values():
                    seen.clear()
            self._in_flight.set(running)
            for counter, labels, count in counted:
                counter.labels(*labels).inc(count)
            for histogram, labels, cells, total in observed:
                # prometheus_client observes one number at a time: its cells are added to instead.
                child = histogram.labels(*labels)
                for cell, count in zip(child._buckets, cells, strict=True):
                    if count:
                        cell.inc(count)
                child._sum.inc(total)

    def _flush_for_ever(self) -> None:
        while True:
            time.sleep(_FLUSH_SECONDS)
            self.flush()

    # ------------------------------------------------------------------------------------------------ requests

    def request_started(self) -> None:
        """A request has come in."""
        with self._counting:
            self._running += 1

    def request_finished(self, route: str, method: str, status: int, seconds: float) -> None:
        """It was answered; `route` is a template, never the path that was asked for."""
        with self._counting:
            self._running -= 1
            self._request_counts[route, method, str(status)] += 1
            self._request_times[route, method].add(seconds)

    def auth_refused(self, reason: str) -> None:
        """A request or a login was refused; the reason is one of a few words."""
        self._auth_failures.labels(reason).inc()

    # ----------------------------------------------------------------------------------------------- forecasts

    def forecast(self, target: str, task: Literal["classification", "regression"], value: float) -> None:
        """A probability or a value was answered."""
        with self._counting:
            self._observed[self._of_task(task)][target,].add(value)

    def forecasts(
        self, target: str, task: Literal["classification", "regression"], forecast: NDArray[np.floating]
    ) -> None:
        """The same of many at once."""
        histogram = self._of_task(task)
        bounds = PROBABILITIES if task == "classification" else VALUES
        cells = np.bincount(np.searchsorted(bounds, forecast, side="left"), minlength=len(bounds) + 1)
        total = float(np.sum(forecast, dtype=np.float64))
        with self._counting:
            self._observed[histogram][target,].add_cells(cells.tolist(), total)

    def _of_task(self, task: Literal["classification", "regression"]) -> Histogram:
        return self._probabilities if task == "classification" else self._values

    def unknown_station(self) -> None:
        """A station was asked for that is not in the catalogue."""
        self._unknown_stations.inc()

    def missing_fields(self, rows: Mapping[str, int]) -> None:
        """In so many station-days these fields of the contract were neither sent nor stored."""
        counted = self._counted[self._missing_fields]
        with self._counting:
            for name, missing in rows.items():
                counted[name,] += missing

    # -------------------------------------------------------------------------------------------------- models

    def store_event(self, event: _Event) -> None:
        """Something happened to a model, or to the registry."""
        of = event.target or "", event.alias or ""
        if event.kind == "swapped":
            self._reloads.labels(*of).inc()
        elif event.kind == "load_failed":
            self._load_failures.labels(*of).inc()
        elif event.kind == "refused":
            self._refusals.labels(*of).inc()
        elif event.kind in ("stale", "fresh"):
            self._registry_stale.set(event.kind == "stale")

    def serving(self, models: Iterable[_Model], *, refused: int, registry_lag_seconds: float) -> None:
        """What this worker serves now, how many versions are refused, and for how long the registry was not heard."""
        shown: set[tuple[str, ...]] = set()
        since: dict[tuple[str, str], float] = {}
        for model in models:
            of = model.target.name, model.alias
            shown.add((*of, str(model.version), model.digest, model.algorithm))
            since[of] = model.since.timestamp()
        for gone in self._shown_models - shown:
            self._model_info.labels(*gone).set(0)
        for labels in shown:
            self._model_info.labels(*labels).set(1)
        for of in self._shown_aliases - since.keys():
            self._alias_since.labels(*of).set(0)
        for of, moment in since.items():
            self._alias_since.labels(*of).set(moment)
        self._shown_models, self._shown_aliases = shown, set(since)
        self._refused.set(refused)
        self._registry_checked.set(time.time() - registry_lag_seconds)

    # ------------------------------------------------------------------- serving.prediction_log.LogListener

    def log_depth(self, rows: int) -> None:
        """So many answers wait for the prediction log."""
        self._log_queue.set(rows)

    def log_written(self, rows: int) -> None:
        """So many more are in the database."""
        self._log_written.inc(rows)

    def log_dropped(self, rows: int) -> None:
        """So many more will never be."""
        self._log_dropped.inc(rows)

    def log_lost(self, rows: int) -> None:
        """So many of an earlier process were never written."""
        self._log_lost.inc(rows)

    def log_write_failed(self) -> None:
        """The database could not be written; it is tried again."""
        self._log_failures.inc()


class _Observed:
    """A histogram in the making."""

    __slots__ = ("_bounds", "cells", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.cells = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, number: float) -> None:
        self.cells[bisect_left(self._bounds, number)] += 1  # a bound belongs to the cell below it
        self.total += number

    def add_cells(self, cells: Sequence[int], total: float) -> None:
        self.cells = [mine + more for mine, more in zip(self.cells, cells, strict=True)]
        self.total += total


class MetricsMiddleware:
    """Counts and times every request of the application inside; pure ASGI.

    The route is the one that the application chose; among `routes` when it refused before it chose.
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, routes: Sequence[BaseRoute] = ()) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = [route for route in routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note its route, status and duration when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.request_started()
        begun = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = status or 500  # the server answers it
            raise
        finally:
            seconds = time.perf_counter() - begun
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = getattr(scope.get("route"), "path", None) or self._route_of(scope["path"])
            self._metrics.request_finished(route, method, status or CLIENT_GONE, seconds)

    def _route_of(self, path: str) -> str:
        return next((route.path for route in self._routes if route.path_regex.match(path)), NO_ROUTE)


class _Share:
    """The folder of the files of a service's workers: who lives, and what of the dead is left."""

    def __init__(self, folder: Path, service: str) -> None:
        """Take part, and take away what services that are no more have left."""
        self.folder = folder / service
        self._lock = folder / "lock"
        self._own = self.folder / f"{os.getpid()}.alive"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                for each in filter(Path.is_dir, folder.iterdir()):
                    if not self._bury(each):
                        shutil.rmtree(each)
                self.folder.mkdir(exist_ok=True)
                # Kept open: the lock falls with the process.
                self._handle = os.open(self._own, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WeatherError(
                f"the metrics cannot be kept in {folder}: {error.strerror}; "
                "make it a folder in which the service may write"
            ) from None

    def collect(self) -> Iterable[Metric]:
        """The metrics of all workers, added up."""
        with self._alone():
            self._bury(self.folder)
        files = multiprocess.MultiProcessCollector(None, str(self.folder))  # type: ignore[no-untyped-call]
        found: Iterable[Metric] = files.collect()  # type: ignore[no-untyped-call]
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _bury(self, folder: Path) -> int:
        """Take away the gauges of workers that are no more; gives how many others live."""
        living = 0
        for path in folder.glob("*.alive"):
            if path == self._own and hasattr(self, "_handle"):
                continue
            handle = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                living += 1
                continue
            finally:
                os.close(handle)
            multiprocess.mark_process_dead(path.stem, str(folder))  # type: ignore[no-untyped-call]
            path.unlink()
        return living


class _Source:
    """What `exposition` shows: moments as ages, and nothing of models that serve no more."""

    def __init__(self, registry: CollectorRegistry, share: _Share | None) -> None:
        self._registry = registry
        self._share = share

    def collect(self) -> Iterator[Metric]:
        """The metrics of this process, or of all that share the folder."""
        now = time.time()
        for metric in self._registry.collect() if self._share is None else self._share.collect():
            if metric.name in _SINCE:
                name, text = _SINCE[metric.name]
                age = Metric(name, text, "gauge")
                for sample in metric.samples:
                    if sample.value:
                        age.add_sample(name, sample.labels, max(0.0, now - sample.value))
                yield age
                continue
            if metric.name == "weather_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            elif metric.type == "histogram":
                metric.samples.sort(key=_in_order)
            yield metric


def _in_order(sample: Sample) -> tuple[object, ...]:
    """The order of Prometheus' text format within a histogram, which the sums of several files do not keep."""
    labels = tuple(sorted(label for label in sample.labels.items() if label[0] != "le"))
    return labels, float(sample.labels.get("le", "inf")), sample.name  # .._bucket comes before .._count and .._sum
