# ruff: noqa: T201  # it prints what it measured
"""A client as a process of its own: ``python hostile_client.py URL``; says how much its memory grows by each answer.

Each line of standard input is ``NAME SECONDS CALLS``; the answer to it is one line of JSON.
"""

import asyncio
import json
import re
import resource
import sys
from pathlib import Path

from enkash_coins import CoinEventService, EnkashError, RetryPolicy

STATUS = Path("/proc/self/status")


def peak() -> int:
    """Bytes: the most memory that this process has had resident, C libraries' included."""
    if STATUS.exists():  # of this process alone, where getrusage() begins with what its parent had
        return int(re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text("ascii"))[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS


def begin() -> int:
    """Let the peak be what is resident now, if the system allows it."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    return peak()


async def main() -> None:
    """Get NAME so many times, with so many seconds for each."""
    async with CoinEventService.connect(sys.argv[1], auth="a-token", retry=RetryPolicy(attempts=1)) as coins:
        for _ in range(20):
            await coins.balance("EK1")  # whatever is made at first use, is
        for line in sys.stdin:
            name, seconds, calls = line.split()
            before, ending = begin(), "success"
            for _ in range(int(calls)):
                try:
                    await coins.with_options(timeout=float(seconds)).get(name)
                except EnkashError as error:
                    ending = type(error).__name__
            points = await coins.balance("EK1")
            print(json.dumps({"ending": ending, "grown": peak() - before, "points": points}), flush=True)


asyncio.run(main())
