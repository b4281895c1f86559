"""Traces: one span for every request, sent by OTLP over HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` says where to.

What belongs here: setting up OpenTelemetry, and the span of a request. What does not: where it is not configured:
nothing of OpenTelemetry is imported then, and the application is left as it is.

The trace of a caller (`traceparent`) is continued. Sampling, headers, names and all else follow OpenTelemetry's own
variables (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, ...). Spans are sent by a thread of
their own; when the receiver is down they are dropped, which OpenTelemetry logs, and no request waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weather_platform.observability.logs import speak_of_trace
from weather_platform.settings import otlp_endpoint

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE_NAME = "weather-platform"


class Tracing:
    """The spans of this process, until `close`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    @classmethod
    def from_environment(cls) -> Self | None:
        """Sends to the configured receiver; None when there is none."""
        if otlp_endpoint() is None:
            return None
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = "service.name" in OTELResourceDetector().detect().attributes  # by the environment
        provider = TracerProvider(resource=Resource.create(None if named else {"service.name": SERVICE_NAME}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def close(self) -> None:
        """Send what waits, and end."""
        self._provider.shutdown()

    def middleware(self, app: ASGIApp) -> TracingMiddleware:
        """The application, each request of it in a span."""
        return TracingMiddleware(app, self._provider)


class TracingMiddleware:
    """Spans around the requests of the application inside; pure ASGI, within the middleware of request ids."""

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._nothing = context.Context()
        self._trace = trace
        self._tracer = provider.get_tracer("weather_platform")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on within its span, which continues the caller's trace."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._propagator.extract(carrier, self._nothing),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "url.path": scope["path"],
                "weather.request_id": scope.get("state", {}).get("request_id", ""),
            },
        ) as span:
            context = span.get_span_context()
            speak_of_trace(self._trace.format_trace_id(context.trace_id), self._trace.format_span_id(context.span_id))
            try:
                await self._app(scope, receive, watched)
            finally:
                if (route := getattr(scope.get("route"), "path", None)) is not None:
                    span.set_attribute("http.route", route)
                    span.update_name(f"{scope['method']} {route}")
                if status:
                    span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(self._trace.StatusCode.ERROR)
