"""How long a token is used, and what a 401 teaches."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate, PreconditionFailed, Unauthorized
from enkash_coins.sandbox.login import Login
from tests.simulator.fates import FINE, always, answered, in_turn
from tests.simulator.server import RIGHT, ModelledServer, client

ID = "WCC00001"
GIFT = CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1")

OPERATIONS: dict[str, Callable[[CoinEventService], Awaitable[object]]] = {
    "get": lambda coins: coins.get(ID),
    "update": lambda coins: coins.update(ID, amount=1),
    "create": lambda coins: coins.create(company_id="CEK1", event="NEW", amount=1, configuration="DEFAULT"),
    "allocate": lambda coins: coins.allocate(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1"),
    "balance": lambda coins: coins.balance("EK1"),
}


def refusals(server: ModelledServer) -> list[float]:
    """When a 401 was answered."""
    return [seen.sent for seen in server.log if seen.status == 401]


async def get_every(seconds: float, coins: CoinEventService, *, until: float) -> None:
    """A read every so often, until this second."""
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        await coins.get(ID)
        await asyncio.sleep(seconds)


@pytest.mark.parametrize(("life", "every"), [(2, 0.02), (300, 3), (86_399, 29)])
async def test_token_is_renewed_shortly_before_its_end(life: float, every: float) -> None:
    """``expires_in`` is believed: with a margin that suits the life, no request ever meets a 401."""
    server = ModelledServer(latency=lambda _: 0.02, token_life=life)
    await get_every(every, client(server, auth=server.grant()), until=2.5 * life)
    assert refusals(server) == []
    logins = server.arrivals("token")
    used = [after - before for before, after in pairwise(logins)]
    assert len(used) == 2
    assert 0.85 * life <= min(used)
    assert max(used) < life


@pytest.mark.parametrize("expires_in", ["absent", "soon", "", -5.0, 0.0, float("nan"), 400 * 86_400.0, True])
async def test_absurd_life_counts_as_five_minutes(expires_in: float | str) -> None:
    """Without a credible ``expires_in`` a token is taken to live for 300 s, less the margin."""
    server = ModelledServer(latency=lambda _: 0.02, expires_in=expires_in)
    await get_every(5, client(server, auth=server.grant()), until=400)
    first, second = server.arrivals("token")
    assert 255 <= second - first < 300


@pytest.mark.parametrize("claimed", [86_399.0, "86399"])
async def test_a_day_is_believed(claimed: float | str) -> None:
    """Whether it is said in digits or in a string of them: one login a day."""
    server = ModelledServer(expires_in=claimed)
    await get_every(60, client(server, auth=server.grant()), until=86_000)
    assert server.calls["token"] == 1


@pytest.mark.parametrize("at_once", [1, 40])
async def test_401s_teach_the_true_life(at_once: int) -> None:
    """Tokens that claim a day and live five minutes are refused twice; from then on they are renewed in time."""
    server = ModelledServer(latency=lambda _: 0.02, token_life=300, expires_in=86_399)
    coins = client(server, auth=server.grant())
    await asyncio.gather(*[get_every(5, coins, until=3000) for _ in range(at_once)])
    told = refusals(server)
    assert 2 <= len(told) <= 2 * at_once
    assert {round(second / 300) for second in told} == {1, 2}, "at the ends of the first two tokens"
    assert 10 <= server.calls["token"] <= 13


@pytest.mark.parametrize("age", [5, 40, 3000])
async def test_one_401_is_an_incident(age: int) -> None:
    """A token that was revoked once says nothing about the next ones: 9 logins in 8 hours, not one for each call."""
    server = ModelledServer(token_life=3600)
    coins = client(server, auth=server.grant())
    await get_every(10, coins, until=age)
    server.login.expire_tokens()
    await get_every(60, coins, until=age + 8 * 3600 - 60)
    assert server.calls["token"] == 9


@pytest.mark.parametrize("every", [10, 60])
async def test_workers_who_take_each_others_tokens_go_on(every: int) -> None:
    """One active token for each user, and four workers that log in to the same account: calls are refused, but none of
    the workers for longer than some minutes at a time.
    """
    server = ModelledServer(latency=lambda dice: dice.uniform(0.05, 0.5))
    server.login = Login(*RIGHT, life=86_399.0, claimed_life=86_399.0, one_token=True)
    outages = list[float]()

    async def work() -> None:
        coins, loop = client(server, auth=server.grant()), asyncio.get_running_loop()
        worked = 0.0
        while loop.time() < 4 * 3600:
            try:
                await coins.get(ID)
                worked = loop.time()
            except Unauthorized:
                outages.append(loop.time() - worked)
            await asyncio.sleep(every)

    await asyncio.gather(*(work() for _ in range(4)))
    assert outages
    assert max(outages) < 600
    assert server.calls["token"] <= server.calls["get"]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_operation_is_sent_again_with_a_new_token(operation: str) -> None:
    """A 401 is answered once with a new token, whatever was asked; the request is otherwise the same."""
    server = ModelledServer()
    coins = client(server, auth=server.grant())
    await coins.get("WCC00002")
    server.login.expire_tokens()
    await OPERATIONS[operation](coins)
    refused, taken = [seen for seen in server.log if seen.operation == operation][-2:]
    assert (refused.status, taken.status) == (401, 200)
    assert refused.request.body == taken.request.body
    assert refused.request.headers["Authorization"] != taken.request.headers["Authorization"]
    assert server.calls["token"] == 2


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_refused_try_is_counted(operation: str) -> None:
    """``attempts`` of an error after a renewal tells of both tries."""
    server = ModelledServer()
    coins = client(server, auth=server.grant())
    await coins.get("WCC00002")
    server.login.expire_tokens()
    server.fate = in_turn([FINE, answered(412)], on=operation)
    with pytest.raises(PreconditionFailed) as caught:
        await OPERATIONS[operation](coins)
    assert caught.value.attempts == 2


async def test_the_refused_try_is_counted_in_outcomes() -> None:
    """So does an outcome; and the refused try leaves no doubt behind."""
    server = ModelledServer()
    coins = client(server, auth=server.grant())
    await coins.get(ID)
    server.login.expire_tokens()
    (outcome,) = [o async for o in coins.update_many([CoinEventUpdate(ID, amount=1)])]
    assert (outcome.ok, outcome.attempts, outcome.late_risk) == (True, 2, False)
    server.login.expire_tokens()
    (given,) = [o async for o in coins.allocate_many([GIFT])]
    assert (given.ok, given.attempts, given.late_risk) == (True, 2, False)
    assert len(server.allocations) == 1


async def test_a_call_is_sent_again_once() -> None:
    """When the new token is refused as well, that call is over, though there might be yet another token."""
    server = ModelledServer()
    coins = client(server, auth=server.grant())
    await coins.get(ID)
    server.fate = always(answered(401))
    with pytest.raises(Unauthorized) as caught:
        await coins.update(ID, amount=1)
    assert caught.value.attempts == server.calls["update"] == 2


async def test_two_fresh_tokens_refused_in_a_row_end_it() -> None:
    """An API that refuses even fresh tokens costs two logins, then one after each pause, not one for each call."""
    server = ModelledServer(fate=always(answered(401)), token_life=3600)
    coins, loop = client(server, auth=server.grant()), asyncio.get_running_loop()
    with pytest.raises(Unauthorized) as caught:
        await coins.update(ID, amount=1)
    assert (caught.value.attempts, caught.value.maybe_applied) == (2, False)
    held_since = loop.time()
    for _ in range(20):
        with pytest.raises(Unauthorized) as caught:
            await coins.update(ID, amount=1)
        assert caught.value.attempts == 1
    errors = await asyncio.gather(*[coins.update(ID, amount=1) for _ in range(50)], return_exceptions=True)
    assert {type(error) for error in errors} == {Unauthorized}
    assert server.calls["token"] == 2

    server.log.clear()
    while loop.time() < held_since + 500:
        with pytest.raises(Unauthorized):
            await coins.update(ID, amount=1)
        await asyncio.sleep(1)
    asked = [second - held_since for second in server.arrivals("token")]
    assert asked == pytest.approx([60, 180, 420], abs=10), "a minute, then longer each time"

    await asyncio.sleep(3600)
    with pytest.raises(Unauthorized):
        await coins.update(ID, amount=1)
    assert server.calls["token"] == 6, "the last token has expired: that is worth one login"

    server.fate = lambda _: FINE
    await coins.update(ID, amount=1)
    assert server.calls["token"] == 6, "the last token is accepted after all"
    server.login.expire_tokens()
    await coins.update(ID, amount=1)
    assert server.calls["token"] == 7, "and a 401 is worth a login again"


@pytest.mark.parametrize("at_once", [5, 40])
async def test_waiting_for_a_slot_does_not_use_up_the_token(at_once: int) -> None:
    """A call goes out with the token that is good when it goes, however long it waited for its turn: nothing fails,
    and no more than what is under way at a token's end meets a 401.
    """
    server = ModelledServer(latency=lambda _: 10, token_life=100)
    coins = client(server, auth=server.grant(), concurrency=at_once)
    results = await asyncio.gather(*[coins.get(ID) for _ in range(40 * at_once)], return_exceptions=True)
    assert [result for result in results if isinstance(result, BaseException)] == []
    logins = server.calls["token"]
    assert len(refusals(server)) <= logins * at_once


async def test_static_token_is_refused_for_good() -> None:
    """There is nothing to renew a static token with: its 401 is final, after one request."""
    server = ModelledServer()
    with pytest.raises(Unauthorized) as caught:
        await client(server, auth="a-token-of-yesterday").update(ID, amount=1)
    assert caught.value.attempts == 1
    assert server.calls == {"update": 1}
