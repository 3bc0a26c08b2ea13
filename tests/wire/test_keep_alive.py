"""Connections: kept, shared out, and never left holding somebody else's answer."""

import asyncio
import contextlib

import pytest

from enkash_coins import CoinEventService, CoinEventUpdate, Disconnected, MalformedResponse, PasswordGrant
from tests.wire.calls import CALLS, ONE_TRY, THREE_TRIES
from tests.wire.failures import client_tls, server_tls
from tests.wire.server import CONFIG, Exchange, Peer, Server, Step, close, envelope, http, reset, until, well


def own(exchange: Exchange) -> bytes:
    """A good answer that names the id that was asked for."""
    asked = exchange.line.split()[1].rpartition("/")[2]
    return http(200, envelope(CONFIG | {"coinConfigId": asked}))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_one_connection_for_calls_in_sequence(*, tls: bool) -> None:
    """Twenty calls one after another, with their login, need one connection."""
    async with (
        Server(tls=server_tls() if tls else None) as server,
        CoinEventService.connect(
            server.url, auth=PasswordGrant("i", "s", "u", "p"), ssl_context=client_tls() if tls else None
        ) as coins,
    ):
        for _ in range(4):
            for name in ("get", "update", "create", "allocate", "balance"):
                await CALLS[name](coins)
    assert (len(server.seen), server.connections) == (21, 1)


async def test_a_refusal_keeps_the_connection(server: Server) -> None:
    """An error that was read to its end leaves the connection as good as a success does."""
    answers = [http(status, envelope(None, 1, "No")) for status in (400, 404, 422, 429, 503)]
    server.script = lambda exchange: [answers.pop(0)] if answers else well(exchange)
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        for _ in range(5):
            with contextlib.suppress(Exception):
                await coins.get("WCC12345")
        await coins.get("WCC12345")
    assert (len(server.seen), server.connections) == (6, 1)


async def test_connection_close_is_obeyed(server: Server) -> None:
    """After ``Connection: close`` a new one is made, without losing an attempt."""
    server.script = lambda exchange: [http(200, envelope(CONFIG), ["Connection: close"]), close]
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        for _ in range(3):
            await CALLS["create"](coins)
    assert (len(server.seen), server.connections) == (3, 3)


@pytest.mark.parametrize("ceiling", [1, 5])
async def test_the_ceiling_in_flight(server: Server, ceiling: int) -> None:
    """However many calls wait, the server never has more at once than ``concurrency``, and does have that many."""
    full = asyncio.Event()

    def script(exchange: Exchange) -> list[Step]:
        if server.in_flight == ceiling:
            full.set()
        return [until(full), own(exchange)]

    server.script = script
    async with CoinEventService.connect(server.url, auth="a-token", concurrency=ceiling) as coins:
        rows = [CoinEventUpdate(f"WCC{number}", amount=10) for number in range(40)]
        calls = (coins.get(f"WCC{number}") for number in range(40))
        failures, *_ = await asyncio.gather(coins.update_many(rows).failures(), *calls)
    assert failures == []
    assert len(server.seen) == 80
    assert server.most_in_flight == ceiling
    assert server.connections <= ceiling


async def test_a_stream_may_have_a_lower_ceiling(server: Server) -> None:
    """``update_many(concurrency=)`` sets a lower one for its own rows."""
    rows = [CoinEventUpdate(f"WCC{number}", amount=10) for number in range(40)]
    server.script = lambda exchange: [until_others_ran, own(exchange)]
    async with CoinEventService.connect(server.url, auth="a-token", concurrency=8) as coins:
        assert await coins.update_many(rows, concurrency=3).failures() == []
    assert server.most_in_flight == 3


async def until_others_ran(_: Peer) -> None:
    """Let everybody else have some turns."""
    for _turn in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("told", [0, 30, -1], ids=["nothing", "half the head", "half the body"])
async def test_a_cancelled_call_leaves_nothing_behind(server: Server, told: int) -> None:
    """A call cancelled while its answer comes in does not leave the rest of it to the next call."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def begin(_: Peer) -> None:
        begun.set()

    def script(exchange: Exchange) -> list[Step]:
        answer = own(exchange)
        if "SLOW" in exchange.line:
            return [answer[:told], begin, until(go_on), answer[told:]]
        return [answer]

    server.script = script
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        await coins.get("FIRST")
        slow = asyncio.ensure_future(coins.get("SLOW"))
        await asyncio.wait_for(begun.wait(), 10)
        await until_others_ran(server.peers[0])
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        go_on.set()
        for name in ("SECOND", "THIRD", "FOURTH"):
            assert (await coins.get(name)).coin_config_id == name
            await until_others_ran(server.peers[0])
    assert [exchange.connection for exchange in server.seen] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("extra", [http(200, envelope(CONFIG)), b"HTTP/1.1", b"\r\n", b"x" * 100], ids=range(4))
@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "later"])
async def test_extra_bytes_are_not_the_next_answer(server: Server, extra: bytes, *, together: bool) -> None:
    """What comes after an answer, be it a whole one, is not taken for the answer to the next request. Such an answer
    itself may be refused as not HTTP.
    """
    server.script = lambda exchange: [own(exchange) + extra] if together else [own(exchange), until_others_ran, extra]
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        for name in ("ONE", "TWO", "THREE"):
            with contextlib.suppress(MalformedResponse):
                assert (await coins.get(name)).coin_config_id == name
            for _ in range(3):
                await until_others_ran(server.peers[0])
    assert len(server.seen) == 3


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("call", ["get", "balance"])
async def test_no_silent_second_try(server: Server, call: str, end: Step) -> None:
    """On a pooled connection that turns out dead aiohttp would repeat a GET by itself; ours does not, so that attempts
    is what the server saw.
    """
    async with CoinEventService.connect(server.url, auth="a-token", retry=THREE_TRIES) as coins:
        await coins.get("WCC12345")
        server.script = lambda _: [end]
        with pytest.raises(Disconnected) as caught:
            await CALLS[call](coins)
        assert caught.value.attempts == 3
        assert len(server.seen) == 1 + 3


async def test_many_at_once_get_their_own_answers(server: Server) -> None:
    """Two hundred calls over few connections, with answers out of step: each gets the one it asked for."""

    def script(exchange: Exchange) -> list[Step]:
        answer = own(exchange)
        cut = len(server.seen) % len(answer)
        return [answer[:cut], until_others_ran, answer[cut:]]

    server.script = script
    async with CoinEventService.connect(server.url, auth="a-token", concurrency=16) as coins:
        ids = [f"WCC{number}" for number in range(200)]
        configs = await asyncio.gather(*map(coins.get, ids))
    assert [config.coin_config_id for config in configs] == ids
    assert server.connections <= 16
