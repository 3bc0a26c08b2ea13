"""HTTP by aiohttp: the only module that imports its client."""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from http.cookies import BaseCookie, Morsel
from typing import Final, TypedDict
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import ClientSession
from aiohttp.abc import AbstractCookieJar, AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.tracing import Trace
from aiohttp.typedefs import LooseCookies
from yarl import URL

from enkash_coins.errors import (
    ConnectError,
    ConnectTimedOut,
    Disconnected,
    EnkashError,
    MalformedResponse,
    ServiceClosed,
    TimedOut,
    TlsError,
)
from enkash_coins.home import Home, Moved
from enkash_coins.secret import Secret
from enkash_coins.transport import LONG_SECRET, Request, Response, blacked_out, mark_harmless
from enkash_coins.transports.time_limit import TimeLimit

__all__ = ["AiohttpTransport", "ClientSession"]

LARGEST_BODY: Final = 8 * 2**20
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
# A plain success; anything else is searched for secrets that it quotes.
_COMPACT_SUCCESS = b'"response_code":0'
_SUCCESS = re.compile(rb'"(response_)?code"\s*:\s*0[,}\s]|"access_?[tT]oken"\s*:\s*"')


_PLAIN_HEADERS = frozenset({"User-Agent", "Accept"})


class _RequestOptions(TypedDict, total=False):
    proxy: str
    raise_for_status: bool
    auto_decompress: bool
    timeout: aiohttp.ClientTimeout


class _TooLarge(Exception):
    """More than ``LARGEST_BODY`` bytes, decoded."""


class _Body(aiohttp.BytesPayload):
    """A body that knows whether it was written: the wire's own word on whether a request left.

    aiohttp sends the headers together with the first byte of the body, and an exception's class cannot tell: a time
    limit raises the same ``TimeoutError`` before and after.
    """

    left = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        transport = writer.transport
        if transport is not None and not transport.is_closing():
            self.left = True
        await super().write_with_length(writer, content_length)


def _left(body: _Body | None) -> bool:
    # Without a body nothing tells; such a request is a read, for which it does not matter.
    return body is None or body.left


def _note(cut_off: asyncio.CancelledError, body: _Body | None) -> None:
    if not _left(body):
        mark_harmless(cut_off)


class _Connector(aiohttp.TCPConnector):
    """Never reuses a connection on which something came that nobody asked for: it would be the next call's answer."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            connection = await super().connect(req, traces, timeout)
        return connection


class _TlsConnector(_Connector):
    """Ends the connections of cancelled calls at once; a goodbye in the background might outlive the loop."""

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close or protocol.should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)


class _Jar(aiohttp.CookieJar):
    """Sends the server's cookies back as they came, also to IP addresses; the caller's own cookies win."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        super().__init__(unsafe=True, quote_cookie=False)
        self._own: dict[str, Morsel[str]] = {name: Morsel() for name in cookies}
        for name, morsel in self._own.items():
            morsel.set(name, cookies[name], cookies[name])

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        AbstractCookieJar.update_cookies_from_headers(self, headers, response_url)  # by way of update_cookies

    def update_cookies(self, cookies: LooseCookies, response_url: URL = URL()) -> None:  # noqa: B008  # aiohttp's own signature
        pairs = cookies.items() if isinstance(cookies, Mapping) else cookies
        for _, cookie in pairs:
            if isinstance(cookie, Morsel):  # what the server wrote is the value, quotes and all
                cookie.set(cookie.key, cookie.coded_value, cookie.coded_value)
        super().update_cookies(cookies, response_url)

    def filter_cookies(self, request_url: URL = URL()) -> BaseCookie[str]:  # noqa: B008  # as above
        found = super().filter_cookies(request_url)
        dict.update(found, self._own)
        return found


