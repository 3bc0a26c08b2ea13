"""The API behind a modelled wire: it keeps the truth, and the time of everything."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from random import Random
from typing import Final, Literal

from enkash_coins.auth.guard import MemoryGuard
from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.auth.tokens import TokenSource
from enkash_coins.calls.retry import RetryPolicy
from enkash_coins.errors import (
    ConnectError,
    ConnectTimedOut,
    Disconnected,
    EnkashError,
    ServiceClosed,
    TimedOut,
    TlsError,
)
from enkash_coins.sandbox.answers import Answer
from enkash_coins.sandbox.login import Login
from enkash_coins.sandbox.routes import route
from enkash_coins.sandbox.world import Fields, World
from enkash_coins.service import CoinEventService
from enkash_coins.transport import Headers, Request, Response, mark
from tests.simulator.fates import FINE, NOTHING_LEAVES, Decide, Fate, Lost, Seen

EPOCH: Final = 1_800_000_000  # what the server's calendar shows at second 0
RIGHT: Final = ("client", "client-secret", "user", "password")


class ModelledServer:
    """The API as the sandbox knows it, on the running loop's clock and without sockets.

    Args:
        configs: how many there are, ``WCC00001`` and so on.
        latency: seconds from sending to answer, half of them each way; given the server's dice.
        fate: what becomes of a request; may be changed at any time.
        token_life: seconds that a token is valid.
        expires_in: what the token endpoint says about that; "absent" leaves it out, ``None`` is the truth.
        seed: the same one makes the same world and the same latencies.

    Attributes:
        log: every request that arrived, in order of arrival.
        applied: every request that the API carried out with success, in the order in which it did.
        calls: how many left, by operation.
        in_flight, most_in_flight: requests whose clients wait for the answer.
    """

    def __init__(
        self,
        configs: int = 10,
        *,
        latency: Callable[[Random], float] = lambda _: 0.1,
        fate: Decide = lambda _: FINE,
        token_life: float = 86_399.0,
        expires_in: float | str | None = None,
        seed: int = 0,
    ) -> None:
        self.latency = latency
        self.fate = fate
        self.login = Login(*RIGHT, life=token_life, claimed_life=token_life if expires_in is None else expires_in)
        self.log: list[Seen] = []
        self.applied: list[Seen] = []
        self.calls: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self._world = World(configs, seed=seed, dedupe=False)
        self._dice = Random(seed)

    @property
    def configs(self) -> dict[str, Fields]:
        """The truth: id → the API's own keys."""
        return self._world.configs

    @property
    def allocations(self) -> list[Fields]:
        """The truth: the bodies of all allocations that took effect."""
        return self._world.allocations

    def arrivals(self, operation: str = "update") -> list[float]:
        """When each request of this operation arrived."""
        return [seen.arrived for seen in self.log if seen.operation == operation and seen.arrived is not None]

    def date(self, at: float) -> str:
        """A virtual second as an HTTP date, which knows whole seconds only."""
        return formatdate(EPOCH + at, usegmt=True)

    def grant(self, *, password: str = "password") -> PasswordGrant:
        """A login with this password; the right one is the default."""
        return PasswordGrant(*RIGHT[:3], password, guard=MemoryGuard())

    def issue_token(self) -> str:
        """A valid token, as if a person had fetched it."""
        token: str = json.loads(self._carry_out(self.grant()._request()).body)["access_token"]
        return token

    def leave(self, request: Request) -> tuple[Seen, Fate]:
        """Decide about a request that is on its way."""
        operation, _ = route(request.method, request.path)
        self.calls[operation] += 1
        seen = Seen(self.calls[operation], operation, request, asyncio.get_running_loop().time())
        return seen, self.fate(seen)

    def way(self) -> float:
        """Seconds for one way between client and server."""
        return self.latency(self._dice) / 2

    def arrive(self, seen: Seen, fate: Fate, way: float, answer: asyncio.Future[Response | EnkashError]) -> None:
        """Take the request in; whether its client still waits makes no difference to what it does."""
        loop = asyncio.get_running_loop()
        seen.arrived = loop.time()
        self.log.append(seen)
        if fate.reply is Lost.DISCONNECT:
            _give(answer, Disconnected("the modelled connection ended without an answer"))
        if fate.early and isinstance(fate.reply, Response):
            self._reply(fate.reply, way, answer)
        if fate.after:
            loop.call_later(fate.after, self._act, seen, fate, way, answer)
        else:
            self._act(seen, fate, way, answer)

    def _act(self, seen: Seen, fate: Fate, way: float, answer: asyncio.Future[Response | EnkashError]) -> None:
        loop = asyncio.get_running_loop()
        reply = fate.reply
        if fate.effect:
            own = self._carry_out(seen.request)
            seen.status = own.status
            if own.status == 200:
                seen.applied = loop.time()
                self.applied.append(seen)
            if reply is None:
                reply = Response(own.status, {"Content-Type": own.content_type, **dict(own.headers)}, own.body)
        if isinstance(reply, Response) and not fate.early:
            self._reply(reply, way, answer)

    def _reply(self, reply: Response, way: float, answer: asyncio.Future[Response | EnkashError]) -> None:
        loop = asyncio.get_running_loop()
        dated = Response(reply.status, {**reply.headers, "Date": self.date(loop.time())}, reply.body)
        loop.call_later(way, _give, answer, dated)

    def _carry_out(self, request: Request) -> Answer:
        now = asyncio.get_running_loop().time()
        authorization = Headers(request.headers).get("Authorization", "")
        operation, argument = route(request.method, request.path)
        if operation == "token":
            return self.login.grant(authorization, request.body, now)
        return self.login.check(authorization, now) or self._world.apply(operation, argument, request.body)


