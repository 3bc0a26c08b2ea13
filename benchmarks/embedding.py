"""What this package costs somebody else's server: time added to a handler, time taken from the loop, and the end.

An aiohttp.web application runs in a process of its own and is asked 100 times a second, whether it has answered or not,
by this one; over TLS, as in earnest, it asks a server in a third. Each request goes, at random, to a handler that uses
plain aiohttp, or to one that does the same through this package. SIGTERM comes in the middle of the load.

On a shared machine the 99th percentile of the wall clock measures the neighbours as well. Hence two more rows: the
processor time of the handlers' own steps, and how often they wait. A handler that waits no oftener than the plain one,
for the same thing, is later only by its own steps.

How long a callback holds the loop is measured at the first requests (login, session, TLS), in a busy process (thousands
of calls of either kind, one after another), under the load and at the end.

    python -m benchmarks.embedding [--rounds 5] [--seconds 20] [--rate 100]
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import attrs
import trustme

from benchmarks.embedded import Block, Sample
from benchmarks.server import fast_server

_RESAMPLES = 1_000
_PHASES = ("first requests", "busy", "load", "shutdown")
_CALLS = 4_000


@attrs.frozen
class Round:
    """One life of the application.

    Attributes:
        samples: by handler, one for each request.
        blocks: by phase and handler, the longest callback by wall clock, and by processor time.
        fates: answers to the load by status, and what else became of a request.
        ended: exit status, seconds from SIGTERM to the end, and what the application printed as errors.
    """

    samples: dict[str, list[Sample]]
    blocks: dict[tuple[str, str], tuple[Block, Block]]
    fates: Counter[str]
    ended: tuple[int | None, float, str]


async def live(base_url: str, ca_file: Path, *, rate: float, seconds: float) -> Round:
    """Start the application, ask it for so many seconds, and end it while it is being asked."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.embedded", base_url, str(ca_file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("without pipes there is nothing to read")
    address = re.search(r"http://\S+", (await process.stderr.readline()).decode())
    await process.stderr.readline()  # how to stop it
    fates: Counter[str] = Counter()
    async with aiohttp.ClientSession(address[0] if address else "", connector=aiohttp.TCPConnector(limit=0)) as client:
        for path in (*random.sample(("/plain", "/sdk"), 2), f"/busy?calls={_CALLS}"):
            async with client.get(path, raise_for_status=True):
                pass
        load = asyncio.create_task(_ask(client, rate, fates))
        await asyncio.sleep(seconds)
        process.terminate()
        began = time.perf_counter()
        out, errors = await process.communicate()
        took = time.perf_counter() - began
        load.cancel()
        await asyncio.wait([load])
    report = json.loads(out)
    blocks = {
        (row["phase"], row["handler"]): (Block(*row["by_wall"]), Block(*row["by_cpu"])) for row in report["blocks"]
    }
    samples = {name: [Sample(*row) for row in rows] for name, rows in report["samples"].items()}
    return Round(samples, blocks, fates, (process.returncode, took, errors.decode()))


async def _ask(client: aiohttp.ClientSession, rate: float, fates: Counter[str]) -> None:
    """Send a request every ``1 / rate`` seconds, however long answers take."""
    clock = asyncio.get_running_loop().time
    due = clock()

    async def ask(path: str) -> None:
        try:
            async with client.get(path) as response:
                await response.read()
                fates[str(response.status)] += 1
        except aiohttp.ClientConnectorError:
            fates["not accepted"] += 1
        except aiohttp.ClientError:
            fates["cut off"] += 1  # was on its way when the server closed an idle connection, or was left unanswered

    async with asyncio.TaskGroup() as requests:
        while True:
            requests.create_task(ask(random.choice(("/plain", "/sdk"))))
            due += 1 / rate
            await asyncio.sleep(due - clock())


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many percent lie."""
    return sorted(values)[len(values) * percent // 100]


def interval(plain: Sequence[float], sdk: Sequence[float]) -> tuple[float, float]:
    """Where the difference of the 99th percentiles lies in 95 of 100 resamples."""
    differences = sorted(
        percentile(random.choices(sdk, k=len(sdk)), 99) - percentile(random.choices(plain, k=len(plain)), 99)
        for _ in range(_RESAMPLES)
    )
    return differences[_RESAMPLES * 25 // 1000], differences[_RESAMPLES * 975 // 1000]


def show_added(rounds: Sequence[Round]) -> None:
    """What a request through the package takes longer than one without."""
    print("milliseconds of a handler       p50               p99         p99 added, with its 95 % interval")
    print("                    plain     sdk     plain     sdk")
    plain, sdk = ([sample for lived in rounds for sample in lived.samples[name]] for name in ("plain", "sdk"))
    show_row("wall clock", *([sample.wall * 1e3 for sample in samples] for samples in (plain, sdk)))
    show_row("processor time", *([sample.cpu * 1e3 for sample in samples] for samples in (plain, sdk)))
    show_row("number of waits", *([sample.waits for sample in samples] for samples in (plain, sdk)))


def show_row(what: str, plain: Sequence[float], sdk: Sequence[float]) -> None:
    """One line of that table."""
    values = [percentile(samples, percent) for percent in (50, 99) for samples in (plain, sdk)]
    low, high = interval(plain, sdk)
    shown = "  ".join(f"{value:6.3f}" for value in values)
    print(f"{what:16}  {shown}     {values[3] - values[2]:+.3f}  ({low:+.3f} to {high:+.3f})")


def show_blocks(rounds: Sequence[Round]) -> None:
    """The longest that one callback held the loop, in any round; the control always does the same 0.1 ms of work."""
    print("\nlongest callbacks, ms          by wall clock                              by processor time")
    longest: dict[tuple[str, str], list[tuple[Block, Block]]] = defaultdict(list)
    for lived in rounds:
        for place, blocks in lived.blocks.items():
            longest[place].append(blocks)
    for phase in _PHASES:
        for handler in ("plain", "sdk", "rest", "control"):
            if found := longest[phase, handler]:
                wall = max((by_wall for by_wall, _ in found), key=lambda block: block.seconds)
                cpu = max((by_cpu for _, by_cpu in found), key=lambda block: block.cpu)
                why = f"(processor {wall.cpu * 1e3:5.2f}, waits {wall.waits}, preempted {wall.preempted})"
                where = f"(kernel {cpu.kernel * 1e3:.2f}, page faults {cpu.faults}, garbage {cpu.collecting * 1e3:.2f})"
                print(f"{phase:15} {handler:6}  {wall.seconds * 1e3:6.2f} {why}    {cpu.cpu * 1e3:6.2f} {where}")


def show_ends(rounds: Sequence[Round]) -> None:
    """How each life ended."""
    print()
    for number, lived in enumerate(rounds, start=1):
        code, seconds, errors = lived.ended
        handled = sum(len(samples) for samples in lived.samples.values())
        print(
            f"round {number}: SIGTERM, exit {code} after {seconds * 1e3:.0f} ms; {handled} handled, {dict(lived.fates)}"
        )
        print(errors, end="")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        authority, ca_file, certificate = trustme.CA(), Path(folder, "ca.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(str(ca_file))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        with fast_server(certificate) as base_url:
            rounds = [
                asyncio.run(live(base_url, ca_file, rate=options.rate, seconds=options.seconds))
                for _ in range(options.rounds)
            ]
    print(
        f"{options.rounds} rounds of {options.seconds:g} s, {options.rate:g} requests per second, half of them each\n"
    )
    show_added(rounds)
    show_blocks(rounds)
    show_ends(rounds)


if __name__ == "__main__":
    main()
