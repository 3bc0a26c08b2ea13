"""Runs against a plain dictionary: planned, killed, gone on with, drifted and taken back, in any order."""

import asyncio
import json
import shutil
import tempfile
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enkash_coins import CoinEventService, CoinEventUpdate, Disconnected, Request, Response, RetryPolicy
from enkash_coins.bulk import BadFile, Run, State
from enkash_coins.testing import MockTransport, answer

IDS = ("A", "B", "C", "D")
ENDS = {State.APPLIED, State.UNCHANGED, State.REJECTED, State.DRIFTED}
FATES = ("ok", "ok", "ok", "refused", "lost before", "lost after")
TIMEOUT = 0.002  # nothing arrives late here


class Crash(Exception):
    """The process is gone."""


class Runs(RuleBasedStateMachine):
    """What the server has is compared with what the run wants, and with what somebody else has set."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="enkash-model-"))
        self.number = 0
        self.truth = dict.fromkeys(IDS, 5)
        self.fates: list[str] = []
        self.crash_after: int | None = None
        self.writes: list[tuple[str, int]] = []
        self.path: Path | None = None
        self.amounts: dict[str, int] = {}
        self.original: dict[str, int] = {}
        self.foreign: dict[str, int] = {}
        self.never_seen = count(1000)
        self.begun = False

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    def serve(self, request: Request) -> Response | Exception:
        """The server: a dictionary, with lost answers and refusals as they fall."""
        id_ = request.path.rpartition("/")[2]
        fate = self.fates.pop() if request.method == "PATCH" and self.fates else "ok"
        if request.method == "PATCH":
            if self.crash_after == 0 and self.path is not None:
                self.snapshot()
                raise Crash
            self.crash_after = None if self.crash_after is None else self.crash_after - 1
            if fate == "refused":
                return answer(None, status=422, code=1)
            if fate != "lost before":
                self.truth[id_] = int(json.loads(request.body)["amount"])
                self.writes.append((id_, self.truth[id_]))
            if fate.startswith("lost"):
                return Disconnected("gone")
        return answer({"coinConfigId": id_, "configuration": "DEFAULT", "event": "E", "amount": self.truth[id_]})

    def snapshot(self) -> None:
        """Go on with the run's file as it is at this instant, as after kill -9."""
        assert self.path is not None
        self.number += 1
        copy = self.folder / f"{self.number}.run"
        for ending in ("", "-wal"):
            source = Path(f"{self.path}{ending}")
            if source.exists():
                shutil.copyfile(source, f"{copy}{ending}")
        self.path = copy

    async def _with(self, work: object) -> Run:
        assert callable(work)
        transport = MockTransport(self.serve)  # type: ignore[arg-type]  # an exception of ours ends the process
        async with CoinEventService(transport, retry=RetryPolicy(attempts=1), concurrency=3) as coins:
            run = await work(coins)
        assert isinstance(run, Run)
        return run

    def new(self) -> Path:
        """A name that is free."""
        self.number += 1
        return self.folder / f"{self.number}.run"

    @initialize(amounts=st.dictionaries(st.sampled_from(IDS), st.sampled_from((5, 10, 20)), min_size=1))
    def plan(self, amounts: dict[str, int]) -> None:
        """Plan a change; it writes nothing."""
        self.amounts = amounts
        self.original = dict(self.truth)
        updates = [CoinEventUpdate(id_, amount=amount) for id_, amount in amounts.items()]
        path = self.new()
        asyncio.run(self._with(lambda coins: Run.plan(updates, coins, to=path)))
        self.path = path
        assert not self.writes

    @precondition(lambda self: not self.begun)
    @rule(id_=st.sampled_from(IDS))
    def somebody_else_writes(self, id_: str) -> None:
        """The plan meets values that are not its own."""
        self.truth[id_] = self.foreign[id_] = next(self.never_seen)

    @rule(fates=st.lists(st.sampled_from(FATES), max_size=8), crash=st.none() | st.integers(0, 6))
    def apply(self, fates: list[str], crash: int | None) -> None:
        """Apply, with the server's faults; maybe it is killed at some request."""
        assert self.path is not None
        self.begun = True
        self.fates, self.crash_after = fates, crash
        path = self.path
        run = Run.open(path)

        async def applied(coins: CoinEventService) -> Run:
            await run.apply(coins, timeout=TIMEOUT)
            return run

        try:
            asyncio.run(self._with(applied))
        except Crash:
            assert self.path != path
        self.fates, self.crash_after = [], None

    @rule()
    def finish(self) -> None:
        """Without faults, applying ends every change, and the server has what the run wants, or somebody else's."""
        self.apply([], None)
        assert self.path is not None
        run = Run.open(self.path)
        assert set(+run.counts) <= ENDS, run.counts
        for record in run.records():
            drifted = record.id in self.foreign and self.original[str(record.id)] != self.amounts[str(record.id)]
            assert (record.state is State.DRIFTED) == drifted, record
        self.check_truth(self.amounts)

    def check_truth(self, wanted: dict[str, int]) -> None:
        """The server has what was there, what the run wants, and somebody else's above all."""
        assert self.truth == self.original | wanted | self.foreign

    @precondition(lambda self: self.begun)
    @rule()
    def roll_back(self) -> None:
        """Taken back, everything is as it was, and what somebody else has written is untouched."""
        self.finish()
        assert self.path is not None
        done = Run.open(self.path)
        path = self.new()

        async def taken_back(coins: CoinEventService) -> Run:
            back = await done.rollback(coins, to=path, timeout=TIMEOUT)
            await back.apply(coins, timeout=TIMEOUT)
            return back

        try:
            back = asyncio.run(self._with(taken_back))
        except BadFile:  # it has written nothing
            assert not any(record.written for record in done.records())
        else:
            assert set(+back.counts) <= {State.APPLIED, State.UNCHANGED}
        self.check_truth({})
        again = [CoinEventUpdate(id_, amount=amount) for id_, amount in self.amounts.items()]
        self.path, self.begun, self.original, self.foreign = self.new(), False, dict(self.truth), {}
        to = self.path
        asyncio.run(self._with(lambda coins: Run.plan(again, coins, to=to)))

    @invariant()
    def nothing_unknown_was_written(self) -> None:
        """Whatever the server has seen stands in the plan, or in one that takes it back."""
        assert {id_ for id_, _ in self.writes} <= set(self.amounts)


TestRuns = Runs.TestCase
TestRuns.settings = settings(
    max_examples=20, stateful_step_count=8, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
