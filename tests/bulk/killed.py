"""A process that applies a run and kills itself at a named point: ``python killed.py POINT RUN``."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from enkash_coins import CoinEventService
from enkash_coins.bulk import Run
from enkash_coins.bulk.ledger import records
from enkash_coins.bulk.work import Work
from enkash_coins.calls.call import Caller

#: The point, what is replaced to be there, and whether that is when it begins.
POINTS: dict[str, tuple[object, str, bool]] = {
    "before the claim of a page is committed": (records, "page", False),
    "before the claim of a single change is committed": (records, "claim", False),
    "before anything is sent": (Caller, "call", True),
    "after the answer": (Caller, "call", False),
    "before the end is committed": (records, "keep", False),
    "before anyone is told of the end": (Work, "_kept", True),
}


def kill_at(point: str, after: int) -> None:
    """Have this process killed at a point, when it has passed it so often."""
    owner, name, at_the_beginning = POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    passed = iter(range(after))

    def kill() -> None:
        if next(passed, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    if asyncio.iscoroutinefunction(original):

        async def wrapped(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever it is
            if at_the_beginning:
                kill()
            result = await original(*arguments, **options)
            kill()
            return result

        setattr(owner, name, wrapped)
    else:

        def called(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever it is
            if at_the_beginning:
                kill()
            result = original(*arguments, **options)
            kill()
            return result

        setattr(owner, name, called)


async def apply(path: str) -> None:
    """Apply the run to the host of the environment."""
    async with CoinEventService.from_env(concurrency=4) as coins:
        await Run.open(path).apply(coins, timeout=0.1)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[3]))
    asyncio.run(apply(sys.argv[2]))
