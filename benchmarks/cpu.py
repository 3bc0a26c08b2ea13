"""Client CPU of ``update_many``, as a ratio to the same written plainly with aiohttp.

Both run in this process against one server in another; slices of work alternate in random order, and each pair gives
one ratio of process time. Absolute times mean nothing on a shared machine; the median ratio does.

    python -m benchmarks.cpu [--updates 20000] [--slices 20]
"""

import argparse
import asyncio
import gc
import logging
import random
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp

from benchmarks.server import fast_server
from enkash_coins import CoinEventService, CoinEventUpdate

_IN_FLIGHT = 32


async def plainly(base_url: str, session: aiohttp.ClientSession, count: int) -> None:
    """What one would write without this package: no retries, no typed errors, no outcomes."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            body = {"amount": number, "configuration": "DEFAULT"}
            async with session.patch(f"{base_url}/api/v0/enkash-coins/WCC{number}", json=body) as response:
                answer = await response.json()
                if answer["response_code"] != 0:
                    raise RuntimeError(answer)

    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))


async def with_update_many(coins: CoinEventService, count: int) -> None:
    """The same with everything that this package does for it."""
    updates = (CoinEventUpdate(f"WCC{number}", amount=10, configuration="DEFAULT") for number in range(count))
    async with coins.update_many(updates, concurrency=_IN_FLIGHT) as stream:
        async for outcome in stream:
            if not outcome.ok:
                raise RuntimeError(outcome)


async def _cpu_seconds(run: Callable[[], Awaitable[None]]) -> float:
    gc.collect()
    began = time.process_time_ns()
    await run()
    return (time.process_time_ns() - began) / 1e9


async def measure(base_url: str, *, updates: int, slices: int) -> list[tuple[float, float]]:
    """Pairs of CPU seconds for a slice: plain aiohttp, ``update_many``."""
    count = updates // slices
    headers = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        CoinEventService.connect(base_url, auth="0123456789abcdef0123456789abcdef") as coins,
    ):
        runs: list[Callable[[], Awaitable[None]]] = [
            lambda: plainly(base_url, session, count),
            lambda: with_update_many(coins, count),
        ]
        for run in runs:  # connections and caches are warm before anything counts
            await run()
        pairs = []
        for _ in range(slices):
            order = random.sample((0, 1), 2)
            seconds = {which: await _cpu_seconds(runs[which]) for which in order}
            pairs.append((seconds[0], seconds[1]))
        return pairs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--slices", type=int, default=20)
    options = parser.parse_args()
    logging.getLogger("enkash_coins").setLevel(logging.ERROR)  # the server answers with one id for all
    with fast_server() as base_url:
        pairs = asyncio.run(measure(base_url, updates=options.updates, slices=options.slices))
    plain, ours = (
        statistics.median(column) / (options.updates // options.slices) for column in zip(*pairs, strict=True)
    )
    low, middle, high = statistics.quantiles((ours / plain for plain, ours in pairs), n=4)
    print(f"{options.updates} updates each way in {options.slices} pairs of slices, {_IN_FLIGHT} in flight")
    print(f"plain aiohttp  {plain * 1e6:6.1f} µs of client CPU per update (median)")
    print(f"update_many    {ours * 1e6:6.1f} µs")
    print(f"ratio          {middle:6.3f}    (median of the pairs; quartiles {low:.3f} and {high:.3f})")


if __name__ == "__main__":
    main()
