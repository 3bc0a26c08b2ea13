"""The sandbox itself: its settings, and what becomes of a request."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import ceil
from random import Random

from aiohttp import web
from attrs import define, field
from attrs.validators import ge, gt, optional

from enkash_coins.auth.guard import MemoryGuard
from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.sandbox.answers import Answer, failure, page, too_many
from enkash_coins.sandbox.exchange import SeenRequest, disconnect, reply
from enkash_coins.sandbox.faults import Fault, FaultKind, choose
from enkash_coins.sandbox.limits import FixedWindow, TokenBucket
from enkash_coins.sandbox.listener import Listener
from enkash_coins.sandbox.live import events, live_page, openapi, stream
from enkash_coins.sandbox.login import Login
from enkash_coins.sandbox.routes import route
from enkash_coins.sandbox.sealing import Sealing
from enkash_coins.sandbox.world import World

_HISTORY = 2000  # requests, of 1.6 kB each
_WITH_BODY = frozenset({"update", "create", "allocate"})
_SEALED = _WITH_BODY | {"get", "balance"}
_MOST_HEADERS = 8192  # bytes, as in Tomcat


def _faults(given: Iterable[Fault | str]) -> list[Fault]:
    return [fault if isinstance(fault, Fault) else Fault.parse(fault) for fault in given]


@define(eq=False, repr=False, slots=False, kw_only=True)
class Sandbox(Listener):
    """The coin API over real HTTP on loopback, with faults on demand.

    Use it with ``async with``, or with ``with`` in tests that are not async: it then runs in a thread of its own. It
    may be started again, on the same port and with all that it knew. A browser shows what it holds and does at
    ``base_url``.

    Args:
        configs: how many there are at first, WCC00001 and so on, besides the documented WCC12345.
        faults: what goes wrong, each a ``Fault`` or its text; the first that hits a request decides.
        seed: the same one makes the same configs and, for the same requests in the same order, the same faults.
        dedupe: whether a repeated ``requestId`` is refused (409) or allocates again.
        encrypted: whether bodies travel encrypted, in both directions (extra ``[encryption]``).
        latency: seconds that a request is worked on; it takes effect at their beginning.
        rate: requests per second; those beyond it are answered with 429.
        burst: requests that are let in at once after a pause (a token bucket); ``None`` for as many as in a second.
        window: seconds; the rate is counted in windows of this length instead.
        retry_after: whether a 429 says when to come back; without, it is the HTML page of a CDN.
        capacity: requests that are worked on at once; ``None`` for all.
        queue: whether those beyond the capacity wait, or are answered with 503.
        idle_timeout: seconds after which a connection is closed that is not in use.
        token_life: seconds that a token is valid.
        claimed_life: what ``expires_in`` says if not the truth; "absent" leaves it out.
        camel_case_tokens: whether the token endpoint answers ``accessToken`` and so on.
        one_token: whether a new token ends the one before.
        host, port: where to listen; port 0 is a free one.
        client_id, client_secret, username, password: the right credentials.

    Attributes:
        configs: the truth, every config by its id. Amounts and configurations may be changed here, too.
        allocations: the bodies of all allocations that took effect, in order.
        applied: the last 10,000 writes that took effect, each as operation, id of config or request, and body.
        calls: requests by operation; "other" is an unknown path.
        requests: the last 2,000 requests in order.
        faults: a list that may be changed at any time, like ``latency``.

    Raises:
        ValueError: a setting makes no sense; the message names it.
        ModuleNotFoundError: the extra for ``encrypted`` is not installed.
    """

    _configs: int = field(default=1000, kw_only=False)
    faults: list[Fault] = field(factory=list, converter=_faults)
    seed: int = 0
    dedupe: bool = True
    encrypted: bool = False
    latency: float = field(default=0.0, validator=ge(0))
    rate: float | None = field(default=None, validator=optional(gt(0.0)))
    burst: float | None = field(default=None, validator=optional(ge(1.0)))
    window: float | None = field(default=None, validator=optional(gt(0.0)))
    retry_after: bool = True
    capacity: float | None = field(default=None, validator=optional(ge(1.0)))
    queue: bool = True
    idle_timeout: float = field(default=3600.0, validator=gt(0))
    token_life: float = field(default=86_399.0, validator=gt(0))
    claimed_life: float | str | None = None
    camel_case_tokens: bool = False
    one_token: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-client-secret"
    username: str = "sandbox@example.com"
    password: str = "sandbox-password"

    def __attrs_post_init__(self) -> None:
        if self._configs < 0:
            raise ValueError("configs must be 0 or more")
        if self.rate is None and (self.burst or self.window):
            raise ValueError("burst and window say how a rate is counted: there is no rate")
        if self.burst and self.window:
            raise ValueError("burst and window exclude each other")
        self.calls: Counter[str] = Counter()
        self.requests: deque[SeenRequest] = deque(maxlen=_HISTORY)
        self._login = Login(
            *self._credentials,
            life=self.token_life,
            claimed_life=self.token_life if self.claimed_life is None else self.claimed_life,
            camel_case=self.camel_case_tokens,
            one_token=self.one_token,
        )
        self._world = World(self._configs, seed=self.seed, dedupe=self.dedupe)
        self.configs = self._world.configs
        self.allocations = self._world.allocations
        self.applied = self._world.applied
        self._sealing = Sealing(self.client_secret) if self.encrypted else None
        self._limit: FixedWindow | TokenBucket | None = None
        if self.rate is not None:
            bucket = TokenBucket(self.rate, self.burst or max(1.0, self.rate))
            self._limit = FixedWindow(self.rate, self.window) if self.window else bucket
        self._dice = Random(self.seed)

    @property
    def base_url(self) -> str:
        """Where the sandbox listens."""
        if self.port == 0:
            raise RuntimeError("the sandbox has no address before it is started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def auth(self) -> PasswordGrant:
        """A new grant with the right credentials, and a guard in memory."""
        return PasswordGrant(*self._credentials, guard=MemoryGuard())

    @property
    def _credentials(self) -> tuple[str, str, str, str]:
        return self.client_id, self.client_secret, self.username, self.password

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that lead the command to this sandbox."""
        return {
            "ENKASH_BASE_URL": self.base_url,
            "ENKASH_CLIENT_ID": self.client_id,
            "ENKASH_CLIENT_SECRET": self.client_secret,
            "ENKASH_USERNAME": self.username,
            "ENKASH_PASSWORD": self.password,
            **({"ENKASH_ENCRYPTED": "1"} if self.encrypted else {}),
        }

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
        """Listen from now on."""
        self._clock = asyncio.get_running_loop().time
        self._room = None if self.capacity is None else asyncio.Semaphore(int(self.capacity))  # it belongs to a loop
        await super().start()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        operation, argument = route(request.method, request.raw_path)
        if operation == "page":
            return await self._show(request, argument)
        self.calls[operation] += 1
        fault = choose(self.faults, operation, self.calls, self._dice)
        seen = SeenRequest(operation, request.method, request.raw_path, request.raw_headers, body)
        seen.fault = None if fault is None else fault.kind
        self.requests.append(seen)
        serve = partial(self._serve, seen, request.headers, argument)
        match fault:
            case Fault(kind=FaultKind.HANG):
                await asyncio.Event().wait()
            case Fault(kind=FaultKind.DISCONNECT_BEFORE_APPLY):
                return disconnect(request)
            case Fault(kind=FaultKind.APPLIED_LATE, seconds=seconds):
                self._later(seconds, serve)
                return disconnect(request)
        said = None if fault is None else fault.answer()
        answer = await self._work(lambda: said or serve())
        if self._sealing is not None and operation in _SEALED and answer.is_the_apis:
            answer = self._sealing.seal(answer)
        seen.status = answer.status
        return await reply(request, answer, fault)

    async def _show(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path != "/events":
            return await reply(request, live_page() if path == "/" else openapi(self.base_url))
        await stream(request, events(self._world, self.calls, self.requests, self._plain))
        return disconnect(request)

    def _plain(self, seen: SeenRequest) -> bytes:
        return (self._sealing and self._sealing.open(seen.body)) or seen.body

    async def _work(self, serve: Callable[[], Answer]) -> Answer:
        """What is served in the time that it takes, once there is room for it."""
        if self._room is None:
            answer = serve()
            if self.latency:
                await asyncio.sleep(self.latency)
            return answer
        if self._room.locked() and not self.queue:
            return failure(503, "Too much to do")
        async with self._room:
            answer = serve()
            await asyncio.sleep(self.latency)
        return answer

    def _serve(self, seen: SeenRequest, headers: Mapping[str, str], argument: str) -> Answer:
        now, operation, body = self._clock(), seen.operation, seen.body
        if sum(len(name) + len(value) for name, value in seen.raw_headers) > _MOST_HEADERS:
            return page(400)
        if self._limit is not None and (wait := self._limit.wait(now)):
            return too_many(str(ceil(wait)) if self.retry_after else None)
        authorization = headers.get("Authorization", "")
        if operation == "token":
            return self._login.grant(authorization, body, now)
        if operation != "other" and (refusal := self._login.check(authorization, now)) is not None:
            return refusal
        if operation in _WITH_BODY:
            if not headers.get("Content-Type", "").startswith("application/json"):
                return failure(400, "Content-Type must be application/json")
            text = body if self._sealing is None else self._sealing.open(body)
            if text is None:
                return failure(400, "The body cannot be deciphered")
            body = text
        return self._world.apply(operation, argument, body)
