"""A cancelled call ends in the same instant, and leaves nothing behind."""

import asyncio
from collections.abc import Callable

import pytest

from enkash_coins import CoinEventUpdate, RetryPolicy
from tests.simulator.fates import CUT_BEFORE, Decide, answered, in_turn
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"

Troubles = Callable[[], Decide]
troubled = pytest.mark.parametrize(
    "troubles",
    [
        pytest.param(lambda: in_turn([answered(503), CUT_BEFORE, answered(503)]), id="backoff"),
        pytest.param(lambda: in_turn([answered(429, "1"), answered(429, "1")]), id="gate"),
        pytest.param(lambda: in_turn([answered(503)], on="token"), id="login"),
        pytest.param(lambda: in_turn([answered(401)]), id="new token"),
    ],
)


@troubled
@pytest.mark.parametrize("rate", [None, 4], ids=["no rate", "rate"])
@pytest.mark.parametrize("tick", range(40))
async def test_cancellation_at_any_time(troubles: Troubles, rate: float | None, tick: int) -> None:
    """Whenever a call is cancelled, it ends within the same instant, sends no more, and gives its slot back."""
    # Latencies are multiples of the tick: often the call is cancelled at the very instant at which something happens.
    server, loop = ModelledServer(latency=lambda _: 0.2, fate=troubles()), asyncio.get_running_loop()
    coins = client(server, auth=server.grant(), concurrency=2, rate=rate, retry=RetryPolicy(base=0.5))
    calls = [asyncio.create_task(coins.update(ID, amount=n)) for n in range(4)]
    await asyncio.sleep(tick * 0.05)
    ended = [call.done() for call in calls]
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert loop.time() == pytest.approx(tick * 0.05, abs=1e-9)
    assert [call.cancelled() for call in calls] == [not end for end in ended]
    assert server.in_flight <= 1, "only a login goes on without those who wait for it"
    sent = server.calls["update"]
    await asyncio.sleep(100)
    assert server.calls["update"] == sent

    server.most_in_flight, began = 0, loop.time()
    await asyncio.gather(*[coins.get(ID) for _ in range(10)])
    assert server.most_in_flight == (2 if rate is None else 1)
    if rate is None:
        assert loop.time() - began <= 5 * 0.2 + 0.2 + 1e-9, "two at a time, after one login if there was none yet"


@troubled
@pytest.mark.parametrize("tick", range(1, 40, 3))
async def test_cancelled_consumer_loses_nothing(troubles: Troubles, tick: int) -> None:
    """Who gives up waiting for an outcome may come back for it: every row has its outcome, once."""
    server = ModelledServer(40, latency=lambda its: its.choice([0.1, 0.2]), fate=troubles())
    rows = [CoinEventUpdate(f"WCC{n:05d}", amount=1) for n in range(1, 41)]
    done = list[int]()
    async with client(server, auth=server.grant()).update_many(rows, concurrency=3) as stream:
        while len(done) < 40:
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(tick * 0.01)
            if not waiting.done():
                waiting.cancel()
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            if not isinstance(result, BaseException):
                done.append(result.index)
    assert sorted(done) == list(range(40))
