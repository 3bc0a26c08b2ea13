"""Work on a run: many calls at once, when it stops, and what it is told of."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from enkash_coins.bulk.ledger import changes, views
from enkash_coins.bulk.ledger.changes import Todo
from enkash_coins.bulk.ledger.views import Counts
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
from enkash_coins.models import Outcome, OutcomeStatus
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
# So many in a row that fail on account of the host end it: the others would fare no better, and each could end unknown.
_HOPELESS: Final = 100
_GRACE: Final = 2.0


class Work:
    """One piece of work on the changes of a ledger.

    Args:
        told: called in the event loop with rows by state, after each commit that moved some.
        timeout: seconds after which a request cannot arrive any more; ``None``: the service's own.

    Attributes:
        counts: rows by state.
        ended_by: why not all was worked on: an exception, or words; ``None`` if it was.
        stopped: whether ``stop()`` was called.
        host_failed: whether changes failed on the host's account, and none failed or succeeded on its own.
    """

    def __init__(
        self, writer: Writer, coins: CoinEventService, told: Told | None, timeout: float | None = None
    ) -> None:
        self.writer = writer
        self.client = client_of(coins)
        self.timeout = self.client.timeout if timeout is None else timeout
        self.counts: Counts = Counts()
        self.ended_by: Exception | str | None = None
        self.stopped = False
        self.host_failed = False
        self._told = told
        self._limit: asyncio.Timeout | None = None
        self._stopping = asyncio.Event()
        self._host_answers = False
        self._failed_in_a_row = 0

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

    def late(self) -> float:
        """Seconds since 1970 until when what is sent now may arrive."""
        return time.time() + self.timeout

    async def recount(self) -> None:
        """Count the rows by state."""
        self.counts = await self.writer.post(views.counts)
        self.moved(Counts())

    def moved(self, moved: Counts) -> None:
        """Tell of rows that have moved."""
        self.counts.update(moved)
        if self._told is not None:
            self._told(self.counts)

    async def wait_for_late(self) -> bool:
        """Wait until nothing can arrive late any more; whether something could, and now cannot."""
        until = await self.writer.post(views.latest)
        if until is None or self.ended_by is not None:
            return False
        try:  # never longer than that, however wrong a clock was
            async with asyncio.timeout(min(until - time.time(), self.timeout)):
                await self._stopping.wait()
        except TimeoutError:
            await self.writer.post(changes.arrived)
        return self.ended_by is None

    async def each(
        self,
        pages: AsyncIterator[list[Todo]],
        perform: Callable[[int, Todo], Awaitable[Outcome[Todo, Any]]],
    ) -> None:
        """Perform many at once until none is left, or until it is stopped."""
        stream = self.client.stream(pages, perform, lambda _: None, paged=True)
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
        """Learn from an outcome whether it is any use to go on with others."""
        if isinstance(outcome.error, LoginRefused | LoginSuspended):
            self.end(outcome.error)
        elif isinstance(outcome.error, OF_THE_HOST):
            self._failed_in_a_row += 1
            self.host_failed = not self._host_answers
            if isinstance(outcome.error, RateLimited):  # it has refused all for as long as the retry policy waits
                self.end(f"the host takes no more: {outcome.error.summary}")
            elif self._failed_in_a_row == _HOPELESS:
                self.end(f"{_HOPELESS} in a row failed on account of the host, the last with: {outcome.error.summary}")
        elif outcome.attempts:
            self._failed_in_a_row = 0
            self._host_answers = True
            self.host_failed = False


def is_no(outcome: Outcome[Any, Any]) -> bool:
    """Whether it was refused on account of the row."""
    return outcome.status is OutcomeStatus.REJECTED and not isinstance(outcome.error, OF_THE_HOST)
