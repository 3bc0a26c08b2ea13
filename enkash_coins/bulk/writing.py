"""Changes looked at and written: each read, claimed and sent, and its end committed together with others."""

import asyncio
import sqlite3
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

from enkash_coins.api import endpoints
from enkash_coins.bulk.comparison import GONE, Gone, State, Values, decide, readable, untouched
from enkash_coins.bulk.kinds import ALLOCATIONS, CREATIONS, UPDATES, Kind
from enkash_coins.bulk.ledger import changes
from enkash_coins.bulk.ledger.changes import Claim, End, Todo
from enkash_coins.bulk.ledger.views import Counts
from enkash_coins.bulk.limit import Refusal
from enkash_coins.bulk.work import Work, is_no
from enkash_coins.display import cut
from enkash_coins.errors import NotFound
from enkash_coins.models import CoinEventConfig, Outcome, OutcomeStatus
from enkash_coins.transport import was_harmless

_PAGE: Final = 512  # changes fetched at a time; without a look, also claimed
_BEHIND: Final = 4_096  # ends that may wait for the disk
# Seconds from a look to the write at most, but for what is in between on the wire, and how many are claimed together
# at most: a commit costs as much CPU as four updates.
_TURN: Final = 0.05
_TOGETHER: Final = 64
_ROUNDS: Final = 3  # of writing again what turned out not to have been applied
_AGAIN: Final = (State.PLANNED, State.REJECTED, State.NOT_SENT)
_TO_LOOK_AT: Final = (State.UNKNOWN, State.DRIFTED, State.MISMATCHED)


