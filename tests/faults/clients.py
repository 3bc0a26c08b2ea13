"""Clients of a simulation: how one starts, what its requests meet, and how it dies."""

import asyncio
from collections.abc import Callable, Collection
from random import Random
from typing import Any, Final

import attrs

from enkash_coins import CoinEventService, MemoryGuard, PasswordGrant, RetryPolicy
from enkash_coins.layers.pacing import Pacing
from tests.faults.troubles import OF_LOGINS, RARE, TIMEOUT, TROUBLES
from tests.simulator.fates import FINE, Fate, Seen
from tests.simulator.server import ModelledServer, ModelledWire, client


@attrs.define(eq=False)
class Client:
    """One client's life, from its start to its end or crash."""

    number: int
    coins: CoinEventService
    pacing: Pacing
    wire: ModelledWire
    grant: PasswordGrant
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    crashed: bool = False

    async def crash(self) -> None:
        """End as by kill -9: nothing that the client's own code would do still happens."""
        self.crashed = True
        self.wire.die()
        doomed = [*self.tasks, *([self.grant._login] if self.grant._login else ())]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        self.ended.set()


def started(number: int, server: ModelledServer, guard: MemoryGuard, dice: Random) -> Client:
    """A client with settings as the dice fall.

    Args:
        guard: outlives crashes, as a file would.
    """
    grant = server.grant()
    grant._guard = guard
    retry = RetryPolicy(
        attempts=dice.randint(1, 5),
        base=dice.choice((0.0, 0.1, 0.5)),
        max_wait=dice.choice((3.0, 20.0, 60.0)),
        budget=dice.choice((0, 5, 100)),
    )
    coins = client(
        server,
        auth=grant,
        timeout=TIMEOUT,
        retry=retry,
        concurrency=dice.choice((1, 2, 4, 32)),
        rate=dice.choice((None, None, None, 20.0)),
    )
    pacing = coins._pacing
    assert isinstance(pacing._inner, ModelledWire)
    return Client(number, coins, pacing, pacing._inner, grant)


_NAMES: Final = list(TROUBLES)


def met(seen: Seen, dice: Random, rate: float, *, never: Collection[str] = ()) -> tuple[bool, Fate]:
    """Whether a request meets a fault, and what becomes of it.

    Args:
        rate: how often it does.
        never: faults that are out of the question here.
    """
    if seen.operation == "token":
        troubled = seen.number > 1 and dice.random() < rate / 3
        return troubled, TROUBLES[dice.choice(OF_LOGINS)](dice) if troubled else FINE
    troubled = dice.random() < rate
    name = dice.choice(_NAMES)
    if name == RARE and dice.random() < 0.9:
        name = "429"
    if name in never:
        name = "503 with Retry-After"
    return troubled, TROUBLES[name](dice) if troubled else FINE


def at_an_event(dice: Random, do: Callable[[], object]) -> None:
    """Do it at the instant of something that is due (an answer, an end of a wait, an arrival), or a few turns on."""
    loop: Any = asyncio.get_running_loop()
    due = sorted(timer.when() for timer in loop._scheduled if not timer.cancelled())

    def after(turns: int) -> None:
        if turns:
            loop.call_soon(after, turns - 1)
        else:
            do()

    loop.call_at(dice.choice(due[:10]) if due else loop.time(), after, dice.randint(0, 6))