class AiohttpTransport:
    """Requests over HTTP/1.1 to one host.

    Args:
        base_url: checked; its path is the prefix of every request's.
        timeout: seconds for one request, from the moment it may go out until its answer is read.
        headers: sent with every request.
        cookies: sent with every request; win over those that the server sets.
        ssl_context: ``None`` for the system's certificate authorities.
        proxy: URL of a proxy, maybe with a password.
        trust_env: take the proxy from the environment. ``.netrc`` is never read: the token is ours.
        session: the caller's own; used, never closed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        headers: Mapping[str, str],
        cookies: Secret[dict[str, str]],
        ssl_context: ssl.SSLContext | None = None,
        proxy: Secret[str] | None = None,
        trust_env: bool = False,
        session: ClientSession | None = None,
    ) -> None:
        url = URL(base_url)
        self._host = url.host
        self._origin = url.origin()
        self._prefix = url.raw_path.rstrip("/")
        self._timeout = timeout
        self._limit: TimeLimit
        self._request: Callable[..., Awaitable[aiohttp.ClientResponse]]
        self._headers = Secret(dict(headers))
        self._cookies = cookies
        self._ssl = ssl_context if ssl_context is not None else True
        proxy = proxy if proxy is not None or not trust_env else _proxy_from_environment(base_url)
        self._options = Secret(_options(proxy, session))
        self._given = session
        self._session: ClientSession | None = None
        self._home = Home()
        self._closed = False

    async def send(self, request: Request, /) -> Response:
        """Send the request once."""
        moved = self._home.settle()
        if (moved is not None or self._session is None) and not self._closed:
            await self._move_in(moved)
        session = self._session
        if session is None:
            raise ServiceClosed("the service was closed")
        body = _Body(request.body) if request.body else None
        limit = self._limit
        span = limit.start(request.limits.timeout)
        try:
            answer = await self._request(
                request.method,
                # Already encoded, and nothing is to be read into it; a query goes along as it stands.
                self._origin.with_path(self._prefix + request.path, encoded=True),
                data=body,
                headers=request.headers if self._given is None else {**self._headers.reveal(), **request.headers},
            )
            try:
                content = await answer.content.readany()
                if not answer.content.at_eof() or len(content) > LARGEST_BODY:
                    content = await _read_on(answer, content)
            except BaseException:
                answer.close()
                raise
        except asyncio.CancelledError as cut_off:
            if not limit.stop(span):
                _note(cut_off, body)
                raise
            error: EnkashError = self._out_of_time(request.limits.timeout or self._timeout, left=_left(body))
        except Exception as caught:  # noqa: BLE001  # the seam's promise: nothing but EnkashError comes out
            limit.stop(span)
            error = self._translated(caught, left=_left(body))
        else:
            limit.stop(span)
            response = Response(answer.status, answer.headers, content)
            success = _COMPACT_SUCCESS in content or _SUCCESS.search(content)
            if success and 200 <= answer.status < 300:
                return response
            return blacked_out(response, self._quotable(session, request))
        # Outside the handlers: aiohttp's errors hold the Authorization header and may not be in __context__.
        raise error

    def _out_of_time(self, seconds: float, *, left: bool) -> EnkashError:
        if left:
            return TimedOut(f"no complete answer from {self._host} within {seconds:g} s")
        return ConnectTimedOut(f"no connection to {self._host} within {seconds:g} s")

    def _translated(self, error: Exception, *, left: bool) -> EnkashError:  # noqa: C901  # a case for each failure
        """The error that says what happened; never aiohttp's own text, which may hold secrets."""
        host = self._host
        match error:
            case RuntimeError() if self._session is None or self._session.closed:
                return ServiceClosed("the session was closed")
            case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as reason):
                return TlsError(f"the certificate of {host} is not accepted: {reason.verify_message}")
            case aiohttp.ClientSSLError():
                return TlsError(f"the TLS handshake with {host} failed")
            case aiohttp.ClientConnectorError():
                return ConnectError(f"no connection to {host}: {error.os_error.strerror or 'refused'}")
            case aiohttp.ClientHttpProxyError():
                return ConnectError(f"no connection to {host}: the proxy answered HTTP {error.status}")
            case _TooLarge():
                return MalformedResponse(f"the answer of {host} is larger than {LARGEST_BODY} bytes")
            case aiohttp.ClientResponseError() if left:
                return MalformedResponse(f"the answer of {host} is not HTTP as it should be")
            case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
                return MalformedResponse(f"the answer of {host} is not encoded as it says")
            case aiohttp.ClientPayloadError():
                return Disconnected(f"the answer of {host} broke off")
        what = type(error).__name__
        if left:
            return Disconnected(f"the connection to {host} ended without an answer ({what})")
        return ConnectError(f"nothing could be sent to {host} ({what})")

    def _quotable(self, session: ClientSession, request: Request) -> Iterator[str]:
        """The secrets of this request, which an unhappy server or proxy may quote back."""
        yield request.headers.get("Authorization", "").rpartition(" ")[2]
        cookies = (*self._cookies.reveal().values(), *(cookie.value for cookie in session.cookie_jar))
        others = (value for name, value in self._headers.reveal().items() if name not in _PLAIN_HEADERS)
        # A short one ("lang=e") is no secret, and could be part of any text.
        yield from (value for value in (*cookies, *others) if len(value) >= LONG_SECRET)
        proxy = URL(self._options.reveal().get("proxy", ""))
        yield proxy.password or ""
        yield b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()

    async def _move_in(self, moved: Moved | None) -> None:
        """Make what belongs to the running loop, and let go what belonged to another."""
        if self._given is not None and moved is not Moved.FIRST_USE:
            self._session = None
            raise RuntimeError("the session passed as session= belongs to another event loop or process")
        old = self._session
        connector = _TlsConnector if self._origin.scheme == "https" else _Connector
        self._limit = TimeLimit(self._timeout)
        self._session = self._given or ClientSession(
            # No limit here: pacing counts, and a queue in the pool would eat the request's time.
            connector=connector(limit=0, ssl=self._ssl),
            cookie_jar=_Jar(self._cookies.reveal()),
            headers=self._headers.reveal(),
            timeout=_NO_TIMEOUT,
        )
        if self._given is None:
            # aiohttp would re-send a GET by itself when a pooled connection turns out dead; retries are the service's.
            self._session._retry_connection = False  # noqa: SLF001  # no public switch as of aiohttp 3.14
        self._request = partial(self._session.request, allow_redirects=False, **self._options.reveal())
        if self._given is None:
            await _drop(old, moved)

    async def aclose(self) -> None:
        """Close the connections; a caller's own session stays open."""
        self._closed = True
        moved = self._home.settle()
        session, self._session = self._session, None
        if self._given is None:
            await _drop(session, moved)


