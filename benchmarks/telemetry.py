"""What telemetry costs a call that is answered from memory: off, with a hook, and with OpenTelemetry.

    python -m benchmarks.telemetry [--calls 2000] [--rounds 30]

Every round times each way once, in random order; the figures are medians of the rounds' differences to "off".
"""

import argparse
import asyncio
import logging
import random
import statistics
import time
import timeit

import attrs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from enkash_coins import CoinEventService
from enkash_coins.otel import instrument
from enkash_coins.service import client_of
from enkash_coins.testing import MockTransport, answer

_ANSWER = answer(42)


def _hooked() -> CoinEventService:
    coins = CoinEventService(_memory())
    options = attrs.evolve(client_of(coins).options, on_attempt=lambda _: None)
    coins._client = attrs.evolve(client_of(coins), options=options)  # noqa: SLF001  # as connect() sets it
    return coins


def _memory() -> MockTransport:
    transport = MockTransport(lambda _: _ANSWER)
    transport.requests = _Forgetful()
    return transport


class _Forgetful(list):  # type: ignore[type-arg]  # of requests, none of which is kept
    def append(self, _: object) -> None:
        """Keep nothing: memory is not what is measured."""


async def measure(calls: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU for one call, by way and round."""
    off = CoinEventService(_memory())
    ways = {
        "off": off,
        "on_attempt": _hooked(),
        "OpenTelemetry API alone": instrument(off),
        "OpenTelemetry SDK": instrument(
            off, tracer_provider=TracerProvider(), meter_provider=MeterProvider([InMemoryMetricReader()])
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            began = time.process_time_ns()
            for _ in range(calls):
                await ways[name].balance("EK1")
            seconds[name].append((time.process_time_ns() - began) / 1e9 / calls)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    seconds = asyncio.run(measure(options.calls, options.rounds))
    off = seconds.pop("off")
    print(f"a call answered from memory    {statistics.median(off) * 1e6:6.2f} µs of CPU")
    log, rows = logging.getLogger("enkash_coins"), client_of(CoinEventService(_memory()))
    asked = timeit.repeat(
        lambda: rows.options.on_attempt is not None or log.isEnabledFor(logging.DEBUG),  # what "off" asks
        number=100_000,
    )
    print(f"  of which telemetry, off      {min(asked) * 10:6.2f} µs (asking whether anybody listens)")
    for name, figures in seconds.items():
        more = statistics.median(one - base for one, base in zip(figures, off, strict=True))
        print(f"  + {name:26} {more * 1e6:6.2f} µs")


if __name__ == "__main__":
    main()
