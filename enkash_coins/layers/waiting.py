"""Waiting: for one's turn in a queue, and for a while that an event may end."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

Waiters = deque[asyncio.Future[None]]


async def wait_turn(waiters: Waiters, pass_on: Callable[[], object], *, first: bool = False) -> None:
    """Wait in a queue until woken.

    Args:
        pass_on: called when this task was woken and is cancelled all the same: the turn is somebody else's then.
        first: before all who wait already.
    """
    turn = asyncio.get_running_loop().create_future()
    waiters.insert(0 if first else len(waiters), turn)
    try:
        await turn
    except asyncio.CancelledError:
        if turn.done() and not turn.cancelled():
            pass_on()
        raise


def wake_one(waiters: Waiters) -> bool:
    """Give the turn to the first who still waits; whether there was one."""
    while waiters:
        turn = waiters.popleft()
        if not turn.done():  # else whoever waited was cancelled
            turn.set_result(None)
            return True
    return False


def wake_all(waiters: Waiters) -> None:
    """Give everybody a turn."""
    while wake_one(waiters):
        pass


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Wait so many seconds, or until the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
