"""Records looked at, claimed and written. A plan is the same look, after which nothing is written."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

from enkash_coins.api import endpoints
from enkash_coins.bulk.comparison import GONE, State, Values, decide, shown, untouched
from enkash_coins.bulk.kinds import ALLOCATIONS, CREATIONS, UPDATES, Kind
from enkash_coins.bulk.ledger import records
from enkash_coins.bulk.ledger.records import Record
from enkash_coins.bulk.limit import Refusal
from enkash_coins.bulk.work import OF_THE_HOST, Work
from enkash_coins.display import cut
from enkash_coins.errors import NotFound
from enkash_coins.models import CoinEventConfig, Outcome, OutcomeStatus
from enkash_coins.transport import was_harmless

_BEHIND: Final = 4_096  # records that may wait for the disk
# Seconds from a look to the write at most, but for what is in between on the wire, and how many are claimed together
# at most: a commit costs as much CPU as four updates.
_TURN: Final = 0.05
_TOGETHER: Final = 64
_ROUNDS: Final = 3  # of writing again what turned out not to have been applied
_AGAIN: Final = (State.PLANNED, State.REJECTED, State.NOT_SENT)
_TO_LOOK_AT: Final = (State.UNKNOWN, State.DRIFTED, State.MISMATCHED)


class Writing:
    """The looks and writes of a run.

    Args:
        refusal: tells why a change is refused, or ``None``.
        check: look at each configuration right before it is written; what is in doubt is looked at in any case.
        force: write also over what somebody else has set.
        replay: send allocations in doubt again.
    """

    def __init__(
        self, work: Work, kind: Kind, refusal: Refusal, *, check: bool = True, force: bool = False, replay: bool = False
    ) -> None:
        self._work = work
        self._kind = kind
        self._refusal = refusal
        self._looks = check and kind is UPDATES
        self._ahead = _AGAIN if kind is UPDATES and not check else ()  # claimed by the page, without a look
        self._force = force
        self._plans = False
        again = _TO_LOOK_AT if kind is UPDATES else (State.UNKNOWN,) if replay and kind is ALLOCATIONS else ()
        self._again = (*_AGAIN, *again)
        self._ask = partial(endpoints.allocate, replay=replay) if kind is ALLOCATIONS else kind.ask
        self._pending = 0  # how many are at work that may yet be to be claimed
        self._settled = asyncio.Event()  # one of them is no more
        self._ready: list[tuple[Record, Values | None]] = []  # to be claimed, and then written; with what is there
        self._claimed: dict[int, Record] = {}  # may leave, and have not
        self._under_way: dict[int, Record] = {}

    async def plan(self) -> None:
        """Read what no record was compared with yet."""
        self._plans = True
        await self._once((State.UNREAD,))

    async def apply(self) -> None:
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
            for record in self._under_way.values():
                record.attempts += 1
                self._note(record, State.UNKNOWN, late=self._work.late(), reason="under way when it was stopped")
            for record in self._claimed.values():
                self._work.note(record, record.state)  # as it was
            self._under_way.clear()
            self._claimed.clear()
            self._ready.clear()
            self._work.commit()
            await self._work.on_disk
            if self._ahead:
                await self._work.writer.post(records.release)

    async def _pages(self, states: Sequence[State], *, written: bool) -> AsyncIterator[list[Any]]:
        """What is to be done, in turns: some to look at, and then, claimed together, those that are to be written."""

        def fetch(beyond: int) -> asyncio.Future[list[Record]]:
            self._work.commit()
            return self._work.writer.post(
                lambda db: records.page(db, beyond, states=states, written=written, claim=self._ahead)
            )

        fetched = fetch(-1)  # while others are at work
        page: list[Record] = []
        ready: list[tuple[Record, Values | None]] = []
        on_disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        clock = asyncio.get_running_loop().time
        turn, began, more = 1, clock(), True
        while self._work.ended_by is None:
            if more and not page:
                page = await fetched
                if more := bool(page):
                    fetched = fetch(page[-1].number)
            if self._ready and not ready and (len(self._ready) >= turn or not page):
                elapsed, began = clock() - began, clock()
                turn = max(1, min(_TOGETHER, int(len(self._ready) * _TURN / (elapsed or _TURN))))
                ready, self._ready = self._ready, []
                on_disk = self._claim(ready)
            if ready and (on_disk.done() or not page):
                await on_disk
                yield ready
                ready = []
            elif page:
                some = page[:turn] if self._looks and not self._plans else page
                page = page[len(some) :]
                self._pending += len(some)
                yield some
            elif self._pending:
                self._settled.clear()
                await self._settled.wait()
            elif not self._ready:
                return

    async def _perform(self, index: int, step: Record | tuple[Record, Values | None]) -> Outcome[Any, Any]:
        record, found = step if isinstance(step, tuple) else (step, None)
        try:
            if self._work.ended_by is not None:
                return Outcome(index, record, OutcomeStatus.NOT_SENT)
            if record is not step:
                return await self._sent(index, record, found)
            if self._kind is not UPDATES:
                await asyncio.shield(self._claim([(record, None)]))
            elif self._looks or record.written or record.state in _TO_LOOK_AT:
                return await self._look(index, record)
            elif reason := self._refusal(record.wanted, record.known):
                self._note(record, State.NOT_SENT, reason=reason)
                return Outcome(index, record, OutcomeStatus.NOT_SENT)
            return await self._sent(index, record, None)
        finally:
            if record is step:
                self._pending -= 1
                self._settled.set()

    async def _look(self, index: int, record: Record) -> Outcome[str, CoinEventConfig]:
        """See what is there: the record comes to its end, or is ready to be written, or is left as it was."""
        outcome = await self._work.client.outcome(index, str(record.id), endpoints.get)
        if outcome.result is None:
            gone = isinstance(outcome.error, NotFound)
            no = outcome.status is OutcomeStatus.REJECTED and not isinstance(outcome.error, OF_THE_HOST)
            if gone or (no and not record.written):  # any other no says nothing of what may have been written
                state = decide(record.wanted, record.known, GONE, written=record.written)
                doubt = ", and was in doubt before" if record.written else ""
                self._note(record, state, reason=f"{_why(outcome)}{doubt}")
            return outcome
        found = shown(record.wanted, outcome.result)
        due = record.late is None or record.late <= time.time()
        if record.written and due and untouched(record.wanted, record.known, found):
            record.written = False
        state = decide(record.wanted, record.known, found, written=record.written, force=self._force)
        if state is State.DRIFTED:
            self._note(record, state, late=record.late, found=found)
        elif state is State.PLANNED and (reason := self._refusal(record.wanted, found)):
            self._note(record, State.DRIFTED if record.written else State.NOT_SENT, reason=reason, known=found)
        elif state is State.PLANNED and not self._plans:
            self._ready.append((record, found))
        else:
            self._note(record, state, late=record.late, known=found)
        return outcome

    def _claim(self, ready: Sequence[tuple[Record, Values | None]]) -> asyncio.Future[None]:
        """Have it committed that these may leave from now on, and what is there."""
        sent_at = None if self._kind is UPDATES else time.time()
        claims = []
        for record, found in ready:
            self._claimed[record.number] = record
            known = record.known if found is None else found
            claims.append((record.number, known, record.before if record.written else known, sent_at))
        self._work.commit()
        return self._work.writer.post(lambda db: records.claim(db, claims))

    async def _sent(self, index: int, record: Record, found: Values | None) -> Outcome[Any, Any]:
        self._claimed.pop(record.number, None)
        was = record.known, record.before
        if found is not None:
            record.known = found
        if not record.written:
            record.before = record.known
        self._under_way[record.number] = record
        try:
            outcome: Outcome[Any, Any] = await self._work.client.outcome(
                index, self._kind.made(record.id, record.wanted), self._ask
            )
        except asyncio.CancelledError as cut_off:
            if was_harmless(cut_off):  # it is given back, and not in doubt
                record.known, record.before = was
                self._claimed[record.number] = self._under_way.pop(record.number)
            raise
        del self._under_way[record.number]
        at_once = outcome.status is OutcomeStatus.APPLIED and outcome.attempts == 1 and record.late is None
        if at_once and self._kind is UPDATES:
            state, record.state = record.state, State.APPLIED
            self._work.note(record, state, plain=True)
        else:
            self._end(record, outcome)
        if self._kind is not UPDATES or self._work.behind > _BEHIND:
            self._work.commit()
            await asyncio.shield(self._work.on_disk)  # so that never more are in doubt than are under way
        return outcome

    def _end(self, record: Record, outcome: Outcome[Any, Any]) -> None:
        state, late, config, found, known = State(outcome.status), record.late, outcome.result, None, record.known
        record.attempts += outcome.attempts
        if outcome.late_risk or state is State.UNKNOWN:
            late = self._work.late()
        if record.written and state in (State.REJECTED, State.NOT_SENT):
            state = State.UNKNOWN  # a definite no to the repetition says nothing about the first time
        if isinstance(config, CoinEventConfig) and self._kind is CREATIONS:
            record.id, found = config.coin_config_id, config.as_dict()
        elif isinstance(config, CoinEventConfig) and state is State.MISMATCHED:
            found = known = shown(record.wanted, config)
        self._note(record, state, late=late, reason=_why(outcome), found=found, known=known)

    def _note(
        self,
        record: Record,
        state: State,
        *,
        late: float | None = None,
        reason: str | None = None,
        known: Values | None = None,
        found: Values | None = None,
    ) -> None:
        """Keep what has become of it."""
        was, record.state = record.state, state
        record.written = record.written or state in (State.APPLIED, State.MISMATCHED, State.UNKNOWN)
        record.late, record.reason, record.found = late, reason, found
        record.known = record.known if known is None else known
        self._work.note(record, was)


def _why(outcome: Outcome[Any, Any]) -> str | None:
    return None if outcome.error is None else cut(str(outcome.error.args[0]))
