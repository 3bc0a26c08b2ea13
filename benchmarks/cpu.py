"""Client CPU of one update in each way, as a ratio to plain aiohttp.

All run in this process against one server in another. In each round every way sends one slice, in random order, and
gives one ratio of process time to plain aiohttp's in that round. Absolute times mean nothing on a shared machine; the
median ratio does.

    python -m benchmarks.cpu [--rounds 20] [--slice 1000] [WAY ...]
"""

import argparse
import asyncio
import gc
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import attrs

from benchmarks.server import fast_server
from benchmarks.ways import PLAIN, Send, Way, ways

_READ_BUFFER = 256 * 2**10


@attrs.frozen
class Cpu:
    """What one way costs.

    Attributes:
        seconds: of client CPU for one update, median.
        ratio: to plain aiohttp, median of the rounds.
        quartiles: of those ratios.
    """

    seconds: float
    ratio: float
    quartiles: tuple[float, float]


def measure(chosen: Mapping[str, Way], rounds: int, count: int) -> dict[str, Cpu]:
    """What each way costs, in so many rounds of so many updates."""
    # Until one block as large as asyncio's buffer was freed, glibc maps and unmaps memory for each answer.
    bytearray(_READ_BUFFER)
    with fast_server() as base_url, ExitStack() as opened:
        runners, sends = {}, {}
        for name, way in chosen.items():
            runner = runners[name] = opened.enter_context(asyncio.Runner(loop_factory=way.loop))
            stack = AsyncExitStack()
            sends[name] = runner.run(stack.enter_async_context(way.open(base_url)))
            opened.callback(_close, runner, stack)
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for number in range(rounds + 1):
            for name in random.sample(list(chosen), len(chosen)):
                if (prepare := chosen[name].prepare) is not None:
                    runners[name].run(prepare(base_url, count))
                spent = runners[name].run(_seconds(sends[name], count))
                if number:  # connections and caches are warm before anything counts
                    seconds[name].append(spent / count)
    return {name: _compared(seconds[name], seconds[PLAIN]) for name in chosen}


def _close(runner: asyncio.Runner, stack: AsyncExitStack) -> None:
    runner.run(stack.aclose())


async def _seconds(send: Send, count: int) -> float:
    gc.collect()
    began = time.process_time_ns()
    await send(count)
    return (time.process_time_ns() - began) / 1e9


def _compared(seconds: list[float], plain: list[float]) -> Cpu:
    ratios = [one / base for one, base in zip(seconds, plain, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Cpu(statistics.median(seconds), middle, (low, high))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slice", type=int, default=1_000)
    parser.add_argument("names", nargs="*", metavar="WAY")
    options = parser.parse_args()
    logging.getLogger("enkash_coins").setLevel(logging.ERROR)  # the server answers with one id for all
    with tempfile.TemporaryDirectory(prefix="enkash-cpu-") as folder:
        known = ways(Path(folder))
        chosen = {name: known[name] for name in {PLAIN: None, **dict.fromkeys(options.names or known)}}
        found = measure(chosen, options.rounds, options.slice)
    print(
        f"{options.rounds} rounds of {options.slice} updates: µs of client CPU each, ratio to plain aiohttp, quartiles"
    )
    for name, cpu in found.items():
        print(f"{name:28} {cpu.seconds * 1e6:6.1f} {cpu.ratio:6.3f} ({cpu.quartiles[0]:.3f} to {cpu.quartiles[1]:.3f})")


if __name__ == "__main__":
    main()
