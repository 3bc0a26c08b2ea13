"""HTTP by aiohttp, whose client no other folder imports."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import ClientSession
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from enkash_coins.errors import ServiceClosed
from enkash_coins.per_loop import PerLoop
from enkash_coins.secret import made
from enkash_coins.time_limit import TimeLimit
from enkash_coins.transport import Request, Response, WrongLoop, mark
from enkash_coins.transports.connectors import Connector, TlsConnector
from enkash_coins.transports.cookies import Jar
from enkash_coins.transports.settings import HttpSettings
from enkash_coins.transports.translation import LARGEST_HEADER, TooLarge, out_of_time, translated

__all__ = ["AiohttpTransport", "ClientSession"]

_LARGEST_BODY: Final = 8 * 2**20
_PLAIN_HEADERS = frozenset({"User-Agent", "Accept"})
# A short value ("lang=e") is no secret, and could be part of any text.
_LONG_SECRET = 8


class _Body(aiohttp.Payload):
    """A body that knows whether it was written: the wire's own word on whether a request left.

    aiohttp sends the headers together with the first byte of the body, and an exception's class cannot tell: a time
    limit raises the same ``TimeoutError`` before and after.
    """

    _autoclose = True
    _headers = CIMultiDict({"Content-Type": "application/json"})  # one for all: the request's own wins

    def __init__(self, body: bytes) -> None:  # not super's, which makes a multidict: 2 % of a call
        self._value = body
        self._size = len(body)
        self.left = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> Coroutine[Any, Any, None]:  # noqa: ARG002  # all of it
        transport = writer.transport
        if transport is not None and not transport.is_closing():
            self.left = True
        return writer.write(self._value)


def _left(body: _Body | None) -> bool:
    # Without a body nothing tells; such a request is a read, for which it does not matter.
    return body is None or body.left


@attrs.define(eq=False)
class _Wire:
    """What belongs to one event loop."""

    session: ClientSession
    jar: Jar | None  # of our own session
    request: Callable[..., Awaitable[aiohttp.ClientResponse]]
    limit: TimeLimit
    lasts: AsyncGenerator[None] | None  # as long as our own session is open


class AiohttpTransport:
    """Requests over HTTP/1.1 to one host. It opens nothing before the first of them.

    Args:
        base_url: https (http for loopback only), without user, query or fragment; a path prefix is kept.
        cookies: sent with every request; they win over those that the server sets.
        headers: sent with every request.
        user_agent: what stands after ``enkash-coins/x.y.z``.
        ssl_context: ``None`` for the system's certificate authorities.
        proxy: URL of an HTTP proxy.
        trust_env: take the proxy from the environment; ``.netrc`` is never read.
        session: your own ``aiohttp.ClientSession``: used, never closed; its jar holds the cookies.

    Raises:
        InvalidRequest: a setting is not acceptable; the message names it.
        TypeError: ``session`` together with a setting that belongs to a session.
    """

    def __init__(
        self,
        base_url: str,
        *,
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        session: ClientSession | None = None,
    ) -> None:
        settings = made(
            partial(
                HttpSettings.checked,
                base_url,
                cookies=cookies,
                headers=headers,
                user_agent=user_agent,
                ssl_context=ssl_context,
                proxy=proxy,
                trust_env=trust_env,
                session=session,
            )
        )
        del base_url, cookies, headers, proxy  # from here on no local of this frame holds a secret
        if isinstance(settings, Exception):
            raise settings
        self.base_url: Final = settings.base_url
        self._settings = settings
        url = URL(settings.base_url)
        self._host = url.host
        self._origin = url.origin()
        self._prefix = url.raw_path.rstrip("/")
        self._given = session
        self._wire = PerLoop(self._opened)
        self._closed = False

    async def send(self, request: Request, /) -> Response:
        """Send the request once."""
        if self._closed:
            raise ServiceClosed("the service was closed")
        wire = self._wire.get()
        body = _Body(request.body) if request.body else None
        # Already encoded, and nothing is to be read into it; a query goes along as it stands.
        url = self._origin.with_path(self._prefix + request.path, encoded=True)
        limit = wire.limit
        if limit.seconds != request.timeout:
            limit = wire.limit = TimeLimit(request.timeout)
        limit.start()
        try:
            answer = await wire.request(request.method, url, data=body, headers=self._headers(wire, request, url))
            try:
                content = await answer.content.readany()
                if not answer.content.at_eof() or len(content) > _LARGEST_BODY:
                    content = await _read_on(answer, content)
            except BaseException:
                answer.close()
                raise
        except asyncio.CancelledError as cancelled:
            if not limit.stop():
                if not _left(body):
                    mark(cancelled)
                raise
            error = out_of_time(self._host, request.timeout, left=_left(body))
        except Exception as caught:  # noqa: BLE001  # the seam's promise: nothing but EnkashError comes out
            limit.stop()
            error = translated(caught, self._host, left=_left(body), closed=self._closed or wire.session.closed)
        else:
            limit.stop()
            return Response(answer.status, answer.headers, content, secrets=partial(self._secrets, wire))
        # Outside the handlers: aiohttp's errors hold the Authorization header and may not be in __context__.
        raise error

    def _headers(self, wire: _Wire, request: Request, url: URL) -> Mapping[str, str]:
        if wire.jar is None:
            return {**self._settings.headers.reveal(), **request.headers}
        # Not a local of send(), which tracebacks would show.
        cookie = wire.jar.header(url)
        return {**request.headers, "Cookie": cookie} if cookie else request.headers

    def _secrets(self, wire: _Wire) -> Iterator[str]:
        """What an unhappy server or proxy may quote back."""
        cookies = wire.jar.values() if wire.jar is not None else [cookie.value for cookie in wire.session.cookie_jar]
        others = (value for name, value in self._settings.headers.reveal().items() if name not in _PLAIN_HEADERS)
        yield from (value for value in (*cookies, *others) if len(value) >= _LONG_SECRET)
        if self._settings.proxy is not None:
            proxy = URL(self._settings.proxy.reveal())
            yield proxy.password or ""
            yield b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()

    def _opened(self, old: _Wire | None) -> _Wire:
        """What the running loop needs."""
        # Of both sessions: the client's own limit counts, and redirects would carry the token to another host.
        common: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(total=None),
            "raise_for_status": False,
            "auto_decompress": True,
            "max_line_size": LARGEST_HEADER,
            "max_field_size": LARGEST_HEADER,
        }
        if self._given is not None:
            if old is not None:
                raise WrongLoop("the session passed as session= belongs to another event loop or process")
            request = partial(self._given.request, allow_redirects=False, **common)
            return _Wire(self._given, None, request, TimeLimit(30.0), None)
        if old is not None:
            _let_go(old)
        connector = TlsConnector if self._origin.scheme == "https" else Connector
        jar = Jar(self._settings.cookies.reveal())
        session = ClientSession(
            # No limit here: pacing counts, and a queue in the pool would eat the request's time.
            connector=connector(limit=0, ssl=self._settings.ssl_context or True),
            cookie_jar=jar,
            headers=self._settings.headers.reveal(),
            proxy=None if self._settings.proxy is None else self._settings.proxy.reveal(),
            **common,
        )
        # aiohttp would re-send a GET by itself when a pooled connection turns out dead; retries are the service's.
        session._retry_connection = False  # noqa: SLF001  # no public switch as of aiohttp 3.14
        lasts = _lasting(session)
        with suppress(StopIteration):
            lasts.asend(None).send(None)  # begun, and without a wait
        return _Wire(session, jar, partial(session.request, allow_redirects=False), TimeLimit(30.0), lasts)

    async def aclose(self) -> None:
        """Close the connections; a caller's own session stays open."""
        self._closed = True
        wire = self._wire.latest
        if wire is None or wire.lasts is None:
            return
        if self._wire.has_ended():
            _let_go(wire)
        else:
            await wire.lasts.aclose()


async def _lasting(session: ClientSession) -> AsyncGenerator[None]:
    """Closes the session with its loop: ``asyncio.run`` ends every generator that was begun in it."""
    try:
        yield
    finally:
        await session.close()


async def _read_on(answer: aiohttp.ClientResponse, first: bytes) -> bytes:
    """The decoded body, given up as soon as it is too large: 102 kB of gzip can be 100 MiB of zeros."""
    blocks, size = [first], len(first)
    while size <= _LARGEST_BODY:
        block = await answer.content.readany()
        if not block:
            return b"".join(blocks)
        blocks.append(block)
        size += len(block)
    raise TooLarge(_LARGEST_BODY)


def _let_go(wire: _Wire) -> None:
    """Forget a session whose loop is closed, or whose sockets are the parent's."""
    connector = wire.session.connector
    if connector is not None:
        # Closing would unregister the sockets from the event queue that parent and child share.
        connector._closed = True  # noqa: SLF001  # no public way to forget without closing
        wire.session.detach()
    if wire.lasts is not None:
        with suppress(StopIteration):
            wire.lasts.aclose().send(None)  # there is nothing left to wait for
