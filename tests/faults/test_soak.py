"""A client that works for long takes no more memory and descriptors than after its first quarter, and leaves none."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from statistics import median

from enkash_coins.sandbox import Fault, Sandbox
from tests.faults.cases import is_full

PROGRAM = Path(__file__).with_name("soak.py")
SECONDS = float(os.environ.get("FAULTS_SOAK", "900" if is_full() else "8"))
LARGEST_GROWTH = 4096  # KiB, from the first part to the last


async def test_soak(tally: Counter[str]) -> None:
    """Under faults, cancellations, deadlines and short-lived clients beside the long-lived one, for as many seconds as
    ``FAULTS_SOAK`` says.
    """
    faults = [
        Fault("disconnect_after_apply", probability=0.02),
        Fault("server_error", on="update", probability=0.05),
        Fault("hang", on="allocate", probability=0.02),
        Fault("rate_limited", on="get", probability=0.02, retry_after=0),
        Fault("cut", probability=0.02),
        Fault("applied_late", on="update", probability=0.02),
        Fault("malformed", on="get", probability=0.02),
    ]
    async with Sandbox(500, faults=faults, token_life=20.0, latency=0.002) as sandbox:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(PROGRAM), sandbox.base_url, str(SECONDS)), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    *samples, end = [[int(number) for number in line.split()] for line in out.decode().splitlines()]
    assert end[2] == 1, "tasks that nobody waits for"
    assert end[1] <= min(sample[1] for sample in samples), "descriptors left open"
    assert len(samples) >= SECONDS * 0.8
    warm = samples[len(samples) // 4 :]
    part = len(warm) // 3
    for what, column, most in (("KiB", 0, LARGEST_GROWTH), ("descriptors", 1, 8)):
        first, last = (median(sample[column] for sample in some) for some in (warm[:part], warm[-part:]))
        assert last - first <= most, f"{what} grew from {first} to {last}"
        tally[f"soak: {what} at its end"] += int(last)
        tally[f"soak: {what} more than after its first quarter"] += int(max(0, last - first))
    assert samples[-1][3] > SECONDS * 5
    tally["soak: seconds"] += len(samples)
    tally["soak: calls and streams"] += samples[-1][3]
    tally["soak: requests"] += sandbox.calls.total()
