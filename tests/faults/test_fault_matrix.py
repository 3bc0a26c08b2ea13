"""Every fault, at every attempt of every operation, on real sockets; the server counts."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import product
from typing import Final

import aiohttp
import attrs
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from enkash_coins import Attempt, CoinEventService, EnkashError, TimedOut
from enkash_coins.service import ConnectOptions
from tests.faults.cases import Cases, is_full
from tests.faults.watch import PLANTED, Watch
from tests.wire.calls import CALLS, THREE_TRIES, WRITES
from tests.wire.failures import SCRIPTS, NewTokens, authority, client_tls, nobody_answers, nobody_listens, reset_unread
from tests.wire.leaks import COOKIES, HEADERS, SECRETS
from tests.wire.server import Exchange, Server, Step, http, put_forward, well
from tests.wire.test_proxy import tunnel
from tests.wire.test_retries import TABLE, digit

# What every operation may be tried again after, and leaves no doubt.
HARMLESS: Final = "429, Retry-After: 0"
RENEWED: Final = "401, then a new token"
# Faults that are not in what a server says, but in where the connection leads.
ROUTED: Final = (
    "connection refused",
    "connect timeout",
    "no such host",
    "untrusted certificate",
    "reset before reading",
)
NOT_ARRIVING: Final = {*ROUTED[:4], "proxy refuses"}
BLOCKS: Final = 6
Faults = tuple[str, ...]


@attrs.define
class Route(AbstractResolver):
    """Where the connection of each attempt leads."""

    faults: Faults
    ports: dict[str, int]
    attempt: int = 1

    def told(self, _: Attempt) -> None:
        self.attempt += 1

    @property
    def fault(self) -> str | None:
        return self.faults[self.attempt - 1] if self.attempt <= len(self.faults) else None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        fault = self.fault
        if fault == "no such host":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if fault == "connect timeout":
            asyncio.get_running_loop().call_later(0.005, put_forward, 30.0)
        port = self.ports.get(fault or "", port)
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def expected(faults: Faults, call: str) -> tuple[str | None, int, int, bool]:
    """By the contract's table: the fault that ends the call if any, tries begun, requests that arrive, and doubt."""
    arrived = failures = 0
    doubt = renewed = False
    for tries, fault in enumerate((*faults, None), 1):
        arrived += fault not in NOT_ARRIVING
        if fault is None:
            return None, tries, arrived, doubt
        _, row, _, doubtful, _ = TABLE[fault]
        doubt |= doubtful and call in WRITES
        if fault == RENEWED and not renewed:
            renewed = True  # a new token does not use up a try
            continue
        failures += 1
        if digit(row, call) == 1 or fault == RENEWED or failures == THREE_TRIES.attempts:
            return fault, tries, arrived, doubt
    raise AssertionError("a call ends")


