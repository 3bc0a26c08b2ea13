"""Ways to send one and the same update many times, from aiohttp as one writes it to a run with its ledger.

Each is given the base URL of ``benchmarks.server`` and opens what it needs; what it yields then sends so many updates.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import aiohttp
import attrs
import msgspec
import uvloop
from yarl import URL

from enkash_coins import CoinEventService, CoinEventUpdate, Request, Transport
from enkash_coins.auth.tokens import token_source
from enkash_coins.bulk import Run, State
from enkash_coins.layers.bearer import Bearer
from enkash_coins.layers.pacing import Pacing
from enkash_coins.service import client_of
from enkash_coins.transports.aiohttp import AiohttpTransport

PLAIN: Final = "plain aiohttp"  # the one that all are compared with
IN_FLIGHT: Final = 32
TOKEN: Final = "0123456789abcdef0123456789abcdef"
AUTHORIZATION: Final = {"Authorization": f"Bearer {TOKEN}"}
PATH: Final = "/api/v0/enkash-coins/WCC"
BODY: Final = {"amount": 10, "configuration": "DEFAULT"}

Send = Callable[[int], Awaitable[None]]


@attrs.frozen
class Way:
    """One way to send them.

    Attributes:
        open: given the base URL.
        prepare: done before so many can be sent, and not measured; given the base URL and their number.
        loop: makes the event loop.
    """

    open: Callable[[str], AbstractAsyncContextManager[Send]]
    prepare: Callable[[str, int], Coroutine[None, None, None]] | None = None
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


def by_workers(work: Callable[[Iterator[int]], Awaitable[None]]) -> Send:
    """Send so many by a bounded number of workers, each of which takes the next number."""

    async def send(count: int) -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(work(numbers) for _ in range(IN_FLIGHT)))

    return send


@contextlib.asynccontextmanager
async def plain(base_url: str, *, cookies: bool = False) -> AsyncIterator[Send]:
    """What one would write without this package: no retries, no typed errors, no outcomes."""
    jar = aiohttp.CookieJar(unsafe=True) if cookies else None  # by default it takes none from an IP address
    async with aiohttp.ClientSession(headers=AUTHORIZATION, cookie_jar=jar) as session:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                async with session.patch(f"{base_url}{PATH}{number}", json=BODY) as response:
                    answer = await response.json()
                    if answer["response_code"] != 0:
                        raise RuntimeError(answer)

        yield by_workers(work)


@contextlib.asynccontextmanager
async def by_hand(base_url: str) -> AsyncIterator[Send]:
    """The same by somebody who knows where aiohttp spends its time."""
    origin, encode, decode = URL(base_url), msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    headers = {**AUTHORIZATION, "Content-Type": "application/json"}
    async with aiohttp.ClientSession(
        headers=headers, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                url = origin.with_path(f"{PATH}{number}", encoded=True)
                async with session.patch(url, data=encode(BODY)) as response:
                    answer = decode(await response.read())
                    if answer["response_code"] != 0:
                        raise RuntimeError(answer)

        yield by_workers(work)


@contextlib.asynccontextmanager
async def over(transport: Transport) -> AsyncIterator[Send]:
    """Requests to a transport, whose answers nobody reads."""

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            body = msgspec.json.encode(BODY)
            headers = {**AUTHORIZATION, "Content-Type": "application/json"}
            response = await transport.send(
                Request("PATCH", f"{PATH}{number}", headers, body, "update", replayable=True)
            )
            if response.status != 200:
                raise RuntimeError(response)

    try:
        yield by_workers(work)
    finally:
        await transport.aclose()


def paced(base_url: str) -> Pacing:
    """Our transport with pacing."""
    return Pacing(AiohttpTransport(base_url), slots=IN_FLIGHT, rate=None, max_wait=60.0, timeout=30.0)


def service(base_url: str) -> CoinEventService:
    """The service as users make it."""
    return CoinEventService.connect(base_url, auth=TOKEN, concurrency=IN_FLIGHT)


@contextlib.asynccontextmanager
async def update(base_url: str) -> AsyncIterator[Send]:
    """Single calls of the service."""
    async with service(base_url) as coins:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                await coins.update(f"WCC{number}", amount=10, configuration="DEFAULT")

        yield by_workers(work)


def updates(count: int) -> Iterator[CoinEventUpdate]:
    """The rows of a stream."""
    return (CoinEventUpdate(f"WCC{number}", amount=10, configuration="DEFAULT") for number in range(count))


@contextlib.asynccontextmanager
async def update_many(base_url: str) -> AsyncIterator[Send]:
    """A stream of the service."""
    async with service(base_url) as coins:

        async def send(count: int) -> None:
            async with coins.update_many(updates(count)) as stream:
                async for outcome in stream:
                    if not outcome.ok:
                        raise RuntimeError(outcome)

        yield send


async def plan(base_url: str, count: int, *, folder: Path) -> None:
    """Plan the run that ``apply`` works off."""
    async with service(base_url) as coins:
        path = folder / f"{count}.run"
        path.unlink(missing_ok=True)
        await Run.plan(updates(count), coins, to=path, read=False)


@contextlib.asynccontextmanager
async def apply(base_url: str, *, folder: Path) -> AsyncIterator[Send]:
    """A run without its reads: each row is durable before it is sent, and its end before it is counted."""
    async with service(base_url) as coins:

        async def send(count: int) -> None:
            counts = await Run.open(folder / f"{count}.run").apply(coins, check=False)
            if counts[State.APPLIED] != count:
                raise RuntimeError(counts)

        yield send


def ways(folder: Path) -> dict[str, Way]:
    """Ours by name, each with what the one before has and something more; then those of the peers that are installed.

    Args:
        folder: where runs are kept.
    """
    ours = {
        PLAIN: Way(plain),
        "aiohttp tuned by hand": Way(by_hand),
        "our transport": Way(lambda base_url: over(AiohttpTransport(base_url))),
        "+ pacing": Way(lambda base_url: over(paced(base_url))),
        "+ bearer": Way(lambda base_url: over(Bearer(paced(base_url), token_source(TOKEN)))),
        "+ encryption, off": Way(lambda base_url: over(client_of(service(base_url)).caller.transport)),
        "update": Way(update),
        "update_many": Way(update_many),
        "plain aiohttp, a cookie set": Way(lambda base_url: plain(f"{base_url}/cookie", cookies=True)),
        "update_many, a cookie set": Way(lambda base_url: update_many(f"{base_url}/cookie")),
        "a run, with its ledger": Way(partial(apply, folder=folder), partial(plan, folder=folder)),
        "plain aiohttp, uvloop": Way(plain, loop=uvloop.new_event_loop),
        "update_many, uvloop": Way(update_many, loop=uvloop.new_event_loop),
    }
    if find_spec("pyreqwest") is None:  # one for all of requirements/bench.txt
        return ours
    from benchmarks.peers import PEERS  # noqa: PLC0415  # what only `nox -s bench` installs

    return ours | PEERS
