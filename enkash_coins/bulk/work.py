"""One piece of work on a run: when it stops, what it learns of the host, and how its news gets to the disk."""

import asyncio
import sqlite3
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from enkash_coins.bulk.comparison import State
from enkash_coins.bulk.ledger import records, views
from enkash_coins.bulk.ledger.records import Counts, Record
from enkash_coins.bulk.writer import Writer
from enkash_coins.errors import (
    Forbidden,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    RateLimited,
    ServerError,
    TransportError,
    Unauthorized,
    UnexpectedRedirect,
)
from enkash_coins.models import Outcome
from enkash_coins.service import CoinEventService, client_of

Told = Callable[[Counts], None]

#: Errors that speak of the host as a whole, and not of the one row.
OF_THE_HOST: Final = (
    *(TransportError, ServerError, RateLimited, Unauthorized),
    *(Forbidden, UnexpectedRedirect, MalformedResponse),
)
# So many in a row that fail on account of the host end it: the others would fare no better, and each could end unknown.
_HOPELESS: Final = 100
_GRACE: Final = 2.0


class Work:
    """What is common to planning, applying and taking back.

    Args:
        told: called in the event loop with rows by state, after each commit that moved some.
        timeout: seconds after which a request cannot arrive any more; ``None``: the service's own.

    Attributes:
        counts: rows by state.
        ended_by: why not all was worked on: an exception, or words; ``None`` if it was.
        stopped: whether ``stop()`` was called.
        host_failed: whether something failed on the host's account, and nothing failed or succeeded on its own.
        on_disk: done when all that was noted before the last ``commit()`` is on the disk.
    """

    def __init__(
        self, writer: Writer, coins: CoinEventService, told: Told | None, timeout: float | None = None
    ) -> None:
        self.writer = writer
        self.client = client_of(coins)
        self.counts: Counts = Counts()
        self.ended_by: Exception | str | None = None
        self.stopped = False
        self.host_failed = False
        self.on_disk: asyncio.Future[Counts] = asyncio.get_running_loop().create_future()
        self._timeout = self.client.timeout if timeout is None else timeout
        self._told = told
        self._limit: asyncio.Timeout | None = None
        self._stopping = asyncio.Event()
        self._host_answers = False
        self._failed_in_a_row = 0
        self._noted: deque[tuple[Record, State, bool]] = deque()
        self._queued = False  # whether the writer will look at them

    def stop(self, why: str) -> None:
        """Begin nothing more; what is under way gets a moment to come to an end, and none at the second call."""
        if self._limit is not None and not self._limit.expired():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now if self.stopped else now + _GRACE)
        self.stopped = True
        self.end(why)

    def end(self, why: Exception | str) -> None:
        """Begin nothing more."""
        if self.ended_by is None:
            self.ended_by = why
        self._stopping.set()

    async def each(
        self, pages: AsyncIterator[list[Any]], perform: Callable[[int, Any], Awaitable[Outcome[Any, Any]]]
    ) -> None:
        """Perform many at once until none is left, or until it is stopped."""
        stream = self.client.stream(pages, perform, lambda _: None, paged=True)
        try:
            async with asyncio.timeout(None) as self._limit, stream:
                async for outcome in stream:
                    self._look_at(outcome)
        except TimeoutError:
            pass  # it was stopped, and the moment is over
        except LoginRefused as error:
            self.end(error)
        finally:
            self._limit = None

    def _look_at(self, outcome: Outcome[Any, Any]) -> None:
        """Learn whether it is any use to go on with others."""
        error = outcome.error
        if error is None:
            if outcome.attempts:
                self._failed_in_a_row, self._host_answers, self.host_failed = 0, True, False
        elif isinstance(error, LoginRefused | LoginSuspended):
            self.end(error)
        elif isinstance(error, OF_THE_HOST):
            self._failed_in_a_row += 1
            self.host_failed = not self._host_answers
            if isinstance(error, RateLimited):  # it has refused all for as long as the retry policy waits
                self.end(f"the host takes no more: {error.summary}")
            elif self._failed_in_a_row == _HOPELESS:
                self.end(f"{_HOPELESS} in a row failed on account of the host, the last with: {error.summary}")
        elif outcome.attempts:
            self._failed_in_a_row, self._host_answers, self.host_failed = 0, True, False

    def late(self) -> float:
        """Seconds since 1970 until when what is sent now may arrive."""
        return time.time() + self._timeout

    async def wait_for_late(self) -> bool:
        """Wait until nothing can arrive late any more; whether something could, and now cannot."""
        until = await self.writer.post(records.latest)
        if until is None or self.ended_by is not None:
            return False
        try:  # never longer than that, however wrong a clock was
            async with asyncio.timeout(min(until - time.time(), self._timeout)):
                await self._stopping.wait()
        except TimeoutError:
            await self.writer.post(records.arrived)
        return self.ended_by is None

    async def recount(self) -> None:
        """Count the rows by state."""
        self.counts = await self.writer.post(views.counts)
        self._tell(Counts())

    def note(self, record: Record, was: State, *, plain: bool = False) -> None:
        """Keep what has become of a record, with the next commit; it is counted when it is on the disk.

        Args:
            plain: it was applied at the first attempt, and there is nothing else to be kept.
        """
        self._noted.append((record, was, plain))

    @property
    def behind(self) -> int:
        """How many wait for the disk."""
        return len(self._noted)

    def commit(self) -> None:
        """Have all that was noted committed; what is noted before the writer gets to it is in the same commit."""
        if not self._queued:
            self._queued = True
            self.on_disk = self.writer.post(self._keep)
            self.on_disk.add_done_callback(self._kept)

    def _keep(self, db: sqlite3.Connection) -> Counts:
        self._queued = False  # first: what comes from now on has the writer look again
        moved: Counts = Counter()
        kept: list[Record] = []
        applied: list[int] = []
        while self._noted:
            record, was, plain = self._noted.popleft()
            rows = len(record.together) if record.together else 1
            moved[was] -= rows
            moved[record.state] += rows
            if plain:
                applied.append(record.number)
            else:
                kept.append(record)
        records.keep(db, kept)
        records.applied(db, applied)
        return moved

    def _kept(self, committed: asyncio.Future[Counts]) -> None:
        if committed.cancelled():
            return
        if (failure := committed.exception()) is None:
            self._tell(committed.result())
        else:
            self.end(str(failure))  # whoever waits for the writer raises it

    def _tell(self, moved: Counts) -> None:
        self.counts.update(moved)
        if self._told is not None:
            self._told(self.counts)
