"""A call that is cut off, by its deadline or by whoever cancels it: the wire still knows whether it had left."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from enkash_coins import CoinAllocation, CoinEventService, MemoryGuard, PasswordGrant, TimedOut
from tests.wire.calls import CALLS, WRITES
from tests.wire.failures import failing, nobody_answers
from tests.wire.server import Server, hang, http, until, well

Opened = AsyncIterator[CoinEventService]


@contextlib.asynccontextmanager
async def to_a_full_queue() -> Opened:
    """Connections are neither made nor refused."""
    with nobody_answers() as port:
        async with CoinEventService.connect(f"http://127.0.0.1:{port}", auth="a-token") as coins:
            yield coins


@contextlib.asynccontextmanager
async def to_a_silent_handshake() -> Opened:
    """The TLS handshake does not come to an end."""
    async with (
        Server(greeting=[hang]) as server,
        CoinEventService.connect(f"https://127.0.0.1:{server.port}", auth="a-token") as coins,
    ):
        yield coins


@contextlib.asynccontextmanager
async def to_a_silent_proxy() -> Opened:
    """The proxy does not open the tunnel."""
    async with (
        Server(lambda _: [hang]) as proxy,
        CoinEventService.connect("https://coins.invalid", auth="a-token", proxy=proxy.url) as coins,
    ):
        yield coins


@contextlib.asynccontextmanager
async def to_a_silent_login() -> Opened:
    """The token endpoint does not answer."""
    async with (
        Server(lambda _: [hang]) as server,
        CoinEventService.connect(server.url, auth=PasswordGrant("i", "s", "u", "p", guard=MemoryGuard())) as coins,
    ):
        yield coins


@contextlib.asynccontextmanager
async def to_a_silent_api() -> Opened:
    """The request is read and never answered."""
    async with Server(lambda _: [hang]) as server, CoinEventService.connect(server.url, auth="a-token") as coins:
        yield coins


@contextlib.asynccontextmanager
async def to_half_an_answer() -> Opened:
    """The answer begins, and does not end."""
    async with (
        Server(lambda _: [http(200, b'{"payload"', length=80), hang]) as server,
        CoinEventService.connect(server.url, auth="a-token") as coins,
    ):
        yield coins


Open = Callable[[], contextlib.AbstractAsyncContextManager[CoinEventService]]
STUCK: list[tuple[Open, bool]] = [
    (to_a_full_queue, False),
    (to_a_silent_handshake, False),
    (to_a_silent_proxy, False),
    (to_a_silent_login, False),
    (to_a_silent_api, True),
    (to_half_an_answer, True),
]
stuck = pytest.mark.parametrize(("opened", "left"), STUCK, ids=lambda value: getattr(value, "__name__", None))


@stuck
@pytest.mark.parametrize("call", WRITES)
async def test_a_deadline_tells_whether_the_write_had_left(opened: Open, call: str, *, left: bool) -> None:
    """In doubt if it had; certainly not applied if it had not. An allocation shows its id either way."""
    async with opened() as coins:
        with pytest.raises(TimedOut) as caught:
            await CALLS[call](coins.with_options(deadline=0.05))
    assert caught.value.maybe_applied == left
    assert caught.value.attempts == 1
    assert caught.value.request_id == ("order-1" if "allocate" in call else None)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@stuck
async def test_a_cancelled_write_is_logged_if_it_had_left(
    opened: Open, caplog: pytest.LogCaptureFixture, *, left: bool
) -> None:
    """No exception of ours reaches whoever cancels: the log says what may have been applied, and nothing else."""
    caplog.set_level(logging.WARNING, "enkash_coins")
    async with opened() as coins:
        for call in ("get", "update", "create", "allocate"):
            task = asyncio.ensure_future(CALLS[call](coins))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), 0.03)
            task.cancel()
            began = asyncio.get_running_loop().time()
            await asyncio.wait([task])
            assert asyncio.get_running_loop().time() - began < 0.02
            assert task.cancelled()
    assert [record.getMessage() for record in caplog.records if record.name == "enkash_coins"] == (
        [
            "update cut off: it may have been applied",
            "create cut off: it may have been applied",
            "allocate cut off: it may have been applied; its request id is order-1",
        ]
        if left
        else []
    )


async def test_a_write_that_was_refused_a_token_is_no_doubt_when_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """Cut off while it gets a new token after a 401: the API had said no, and nothing was applied."""
    asked = 0

    def script(exchange: object) -> list[object]:
        nonlocal asked
        asked += 1
        return [*well(exchange)] if asked == 1 else [http(401)] if asked == 2 else [hang]  # type: ignore[arg-type]  # an Exchange

    async with (
        Server(script) as server,  # type: ignore[arg-type]  # steps
        CoinEventService.connect(server.url, auth=PasswordGrant("i", "s", "u", "p", guard=MemoryGuard())) as coins,
    ):
        with pytest.raises(TimedOut) as caught:
            await CALLS["allocate"](coins.with_options(deadline=0.1))
    assert server.calls == {"token": 2, "allocate": 1}
    assert not caught.value.maybe_applied


async def test_cancelled_streams_name_each_allocation(caplog: pytest.LogCaptureFixture) -> None:
    """The id that was made for a row is known to nobody else; of updates the stream tells the number."""
    rows = [CoinAllocation(company_id="CEK1", event="E", user_id=f"EK{n}") for n in range(3)]
    async with to_a_silent_api() as coins:
        stream = coins.allocate_many(rows)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await stream.aclose()
    named = [record.getMessage() for record in caplog.records if "its request id is" in record.getMessage()]
    assert len(set(named)) == 3


async def test_the_connection_of_a_call_that_was_cut_off_is_not_used_again() -> None:
    """Its answer may still come; the next call must not take that for its own."""
    go_on = asyncio.Event()
    async with (
        Server(lambda exchange: [until(go_on), *well(exchange)]) as server,
        CoinEventService.connect(server.url, auth="a-token") as coins,
    ):
        with pytest.raises(TimedOut):
            await CALLS["allocate"](coins.with_options(deadline=0.05))
        go_on.set()
        assert await coins.balance("EK1") == 1250
        assert server.connections == 2


async def test_a_view_has_its_own_timeout_on_the_wire() -> None:
    """On one client: a call that gives up soon, one that gives up late, and one with the client's own time."""
    async with (
        Server(lambda _: [hang]) as server,
        CoinEventService.connect(server.url, auth="a-token", timeout=0.12) as coins,
    ):
        loop = asyncio.get_running_loop()
        ended: list[float] = []  # in this order, however late the machine is

        async def gives_up(view: CoinEventService, seconds: float) -> None:
            began = loop.time()
            with pytest.raises(TimedOut):
                await CALLS["allocate"](view)
            assert loop.time() - began >= seconds
            ended.append(seconds)

        views = {timeout: coins.with_options(timeout=timeout) for timeout in (0.3, 0.03)} | {0.12: coins}
        await asyncio.gather(*(gives_up(view, timeout) for timeout, view in views.items()))
    assert ended == [0.03, 0.12, 0.3]


async def test_a_views_timeout_ends_with_its_call() -> None:
    """An answer in time is the end of it: the task goes on, and nothing cuts it off later."""
    async with Server() as server, CoinEventService.connect(server.url, auth="a-token") as coins:
        hasty = coins.with_options(timeout=0.05, deadline=0.05)
        assert await hasty.balance("EK1") == 1250
        await asyncio.sleep(0.1)
        assert await hasty.balance("EK1") == 1250


async def test_a_timeout_while_connecting_names_its_own_seconds() -> None:
    """The message says the view's time, not the client's."""
    async with failing("connect timeout") as given, CoinEventService.connect(given.url, auth="a-token") as coins:
        with pytest.raises(TimedOut, match=r"no connection to 127\.0\.0\.1 within 0\.04 s"):
            await CALLS["create"](coins.with_options(timeout=0.04, deadline=1.0))
