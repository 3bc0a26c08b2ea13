"""OpenTelemetry: one span for each call, measured by the names and buckets of the HTTP client conventions."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from enkash_coins import (
    Attempt,
    CoinEventService,
    CoinEventUpdate,
    Disconnected,
    InvalidRequest,
    LoginRefused,
    NotFound,
    PasswordGrant,
    Request,
    Response,
    RetryPolicy,
)
from enkash_coins.extras import lacking
from enkash_coins.otel import instrument
from enkash_coins.sandbox import Fault, Sandbox
from enkash_coins.testing import MockTransport, answer
from tests.cli.command import process_environment

AT_ONCE: Final = RetryPolicy(base=0)


@attrs.frozen
class Telemetry:
    """Where spans and metrics come out."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    tracers: TracerProvider
    meters: MeterProvider

    def instrument(self, coins: CoinEventService) -> CoinEventService:
        """The client as this telemetry sees it."""
        return instrument(coins, tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in that order."""
        return list(self.exporter.get_finished_spans())

    def metric(self) -> Metric:
        """The one that there is."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (metric,) = (
            metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
        )
        return metric

    def points(self) -> list[HistogramDataPoint]:
        """Its values, by attributes."""
        return [point for point in self.metric().data.data_points if isinstance(point, HistogramDataPoint)]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Spans and metrics kept in memory, apart from every other test's."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    yield Telemetry(exporter, reader, tracers, meters)
    tracers.shutdown()
    meters.shutdown()


@asynccontextmanager
async def watched(telemetry: Telemetry, *faults: Fault) -> AsyncIterator[tuple[Sandbox, CoinEventService]]:
    """A sandbox that fails like this, and an instrumented client of it."""
    async with (
        Sandbox(faults=faults) as sandbox,
        CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, retry=AT_ONCE) as coins,
    ):
        yield sandbox, telemetry.instrument(coins)


def attempts(span: ReadableSpan) -> list[Mapping[str, object]]:
    """The span's events, without what differs from run to run."""
    return [
        {key: value for key, value in (event.attributes or {}).items() if key != "seconds"}
        for event in span.events
        if event.name == "attempt"
    ]


async def test_a_call_is_a_span_with_its_attempts(telemetry: Telemetry) -> None:
    """Named by method and path template; the failed attempt is an event, and the success decides."""
    async with watched(telemetry, Fault("server_error", on="update", nth=1)) as (sandbox, coins):
        await coins.update("WCC12345", amount=7)
    (span,) = telemetry.spans()
    assert (span.name, span.kind) == ("PATCH /api/v0/enkash-coins/{coinConfigId}", SpanKind.CLIENT)
    assert span.attributes == {
        "enkash.operation": "update",
        "http.request.method": "PATCH",
        "url.template": "/api/v0/enkash-coins/{coinConfigId}",
        "server.address": "127.0.0.1",
        "server.port": sandbox.port,
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
    }
    assert attempts(span) == [
        {"number": 1, "http.response.status_code": 503, "error.type": "ServerError"},
        {"number": 2, "http.response.status_code": 200},
    ]
    assert span.status.status_code is StatusCode.UNSET


async def test_each_attempt_is_measured(telemetry: Telemetry) -> None:
    """The histogram has the conventions' name, unit and buckets, and attributes of low cardinality only."""
    faults = [Fault("server_error", on="get", nth=1), Fault("disconnect_before_apply", on="get", nth=2)]
    async with watched(telemetry, *faults) as (sandbox, coins):
        await coins.get("WCC12345")
        await coins.get("WCC00001")
    metric = telemetry.metric()
    assert (metric.name, metric.unit) == ("http.client.request.duration", "s")
    common = {
        "http.request.method": "GET",
        "url.template": "/api/v0/enkash-coins/{coinConfigId}",
        "server.address": "127.0.0.1",
        "server.port": sandbox.port,
    }
    points = telemetry.points()
    assert {tuple(sorted((point.attributes or {}).items())): point.count for point in points} == {
        tuple(sorted({**common, "http.response.status_code": 200}.items())): 2,
        tuple(sorted({**common, "http.response.status_code": 503, "error.type": "ServerError"}.items())): 1,
        tuple(sorted({**common, "error.type": "Disconnected"}.items())): 1,
    }
    assert points[0].explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert all(0 < point.sum < 5 for point in points)


