"""Proxies: the one that is set, or the environment's when asked for; .netrc never."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enkash_coins import CoinEventService, InvalidRequest
from enkash_coins.cli import main
from enkash_coins.environment import CREDENTIALS
from tests.wire.calls import CALLS, ONE_TRY
from tests.wire.failures import client_tls, nobody_listens, server_tls
from tests.wire.server import Peer, Server, Step, http

BASIC = f"Basic {b64encode(b'user:secret').decode()}"
NO_URL = (
    "user:secret@proxy.example",
    "ftp://user:secret@proxy.example",
    "http://user:secret@proxy.example:port",
    "proxy.example:3128",
    "",
    "http://",
    7,
)
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests does not count."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def proxy() -> AsyncIterator[Server]:
    """Answers in the place of the host, as a proxy may; it says nothing about itself."""
    async with Server() as server:
        yield server


def tunnel(port: int) -> Step:
    """Open the tunnel that was asked for, to this port."""

    async def step(peer: Peer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        peer.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
            while block := await source.read(65536):
                drain.write(block)
            drain.close()

        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.close()

    return step


async def test_a_proxy_with_password(proxy: Server) -> None:
    """Requests for loopback go to the proxy in absolute form, with its user and password, which go no further."""
    with nobody_listens() as port:
        host = f"http://127.0.0.1:{port}"
        address = proxy.url.replace("//", "//user:secret@")
        async with CoinEventService.connect(host, auth="a-token", proxy=address, retry=ONE_TRY) as coins:
            for call in CALLS.values():
                await call(coins)
    assert proxy.seen[0].line == f"GET {host}/api/v0/enkash-coins/WCC12345 HTTP/1.1"
    for exchange in proxy.seen:
        assert exchange.header("Proxy-Authorization") == BASIC
        assert exchange.header("Authorization") == "Bearer a-token"
        assert exchange.header("Host") == f"127.0.0.1:{port}"


async def test_a_tunnel_through_a_proxy() -> None:
    """Over https the proxy sees its own password and the host's name, the host sees the rest, and neither both."""
    async with Server(tls=server_tls()) as server, Server() as proxy:
        proxy.script = lambda _: [tunnel(server.port)]
        address = proxy.url.replace("//", "//user:secret@")
        async with CoinEventService.connect(
            server.url, auth="a-token", proxy=address, ssl_context=client_tls(), retry=ONE_TRY
        ) as coins:
            for call in CALLS.values():
                await call(coins)
    (connect,) = proxy.seen
    assert connect.line == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
    assert connect.header("Proxy-Authorization") == BASIC
    assert connect.header("Authorization") is None
    assert len(server.seen) == len(CALLS)
    for exchange in server.seen:
        assert exchange.header("Proxy-Authorization") is None
        assert exchange.header("Authorization") == "Bearer a-token"


@pytest.mark.parametrize("proxy", NO_URL)
async def test_a_proxy_that_is_no_url(proxy: str) -> None:
    """Refused when connecting; the message does not show it, for it may hold a password."""
    with pytest.raises(InvalidRequest, match="proxy") as caught:
        CoinEventService.connect("https://coins.invalid", auth="a-token", proxy=proxy)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("proxy", [proxy for proxy in NO_URL if isinstance(proxy, str) and proxy])
