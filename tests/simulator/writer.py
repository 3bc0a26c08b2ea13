"""A ledger's writer without a thread: it commits when the running loop's clock says so."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from enkash_coins.bulk import LedgerFailed

T = TypeVar("T")
_Job = tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]


class VirtualWriter:
    """What ``enkash_coins.bulk.writer.Writer`` does, on the real file and in the same groups, at virtual seconds.

    A transaction is open for as long as a disk may take; nobody is told of it before it is committed, and the news
    takes a moment more. So a crash may fall before, within and after it.

    Args:
        dice: throw the seconds.
        full: at which transaction the disk is full, and stays so; ``None`` for never.
        look: what it returns after each piece of work is given to ``committed``, once that is on the disk.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        *,
        dice: Random,
        full: int | None = None,
        look: Callable[[sqlite3.Connection], T],
        committed: Callable[[T], None],
    ) -> None:
        self.closing = False
        self._look = look
        self._committed = committed
        self._db = db
        self.path = path
        self._dice = dice
        self._left = full
        self._dead = False
        self._jobs: list[_Job] = []
        self._open: tuple[list[_Job], list[Any], list[Any]] | None = None  # a transaction, and what came of its jobs
        self._news: deque[tuple[list[_Job], list[Any], Exception | None]] = deque()
        self._timer: asyncio.Handle | None = None
        self._failure: Exception | None = None
        db.execute("PRAGMA synchronous=OFF")  # no power is cut here, and waiting for a real disk takes real time

    def post(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have work done; the future has its value once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append((work, future))
        if self._timer is None and not self._dead:
            self._timer = loop.call_soon(self._begin)
        return future

    def close(self) -> None:
        """Finish what is queued, and close the connection; a process that is dead has finished nothing."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._dead:
            if self._open is not None:
                self._commit()
            if self._jobs:
                self._begin(at_once=True)
        self._db.close()  # rolls back what is open

    def die(self) -> None:
        """End as by kill -9: nothing more is committed, and nobody hears anything."""
        self._dead = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, *, at_once: bool = False) -> None:
        jobs, self._jobs = self._jobs, []
        results: list[Any] = []
        looks: list[Any] = []
        if self._left is not None:
            self._left -= 1
        if self._failure is None:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for work, _ in jobs:
                    results.append(work(self._db))
                    looks.append(self._look(self._db))
                if self._left is not None and self._left < 0:
                    self._failure = LedgerFailed(f"{self.path}: database or disk is full")
            except Exception as error:  # noqa: BLE001  # whoever asked for the work gets what it raised
                self._failure = error
            if self._failure is not None:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
        self._open = jobs, results, looks
        seconds = 0.0 if at_once else self._dice.choice((0.0, 0.0, 0.001, 0.01, self._dice.uniform(0.0, 0.5)))
        if seconds:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._commit)
        else:
            self._commit()

    def _commit(self) -> None:
        assert self._open is not None
        (jobs, results, looks), self._open, self._timer = self._open, None, None
        loop = asyncio.get_running_loop()
        if self._failure is None:
            self._db.execute("COMMIT")
            for look in looks:
                self._committed(look)
        if self._jobs and not self.closing:
            self._timer = loop.call_soon(self._begin)
        self._news.append((jobs, results, self._failure))
        loop.call_later(self._dice.choice((0.0, 0.0, 0.002)), self._deliver)

    def _deliver(self) -> None:
        jobs, results, failure = self._news.popleft()  # the oldest, whichever timer this is
        for at, (_, future) in enumerate(jobs):
            if future.done() or self._dead:
                continue
            if failure is None:
                future.set_result(results[at])
            else:
                future.set_exception(failure)
                future.exception()  # as the real one does
