"""OpenTelemetry (extra ``[otel]``): a span for each call, and the HTTP client metrics.

Names and buckets are those of the semantic conventions for HTTP clients. ``url.template`` stands in for the URL, which
would hold ids of configurations and users.
"""

import asyncio
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from enkash_coins.extras import lacking

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(lacking("enkash_coins.otel", "otel"), name=missing.name) from None

from enkash_coins._version import __version__
from enkash_coins.api.endpoints import Endpoint
from enkash_coins.calls.call import Call, CallOptions, Success
from enkash_coins.errors import EnkashError
from enkash_coins.models import Attempt
from enkash_coins.service import CoinEventService, client_of

T = TypeVar("T")
_Attributes = dict[str, str | int | float | bool]

_NAME = "enkash_coins"
_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
# Seconds, as the conventions say.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


def instrument(
    coins: CoinEventService,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> CoinEventService:
    """A view on the same client whose calls are seen by OpenTelemetry.

    Each call is a span with an event for each attempt; each attempt that went out is measured in
    ``http.client.request.duration``. What is instrumented below (aiohttp, say) finds its place beneath the call's span.

    Args:
        tracer_provider: ``None`` for the global one.
        meter_provider: ``None`` for the global one.
    """
    tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA)
    meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA)
    duration = meter.create_histogram(
        "http.client.request.duration",
        unit="s",
        description="Duration of HTTP client requests.",
        explicit_bucket_boundaries_advisory=_BUCKETS,
    )
    view = coins.with_options()
    rows = client_of(coins)
    server: _Attributes = _server(rows.base_url)
    view._client = attrs.evolve(rows, call=_traced(rows.call, tracer, duration, server))  # noqa: SLF001  # made for this
    return view


def _server(base_url: str) -> _Attributes:
    url = urlsplit(base_url)
    if not url.hostname:
        return {}
    return {"server.address": url.hostname, "server.port": url.port or (443 if url.scheme == "https" else 80)}


def _traced(inner: Call, tracer: Tracer, duration: Histogram, server: _Attributes) -> Call:
    async def call(
        endpoint: Endpoint[T], options: CallOptions, /, *, patient: bool = False
    ) -> Success[T] | EnkashError:
        operation, method = endpoint.request.operation, endpoint.request.method
        template = endpoint.template
        attributes: _Attributes = {"http.request.method": method, "url.template": template, **server}

        def told(attempt: Attempt) -> None:
            _note(span, duration, attributes, attempt)
            if options.on_attempt is not None:
                options.on_attempt(attempt)

        with tracer.start_as_current_span(
            f"{method} {template}", kind=SpanKind.CLIENT, attributes={"enkash.operation": operation, **attributes}
        ) as span:
            try:
                outcome = await inner(endpoint, attrs.evolve(options, on_attempt=told), patient=patient)
            except asyncio.CancelledError as cut_off:
                _fail(span, cut_off, "cut off")
                raise
            if isinstance(outcome, EnkashError):
                _fail(span, outcome, str(outcome.args[0]))  # no ids here
                span.set_attribute("enkash.maybe_applied", outcome.maybe_applied)
            return outcome

    return call


def _fail(span: Span, error: BaseException, why: str) -> None:
    span.set_status(Status(StatusCode.ERROR, why))
    span.set_attribute("error.type", type(error).__name__)


def _note(span: Span, duration: Histogram, attributes: _Attributes, attempt: Attempt) -> None:
    result: _Attributes = {}
    if attempt.status is not None:
        result["http.response.status_code"] = attempt.status
    if attempt.error is not None:
        result["error.type"] = attempt.error
    span.add_event("attempt", {"number": attempt.number, "seconds": attempt.seconds, **result})
    if attempt.status is not None:
        span.set_attribute("http.response.status_code", attempt.status)
    if attempt.number > 1:
        span.set_attribute("http.request.resend_count", attempt.number - 1)
    if attempt.seconds:  # else nothing went out
        duration.record(attempt.seconds, {**attributes, **result})
