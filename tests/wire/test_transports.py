"""What holds over any transport: aiohttp's, the one that the documentation builds on httpx, and a mock."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from enkash_coins import (
    CoinEventCreation,
    CoinEventService,
    CoinEventUpdate,
    ConnectError,
    Disconnected,
    EnkashError,
    MalformedResponse,
    NotFound,
    OutcomeStatus,
    PayloadEncryption,
    Request,
    Response,
    RetryPolicy,
    TimedOut,
    Transport,
    UnexpectedRedirect,
)
from enkash_coins.sandbox import Sandbox
from enkash_coins.testing import MockTransport, answer
from enkash_coins.transports.aiohttp import AiohttpTransport

PAGE = Path(__file__).parents[2] / "docs" / "transports.md"
Make = Callable[[str], Transport]
Serve = Callable[[Callable[[Request], Response]], AbstractAsyncContextManager[Transport]]


def documented() -> Any:  # noqa: ANN401  # a class that only the page knows
    """The transport of the page on transports."""
    block = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block[1].partition("\nasync def main")[0], names)  # noqa: S102  # our own page
    return names["HttpxTransport"]


def test_the_documented_transport_is_short() -> None:
    """Under 40 lines, without what runs it."""
    text = PAGE.read_text(encoding="utf-8")
    start, end = text.index("class HttpxTransport"), text.index("async def main")
    assert text[start:end].strip().count("\n") < 40


TRANSPORTS: dict[str, Make] = {"aiohttp": AiohttpTransport, "httpx": documented()}


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> Make:
    """Each real transport."""
    return TRANSPORTS[request.param]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The API on loopback."""
    async with Sandbox(configs=60) as running:
        yield running


@asynccontextmanager
async def raw(reply: bytes | None, seen: list[bytes]) -> AsyncIterator[str]:
    """A server that answers each request with these bytes, or not at all; its URL."""
    ended: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(end := asyncio.Event())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head)
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                if reply is None:
                    await reader.read()
                elif not reply:
                    break
                else:
                    writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        end.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for end in ended:  # the client is closed by now
            await end.wait()


async def test_every_operation_with_a_login(make: Make, sandbox: Sandbox) -> None:
    """One login serves them all; single calls and many."""
    async with CoinEventService(make(sandbox.base_url), auth=sandbox.auth) as coins:
        assert (await coins.update("WCC00001", amount=7)).amount == (await coins.get("WCC00001")).amount == 7
        made = await coins.create(company_id="CEK1", event="E", amount=3, configuration="DEFAULT")
        assert sandbox.configs[made.coin_config_id]["amount"] == 3
        receipt = await coins.allocate(company_id="CEK1", event="E", user_id="u@example.org", request_id="order 1")
        assert receipt.request_id == "order 1"
        assert isinstance(await coins.balance("u@example.org"), int)
        ids = [f"WCC{number:05}" for number in range(1, 51)]
        streams: list[Any] = [
            coins.update_many([CoinEventUpdate(id_, amount=9) for id_ in ids]),
            coins.get_many(ids),
            coins.create_many(
                CoinEventCreation(company_id="CEK1", event=f"E{number}", amount=1, configuration="DEFAULT")
                for number in range(5)
            ),
            coins.balance_many(["a", "b"]),
        ]
        for stream in streams:
            assert await stream.failures() == []
    assert sandbox.calls["token"] == 1
    assert all(sandbox.configs[id_]["amount"] == 9 for id_ in ids)


async def test_a_rate_is_held(make: Make, sandbox: Sandbox) -> None:
    """Pacing is around any transport: 10 calls at 50 a second take at least 9 intervals."""
    async with CoinEventService(make(sandbox.base_url), auth=sandbox.auth, rate=50) as coins:
        await coins.get("WCC00001")
        began = time.monotonic()
        assert await coins.get_many(["WCC00001"] * 10).failures() == []
        assert time.monotonic() - began > 9 / 50


async def test_encrypted_bodies(make: Make) -> None:
    """Encryption is around any transport."""
    async with Sandbox(encrypted=True) as sandbox:
        encryption = PayloadEncryption(sandbox.environment["ENKASH_CLIENT_SECRET"])
        async with CoinEventService(make(sandbox.base_url), auth=sandbox.auth, encryption=encryption) as coins:
            assert (await coins.update("WCC00001", amount=7)).amount == 7
            with pytest.raises(NotFound):
                await coins.get("NOT_THERE")


