"""Retry-After: a floor for the request that was told, and a closed gate for the whole client."""

import asyncio
from collections.abc import Callable

import pytest

from enkash_coins import CoinEventConfig, CoinEventService, EnkashError, RateLimited, RetryPolicy, ServerError
from tests.simulator.fates import FINE, always, answered, in_turn
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"
OTHER = "WCC00002"


async def get_at(coins: CoinEventService, at: float) -> CoinEventConfig:
    """A read that begins at this second."""
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    return await coins.get(OTHER)


@pytest.mark.parametrize("status", [425, 429, 503])
@pytest.mark.parametrize("says", [lambda _: "30", lambda server: server.date(30)], ids=["digits", "date"])
async def test_retry_after_holds_everybody_back(status: int, says: Callable[[ModelledServer], str]) -> None:
    """Nothing of this client leaves before the time that the server named, whichever call was told; then all does."""
    server = ModelledServer(latency=lambda _: 0.1)
    server.fate = in_turn([answered(status, says(server))])
    coins = client(server, concurrency=64)
    others = [get_at(coins, at) for at in (0.2, 0.5, 3, 10, 17.7, 29, 30)]
    told = asyncio.create_task(coins.update(ID, amount=1))
    await asyncio.gather(told, *others)
    first, *later = [seen.sent for seen in server.log]
    assert first == 0
    assert later == pytest.approx([30.1] * 8), "all leave when the gate opens, 30 s after the answer"


async def test_retry_after_is_a_floor_under_backoff() -> None:
    """A backoff longer than Retry-After is kept; a shorter one is stretched to it."""
    server = ModelledServer(100, latency=lambda _: 0.1, fate=lambda seen: answered(429, "2") if seen.sent < 1 else FINE)
    coins = client(server, retry=RetryPolicy(base=20), concurrency=100)
    await asyncio.gather(*[coins.update(config_id, amount=1) for config_id in list(server.configs)[:100]])
    again = sorted(seen.sent for seen in server.log if seen.sent > 1)
    assert len(again) == 100
    assert again[:2] == pytest.approx([2.1, 2.1])
    assert 15 < again[-1] <= 20.1


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (425, RateLimited), (503, ServerError)])
async def test_a_longer_wait_than_max_wait_raises_at_once(status: int, kind: type[EnkashError]) -> None:
    """Nobody waits for longer than ``max_wait``: one request, and the error says how long the server wants."""
    server = ModelledServer(latency=lambda _: 0.1, fate=always(answered(status, "61")))
    with pytest.raises(kind) as caught:
        await client(server).update(ID, amount=1)
    assert asyncio.get_running_loop().time() == pytest.approx(0.1)
    assert server.calls["update"] == 1
    assert (caught.value.attempts, getattr(caught.value, "retry_after", None)) == (1, 61)


async def test_closed_gate_refuses_unsent_what_would_wait_too_long() -> None:
    """While the gate stays shut beyond ``max_wait``, calls fail unsent and at once; later ones wait for it."""
    server, loop = (
        ModelledServer(latency=lambda _: 0.1, fate=in_turn([answered(429, "100")])),
        asyncio.get_running_loop(),
    )
    coins = client(server)
    with pytest.raises(RateLimited):
        await coins.update(ID, amount=1)
    await asyncio.sleep(5)
    before = loop.time()
    with pytest.raises(RateLimited, match="nothing was sent") as caught:
        await coins.update(ID, amount=1)
    assert loop.time() == before
    assert caught.value.maybe_applied is False
    assert caught.value.retry_after == pytest.approx(95)
    assert len(server.log) == 1
    await get_at(coins, 41)
    assert loop.time() == pytest.approx(100.2)


@pytest.mark.parametrize("nonsense", ["nan", "-5", "1e9", "soon", "", "5.5", "٣", "30, 60", "0x10"])
async def test_nonsense_is_ignored(nonsense: str) -> None:
    """A Retry-After that is neither digits nor a date is as good as none: plain backoff, and an open gate."""
    server = ModelledServer(latency=lambda _: 0.1, fate=in_turn([answered(429, nonsense)]))
    coins = client(server)
    await asyncio.gather(coins.update(ID, amount=1), get_at(coins, 0.2))
    assert server.arrivals("get") == pytest.approx([0.25])
    assert server.arrivals()[1] <= 0.65


async def test_date_in_the_past_closes_nothing() -> None:
    """A date that is over asks for no wait."""
    server = ModelledServer(latency=lambda _: 0.1)
    server.fate = in_turn([answered(503, server.date(-60))])
    coins = client(server)
    await asyncio.gather(coins.update(ID, amount=1), get_at(coins, 0.2))
    assert server.arrivals("get") == pytest.approx([0.25])


async def test_a_later_answer_only_ever_lengthens_the_wait() -> None:
    """Of two Retry-Afters the one that ends later counts, whichever came last."""
    server = ModelledServer(latency=lambda _: 0.1, fate=in_turn([answered(429, "30"), answered(429, "5")]))
    coins = client(server)
    await asyncio.gather(coins.update(ID, amount=1), coins.update(OTHER, amount=1))
    assert [seen.sent for seen in server.log] == pytest.approx([0, 0, 30.1, 30.1])
