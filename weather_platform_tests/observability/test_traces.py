"""Spans of requests as a real receiver of OTLP gets them, and that nothing of it is there when none is configured."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.types import ASGIApp, Receive, Scope, Send

from weather_platform.observability.logs import RequestIdMiddleware, configure_logging
from weather_platform.observability.traces import Tracing
from weather_platform_tests import loopback
from weather_platform_tests.small_server import SmallServer, small_server

_logger = logging.getLogger("weather_platform.small")

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def application() -> ASGIApp:
    """Traced when the environment says so; the middlewares in the order of the service."""
    configure_logging("json", "INFO")
    api = FastAPI(openapi_url=None)

    @api.get("/v1/forecast/{station}")
    async def forecast(station: str) -> Response:
        _logger.info("asked for %s", station)
        if station == "broken":
            raise RuntimeError("broken")
        return PlainTextResponse("rain")

    tracing = Tracing.from_environment()

    async def until_the_end(scope: Scope, receive: Receive, send: Send) -> None:
        await api(scope, receive, send)
        if scope["type"] == "lifespan" and tracing is not None:
            tracing.close()

    return RequestIdMiddleware(until_the_end if tracing is None else tracing.middleware(until_the_end))


@dataclass
class Receiver:
    """What came in: the spans, and the path and headers of each message."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    messages: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def waited_for(self, count: int) -> list[Span]:
        """The first spans, in the order of their start."""
        deadline = time.monotonic() + 20
        while len(self.spans) < count:
            assert time.monotonic() < deadline, f"{len(self.spans)} of {count} spans came"
            time.sleep(0.02)
        return sorted(self.spans, key=lambda span: span.start_time_unix_nano)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver of OTLP over HTTP."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest.FromString(body)
            receiver.messages.append((self.path, dict(self.headers)))
            for of_resource in request.resource_spans:
                told = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
                receiver.services.add(told["service.name"])
                for of_scope in of_resource.scope_spans:
                    receiver.spans.extend(of_scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests look at what came."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        receiver.port = http.server_address[1]
        Thread(target=http.serve_forever, daemon=True).start()
        yield receiver
        http.shutdown()


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "") for pair in span.attributes}


def lines(server: SmallServer) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in server.stop().splitlines()]
    return [line for line in found if line["logger"] == "weather_platform.small"]


def test_each_request_is_a_span_with_its_route_status_and_request_id() -> None:
    with receiving() as receiver, small_server(__name__, "application", receiver.env) as server:
        loopback.get(f"{server.url}/v1/forecast/Hobart", headers={"X-Request-ID": "first"})
        loopback.get(f"{server.url}/nowhere")
        loopback.get(f"{server.url}/v1/forecast/broken")
        answered, unknown, broken = receiver.waited_for(3)
        assert {path for path, _ in receiver.messages} == {"/v1/traces"}
        assert receiver.services == {"weather-platform"}
    assert answered.name == "GET /v1/forecast/{station}"
    assert answered.kind == Span.SpanKind.SPAN_KIND_SERVER
    assert attributes(answered) == {
        "http.request.method": "GET",
        "http.route": "/v1/forecast/{station}",
        "http.response.status_code": 200,
        "url.path": "/v1/forecast/Hobart",
        "weather.request_id": "first",
    }
    assert answered.status.code == Status.StatusCode.STATUS_CODE_UNSET
    assert (answered.parent_span_id, answered.end_time_unix_nano > answered.start_time_unix_nano) == (b"", True)
    assert (unknown.name, attributes(unknown)["http.response.status_code"]) == ("GET", 404)
    assert unknown.status.code == Status.StatusCode.STATUS_CODE_UNSET
    assert broken.status.code == Status.StatusCode.STATUS_CODE_ERROR
    assert len({answered.trace_id, unknown.trace_id, broken.trace_id}) == 3


def test_the_trace_of_a_caller_is_continued_and_lines_of_the_log_bear_it() -> None:
    with receiving() as receiver, small_server(__name__, "application", receiver.env) as server:
        with loopback.Client(base_url=server.url) as client:
            client.get("/v1/forecast/Hobart", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
            client.get("/v1/forecast/Perth")
            client.get("/v1/forecast/Cairns", headers={"traceparent": "00-not-a-trace-01"})
        continued, own, strange = receiver.waited_for(3)
        said = lines(server)
    assert (continued.trace_id.hex(), continued.parent_span_id.hex()) == (TRACE, CALLER)
    assert own.parent_span_id == strange.parent_span_id == b""
    assert [(line["trace_id"], line["span_id"]) for line in said] == [
        (span.trace_id.hex(), span.span_id.hex()) for span in (continued, own, strange)
    ]
    assert all(line["request_id"] for line in said)


def test_a_caller_that_is_not_sampled_is_not_sent_and_still_in_the_log() -> None:
    with receiving() as receiver, small_server(__name__, "application", receiver.env) as server:
        loopback.get(f"{server.url}/v1/forecast/Hobart", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        loopback.get(f"{server.url}/v1/forecast/Perth")
        receiver.waited_for(1)
        said = lines(server)
        assert [attributes(span)["url.path"] for span in receiver.spans] == ["/v1/forecast/Perth"]
    assert said[0]["trace_id"] == TRACE


def test_the_variables_of_opentelemetry_are_obeyed() -> None:
    told = {"OTEL_SERVICE_NAME": "ours", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x"}
    with receiving() as receiver, small_server(__name__, "application", receiver.env | told) as server:
        loopback.get(f"{server.url}/v1/forecast/Hobart")
        receiver.waited_for(1)
        assert receiver.services == {"ours"}
        assert {key.lower(): value for key, value in receiver.messages[0][1].items()}["authorization"] == "Bearer x"


def test_the_last_spans_are_sent_at_the_end() -> None:
    with receiving() as receiver:
        late = receiver.env | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with small_server(__name__, "application", late) as server:
            loopback.get(f"{server.url}/v1/forecast/Hobart")
            assert receiver.spans == []
            server.stop()
        assert len(receiver.spans) == 1


def test_a_receiver_that_is_down_delays_no_answer() -> None:
    with receiving() as receiver:
        env = receiver.env
    with small_server(__name__, "application", env) as server:
        started = time.monotonic()
        assert [loopback.get(f"{server.url}/v1/forecast/Hobart").status_code for _ in range(20)] == [200] * 20
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("endpoint", [None, ""])
def test_nothing_is_traced_or_imported_without_a_receiver(endpoint: str | None) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if endpoint is not None:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    program = (
        "import sys; from weather_platform.observability.traces import Tracing; "
        "print(Tracing.from_environment(), [name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None []"
