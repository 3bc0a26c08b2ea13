"""Closing ends every wait at once."""

import asyncio
from collections.abc import Callable

import pytest

from enkash_coins import CoinEventService, Disconnected, RetryPolicy, ServiceClosed
from tests.simulator.fates import CUT_BEFORE, NO_CONNECTION, SILENT_BEFORE, always, answered, in_turn
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"
PATIENT = RetryPolicy(base=1000, max_delay=1000)


def in_backoff(server: ModelledServer) -> CoinEventService:
    """A second try, which comes in minutes."""
    server.fate = always(NO_CONNECTION)
    return client(server, retry=PATIENT)


def at_the_gate(server: ModelledServer) -> CoinEventService:
    """The gate, which opens in half a minute."""
    server.fate = always(answered(429, "50"))
    return client(server)


def for_a_slot(server: ModelledServer) -> CoinEventService:
    """The one slot, which a slow request holds."""
    server.latency = lambda _: 25
    return client(server, concurrency=1)


def for_a_slot_of_a_shared_session(server: ModelledServer) -> CoinEventService:
    """The same, where closing leaves the slow request alone."""
    server.latency = lambda _: 25
    return client(server, concurrency=1, shared=True)


def for_its_turn(server: ModelledServer) -> CoinEventService:
    """The turn that the rate grants it."""
    return client(server, rate=0.01)


def for_the_login(server: ModelledServer) -> CoinEventService:
    """A slow login."""
    server.latency = lambda _: 25
    return client(server, auth=server.grant())


def for_the_login_at_the_gate(server: ModelledServer) -> CoinEventService:
    """A login that waits at the gate itself."""
    server.fate = in_turn([answered(429, "50")], on="token")
    return client(server, auth=server.grant())


@pytest.mark.parametrize(
    "waiting",
    [
        in_backoff,
        at_the_gate,
        for_a_slot,
        for_a_slot_of_a_shared_session,
        for_its_turn,
        for_the_login_at_the_gate,
    ],
)
async def test_waiting_calls_raise_at_once(waiting: Callable[[ModelledServer], CoinEventService]) -> None:
    """Whatever a call waits for, closing the service turns it away in the same instant, and nothing more is sent."""
    server, loop = ModelledServer(latency=lambda _: 0.1), asyncio.get_running_loop()
    coins = waiting(server)
    first = asyncio.create_task(coins.update(ID, amount=1))
    await asyncio.sleep(5)
    others = [asyncio.create_task(coins.update(ID, amount=n)) for n in range(10)]
    await asyncio.sleep(5)
    sent = server.calls.copy()
    await coins.aclose()
    errors = await asyncio.gather(*others, return_exceptions=True)
    assert loop.time() == 10
    assert {type(error) for error in errors} == {ServiceClosed}
    assert not any(error.maybe_applied for error in errors if isinstance(error, ServiceClosed))
    first.cancel()
    await asyncio.sleep(100)
    assert server.calls == sent


async def test_closing_during_a_login_ends_its_waiters() -> None:
    """A login under way is cut off, and those who wait for it are told: nothing of theirs was sent."""
    server, loop = ModelledServer(), asyncio.get_running_loop()
    coins = for_the_login(server)
    calls = [asyncio.create_task(coins.update(ID, amount=n)) for n in range(10)]
    await asyncio.sleep(5)
    await coins.aclose()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert loop.time() == 5
    assert {type(error) for error in errors} <= {ServiceClosed, Disconnected}
    assert [getattr(error, "maybe_applied", None) for error in errors] == [False] * 10
    await asyncio.sleep(100)
    assert server.calls == {"token": 1}


async def test_closing_keeps_the_doubt() -> None:
    """A write in backoff whose earlier try may have been applied says so when the service closes."""
    server = ModelledServer(fate=in_turn([CUT_BEFORE]))
    coins = client(server, retry=PATIENT)
    call = asyncio.create_task(coins.update(ID, amount=1))
    await asyncio.sleep(1)
    await coins.aclose()
    with pytest.raises(ServiceClosed) as caught:
        await call
    assert (caught.value.maybe_applied, caught.value.attempts) == (True, 1)


async def test_request_under_way_is_cut_off_and_in_doubt() -> None:
    """A write that had left when the service closed may have been applied."""
    server, loop = ModelledServer(fate=in_turn([SILENT_BEFORE])), asyncio.get_running_loop()
    coins = client(server)
    call = asyncio.create_task(coins.update(ID, amount=1))
    await asyncio.sleep(1)
    await coins.aclose()
    with pytest.raises((Disconnected, ServiceClosed)) as caught:
        await call
    assert loop.time() == 1
    assert caught.value.maybe_applied is True


async def test_call_after_closing_sends_nothing() -> None:
    """A closed service refuses at once, also when it is closed twice."""
    server = ModelledServer()
    coins = client(server)
    await coins.aclose()
    await coins.aclose()
    with pytest.raises(ServiceClosed) as caught:
        await coins.get(ID)
    assert (caught.value.attempts, server.log) == (0, [])
