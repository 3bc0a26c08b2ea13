"""Which event loop, in which process, something lives in."""

import asyncio
import os
from enum import Enum, auto


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

    __slots__ = ("_loop", "_pid")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def settle(self) -> Moved | None:
        """Settle in the running loop; ``None`` when that is the one from before.

        Raises:
            RuntimeError: this lives in another loop, which is not closed.
        """
        loop, pid = asyncio.get_running_loop(), os.getpid()
        before, self_pid = self._loop, self._pid
        if loop is before and pid == self_pid:
            return None
        if before is None:
            moved = Moved.FIRST_USE
        elif pid != self_pid:
            moved = Moved.FORKED
        elif before.is_closed():
            moved = Moved.LOOP_CLOSED
        else:
            raise RuntimeError(
                "this service belongs to another event loop: make one service per loop, or close that loop first"
            )
        self._loop, self._pid = loop, pid
        return moved
