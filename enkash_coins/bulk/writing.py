"""Writes: planned rows claimed by the page, sent, and their ends committed together."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from enkash_coins.bulk.crew import Crew
from enkash_coins.bulk.ledger import readings, writings
from enkash_coins.bulk.ledger.fields import Counts, End, Todo
from enkash_coins.bulk.reading import is_no, seen
from enkash_coins.bulk.rows import ALLOCATIONS, UPDATES, Values
from enkash_coins.bulk.state import ENDS, Event
from enkash_coins.display import cut
from enkash_coins.errors import NotFound
from enkash_coins.models import CoinAllocation, CoinEventUpdate, Outcome, OutcomeStatus
from enkash_coins.transport import was_harmless

_STALE = 15 * 60.0
_BEHIND = 4_096  # outcomes that may wait for the disk
# Rows of updates claimed at a time: so many for each of those under way, and at least. A commit costs as much CPU as
# four updates: half as many make a row 1 µs dearer. After a crash two pages are to be read again.
_AHEAD = 16
_LEAST = 32


class Writes:
    """The writes of a crew, each time that it goes through what is planned.

    Outcomes of updates are committed with the claim of the next page, those of allocations one by one.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._writer = crew.writer
        self._kind = crew.kind
        self._page = max(_LEAST, crew.rows.width * _AHEAD)
        self._under_way: dict[int, Todo] = {}
        self._ends: deque[End | int] = deque()  # of a row that was applied at once, its number is all there is
        self._queued = False  # whether the writer will look at them
        self._noted: asyncio.Future[Counts] = asyncio.get_running_loop().create_future()  # done when they are committed

    async def perform(self) -> None:
        """Write the rows that are planned."""
        try:
            await self._crew.work_off(self._pages(), self._perform, lambda todo: todo.id if todo.repeated else None)
        finally:
            for todo in self._under_way.values():
                self._ends.append(End(todo, Event.CUT_OFF, 1, self._crew.late(), "under way when it was stopped", None))
            self._under_way.clear()
            self._crew.moved(await self._writer.post(self._take))
            await self._writer.post(writings.release)
            if self._kind is ALLOCATIONS:
                await self._writer.post(readings.hold)

    async def _pages(self) -> AsyncIterator[list[Todo]]:
        """The planned rows in order; the next ones are fetched, and claimed, while these are at work."""
        beyond = -1

        def fetch() -> asyncio.Future[list[Todo]]:
            # Allocations are never claimed ahead: what is in doubt after a crash can be no more than what was sent.
            since = None if self._kind is ALLOCATIONS else 0.0 if self._crew.forced else time.time() - _STALE
            self._commit_ends()
            return self._writer.post(lambda db: writings.page(db, beyond, self._page, since))

        fetched = fetch()
        while (todos := await fetched) and self._crew.ended_by is None:
            beyond = todos[-1].number
            fetched = fetch()
            yield todos

    async def _perform(self, index: int, todo: Todo) -> Outcome[Any, Any]:
        if self._crew.ended_by is not None or not (todo.claimed or await self._claimed(index, todo)):
            return Outcome(index, todo, OutcomeStatus.NOT_SENT)
        self._under_way[todo.number] = todo
        wanted: dict[str, Any] = todo.wanted
        outcome: Outcome[Any, Any]
        try:
            if self._kind is UPDATES:
                outcome = await self._crew.rows.update(index, CoinEventUpdate(todo.id, **wanted))
            else:
                row = CoinAllocation(request_id=todo.id, **wanted)
                outcome = await self._crew.rows.allocate(index, row, replay=self._crew.replay)
        except asyncio.CancelledError as cut_off:
            if was_harmless(cut_off):
                del self._under_way[todo.number]  # it is given back, and not in doubt
            raise
        del self._under_way[todo.number]
        self._note(todo, outcome)
        if self._kind is ALLOCATIONS or len(self._ends) > _BEHIND:
            await asyncio.shield(self._noted)  # so that never more are in doubt than are under way
        return outcome

    def _end_of(self, todo: Todo, outcome: Outcome[Any, Any]) -> End:
        event = ENDS[outcome.status]
        late = self._crew.late() if outcome.late_risk or event is Event.CUT_OFF else None
        if todo.late is not None and event in (Event.REJECTED, Event.NOT_SENT):
            event, late = Event.CUT_OFF, todo.late  # a definite no to the repetition says nothing about the first time
        elif late is None and todo.repeated:
            late = todo.late or None  # what was late before still is
        found = seen(outcome.result) if event is Event.MISMATCHED and outcome.result is not None else None
        return End(
            todo, event, outcome.attempts, late, None if outcome.error is None else cut(outcome.error.args[0]), found
        )

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
        return writings.finish(db, applied, ends)

    def _told_of(self, noted: asyncio.Future[Counts]) -> None:
        if noted.cancelled():
            return
        if (failure := noted.exception()) is None:
            self._crew.moved(noted.result())
        else:
            self._crew.end(str(failure))  # whoever waits for the writing raises it

    async def _claimed(self, index: int, todo: Todo) -> bool:
        """Whether the row may be sent; if not, its end is noted, or its turn has not come."""
        event: Event | None = Event.FOUND_EXPECTED
        found: Values | None = None
        reason = None
        if todo.repeated and not await self._writer.post(lambda db: writings.has_its_turn(db, todo)):
            return False
        if self._is_stale(todo):
            outcome = await self._crew.rows.get(index, todo.id)
            if outcome.result is not None:
                found = seen(outcome.result)
                event = await self._writer.post(partial(writings.compare, todo=todo, found=found))
            elif is_no(outcome) and (todo.late is None or isinstance(outcome.error, NotFound)):
                event, reason = Event.FOUND_NOTHING, cut(outcome.error.summary if outcome.error else "")
            else:
                event = None
                self._crew.look_at(outcome)
        if event is None:
            return False
        if event is Event.FOUND_EXPECTED:
            await self._writer.post(lambda db: writings.claim(db, todo))
            return True
        self._crew.moved(await self._writer.post(lambda db: writings.note(db, todo, event, reason, found)))
        return False

    def _is_stale(self, todo: Todo) -> bool:
        return todo.read_at is not None and not self._crew.forced and not 0 <= time.time() - todo.read_at <= _STALE