def _options(proxy: Secret[str] | None, session: ClientSession | None) -> _RequestOptions:
    """What every request says; our own session says the rest once."""
    options: _RequestOptions = {}
    if session is not None:
        # Deadline, reading of statuses and decoding stay ours, whatever the caller's session says.
        options = {"raise_for_status": False, "auto_decompress": True, "timeout": _NO_TIMEOUT}
    if proxy is not None:
        options["proxy"] = proxy.reveal()
    return options


async def _read_on(answer: aiohttp.ClientResponse, first: bytes) -> bytes:
    """The decoded body, given up as soon as it is too large: 102 kB of gzip can be 100 MiB of zeros."""
    blocks, size = [first], len(first)
    while size <= LARGEST_BODY:
        block = await answer.content.readany()
        if not block:
            return b"".join(blocks)
        blocks.append(block)
        size += len(block)
    raise _TooLarge


async def _drop(session: ClientSession | None, moved: Moved | None) -> None:
    """Close a session; one inherited by a fork is only let go, because its sockets are the parent's."""
    if session is None:
        return
    if moved is Moved.FORKED and session.connector is not None:
        # Closing would unregister the sockets from the event queue that parent and child share.
        session.connector._closed = True  # noqa: SLF001  # no public way to forget without closing
        session.detach()
    await session.close()


def _proxy_from_environment(base_url: str) -> Secret[str] | None:
    url = URL(base_url)
    proxy = getproxies().get(url.scheme)
    return None if proxy is None or proxy_bypass(url.host or "") else Secret(proxy)
