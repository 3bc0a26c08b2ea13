"""A server that does what it is told, byte for byte, and keeps what it saw."""

import asyncio
import json
import re
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import attrs

# What a client that reads answers asks for; the documented values.
CONFIG = {"coinConfigId": "WCC12345", "configuration": "DEFAULT", "event": "INVOICE_PAYMENT", "amount": 10}
PAYLOADS: dict[str, object] = {
    "get": CONFIG,
    "update": CONFIG,
    "create": CONFIG,
    "allocate": "Successfully allocated enkash Coins",
    "balance": 1250,
}
_OPERATIONS = (
    ("token", rb"POST \S*/oauth/token "),
    ("create", rb"POST \S*/api/v0/enkash-coins/create-coins-config "),
    ("allocate", rb"POST \S*/api/v0/enkash-coins/allocate-coin "),
    ("balance", rb"GET \S*/api/v0/coins/balance\?userId="),
    ("update", rb"PATCH \S*/api/v0/enkash-coins/[^/ ]+ "),
    ("get", rb"GET \S*/api/v0/enkash-coins/[^/ ]+ "),
)


@attrs.define(eq=False)
class Exchange:
    """One request as it came in, and the bytes written in answer to it."""

    connection: int
    head: bytes
    body: bytes = b""
    answered: bytearray = attrs.field(factory=bytearray)

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """In the order and the case in which they came; obs-text as latin-1."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def header(self, name: str) -> str | None:
        """The one header of this name; ``None`` when there is none."""
        found = [value for given, value in self.headers if given.lower() == name.lower()]
        assert len(found) <= 1, f"{name} stands {len(found)} times"
        return found[0] if found else None

    @property
    def operation(self) -> str:
        return next((name for name, form in _OPERATIONS if re.match(form, self.head)), "other")


@attrs.define(eq=False)
class Peer:
    """The server's end of one connection."""

    server: "Server"
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    exchange: Exchange | None = None

    async def first_byte(self) -> bytes:
        """Wait until a request begins; no bytes when the client hangs up instead."""
        byte = await self.reader.read(1)
        self.server.arrived += len(byte)
        return byte

    async def request(self) -> Exchange | None:
        """The next request, whole; ``None`` when the client hangs up instead."""
        if not (first := await self.first_byte()):
            return None
        head = first + await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return Exchange(self.number, head, await self.reader.readexactly(int(length[1])) if length else b"")

    async def perform(self, steps: "Sequence[Step]") -> None:
        for step in steps:
            if self.writer.is_closing():
                break
            if not isinstance(step, bytes):
                await step(self)
                continue
            self.writer.write(step)
            if self.exchange is not None:
                self.exchange.answered += step
            await self.writer.drain()


Step = bytes | Callable[[Peer], Awaitable[None]]
Script = Callable[[Exchange], Sequence[Step]]


async def close(peer: Peer) -> None:
    """End the connection in good order: what was written arrives, then comes the end."""
    peer.writer.close()


async def reset(peer: Peer) -> None:
    """End the connection by a TCP reset."""
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


async def hang(peer: Peer) -> None:
    """Say nothing more until the client hangs up."""
    await peer.reader.read()
    peer.writer.close()


def put_forward(seconds: float) -> None:
    """Put the loop's clock forward; the loop lives no longer than the test."""
    loop = asyncio.get_running_loop()
    ahead = loop.time() - time.monotonic() + seconds
    loop.time = lambda: time.monotonic() + ahead  # type: ignore[method-assign]  # as above


async def outlast(peer: Peer) -> None:
    """Say nothing until the time of the client is over: its clock, the loop's, is put forward by a usual timeout."""
    put_forward(30.0)
    await hang(peer)


def drip(data: bytes, pause: float) -> Step:
    """Write one byte at a time, with so many seconds between them."""

    async def step(peer: Peer) -> None:
        for byte in data:
            await peer.perform([bytes([byte])])
            await asyncio.sleep(pause)

    return step


def until(event: asyncio.Event) -> Step:
    """Go on when this is set."""

    async def step(_: Peer) -> None:
        await event.wait()

    return step


def http(
    status: int = 200,
    body: bytes = b"",
    headers: Sequence[str] = (),
    *,
    kind: str = "application/json",
    length: int | None = None,
) -> bytes:
    """A whole answer; ``length`` is for one that lies about its own."""
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} Said So", f"Content-Type: {kind}", f"Content-Length: {size}", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def envelope(payload: object, code: int = 0, message: str = "Success") -> bytes:
    """What the API puts around every answer."""
    answer = {"payload": payload, "response_code": code, "response_message": message}
    return json.dumps(answer, separators=(",", ":")).encode()


def well(exchange: Exchange) -> list[Step]:
    """What the documents show as the answer to this request."""
    if exchange.operation == "token":
        return [http(200, b'{"access_token":"token-of-the-server","token_type":"bearer","expires_in":86399}')]
    return [http(200, envelope(PAYLOADS[exchange.operation]))]


def always(*steps: Step) -> Script:
    """The same answer to every request but a login, which goes well."""
    return lambda exchange: well(exchange) if exchange.operation == "token" else steps


def in_turn(*answers: Sequence[Step]) -> Script:
    """These answers in turn, then what the documents show."""
    left = list(answers)
    return lambda exchange: left.pop(0) if left and exchange.operation != "token" else well(exchange)


class Server:
    """Listens on a port of 127.0.0.1 within ``async with``.

    Args:
        script: what to do about each request; may be set anew at any time.
        greeting: what to do on each new connection, before anything is read.
        tls: to speak TLS.
        path: a prefix of the base URL.

    Attributes:
        seen: every request that came in whole, with its answer.
        arrived: requests of which at least one byte came in.
        connections: how many came about.
        in_flight, most_in_flight: requests that came in and are not answered yet.
    """

    def __init__(
        self,
        script: Script = well,
        *,
        greeting: Sequence[Step] = (),
        tls: ssl.SSLContext | None = None,
        path: str = "",
    ) -> None:
        self.script = script
        self.greeting = greeting
        self.seen: list[Exchange] = []
        self.arrived = self.connections = self.in_flight = self.most_in_flight = 0
        self.peers: list[Peer] = []
        self._tls = tls
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def calls(self) -> Counter[str]:
        """How many whole requests came in, by operation."""
        return Counter(exchange.operation for exchange in self.seen)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{self._path}"

    async def __aenter__(self) -> Self:
        self.listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)  # so that what was aborted is closed while the loop still runs

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        peer = Peer(self, self.connections, reader, writer)
        self.peers.append(peer)
        self._tasks.add(asyncio.create_task(self._serve(peer)))

    async def _serve(self, peer: Peer) -> None:
        try:
            await peer.perform(self.greeting)
            while not peer.writer.is_closing() and (exchange := await peer.request()) is not None:
                peer.exchange = exchange
                self.seen.append(exchange)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await peer.perform(self.script(exchange))
                finally:
                    self.in_flight -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            peer.writer.close()
