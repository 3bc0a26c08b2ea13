"""A run: a bulk change as a plan that is applied, gone on with and taken back, with nothing lost after a crash."""

import os
import sqlite3
import uuid
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from enkash_coins.bulk import planning
from enkash_coins.bulk.comparison import OK, State, readable
from enkash_coins.bulk.kinds import ALLOCATIONS, KINDS, UPDATES, Item, Kind
from enkash_coins.bulk.ledger import changes, storage, views
from enkash_coins.bulk.ledger.changes import Entry
from enkash_coins.bulk.ledger.views import Counts, Record
from enkash_coins.bulk.limit import Refusal, refusal
from enkash_coins.bulk.lock import at_work
from enkash_coins.bulk.repeats import repeats
from enkash_coins.bulk.report import outcomes
from enkash_coins.bulk.source import BadFile, printable
from enkash_coins.bulk.work import Told, Work
from enkash_coins.bulk.writer import Writer
from enkash_coins.bulk.writing import Writing
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinEventConfig, Outcome, OutcomeStatus
from enkash_coins.service import CoinEventService, client_of

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

    def __init__(self, path: str | os.PathLike[str], facts: dict[str, str]) -> None:
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
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a run that is there.

        Raises:
            BadFile: it is none, is damaged, or was written by another version.
            LedgerFailed: it cannot be read.
        """
        file = Path(path)
        if not storage.is_there(file):
            raise BadFile(f"{printable(str(path))}: no such file")
        with closing(storage.connect(file)) as db:
            run = cls(path, storage.check(db, file))
            run.counts = views.counts(db)
            return run

    @classmethod
    async def plan(
        cls,
        rows: Iterable[Item],
        coins: CoinEventService,
        *,
        to: str | os.PathLike[str],
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
        if max_change is not None and (entries.kind is not UPDATES or not read):
            raise InvalidRequest("max_change: amounts are compared with what was read, and nothing is")
        facts = {
            "kind": entries.kind.name,
            "base_url": client_of(coins).base_url,
            "reads": "yes" if read and entries.kind is UPDATES else "no",
            "max_change": max_change or "",
            "takes_back": "",
        }
        return await cls._planned(
            to, facts, entries, coins, on_progress, last_wins=last_wins, allow_repeats=allow_repeats
        )

    @classmethod
    async def _planned(
        cls,
        to: str | os.PathLike[str],
        facts: dict[str, str],
        rows: planning.Rows | Iterable[Entry],
        coins: CoinEventService,
        told: Told | None,
        *,
        last_wins: bool = False,
        allow_repeats: bool = False,
    ) -> Self:
        """The run that these rows make, or the one that they have made before, if that is not finished; read."""
        facts |= {"run": uuid.uuid4().hex, "planned": _now()}
        with at_work(Path(to), new=True) as writer:
            known = await planning.load(writer, rows, facts, last_wins=last_wins, allow_repeats=allow_repeats)
            run = cls(to, facts if known is None else known)
            if known is not None and any(known[name] != facts[name] for name in _SAME):
                raise AlreadyThere(f"{run.name}: exists already, and is not overwritten")
            if allow_repeats:
                await run._note(writer, allow_repeats="yes")
            try:
                await run._refuse_repeats(writer)
            except BaseException:
                if known is None:
                    await writer.post(storage.begin)  # nothing is left of it
                raise
            run._work = Work(writer, coins, told)
            await run._done(planning.read(run._work, run._refusal()))
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
        self.notes = []
        with self._at_work(coins) as writer:
            work = self._work = Work(writer, coins, on_progress, timeout)
            await writer.post(partial(changes.resume, late=work.late()))
            await work.recount()
            if unread := work.counts[State.UNREAD]:
                raise BadFile(f"{self.name}: {unread:,} of its rows were not read yet: plan it again")
            await self._refuse_repeats(writer)
            await self._close_the_other()
            if not check and self.kind is UPDATES:
                await self._note(writer, unchecked="yes")
            writing = Writing(work, self.kind, check=check, force=force, replay=replay, refusal=self._refusal())
            await self._done(writing.perform())
            if self.finished and "finished" not in self.facts:
                await self._note(writer, finished=_now())
        return self.counts

    async def rollback(
        self,
        coins: CoinEventService,
        *,
        to: str | os.PathLike[str],
        timeout: float | None = None,  # noqa: ASYNC109  # not of this call
        on_progress: Told | None = None,
    ) -> "Run":
        """Plan a new run that takes this one back; it is applied like any other.

        Each configuration gets what it had right before the first write of this run, where it still holds what this run
        has left; else it is drifted. ``company_id`` cannot be read, and is not taken back.

        Args:
            to: the new run's file.
            timeout: seconds after which a request without an answer cannot arrive any more; else as long as the
                service waits for an answer.
            on_progress: called in the event loop with rows by state.

        Raises:
            BadFile: it cannot be taken back, or as for ``plan``.
        """
        if self.kind is not UPDATES:
            raise BadFile(*self._no_way_back())
        with self._at_work(coins, closed_by=to) as writer:
            work = self._work = Work(writer, coins, None, timeout)
            await writer.post(partial(changes.resume, late=work.late()))
            await self._done(work.wait_for_late())
            if self.ended_by is not None:
                raise BadFile(f"{self.name}: was not taken back: {self.ended_by}")
            facts = self.facts | {"max_change": "", "takes_back": self.facts["run"], "takes_back_path": str(self.path)}
            for name in ("finished", "unchecked"):
                facts.pop(name, None)
            with closing(storage.connect(self.path)) as db:
                blind = views.numbers(db)["blind"]
                back = await Run._planned(to, facts | {"reads": "yes"}, self._undoing(db, blind), coins, on_progress)
        if blind:
            back.notes.append(f"{blind:,} of its writes cannot be taken back: nobody has read what was there before")
        return back

    def _undoing(self, db: sqlite3.Connection, blind: int) -> Iterator[Entry]:
        """What takes it back, and what it has left there."""
        nothing = True
        for line, id_, wanted, shown, before in views.undoing(db):
            if target := readable(wanted, before):
                nothing = False
                yield line, id_, True, target, readable(wanted, wanted | (shown or {}))
        if nothing:
            why = "neither its plan nor its apply has read what was there before" if blind else "it has written nothing"
            raise BadFile(f"{self.name}: there is nothing to take back: {why}")

    def _no_way_back(self) -> list[str]:
        if self.kind is ALLOCATIONS:
            return [f"{self.name}: allocations cannot be taken back: the API has no call for it"]
        made = [str(record.id) for record in self.records((State.APPLIED, State.MISMATCHED))]
        return [
            f"{self.name}: creations cannot be taken back: the API has no way to delete a configuration",
            *(f"it has made {id_}" for id_ in made),
        ]

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
        for record in self.records([State(status) for status in OutcomeStatus]):
            yield from outcomes(record, self.kind)

    def records(self, states: Iterable[State] = tuple(State)) -> Iterator[Record]:
        """All that is known of each change in these states, in the order of their first rows."""
        with closing(storage.connect(self.path)) as db:
            yield from views.records(db, states)

    def summary(self, most_reasons: int, most_examples: int) -> tuple[dict[str, int], list[Group]]:
        """What else is told of a run, and states and reasons with the number of their rows and a few examples."""
        with closing(storage.connect(self.path)) as db:
            return views.numbers(db), [
                (state, reason, count, views.examples(db, state, reason, most_examples))
                for state, reason, count in views.reasons(db, most_reasons)
            ]

    def _refusal(self) -> Refusal:
        return refusal(self.facts["max_change"] or None)

    @contextmanager
    def _at_work(self, coins: CoinEventService, *, closed_by: str | os.PathLike[str] = "") -> Iterator[Writer]:
        """Its writer, if it is open and of this host.

        Args:
            closed_by: the run that may have taken it back.
        """
        planned, other = self.facts["base_url"], client_of(coins).base_url
        if planned != other:
            raise BadFile(f"{self.name}: was planned for {planned}, and not for {other}")
        with at_work(self.path) as writer:
            with closing(storage.connect(self.path)) as db:
                self.facts = storage.facts(db)
            if self.facts.get("taken_back_by") != str(Path(closed_by).absolute()):
                self.refuse_closed()
            yield writer

    async def _done(self, work: Coroutine[Any, Any, object]) -> None:
        """Have work done, and keep what came of it."""
        doing = self._work
        assert doing is not None  # noqa: S101  # whoever has work done has made it
        try:
            await work
            await doing.recount()
        finally:
            self.counts = doing.counts
            self.ended_by, self.stopped, self.host_failed = doing.ended_by, doing.stopped, doing.host_failed
            self._work = None

    async def _refuse_repeats(self, writer: Writer) -> None:
        """Refuse allocations that runs in the same folder have given, unless that is wanted."""
        if self.kind is not ALLOCATIONS:
            return
        found = await writer.post(lambda _: repeats(self.path, self.facts["base_url"]))
        self.notes = [*found.recent, *found.older]
        if found.recent and self.facts.get("allow_repeats") != "yes":
            planning.refuse(found.recent, f"{self.name}: {planning.GIVES_AGAIN}")

    async def _close_the_other(self) -> None:
        """Close the run that this one takes back."""
        back = self.facts.get("takes_back_path")
        if back and storage.is_there(back):
            with at_work(Path(back)) as writer:
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
