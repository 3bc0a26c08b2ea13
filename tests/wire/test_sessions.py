"""A session of the caller's own: used, never closed, and its settings change nothing of what is promised."""

import gzip
import ssl
from collections.abc import Callable

import aiohttp
import pytest

from enkash_coins import CoinEventService, NotFound, ServiceClosed, __version__
from enkash_coins.service import ConnectOptions
from tests.wire.calls import CALLS, ONE_TRY
from tests.wire.failures import client_tls, server_tls
from tests.wire.server import CONFIG, Server, always, envelope, http, well


async def test_it_stays_open(server: Server) -> None:
    """Closing the service leaves the session open, and with it its pooled connection."""
    async with aiohttp.ClientSession() as session:
        async with CoinEventService.connect(server.url, auth="a-token", session=session) as coins:
            await coins.get("WCC12345")
        assert not session.closed
        with pytest.raises(ServiceClosed):
            await coins.get("WCC12345")
        async with CoinEventService.connect(server.url, auth="a-token", session=session) as coins:
            await coins.get("WCC12345")
        assert not session.closed
    assert (len(server.seen), server.connections) == (2, 1)


async def test_a_session_that_was_closed(server: Server) -> None:
    """A call on a session that its owner closed says so."""
    async with aiohttp.ClientSession() as session:
        coins = CoinEventService.connect(server.url, auth="a-token", session=session)
    with pytest.raises(ServiceClosed):
        await coins.get("WCC12345")
    await coins.aclose()
    assert server.connections == 0


@pytest.mark.parametrize(
    ("clashing", "named"),
    [
        (ConnectOptions(cookies={"a": "1"}), "cookies"),
        (ConnectOptions(ssl_context=ssl.create_default_context()), "ssl_context"),
        (ConnectOptions(proxy="http://127.0.0.1:1"), "proxy"),
        (ConnectOptions(trust_env=True), "trust_env"),
    ],
    ids=["cookies", "ssl_context", "proxy", "trust_env"],
)
async def test_settings_that_belong_to_a_session(server: Server, clashing: ConnectOptions, named: str) -> None:
    """Together with session= they are a TypeError that names them: which of the two would count?"""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TypeError, match=named):
            CoinEventService.connect(server.url, **(clashing | ConnectOptions(auth="a-token", session=session)))


SESSIONS: dict[str, Callable[[Server], aiohttp.ClientSession]] = {
    "raise_for_status": lambda _: aiohttp.ClientSession(raise_for_status=True),
    "auto_decompress off": lambda _: aiohttp.ClientSession(auto_decompress=False),
    "tiny timeout": lambda _: aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1e-6, sock_read=1e-6)),
    "base_url": lambda _: aiohttp.ClientSession(base_url="https://elsewhere.invalid/x/"),
    "headers": lambda _: aiohttp.ClientSession(
        headers={"Authorization": "Bearer of-the-session", "content-type": "text/x", "User-Agent": "s", "accept": "s/s"}
    ),
    "JSON of its own": lambda _: aiohttp.ClientSession(json_serialize=repr),
    "small buffer": lambda _: aiohttp.ClientSession(read_bufsize=16),
    "trust_env": lambda _: aiohttp.ClientSession(trust_env=True),
}


@pytest.mark.parametrize("session", SESSIONS)
async def test_settings_of_a_session_change_nothing(server: Server, session: str) -> None:
    """Statuses, decoding, deadline, host, headers and body stay ours, whatever the session's settings."""
    good = http(200, gzip.compress(envelope(CONFIG)), ["Content-Encoding: gzip"])
    async with (
        SESSIONS[session](server) as given,
        CoinEventService.connect(server.url, auth="a-token", session=given, retry=ONE_TRY) as coins,
    ):
        server.script = always(good)
        assert (await coins.update("WCC12345", amount=10)).amount == 10
        server.script = always(http(404, envelope(None, 1, "No such configuration")))
        with pytest.raises(NotFound) as caught:
            await coins.get("WCC12345")
        assert (caught.value.response_code, caught.value.response_message) == (1, "No such configuration")
    for exchange in server.seen:
        assert exchange.header("Authorization") == "Bearer a-token"
        assert exchange.header("User-Agent") == f"enkash-coins/{__version__}"
        assert exchange.header("Accept") == "application/json"
        assert exchange.header("Host") == f"127.0.0.1:{server.port}"
    assert server.seen[0].header("Content-Type") == "application/json"
    assert server.seen[0].body == b'{"amount":10}'


async def test_headers_of_the_caller_with_a_session(server: Server) -> None:
    """headers= and user_agent= go with it, and those of the session that we don't set, too."""
    async with (
        aiohttp.ClientSession(headers={"X-Session": "s"}) as session,
        CoinEventService.connect(
            server.url, auth="a-token", session=session, headers={"X-Own": "o"}, user_agent="acme/1"
        ) as coins,
    ):
        await coins.get("WCC12345")
    (exchange,) = server.seen
    assert exchange.header("X-Session") == "s"
    assert exchange.header("X-Own") == "o"
    assert exchange.header("User-Agent") == f"enkash-coins/{__version__} acme/1"


async def test_tls_of_the_session() -> None:
    """The session's connector says whom to trust."""
    connector = aiohttp.TCPConnector(ssl=client_tls())
    async with (
        Server(tls=server_tls()) as server,
        aiohttp.ClientSession(connector=connector) as session,
        CoinEventService.connect(server.url, auth="a-token", session=session) as coins,
    ):
        for call in CALLS.values():
            await call(coins)
    assert len(server.seen) == len(CALLS)


async def test_a_callers_session_and_ours_send_the_same(server: Server) -> None:
    """The bytes of a request do not depend on whose session it is."""
    server.script = well
    async with aiohttp.ClientSession() as session:
        for given in (None, session):
            async with CoinEventService.connect(server.url, auth="a-token", session=given) as coins:
                for call in CALLS.values():
                    await call(coins)
    raw = [exchange.raw.split(b"\r\n\r\n") for exchange in server.seen]
    lines = [(sorted(head.split(b"\r\n")), body) for head, body in raw]
    assert lines[: len(CALLS)] == lines[len(CALLS) :]