def _give(answer: asyncio.Future[Response | EnkashError], what: Response | EnkashError) -> None:
    if not answer.done():
        answer.set_result(what)


class ModelledWire:
    """One client's way to the server: raises what the real transport would, when it would.

    Args:
        shared: whether closing leaves requests under way alone, as with a session of the caller's own.
    """

    def __init__(self, server: ModelledServer, *, shared: bool = False) -> None:
        self._server = server
        self._shared = shared
        self._closed = False
        self._dead = False
        self._open: dict[asyncio.Future[Response | EnkashError], EnkashError] = {}

    async def send(self, request: Request, /) -> Response:
        """Send once; what has left goes its way even if the client no longer waits."""
        if self._closed:
            raise ServiceClosed("the modelled wire was closed")
        if self._dead:
            await asyncio.Event().wait()
        server, loop = self._server, asyncio.get_running_loop()
        seen, fate = server.leave(request)
        way = server.way()
        answer: asyncio.Future[Response | EnkashError] = loop.create_future()
        timeout = request.timeout
        late: EnkashError = TimedOut(f"no modelled answer within {timeout:g} s")
        if fate.reply in NOTHING_LEAVES:
            late = ConnectTimedOut(f"no modelled connection within {timeout:g} s")
        if fate.reply is Lost.NO_CONNECTION:
            loop.call_later(way, _give, answer, ConnectError("no modelled connection"))
        elif fate.reply is Lost.NO_TLS:
            loop.call_later(way, _give, answer, TlsError("no modelled handshake"))
        elif fate.reply is not Lost.NO_CONNECTION_IN_TIME:
            loop.call_later(way, server.arrive, seen, fate, way, answer)
        limit = loop.call_later(timeout, _give, answer, late)
        closed = "the modelled connection was closed"
        self._open[answer] = ConnectError(closed) if fate.reply in NOTHING_LEAVES else Disconnected(closed)
        server.in_flight += 1
        server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            outcome = await answer
        except asyncio.CancelledError as cut_off:
            if fate.reply in NOTHING_LEAVES:
                mark(cut_off)
            raise
        finally:
            limit.cancel()
            del self._open[answer]
            server.in_flight -= 1
        if isinstance(outcome, EnkashError):
            raise outcome
        return outcome

    def die(self) -> None:
        """The client's process ends: what has left goes its way, and nothing more leaves."""
        self._dead = True

    async def aclose(self) -> None:
        """Cut off what is under way."""
        self._closed = True
        for answer, cut_off in () if self._shared else list(self._open.items()):
            _give(answer, cut_off)


def client(
    server: ModelledServer,
    *,
    auth: str | TokenSource | None = None,
    timeout: float = 30.0,
    retry: RetryPolicy = RetryPolicy(),
    concurrency: int | Literal["auto"] = "auto",
    rate: float | None = None,
    shared: bool = False,
) -> CoinEventService:
    """What ``CoinEventService.connect`` makes, on the modelled wire; by default with a token that is valid now."""
    return CoinEventService(
        ModelledWire(server, shared=shared),
        auth=server.issue_token() if auth is None else auth,
        timeout=timeout,
        retry=retry,
        concurrency=concurrency,
        rate=rate,
    )
