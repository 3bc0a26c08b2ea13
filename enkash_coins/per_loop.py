"""What belongs to one event loop, and is made anew when that loop has ended."""

import asyncio
import os
from asyncio import get_running_loop
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")
_forks = 0


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  # the one fact about a process that its objects cannot know
    _forks += 1


# Cheaper than asking for the process id at every call.
os.register_at_fork(after_in_child=_count_fork)


class WrongLoop(RuntimeError):
    """Something that belongs to one event loop is used on another, which runs as well."""


class PerLoop(Generic[T]):
    """Keeps what belongs to the event loop of the first use: sockets, locks and futures cannot move.

    When that loop is closed, or after a fork, it is made anew.

    Args:
        make: makes it, within the running loop; it is given what there was before.
    """

    __slots__ = ("_forks", "_loop", "_make", "latest")

    def __init__(self, make: Callable[[T | None], T]) -> None:
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forks = _forks
        self.latest: T | None = None

    def get(self) -> T:
        """What belongs to the running loop; raises ``WrongLoop``."""
        if get_running_loop() is not self._loop or self._forks != _forks:
            self.has_ended()
            self.latest = self._make(self.latest)
            self._loop, self._forks = get_running_loop(), _forks
        return cast("T", self.latest)

    def has_ended(self) -> bool:
        """Whether the latest belongs to a loop that is closed, or to the process before a fork.

        Raises:
            WrongLoop: it belongs to another loop, which may still run.
        """
        if self._forks != _forks:
            return True
        if self._loop is None or self._loop is get_running_loop():
            return False
        if self._loop.is_closed():
            return True
        raise WrongLoop(
            "this service belongs to another event loop: make one service per loop, or close that loop first"
        )
