"""A cancellation at every await point of the package, on the modelled wire: at once, final, and without a trace."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import product
from random import Random
from typing import Final

import attrs
import pytest

from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate, MemoryGuard, RetryPolicy
from enkash_coins.api import endpoints
from enkash_coins.otel import instrument
from enkash_coins.service import client_of
from tests.faults.await_points import Tracer, written
from tests.faults.cases import Cases, is_full
from tests.simulator.clock import run_virtual
from tests.simulator.fates import CUT_AFTER, FINE, NO_CONNECTION, NOTHING_LEAVES, SILENT_AFTER, Fate, Seen, answered
from tests.simulator.server import ModelledServer, client

ID: Final = "WCC00001"
MARK: Final = 999_999
OTHERS: Final = "WCC00009"  # read by the calls beside the one that is cancelled
SLOTS: Final = 2
TURNS: Final = range(4 if is_full() else 2)  # of the loop, from a task's wait to its cancellation
LONGEST_END: Final = 8  # turns of the loop; a stream cancels its workers, which cut off their calls
# What a call passes on its way; ``transports`` has a test of its own, on real sockets.
MODULES: Final = (
    *("service.py", "calls/client.py", "calls/call.py", "calls/stream.py", "otel.py"),
    *("auth/tokens.py", "auth/guard.py", "layers/waiting.py", "layers/bearer.py", "layers/pacing.py"),
)
# They stand in the text, and a task can never be found waiting there.
NEVER_WAITS: Final = {
    "async with asyncio.timeout(seconds)": "entering and leaving a timeout does not wait",
    "async with self": "entering returns at once; leaving is at the line of aclose()",
    "await record.save(host, begun)": "in memory it does not wait",
    "await record.save(host, end(before, begun, record.credentials, error))": "the same",
    "await self.keep()": "the same",
    "await self._client.caller.transport.aclose()": "closing the layers does not wait, down to the wire",
    "await self._inner.aclose()": "the same",
}


@attrs.frozen
class Scenario:
    """Something that is cancelled.

    Attributes:
        work: what is cancelled; what it writes is marked.
        troubles: what meets the requests, in turn, that are not logins.
        login: what meets the first logins.
        others: so many other calls are under way on the same client.
        view: on the client, through which it works.
    """

    work: Callable[[CoinEventService], Awaitable[object]]
    troubles: tuple[Fate, ...] = ()
    login: tuple[Fate, ...] = ()
    others: int = 0
    rate: float | None = None
    view: Callable[[CoinEventService], CoinEventService] = lambda coins: coins


def _update(coins: CoinEventService) -> Awaitable[object]:
    return coins.update(ID, amount=MARK)


def _allocate(coins: CoinEventService) -> Awaitable[object]:
    return coins.allocate(company_id="CEK1", event="R", user_id="MARKED", request_id="order-marked")


def _replay(coins: CoinEventService) -> Awaitable[object]:
    return coins.allocate(company_id="CEK1", event="R", user_id="MARKED", request_id="order-marked", replay=True)


def _create(coins: CoinEventService) -> Awaitable[object]:
    return coins.create(company_id="CEK1", event="MARKED", amount=MARK, configuration="DEFAULT")


def _updates() -> list[CoinEventUpdate]:
    return [CoinEventUpdate(f"WCC{n % 3 + 1:05}", amount=MARK) for n in range(12)]


async def _drain(coins: CoinEventService) -> None:
    async with coins.update_many(_updates()) as stream:
        async for _ in stream:
            await asyncio.sleep(0.05)


async def _drain_allocations(coins: CoinEventService) -> None:
    rows = [CoinAllocation(company_id="CEK1", event="R", user_id="MARKED", request_id=f"r-{n}") for n in range(8)]
    await coins.allocate_many(rows, concurrency=2).failures()


async def _drain_slow_rows(coins: CoinEventService) -> None:
    async def rows() -> AsyncIterator[CoinEventUpdate]:
        for row in _updates():
            await asyncio.sleep(0.07)
            yield row

    await coins.update_many(rows(), concurrency=2).failures()


async def _leave(coins: CoinEventService) -> None:
    async with coins.update_many(_updates()) as stream:
        await anext(stream)


async def _close(coins: CoinEventService) -> None:
    async with coins.update_many(_updates()) as stream:
        await anext(stream)
        await coins.aclose()


async def _come_and_go(coins: CoinEventService) -> None:
    async with coins:
        await anext(coins.update_many(_updates()))


SCENARIOS: Final = {
    "update": Scenario(_update),
    "get": Scenario(lambda coins: coins.get(ID)),
    "row that is read": Scenario(lambda coins: client_of(coins).outcome(0, ID, endpoints.get)),
    "balance": Scenario(lambda coins: coins.balance("EK1")),
    "create": Scenario(_create),
    "allocate": Scenario(_allocate),
    "backoff": Scenario(_update, (answered(503), CUT_AFTER, answered(502))),
    "backoff of what never left": Scenario(_allocate, (NO_CONNECTION, NO_CONNECTION)),
    "gate": Scenario(_update, (answered(429, "1"), answered(429, "1"))),
    "new token": Scenario(_allocate, (answered(401),)),
    "replay": Scenario(_replay, (SILENT_AFTER, CUT_AFTER)),
    "silence": Scenario(_allocate, (SILENT_AFTER,)),
    "slow login": Scenario(_update, login=(Fate(after=0.3),)),
    "slots": Scenario(_update, others=5),
    "rate": Scenario(_update, others=4, rate=4.0),
    "deadline": Scenario(_update, (answered(503), CUT_AFTER), view=lambda coins: coins.with_options(deadline=20.0)),
    "telemetry": Scenario(_update, (answered(503),), view=instrument),
    "stream": Scenario(_drain, (answered(503), CUT_AFTER, answered(429, "1"))),
    "stream of allocations": Scenario(_drain_allocations, (CUT_AFTER, answered(429))),
    "stream of slow rows": Scenario(_drain_slow_rows),
    "stream that is left": Scenario(_leave),
    "service that is closed": Scenario(_close),
    "service that is left": Scenario(_come_and_go),
    "stream beside others": Scenario(_drain, others=3),
}
# Their rows are told of one by one: that nobody is silent about those is the simulation's.
STREAMS: Final = frozenset(name for name in SCENARIOS if "stream" in name or "service" in name)


class Hearing(logging.Handler):
    """What the package logs as a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.doubts = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.doubts += "cut off: it may have been applied" in record.getMessage()


