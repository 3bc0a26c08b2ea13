"""A run: a bulk change as a plan that is applied, gone on with and taken back, with nothing lost after a crash."""

import os
import sqlite3
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Self

from enkash_coins.bulk.crew import Crew, Told
from enkash_coins.bulk.ledger import readings, storage, views
from enkash_coins.bulk.ledger.fields import Counts, Record
from enkash_coins.bulk.limit import Refusal, refusal
from enkash_coins.bulk.lock import at_work
from enkash_coins.bulk.planning import KnownRow, checked, loaded
from enkash_coins.bulk.reading import read_for_plan, settle, settle_late
from enkash_coins.bulk.report import outcome_of_record
from enkash_coins.bulk.rows import ALLOCATIONS, KINDS, UPDATES, Format, Item, Kind
from enkash_coins.bulk.source import BadFile, printable
from enkash_coins.bulk.state import OK, State
from enkash_coins.bulk.writing import Writes
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import Outcome, OutcomeStatus
from enkash_coins.service import CoinEventService, client_of

Group = tuple[State, str, int, list[Record]]

# Of writing again what a late arrival has overwritten, or what turned out not to have been applied.
_ROUNDS: Final = 3


class AlreadyThere(BadFile):
    """The file of a new run is that of another one."""


class Run:
    """A run in its file. ``Run.plan`` makes one, ``Run.open`` opens one.

    Attributes:
        path: the file.
        facts: what is kept of its plan: kind of its rows, base URL, digest of the input, whether it was read.
        counts: rows by state, as far as the last call saw them.
        ended_by: why the last call did not work on all rows: an exception, or words; ``None`` if it did.
        stopped: whether the last call was stopped.
        host_failed: whether every row of the last call failed on the host's account.
    """

    def __init__(self, path: Path, facts: dict[str, str]) -> None:
        self.path = path
        self.facts = facts
        self.kind: Kind = KINDS[facts["kind"]]
        self.counts: Counts = Counts()
        self.ended_by: Exception | str | None = None
        self.stopped = False
        self.host_failed = False
        self._crew: Crew | None = None

    @property
    def name(self) -> str:
        """The file, as it may be shown."""
        return printable(str(self.path))

    @property
    def reads(self) -> bool:
        """Whether configurations were read before anything was planned."""
        return self.facts["reads"] == "yes"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a run that is there.

        Raises:
            BadFile: it is none, is damaged, or was written by another version.
            LedgerFailed: it cannot be read.
        """
        file = Path(path)
        if not file.is_file():
            raise BadFile(f"{printable(str(file))}: no such file")
        with closing(storage.connect(file)) as db:
            run = cls(file, storage.check(db, file))
            run.counts = views.counts(db)
            return run

    @classmethod
    async def plan(
        cls,
        rows: str | os.PathLike[str] | Iterable[Item],
        coins: CoinEventService,
        *,
        to: str | os.PathLike[str],
        allocate: bool = False,
        read: bool = True,
        max_change: str | None = None,
        form: Format | None = None,
        unless_done: bool = False,
        on_progress: Told | None = None,
    ) -> Self:
        """Check all rows and read every configuration; nothing is written remotely.

        If the run is there already, and is of the same rows, host and options, it goes on where it was interrupted.

        Args:
            rows: a file (``-`` for standard input), or the rows themselves.
            to: the run's file.
            allocate: the rows are allocations; they are not read, and get their request ids now.
            read: without it nothing is known of what is there: no ``unchanged``, and no rollback.
            max_change: refuse rows that change an amount by more: ``"20%"`` or ``"50"``.
            form: how the file's rows are written, if its name does not tell.
            unless_done: do not take a run of updates that is there when it is wholly applied; one of allocations is
                taken all the same, so that nothing is given twice.
            on_progress: called in the event loop with rows by state.

        Raises:
            BadFile: rows that cannot be sent, one line each; or the run's file is something else (``AlreadyThere``).
            InvalidRequest: ``max_change`` means nothing here.
            LedgerFailed, OSError: the run's file cannot be written.
        """
        kind = ALLOCATIONS if allocate else UPDATES
        reads = read and not allocate
        refused = refusal(max_change)
        if max_change is not None and not reads:
            raise InvalidRequest("max_change: amounts are compared with what was read, and nothing is")
        facts = {"kind": kind.name, "base_url": client_of(coins).base_url, "reads": "yes" if reads else "no"}
        facts["max_change"] = max_change or ""
        with checked(rows, kind, form) as every:
            known_rows = ((row, None) for row in every)
            return await cls._made(
                Path(to), facts, known_rows, coins, told=on_progress, refused=refused, unless_done=unless_done
            )

    @classmethod
    async def _made(
        cls,
        path: Path,
        facts: dict[str, str],
        rows: Iterable[KnownRow],
        coins: CoinEventService,
        *,
        told: Told | None,
        refused: Refusal,
        unless_done: bool,
    ) -> Self:
        """The run that these rows make, or the one that they have made before, if that is not finished; read."""
        with at_work(path, new=True) as writer:
            known = await loaded(writer, rows, facts)
            run = cls(path, facts)
            crew = run._crew = Crew(writer, run.kind, coins, told)
            await crew.recount()
            unfinished = crew.counts.total() > sum(crew.counts[state] for state in OK)
            if known is not None and (known != facts or (unless_done and run.kind is UPDATES and not unfinished)):
                raise AlreadyThere(f"{run.name}: exists already, and is not overwritten")
            await run._finish(crew, read_for_plan(crew, refused))
        return run

    async def apply(
        self,
        coins: CoinEventService,
        *,
        on_progress: Told | None = None,
        force: bool = False,
        replay: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  # not of this call
    ) -> Counts:
        """Work off what is planned; go on where it stopped. Returns rows by state.

        Args:
            on_progress: called in the event loop with rows by state, after each commit.
            force: also write what somebody else has changed since the plan.
            replay: send allocations again in doubt, under their own request ids.
            timeout: seconds after which a request without an answer cannot arrive any more; else as long as the
                service waits for an answer.

        Raises:
            BadFile: it belongs to another host, its plan is not finished, or another process works on it.
            LedgerFailed: its file cannot be written.
        """
        self._refuse_other_host(coins)
        with at_work(self.path) as writer:
            crew = self._crew = Crew(
                writer, self.kind, coins, on_progress, timeout=timeout, forced=force, replay=replay
            )
            if unread := await writer.post(partial(views.count, state=State.UNREAD)):
                raise BadFile(f"{self.name}: {unread:,} of its rows were not read yet: plan it again")
            await self._finish(crew, self._work_off(crew))
        return self.counts

    async def _work_off(self, crew: Crew) -> None:
        writer = crew.writer
        await writer.post(lambda db: readings.resume(db, until=crew.late()))
        await crew.recount()
        if crew.forced:
            await writer.post(readings.force)
        await writer.post(readings.replay if crew.replay and self.kind is ALLOCATIONS else readings.hold)
        if self.kind is UPDATES:
            await settle(crew, views.ids_to_settle, due=False)
        await writer.post(readings.again)
        for _ in range(_ROUNDS):
            await crew.recount()
            await Writes(crew).perform()
            if self.kind is not UPDATES or not await settle_late(crew):
                break
        else:
            crew.end(f"some rows are still to be sent after {_ROUNDS} rounds")

    async def rollback(
        self,
        coins: CoinEventService,
        *,
        to: str | os.PathLike[str],
        on_progress: Told | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # not of this call
    ) -> "Run":
        """Plan a new run that takes this one back; it is applied like any other.

        Each configuration gets what it had before, where it still holds what this run has left; else it is drifted.
        ``company_id`` cannot be read, and is not taken back.

        Args:
            to: the new run's file.
            timeout: seconds after which a request without an answer cannot arrive any more; else as long as the
                service waits for an answer.

        Raises:
            BadFile: it cannot be taken back, or as for ``plan``.
        """
        self._refuse_other_host(coins)
        if self.kind is not UPDATES:
            raise BadFile(f"{self.name}: allocations cannot be taken back: the API has no call for it")
        if not self.reads:
            raise BadFile(f"{self.name}: cannot be taken back: it was planned without reading what was there before")
        with at_work(self.path) as writer:
            crew = self._crew = Crew(writer, self.kind, coins, None, timeout=timeout)
            if not self._is_being_taken_back(Path(to)):  # else its own writes would be read
                await writer.post(lambda db: readings.resume(db, until=crew.late()))
                await writer.post(readings.hold)
                await self._finish(crew, settle_late(crew, every=True))
                if self.ended_by is not None:
                    raise BadFile(f"{self.name}: what is in doubt in it could not be read: {self.ended_by}")
            with closing(storage.connect(self.path)) as db:
                facts = {**self.facts, "max_change": "", "takes_back": self.facts["input"]}
                rows = views.undoing(db)
                return await Run._made(
                    Path(to), facts, rows, coins, told=on_progress, refused=refusal(None), unless_done=False
                )

    def stop(self, why: str) -> None:
        """Begin no more rows; those under way get a moment to come to an end, and none at the second call."""
        if self._crew is not None:
            self._crew.stop(why)

    def outcomes(self) -> Iterator[Outcome[Item, object]]:
        """What became of each row that came to an end, in the order of the input."""
        ended = [State(status) for status in OutcomeStatus]
        return (outcome_of_record(record, self.kind) for record in self.records(ended))

    def records(self, states: Sequence[State] = tuple(State)) -> Iterator[Record]:
        """All that is known of the rows of these states, in the order of the input."""
        with self._reading() as db:
            yield from views.records(db, states)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(storage.connect(self.path)) as db:
                yield db
        except sqlite3.Error as error:
            raise storage.told(self.path, error) from None

    def summary(self, reasons: int, examples: int) -> tuple[dict[str, int], list[Group]]:
        """The plan's numbers, and the most frequent ends with some rows of each.

        Args:
            reasons: how many.
            examples: rows of each.
        """
        with self._reading() as db:
            groups = [
                (state, why, count, views.examples(db, state, why, examples))
                for state, why, count in views.reasons(db, reasons)
            ]
            return views.numbers(db), groups

    async def _finish(self, crew: Crew, work: Awaitable[object]) -> None:
        """Have work done, and keep what came of it."""
        try:
            await work
            await crew.recount()
        finally:
            self.counts = crew.counts
            self.ended_by, self.stopped, self.host_failed = crew.ended_by, crew.stopped, crew.host_failed
            self._crew = None

    def _is_being_taken_back(self, to: Path) -> bool:
        """Whether a rollback of this run that was interrupted is there."""
        with suppress(BadFile):
            return Run.open(to).facts.get("takes_back") == self.facts["input"]
        return False

    def _refuse_other_host(self, coins: CoinEventService) -> None:
        planned, other = self.facts["base_url"], client_of(coins).base_url
        if planned != other:
            raise BadFile(f"{self.name}: was planned for {planned}, and not for {other}")
