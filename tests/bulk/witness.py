"""A sandbox in a process of its own, which tells the truth when it is asked: a line of JSON for each line it reads."""

import asyncio
import json
import sys
from collections import deque
from typing import Any

from enkash_coins.sandbox import Fault, Sandbox


def faults() -> list[Fault]:
    """Refusals and lost answers, of every kind that leaves a row in doubt."""
    return [
        Fault("server_error", on="update", probability=0.03),
        Fault("server_error", on="get", probability=0.03),
        Fault("disconnect_after_apply", on="update", probability=0.03),
        Fault("disconnect_before_apply", on="update", probability=0.03),
        Fault("applied_late", on="update", probability=0.03, seconds=0.1),
        Fault("operation_failed", on="update", probability=0.02),
        Fault("disconnect_after_apply", on="allocate", probability=0.02),
        Fault("server_error", on="allocate", probability=0.02),
        Fault("operation_failed", on="allocate", probability=0.02),
        Fault("rate_limited", on="*", probability=0.02, retry_after=0.05),
    ]


def _say(value: object) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


async def serve(seed: int) -> None:
    """Serve until standard input is closed."""
    sandbox = Sandbox(configs=60, seed=seed, dedupe=False, latency=0.01, faults=faults())
    sandbox.applied = sandbox._world.applied = deque()  # all of it
    async with sandbox:
        _say(dict(sandbox.environment))
        while await asyncio.to_thread(sys.stdin.readline):
            truth: dict[str, Any] = {
                "configs": sandbox.configs,
                "allocations": sandbox.allocations,
                "applied": list(sandbox.applied),
            }
            _say(truth)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
