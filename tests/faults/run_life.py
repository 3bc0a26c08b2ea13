"""One seed of runs: planned, applied, killed, gone on with, drifted and taken back, against a server at its worst."""

import asyncio
import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

import attrs

from enkash_coins import CoinEventService, CoinEventUpdate, EnkashError, MemoryGuard
from enkash_coins.bulk import BadFile, Counts, LedgerFailed, Run, State
from enkash_coins.sandbox.world import Fields
from enkash_coins.service import client_of
from tests.faults.clients import Client, at_an_event, met, started
from tests.faults.run_rows import CONFIGS, KINDS, MAX_CHANGE, as_sent, rows
from tests.faults.troubles import LONGEST_DELAY, TIMEOUT
from tests.simulator.clock import run_virtual
from tests.simulator.fates import FINE, Fate, Seen
from tests.simulator.server import EPOCH, ModelledServer
from tests.simulator.writer import VirtualWriter

LATEST: Final = LONGEST_DELAY + 1.0  # virtual seconds after which no request arrives any more
ENDS: Final = tuple(state for state in State if state not in (State.UNREAD, State.PLANNED, State.SENT))
# A reading that lies makes any conclusion wrong: nobody can settle anything by it.
_OF_WRITES: Final = ("other values before", "other values after", "404")
_LONGEST_LIFE: Final = 200_000.0  # virtual seconds


@attrs.define(eq=False)
class Session:
    """One process's work on a run.

    Attributes:
        of_rollback: it is about the run that takes the first one back.
        quiet: nothing goes wrong.
        how: it came to its end.
    """

    what: str
    of_rollback: bool
    began: float
    quiet: bool
    check: bool = True
    force: bool = False
    replay: bool = False
    ended: float = 0.0
    how: str = "failed"


@attrs.define(eq=False)
class Asked:
    """A request about a configuration, an allocation or a creation that left, or tried to."""

    id: str
    body: Fields
    seen: Seen
    fate: Fate
    session: Session


@attrs.define(eq=False)
class Change:
    """Something that has changed a configuration, ours or, without a request, somebody else's."""

    id: str
    at: float
    body: Fields
    by: Asked | None = None


