"""What goes over the wire: requests as they came, answers whole or not."""

import asyncio
import secrets
import time

from aiohttp import web
from attrs import define, evolve, field

from enkash_coins.sandbox.answers import Answer, head
from enkash_coins.sandbox.faults import Fault, FaultKind

RawHeaders = tuple[tuple[bytes, bytes], ...]


@define(eq=False)
class SeenRequest:
    """A request as it reached the server, and what became of it.

    Attributes:
        at: when it came, in seconds since 1970.
        fault: what hit it.
        status: of the answer, whether or not it reached the client; ``None`` without one.
    """

    operation: str
    method: str
    target: str
    raw_headers: RawHeaders = field(repr=False)
    body: bytes = field(repr=False)
    at: float = field(factory=time.time, repr=False)
    fault: FaultKind | None = None
    status: int | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names and values as they came, in their order."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw_headers]


class _Written(web.StreamResponse):
    """Tells aiohttp that the handler has seen to the answer by itself.

    Bytes are needed anyway for an answer that is cut or drips. For all others they save time: 54 µs a request, where
    ``web.Response`` took 66, and an application with its router 85.
    """

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._kept = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._kept

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


_KEPT = _Written(keep_alive=True)
_CLOSED = _Written(keep_alive=False)


def disconnect(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection after what was written so far."""
    if request.transport is not None:
        request.transport.close()
    return _CLOSED


async def reply(request: web.BaseRequest, answer: Answer, fault: Fault | None = None) -> web.StreamResponse:
    """Send the answer, in the way that the fault asks for."""
    if fault is not None:
        answer = evolve(answer, headers=(*answer.headers, *fault.headers()))
    data = _render(request, answer)
    match fault:
        case Fault(kind=FaultKind.DISCONNECT_AFTER_APPLY):
            return disconnect(request)
        case Fault(kind=FaultKind.MALFORMED):
            data = _render(request, evolve(answer, status=200, body=b'{"payload": {"coinConfigId": "WCC'))
        case Fault(kind=FaultKind.CUT | FaultKind.CLOSE as kind):
            _send(request, data[: -len(answer.body) // 2] if kind is FaultKind.CUT else data)
            return disconnect(request)
        case Fault(kind=FaultKind.LATENCY, seconds=seconds):
            await asyncio.sleep(seconds)
        case Fault(kind=FaultKind.DRIP, seconds=seconds):
            for byte in data:
                _send(request, bytes((byte,)))
                await asyncio.sleep(seconds)
            data = b""
    return _send(request, data)


def _send(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
    transport = request.transport
    if transport is None:  # the client did not wait for it
        return _CLOSED
    transport.write(data)
    return _KEPT if request.keep_alive else _CLOSED


def _render(request: web.BaseRequest, answer: Answer) -> bytes:
    lines = head(answer, keep_alive=request.keep_alive, cookies=_new_cookies(request.headers.get("Cookie", "")))
    return lines if request.method == "HEAD" else lines + answer.body


def _new_cookies(sent: str) -> tuple[str, ...]:
    # The CDN's and the servlet container's: each sets its own where it is missing, and takes any that is sent.
    names = {pair.partition("=")[0].strip() for pair in sent.split(";")}
    return tuple(
        f"{name}={secrets.token_hex(16).upper()}; Path=/; HttpOnly"
        for name in ("_cfuvid", "JSESSIONID")
        if name not in names
    )
