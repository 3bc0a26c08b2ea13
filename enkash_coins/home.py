"""Which event loop, in which process, something lives in."""

import asyncio
import os
from asyncio import get_running_loop
from enum import Enum, auto

_generation = 0


def _count_fork() -> None:
    global _generation  # noqa: PLW0603  # the one fact about a process that its objects cannot know
    _generation += 1


# Cheaper than asking for the process id at every call.
os.register_at_fork(after_in_child=_count_fork)


class Moved(Enum):
    """Why nothing from before may be used."""

    FIRST_USE = auto()
    LOOP_CLOSED = auto()
    FORKED = auto()


class Home:
    """Remembers the event loop of the first use.

    Sockets, locks and futures belong to one loop. A closed loop or a fork ends that: whoever asks is told to start
    afresh. Use on another living loop is a programming error.
    """

    __slots__ = ("_generation", "_loop")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generation = 0

    def settle(self) -> Moved | None:
        """Settle in the running loop; ``None`` when that is the one from before.

        Raises:
            RuntimeError: this lives in another loop, which is not closed.
        """
        loop = get_running_loop()
        before = self._loop
        if loop is before and self._generation == _generation:
            return None
        if before is None:
            moved = Moved.FIRST_USE
        elif self._generation != _generation:
            moved = Moved.FORKED
        elif before.is_closed():
            moved = Moved.LOOP_CLOSED
        else:
            raise RuntimeError(
                "this service belongs to another event loop: make one service per loop, or close that loop first"
            )
        self._loop, self._generation = loop, _generation
        return moved
