"""A deadline ends the whole call, whatever it waits for, and still tells what may have become of it."""

import asyncio
from collections.abc import Callable

import pytest

from enkash_coins import (
    CoinEventService,
    CoinEventUpdate,
    EnkashError,
    RateLimited,
    Response,
    RetryPolicy,
    ServerError,
    TimedOut,
)
from enkash_coins.testing import MockTransport, answer
from tests.simulator.fates import (
    CUT_AFTER,
    FINE,
    NO_CONNECTION,
    SILENT_AFTER,
    SILENT_BEFORE,
    Decide,
    always,
    answered,
    in_turn,
)
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"


async def allocate(coins: CoinEventService) -> object:
    """The write that is never sent again in doubt."""
    return await coins.allocate(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", request_id="order-1")


WAITS: dict[str, tuple[Decide, bool]] = {
    "an answer that never comes": (always(SILENT_BEFORE, on="allocate"), True),
    "an answer that never comes, applied": (always(SILENT_AFTER, on="allocate"), True),
    "a login that never ends": (always(SILENT_BEFORE, on="token"), False),
}


@pytest.mark.parametrize("waits_for", WAITS)
async def test_a_call_ends_by_its_deadline(waits_for: str) -> None:
    """Neither earlier nor later, and with the facts: what had not left is no doubt, what had is."""
    fate, doubtful = WAITS[waits_for]
    server, loop = ModelledServer(fate=fate), asyncio.get_running_loop()
    coins = client(server, auth=server.grant()).with_options(deadline=3)
    began = loop.time()
    with pytest.raises(TimedOut) as caught:
        await allocate(coins)
    assert loop.time() - began == pytest.approx(3)
    assert (caught.value.maybe_applied, caught.value.request_id) == (doubtful, "order-1")
    assert (caught.value.operation, caught.value.attempts) == ("allocate", 1)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("concurrency", "rate"), [(1, None), (4, 0.1)], ids=["a slot", "the rate"])
async def test_waiting_for_its_turn_counts(concurrency: int, rate: float | None) -> None:
    """A call that gets no slot, or no place in the rate, in time was not sent; and nobody's place is lost by that."""
    server, loop = ModelledServer(latency=lambda _: 10), asyncio.get_running_loop()
    coins = client(server, concurrency=concurrency, rate=rate)
    first = asyncio.create_task(coins.get(ID))
    await asyncio.sleep(1)
    with pytest.raises(TimedOut) as caught:
        await allocate(coins.with_options(deadline=2))
    assert loop.time() == pytest.approx(3)
    assert not caught.value.maybe_applied
    await first
    await coins.get(ID)
    assert (server.calls["allocate"], server.calls["get"]) == (0, 2)


async def test_no_waiting_for_a_gate_that_opens_after_the_deadline() -> None:
    """The server asked everybody for a pause of 30 s: a call with 2 s says so at once, and when to come again."""
    server, loop = ModelledServer(fate=in_turn([answered(429, "30")])), asyncio.get_running_loop()
    coins = client(server)
    told = asyncio.create_task(coins.update(ID, amount=1))
    await asyncio.sleep(1)
    with pytest.raises(RateLimited) as caught:
        await allocate(coins.with_options(deadline=2))
    assert loop.time() == pytest.approx(1)
    assert caught.value.retry_after == pytest.approx(29.1)
    assert not caught.value.maybe_applied
    await told


async def test_no_waiting_for_a_try_that_could_only_begin_after_the_deadline() -> None:
    """The error of the latest try is raised at once, and it is not sent again behind the caller's back."""
    server, loop = ModelledServer(fate=always(answered(503, "5"))), asyncio.get_running_loop()
    with pytest.raises(ServerError) as caught:
        await client(server).with_options(deadline=4).update(ID, amount=1)
    assert loop.time() == pytest.approx(0.1)
    assert caught.value.attempts == 1
    await asyncio.sleep(100)
    assert server.calls["update"] == 1


async def test_doubt_from_an_earlier_try_outlives_the_deadline() -> None:
    """First cut off after it was applied, then no connection at all: still in doubt."""
    server = ModelledServer(fate=in_turn([CUT_AFTER, *[NO_CONNECTION] * 9]))
    with pytest.raises(EnkashError) as caught:
        await client(server, retry=RetryPolicy(base=0.1, attempts=99)).with_options(deadline=1).update(ID, amount=1)
    assert caught.value.maybe_applied
    assert caught.value.attempts > 1


async def test_a_connection_that_does_not_come_about_leaves_no_doubt() -> None:
    """The wire knows that nothing had left when the deadline came."""
    server = ModelledServer(latency=lambda _: 60, fate=always(NO_CONNECTION, on="allocate"))
    with pytest.raises(TimedOut) as caught:
        await allocate(client(server).with_options(deadline=1))
    assert not caught.value.maybe_applied