class Life:
    """A run's life.

    Args:
        folder: for its files.
        tally: what was done is added to it.

    Attributes:
        wrong: what was broken.
        run, back: the run's file, and the one that takes it back; each as the last crash has left it.
        first: configurations before anything was done.
        changes: of configurations, in order.
    """

    def __init__(self, dice: Random, folder: Path, tally: Counter[str]) -> None:
        self.wrong: list[str] = []
        self.done = tally
        self.writes: list[Asked] = []
        self.reads: list[Asked] = []
        self.foreign: list[Change] = []
        self.sessions: list[Session] = []
        self.run = folder / "0.run"
        self.back: Path | None = None
        self._folder = folder
        self._files = 0
        self._dice = dice
        self._rate = dice.uniform(0.05, 0.6)
        self.server = ModelledServer(
            CONFIGS,
            latency=lambda its: its.choice((0.02, 0.1, 0.3)),
            fate=self._fate,
            token_life=dice.choice([40.0, 300.0, 86_399.0]),
            seed=dice.randrange(2**32),
        )
        self.first = {id_: dict(config) for id_, config in self.server.configs.items()}
        self._guard = MemoryGuard()  # outlives crashes, as a file would
        self._session: Session | None = None
        self._view: sqlite3.Connection | None = None  # of the file that is being applied: what is committed
        self._writers: list[VirtualWriter] = []
        self._full: int | None = None  # at which transaction the disk is full
        self._durable: set[tuple[int, str, int]] = set()  # records, by all states that they had on the disk, and rows
        self._planned = False
        self._width = 0  # the most that a client which crashed had under way at once
        self.kind = dice.choice(KINDS)
        self.plan_reads = self.kind == "update" and dice.random() < 0.85
        self.max_change = self.plan_reads and dice.random() < 0.15
        self.items = rows(self.kind, dice, self.first, slips=self.max_change)
        self._ids = [id_ for item in self.items if (id_ := getattr(item, "coin_config_id", "")) in self.first]
        self._meddling = dice.choice((0.0, 0.0, 0.02, 0.1))  # how often somebody else is at it while we look and write

    @property
    def changes(self) -> list[Change]:
        """What has changed configurations, in order."""
        by = {id(write.seen): write for write in self.writes}
        ours = [
            Change(by[id(seen)].id, seen.applied or 0.0, by[id(seen)].body, by[id(seen)])
            for seen in self.server.applied
            if id(seen) in by
        ]
        return sorted([*ours, *self.foreign], key=lambda change: change.at)

    # What the server does

    def _fate(self, seen: Seen) -> Fate:
        session = self._session
        quiet = session is None or session.quiet
        never = _OF_WRITES if seen.operation == "get" else ()
        troubled, fate = (False, FINE) if quiet else met(seen, self._dice, self._rate, never=never)
        self.done["runs simulated: faults injected"] += troubled
        self.done["runs simulated: requests sent"] += 1
        if session is None or seen.operation == "token":
            return fate
        id_ = seen.request.path.rpartition("/")[2]
        body: Fields = json.loads(seen.request.body or b"{}")
        if seen.operation not in {"update", "get"}:
            id_ = str(body.get("requestId", body.get("event")))
        asked = Asked(id_, body, seen, fate, session)
        (self.reads if seen.operation == "get" else self.writes).append(asked)
        if seen.operation != "get" and not self._claimed(asked):
            self.wrong.append(f"sent without its claim on the disk: {id_} {body}")
        if not quiet and self.kind == "update" and self._dice.random() < self._meddling:
            asyncio.get_running_loop().call_later(self._dice.uniform(0, 0.7), self.somebody_else, id_)
        return fate

    def _claimed(self, asked: Asked) -> bool:
        """Whether the ledger's file says that this may be under way."""
        if self._view is None:
            return False
        wanted = self._view.execute("SELECT id, wanted FROM record WHERE state = 'sent'").fetchall()
        sent = [
            as_sent(json.loads(values)) | ({"requestId": id_} if self.kind == "allocation" else {})
            for id_, values in wanted
        ]
        ids = [asked.id] * len(wanted) if self.kind == "creation" else [id_ for id_, _ in wanted]
        return (asked.id, asked.body) in zip(ids, sent, strict=True)

    def somebody_else(self, id_: str | None = None) -> None:
        """Somebody else sets an amount: one of their own, or just what is wanted, or what was there before."""
        id_ = id_ or self._dice.choice(self._ids or ["NOSUCH"])
        if id_ not in self.server.configs:
            return
        self.done["runs simulated: changes by somebody else"] += 1
        mine = [item for item in self.items if isinstance(item, CoinEventUpdate) and item.coin_config_id == id_]
        wanted = [item.amount for item in mine if isinstance(item.amount, int)]
        amount = 5_000_000 + len(self.foreign)
        if self._dice.random() < 0.4:
            amount = self._dice.choice([int(str(self.first[id_]["amount"])), *wanted])
            self.done["runs simulated: changes by somebody else that coincide"] += 1
        self.server.configs[id_]["amount"] = amount
        self.foreign.append(Change(id_, asyncio.get_running_loop().time(), {"amount": amount}))

    # What processes do

    async def live(self, look: Callable[["Life", Run, bool], None]) -> None:
        """Live through it; ``look`` is shown the run when nothing can arrive late any more, and at its end."""
        dice = self._dice
        async with asyncio.timeout(_LONGEST_LIFE):
            await self._made("plan", self._plan)
            self._planned = True
            for _ in range(dice.randint(0, 4)):
                await self._pause()
                await self._apply(Run.open(self.run))
                if dice.random() < 0.3:
                    await asyncio.sleep(LATEST + TIMEOUT)
                    look(self, Run.open(self.run), False)
            taken_back = self.kind == "update" and dice.random() < 0.6
            if not taken_back or dice.random() < 0.5:
                await self._pause()
                await self._apply(Run.open(self.run), quiet=True)
                await asyncio.sleep(LATEST + TIMEOUT)
                look(self, Run.open(self.run), True)
            if taken_back:
                await self._take_back(look)

    async def _take_back(self, look: Callable[["Life", Run, bool], None]) -> None:
        await self._pause()
        self.back = self._new_file()
        try:
            await self._made("rollback", self._roll_back)
        except BadFile as error:
            written = [record for record in Run.open(self.run).records() if record.written]
            if "nothing to take back" not in str(error) or any(record.before for record in written):
                raise
            return
        self.done["runs simulated: rollbacks"] += 1
        for _ in range(self._dice.randint(0, 2)):
            await self._apply(self._open_back())
            await self._pause()
        await self._apply(self._open_back(), quiet=True)
        await asyncio.sleep(LATEST + TIMEOUT)
        look(self, self._open_back(), True)

    def _open_back(self) -> Run:
        assert self.back is not None
        return Run.open(self.back)

    async def _plan(self, coins: CoinEventService) -> Run:
        limit = str(MAX_CHANGE) if self.max_change else None
        reads = self.plan_reads or self.kind != "update"
        return await Run.plan(self.items, coins, to=self.run, read=reads, max_change=limit, on_progress=self._told)

    async def _roll_back(self, coins: CoinEventService) -> Run:
        assert self.back is not None
        return await Run.open(self.run).rollback(coins, to=self.back, on_progress=self._told, timeout=LATEST)

    async def _made(self, what: str, plan: Callable[[CoinEventService], Awaitable[Run]]) -> Run:
        """Plan until it is done, at last without faults."""
        for tries in range(10):
            run = await self._perform(what, plan, Session(what, self.back is not None, 0.0, quiet=tries >= 4))
            if run is not None and not run.counts[State.UNREAD]:
                return run
            await self._pause()
        raise AssertionError(f"the {what} is never done")

    async def _apply(self, run: Run, *, quiet: bool = False) -> None:
        dice = self._dice
        session = Session("apply", self.back is not None, 0.0, quiet)
        if not quiet:
            session.force, session.replay = dice.random() < 0.1, dice.random() < 0.15
            session.check = dice.random() < 0.85
        how = {"check": session.check, "force": session.force, "replay": session.replay}

        async def work(coins: CoinEventService) -> Run:
            await run.apply(coins, on_progress=self._told, timeout=LATEST, **how)
            return run

        with closing(sqlite3.connect(run.path)) as self._view:
            done = await self._perform("apply", work, session, run=run)
        self._view = None
        if done is not None:
            states: Counter[State] = Counter()
            for record in run.records():
                states[record.state] += len(record.rows)
            if states[State.SENT] or +run.counts != states:
                self.wrong.append(f"inconsistent at the end: told {run.counts}, {states} in the file")
        if quiet and (done is None or run.ended_by is not None):
            self.wrong.append(f"nothing was wrong, and it ended by {run.ended_by}")

    async def _perform(
        self,
        what: str,
        work: Callable[[CoinEventService], Awaitable[Run]],
        session: Session,
        *,
        run: Run | None = None,
    ) -> Run | None:
        """Have a process of its own do it, and something happen to it; ``None`` if it did not come to its end."""
        dice, loop = self._dice, asyncio.get_running_loop()
        session.began = loop.time()
        self.sessions.append(session)
        self._session, self._durable, self._writers, self._full = session, set(), [], None
        guard = MemoryGuard() if session.quiet else self._guard  # somebody has reset it
        one = started(len(self.sessions), self.server, guard, dice)
        task = loop.create_task(_as_task(work(one.coins)))
        if not session.quiet:
            self._befall(session, one, task, run)
        result = None
        await asyncio.wait([task])
        if session.how != "crashed":
            session.how = self._ended(session, task)
        if session.how == "ended by a full disk":  # that leaves behind what was under way, too
            self._width = max(self._width, client_of(one.coins).width)
        if session.how == "finished":
            result = task.result()
        self.done[f"runs simulated: {what}, {session.how}"] += 1
        session.ended = loop.time()
        if session.how != "crashed":
            await one.coins.aclose()
        self._session = None
        return result

    def _ended(self, session: Session, task: "asyncio.Task[Run]") -> str:
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        if error is None:
            run = task.result()
            return "stopped" if run.stopped else "finished" if run.ended_by is None else "given up"
        if isinstance(error, LedgerFailed) and self._full is not None:
            return "ended by a full disk"
        if isinstance(error, EnkashError) and not session.quiet:
            return "closed"
        raise error

    def _befall(self, session: Session, one: Client, task: "asyncio.Task[Run]", run: Run | None) -> None:
        """Let something happen to a process."""
        dice, loop = self._dice, asyncio.get_running_loop()
        if self._ids and self._planned and dice.random() < 0.3:
            loop.call_later(dice.uniform(0, 20), at_an_event, dice, self.somebody_else)
        what = dice.choices(("nothing", "crash", "stop", "cancel", "close", "full disk"), (40, 35, 15, 5, 5, 5))[0]
        do: Callable[[], object]
        match what:
            case "crash":
                do = partial(self._crash, session, one, task)
            case "stop" if run is not None:
                do = partial(self._stop, run)
            case "cancel":
                do = task.cancel
            case "close":
                do = partial(self._close, one, task)
            case "full disk":
                self._full = dice.randint(0, 30)
                return
            case _:
                return
        if dice.random() < 0.5:
            loop.call_later(dice.choice((0.0, dice.uniform(0, 1), dice.uniform(0, 20))), do)
        else:
            loop.call_later(dice.choice((0.01, dice.uniform(0, 1), dice.uniform(0, 20))), at_an_event, dice, do)

    def _stop(self, run: Run) -> None:
        run.stop("stopped")
        if self._dice.random() < 0.5:
            asyncio.get_running_loop().call_later(self._dice.uniform(0, 3), run.stop, "stopped again")

    def _close(self, one: Client, task: "asyncio.Task[Run]") -> None:
        if not task.done():
            one.tasks.add(asyncio.get_running_loop().create_task(one.coins.aclose()))

    def _crash(self, session: Session, one: Client, task: "asyncio.Task[Run]") -> None:
        """End as by kill -9: the files stay as they are at this instant, and nothing more leaves."""
        if task.done():
            return
        session.how = "crashed"
        self._width = max(self._width, client_of(one.coins).width)
        if self.kind != "update" and self._view is not None:
            (under_way,) = self._view.execute("SELECT count(*) FROM record WHERE state = 'sent'").fetchone()
            if under_way > self._width:
                self.wrong.append(f"{under_way} in doubt after a crash, with {self._width} at once")
        self.run = self._left_behind(self.run)
        self.back = None if self.back is None else self._left_behind(self.back)
        one.wire.die()
        for writer in self._writers:
            writer.die()
        one.tasks.add(asyncio.get_running_loop().create_task(self._bury(one, task)))

    def _left_behind(self, path: Path) -> Path:
        copy = self._new_file()
        for ending in ("", "-wal"):
            if Path(f"{path}{ending}").exists():
                shutil.copyfile(f"{path}{ending}", f"{copy}{ending}")
        return copy

    def _new_file(self) -> Path:
        """In a folder of its own: what lies beside a run counts."""
        self._files += 1
        folder = self._folder / str(self._files)
        folder.mkdir()
        return folder / "june.run"

    async def _bury(self, one: Client, task: "asyncio.Task[Run]") -> None:
        """Take the dead process's tasks out of the loop, whatever they would still wait for."""
        doomed: list[asyncio.Task[Any]] = [task]
        while not all(each.done() for each in doomed):
            for each in doomed:
                each.cancel()
            await asyncio.sleep(0)
            if one.grant._login is not None and one.grant._login not in doomed:  # it may have begun meanwhile
                doomed.append(one.grant._login)

    def writer(self, db: sqlite3.Connection, path: Path) -> VirtualWriter:
        """Take the place of a thread."""
        writer = VirtualWriter(
            db, path, dice=self._dice, full=self._full, look=_states, committed=partial(self._committed, path)
        )
        self._writers.append(writer)
        return writer

    def _committed(self, path: Path, states: list[tuple[int, str, int]]) -> None:
        if path in (self.run, self.back) and not (self.back and path == self.run):
            self._durable.update(states)

    def _told(self, counts: Counts) -> None:
        durable: Counter[str] = Counter()
        for _, state, its in self._durable:
            durable[state] += its
        early = [state for state in ENDS if counts[state] > durable[state]]
        if early and self._session is not None and self._session.how != "crashed":
            self.wrong.append(f"told before it was durable: {early} of {counts}, {durable} in the file")

    async def _pause(self) -> None:
        dice = self._dice
        seconds = dice.choice((0.0, dice.uniform(0, 10), dice.uniform(0, 100), dice.uniform(100, 1000)))
        if self._ids and self._planned and dice.random() < 0.3:
            await asyncio.sleep(seconds * dice.random())
            self.somebody_else()
        await asyncio.sleep(seconds)


def _states(db: sqlite3.Connection) -> list[tuple[int, str, int]]:
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'record'").fetchone() == (0,):
        return []
    return db.execute("SELECT number, state, rows FROM record").fetchall()


async def _as_task(work: Awaitable[Run]) -> Run:
    return await work


def _calendar() -> float:
    return EPOCH + asyncio.get_running_loop().time()


def live(dice: Random, folder: Path, tally: Counter[str], look: Callable[[Life, Run, bool], None]) -> Life:
    """Live one life; what was broken stands in its ``wrong``."""
    state = random.getstate()
    random.seed(dice.randrange(2**32))  # backoff throws these
    life = Life(dice, folder, tally)
    try:
        with (
            mock.patch("time.time", _calendar),
            mock.patch("enkash_coins.bulk.lock.Writer", life.writer),
        ):
            run_virtual(life.live(look))
    finally:
        random.setstate(state)
    return life
