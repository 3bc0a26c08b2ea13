"""Whatever network, server and caller do, the client believes what the server did: simulated, seed by seed."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate, EnkashError, Outcome, RetryPolicy
from tests.faults.calls import Belief, Call, number_of, residual, violations
from tests.faults.cases import Cases
from tests.faults.simulation import BELIEFS, simulate
from tests.faults.troubles import LONGEST_DELAY, OTHER, TIMEOUT, TROUBLES
from tests.simulator.clock import run_virtual
from tests.simulator.fates import FINE, Fate, Seen
from tests.simulator.server import ModelledServer, client

OPERATIONS = 200
BLOCKS = 20


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_update_is_lost_and_no_allocation_doubled(block: int, cases: Cases, tally: Counter[str]) -> None:
    """Nothing is lost, doubled, denied, made up, overwritten in silence or left open, in any seed."""
    for _, dice in cases(short=200 // BLOCKS, full=2000 // BLOCKS):
        simulation = simulate(dice, OPERATIONS, tally)
        tally["simulation: seeds"] += 1
        for what, number in residual(simulation.calls, simulation.server.applied).items():
            tally[f"simulation, imposed by the API: {what}"] += number
        assert not simulation.wrong, "\n".join(simulation.wrong[:5])


def test_the_same_seed_lives_the_same_life() -> None:
    """A failure comes back with its seed: every request at its virtual second, every belief."""

    def life(seed: int) -> list[object]:
        simulation = simulate(Random(seed), OPERATIONS, Counter())
        calls = [(call.operation, call.began, call.ended, call.belief) for call in simulation.calls.values()]
        return [*calls, *((seen.operation, seen.sent, seen.applied) for seen in simulation.server.log)]

    assert life(1) == life(1) != life(2)


async def _call(coins: CoinEventService, call: Call, *, row: bool) -> bool:
    """Whether the answer shows what was asked for."""
    name = f"{call.number}"
    match call.operation:
        case "get":
            await coins.get(call.target)
        case "balance":
            await coins.balance("EK1")
        case "update" if row:
            _told(call, await anext(coins.update_many([CoinEventUpdate(call.target, amount=call.number)])))
        case "update":
            return (await coins.update(call.target, amount=call.number)).amount != OTHER
        case "create":
            config = await coins.create(company_id="CEK1", event=f"E{name}", amount=1, configuration="DEFAULT")
            return config.amount != OTHER
        case _ if row:
            given = CoinAllocation(company_id="CEK1", event="R", user_id=f"U{name}", request_id=f"row-{name}")
            _told(call, await anext(coins.allocate_many([given])))
        case _:
            await coins.allocate(
                company_id="CEK1", event="R", user_id=f"U{name}", request_id=f"order-{name}", replay=call.replay
            )
    return True


def _told(call: Call, outcome: Outcome[Any, Any]) -> None:
    call.belief, call.attempts, call.late_risk = BELIEFS[outcome.status], outcome.attempts, outcome.late_risk


@pytest.mark.parametrize(
    "kind", ["get", "balance", "update", "create", "allocate", "allocate, replay", "update row", "allocate row"]
)
def test_every_pair_of_faults(kind: str, tally: Counter[str]) -> None:
    """Whichever two faults meet the first two attempts of a call, what it says of itself is true."""
    operation, row = kind.split(" ", maxsplit=1)[0].rstrip(","), kind.endswith("row")
    dice, calls = Random(kind), dict[int, Call]()
    met: Counter[int] = Counter()

    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        fates: list[Fate] = []

        def fate(seen: Seen) -> Fate:
            decided = fates.pop(0) if fates else FINE
            if (number := number_of(seen)) is not None:
                calls[number].requests.append((seen, decided))
            met[len(calls)] += 1
            return decided

        server = ModelledServer(latency=lambda _: 0.1, fate=fate)
        for first in TROUBLES:
            for second in TROUBLES:
                fates[:] = [TROUBLES[first](dice), TROUBLES[second](dice)]
                call = Call(len(calls) + 1, operation, 0, loop.time(), replay="replay" in kind, target="WCC00001")
                calls[call.number] = call
                coins = client(server, timeout=TIMEOUT, retry=RetryPolicy(attempts=3, base=0.1))
                try:
                    as_asked = await _call(coins, call, row=row)
                except EnkashError as error:
                    call.belief = Belief.IN_DOUBT if error.maybe_applied else Belief.NOT_APPLIED
                    call.attempts = error.attempts
                else:
                    if not row:
                        call.belief = Belief.APPLIED if call.requests else Belief.NOT_APPLIED
                        if not as_asked:
                            call.belief = Belief.IN_DOUBT
                call.ended = loop.time()
                await coins.aclose()
        await asyncio.sleep(LONGEST_DELAY)
        return list(violations(calls, server.applied, Counter()))

    wrong = run_virtual(run())
    assert not wrong, "\n".join(wrong[:5])
    both = sum(number > 1 for number in met.values())
    tally["fault pairs: pairs tried"] += len(TROUBLES) ** 2
    tally["fault pairs: of these, both were met, because the first is tried again"] += both
    assert both > (100 if kind in ("create", "allocate", "allocate row") else 400)
