"""HTTP by aiohttp, whose client no other folder imports."""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

import aiohttp
from aiohttp import ClientSession
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from enkash_coins.errors import ServiceClosed
from enkash_coins.home import Home, Moved
from enkash_coins.secret import Secret
from enkash_coins.transport import LONG_SECRET, Request, Response, blacked_out, mark
from enkash_coins.transports.connectors import Connector, TlsConnector
from enkash_coins.transports.cookies import Jar
from enkash_coins.transports.time_limit import TimeLimit
from enkash_coins.transports.translation import LARGEST_BODY, TooLarge, out_of_time, translated

__all__ = ["AiohttpTransport", "ClientSession"]

# A plain success; anything else is searched for secrets that it quotes, also a no that has a code of 0 in its payload.
_COMPACT_SUCCESS = b'"response_code":0'
_SUCCESS = re.compile(rb'"(response_)?code"\s*:\s*0[,}\s]|"access_?[tT]oken"\s*:\s*"[^"]')
_PLAIN_HEADERS = frozenset({"User-Agent", "Accept"})


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


class AiohttpTransport:
    """Requests over HTTP/1.1 to one host.

    Args:
        base_url: checked; its path is the prefix of every request's.
        timeout: seconds for one request, from the moment it may go out until its answer is read.
        headers: sent with every request.
        cookies: sent with every request; win over those that the server sets.
        ssl_context: ``None`` for the system's certificate authorities.
        proxy: URL of a proxy, maybe with a password.
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
        self._proxy = proxy
        self._given = session
        self._session: ClientSession | None = None
        self._home = Home()
        self._closed = False

    async def send(self, request: Request, /) -> Response:  # noqa: C901  # flat, because a frame more would cost every call
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
                if not _left(body):
                    mark(cut_off)
                raise
            error = out_of_time(self._host, request.limits.timeout or self._timeout, left=_left(body))
        except Exception as caught:  # noqa: BLE001  # the seam's promise: nothing but EnkashError comes out
            limit.stop(span)
            closed = session.closed or self._session is None
            error = translated(caught, self._host, left=_left(body), closed=closed)
        else:
            limit.stop(span)
            response = Response(answer.status, answer.headers, content)
            success = _COMPACT_SUCCESS in content or _SUCCESS.search(content)
            if success and content.count(b'code"') <= 1 and 200 <= answer.status < 300:
                return response
            return blacked_out(response, self._quotable(session, request))
        # Outside the handlers: aiohttp's errors hold the Authorization header and may not be in __context__.
        raise error

    def _quotable(self, session: ClientSession, request: Request) -> Iterator[str]:
        """The secrets of this request, which an unhappy server or proxy may quote back."""
        yield request.headers.get("Authorization", "").rpartition(" ")[2]
        cookies = (*self._cookies.reveal().values(), *(cookie.value for cookie in session.cookie_jar))
        others = (value for name, value in self._headers.reveal().items() if name not in _PLAIN_HEADERS)
        # A short one ("lang=e") is no secret, and could be part of any text.
        yield from (value for value in (*cookies, *others) if len(value) >= LONG_SECRET)
        if self._proxy is not None:
            proxy = URL(self._proxy.reveal())
            yield proxy.password or ""
            yield b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()

    async def _move_in(self, moved: Moved | None) -> None:
        """Make what belongs to the running loop, and let go what belonged to another."""
        if self._given is not None and moved is not Moved.FIRST_USE:
            self._session = None
            raise RuntimeError("the session passed as session= belongs to another event loop or process")
        old, self._session = self._session, self._given
        self._limit = TimeLimit(self._timeout)
        if self._session is None:
            connector = TlsConnector if self._origin.scheme == "https" else Connector
            self._session = ClientSession(
                # No limit here: pacing counts, and a queue in the pool would eat the request's time.
                connector=connector(limit=0, ssl=self._ssl),
                cookie_jar=Jar(self._cookies.reveal()),
                headers=self._headers.reveal(),
            )
            # aiohttp would re-send a GET by itself when a pooled connection turns out dead; retries are the service's.
            self._session._retry_connection = False  # noqa: SLF001  # no public switch as of aiohttp 3.14
        self._request = partial(
            self._session.request,
            # Whatever the caller's session says of these.
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            timeout=aiohttp.ClientTimeout(total=None),
            proxy=None if self._proxy is None else self._proxy.reveal(),
        )
        await _drop(old, moved)

    async def aclose(self) -> None:
        """Close the connections; a caller's own session stays open."""
        self._closed = True
        moved = self._home.settle()
        session, self._session = self._session, None
        if self._given is None:
            await _drop(session, moved)


async def _read_on(answer: aiohttp.ClientResponse, first: bytes) -> bytes:
    """The decoded body, given up as soon as it is too large: 102 kB of gzip can be 100 MiB of zeros."""
    blocks, size = [first], len(first)
    while size <= LARGEST_BODY:
        block = await answer.content.readany()
        if not block:
            return b"".join(blocks)
        blocks.append(block)
        size += len(block)
    raise TooLarge


async def _drop(session: ClientSession | None, moved: Moved | None) -> None:
    """Close a session; one inherited by a fork is only let go, because its sockets are the parent's."""
    if session is None:
        return
    if moved is Moved.FORKED and session.connector is not None:
        # Closing would unregister the sockets from the event queue that parent and child share.
        session.connector._closed = True  # noqa: SLF001  # no public way to forget without closing
        session.detach()
    await session.close()
