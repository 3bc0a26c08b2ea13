"""Whether a request left is known from the wire: a write that certainly did not leave is never in doubt."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Sequence

import pytest

from enkash_coins import (
    CoinEventService,
    CoinEventUpdate,
    ConnectError,
    Disconnected,
    EnkashError,
    PasswordGrant,
    Request,
    Response,
    RetryPolicy,
    TimedOut,
    TlsError,
)
from enkash_coins.transports.aiohttp import AiohttpTransport
from tests.wire.calls import CALLS, THREE_TRIES, WRITES
from tests.wire.failures import authority, client_tls, failing, server_tls
from tests.wire.server import Peer, Server, Step, close, hang, http, reset

WEBSITE = "https://coins.invalid"  # reached through a proxy only: nobody resolves this name


async def assert_not_sent(coins: CoinEventService, kind: type[EnkashError], *, tries: int) -> EnkashError:
    """Nothing left: each write ends in this error without a doubt, after so many tries; a row ends not_sent."""
    errors = []
    for call in WRITES:
        with pytest.raises(kind) as caught:
            await CALLS[call](coins)
        assert (call, caught.value.maybe_applied, caught.value.attempts) == (call, False, tries)
        errors.append(caught.value)
    (outcome,) = await coins.update_many([CoinEventUpdate("WCC12345", amount=10)]).failures()
    assert (outcome.status, outcome.attempts, outcome.late_risk) == ("not_sent", tries, False)
    return errors[0]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("connection refused", ConnectError),
        ("connect timeout", ConnectError),
        ("connect timeout", TimedOut),
        ("no such host", ConnectError),
        ("proxy refuses", ConnectError),
    ],
)
async def test_no_connection(failure: str, kind: type[EnkashError]) -> None:
    """Refused, timed out while connecting, no such host, or a proxy's no: not sent, and tried again."""
    async with (
        failing(failure) as given,
        given.client(THREE_TRIES) as coins,
    ):
        await assert_not_sent(coins, kind, tries=3)


@pytest.mark.parametrize(("through", "said"), [(False, ""), (True, "none to the proxy: ")])
async def test_a_refused_connection_says_where(through: bool, said: str) -> None:  # a parameter of pytest
    """In the system's words, and without blaming the host for its proxy."""
    nobody = "127.0.0.1:1"
    base_url, proxy = (WEBSITE, f"http://bob:hush@{nobody}") if through else (f"http://{nobody}", None)
    async with CoinEventService.connect(base_url, auth="a-token", proxy=proxy, retry=RetryPolicy(attempts=1)) as coins:
        with pytest.raises(ConnectError, match=rf"no connection to [a-z0-9.]+: {said}Connection refused$"):
            await coins.balance("EK1")


@pytest.mark.parametrize("status", [400, 401, 403, 407, 500, 502, 503])
async def test_a_proxy_that_refuses(status: int) -> None:
    """Whatever a proxy says instead of making the connection: the request itself did not leave."""
    async with (
        Server(lambda _: [http(status, b"<html>no</html>")]) as proxy,
        CoinEventService.connect(WEBSITE, auth="a-token", proxy=proxy.url, retry=THREE_TRIES) as coins,
    ):
        error = await assert_not_sent(coins, ConnectError, tries=3)
        assert str(status) in str(error)
    assert {exchange.line for exchange in proxy.seen} == {"CONNECT coins.invalid:443 HTTP/1.1"}


@pytest.mark.parametrize("answer", [[close], [reset], [b"SSH-2.0-x\r\n\r\n"], [http(200), close]], ids=range(4))
async def test_a_proxy_that_breaks_off(answer: Sequence[Step]) -> None:
    """A proxy that says nothing sensible, or opens the tunnel and shuts it: the request itself did not leave."""
    async with (
        Server(lambda _: answer) as proxy,
        CoinEventService.connect(WEBSITE, auth="a-token", proxy=proxy.url, retry=THREE_TRIES) as coins,
    ):
        with pytest.raises(EnkashError) as caught:
            await coins.create(company_id="CEK1", event="E", amount=6, configuration="DEFAULT")
    assert isinstance(caught.value, ConnectError)
    assert not caught.value.maybe_applied
    assert {exchange.operation for exchange in proxy.seen} == {"other"}


async def test_a_proxy_that_says_nothing() -> None:
    """Time that runs out while the proxy makes the connection: not sent."""
    async with (
        Server(lambda _: [hang]) as proxy,
        CoinEventService.connect(WEBSITE, auth="a-token", proxy=proxy.url, retry=THREE_TRIES, timeout=0.03) as coins,
    ):
        await assert_not_sent(coins, TimedOut, tries=3)


def _for_another_host() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("other.example").configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("server", "client"),
    [(server_tls, ssl.create_default_context), (_for_another_host, client_tls), (None, client_tls)],
    ids=["unknown authority", "other host", "no TLS at all"],
)
async def test_tls_that_cannot_work(
    server: Callable[[], ssl.SSLContext] | None, client: Callable[[], ssl.SSLContext]
) -> None:
    """A handshake that fails is not sent, and not tried again: what is wrong stays wrong."""

    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.perform([http(400), close])

    async with Server(tls=server()) if server else Server(greeting=[plain]) as listening:
        url = f"https://127.0.0.1:{listening.port}"
        async with CoinEventService.connect(url, auth="a-token", ssl_context=client(), retry=THREE_TRIES) as coins:
            await assert_not_sent(coins, TlsError, tries=1)
        assert listening.seen == []


