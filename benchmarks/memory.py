"""Resident memory of 100,000 updates streamed through ``update_many``, against a server that answers at once.

python -m benchmarks.memory [--updates 100000]
"""

import argparse
import asyncio
import gc
import logging
import os
import sys
import time
from pathlib import Path

from benchmarks.server import fast_server
from enkash_coins import CoinEventService, CoinEventUpdate

_PAGE = os.sysconf("SC_PAGE_SIZE")
_WARM_UP = 2_000


def resident() -> int:
    """Bytes of this process that are in memory now (Linux)."""
    with Path("/proc/self/statm").open(encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE


async def measure(base_url: str, updates: int) -> tuple[int, float]:
    """The largest growth of resident memory in bytes while streaming, and the seconds that it took."""
    async with CoinEventService.connect(base_url, auth="0123456789abcdef") as coins:
        await _stream(coins, _WARM_UP)
        gc.collect()
        before = largest = resident()
        began = time.perf_counter()
        done = 0
        async with coins.update_many(CoinEventUpdate(f"WCC{number}", amount=10) for number in range(updates)) as stream:
            async for outcome in stream:
                done += outcome.ok
                if not done % 1_000:
                    largest = max(largest, resident())
        if done != updates:
            sys.exit(f"only {done} of {updates} updates were applied: {dict(stream.counts)}")
        return largest - before, time.perf_counter() - began


async def _stream(coins: CoinEventService, updates: int) -> None:
    rows = (CoinEventUpdate(f"WCC{number}", amount=10) for number in range(updates))
    async for _ in coins.update_many(rows):
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=100_000)
    updates: int = parser.parse_args().updates
    logging.getLogger("enkash_coins").setLevel(logging.ERROR)  # the server answers with one id for all
    with fast_server() as base_url:
        growth, seconds = asyncio.run(measure(base_url, updates))
    print(f"{updates} updates in {seconds:.1f} s, {updates / seconds:.0f} per second")
    print(f"largest growth of resident memory {growth / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
