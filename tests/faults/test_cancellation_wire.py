"""A cancellation at every await point of the wire, on real sockets: at once, final, and no socket is left."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from enkash_coins import CoinEventService, CoinEventUpdate, FileGuard, MemoryGuard, PasswordGrant
from enkash_coins.secret import Secret
from enkash_coins.transports.aiohttp import AiohttpTransport
from tests.faults.await_points import Tracer, written
from tests.faults.cases import Cases, is_full
from tests.wire.calls import CALLS
from tests.wire.failures import client_tls, server_tls
from tests.wire.server import CONFIG, Exchange, Peer, Server, Step, envelope, http, well

MODULES: Final = ("transports/aiohttp.py", "transports/connectors.py", "time_limit.py", "auth/file_guard.py")
NEVER_WAITS: Final = {
    "await self.write_with_length(writer, None)": "aiohttp asks for write_with_length() itself",
}
SLOTS: Final = 3
LONGEST_END: Final = 10  # turns of the loop
numbers = itertools.count()


async def some_turns(_: Peer) -> None:
    """Let the client wait, without letting time pass."""
    for _turn in range(3):
        await asyncio.sleep(0)


def in_pieces(answer: bytes) -> Sequence[Step]:
    """Head, half a body and the rest, each by itself."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return [head, some_turns, b"\r\n\r\n", some_turns, body[:10], some_turns, body[10:]]


def pieces(exchange: Exchange) -> Sequence[Step]:
    """The documented answer, piece by piece."""
    return in_pieces(b"".join(step for step in well(exchange) if isinstance(step, bytes)))


def large(exchange: Exchange) -> Sequence[Step]:
    """An answer of many blocks."""
    if exchange.operation == "token":
        return well(exchange)
    return [http(200, envelope(CONFIG | {"more": "x" * 300_000}))]


def extra(exchange: Exchange) -> Sequence[Step]:
    """An answer, and then another one that nobody asked for."""
    return [*well(exchange), some_turns, *well(exchange)]


async def _stream(coins: CoinEventService) -> None:
    rows = [CoinEventUpdate(f"WCC{n % 4}", amount=10) for n in range(12)]
    await coins.update_many(rows).failures()


async def _twice(coins: CoinEventService) -> None:
    await CALLS["get"](coins)
    await asyncio.sleep(0.002)
    await CALLS["get"](coins)


async def _come_and_go(coins: CoinEventService) -> None:
    async with coins:
        await CALLS["get"](coins)


@attrs.frozen
class Scenario:
    """Something that is cancelled, and how the server answers it.

    Attributes:
        guarded: by a file that somebody else holds at first.
    """

    work: Callable[[CoinEventService], Awaitable[object]]
    script: Callable[[Exchange], Sequence[Step]] = pieces
    tls: bool = False
    guarded: bool = False


SCENARIOS: Final = {
    **{operation: Scenario(CALLS[operation]) for operation in ("get", "update", "create", "allocate", "balance")},
    "a large answer": Scenario(CALLS["get"], large),
    "over TLS": Scenario(CALLS["update"], tls=True),
    "with extra bytes": Scenario(_twice, extra),
    "a shared guard": Scenario(CALLS["update"], well, guarded=True),
    "a stream": Scenario(_stream, well),
    "a service that is left": Scenario(_come_and_go, tls=True),
}


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def wire_of(coins: CoinEventService) -> AiohttpTransport:
    """The innermost layer."""
    assert isinstance(coins._pacing._inner, AiohttpTransport)
    return coins._pacing._inner


async def hold_on(path: Path) -> None:
    """Have the file for a little longer than one look at it takes."""
    async with FileGuard(path).hold(Secret(("i", "s", "somebody else", "p"))):
        await asyncio.sleep(0.07)


async def trial(server: Server, scenario: Scenario, tracer: Tracer, when: tuple[int, int], folder: Path) -> bool:
    """Whether it came to the cancellation; whatever is wrong is raised.

    Args:
        when: at which wait, and how many turns of the loop after that.
    """
    cancel_at, turns = when
    tls = client_tls() if scenario.tls else None
    path = folder / f"{next(numbers)}.json"
    auth = PasswordGrant("i", "s", "u", "p", guard=FileGuard(path) if scenario.guarded else MemoryGuard())
    holder = asyncio.create_task(hold_on(path)) if scenario.guarded else None
    if holder is not None:
        await asyncio.sleep(0.02)
    coins = CoinEventService.connect(server.url, auth=auth, ssl_context=tls, concurrency=SLOTS)
    async with coins:

        async def work() -> None:
            await scenario.work(coins)

        task = asyncio.create_task(work())
        tracer.watch(task, cancel_at=cancel_at, turns=turns, everyone=bool(turns % 2))
        await asyncio.wait([task, *([holder] if holder else ())])
        if not tracer.cancelled:
            return False
        assert task.cancelled(), "it was not let through"
        assert tracer.turns_since <= LONGEST_END, f"the task went on for {tracer.turns_since} turns"
        tracer.rest()
        arrived = server.calls.total() - server.calls["token"]
        for _turn in range(10):
            await asyncio.sleep(0)
        if coins._client.caller.closed:
            return True
        wire = wire_of(coins)._wire.latest
        if wire is not None and auth._login is not None and auth._login.done():
            connector = wire.session.connector
            assert connector is not None
            assert not connector._acquired, "a connection that did not come back"
        # Bytes that had left may arrive later, but no request begins after its end.
        assert server.calls.total() - server.calls["token"] - arrived <= SLOTS
        server.script, before = well, server.script
        await asyncio.gather(*[CALLS["get"](coins) for _ in range(SLOTS + 1)])
        server.script = before
    return True


async def test_cancellation_on_real_sockets(cases: Cases, tally: Counter[str], tmp_path: Path) -> None:
    """Wherever the wire waits: it ends within a few turns of the loop, its connection comes back or is closed, the
    client works on, and in the end no descriptor is left.
    """
    tracer = Tracer()
    for _ in cases(short=1, full=10):
        for scenario in SCENARIOS.values():
            async with Server(scenario.script, tls=server_tls() if scenario.tls else None) as server:
                await trial(server, scenario, tracer, (-1, 0), tmp_path)  # whatever is opened once is open now
                before = descriptors()
                tracer.install(asyncio.get_running_loop())
                for turns in range(4 if is_full() else 2):
                    cancel_at = 0
                    while await trial(server, scenario, tracer, (cancel_at, turns), tmp_path):
                        tally["cancellations: on real sockets"] += 1
                        cancel_at += 1
                        assert cancel_at < 300
                for _turn in range(40):
                    if descriptors() > before:
                        await asyncio.sleep(0.005)
                assert descriptors() <= before
    expected = {place: text for place, text in written(MODULES).items() if text not in NEVER_WAITS}
    missed = {f"{place}: {text}" for place, text in expected.items() if tracer.hit[place] < (20 if is_full() else 1)}
    assert not missed, "\n".join(sorted(missed))
    for (module, line), text in sorted(expected.items()):
        tally[f"cancelled at {module}: {text[:70]}"] += tracer.hit[module, line]
