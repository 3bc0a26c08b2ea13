"""What a run costs: memory and time of each phase, and the ledger's share, paired with streams that send the same.

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
from enkash_coins.api import endpoints
from enkash_coins.bulk import Run, State
from enkash_coins.bulk.files import read
from enkash_coins.models import CoinEventConfig, Outcome
from enkash_coins.service import client_of

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
            run = await Run.plan(read(str(folder / "rows.csv")), coins, to=folder / "rows.run")
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


async def _slices(
    base_url: str, folder: Path, count: int, slices: int, width: int
) -> list[dict[str, tuple[float, float]]]:
    """CPU and wall clock of each way through a slice of rows, in shuffled order."""
    async with CoinEventService.connect(base_url, auth=_TOKEN, concurrency=width) as coins:
        client = client_of(coins)
        rows = list(updates(count))
        runs: dict[str, Run] = {}

        async def get(index: int, id_: str) -> Outcome[str, CoinEventConfig]:
            return await client.outcome(index, id_, endpoints.get)

        async def reads() -> None:
            async with client.stream((row.coin_config_id for row in rows), get, lambda _: None) as stream:
                if [outcome async for outcome in stream if outcome.result is None]:
                    raise RuntimeError

        async def writes() -> None:
            if await coins.update_many(rows).failures():
                raise RuntimeError

        async def plan(name: str = "checked") -> None:
            runs[name] = await Run.plan(rows, coins, to=folder / f"{name}-{len(found)}.run")

        async def apply(name: str = "checked") -> None:
            if (await runs[name].apply(coins, check=name == "checked"))[State.APPLIED] != count:
                raise RuntimeError(runs[name].counts)

        found: list[dict[str, tuple[float, float]]] = []
        for _ in range(slices + 1):
            await plan("blind")
            works: dict[str, Callable[[], Awaitable[None]]] = {"get": reads, "update": writes, "plan": plan}
            seconds = {name: await _seconds(works[name]) for name in random.sample(sorted(works), 3)}
            works = {"apply": apply, "apply blindly": lambda: apply("blind")}
            found.append(seconds | {name: await _seconds(works[name]) for name in random.sample(sorted(works), 2)})
        return found[1:]  # in the first, connections and caches got warm


_PAIRS = (("plan", ("get",)), ("apply blindly", ("update",)), ("apply", ("get", "update")))


def cost(total: int, slices: int) -> None:
    """Print what a run adds to the requests that it sends."""
    for latency in _LATENCIES:
        for width in _IN_FLIGHT:
            count = max(50, min(total // slices, int(width / (latency or 0.0004)) * 2))
            with fast_server(latency=latency) as base_url, tempfile.TemporaryDirectory(prefix="enkash-runs-") as folder:
                found = asyncio.run(_slices(base_url, Path(folder), count, slices, width))
            for name, others in _PAIRS:
                told = []
                for which, at in (("CPU", 0), ("wall clock", 1)):
                    pairs = [(one[name][at], sum(one[other][at] for other in others)) for one in found]
                    more = statistics.median(mine - theirs for mine, theirs in pairs) / count * 1e6
                    told.append(f"{which} x {statistics.median(m / t for m, t in pairs):.3f} ({more:+.1f} µs a row)")
                where = f"{latency * 1000:.0f} ms, {width} in flight, {slices} pairs of {count}"
                print(f"{where}: {name} / {' + '.join(others)}: {', '.join(told)}", flush=True)


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