class Trial:
    """One scenario, cancelled at one wait."""

    def __init__(self, scenario: Scenario, dice: Random) -> None:
        self.scenario = scenario
        self.sent: list[tuple[Seen, Fate]] = []
        troubles, logins = list(scenario.troubles), list(scenario.login)

        def fate(seen: Seen) -> Fate:
            if seen.operation == "token":
                return logins.pop(0) if logins else FINE
            if seen.request.path.endswith(OTHERS):
                return FINE
            decided = troubles.pop(0) if troubles else FINE
            self.sent.append((seen, decided))
            return decided

        self.server = ModelledServer(latency=lambda _: dice.choice((0.1, 0.2, 0.3)), fate=fate)
        guard = MemoryGuard()
        grant, same_grant = self.server.grant(), self.server.grant()
        grant._guard = same_grant._guard = guard  # two clients with the same credentials log in one by one
        self.coins = client(
            self.server, auth=grant, timeout=3.0, retry=RetryPolicy(base=0.2), concurrency=SLOTS, rate=scenario.rate
        )
        self.neighbour = client(self.server, auth=same_grant)

    async def run(self, tracer: Tracer, cancel_at: int, turns: int, *, everyone: bool) -> bool:
        """Whether it came to the cancellation; whatever is wrong is raised."""
        loop, coins = asyncio.get_running_loop(), self.coins
        others = [loop.create_task(coins.get(OTHERS)) for _ in range(self.scenario.others)]
        if turns % 2:
            others.append(loop.create_task(self.neighbour.get(OTHERS)))

        async def work() -> None:
            await self.scenario.work(self.scenario.view(coins))

        task = loop.create_task(work())
        tracer.watch(task, cancel_at=cancel_at, turns=turns, everyone=everyone)
        await asyncio.wait([task])
        reached = tracer.cancelled
        if reached:
            assert task.cancelled(), "it was not let through"
            assert loop.time() == tracer.cancelled_at, "time passed before the task came to its end"
            assert tracer.turns_since <= LONGEST_END, f"the task went on for {tracer.turns_since} turns"
            tracer.rest()
        left = len(self.sent)
        results = await asyncio.gather(*others, return_exceptions=True)
        assert everyone or not any(isinstance(result, BaseException) for result in results), results
        await asyncio.sleep(100)
        if reached:
            assert len(self.sent) == left, "sent after it was cancelled"
            assert self.server.in_flight == 0
            await self._burst()
        await coins.aclose()
        return reached

    async def _burst(self) -> None:
        """Every slot is back, and no more than there were."""
        coins = self.coins
        assert not coins._client.streams
        if coins._client.caller.closed:
            return
        flow = coins._pacing._flow.get()
        assert (flow.slots, len(flow.waiting)) == (SLOTS, 0)
        self.server.most_in_flight = 0
        await asyncio.gather(*[coins.get(OTHERS) for _ in range(6)])
        assert self.server.most_in_flight == SLOTS or self.scenario.rate is not None

    def doubtful(self) -> tuple[bool, bool]:
        """Whether the server applied a write, and whether any had left."""
        writes = [(seen, fate) for seen, fate in self.sent if seen.operation not in ("get", "balance")]
        applied = any(seen.applied is not None for seen, _ in writes)
        return applied, any(fate.reply not in NOTHING_LEAVES for _, fate in writes)