def _tls(host: str, issuer: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (issuer or authority()).issue_cert(host).configure_cert(context)
    return context


def _last(answer: bytes) -> bytes:
    line, end, rest = answer.partition(b"\r\n")
    return line + end + b"Connection: close" + end + rest if line.startswith(b"HTTP/") else answer


async def suffer(faults: Faults, call: str, tally: Counter[str], watch: Watch) -> None:
    """One call with a fault at each of its first attempts, and a good one after it on the same client."""
    route = Route(faults, {})
    options = PLANTED | ConnectOptions(retry=THREE_TRIES, on_attempt=route.told)
    if RENEWED in faults:
        options["auth"] = NewTokens()

    routed, proxied = bool({*faults} & {*ROUTED}), "proxy refuses" in faults

    def script(exchange: Exchange) -> Sequence[Step]:
        steps = SCRIPTS.get(route.fault or "", well)(exchange)
        # Every attempt goes to the proxy anew.
        return [_last(step) if isinstance(step, bytes) else step for step in steps] if proxied else steps

    async with AsyncExitStack() as stack:
        tls = _tls("localhost") if routed or proxied else None
        server = resetting = await stack.enter_async_context(Server(script, tls=tls))
        url = server.url.replace("127.0.0.1", "localhost") if tls else server.url
        if routed:
            resetting = await stack.enter_async_context(Server(greeting=[reset_unread], tls=tls))
            untrusted = await stack.enter_async_context(Server(tls=_tls("localhost", trustme.CA())))
            ports = stack.enter_context(_closed_ports())
            route.ports = {**ports, "untrusted certificate": untrusted.port, "reset before reading": resetting.port}
            connector = aiohttp.TCPConnector(resolver=route, use_dns_cache=False, force_close=True, ssl=client_tls())
            session = aiohttp.ClientSession(connector=connector, cookies=COOKIES)
            options = ConnectOptions(auth=options["auth"], headers=HEADERS, retry=THREE_TRIES, on_attempt=route.told)
            session._retry_connection = False  # a GET that aiohttp re-sends by itself would be counted as one of ours
            options["session"] = await stack.enter_async_context(session)
        if proxied:
            proxy = await stack.enter_async_context(Server())
            proxy.script = lambda _: [http(502) if route.fault == "proxy refuses" else tunnel(server.port)]
            options["proxy"] = proxy.url.replace("//", f"//user:{SECRETS['proxy password']}@")
            options["ssl_context"] = client_tls()
        coins = await stack.enter_async_context(CoinEventService.connect(url, **options))
        ending, tries, arrived, doubt = expected(faults, call)
        error = None
        try:
            assert await CALLS[call](coins) is not None
        except EnkashError as caught:
            error = caught
            watch.look(caught)
        seen = server.arrived + (resetting.arrived if resetting is not server else 0)
        assert (route.attempt - 1, seen) == (tries, arrived)
        if ending is None:
            assert error is None
        else:
            kind = TABLE[ending][2]
            assert isinstance(error, TimedOut) if kind is TimedOut else type(error) is kind
            assert (error.attempts, error.maybe_applied) == (tries, doubt)  # type: ignore[union-attr]  # as seen above
        tally["faults met by calls on real sockets"] += tries - (ending is None)
        route.faults = ()
        assert await coins.balance("EK1") == 1250
        tally["calls after a fault that went well"] += 1


class _closed_ports(ExitStack):  # noqa: N801  # read as a function
    """Ports at which no connection comes about."""

    def __enter__(self) -> dict[str, int]:  # type: ignore[override]  # not itself
        super().__enter__()
        refused, silent = self.enter_context(nobody_listens()), self.enter_context(nobody_answers())
        return {"connection refused": refused, "connect timeout": silent}


def singles() -> Iterator[tuple[Faults, str]]:
    """Each fault at attempt 1, 2 and 3 of each operation."""
    for fault, call, attempt in product(TABLE, CALLS, (1, 2, 3)):
        yield (HARMLESS,) * (attempt - 1) + (fault,), call


def pairs() -> Iterator[tuple[Faults, str]]:
    """Each fault after each fault; a proxy is no route, and a token is either static or not."""
    for first, second, call in product(TABLE, TABLE, CALLS):
        if "proxy refuses" in (first, second) and {first, second} & {*ROUTED}:
            continue
        if {first, second} != {"401", RENEWED}:
            yield (first, second), call


def run(faults: Faults, call: str, tally: Counter[str], watch: Watch) -> None:
    """In an event loop of its own, whose clock nobody else has put forward."""
    try:
        asyncio.run(suffer(faults, call, tally, watch), debug=is_full())
    except BaseException as error:
        error.add_note(f"{call} under {' / '.join(faults)}")
        raise


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_fault_at_every_attempt(block: int, tally: Counter[str], watch: Watch) -> None:
    """Tries, requests that arrived, the error and its doubt are as the contract's table says, whenever it comes."""
    for faults, call in list(singles())[block::BLOCKS]:
        run(faults, call, tally, watch)
        tally["faults × operations × attempts"] += 1


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_fault_after_every_fault(block: int, cases: Cases, tally: Counter[str], watch: Watch) -> None:
    """A doubt that one fault leaves is not taken back by the next; the short tier draws a few of these pairs."""
    every = list(pairs())[block::BLOCKS]
    for case, dice in cases(short=50, full=len(every)):
        faults, call = every[case] if is_full() else dice.choice(every)
        run(faults, call, tally, watch)
        tally["pairs of faults"] += 1
