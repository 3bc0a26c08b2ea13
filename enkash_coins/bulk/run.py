"""A run: a bulk change as a plan that is applied, gone on with and taken back, with nothing lost after a crash."""

import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from enkash_coins.bulk import planning
from enkash_coins.bulk.comparison import OK, State, readable
from enkash_coins.bulk.files.problems import BadFile, printable
from enkash_coins.bulk.kinds import ALLOCATIONS, KINDS, UPDATES, Item, Kind
from enkash_coins.bulk.ledger import records, storage, views
from enkash_coins.bulk.ledger.records import Counts, Entry, Record
from enkash_coins.bulk.limit import Refusal, refusal
from enkash_coins.bulk.lock import at_work
from enkash_coins.bulk.repeats import repeats
from enkash_coins.bulk.report import outcomes
from enkash_coins.bulk.work import Told, Work
from enkash_coins.bulk.writer import Writer
from enkash_coins.bulk.writing import Writing
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinEventConfig, Outcome, OutcomeStatus
from enkash_coins.service import CoinEventService, client_of

File = str | os.PathLike[str]
Group = tuple[State, str, int, list[Record]]

# What makes a plan another one, though its rows are the same.
_SAME: Final = ("kind", "base_url", "input", "reads", "max_change", "takes_back")


class AlreadyThere(BadFile):
    """The file of a new run is that of another one."""