REDIRECT = b"HTTP/1.1 307 No\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(b"", Disconnected, id="cut off"),
        pytest.param(None, TimedOut, id="silent"),
        pytest.param(
            b"HTTP/1.1 307 No\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", UnexpectedRedirect, id="redirect"
        ),
        pytest.param(OK % (9 * 2**20) + bytes(9 * 2**20), MalformedResponse, id="too large"),
        pytest.param(OK % 6 + b"<html>", MalformedResponse, id="no JSON"),
    ],
)
async def test_how_a_write_may_end(make: Make, reply: bytes | None, kind: type[EnkashError]) -> None:
    """Each trouble has its error; it is sent once, says whether it may have been applied, and shows no token."""
    seen: list[bytes] = []
    async with (
        raw(reply, seen) as url,
        CoinEventService(make(url), auth="s3cret-token", timeout=30 if reply is not None else 0.3) as coins,
    ):
        with pytest.raises(kind) as caught:
            await coins.allocate(company_id="CEK1", event="E", user_id="U")
    assert type(caught.value) is kind
    assert caught.value.maybe_applied is (kind is not UnexpectedRedirect)
    assert len(seen) == 1
    assert "s3cret-token" not in repr((caught.value, caught.value.__context__, caught.value.__cause__))


async def test_what_was_not_sent_is_sent_again(make: Make, sandbox: Sandbox) -> None:
    """A refused connection is no doubt, so even an allocation is repeated."""
    attempts: list[str | None] = []
    coins = CoinEventService(
        make("http://127.0.0.1:9"),
        auth="token",
        retry=RetryPolicy(attempts=3, base=0),
        on_attempt=lambda attempt: attempts.append(attempt.error),
    )
    async with coins:
        with pytest.raises(EnkashError) as caught:
            await coins.allocate(company_id="CEK1", event="E", user_id="U")
    assert (attempts, caught.value.maybe_applied) == (["ConnectError"] * 3, False)


async def test_a_cancelled_call_ends_at_once(make: Make) -> None:
    """No transport may hold it up."""
    seen: list[bytes] = []
    async with raw(None, seen) as url, CoinEventService(make(url), auth="token") as coins:
        call = asyncio.create_task(coins.get("WCC1"))
        while not seen:  # noqa: ASYNC110  # a list sets no event
            await asyncio.sleep(0.01)
        began = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - began < 1


class Careless:
    """A transport that does what it should not."""

    def __init__(self, act: Callable[[Request], Awaitable[Response]]) -> None:
        self._act = act

    async def send(self, request: Request, /) -> Response:
        """Do it."""
        return await self._act(request)

    async def aclose(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("error", [OSError("no"), ValueError("s3cret"), KeyError(1), RuntimeError("closed")], ids=repr)
async def test_whatever_a_transport_raises_is_in_doubt(error: Exception) -> None:
    """An error that is not ours says nothing about whether the write arrived; its words may hold secrets."""

    async def act(_: Request) -> Response:
        raise error

    async with CoinEventService(Careless(act)) as coins:
        with pytest.raises(Disconnected, match=f"the transport failed with {type(error).__name__}") as caught:
            await coins.create(company_id="CEK1", event="E", amount=1, configuration="DEFAULT")
    assert caught.value.maybe_applied
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [Disconnected(), TimedOut(), ConnectError()], ids=repr)
async def test_an_error_without_words_is_told_all_the_same(error: EnkashError) -> None:
    """A transport need not say more than the class: a person still reads a sentence."""
    async with CoinEventService(MockTransport([error]), retry=RetryPolicy(attempts=1)) as coins:
        with pytest.raises(type(error), match=r"^allocate E to U: (no|the) \w+ \w+ \w+"):
            await coins.allocate(company_id="C", event="E", user_id="U")


async def test_what_a_transport_has_seen_does_not_change() -> None:
    """A request is completed on its way down; the one that goes out again is another object with the same bytes."""
    mock = MockTransport([answer(None, status=503), answer(42)])
    async with CoinEventService(mock, auth="token", retry=RetryPolicy(base=0)) as coins:
        assert await coins.balance("EK1") == 42
    first, second = mock.requests
    assert first == second
    assert first is not second
    assert first.headers["Authorization"] == "Bearer token"


async def test_a_definite_no_is_rejected_over_a_mock() -> None:
    """The reading of answers is the service's."""
    async with CoinEventService(MockTransport([answer(None, status=404)])) as coins:
        outcomes = await coins.update_many([CoinEventUpdate("WCC1", amount=1)]).failures()
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.REJECTED]


class Tagged:
    """A layer that gives each call an id of its own."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def send(self, request: Request, /) -> Response:
        """Add it, unless it is there already: a call that is sent again keeps its id."""
        request.headers = {"X-Correlation-Id": str(uuid.uuid4()), **request.headers}
        return await self._inner.send(request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


async def test_what_a_layer_adds_is_there_again_on_a_retry() -> None:
    """Headers of a call stay the same however often it is sent; the next call has others."""
    mock = MockTransport([answer(None, status=503), answer(1), answer(2)])
    async with CoinEventService(Tagged(mock), auth="token", retry=RetryPolicy(base=0)) as coins:
        assert [await coins.balance("EK1"), await coins.balance("EK1")] == [1, 2]
    first, again, other = (request.headers["X-Correlation-Id"] for request in mock.requests)
    assert first == again != other
