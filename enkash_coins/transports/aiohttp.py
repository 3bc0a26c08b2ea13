"""HTTP by aiohttp: the only module that imports its client."""

import asyncio
import ssl
from collections.abc import Mapping
from http.cookies import BaseCookie, Morsel
from typing import Final, TypedDict
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import ClientSession
from aiohttp.abc import AbstractStreamWriter
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
from enkash_coins.transport import Request, Response, blacked_out
from enkash_coins.transports.time_limit import TimeLimit

__all__ = ["AiohttpTransport", "ClientSession"]

LARGEST_BODY: Final = 8 * 2**20
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
# How a plain success looks in compact JSON; anything else is searched for secrets that it quotes.
_SUCCESS = b'"response_code":0'


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


class _JarWithCookies(aiohttp.CookieJar):
    """A jar in which the caller's own cookies win."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        super().__init__(unsafe=True, quote_cookie=False)
        self._own: dict[str, Morsel[str]] = {name: Morsel() for name in cookies}
        for name, morsel in self._own.items():
            morsel.set(name, cookies[name], cookies[name])

    def filter_cookies(self, request_url: URL = URL()) -> BaseCookie[str]:  # noqa: B008  # aiohttp's own signature
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
        if session is None or session.closed:
            raise ServiceClosed("the service or its session was closed")
        body = _Body(request.body) if request.body else None
        limit = self._limit
        span = limit.start()
        try:
            answer = await session.request(
                request.method,
                # Already encoded, and nothing is to be read into it; a query goes along as it stands.
                self._origin.with_path(self._prefix + request.path, encoded=True),
                data=body,
                headers=request.headers if self._given is None else {**self._headers.reveal(), **request.headers},
                allow_redirects=False,
                **(self._options.reveal()),
            )
            try:
                content = await answer.content.readany()
                if not answer.content.at_eof() or len(content) > LARGEST_BODY:
                    content = await _read_on(answer, content)
            except BaseException:
                answer.close()
                raise
        except asyncio.CancelledError:
            if not limit.stop(span):
                raise
            error = self._out_of_time(left=_left(body))
        except Exception as caught:  # noqa: BLE001  # the seam's promise: nothing but EnkashError comes out
            limit.stop(span)
            error = self._translated(caught, left=_left(body))
        else:
            limit.stop(span)
            return self._without_cookies(session, Response(answer.status, answer.headers, content))
        # Outside the handlers: aiohttp's errors hold the Authorization header and may not be in __context__.
        raise error

    def _out_of_time(self, *, left: bool) -> EnkashError:
        if left:
            return TimedOut(f"no complete answer from {self._host} within {self._timeout:g} s")
        return ConnectTimedOut(f"no connection to {self._host} within {self._timeout:g} s")

    def _translated(self, error: Exception, *, left: bool) -> EnkashError:
        """The error that says what happened; never aiohttp's own text, which may hold secrets."""
        host = self._host
        match error:
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
            case aiohttp.ClientResponseError():
                return MalformedResponse(f"the answer of {host} is not HTTP as it should be")
            case aiohttp.ClientPayloadError():
                return Disconnected(f"the answer of {host} broke off")
        what = type(error).__name__
        if left:
            return Disconnected(f"the connection to {host} ended without an answer ({what})")
        return ConnectError(f"nothing could be sent to {host} ({what})")

    def _without_cookies(self, session: ClientSession, response: Response) -> Response:
        """The response without cookies that an unhappy server quotes back."""
        if response.status == 200 and _SUCCESS in response.body:
            return response
        given = self._cookies.reveal().values()
        return blacked_out(response, (*given, *(cookie.value for cookie in session.cookie_jar)))

    async def _move_in(self, moved: Moved | None) -> None:
        """Make what belongs to the running loop, and let go what belonged to another."""
        old, cookies = self._session, self._cookies.reveal()
        self._limit = TimeLimit(self._timeout)
        self._session = self._given or ClientSession(
            # No limit here: pacing counts, and a queue in the pool would eat the request's time.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            # Keeps the server's cookies from IP addresses too, and sends them back as they came.
            cookie_jar=_JarWithCookies(cookies) if cookies else aiohttp.CookieJar(unsafe=True, quote_cookie=False),
            headers=self._headers.reveal(),
            timeout=_NO_TIMEOUT,
        )
        if self._given is None:
            # aiohttp would re-send a GET by itself when a pooled connection turns out dead; retries are the service's.
            self._session._retry_connection = False  # noqa: SLF001  # no public switch as of aiohttp 3.14
            await _drop(old, moved)

    async def aclose(self) -> None:
        """Close the connections; a caller's own session stays open."""
        self._closed = True
        if (moved := self._home.settle()) is None:
            self._limit.close()
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
