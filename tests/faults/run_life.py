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
from typing import Any, Final, TypeVar
from unittest import mock

import attrs

from enkash_coins import CoinEventService, EnkashError, MemoryGuard
from enkash_coins.bulk import BadFile, Counts, LedgerFailed, Run, State
from enkash_coins.sandbox.world import Fields
from enkash_coins.service import client_of
from tests.faults.clients import Client, at_an_event, met, started
from tests.faults.run_rows import CONFIGS, MAX_CHANGE, Item, allocations, as_sent, updates
from tests.faults.troubles import LONGEST_DELAY, TIMEOUT
from tests.simulator.clock import run_virtual
from tests.simulator.fates import FINE, Fate, Seen
from tests.simulator.server import EPOCH, ModelledServer
from tests.simulator.writer import VirtualWriter

T = TypeVar("T")
LATEST: Final = LONGEST_DELAY + 1.0  # virtual seconds after which no request arrives any more
STALE: Final = 15 * 60.0
ENDS: Final = tuple(state for state in State if state not in (State.UNREAD, State.PLANNED, State.SENT))
# A reading that lies makes any conclusion wrong: nobody can settle anything by it.
_OF_WRITES: Final = ("other values before", "other values after", "404")
_LONGEST_LIFE: Final = 200_000.0  # virtual seconds


@attrs.define(eq=False)
class Session:
    """One process's work on a run.

    Attributes:
        of_rollback: it is about the run that takes the first one back.
        idle: virtual seconds since anybody last worked on this run.
        quiet: nothing goes wrong.
        how: it came to its end.
    """

    what: str
    of_rollback: bool
    began: float
    idle: float
    quiet: bool
    forced: bool = False
    replay: bool = False
    ended: float = 0.0
    how: str = "failed"


@attrs.define(eq=False)
class Write:
    """A request that left, or tried to."""

    id: str
    body: Fields
    seen: Seen
    fate: Fate
    session: Session

    @property
    def at(self) -> float:
        """When it took effect; virtual seconds."""
        assert self.seen.applied is not None
        return self.seen.applied


@attrs.define(eq=False)
class Foreign:
    """What somebody else has set; after so many of the server's own effects."""

    id: str
    amount: int
    at: float
    after: int


