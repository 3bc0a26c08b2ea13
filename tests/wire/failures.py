"""The ways in which a request can fail, each as what a server does about it. What follows is in ``test_retries``."""

import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Final, NoReturn

import aiohttp
import attrs
import trustme
from aiohttp.abc import AbstractResolver

from enkash_coins import CoinEventService, RetryPolicy, Token, Transport
from enkash_coins.service import ConnectOptions
from tests.wire.server import Peer, Script, Server, always, close, envelope, http, outlast, reset, well

_HTML: Final = b"<html><body><h1>Checking your browser</h1></body></html>"
_TOO_MUCH: Final = gzip.compress(bytes(8 * 2**20 + 1))


async def reset_unread(peer: Peer) -> None:
    """End the connection when a request begins to arrive, unread."""
    await peer.first_byte()
    await reset(peer)


def _says(status: int, *headers: str) -> Script:
    return always(http(status, envelope(None, 1, "No"), headers))


SCRIPTS: Final[dict[str, Script]] = {
    "reset after reading": always(reset),
    "closed after reading": always(close),
    "timeout after reading": always(outlast),
    "408": _says(408),
    "429": _says(429),
    "429, Retry-After: 0": _says(429, "Retry-After: 0"),
    "425": _says(425),
    "401": _says(401),
    "401, then a new token": _says(401),
    "400": _says(400),
    "403": _says(403),
    "404": _says(404),
    "409": _says(409),
    "412": _says(412),
    "418": _says(418),
    "422": _says(422),
    "500": _says(500),
    "503": _says(503),
    "302": _says(302, "Location: /elsewhere"),
    "response_code 1": always(http(200, envelope("Insufficient balance", 1, "Insufficient balance"))),
    "HTML page": always(http(200, _HTML, kind="text/html")),
    "HTML page, 503": always(http(503, _HTML, kind="text/html")),
    "answer cut short": always(http(200, envelope(None)[:20], length=80), close),
    "head cut short": always(b"HTTP/1.1 200 OK\r\nContent-Le", close),
    "not HTTP": always(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "bad JSON": always(http(200, envelope(None)[:-1])),
    "wrong payload": always(http(200, envelope([]))),
    "body too large": always(http(200, _TOO_MUCH, ["Content-Encoding: gzip"])),
    "bad gzip": always(http(200, b"\x1f\x8bnot gzip at all", ["Content-Encoding: gzip"])),
}


@cache
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet; made once, for it takes a while."""
    return trustme.CA()


def server_tls() -> ssl.SSLContext:
    """TLS for a server at 127.0.0.1, with a certificate of ``authority``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_tls() -> ssl.SSLContext:
    """TLS for a client that trusts ``authority``."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


class NewTokens:
    """A source that has another token for each one that is refused."""

    def __init__(self) -> None:
        self.current = Token("token-1")

    async def token(self, send: Transport, /) -> Token:
        return self.current

    def refused(self, token: Token, /) -> None:
        number = int(self.current.value.removeprefix("token-"))
        self.current = Token(f"token-{number + 1}")


class _NoNames(AbstractResolver):
    """A resolver that knows no host; nothing is asked of anybody."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        pass


@contextmanager
def nobody_listens() -> Iterator[int]:
    """A port that is taken, so that no other test can listen there, and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def nobody_answers() -> Iterator[int]:
    """A port where connections are neither made nor refused: its queue of new ones is full."""
    with ExitStack() as stack, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = socket.socket()
            stack.callback(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@attrs.frozen
class Failing:
    """A server that fails, its URL for the client, and what else the client needs to be told to meet the failure."""

    server: Server
    url: str
    options: ConnectOptions

    def client(self, retry: RetryPolicy) -> CoinEventService:
        """A client that will meet it."""
        return CoinEventService.connect(self.url, **(self.options | ConnectOptions(retry=retry)))


@asynccontextmanager
async def failing(failure: str) -> AsyncIterator[Failing]:
    """A server, or the lack of one, that fails in this way."""
    # Most need nothing but a script; the rest is set up below.
    server = Server(
        SCRIPTS.get(failure, well),
        greeting=[reset_unread] if failure == "reset before reading" else [],
        tls=server_tls() if failure == "untrusted certificate" else None,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        url, options = server.url, ConnectOptions(auth="token-1")
        match failure:
            case "connection refused":
                url = f"http://127.0.0.1:{stack.enter_context(nobody_listens())}"
            case "connect timeout":
                url = f"http://127.0.0.1:{stack.enter_context(nobody_answers())}"
                options["timeout"] = 0.02  # for real: while nothing arrives there is nobody to put the clock forward
            case "no such host":
                url = "https://coins.invalid"
                connector = aiohttp.TCPConnector(resolver=_NoNames())
                options["session"] = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            case "proxy refuses":
                url, options["proxy"] = "https://coins.invalid", server.url
                server.script = lambda _: [http(502)]
            case "401, then a new token":
                options["auth"] = NewTokens()
        yield Failing(server, url, options)
