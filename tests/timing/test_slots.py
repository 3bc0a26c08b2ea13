"""Slots, rate and the time limit of an attempt, as the server sees them."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from enkash_coins import RetryPolicy
from tests.simulator.fates import CUT_BEFORE, answered, by_chance, in_turn
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"


async def test_waiting_for_a_slot_does_not_eat_the_time_limit() -> None:
    """``timeout`` counts from when a request may go out: 50 calls of 0.2 s, 5 at a time, all pass a limit of 0.5 s."""
    server = ModelledServer(latency=lambda _: 0.2)
    coins = client(server, concurrency=5, timeout=0.5, retry=RetryPolicy(attempts=1))
    await asyncio.gather(*[coins.get(ID) for _ in range(50)])
    assert asyncio.get_running_loop().time() == pytest.approx(10 * 0.2)
    assert server.most_in_flight == 5


async def test_waiting_at_the_gate_or_for_the_rate_does_not_eat_it_either() -> None:
    """The same for a gate that is shut for 30 s, and for a rate of one request a second."""
    server = ModelledServer(latency=lambda _: 0.2, fate=in_turn([answered(429, "30")]))
    coins = client(server, rate=1, timeout=0.5)
    await asyncio.gather(coins.update(ID, amount=1), *[coins.get(ID) for _ in range(20)])
    assert asyncio.get_running_loop().time() > 30


@pytest.mark.parametrize("rate", [0.5, 10, 1000])
async def test_rate_is_kept_evenly(rate: float) -> None:
    """The server sees ``rate`` requests per second, one after another, not so many at the second's start."""
    server = ModelledServer(latency=lambda _: 0.01)
    coins = client(server, rate=rate, concurrency=32)
    await asyncio.gather(*[coins.get(ID) for _ in range(40)])
    assert server.arrivals("get") == pytest.approx([0.005 + n / rate for n in range(40)])


async def test_rate_saves_nothing_up() -> None:
    """After a pause there is no burst; and slow answers leave the rate as it is."""
    server = ModelledServer(latency=lambda dice: dice.uniform(0, 3))
    coins = client(server, rate=10, concurrency=40)
    await asyncio.gather(*[coins.get(ID) for _ in range(20)])
    await asyncio.sleep(60)
    await asyncio.gather(*[coins.get(ID) for _ in range(20)])
    sent = sorted(seen.sent for seen in server.log)
    assert min(after - before for before, after in pairwise(sent)) >= 0.1 - 1e-9
    assert sent[19] == pytest.approx(1.9)


async def test_rate_counts_every_real_send() -> None:
    """Retries and logins are requests too: the rate holds for all of them together."""
    server = ModelledServer(fate=by_chance({answered(503): 0.3, CUT_BEFORE: 0.2}, Random(1)), token_life=5)
    coins = client(server, auth=server.grant(), rate=10, retry=RetryPolicy(attempts=20, budget=1000))
    await asyncio.gather(*[coins.update(ID, amount=1) for _ in range(100)])
    sent = sorted(seen.sent for seen in server.log)
    assert server.calls["token"] > 2
    assert len(sent) > 150
    assert min(after - before for before, after in pairwise(sent)) >= 0.1 - 1e-9


async def test_request_in_backoff_holds_no_slot() -> None:
    """While one call waits to try again, its slot serves the others: with one slot in all, no time is lost."""
    server = ModelledServer(latency=lambda _: 0.1, fate=in_turn([answered(503)]))
    coins = client(server, concurrency=1)
    await asyncio.gather(coins.update(ID, amount=1), *[coins.get(ID) for _ in range(20)])
    sent = [seen.sent for seen in server.log]
    assert sent == pytest.approx([n * 0.1 for n in range(22)])
    assert server.most_in_flight == 1


@pytest.mark.parametrize("rate", [None, 200], ids=["no rate", "rate"])
@pytest.mark.parametrize("seed", range(12))
async def test_cancelled_waiters_leak_no_slot(seed: int, rate: float | None) -> None:
    """Whenever calls are cancelled, in the queue or under way, no slot is lost and none is made."""
    dice, loop = Random(seed), asyncio.get_running_loop()
    server = ModelledServer(
        latency=lambda its: its.choice([0.1, 0.2, 0.3]),
        fate=by_chance({answered(429, "1"): 0.02, answered(503): 0.1, CUT_BEFORE: 0.1}, dice),
        seed=seed,
    )
    coins = client(server, concurrency=5, rate=rate)
    calls = [asyncio.create_task(coins.update(ID, amount=1)) for _ in range(200)]
    for call in dice.sample(calls, 120):
        # Often at the very instant at which slots change hands.
        await asyncio.sleep(dice.choice([0, 0, 0.05, 0.1]))
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert server.most_in_flight == 5

    await asyncio.sleep(100)
    server.latency, began = (lambda _: 0.1), loop.time()
    await asyncio.gather(*[coins.get(ID) for _ in range(50)])
    assert loop.time() - began == pytest.approx(10 * 0.1, abs=0.03), "five at a time again"
    assert server.most_in_flight == 5
