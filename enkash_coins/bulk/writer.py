"""The one thread that writes: whatever queued during a commit goes into the next one."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs

from enkash_coins.bulk.files.problems import printable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_MOST = 4_096


class LedgerFailed(Exception):
    """The ledger could not be written or read: a full disk, a folder without permission, a torn file."""


@attrs.frozen
class _Job:
    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Writer:
    """Performs work on a connection in a thread of its own, and commits it in groups.

    A future is done when its work is on the disk. There is no timer: one row under way costs one commit, and a hundred
    cost little more.

    Args:
        db: used by this thread alone from now on, and closed by it.
        path: of its file, for messages.

    Attributes:
        path: of its file.
        closing: whether ``close()`` was called.
    """

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.closing = False
        self._db = db
        self.path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        # A daemon, because a process that is to end must not wait for it: what was not committed has not happened.
        self._thread = threading.Thread(target=self._work, name="enkash-ledger", daemon=True)
        self._thread.start()

    def post(self, work: Work[T]) -> asyncio.Future[T]:
        """Have work done; the future has its value once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, loop, future))
        return future

    def close(self) -> None:
        """Finish what is queued, and close the connection."""
        self.closing = True
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs = [self._jobs.get()]
            with suppress(queue.Empty):
                while len(jobs) < _MOST:
                    jobs.append(self._jobs.get_nowait())
            batch = [job for job in jobs if job is not None]
            ended = len(batch) < len(jobs)
            if batch:
                self._commit(batch)
        self._db.close()

    def _commit(self, batch: list[_Job]) -> None:
        results: list[Any] = []
        failure = self._failure  # after work that failed nothing else is done: it would build on what was undone
        if failure is None:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                results = [job.work(self._db) for job in batch]
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                failure = LedgerFailed(f"{printable(str(self.path))}: {error}")
            except Exception as error:  # noqa: BLE001  # whoever asked for the work gets what it raised
                failure = error
            if failure is not None:
                self._failure = failure
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
        for loop in {job.loop for job in batch}:
            mine = [(job, results[at] if failure is None else None) for at, job in enumerate(batch) if job.loop is loop]
            with suppress(RuntimeError):  # that loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_deliver, mine, failure)


def _deliver(done: list[tuple[_Job, Any]], failure: Exception | None) -> None:
    for job, result in done:
        if job.future.done():  # whoever waited was cancelled
            continue
        if failure is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(failure)
            job.future.exception()  # asyncio need not complain if nobody waits: all that comes after it fails as well
