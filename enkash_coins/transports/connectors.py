"""aiohttp's connection pool, made safe for answers that stand for money."""

import asyncio
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

# Seconds: a server that closes after its answer does so at once.
_FAREWELL: Final = 0.02


class Connector(aiohttp.TCPConnector):
    """Never reuses a connection on which something came that nobody asked for: it would be the next call's answer.

    A ``POST`` may not be sent again, so it goes out on a connection that is certainly open. Some servers close one
    after each answer, or after a while, and announce it by no header: from the first such end on each ``POST`` has a
    connection of its own.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # aiohttp's own
        super().__init__(**options)
        self._used = WeakSet[ResponseHandler]()
        self._proven = WeakSet[ResponseHandler]()  # still open for a second request
        self._closes = False

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own signature
    ) -> Connection:
        """A connection from the pool, or a new one."""
        once = req.method == "POST"
        if once:
            for _ in range(2):  # a loop that was blocked sees which idle connections have ended
                await asyncio.sleep(0)
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or (not protocol.should_close and await self._is_open(connection, protocol, once=once)):
                return connection
            connection.close()

    async def _is_open(self, connection: Connection, protocol: ResponseHandler, *, once: bool) -> bool:
        if protocol not in self._used:
            self._used.add(protocol)
            return True
        if once and protocol not in self._proven and not self._closes:
            try:
                await asyncio.sleep(_FAREWELL)
            except BaseException:
                connection.close()
                raise
            self._closes = not protocol.is_connected()
        self._proven.add(protocol)
        return not (once and self._closes)


class TlsConnector(Connector):
    """Ends the connections of cancelled calls at once; a goodbye in the background might outlive the loop."""

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close or protocol.should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)
