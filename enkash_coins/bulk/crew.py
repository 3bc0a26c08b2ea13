"""Who works on a run: what they share, and when they stop."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from enkash_coins.bulk.ledger import views
from enkash_coins.bulk.ledger.fields import Counts
from enkash_coins.bulk.rows import Kind
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

T = TypeVar("T")
Told = Callable[[Counts], None]

#: Errors that speak of the host as a whole, and not of the one row.
OF_THE_HOST: Final = (
    TransportError,
    ServerError,
    RateLimited,
    Unauthorized,
    Forbidden,
    UnexpectedRedirect,
    MalformedResponse,
)
# So many rows in a row that fail on account of the host end it: the others would fare no better, and each of them
# could end as unknown.
_HOPELESS = 100
_GRACE = 2.0


class Crew:
    """Works on the rows of a ledger by way of a service.

    Args:
        kind: what the rows are.
        told: called in the event loop with rows by state, after each commit that moved some.
        timeout: seconds after which a request cannot arrive any more; ``None``: the service's own.
        forced: write whatever is there.
        replay: send allocations again in doubt.
        grace: seconds that rows under way have to come to an end after the first ``stop()``.

    Attributes:
        counts: rows by state.
        ended_by: why not all rows were worked on: an exception, or words; ``None`` if they were.
        stopped: whether ``stop()`` was called.
        host_failed: whether rows failed on the host's account, and none failed or succeeded on its own.
    """

    def __init__(
        self,
        writer: Writer,
        kind: Kind,
        coins: CoinEventService,
        told: Told | None,
        *,
        timeout: float | None = None,
        forced: bool = False,
        replay: bool = False,
        grace: float = _GRACE,
    ) -> None:
        self.writer = writer
        self.kind = kind
        self.rows = client_of(coins)
        self._timeout = self.rows.timeout if timeout is None else timeout
        self.forced = forced
        self.replay = replay
        self.counts: Counts = Counts()
        self.ended_by: Exception | str | None = None
        self.stopped = False
        self.host_failed = False
        self._told = told
        self._grace = grace
        self._limit: asyncio.Timeout | None = None
        self._stopping = asyncio.Event()
        self._host_answers = False
        self._failed_in_a_row = 0

    def stop(self, why: str) -> None:
        """Begin no more rows; those under way get a moment to come to an end, and none at the second call."""
        if self._limit is not None and not self._limit.expired():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now if self.stopped else now + self._grace)
        self.stopped = True
        self.end(why)

    def end(self, why: Exception | str) -> None:
        """Begin no more rows."""
        if self.ended_by is None:
            self.ended_by = why
        self._stopping.set()

    def late(self) -> float:
        """Seconds since 1970 until when what is sent now may arrive."""
        return time.time() + self._timeout

    async def recount(self) -> None:
        """Count the rows by state."""
        self.counts = await self.writer.post(views.counts)
        if self._told is not None:
            self._told(self.counts)

    def moved(self, moved: Counts) -> None:
        """Tell of rows that have moved."""
        self.counts.update(moved)
        if self._told is not None:
            self._told(self.counts)

    async def wait(self, seconds: float) -> None:
        """Wait, unless it is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def work_off(
        self,
        pages: AsyncIterator[list[T]],
        perform: Callable[[int, T], Awaitable[Outcome[Any, Any]]],
        key: Callable[[T], str | None] = lambda _: None,
    ) -> None:
        """Perform many at once until none is left, or until it is stopped."""
        stream = self.rows.stream(pages, perform, key, paged=True)
        try:
            async with asyncio.timeout(None) as self._limit, stream:
                async for outcome in stream:
                    self.look_at(outcome)
        except TimeoutError:
            pass  # it was stopped, and the moment is over
        except LoginRefused as error:
            self.end(error)
        finally:
            self._limit = None

    def look_at(self, outcome: Outcome[Any, Any]) -> None:
        """Learn from a row whether it is any use to go on with others."""
        if outcome.error is None:
            if outcome.attempts:
                self._failed_in_a_row = 0
                self._host_answers = True
                self.host_failed = False
        elif isinstance(outcome.error, LoginRefused | LoginSuspended):
            self.end(outcome.error)
        elif isinstance(outcome.error, OF_THE_HOST):
            self._failed_in_a_row += 1
            self.host_failed = not self._host_answers
            if self._failed_in_a_row == _HOPELESS:
                self.end(
                    f"{_HOPELESS} rows in a row failed on account of the host, the last with: {outcome.error.summary}"
                )
        elif outcome.attempts:
            self._failed_in_a_row = 0
            self._host_answers = True
            self.host_failed = False
