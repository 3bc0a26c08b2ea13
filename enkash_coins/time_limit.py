"""So many seconds for what a task does.

An answer that has arrived counts. A loop that was blocked, or a process that was stopped, finds its timers due before
it has read its sockets, or written to them; so a timer that is late gives back the time that was lost.
"""

import asyncio
from asyncio import current_task, get_running_loop
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from enkash_coins.errors import TimedOut

# Seconds; a loop that is not blocked runs its timers sooner.
_PUNCTUAL = 0.005
# How often time is given back: a machine that is always late must come to an end, too.
_CHANCES = 8


class TimeLimit:
    """One time limit for many tasks, kept by one timer.

    ``asyncio.timeout`` makes a timer for each, which costs a twentieth of a request's CPU (``python -m
    benchmarks.cpu``). Tasks with the same limit end in the order in which they began, so one timer for the oldest is
    enough.

    Args:
        seconds: for each task, from its ``start`` to its ``stop``.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = get_running_loop()
        # By task: when its time ends, on the loop's clock, and how often it was being cancelled when it began.
        self._running: dict[asyncio.Task[Any], tuple[float, int]] = {}
        self._late: dict[asyncio.Task[Any], tuple[float, int]] = {}
        self._expired: dict[asyncio.Task[Any], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> float:
        """Begin the current task's time; what the loop's clock shows now."""
        task = current_task(self._loop)
        if task is None:
            raise RuntimeError("a request can only be sent from within a task")
        now = self._loop.time()
        ends = now + self.seconds
        self._running[task] = ends, task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_at(ends, self._sweep)
        return now

    def stop(self) -> bool:
        """End it: ``True`` if the task was cancelled because its time was over, and for nothing else."""
        task = current_task(self._loop)
        assert task is not None  # noqa: S101  # it has started
        if self._running.pop(task, None) or self._late.pop(task, None):
            return False
        return task.uncancel() <= self._expired.pop(task)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._running:
            task, entry = next(iter(self._running.items()))
            ends = entry[0]
            if ends > now:
                self._timer = self._loop.call_at(ends, self._sweep)
                return
            self._late[task] = self._running.pop(task)
            self._expire(task, entry, ends, _CHANCES)

    def _expire(self, task: asyncio.Task[Any], entry: tuple[float, int], due: float, chances: int) -> None:
        if self._late.get(task) is not entry:  # it has stopped meanwhile
            return
        late = self._loop.time() - due
        if late > _PUNCTUAL and chances:
            more = min(late, self.seconds)  # a machine may have slept for hours, and its connections are dead
            self._loop.call_later(more, self._expire, task, entry, due + late + more, chances - 1)
            return
        del self._late[task]
        self._expired[task] = entry[1]
        task.cancel()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the current task spend so many seconds in this block.

    Raises:
        TimedOut: they are over.
    """
    limit = TimeLimit(seconds)
    limit.start()
    try:
        yield
    except asyncio.CancelledError:
        if not limit.stop():
            raise
    except BaseException:
        limit.stop()
        raise
    else:
        limit.stop()
        return
    raise TimedOut(f"no answer within {seconds:g} s")
