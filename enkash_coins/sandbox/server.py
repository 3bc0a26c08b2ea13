"""The sandbox itself: a server around the pure modules beside it."""

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import Self

import attrs
from aiohttp import web

from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.sandbox.answers import Answer, failure
from enkash_coins.sandbox.exchange import RawHeaders, SeenRequest, disconnect, reply
from enkash_coins.sandbox.faults import Fault, FaultKind, choose
from enkash_coins.sandbox.limits import RateLimit
from enkash_coins.sandbox.login import Credentials, Login
from enkash_coins.sandbox.routes import route
from enkash_coins.sandbox.world import HISTORY, Fields, World

_LOG = logging.getLogger("enkash_coins.sandbox")
_WITH_BODY = frozenset({"update", "create", "allocate"})
_BACKLOG = 1024  # connections that may wait to be accepted: clients open hundreds at once
_SHARED = 256  # sets of headers that are known at a time
_TURNS = 10  # of the loop, in which aborted connections and their tasks come to an end; it takes 3


class Sandbox:
    """The coin API over real HTTP on loopback, with faults on demand.

    Use it with ``async with``, or ``start()`` and ``aclose()``; it may be started again, on the same port and with all
    that it knew.

    Args:
        configs: how many there are at first, WCC00001 and so on, besides the documented WCC12345.
        faults: what goes wrong; the first that hits a request decides.
        seed: the same one makes the same configs and, for the same requests in the same order, the same faults.
        dedupe: whether a repeated ``requestId`` is refused (409) or allocates again.
        token_life: seconds that a token is valid.
        claimed_life: what ``expires_in`` says if not the truth; "absent" leaves it out.
        camel_case_tokens: whether the token endpoint answers ``accessToken`` and so on.
        rate: requests per second, beyond which 429 with Retry-After is answered.
        latency: seconds from a request, which takes effect at once, to its answer.
        host: the address to listen on.
        port: the port to listen on; 0 for a free one.
        client_id, client_secret, username, password: the right credentials.

    Attributes:
        faults: a list that may be changed at any time.
        calls: requests by operation; "other" is an unknown path.
        requests: the last 10,000 requests in order.
    """

    def __init__(
        self,
        configs: int = 1000,
        *,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        dedupe: bool = True,
        token_life: float = 86_399.0,
        claimed_life: float | str | None = None,
        camel_case_tokens: bool = False,
        rate: float | None = None,
        latency: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
        client_id: str = "sandbox-client",
        client_secret: str = "sandbox-client-secret",
        username: str = "sandbox@example.com",
        password: str = "sandbox-password",
    ) -> None:
        if not (configs >= 0 and token_life > 0 and 0 <= latency < math.inf):
            raise ValueError("configs and latency must not be negative, and token_life must be more than 0")
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError("rate must be more than 0 requests per second")
        self.faults = list(faults)
        self.calls: Counter[str] = Counter()
        self.requests: deque[SeenRequest] = deque(maxlen=HISTORY)
        self.host = host
        self.port = port
        self._credentials = Credentials(client_id, client_secret, username, password)
        self._login = Login(
            self._credentials,
            life=token_life,
            claimed_life=token_life if claimed_life is None else claimed_life,
            camel_case=camel_case_tokens,
        )
        self._world = World(configs, seed=seed, dedupe=dedupe)
        self._limit = None if rate is None else RateLimit(rate)
        self._latency = latency
        self._dice = Random(seed)
        self._headers: dict[RawHeaders, RawHeaders] = {}
        self._late: set[asyncio.TimerHandle] = set()
        self._listener: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """Where the sandbox listens."""
        if self.port == 0:
            raise RuntimeError("the sandbox has no address before it is started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def auth(self) -> PasswordGrant:
        """A new grant with the right credentials."""
        return PasswordGrant(*attrs.astuple(self._credentials))

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that lead the command to this sandbox."""
        return {
            "ENKASH_BASE_URL": self.base_url,
            "ENKASH_CLIENT_ID": self._credentials.client_id,
            "ENKASH_CLIENT_SECRET": self._credentials.client_secret,
            "ENKASH_USERNAME": self._credentials.username,
            "ENKASH_PASSWORD": self._credentials.password,
        }

    @property
    def configs(self) -> dict[str, Fields]:
        """The truth, every config by its id. Amounts and configurations may be changed here, too."""
        return self._world.configs

    @property
    def allocations(self) -> list[Fields]:
        """The bodies of all allocations that took effect, in order."""
        return self._world.allocations

    @property
    def applied(self) -> deque[tuple[str, str, Fields]]:
        """The last 10,000 writes that took effect, in order, each as operation, id of config or request, and body."""
        return self._world.applied

    @property
    def locked(self) -> bool:
        """Whether three refused token requests in a row have locked the account."""
        return self._login.locked

    def unlock(self) -> None:
        """Open the account again."""
        self._login.unlock()

    def expire_tokens(self) -> None:
        """Make every token invalid that was issued so far."""
        self._login.expire_tokens()

    async def start(self) -> None:
        """Listen from now on.

        Raises:
            OSError: the port is taken.
            RuntimeError: the sandbox is running already.
        """
        if self._listener is not None:
            raise RuntimeError("the sandbox is running already")
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        # A client that goes away takes its handler along: hung requests must not pile up. Nothing gets lost, since a
        # request takes effect before its handler waits for the first time.
        self._http = web.Server(
            self._handle, handler_cancellation=True, access_log=None, auto_decompress=False, logger=_LOG
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

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        operation, argument = route(request.method, request.raw_path)
        self.calls[operation] += 1
        headers = self._share(request.raw_headers)
        self.requests.append(SeenRequest(operation, request.method, request.raw_path, headers, body))
        serve = partial(self._serve, request.headers, operation, argument, body)
        fault = choose(self.faults, operation, self.calls, self._dice)
        match fault:
            case Fault(kind=FaultKind.HANG):
                await asyncio.Event().wait()
            case Fault(kind=FaultKind.DISCONNECT_BEFORE_APPLY):
                return disconnect(request)
            case Fault(kind=FaultKind.APPLIED_LATE, seconds=seconds):
                self._serve_later(seconds, serve)
                return disconnect(request)
        answer = (fault and fault.answer()) or serve()
        if self._latency:
            await asyncio.sleep(self._latency)
        return await reply(request, answer, fault)

    def _share(self, headers: RawHeaders) -> RawHeaders:
        # A client's requests mostly have the same headers: kept once, 10,000 requests take 3 MB instead of 16.
        if len(self._headers) > _SHARED:
            self._headers.clear()
        return self._headers.setdefault(headers, headers)

    def _serve(self, headers: Mapping[str, str], operation: str, argument: str, body: bytes) -> Answer:
        now = self._clock()
        if self._limit is not None and (wait := self._limit.wait(now)):
            return failure(429, "Too many requests", retry_after=str(math.ceil(wait)))
        authorization = headers.get("Authorization", "")
        if operation == "token":
            return self._login.grant(authorization, body, now)
        if operation != "other" and (refusal := self._login.check(authorization, now)) is not None:
            return refusal
        if operation in _WITH_BODY and not headers.get("Content-Type", "").startswith("application/json"):
            return failure(400, "Content-Type must be application/json")
        return self._world.apply(operation, argument, body)

    def _serve_later(self, seconds: float, serve: Callable[[], Answer]) -> None:
        def serve_now() -> None:
            self._late.discard(handle)
            serve()

        handle = asyncio.get_running_loop().call_later(seconds, serve_now)
        self._late.add(handle)
