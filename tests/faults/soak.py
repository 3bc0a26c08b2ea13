# ruff: noqa: T201  # a program prints
"""A program that uses a client in every way for so long, run by ``test_soak`` as ``python soak.py URL SECONDS``.

Every second, and in the end, it prints its resident memory in KiB, its open descriptors, its tasks, and how much it has
done.
"""

import asyncio
import gc
import logging
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate, EnkashError, PasswordGrant, RetryPolicy

URL, SECONDS = sys.argv[1], float(sys.argv[2])
RATE = 150.0  # requests per second: the server keeps what it is told
PAGE = os.sysconf("SC_PAGE_SIZE") // 1024
done = 0


def connect() -> CoinEventService:
    """A new client."""
    auth = PasswordGrant("sandbox-client", "sandbox-client-secret", "sandbox@example.com", "sandbox-password")
    retry = RetryPolicy(base=0.01, max_delay=0.1)
    return CoinEventService.connect(URL, auth=auth, timeout=0.5, retry=retry, concurrency=8, rate=RATE)


async def once(coins: CoinEventService) -> None:
    """One thing, by chance."""
    global done  # noqa: PLW0603  # a program's count
    id_ = f"WCC{random.randint(1, 500):05}"
    view = coins.with_options(deadline=random.choice((0.01, 0.2, 2.0)), timeout=random.choice((0.05, 0.5)))
    match random.randrange(8):
        case 0:
            await coins.get(id_)
        case 1:
            await view.update(id_, amount=random.randrange(100))
        case 2:
            await view.allocate(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1")
        case 3:
            await coins.balance("EK1")
        case 4:
            rows = [CoinEventUpdate(f"WCC{random.randint(1, 20):05}", amount=n) for n in range(20)]
            await view.update_many(rows).failures()
        case 5:
            given = [CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id=f"EK{n}") for n in range(5)]
            async with coins.allocate_many(given) as stream:
                await anext(stream)
        case 6:
            calls = [asyncio.ensure_future(coins.update(id_, amount=n)) for n in range(5)]
            await asyncio.sleep(random.uniform(0, 0.05))
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        case _:
            async with connect() as short:
                await short.get(id_)
    done += 1


async def work(coins: CoinEventService, ends: float) -> None:
    """One thing after another."""
    while asyncio.get_running_loop().time() < ends:
        with suppress(EnkashError):
            await once(coins)


async def main() -> None:
    """Several at once, on one client that lives from the first second to the last."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + SECONDS
    async with connect() as coins:
        workers = [loop.create_task(work(coins, ends)) for _ in range(6)]
        while loop.time() < ends:
            await asyncio.sleep(1)
            sample()
        await asyncio.gather(*workers)
    sample()


def sample() -> None:
    """How it is now."""
    gc.collect()  # what is only waiting for the collector has not leaked
    print(memory(), descriptors(), len(asyncio.all_tasks()), done, flush=True)


def memory() -> int:
    """KiB resident now; where the system does not tell, the most there ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text("utf-8").split()[1]) * PAGE
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/dev/fd").iterdir()))


logging.disable()
asyncio.run(main())
