"""The work on a run: readings that move rows, and calls that write them, many at once."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from enkash_coins import endpoints
from enkash_coins.bulk import ledger
from enkash_coins.bulk.ledger import Counts, End, Todo
from enkash_coins.bulk.rows import ALLOCATIONS, UPDATES, Kind, Values
from enkash_coins.bulk.state import ENDS, Event, look
from enkash_coins.bulk.writer import Work, Writer
from enkash_coins.display import cut
from enkash_coins.errors import (
    EnkashError,
    Forbidden,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    NotFound,
    RateLimited,
    ServerError,
    TransportError,
    Unauthorized,
    UnexpectedRedirect,
)
from enkash_coins.models import (
    AllocationReceipt,
    CoinAllocation,
    CoinEventConfig,
    CoinEventUpdate,
    Outcome,
    OutcomeStatus,
)
from enkash_coins.outcomes import outcome_of, refused
from enkash_coins.service import CoinEventService
from enkash_coins.stream import OutcomeStream

T = TypeVar("T")

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
_STALE = 15 * 60.0
_BEHIND = 4_096  # outcomes that may wait for the disk
# Rows of updates claimed at a time: so many for each of those under way, and at least. A commit costs as much CPU as
# four updates, and pages twice as long are slower again.
_AHEAD = 8
_LEAST = 32


class Crew:
    """Works on the rows of a ledger by way of a service.

    Args:
        kind: what the rows are.
        told: called in the event loop with rows by state, after each commit that moved some.
        timeout: seconds after which a request cannot arrive any more.
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
        told: Callable[[Counts], None] | None,
        *,
        timeout: float,
        forced: bool = False,
        replay: bool = False,
        grace: float = _GRACE,
    ) -> None:
        self.counts: Counts = Counts()
        self.ended_by: Exception | str | None = None
        self.stopped = False
        self.host_failed = False
        self._host_answers = False
        self._writer = writer
        self._kind = kind
        self._coins = coins
        self._told = told
        self._timeout = timeout
        self._forced = forced
        self._replay = replay
        self._grace = grace
        self._limit: asyncio.Timeout | None = None
        self._stopping = asyncio.Event()
        self._failed_in_a_row = 0
        self._under_way: dict[int, Todo] = {}
        self._ends: deque[End | int] = deque()  # of a row that was applied at once, its number is all there is
        # Outcomes of updates are committed with the claim of the next page, those of allocations one by one.
        self._page = max(_LEAST, coins._width * _AHEAD)  # noqa: SLF001  # the stream's own
        self._queued = False  # whether the writer will look at them
        self._noted: asyncio.Future[Counts] = asyncio.get_running_loop().create_future()  # done when they are committed

    def stop(self, why: str) -> None:
        """Begin no more rows; those under way get a moment to come to an end, and none at the second call."""
        if self._limit is not None and not self._limit.expired():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now if self.stopped else now + self._grace)
        self.stopped = True
        self._end(why)

    def _end(self, why: Exception | str) -> None:
        if self.ended_by is None:
            self.ended_by = why
        self._stopping.set()

    async def recount(self) -> None:
        """Count the rows by state."""
        self.counts = await self._writer.post(ledger.counts)
        if self._told is not None:
            self._told(self.counts)

    def _moved(self, moved: Counts) -> None:
        self.counts.update(moved)
        if self._told is not None:
            self._told(self.counts)

    async def read(
        self,
        ids: Callable[..., list[str]],
        found: Callable[[str, Values], Work[Counts | None]],
    ) -> None:
        """Read the configurations of these ids, and let each move its rows."""

        async def perform(index: int, id_: str) -> Outcome[str, CoinEventConfig]:
            if self.ended_by is not None:
                return Outcome(index, id_, OutcomeStatus.NOT_SENT)
            outcome = await self._get(index, id_)
            if outcome.result is not None:
                moved = await self._writer.post(found(id_, seen(outcome.result)))
            elif _is_no(outcome):
                reason, gone = cut(str(outcome.error)), isinstance(outcome.error, NotFound)
                moved = await self._writer.post(lambda db: ledger.not_found(db, id_, reason, gone=gone))
            else:
                moved = None
            if moved is not None:
                self._moved(moved)
            return outcome

        async def pages() -> AsyncIterator[list[str]]:
            last = ""
            while (page := await self._writer.post(partial(ids, beyond=last))) and self.ended_by is None:
                last = page[-1]
                yield page

        await self._drain(self._stream(pages(), perform, lambda _: None))

    async def write(self) -> None:
        """Write the rows that are planned."""
        try:
            await self._drain(
                self._stream(self._pages(), self._perform, lambda todo: todo.id if todo.repeated else None)
            )
        finally:
            for todo in self._under_way.values():
                self._ends.append(End(todo, Event.CUT_OFF, 1, self._late(), "under way when it was stopped", None))
            self._under_way.clear()
            self._moved(await self._writer.post(self._take))
            await self._writer.post(ledger.release)
            if self._kind is ALLOCATIONS:
                await self._writer.post(ledger.hold)

    async def wait(self, seconds: float) -> None:
        """Wait, unless it is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _stream(
        self,
        pages: AsyncIterator[list[T]],
        perform: Callable[[int, T], Awaitable[Outcome[T, Any]]],
        key: Callable[[T], str | None],
    ) -> OutcomeStream[T, Any]:
        return self._coins._stream(pages, perform, key, None, paged=True)  # noqa: SLF001  # as update_many does

    async def _drain(self, stream: OutcomeStream[T, Any]) -> None:
        try:
            async with asyncio.timeout(None) as self._limit, stream:
                async for outcome in stream:
                    self._look_at(outcome)
        except TimeoutError:
            pass  # it was stopped, and the moment is over
        except LoginRefused as error:
            self._end(error)
        finally:
            self._limit = None

    def _look_at(self, outcome: Outcome[Any, Any]) -> None:
        """Learn from a row whether it is any use to go on with others."""
        if outcome.error is None:
            if outcome.attempts:
                self._failed_in_a_row = 0
                self._host_answers = True
                self.host_failed = False
        elif isinstance(outcome.error, LoginRefused | LoginSuspended):
            self._end(outcome.error)
        elif isinstance(outcome.error, OF_THE_HOST):
            self._failed_in_a_row += 1
            self.host_failed = not self._host_answers
            if self._failed_in_a_row == _HOPELESS:
                self._end(f"{_HOPELESS} rows in a row failed on account of the host, the last with: {outcome.error}")
        elif outcome.attempts:
            self._failed_in_a_row = 0
            self._host_answers = True
            self.host_failed = False

    async def _pages(self) -> AsyncIterator[list[Todo]]:
        """The planned rows in order; the next ones are fetched, and claimed, while these are at work."""
        beyond = -1

        def fetch() -> asyncio.Future[list[Todo]]:
            # Allocations are never claimed ahead: what is in doubt after a crash can be no more than what was sent.
            since = None if self._kind is ALLOCATIONS else 0.0 if self._forced else time.time() - _STALE
            self._commit_ends()
            return self._writer.post(lambda db: ledger.page(db, beyond, self._page, since))

        fetched = fetch()
        while (todos := await fetched) and self.ended_by is None:
            beyond = todos[-1].number
            fetched = fetch()
            yield todos

    async def _perform(self, index: int, todo: Todo) -> Outcome[Any, Any]:
        if self.ended_by is not None or not (todo.claimed or await self._claimed(index, todo)):
            return Outcome(index, todo, OutcomeStatus.NOT_SENT)
        self._under_way[todo.number] = todo
        wanted: dict[str, Any] = todo.wanted
        outcome: Outcome[Any, Any]
        if self._kind is UPDATES:
            outcome = await self._coins._update_row(index, CoinEventUpdate(todo.id, **wanted))  # noqa: SLF001  # same
        else:
            outcome = await self._allocate(index, CoinAllocation(request_id=todo.id, **wanted))
        del self._under_way[todo.number]
        self._note(todo, outcome)
        if self._kind is ALLOCATIONS or len(self._ends) > _BEHIND:
            await asyncio.shield(self._noted)  # so that never more are in doubt than are under way
        return outcome

    async def _allocate(self, index: int, row: CoinAllocation) -> Outcome[CoinAllocation, AllocationReceipt]:
        coins = self._coins
        endpoint = endpoints.allocate(row, replay=self._replay)
        return outcome_of(index, row, await coins._call(endpoint, coins._options, patient=True))  # noqa: SLF001  # as update_many does

    def _end_of(self, todo: Todo, outcome: Outcome[Any, Any]) -> End:
        event = ENDS[outcome.status]
        if todo.late is not None and self._kind is ALLOCATIONS and event is not Event.APPLIED:
            event = Event.CUT_OFF  # a definite no to the repetition says nothing about the first time
        doubt = outcome.late_risk or event is Event.CUT_OFF
        found = seen(outcome.result) if event is Event.MISMATCHED and outcome.result is not None else None
        late = self._late() if doubt else todo.late if todo.repeated else None  # what was late before still is
        return End(
            todo, event, outcome.attempts, late, None if outcome.error is None else cut(outcome.error.args[0]), found
        )

    def _late(self) -> float:
        return time.time() + self._timeout

    def _note(self, todo: Todo, outcome: Outcome[Any, Any]) -> None:
        """Keep a row's end, to be committed together with others; at once, if another row waits for that."""
        at_once = outcome.status is OutcomeStatus.APPLIED and outcome.attempts == 1 and not outcome.late_risk
        self._ends.append(todo.number if at_once and not todo.repeated else self._end_of(todo, outcome))
        if self._kind is ALLOCATIONS or todo.repeated or len(self._ends) >= self._page:
            self._commit_ends()

    def _commit_ends(self) -> None:
        if self._ends and not self._queued:
            self._queued = True
            self._noted = self._writer.post(self._take)
            self._noted.add_done_callback(self._told_of)

    def _take(self, db: sqlite3.Connection) -> Counts:
        self._queued = False  # first: what comes from now on has the writer look again
        applied: list[int] = []
        ends: list[End] = []
        while self._ends:
            end = self._ends.popleft()
            if isinstance(end, End):
                ends.append(end)
            else:
                applied.append(end)
        return ledger.finish(db, applied, ends)

    def _told_of(self, noted: asyncio.Future[Counts]) -> None:
        if noted.cancelled():
            return
        if (failure := noted.exception()) is None:
            self._moved(noted.result())
        else:
            self._end(str(failure))  # whoever waits for the writing raises it

    async def _claimed(self, index: int, todo: Todo) -> bool:
        """Whether the row may be sent; if not, its end is noted, or its turn has not come."""
        event: Event | None = Event.FOUND_EXPECTED
        found: Values | None = None
        reason = None
        if todo.repeated and self._kind is not ALLOCATIONS:
            event = await self._writer.post(lambda db: ledger.prepare(db, todo, forced=self._forced))
            if event is Event.FOUND_OTHER:
                found, reason = todo.expected, "an earlier row of this id was not written"
        if event is Event.FOUND_EXPECTED and self._is_stale(todo):
            outcome = await self._get(index, todo.id)
            if outcome.result is not None:
                found = seen(outcome.result)
                event = look(todo.wanted, todo.expected, found)
                todo.read_at = time.time()
            elif _is_no(outcome):
                event, reason = Event.FOUND_NOTHING, cut(str(outcome.error))
            else:
                event = None
                self._look_at(outcome)
        if event is None:
            return False
        if event is Event.FOUND_EXPECTED:
            await self._writer.post(lambda db: ledger.claim(db, todo))
            return True
        self._moved(await self._writer.post(lambda db: ledger.note(db, todo, event, reason, found)))
        return False

    def _is_stale(self, todo: Todo) -> bool:
        return todo.read_at is not None and not self._forced and not 0 <= time.time() - todo.read_at <= _STALE

    async def _get(self, index: int, id_: str) -> Outcome[str, CoinEventConfig]:
        coins = self._coins
        try:
            endpoint = endpoints.get(id_)
        except EnkashError as error:
            return refused(index, id_, error)
        return outcome_of(index, id_, await coins._call(endpoint, coins._options, patient=True))  # noqa: SLF001  # as update_many does


def _is_no(outcome: Outcome[str, CoinEventConfig]) -> bool:
    """Whether a reading was refused on account of the row."""
    return outcome.status is OutcomeStatus.REJECTED and not isinstance(outcome.error, OF_THE_HOST)


def seen(config: CoinEventConfig) -> Values:
    """What of a configuration can be read back."""
    return {"amount": config.amount, "configuration": config.configuration, "event": config.event}