class Life:
    """A run's life.

    Args:
        folder: for its files.
        tally: what was done is added to it.

    Attributes:
        wrong: what was broken.
        run, back: the run's file, and the one that takes it back; each as the last crash has left it.
        first: configurations before anything was done.
        allocates, reads, max_change: what is planned, and how.
    """

    def __init__(self, dice: Random, folder: Path, tally: Counter[str]) -> None:
        self.wrong: list[str] = []
        self.done = tally
        self.writes: list[Write] = []
        self.foreign: list[Foreign] = []
        self.sessions: list[Session] = []
        self.run = folder / "0.run"
        self.back: Path | None = None
        self._folder = folder
        self._files = 0
        self._dice = dice
        self._rate = dice.uniform(0.1, 0.6)
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
        self._durable: Counter[str] = Counter()  # rows by state: the most that were ever committed in a session
        self._planned = False
        self._width = 0  # the most that a client which crashed had under way at once
        self.allocates = dice.random() < 0.35
        self.reads = not self.allocates and dice.random() < 0.85
        self.max_change = self.reads and dice.random() < 0.15
        self.items: list[Item] = (
            allocations(dice) if self.allocates else updates(dice, self.first, slips=self.max_change)
        )
        self._busy_until = 0.0

    # What the server does

    def _fate(self, seen: Seen) -> Fate:
        session = self._session
        quiet = session is None or session.quiet
        never = _OF_WRITES if seen.operation == "get" else ()
        troubled, fate = (False, FINE) if quiet else met(seen, self._dice, self._rate, never=never)
        self.done["runs simulated: faults injected"] += troubled
        self.done["runs simulated: requests sent"] += 1
        if seen.operation in ("update", "allocate"):
            body: Fields = json.loads(seen.request.body)
            id_ = str(body["requestId"]) if self.allocates else seen.request.path.rpartition("/")[2]
            if session is None or not self._intended(id_, body):
                self.wrong.append(f"sent without its intent on the disk: {id_} {body}")
            if session is not None:
                self.writes.append(Write(id_, body, seen, fate, session))
        return fate

    def _intended(self, id_: str, body: Fields) -> bool:
        """Whether the ledger's file says that this may be under way."""
        if self._view is None:
            return False
        rows = self._view.execute("SELECT id, wanted FROM row WHERE id = ? AND state = 'sent'", (id_,))
        return any(as_sent(id_, json.loads(wanted), allocates=self.allocates) == body for id_, wanted in rows)

    def somebody_else(self) -> None:
        """Somebody else sets an amount."""
        id_ = self._dice.choice([getattr(item, "coin_config_id", "NOSUCH") for item in self.items])
        if id_ in self.server.configs:
            self.done["runs simulated: changes by somebody else"] += 1
            amount = 5_000_000 + len(self.foreign)
            self.server.configs[id_]["amount"] = amount
            now = asyncio.get_running_loop().time()
            self.foreign.append(Foreign(id_, amount, now, len(self.server.applied)))

    def known_since(self, session: Session) -> tuple[float, float] | None:
        """Between which seconds a change by others must have been seen in this session, and kept; if it must."""
        if not self.reads or session.forced:
            return None
        planned = max(one.ended for one in self.sessions if one.what == "plan")
        if session.of_rollback:
            return 0.0, min(one.began for one in self.sessions if one.what == "rollback")
        return (planned, session.began) if session.idle > STALE else None

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
            taken_back = self.reads and dice.random() < 0.6
            if not taken_back or dice.random() < 0.5:
                await self._pause()
                await self._apply(Run.open(self.run), quiet=True)
                await asyncio.sleep(LATEST + TIMEOUT)
                look(self, Run.open(self.run), True)
            if taken_back:
                await self._take_back(look)

    async def _take_back(self, look: Callable[["Life", Run, bool], None]) -> None:
        dice = self._dice
        self.done["runs simulated: rollbacks"] += 1
        await self._pause()
        self.back = self._new_file()
        await self._made("rollback", self._roll_back)
        for _ in range(dice.randint(0, 2)):
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
        return await Run.plan(
            self.items,
            coins,
            to=self.run,
            allocate=self.allocates,
            read=self.reads or self.allocates,
            max_change=limit,
            on_progress=self._told,
        )

    async def _roll_back(self, coins: CoinEventService) -> Run:
        assert self.back is not None
        return await Run.open(self.run).rollback(coins, to=self.back, on_progress=self._told, timeout=LATEST)

    async def _made(self, what: str, plan: Callable[[CoinEventService], Awaitable[Run]]) -> Run:
        """Plan until it is done, at last without faults."""
        for tries in range(10):
            run = await self._perform(what, plan, quiet=tries >= 4)
            if run is not None and not run.counts[State.UNREAD]:
                return run
            await self._pause()
        raise AssertionError(f"the {what} is never done")

    async def _apply(self, run: Run, *, quiet: bool = False) -> None:
        dice = self._dice
        forced, replay = (not quiet and dice.random() < 0.1), (not quiet and dice.random() < 0.15)

        async def work(coins: CoinEventService) -> Run:
            await run.apply(coins, on_progress=self._told, force=forced, replay=replay, timeout=LATEST)
            return run

        with closing(sqlite3.connect(run.path)) as self._view:
            done = await self._perform("apply", work, quiet=quiet, forced=forced, replay=replay, run=run)
        self._view = None
        if done is not None:
            states = Counter(record.state for record in run.records())
            if states[State.SENT] or +run.counts != states:
                self.wrong.append(f"inconsistent at the end: told {run.counts}, {states} in the file")
        if quiet and (done is None or run.ended_by is not None):
            self.wrong.append(f"nothing was wrong, and it ended by {run.ended_by}")

    async def _perform(  # all but the first two are of an apply
        self,
        what: str,
        work: Callable[[CoinEventService], Awaitable[Run]],
        *,
        quiet: bool,
        forced: bool = False,
        replay: bool = False,
        run: Run | None = None,
    ) -> Run | None:
        """Have a process of its own do it, and something happen to it; ``None`` if it did not come to its end."""
        dice, loop = self._dice, asyncio.get_running_loop()
        session = Session(
            what, self.back is not None, loop.time(), loop.time() - self._busy_until, quiet, forced, replay
        )
        self.sessions.append(session)
        self._session, self._durable, self._writers, self._full = session, Counter(), [], None
        guard = MemoryGuard() if quiet else self._guard  # somebody has reset it
        one = started(len(self.sessions), self.server, guard, dice)
        task = loop.create_task(_as_task(work(one.coins)))
        if not quiet:
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
        session.ended = self._busy_until = loop.time()
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
        if isinstance(error, BadFile) and session.what == "rollback" and not session.quiet:
            return "given up"
        raise error

    def _befall(self, session: Session, one: Client, task: "asyncio.Task[Run]", run: Run | None) -> None:
        """Let something happen to a process."""
        dice, loop = self._dice, asyncio.get_running_loop()
        if not self.allocates and self._planned and dice.random() < 0.15:
            loop.call_later(dice.uniform(0, 20), self.somebody_else)
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
        if self.allocates and self._view is not None:
            (under_way,) = self._view.execute("SELECT count(*) FROM row WHERE state = 'sent'").fetchone()
            if under_way > self._width:
                self.wrong.append(f"{under_way} allocations in doubt after a crash, with {self._width} at once")
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
        self._files += 1
        return self._folder / f"{self._files}.run"

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
            db, path, dice=self._dice, full=self._full, look=_rows_by_state, committed=self._committed
        )
        self._writers.append(writer)
        return writer

    def _committed(self, rows: Counter[str]) -> None:
        self._durable |= rows

    def _told(self, counts: Counts) -> None:
        early = [state for state in ENDS if counts[state] > self._durable[state]]
        if early and self._session is not None and self._session.how != "crashed":
            self.wrong.append(f"told before it was durable: {early} of {counts}, {self._durable} in the file")

    async def _pause(self) -> None:
        dice = self._dice
        seconds = dice.choice((0.0, dice.uniform(0, 10), dice.uniform(0, 100), STALE + dice.uniform(100, 1000)))
        if not self.allocates and self._planned and dice.random() < 0.3:
            await asyncio.sleep(seconds * dice.random())
            self.somebody_else()
        await asyncio.sleep(seconds)


def _rows_by_state(db: sqlite3.Connection) -> Counter[str]:
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'row'").fetchone() == (0,):
        return Counter()
    return Counter(dict(db.execute("SELECT state, count(*) FROM row GROUP BY state")))


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
