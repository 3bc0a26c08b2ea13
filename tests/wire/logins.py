# ruff: noqa: T201  # a program prints
"""A program that logs in, run by ``test_shared_guard`` as ``python logins.py WHAT URL PASSWORD [GUARD]``.

It says that it is ready, starts when told to, and prints how its one call ended.
"""

import asyncio
import os
import sys
import time

from enkash_coins import CoinEventService, EnkashError, FileGuard, PasswordGrant, RetryPolicy
from enkash_coins.secret import Secret

WHAT, URL, PASSWORD, *NAMED = sys.argv[1:]
GUARD = FileGuard(NAMED[0]) if NAMED else None
LOGIN = ("sandbox-client", "sandbox-client-secret", "sandbox@example.com", PASSWORD)


async def get() -> None:
    """One call, which needs a login."""
    auth = PasswordGrant(*LOGIN, guard=GUARD)
    async with CoinEventService.connect(URL, auth=auth, retry=RetryPolicy(attempts=1)) as coins:
        try:
            await coins.get("WCC12345")
        except EnkashError as error:
            print(type(error).__name__, flush=True)
        else:
            print("fine", flush=True)


async def fork() -> None:
    """Hold the guard, and have a child that lives on when this process is killed."""
    assert GUARD
    async with GUARD.hold(Secret(LOGIN)):
        child = os.fork()
        if not child:
            time.sleep(60)  # noqa: ASYNC251  # the child does nothing but be there, until it is killed
            os._exit(0)
        print(child, flush=True)
        await asyncio.Event().wait()


print("ready", flush=True)
sys.stdin.readline()
asyncio.run({"get": get, "fork": fork}[WHAT]())
