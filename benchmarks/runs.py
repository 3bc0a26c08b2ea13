"""What a run costs: memory and time of each phase, and the ledger's share of the work, paired with ``update_many``.

python -m benchmarks.runs [--rows 1000000] [--updates 40000] [--slices 10] [--only memory|cost]
"""

import argparse
import asyncio
import gc
import logging
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks.server import fast_server
from enkash_coins import CoinEventService, CoinEventUpdate
from enkash_coins.bulk import Run, State

_IN_FLIGHT = (1, 8, 32)
_LATENCIES = (0.0, 0.02)
_TOKEN = "0123456789abcdef"


def updates(count: int) -> Iterator[CoinEventUpdate]:
    """Rows that all differ from what is there."""
    return (CoinEventUpdate(f"WCC{number}", amount=10) for number in range(count))


async def _phase(name: str, base_url: str, folder: Path, rows: int) -> None:
    """One phase, in a process of its own, so that its memory is its own."""
    began = time.perf_counter()
    async with CoinEventService.connect(base_url, auth=_TOKEN) as coins:
        if name == "plan":
            run = await Run.plan(str(folder / "rows.csv"), coins, to=folder / "rows.run")
        elif name == "apply":
            run = Run.open(folder / "rows.run")
            await run.apply(coins)
        else:
            run = Run.open(folder / "rows.run")
            if sum(1 for _ in run.records()) != rows:
                sys.exit("rows were lost")
            run.summary(10, 5)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if run.counts[State.APPLIED if name != "plan" else State.PLANNED] != rows:
        sys.exit(f"{name}: {dict(run.counts)}")
    print(f"{name:6} {seconds:7.1f} s  {rows / seconds:8,.0f} rows/s  {peak / 1e6:6.1f} MB at most", flush=True)


def memory(rows: int) -> None:
    """Print time and memory of planning, applying and showing so many rows."""
    with fast_server() as base_url, tempfile.TemporaryDirectory(prefix="enkash-runs-") as folder:
        with Path(folder, "rows.csv").open("w", encoding="utf-8") as file:
            file.write("coin_config_id,amount\n")
            file.writelines(f"WCC{number},10\n" for number in range(rows))
        for name in ("plan", "apply", "show"):
            command = [sys.executable, "-m", "benchmarks.runs", "--phase", name, base_url, folder, str(rows)]
            subprocess.run(command, check=True)  # noqa: S603  # our own module
        print(f"{Path(folder, 'rows.run').stat().st_size / rows:.0f} bytes of the ledger for each row")


async def _seconds(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    gc.collect()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    await work()
    return (time.process_time_ns() - cpu) / 1e9, (time.perf_counter_ns() - wall) / 1e9


async def _pair(base_url: str, folder: Path, count: int, slices: int, width: int) -> list[tuple[float, ...]]:
    """CPU and wall clock of a slice without and with a run."""
    async with CoinEventService.connect(base_url, auth=_TOKEN, concurrency=width) as coins:

        async def without() -> None:
            async for outcome in coins.update_many(updates(count)):
                if not outcome.ok:
                    raise RuntimeError(outcome)

        pairs: list[tuple[float, ...]] = []
        for number in range(slices + 1):
            run = await Run.plan(updates(count), coins, to=folder / f"{width}-{number}.run")

            async def within(run: Run = run) -> None:
                if (await run.apply(coins))[State.APPLIED] != count:
                    raise RuntimeError(run.counts)

            works: list[Callable[[], Awaitable[None]]] = [without, within]
            found = {which: await _seconds(works[which]) for which in random.sample((0, 1), 2)}
            if number:  # in the first, connections and caches got warm
                pairs.append((*found[0], *found[1]))
        return pairs


def cost(total: int, slices: int) -> None:
    """Print what the ledger adds to an update."""
    for latency in _LATENCIES:
        for width in _IN_FLIGHT:
            count = max(50, min(total // slices, int(width / (latency or 0.0004)) * 2))
            with fast_server(latency=latency) as base_url, tempfile.TemporaryDirectory(prefix="enkash-runs-") as folder:
                pairs = asyncio.run(_pair(base_url, Path(folder), count, slices, width))
            cpu = statistics.median(with_cpu - cpu for cpu, _, with_cpu, _ in pairs) / count
            wall = statistics.median(with_wall - wall for _, wall, _, with_wall in pairs) / count
            ratio = statistics.median(with_cpu / cpu for cpu, _, with_cpu, _ in pairs)
            slower = statistics.median(with_wall / wall for _, wall, _, with_wall in pairs)
            print(
                f"{latency * 1000:3.0f} ms, {width:2} in flight, {slices} pairs of {count:5}:"
                f" CPU {cpu * 1e6:+6.1f} µs a row (x {ratio:.3f}), wall clock {wall * 1e6:+7.1f} µs (x {slower:.3f})",
                flush=True,
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--updates", type=int, default=40_000)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--only", choices=("memory", "cost"))
    parser.add_argument("--phase", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("enkash_coins").setLevel(logging.ERROR)  # the server answers with one id for all
    if options.phase:
        name, base_url, folder, rows = options.phase
        asyncio.run(_phase(name, base_url, Path(folder), int(rows)))
        return
    if options.only != "cost":
        memory(options.rows)
    if options.only != "memory":
        cost(options.updates, options.slices)


if __name__ == "__main__":
    main()