class Notes:
    """Claims and ends that wait for the disk: all those there are when the writer gets to them go in one commit."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: deque[Claim | End | Todo] = deque()  # of what was applied at once, nothing else is to be told
        self._queued = False  # whether the writer will look at them
        #: Done when all that waited for the last commit is on the disk.
        self.on_disk: asyncio.Future[Counts] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, note: Claim | End | Todo) -> None:
        """Keep one until the next commit."""
        self._waiting.append(note)

    def commit(self) -> None:
        """Have those that wait committed."""
        if not self._queued:
            self._queued = True
            self.on_disk = self._work.writer.post(self._take)
            self.on_disk.add_done_callback(self._told)

    def _take(self, db: sqlite3.Connection) -> Counts:
        self._queued = False  # first: what comes from now on has the writer look again
        moved: Counts = Counter()
        claims: list[Claim] = []
        applied: list[int] = []
        ends: list[End] = []
        while self._waiting:
            note = self._waiting.popleft()
            if isinstance(note, Claim):
                claims.append(note)
                continue
            todo, end = (note.todo, note.state) if isinstance(note, End) else (note, State.APPLIED)
            moved[todo.state] -= todo.rows
            moved[end] += todo.rows
            if isinstance(note, End):
                ends.append(note)
            else:
                applied.append(todo.number)
        changes.claim(db, claims)
        changes.finish(db, applied, ends)
        return moved

    def _told(self, committed: asyncio.Future[Counts]) -> None:
        if committed.cancelled():
            return
        if (failure := committed.exception()) is None:
            self._work.moved(committed.result())
        else:
            self._work.end(str(failure))  # whoever waits for the writer raises it


async def look(work: Work, index: int, todo: Todo) -> tuple[Values | Gone | None, Outcome[Any, CoinEventConfig]]:
    """Read a configuration, in the fields that are to be set; nothing if it could not be read."""
    outcome = await work.client.outcome(index, str(todo.id), endpoints.get)
    if outcome.result is not None:
        return readable(todo.wanted, outcome.result.as_dict()), outcome
    # Any other no than that it is gone says nothing of what may have been written.
    gone = is_no(outcome) and (isinstance(outcome.error, NotFound) or not todo.written)
    return GONE if gone else None, outcome


def skipped(index: int, todo: Todo) -> Outcome[Todo, Any]:
    """The outcome of what was not begun, and is left as it was."""
    return Outcome(index, todo, OutcomeStatus.NOT_SENT)


def why(outcome: Outcome[Any, Any]) -> str | None:
    """The reason of an outcome that is not ok."""
    return None if outcome.error is None else cut(str(outcome.error.args[0]))


class Writing:
    """The writes of a run.

    Args:
        kind: what its rows are.
        check: look at each configuration right before it is written; what is in doubt is looked at in any case.
        force: write also over what somebody else has set.
        replay: send allocations in doubt again.
        refusal: tells why a change is refused, or ``None``.
    """

    def __init__(self, work: Work, kind: Kind, *, check: bool, force: bool, replay: bool, refusal: Refusal) -> None:
        self._work = work
        self._kind = kind
        self._check = check
        self._force = force
        self._ask = partial(endpoints.allocate, replay=replay) if kind is ALLOCATIONS else kind.ask
        self._again = (
            *_AGAIN,
            *(_TO_LOOK_AT if kind is UPDATES else (State.UNKNOWN,) if replay and kind is ALLOCATIONS else ()),
        )
        self._refusal = refusal
        self._under_way: dict[int, Todo] = {}
        self._looking = 0  # how many are being looked at
        self._looked = asyncio.Event()
        self._ready: list[Todo] = []  # to be claimed, and then written
        self._notes = Notes(work)

    async def perform(self) -> None:
        """Write all that is to be written, and look again at what is in doubt once nothing can arrive late."""
        await self._once(self._again)
        if self._kind is UPDATES:
            for _ in range(_ROUNDS - 1):
                if not await self._work.wait_for_late():
                    return
                await self._once((State.UNKNOWN, State.DRIFTED), written=True)
            await self._work.wait_for_late()

    async def _once(self, states: Sequence[State], *, written: bool = False) -> None:
        try:
            await self._work.each(self._pages(states, written=written), self._perform)
        finally:
            for todo in self._under_way.values():
                self._note(
                    todo, State.UNKNOWN, attempts=1, late=self._work.late(), reason="under way when it was stopped"
                )
            self._under_way.clear()
            self._notes.commit()
            await self._notes.on_disk
            await self._work.writer.post(changes.release)

    async def _pages(self, states: Sequence[State], *, written: bool) -> AsyncIterator[list[Todo]]:
        """What is to be done, in turns: some to look at, and then, claimed together, those that are to be written."""
        fetched = self._fetched(-1, states, written=written)
        page: list[Todo] = []
        claimed: list[Todo] = []
        clock = asyncio.get_running_loop().time
        turn, began, more = 1, clock(), True
        while self._work.ended_by is None:
            if more and not page:
                page = await fetched
                more = bool(page)
                if more:
                    fetched = self._fetched(page[-1].number, states, written=written)
            if self._ready and not claimed and (len(self._ready) >= turn or not page):
                elapsed, began = clock() - began, clock()
                turn = max(1, min(_TOGETHER, int(len(self._ready) * _TURN / (elapsed or _TURN))))
                claimed, self._ready = self._ready, []
                self._claim(claimed)
            if claimed and (self._notes.on_disk.done() or not page):
                await self._notes.on_disk
                yield claimed
                claimed = []
            elif page:
                some = page[:turn] if self._check and self._kind is UPDATES else page
                page = page[len(some) :]
                self._looking += len(some)
                yield some
            elif self._looking:
                self._looked.clear()
                await self._looked.wait()
            elif not self._ready:
                return

    def _fetched(self, beyond: int, states: Sequence[State], *, written: bool) -> asyncio.Future[list[Todo]]:
        """The next changes; they are fetched while others are at work."""
        if len(self._notes):
            self._notes.commit()
        claim = _AGAIN if self._kind is UPDATES and not self._check else ()
        return self._work.writer.post(lambda db: changes.page(db, beyond, _PAGE, states, written=written, claim=claim))

    async def _perform(self, index: int, todo: Todo) -> Outcome[Todo, Any]:
        if todo.ready:
            return skipped(index, todo) if self._work.ended_by is not None else await self._sent(index, todo)
        try:
            if self._work.ended_by is not None:
                return skipped(index, todo)
            if self._kind is not UPDATES:
                self._claim([todo])
                await asyncio.shield(self._notes.on_disk)
            elif not todo.claimed:
                return await self._looked_at(index, todo)
            elif reason := self._refusal(todo.wanted, todo.known):
                self._note(todo, State.NOT_SENT, reason=reason)
                return skipped(index, todo)
            return await self._sent(index, todo)
        finally:
            self._looking -= 1
            self._looked.set()

    async def _looked_at(self, index: int, todo: Todo) -> Outcome[Todo, CoinEventConfig]:
        """Look at what is there: the change gets ready to be written, or comes to its end, or is left as it was."""
        seen, outcome = await look(self._work, index, todo)
        if seen is None:
            return outcome
        due = todo.late is None or todo.late <= time.time()
        if todo.written and due and not isinstance(seen, Gone) and untouched(todo.wanted, todo.known, seen):
            todo.written = False
        state = decide(todo.wanted, todo.known, seen, written=todo.written, force=self._force)
        if isinstance(seen, Gone):
            doubt = ", and was in doubt before" if todo.written else ""
            self._note(todo, state, reason=f"{why(outcome)}{doubt}")
        elif state is not State.PLANNED:
            self._note(todo, state, late=todo.late, found=seen if state is State.DRIFTED else None)
        elif reason := self._refusal(todo.wanted, seen):
            self._note(todo, State.DRIFTED if todo.written else State.NOT_SENT, reason=reason, found=seen)
        else:
            if not todo.written:
                todo.before = seen
            todo.known, todo.ready = seen, True
            self._ready.append(todo)
        return outcome

    def _claim(self, todos: Sequence[Todo]) -> None:
        """Have it committed that these may leave from now on, and what is there."""
        sent_at = None if self._kind is UPDATES else time.time()
        for todo in todos:
            self._notes.add(Claim(todo, sent_at))
        self._notes.commit()

    async def _sent(self, index: int, todo: Todo) -> Outcome[Todo, Any]:
        self._under_way[todo.number] = todo
        item = self._kind.made(todo.id, todo.wanted)
        try:
            outcome: Outcome[Any, Any] = await self._work.client.outcome(index, item, self._ask)
        except asyncio.CancelledError as cut_off:
            if was_harmless(cut_off):
                del self._under_way[todo.number]  # it is given back, and not in doubt
            raise
        del self._under_way[todo.number]
        self._end(todo, outcome)
        if self._kind is not UPDATES or len(self._notes) > _BEHIND:
            self._notes.commit()
            await asyncio.shield(self._notes.on_disk)  # so that never more are in doubt than are under way
        return outcome

    def _end(self, todo: Todo, outcome: Outcome[Any, Any]) -> None:
        if (
            outcome.status is OutcomeStatus.APPLIED
            and outcome.attempts == 1
            and todo.late is None
            and self._kind is UPDATES
        ):
            self._notes.add(todo)
            return
        late = self._work.late() if outcome.late_risk or outcome.status is OutcomeStatus.UNKNOWN else todo.late
        state, reason = State(outcome.status), why(outcome)
        if todo.written and state in (State.REJECTED, State.NOT_SENT):
            state = State.UNKNOWN  # a definite no to the repetition says nothing about the first time
        found = None
        if isinstance(shown := outcome.result, CoinEventConfig):
            if self._kind is CREATIONS:
                todo.id, found = shown.coin_config_id, shown.as_dict()
            elif state is State.MISMATCHED:
                found = todo.known = readable(todo.wanted, shown.as_dict())
        self._note(todo, state, attempts=outcome.attempts, late=late, reason=reason, found=found)

    def _note(
        self,
        todo: Todo,
        state: State,
        *,
        attempts: int = 0,
        late: float | None = None,
        reason: str | None = None,
        found: Values | None = None,
    ) -> None:
        may = state in (State.APPLIED, State.MISMATCHED, State.UNKNOWN) or bool(todo.written)
        self._notes.add(End(todo, state, todo.known, todo.before, may, found, attempts, late, reason, todo.id))