async def test_a_proxy_of_the_environment_that_is_no_url(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Refused when connecting as well: a login that could not be sent is not to count against the account lock."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(InvalidRequest, match="HTTPS_PROXY is not a URL") as caught:
        CoinEventService.connect("https://coins.invalid", auth="a-token", trust_env=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("trusted", [False, True])
async def test_the_environment_counts_only_when_trusted(
    monkeypatch: pytest.MonkeyPatch, server: Server, proxy: Server, *, trusted: bool
) -> None:
    """HTTP_PROXY is ignored unless trust_env=True."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url.replace("//", "//user:secret@"))
        monkeypatch.setenv(name.lower(), proxy.url.replace("//", "//user:secret@"))
    async with CoinEventService.connect(server.url, auth="a-token", trust_env=trusted) as coins:
        await coins.update("WCC12345", amount=10)
    assert (len(server.seen), len(proxy.seen)) == ((0, 1) if trusted else (1, 0))
    for exchange in proxy.seen:
        assert exchange.header("Proxy-Authorization") == BASIC


async def test_https_takes_its_own_variable(monkeypatch: pytest.MonkeyPatch, proxy: Server) -> None:
    """HTTPS_PROXY is for https."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    proxy.script = lambda _: [http(403)]
    async with CoinEventService.connect(
        "https://coins.invalid", auth="a-token", trust_env=True, retry=ONE_TRY
    ) as coins:
        with pytest.raises(Exception, match="403"):
            await coins.get("WCC12345")
    assert [exchange.line for exchange in proxy.seen] == ["CONNECT coins.invalid:443 HTTP/1.1"]


@pytest.mark.parametrize(
    ("exempt", "through"), [("127.0.0.1", 0), ("*", 0), ("other.example,127.0.0.1", 0), ("other.example", 1), ("", 1)]
)
async def test_no_proxy_is_honoured(
    monkeypatch: pytest.MonkeyPatch, server: Server, proxy: Server, exempt: str, through: int
) -> None:
    """Hosts that NO_PROXY names are reached directly."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", exempt)
    async with CoinEventService.connect(server.url, auth="a-token", trust_env=True) as coins:
        await coins.get("WCC12345")
    assert (len(server.seen), len(proxy.seen)) == (1 - through, through)


async def test_a_given_proxy_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, proxy: Server) -> None:
    """Who names a proxy means that one, whatever NO_PROXY says."""
    with nobody_listens() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "*")
        host = f"http://127.0.0.1:{port}"
        async with CoinEventService.connect(host, auth="a-token", proxy=proxy.url, trust_env=True) as coins:
            await coins.get("WCC12345")
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("command", ["get WCC12345", "login"])
async def test_the_command_takes_the_proxy_of_the_environment_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, proxy: Server, command: str
) -> None:
    """With --trust-env all goes through it, the login as well, and without it nothing; a bad one is one line."""

    async def run(*options: str) -> int:
        return await asyncio.to_thread(main, [*command.split(), "--retries", "0", *options])

    monkeypatch.delenv("ENKASH_TOKEN", raising=False)
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("ENKASH_LOGIN_GUARD", str(tmp_path / "guard"))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with nobody_listens() as port:
        monkeypatch.setenv("ENKASH_BASE_URL", f"http://127.0.0.1:{port}")
        assert (await run(), len(proxy.seen)) == (4, 0)
        assert await run("--trust-env") == 0
    assert len(proxy.seen) == (1 if command == "login" else 2)
    assert all(f" http://127.0.0.1:{port}/" in exchange.line for exchange in proxy.seen)
    capsys.readouterr()
    monkeypatch.setenv("HTTP_PROXY", "user:secret@proxy.example")
    assert await run("--trust-env") == 2
    assert capsys.readouterr().err == "enkash-coins: HTTP_PROXY is not a URL such as http://proxy.example:3128\n"


@pytest.mark.parametrize("trusted", [False, True])
async def test_netrc_is_never_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server, *, trusted: bool
) -> None:
    """A .netrc neither replaces the token nor breaks the call, whether it is found by HOME or by NETRC."""
    (tmp_path / ".netrc").write_text("default login user password secret\n", encoding="ascii")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with CoinEventService.connect(server.url, auth="a-token", trust_env=trusted, retry=ONE_TRY) as coins:
        await coins.get("WCC12345")
    assert server.seen[0].header("Authorization") == "Bearer a-token"
    assert "Proxy-Authorization" not in dict(server.seen[0].headers)
