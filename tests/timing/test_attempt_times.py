"""An attempt's seconds are the server's, not those of waiting for a turn."""

import asyncio

import attrs
import pytest

from enkash_coins import Attempt, CoinEventService, LoginRefused, RateLimited, RetryPolicy
from tests.simulator.fates import answered, in_turn
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"


def watched(coins: CoinEventService, told: list[Attempt]) -> CoinEventService:
    """What ``connect(on_attempt=…)`` makes."""
    options = attrs.evolve(coins._client.options, on_attempt=told.append)
    coins._client = attrs.evolve(coins._client, options=options)
    return coins


@pytest.mark.parametrize(("concurrency", "rate"), [(1, None), (8, 0.5)], ids=["slots", "rate"])
async def test_waiting_for_a_turn_is_not_counted(concurrency: int, rate: float | None) -> None:
    """With one slot, or one request in two seconds, each of five calls still took the server 0.2 s."""
    told: list[Attempt] = []
    coins = watched(client(ModelledServer(latency=lambda _: 0.2), concurrency=concurrency, rate=rate), told)
    await asyncio.gather(*(coins.get(ID) for _ in range(5)))
    assert [one.seconds for one in told] == pytest.approx([0.2] * 5)


async def test_a_login_is_not_counted() -> None:
    """The call's first attempt begins when its own request goes out."""
    told: list[Attempt] = []
    server = ModelledServer(latency=lambda _: 0.2)
    await watched(client(server, auth=server.grant()), told).get(ID)
    assert [one.seconds for one in told] == pytest.approx([0.2])


async def test_what_never_went_out_took_no_time() -> None:
    """No token, or a gate that stays shut for too long: 0 seconds, and no status that the API never gave."""
    told: list[Attempt] = []
    server = ModelledServer(fate=in_turn([answered(429, "30")]))
    with pytest.raises(LoginRefused):
        await watched(client(server, auth=server.grant(password="wrong")), told).get(ID)
    coins = watched(client(server, retry=RetryPolicy(max_wait=10)), told)
    for _ in range(2):
        with pytest.raises(RateLimited):
            await coins.update(ID, amount=1)
    assert [(one.status, one.error, one.seconds) for one in told] == [
        (None, "LoginRefused", 0.0),
        (429, "RateLimited", pytest.approx(0.1)),
        (None, "RateLimited", 0.0),
    ]