class Run:
    """A run in its file. ``Run.plan`` makes one, ``Run.open`` opens one.

    Attributes:
        path: the file; absolute.
        name: the file as it was named, for messages.
        facts: what is kept of its plan and its life, by name.
        counts: rows by state, as far as the last call saw them.
        notes: what the last call has to say, such as allocations that other runs have given long ago.
        ended_by: why the last call did not work on all rows: an exception, or words; ``None`` if it did.
        stopped: whether the last call was stopped.
        host_failed: whether every row of the last call failed on the host's account.
    """

    def __init__(self, path: File, facts: dict[str, str]) -> None:
        self.path = Path(path).absolute()
        self.name = printable(str(path))
        self.facts = facts
        self.counts: Counts = Counts()
        self.notes: list[str] = []
        self.ended_by: Exception | str | None = None
        self.stopped = False
        self.host_failed = False
        self._work: Work | None = None

    @property
    def kind(self) -> Kind:
        """What its rows are."""
        return KINDS[self.facts["kind"]]

    @property
    def finished(self) -> bool:
        """Whether all is as wanted."""
        return self.counts.total() == sum(self.counts[state] for state in OK)

    @classmethod
    def open(cls, path: File) -> Self:
        """Open a run that is there.

        Raises:
            BadFile: it is none, is damaged, or was written by another version.
            LedgerFailed: it cannot be read.
        """
        if not Path(path).is_file():
            raise BadFile(f"{printable(str(path))}: no such file")
        with closing(storage.connect(Path(path))) as db:
            run = cls(path, storage.check(db, Path(path)))
            run.counts = views.counts(db)
            return run

    @classmethod
    async def plan(
        cls,
        rows: Iterable[Item],
        coins: CoinEventService,
        *,
        to: File,
        read: bool = True,
        max_change: str | None = None,
        last_wins: bool = False,
        allow_repeats: bool = False,
        on_progress: Told | None = None,
    ) -> Self:
        """Check all rows, put together those of one configuration, and read it; nothing is written remotely.

        If the run is there already, and is of the same rows, host and options, it goes on where it was interrupted.

        Args:
            rows: updates, allocations or creations, all of one kind; ``read(path)`` makes them from a file.
            to: the run's file.
            read: without it nothing can be told to have changed since the plan.
            max_change: refuse changes of an amount by more: ``"20%"`` or ``"50"``.
            last_wins: of rows that give one field of one configuration different values, the last one counts.
            allow_repeats: give allocations again that stand there twice, or that runs in the same folder have given.
            on_progress: called in the event loop with rows by state.

        Raises:
            BadFile: rows that cannot be sent, one line each; or the run's file is something else (``AlreadyThere``).
            InvalidRequest: ``max_change`` means nothing here.
            LedgerFailed, OSError: the run's file cannot be written.
            Exception: whatever the rows' own iterator raises.
        """
        refusal(max_change)
        entries = planning.Rows(rows)
        reads = read and entries.kind is UPDATES
        if max_change is not None and not reads:
            raise InvalidRequest("max_change: amounts are compared with what was read, and nothing is")
        facts = {"kind": entries.kind.name, "base_url": client_of(coins).base_url, "reads": "yes" if reads else "no"}
        facts |= {"max_change": max_change or "", "takes_back": ""}
        made = partial(cls._planned, last_wins=last_wins, allow_repeats=allow_repeats)
        return await made(to, facts, entries, coins, on_progress)

    @classmethod
    async def _planned(
        cls,
        to: File,
        facts: dict[str, str],
        rows: planning.Rows | Iterable[Entry],
        coins: CoinEventService,
        told: Told | None,
        *,
        last_wins: bool = False,
        allow_repeats: bool = False,
    ) -> Self:
        """The run that these rows make, or the one that they have made before; read."""
        facts |= {"run": uuid.uuid4().hex, "planned": _now()}
        with at_work(Path(to), new=True) as writer:
            known = await planning.load(writer, rows, facts, last_wins=last_wins, allow_repeats=allow_repeats)
            run = cls(to, known or facts)
            if any(run.facts[name] != facts[name] for name in _SAME):
                raise AlreadyThere(f"{run.name}: exists already, and is not overwritten")
            if allow_repeats:
                await run._note(writer, allow_repeats="yes")
            try:
                await run._refuse_repeats(writer)
            except BaseException:
                if known is None:
                    await writer.post(storage.begin)  # nothing is left of it
                raise
            work = Work(writer, coins, told)
            await run._done(work, Writing(work, run.kind, run._refusal()).plan())
        return run

    async def apply(
        self,
        coins: CoinEventService,
        *,
        check: bool = True,
        force: bool = False,
        replay: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  # not of this call
        on_progress: Told | None = None,
    ) -> Counts:
        """Work off all that is not as wanted; go on where it stopped. Returns rows by state.

        Args:
            check: read each configuration right before it is written. Without it only what is in doubt, or was changed
                by somebody else, is read.
            force: write also what somebody else has changed.
            replay: send allocations in doubt again, under their own request ids.
            timeout: seconds after which a request without an answer cannot arrive any more; else as long as the
                service waits for an answer.
            on_progress: called in the event loop with rows by state, after each commit.

        Raises:
            BadFile: it belongs to another host, was taken back, its plan is not finished, another process works on it,
                or runs in the same folder have given its allocations.
            LedgerFailed: its file cannot be written.
        """
        async with self._at_work(coins, on_progress, timeout) as work:
            if unread := work.counts[State.UNREAD]:
                raise BadFile(f"{self.name}: {unread:,} of its rows were not read yet: plan it again")
            await self._refuse_repeats(work.writer)
            await self._close_the_other()
            if not check and self.kind is UPDATES:
                await self._note(work.writer, unchecked="yes")
            writing = Writing(work, self.kind, self._refusal(), check=check, force=force, replay=replay)
            await self._done(work, writing.apply())
            if self.finished and "finished" not in self.facts:
                await self._note(work.writer, finished=_now())
        return self.counts

    async def rollback(
        self,
        coins: CoinEventService,
        *,
        to: File,
        timeout: float | None = None,  # noqa: ASYNC109  # not of this call
        on_progress: Told | None = None,
    ) -> "Run":
        """Plan a new run that takes this one back; it is applied like any other.

        Each configuration gets what it had right before the first write of this run, where it still holds what this run
        has left; else it is drifted. ``company_id`` cannot be read, and is not taken back.

        Args:
            to: the new run's file.
            timeout: as for ``apply``; so long it waits for what may arrive late.
            on_progress: called in the event loop with rows by state.

        Raises:
            BadFile: it cannot be taken back, or as for ``plan``.
        """
        if self.kind is ALLOCATIONS:
            raise BadFile(f"{self.name}: allocations cannot be taken back: the API has no call for it")
        if self.kind is not UPDATES:
            made = [f"it has made {record.id}" for record in self.records((State.APPLIED, State.MISMATCHED))]
            raise BadFile(f"{self.name}: creations cannot be taken back: the API has no way to delete them", *made)
        back = str(Path(to).absolute())  # noqa: ASYNC240  # looks at no file
        async with self._at_work(coins, None, timeout, unless=back) as work:
            await self._done(work, work.wait_for_late())
            if self.ended_by is not None:
                raise BadFile(f"{self.name}: was not taken back: {self.ended_by}")
            facts = {name: self.facts[name] for name in ("kind", "base_url")} | {"reads": "yes", "max_change": ""}
            facts |= {"takes_back": self.facts["run"], "takes_back_path": str(self.path)}
            blind: list[Record] = []
            with closing(storage.connect(self.path)) as db:
                undo = await Run._planned(to, facts, self._undoing(db, blind), coins, on_progress)
        if blind:
            undo.notes.append(f"{len(blind):,} writes cannot be taken back: nobody has read what was there before")
        return undo

    def _undoing(self, db: sqlite3.Connection, blind: list[Record]) -> Iterator[Entry]:
        """What takes it back, and what it has left there; gets those of which nobody knows what was there before."""
        nothing = True
        for record in records.every(db):
            if record.written and record.before is None:
                blind.append(record)
            elif record.written and (target := readable(record.wanted, record.before or {})):
                nothing = False
                shown = record.found if record.state is State.MISMATCHED else None
                yield record.line, record.id, True, target, readable(record.wanted, record.wanted | (shown or {}))
        if nothing:
            why = "neither its plan nor its apply has read what was there before" if blind else "it has written nothing"
            raise BadFile(f"{self.name}: there is nothing to take back: {why}")

    def refuse_closed(self) -> None:
        """Raise ``BadFile`` if it was taken back; it says by which run."""
        if by := self.facts.get("taken_back_by"):
            raise BadFile(f"{self.name}: is closed: it was taken back by {printable(by)}, {self.facts['taken_back']}")

    def stop(self, why: str) -> None:
        """Begin no more rows; those under way get a moment to come to an end, and none at the second call."""
        if self._work is not None:
            self._work.stop(why)

    def outcomes(self) -> Iterator[Outcome[Item, CoinEventConfig]]:
        """What became of each row that came to an end; those of one configuration one after the other."""
        for record in self.records(State(status) for status in OutcomeStatus):
            yield from outcomes(record, self.kind)

    def records(self, states: Iterable[State] = State) -> Iterator[Record]:
        """All that is known of each write in these states, in the order of their first rows."""
        with closing(storage.connect(self.path)) as db:
            yield from records.every(db, states)

    def summary(self, most_reasons: int, most_examples: int) -> tuple[int, int, list[Group]]:
        """How many writes; how many set a company; states and reasons with the number of their rows, and examples."""
        with closing(storage.connect(self.path)) as db:
            groups = [
                (state, reason, count, views.examples(db, state, reason, most_examples))
                for state, reason, count in views.reasons(db, most_reasons)
            ]
            return *views.numbers(db), groups

    def _refusal(self) -> Refusal:
        return refusal(self.facts["max_change"] or None)

    @asynccontextmanager
    async def _at_work(
        self, coins: CoinEventService, told: Told | None, arrives: float | None, *, unless: str = ""
    ) -> AsyncIterator[Work]:
        """Work on it, if it is of this host and was not taken back, unless by that run."""
        planned, other = self.facts["base_url"], client_of(coins).base_url
        if planned != other:
            raise BadFile(f"{self.name}: was planned for {planned}, and not for {other}")
        self.notes = []
        with at_work(self.path) as writer:
            work = self._work = Work(writer, coins, told, arrives)  # first: from now on it can be stopped
            try:
                self.facts = await writer.post(storage.facts)
                if self.facts.get("taken_back_by") != unless:
                    self.refuse_closed()
                await writer.post(partial(records.resume, late=work.late()))
                await work.recount()
                yield work
            finally:
                self._work = None

    async def _done(self, work: Work, doing: Coroutine[Any, Any, object]) -> None:
        """Have work done, and keep what came of it."""
        try:
            await doing
            await work.recount()
        finally:
            self.counts, self.ended_by = work.counts, work.ended_by
            self.stopped, self.host_failed = work.stopped, work.host_failed

    async def _refuse_repeats(self, writer: Writer) -> None:
        """Refuse allocations that runs in the same folder have given, unless that is wanted."""
        if self.kind is ALLOCATIONS:
            recent, older = await writer.post(lambda _: repeats(self.path, self.facts["base_url"]))
            self.notes = [*recent, *older]
            if "allow_repeats" not in self.facts:
                planning.refuse(recent, f"{self.name}: {planning.GIVES_AGAIN}")

    async def _close_the_other(self) -> None:
        """Close the run that this one takes back."""
        other = self.facts.get("takes_back_path")
        if other and storage.is_there(other):
            with at_work(Path(other)) as writer:
                facts = await writer.post(storage.facts)
                if facts["run"] == self.facts["takes_back"] and "taken_back_by" not in facts:
                    news = {"taken_back_by": str(self.path), "taken_back": _now()}
                    await writer.post(partial(storage.note, news=news))

    async def _note(self, writer: Writer, **news: str) -> None:
        await writer.post(partial(storage.note, news=news))
        self.facts |= news


def _now() -> str:
    """The time as it is kept and shown."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}"