@pytest.fixture
def hearing() -> Iterator[Hearing]:
    """Hears what is logged, in place of everybody else."""
    log, hearing = logging.getLogger("enkash_coins"), Hearing()
    log.addHandler(hearing)
    propagate, log.propagate = log.propagate, False
    yield hearing
    log.propagate = propagate
    log.removeHandler(hearing)


def test_cancellation_at_every_await_point(hearing: Hearing, cases: Cases, tally: Counter[str]) -> None:
    """Wherever a task waits: it ends in the same instant and sends no more; slots come back; a write that may have been
    applied is in the log, and no other; and the client works on.
    """
    tracer = Tracer()

    async def live(name: str, dice: Random, turns: int, *, everyone: bool) -> None:
        tracer.install(asyncio.get_running_loop())
        cancel_at = 0
        while True:
            hearing.doubts = 0
            trial = Trial(SCENARIOS[name], dice)
            if not await trial.run(tracer, cancel_at, turns, everyone=everyone):
                return
            tally["cancellations: on the modelled wire"] += 1
            cancel_at += 1
            applied, left = trial.doubtful()
            if name not in STREAMS:
                assert hearing.doubts == 0 or left, "needless doubt"
                assert hearing.doubts == 1 or not applied, "silent"

    for _, dice in cases(short=1, full=12):
        for name, turns, everyone in product(SCENARIOS, TURNS, (False, True)):
            run_virtual(live(name, dice, turns, everyone=everyone))
    expected = {place: text for place, text in written(MODULES).items() if text not in NEVER_WAITS}
    missed = {f"{place}: {text}" for place, text in expected.items() if tracer.hit[place] < (20 if is_full() else 1)}
    assert not missed, "\n".join(sorted(missed))
    for (module, line), text in sorted(expected.items()):
        tally[f"cancelled at {module}: {text[:70]}"] += tracer.hit[module, line]
