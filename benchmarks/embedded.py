"""The application that ``benchmarks.embedding`` measures, in a process of its own.

Two handlers ask the same of the upstream server: one with plain aiohttp, one through this package. Every callback of
the event loop is timed, from its start to the end of its shutdown.
"""

import asyncio
import gc
import json
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from enkash_coins import CoinEventService, FileGuard, PasswordGrant

TOKEN = "0123456789abcdef0123456789abcdef"
SESSION = web.AppKey("SESSION", aiohttp.ClientSession)
COINS = web.AppKey("COINS", CoinEventService)
# By thread where the system can (Linux): other threads' waits are none of the loop's.
_WHOSE = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
_handler: ContextVar[str] = ContextVar("_handler", default="rest")


@attrs.frozen
class Block:
    """One callback's hold on the loop.

    Attributes:
        seconds: on the wall.
        cpu: of them on the processor.
        waits: how often it gave the processor up by itself: a file, a lock, a synchronous socket.
        preempted: how often the system took the processor away; the machine's doing, not the callback's.
        collecting: seconds of them that Python's collector of garbage took; it strikes whoever allocates next.
        kernel: processor seconds of them inside the system, by its own account.
        faults: pages of memory that the system had to bring first.
    """

    seconds: float
    cpu: float
    waits: int
    preempted: int
    collecting: float
    kernel: float
    faults: int


class Sample(NamedTuple):
    """One run of a handler.

    Attributes:
        wall: seconds from its beginning to its end.
        cpu: seconds on the processor that its own steps took.
        waits: how often it waited for something, be it one turn of the loop.
    """

    wall: float
    cpu: float
    waits: int


class Watch:
    """Keeps the longest callback of each phase and handler, by wall clock and by processor time."""

    def __init__(self) -> None:
        self.phase = "first requests"
        self.longest: dict[tuple[str, str], tuple[Block, Block]] = {}
        self._collecting = 0.0

    def install(self) -> None:
        """Time every callback from now on."""
        inner = asyncio.Handle._run  # noqa: SLF001  # the one place that runs them

        def run(handle: asyncio.Handle) -> None:
            self._collecting = 0.0
            before, wall, cpu = resource.getrusage(_WHOSE), time.perf_counter(), time.thread_time()
            inner(handle)
            seconds, busy = time.perf_counter() - wall, time.thread_time() - cpu
            after = resource.getrusage(_WHOSE)
            self._see(
                handle._context.get(_handler, "rest"),  # type: ignore[attr-defined]  # noqa: SLF001  # tells whose it was
                Block(
                    seconds,
                    busy,
                    after.ru_nvcsw - before.ru_nvcsw,
                    after.ru_nivcsw - before.ru_nivcsw,
                    self._collecting,
                    after.ru_stime - before.ru_stime,
                    after.ru_minflt - before.ru_minflt,
                ),
            )

        gc.callbacks.append(self._collect)
        asyncio.Handle._run = run  # type: ignore[method-assign, assignment]  # noqa: SLF001  # as above

    def _collect(self, stage: str, _: dict[str, int]) -> None:
        now = time.perf_counter()
        self._collecting += -now if stage == "start" else now

    def _see(self, handler: str, block: Block) -> None:
        place = self.phase, handler
        by_wall, by_cpu = self.longest.get(place, (block, block))
        self.longest[place] = (
            block if block.seconds > by_wall.seconds else by_wall,
            block if block.cpu > by_cpu.cpu else by_cpu,
        )


class Metered:
    """Awaits a coroutine; adds up the processor time of its own steps, and counts how often it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, web.Response]) -> None:
        self._coroutine = coroutine
        self.cpu = 0.0
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, web.Response]:
        error: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                step = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as done:
                response: web.Response = done.value
                return response
            finally:
                self.cpu += time.thread_time() - began
            error = None
            self.waits += 1
            try:
                yield step
            except BaseException as thrown:  # noqa: BLE001  # it is the coroutine's
                error = thrown


async def control(_: web.Application) -> AsyncIterator[None]:
    """Do work that is known: what its callbacks take longer than usual is the machine's doing."""

    async def work() -> None:
        _handler.set("control")
        while True:
            await asyncio.sleep(0.01)
            sum(range(10_000))

    working = asyncio.create_task(work())
    yield
    working.cancel()


async def plain(request: web.Request) -> web.Response:
    """As one would write it without this package: no retries, no typed errors."""
    body = {"amount": 10, "configuration": "DEFAULT"}
    async with request.app[SESSION].patch("/api/v0/enkash-coins/WCC12345", json=body) as response:
        answer = await response.json()
        if answer["response_code"] != 0:
            raise RuntimeError(answer)
    return web.json_response({"amount": answer["payload"]["amount"]})


async def sdk(request: web.Request) -> web.Response:
    """The same through this package."""
    config = await request.app[COINS].update("WCC12345", amount=10, configuration="DEFAULT")
    return web.json_response({"amount": config.amount})


def create_app(
    base_url: str, tls: ssl.SSLContext, guard: FileGuard, watch: Watch, samples: dict[str, list[Sample]]
) -> web.Application:
    """The two handlers, and what they need."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        # As the documentation of either tells: one for the whole process, made at the start.
        auth = PasswordGrant("client", "secret", "user", "password", guard=guard)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession(base_url, headers=headers, connector=aiohttp.TCPConnector(ssl=tls)) as app[SESSION],
            CoinEventService.connect(base_url, auth=auth, ssl_context=tls, deadline=5.0) as app[COINS],
        ):
            yield

    async def ending(_: web.Application) -> None:
        watch.phase = "shutdown"

    async def busy(request: web.Request) -> web.Response:
        watch.phase = "busy"
        for _ in range(int(request.query["calls"])):
            for name, handler in (("plain", plain), ("sdk", sdk)):
                _handler.set(name)
                await handler(request)
        _handler.set("rest")
        watch.phase = "load"
        return web.Response()

    def measured(handler: Callable[[web.Request], Coroutine[Any, Any, web.Response]]) -> Handler:
        name = handler.__name__

        async def run(request: web.Request) -> web.Response:
            reset = _handler.set(name)
            metered = Metered(handler(request))
            began = time.perf_counter()
            try:
                return await metered
            finally:
                samples[name].append(Sample(time.perf_counter() - began, metered.cpu, metered.waits))
                _handler.reset(reset)

        return run

    app = web.Application()
    app.cleanup_ctx.extend((opened, control))
    app.on_shutdown.append(ending)
    app.router.add_get("/busy", busy)
    app.router.add_get("/plain", measured(plain))
    app.router.add_get("/sdk", measured(sdk))
    return app


def _as_rows(watch: Watch) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "handler": handler, "by_wall": attrs.astuple(by_wall), "by_cpu": attrs.astuple(by_cpu)}
        for (phase, handler), (by_wall, by_cpu) in watch.longest.items()
    ]


def main(base_url: str, ca_file: str) -> None:
    """Serve until SIGTERM, and print what was measured."""
    watch = Watch()
    watch.install()
    samples: dict[str, list[Sample]] = {"plain": [], "sdk": []}
    guard = FileGuard(Path(ca_file).with_name("guard.json"))
    app = create_app(base_url, ssl.create_default_context(cafile=ca_file), guard, watch, samples)
    web.run_app(
        app,
        host="127.0.0.1",
        port=0,
        access_log=None,
        handler_cancellation=True,
        print=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(json.dumps({"samples": samples, "blocks": _as_rows(watch)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