async def test_a_failed_call_says_why_and_whether_it_may_have_been_applied(telemetry: Telemetry) -> None:
    """The span's status is an error; doubt is an attribute that can be searched for."""
    async with watched(telemetry, Fault("disconnect_after_apply", on="allocate")) as (_, coins):
        with pytest.raises(Disconnected):
            await coins.allocate(company_id="CEK1", event="E", user_id="EK-somebody", request_id="order-77")
        with pytest.raises(NotFound):
            await coins.get("NOWHERE")
    doubtful, missing = telemetry.spans()
    assert (doubtful.status.status_code, missing.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    found = [(span.attributes or {}) for span in (doubtful, missing)]
    assert [(one["error.type"], one["enkash.maybe_applied"]) for one in found] == [
        ("Disconnected", True),
        ("NotFound", False),
    ]
    everything = "".join(span.to_json() for span in telemetry.spans())
    for personal in ("EK-somebody", "order-77", "NOWHERE", "Bearer"):
        assert personal not in everything, "ids and tokens stay out of spans"


async def test_a_cancelled_call_is_a_failed_span(telemetry: Telemetry) -> None:
    """A client that hung up is worth seeing; its attempt is measured up to then."""
    async with watched(telemetry, Fault("hang", on="get")) as (_, coins):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(coins.get("WCC12345"), 0.05)
    (span,) = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "CancelledError"
    (point,) = telemetry.points()
    assert (point.attributes or {})["error.type"] == "CancelledError"


async def test_what_never_went_out_is_no_request(telemetry: Telemetry) -> None:
    """A refused login ends the call, but there was no request to measure; a refused argument is no call at all."""
    async with Sandbox() as sandbox:
        auth = PasswordGrant("sandbox-client", "sandbox-client-secret", "sandbox@example.com", "wrong")
        async with telemetry.instrument(CoinEventService.connect(sandbox.base_url, auth=auth)) as coins:
            with pytest.raises(LoginRefused):
                await coins.get("WCC12345")
            with pytest.raises(InvalidRequest):
                await coins.get("..")
    (span,) = telemetry.spans()
    assert attempts(span) == [{"number": 1, "error.type": "LoginRefused"}]
    assert telemetry.reader.get_metrics_data() is None


async def test_the_span_is_the_parent_of_what_happens_beneath(telemetry: Telemetry) -> None:
    """An instrumentation of the HTTP library finds the call's span current; afterwards the caller's is again."""
    seen: list[int] = []

    def handler(_: Request) -> Response:
        seen.append(trace.get_current_span().get_span_context().span_id)
        return answer(42)

    tracer = telemetry.tracers.get_tracer("app")
    async with telemetry.instrument(CoinEventService(MockTransport(handler))) as coins:
        with tracer.start_as_current_span("handler") as outer:
            await coins.balance("EK1")
            assert trace.get_current_span() is outer
    inner, _ = telemetry.spans()
    assert inner.context is not None
    assert inner.parent is not None
    assert seen == [inner.context.span_id]
    assert inner.parent.span_id == outer.get_span_context().span_id
    assert "server.address" not in (inner.attributes or {}), "a transport of one's own has no known address"


async def test_a_stream_is_a_span_for_each_row(telemetry: Telemetry) -> None:
    """Rows run at once, and their spans don't mix."""
    async with watched(telemetry, Fault("server_error", on="update", nth=range(1, 6))) as (_, coins):
        rows = [CoinEventUpdate(f"WCC{n:05}", amount=1) for n in range(1, 21)]
        assert await coins.update_many(rows).failures() == []
    spans = telemetry.spans()
    assert len(spans) == 20
    assert sum(len(attempts(span)) for span in spans) == 25
    assert all([one["number"] for one in attempts(span)] in ([1], [1, 2], [1, 2, 3]) for span in spans)


def test_without_the_extra_the_import_says_how_to_get_it() -> None:
    """It is a ModuleNotFoundError that names the missing module, and tells what to install."""
    code = """
import sys
sys.modules["opentelemetry"] = None
try:
    import enkash_coins.otel
except ModuleNotFoundError as error:
    print(error.name, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=process_environment()
    )
    assert done.stdout == f"opentelemetry {lacking('enkash_coins.otel', 'otel')}\n"


async def test_the_clients_own_hook_is_still_told(telemetry: Telemetry) -> None:
    """Both hear of every attempt, also on views of the view; the client itself stays as it was."""
    told: list[Attempt] = []
    async with Sandbox() as sandbox:
        plain = CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, on_attempt=told.append)
        async with telemetry.instrument(plain) as coins:
            await coins.with_options(deadline=9).get("WCC12345")
            await plain.get("WCC12345")
    assert len(told) == 2
    assert len(telemetry.spans()) == 1
