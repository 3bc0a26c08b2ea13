"""One seed: clients that call, stream, cancel, close and crash on a virtual clock, against a server at its worst."""

import asyncio
import logging
import random
import re
from collections import Counter
from contextvars import ContextVar
from random import Random
from typing import Any, Final

from enkash_coins import (
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    EnkashError,
    MemoryGuard,
    Outcome,
    OutcomeStatus,
    OutcomeStream,
    ServiceClosed,
)
from tests.faults.calls import WRITES, Belief, Call, number_of, violations
from tests.faults.clients import Client, at_an_event, met, started
from tests.faults.troubles import LONGEST_DELAY, OTHER, TIMEOUT
from tests.simulator.clock import run_virtual
from tests.simulator.fates import Fate, Seen
from tests.simulator.server import ModelledServer

CONFIGS: Final = 12
_LONGEST_LIFE: Final = 100_000.0  # virtual seconds in which everything has to come to an end
_NUMBERS = re.compile(r"closed with (\d+) rows under way and (\d+) outcomes not taken")

_call: ContextVar[Call | None] = ContextVar("_call", default=None)
_client: ContextVar[int] = ContextVar("_client", default=-1)

BELIEFS: Final = {
    OutcomeStatus.APPLIED: Belief.APPLIED,
    OutcomeStatus.MISMATCHED: Belief.IN_DOUBT,
    OutcomeStatus.REJECTED: Belief.NOT_APPLIED,
    OutcomeStatus.NOT_SENT: Belief.NOT_APPLIED,
    OutcomeStatus.UNKNOWN: Belief.IN_DOUBT,
}


