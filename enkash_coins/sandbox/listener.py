"""A server on loopback that starts and stops: in the running event loop, or in a thread with one of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Self

from aiohttp import web

_LOG = logging.getLogger("enkash_coins.sandbox")
_BACKLOG = 1024  # connections that may wait to be accepted: clients open hundreds at once
_TURNS = 10  # of the loop, in which aborted connections and their tasks come to an end; it takes 3


class Listener:
    """Listens within ``async with`` or, in a thread, ``with``; and again, on the same port."""

    host: str
    port: int
    idle_timeout: float
    _listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen from now on.

        Raises:
            OSError: the port is taken.
            RuntimeError: it is listening already.
        """
        if self._listener is not None:
            raise RuntimeError("the sandbox is running already")
        loop = asyncio.get_running_loop()
        self._late: set[asyncio.TimerHandle] = set()
        # A client that goes away takes its handler along: hung requests must not pile up. Nothing gets lost, since a
        # request takes effect before its handler waits for the first time.
        self._http = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self.idle_timeout,
            logger=_LOG,
        )
        self._listener = await loop.create_server(self._http, self.host, self.port, backlog=_BACKLOG)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop at once: what is in flight gets no answer, and late effects don't happen any more."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        while self._late:
            self._late.pop().cancel()
        for _ in range(_TURNS):
            for connection in self._http.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0)
        await listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        """Act then, if it still listens."""

        def act_now() -> None:
            self._late.discard(handle)
            act()

        handle = asyncio.get_running_loop().call_later(seconds, act_now)
        self._late.add(handle)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        started: Future[Callable[[], object]] = Future()
        # A thread of its own, so that whoever blocks does not block the sandbox.
        thread = threading.Thread(target=asyncio.run, args=(self._run(started),), name="enkash-sandbox", daemon=True)
        thread.start()
        self._end, self._thread = started.result(), thread
        return self

    async def _run(self, started: Future[Callable[[], object]]) -> None:
        ended = asyncio.Event()
        try:
            await self.start()
        except Exception as error:  # noqa: BLE001  # raised again in the thread that waits for it
            started.set_exception(error)
            return
        started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, ended.set))
        await ended.wait()
        await self.aclose()

    def __exit__(self, *_: object) -> None:
        self._end()
        self._thread.join()