@pytest.mark.parametrize("end", [close, reset])
async def test_a_connection_that_ends_in_the_tls_handshake(end: Step) -> None:
    """Broken off before TLS was there: not sent."""

    async def shaking_hands(peer: Peer) -> None:
        await peer.reader.read(1)

    async with Server(greeting=[shaking_hands, end]) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with CoinEventService.connect(url, auth="a-token", retry=THREE_TRIES) as coins:
            with pytest.raises(ConnectError) as caught:
                await coins.create(company_id="CEK1", event="E", amount=6, configuration="DEFAULT")
    assert not caught.value.maybe_applied


async def test_a_timeout_in_the_tls_handshake() -> None:
    """Time that runs out before TLS was there: not sent."""
    async with Server(greeting=[hang]) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with CoinEventService.connect(url, auth="a-token", retry=THREE_TRIES, timeout=0.03) as coins:
            await assert_not_sent(coins, TimedOut, tries=3)


@pytest.mark.parametrize("call", WRITES)
async def test_a_reset_at_once_is_told_truly(call: str) -> None:
    """A reset that races with the request: whoever says "not sent" is right, and tries again; else it is in doubt."""
    async with (
        Server(greeting=[reset]) as server,
        CoinEventService.connect(server.url, auth="a-token", retry=THREE_TRIES) as coins,
    ):
        with pytest.raises((ConnectError, Disconnected)) as caught:
            await CALLS[call](coins)
        assert caught.value.maybe_applied == isinstance(caught.value, Disconnected) or caught.value.attempts > 1
        assert server.connections == caught.value.attempts


@pytest.mark.parametrize("linger", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("call", ["get", "update", "create", "allocate"])
async def test_a_pooled_connection_that_the_server_closed(call: str, *, linger: bool) -> None:
    """The end of an idle connection that this side has not noticed yet: what may be repeated is, on a new one; and
    before what may not be, the loop looks at its sockets.
    """
    async with Server() as server, CoinEventService.connect(server.url, auth="a-token", retry=THREE_TRIES) as coins:
        await coins.get("WCC1")
        idle = server.peers[0].writer.get_extra_info("socket")
        if linger:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # At once and not by the loop, which must not run before the request goes out.
        with socket.socket(fileno=socket.dup(idle.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
        await CALLS[call](coins)
        assert (len(server.seen), server.connections) == (2, 2)


async def test_a_pooled_connection_whose_end_was_noticed() -> None:
    """A connection that ended while idle is not used: no attempt is lost, not even of a create."""
    async with Server() as server, CoinEventService.connect(server.url, auth="a-token", retry=THREE_TRIES) as coins:
        await coins.get("WCC1")
        server.peers[0].writer.close()
        await server.peers[0].writer.wait_closed()
        for _ in range(10):
            await asyncio.sleep(0)
        await CALLS["create"](coins)
    assert (len(server.seen), server.connections) == (2, 2)


async def send_a_megabyte(server: Server, *, timeout: float) -> Response:  # noqa: ASYNC109  # the transport's own
    """No operation has a body that long: this is the transport's own rule."""
    transport = AiohttpTransport(server.url)
    request = Request("PATCH", "/api/v0/enkash-coins/WCC1", {}, bytes(2**20), "update", timeout=timeout)
    try:
        return await transport.send(request)
    finally:
        await transport.aclose()


async def test_a_server_that_accepts_and_never_reads() -> None:
    """A request that got stuck half way has begun to leave: timed out, and in doubt."""

    async def read_nothing(_: Peer) -> None:
        await asyncio.Event().wait()

    async with Server(greeting=[read_nothing]) as server:
        server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(TimedOut) as caught:
            await send_a_megabyte(server, timeout=0.05)
        assert server.connections == 1
    assert not isinstance(caught.value, ConnectError)
    assert caught.value.maybe_applied


async def test_a_server_that_answers_before_it_has_read_all() -> None:
    """An early answer, with the rest of the body unread, is the answer."""
    async with Server(greeting=[http(413), hang]) as server:
        server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert (await send_a_megabyte(server, timeout=30)).status == 413


async def test_a_certificate_that_the_server_asks_for() -> None:
    """With TLS 1.3 a server refuses a client without certificate only after the handshake: no claim that is untrue."""
    context = server_tls()
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    async with Server(tls=context) as server:
        async with CoinEventService.connect(server.url, auth="a-token", ssl_context=client_tls()) as coins:
            with pytest.raises((TlsError, Disconnected)) as caught:
                await CALLS["create"](coins)
        assert server.seen == []
    assert caught.value.maybe_applied == isinstance(caught.value, Disconnected)


@pytest.mark.parametrize("answer", [[close], [reset], [http(500)], [http(200, b"<html>")], [http(302)]], ids=range(5))
@pytest.mark.parametrize("call", [*WRITES, "update_many"])
async def test_a_login_that_failed_sent_nothing_else(call: str, answer: Sequence[Step]) -> None:
    """When there is no token the call itself did not leave, whatever became of the login."""
    async with (
        Server(lambda _: answer) as server,
        CoinEventService.connect(server.url, auth=PasswordGrant("i", "s", "u", "p"), retry=THREE_TRIES) as coins,
    ):
        if call == "update_many":
            (outcome,) = await coins.update_many([CoinEventUpdate("WCC12345", amount=10)]).failures()
            assert (outcome.status, outcome.late_risk) == ("not_sent", False)
        else:
            with pytest.raises(EnkashError) as caught:
                await CALLS[call](coins)
            assert not caught.value.maybe_applied
    assert 1 <= server.calls["token"] <= 2
    assert server.calls.total() == server.calls["token"]