class Simulation:
    """So many operations by a few actors at once.

    Args:
        operations: calls and rows.
        tally: what was done is added to it.
        eager: whether tasks begin within whoever makes them; from CPython 3.12.
    """

    def __init__(self, dice: Random, operations: int, tally: Counter[str], *, eager: bool = False) -> None:
        self.calls: dict[int, Call] = {}
        self.told: Counter[int] = Counter()
        self.done: Counter[str] = tally
        self.wrong: list[str] = []
        self._dice = dice
        self._left = operations
        self._eager = eager
        self._rate = dice.uniform(0.1, 0.6)
        self._streams = 0
        lies = dice.random() < 0.2  # expires_in promises more than is true
        life = dice.choice([40.0, 300.0, 86_399.0])
        self.server = ModelledServer(
            CONFIGS,
            latency=lambda its: its.choice((0.02, 0.1, 0.3)),
            fate=self._fate,
            token_life=life,
            expires_in=86_399.0 if lies else None,
            seed=dice.randrange(2**32),
        )
        self._guard = MemoryGuard()  # outlives crashes, as a file would
        self._clients: list[Client] = []
        self._values: dict[str, list[tuple[float, object]]] = {
            id_: [(0.0, config["amount"])] for id_, config in self.server.configs.items()
        }

    def _fate(self, seen: Seen) -> Fate:
        troubled, fate = met(seen, self._dice, self._rate)
        self.done["simulation: faults injected"] += troubled
        self.done["simulation: requests sent"] += 1
        number = number_of(seen)
        if number is not None:
            call = self.calls.get(number)
            if call is None:
                self.wrong.append(f"phantom: {seen}")
            else:
                call.requests.append((seen, fate))
        return fate

    def _new_client(self) -> Client:
        made = started(len(self._clients), self.server, self._guard, self._dice)
        self._clients.append(made)
        return made

    async def run(self) -> None:
        """Live through it, wait until everything late has arrived, and look."""
        dice, loop = self._dice, asyncio.get_running_loop()
        if self._eager:
            loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # from 3.12
        self._new_client()
        async with asyncio.timeout(_LONGEST_LIFE):
            actors = [loop.create_task(self._act()) for _ in range(dice.randint(1, 8))]
            for _ in range(dice.randint(0, 4)):
                await asyncio.sleep(dice.uniform(0.0, 60.0))
                await self._end(self._clients[-1], crash=dice.random() < 0.5)
            await asyncio.gather(*actors)
        await asyncio.sleep(LONGEST_DELAY + TIMEOUT)
        if self.server.in_flight:
            self.wrong.append(f"{self.server.in_flight} requests are in flight for ever")
        pacing = self._clients[-1].pacing
        flow = pacing._flow.get()
        if (flow.slots, len(flow.waiting)) != (pacing._slots, 0):
            self.wrong.append(f"slots that did not come back: {flow}")
        await self._clients[-1].coins.aclose()
        self.wrong += violations(self.calls, self.server.applied, self.told)
        self.wrong += self._lock_risked()

    async def _end(self, old: Client, *, crash: bool) -> None:
        self._new_client()
        if crash:
            self.done["simulation: clients crashed"] += 1
            await old.crash()
        else:
            self.done["simulation: clients closed at work"] += 1
            _client.set(old.number)
            await old.coins.aclose()

    async def _act(self) -> None:
        """Do one thing after another, each in a task of its own, which may be cancelled or crash."""
        dice, loop = self._dice, asyncio.get_running_loop()
        while self._left > 0:
            one = self._clients[-1]
            _client.set(one.number)
            kind = dice.choices(_KINDS, _WEIGHTS)[0]
            call = None
            if kind.endswith("_many"):
                rows = min(self._left, dice.randint(1, 20))
                self._left -= rows
                doing = self._stream(one, kind.removesuffix("_many"), rows)
            else:
                self._left -= 1
                call = self._called(one, kind, replay=kind == "allocate" and dice.random() < 0.2)
                doing = self._single(one, call)
            _call.set(call)
            task = loop.create_task(doing)
            one.tasks.add(task)
            if dice.random() < 0.15:
                self.done["simulation: cancellations"] += 1
                if dice.random() < 0.5:
                    loop.call_later(dice.choice((0.0, dice.uniform(0, 0.4), dice.uniform(0, 8))), task.cancel)
                else:
                    at_an_event(dice, task.cancel)
            await asyncio.wait([task])
            one.tasks.discard(task)
            if not task.cancelled():
                task.result()
            if call is not None and call.ended is None:  # cancelled before it began
                call.ended, call.belief = loop.time(), Belief.CUT_OFF
            pause = dice.random()
            if pause < 0.3:
                await asyncio.sleep(pause * 10 if pause < 0.28 else 70.0)

    def _called(self, one: Client, operation: str, *, replay: bool = False, stream: int = -1, row: int = -1) -> Call:
        self.done["simulation: operations"] += 1
        number = 1_000_000 + len(self.calls)
        call = Call(number, operation, one.number, asyncio.get_running_loop().time(), replay, stream, row)
        if operation in ("get", "update"):
            call.target = f"WCC{self._dice.randint(1, CONFIGS):05}"
        self.calls[number] = call
        return call

    def _view(self, one: Client) -> tuple[CoinEventService, float | None]:
        dice = self._dice
        if dice.random() < 0.3:
            deadline = dice.choice((0.01, 0.05, 0.3, 2.0, 7.0, 40.0))
            return one.coins.with_options(deadline=deadline), deadline
        if dice.random() < 0.1:
            return one.coins.with_options(timeout=dice.choice((0.05, 0.5, 2.0))), None
        return one.coins, None

    async def _single(self, one: Client, call: Call) -> None:
        loop = asyncio.get_running_loop()
        coins, call.out_of = self._view(one)
        call.began = loop.time()
        try:
            as_asked = await self._perform(coins, call)
        except EnkashError as error:
            call.belief = Belief.IN_DOUBT if error.maybe_applied else Belief.NOT_APPLIED
            call.attempts = error.attempts
            if error.maybe_applied and call.operation not in WRITES:
                self.wrong.append(f"a read that may have been applied: {call}")
            if call.operation == "allocate" and error.request_id != f"order-{call.number}":
                self.wrong.append(f"an error with another request id: {error.request_id}, {call}")
        except asyncio.CancelledError:
            call.belief = Belief.CRASHED if one.crashed else Belief.CUT_OFF
            raise
        else:
            call.belief = Belief.APPLIED if call.operation in WRITES else Belief.NOT_APPLIED
            if not as_asked:
                call.belief = Belief.IN_DOUBT
        finally:
            call.ended = loop.time()

    async def _perform(self, coins: CoinEventService, call: Call) -> bool:
        """Whether the answer shows what was asked for; one that shows neither that nor a planted lie is wrong."""
        number = call.number
        match call.operation:
            case "get":
                config = await coins.get(call.target)
                if config.amount != OTHER and not (
                    config.coin_config_id == call.target and self._was(call, config.amount)
                ):
                    self.wrong.append(f"somebody else's answer: {config}, {call}")
                return True
            case "balance":
                await coins.balance("EK1")
                return True
            case "update":
                config = await coins.update(call.target, amount=number)
                shown, asked = config.amount, number
            case "create":
                config = await coins.create(company_id="CEK1", event=f"E{number}", amount=1, configuration="DEFAULT")
                shown, asked = config.amount if config.event == f"E{number}" else OTHER, 1
            case _:
                receipt = await coins.allocate(
                    company_id="CEK1",
                    event="REFERRAL_EVENT",
                    user_id=f"U{number}",
                    request_id=f"order-{number}",
                    replay=call.replay,
                )
                if receipt.request_id != f"order-{number}":
                    self.wrong.append(f"another request id: {receipt}, {call}")
                return True
        if shown not in (asked, OTHER):
            self.wrong.append(f"somebody else's answer: {config}, {call}")
        return shown == asked

    def _was(self, call: Call, amount: int) -> bool:
        """Whether this config had this amount at some time during the call."""
        held: object = self._values[call.target][0][1]
        for seen in self.server.applied:
            if seen.operation == "update" and seen.request.path.endswith(call.target):
                assert seen.applied is not None
                if seen.applied >= call.began and held == amount:
                    return True
                held = number_of(seen)
        return held == amount

    async def _stream(self, one: Client, operation: str, length: int) -> None:
        loop, dice = asyncio.get_running_loop(), self._dice
        self._streams += 1
        self.done["simulation: streams"] += 1
        calls = [self._called(one, operation, stream=self._streams, row=row) for row in range(length)]
        stream = self._opened(one, operation, calls)
        leave_after = dice.randrange(length) if dice.random() < 0.1 else length
        pause = 1.0 if dice.random() < 0.1 else 0.0
        unseen = Belief.CUT_OFF
        try:
            async with stream:
                async for outcome in stream:
                    self._told(calls[outcome.index], outcome)
                    if stream.counts.total() > leave_after:
                        break
                    if pause:
                        await asyncio.sleep(pause)
                else:
                    unseen = Belief.NOTHING_YET  # which is wrong if there is any
        except ServiceClosed:
            pass
        except EnkashError:
            unseen = Belief.NOT_APPLIED  # the login was refused: rows not pulled were not sent
        except asyncio.CancelledError:
            unseen = Belief.CRASHED if one.crashed else Belief.CUT_OFF
            raise
        finally:
            for call in calls:
                if call.ended is None:
                    call.ended, call.belief = loop.time(), unseen

    def _opened(self, one: Client, operation: str, calls: list[Call]) -> OutcomeStream[Any, Any]:
        dice = self._dice
        few, width = dice.randint(1, 4), dice.choice((1, 3, 8))
        coins, _ = self._view(one)
        if operation == "update":
            for call in calls:
                call.target = f"WCC{dice.randint(1, few):05}"
            updates = [CoinEventUpdate(call.target, amount=call.number) for call in calls]
            return coins.update_many(updates, concurrency=width)
        allocations = [
            CoinAllocation(company_id="CEK1", event="R", user_id=f"U{call.number}", request_id=f"row-{call.number}")
            for call in calls
        ]
        return coins.allocate_many(allocations, concurrency=width)

    def _told(self, call: Call, outcome: Outcome[Any, Any]) -> None:
        if call.ended is not None:
            self.wrong.append(f"two outcomes: {outcome}, {call}")
        call.ended = asyncio.get_running_loop().time()
        call.belief = BELIEFS[outcome.status]
        call.attempts, call.late_risk = outcome.attempts, outcome.late_risk
        if outcome.error is not None and outcome.error.maybe_applied is not (call.belief is Belief.IN_DOUBT):
            self.wrong.append(f"outcome and error differ: {outcome}")

    def _lock_risked(self) -> list[str]:
        """Logins beyond the bound: refused ones, or doubtful ones of credentials that never worked."""
        tokens = [seen for seen in self.server.log if seen.operation == "token"]
        self.done["simulation: logins"] += len(tokens)
        return ["the account was locked"] if self.server.login.locked else []


_KINDS: Final = ("get", "balance", "update", "create", "allocate", "update_many", "allocate_many")
_WEIGHTS: Final = (8, 3, 25, 8, 25, 5, 4)


class _Hearing(logging.Handler):
    """Hears what the log says of writes that were cut off, in the context of whoever made them."""

    def __init__(self, told: Counter[int]) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "cut off: it may have been applied" in message:
            call = _call.get()
            if call is not None:
                call.logged = True
        elif found := _NUMBERS.search(message):
            self._told[_client.get()] += int(found[1]) + int(found[2])


def simulate(dice: Random, operations: int, tally: Counter[str], *, eager: bool = False) -> Simulation:
    """Run one; what was broken stands in its ``wrong``."""
    state = random.getstate()
    random.seed(dice.randrange(2**32))  # backoff throws these
    simulation = Simulation(dice, operations, tally, eager=eager)
    log, hearing = logging.getLogger("enkash_coins"), _Hearing(simulation.told)
    log.addHandler(hearing)
    propagate, log.propagate = log.propagate, False
    try:
        run_virtual(simulation.run())
    finally:
        log.propagate = propagate
        log.removeHandler(hearing)
        random.setstate(state)
    return simulation