async def test_a_read_is_never_in_doubt() -> None:
    """A deadline of a read has nothing to say about effects."""
    server = ModelledServer(latency=lambda _: 60)
    with pytest.raises(TimedOut) as caught:
        await client(server).with_options(deadline=1).get(ID)
    assert not caught.value.maybe_applied


async def test_each_row_has_its_own_deadline() -> None:
    """In a stream the deadline is each row's, from its first try on; the others go on."""
    server = ModelledServer(10, fate=lambda seen: SILENT_AFTER if "WCC00003" in seen.request.path else FINE)
    coins = client(server).with_options(deadline=2)
    rows = [CoinEventUpdate(f"WCC{n:05d}", amount=7) for n in range(1, 11)]
    stream = coins.update_many(rows, concurrency=2)
    (failed,) = await stream.failures()
    assert (failed.item.coin_config_id, failed.status, failed.late_risk) == ("WCC00003", "unknown", True)
    assert stream.counts == {"applied": 9, "unknown": 1}


async def test_a_login_goes_on_for_the_others() -> None:
    """Who cannot wait leaves; the one login goes on, and the others get its token."""
    server = ModelledServer(latency=lambda _: 5)
    coins = client(server, auth=server.grant())
    patient = asyncio.create_task(coins.get(ID))
    with pytest.raises(TimedOut):
        await coins.with_options(deadline=1).get(ID)
    assert (await patient).coin_config_id == ID
    assert server.calls == {"token": 1, "get": 1}


async def test_a_deadline_holds_over_any_transport() -> None:
    """A transport of somebody else's knows nothing of deadlines: a write it was given may have been applied."""

    async def never(_: object) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    coins = CoinEventService(MockTransport(never)).with_options(deadline=5)
    with pytest.raises(TimedOut) as caught:
        await allocate(coins)
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    assert caught.value.maybe_applied


@pytest.mark.parametrize("when", [lambda: 2.0, lambda: 2.0000001], ids=["at the same instant", "just after"])
async def test_a_cancel_near_the_deadline_is_a_cancel(when: Callable[[], float]) -> None:
    """Whoever cancels gets a CancelledError or the call's own end, never a TimedOut that swallowed the cancel."""
    server, loop = ModelledServer(latency=lambda _: 60), asyncio.get_running_loop()
    call = asyncio.create_task(client(server).with_options(deadline=2.0000001).get(ID))
    loop.call_at(when(), call.cancel)
    await asyncio.wait([call])
    assert call.cancelled() or isinstance(call.exception(), TimedOut)
    if when() < 2.0000001:
        assert call.cancelled()


async def test_a_view_has_other_limits_and_the_same_client() -> None:
    """Token, slots, gate and retry budget are the client's; timeout, deadline and retries are the view's own."""
    server = ModelledServer(latency=lambda _: 10)
    coins = client(server, auth=server.grant(), concurrency=1, retry=RetryPolicy(budget=2, base=0.01))
    await coins.get(ID)
    hasty = coins.with_options(timeout=2, retry=RetryPolicy(attempts=2, base=0.01, budget=100))
    with pytest.raises(TimedOut) as caught:
        await hasty.get(ID)
    assert caught.value.attempts == 2
    with pytest.raises(TimedOut) as caught:
        await hasty.get(ID)
    assert caught.value.attempts == 2, "the second retry of two in the client's budget; its success gave back 0.2"
    with pytest.raises(TimedOut) as caught:
        await hasty.get(ID)
    assert caught.value.attempts == 1, "none is left, whatever the view's own policy says"
    assert server.most_in_flight == 1
    assert server.calls["token"] == 1
    await coins.get(ID)


async def test_a_views_max_wait_is_its_own() -> None:
    """A view that waits for 5 s at most turns away from a gate that is shut for 30; the client itself waits."""
    server = ModelledServer(fate=in_turn([answered(429, "30")]))
    coins = client(server)
    told = asyncio.create_task(coins.update(ID, amount=1))
    await asyncio.sleep(1)
    with pytest.raises(RateLimited):
        await coins.with_options(retry=RetryPolicy(max_wait=5)).get(ID)
    assert (await told).amount == 1


async def test_views_of_views_and_their_end() -> None:
    """What a view does not set it has from the one that it was made of; closing any of them closes the client."""
    transport = MockTransport(lambda _: answer(None, status=503))
    coins = CoinEventService(transport, retry=RetryPolicy(attempts=3, base=0))
    view = coins.with_options(deadline=9).with_options(timeout=1)
    with pytest.raises(ServerError) as caught:
        await view.get(ID)
    assert caught.value.attempts == 3
    assert transport.requests[0].timeout == 1
    await view.aclose()
    assert transport.closed
