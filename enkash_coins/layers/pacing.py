"""No more in flight, and no faster, than the host is to bear; a 429 closes the gate of the whole client."""

import asyncio
import time
from collections import deque

import attrs

from enkash_coins.api.retry_after import retry_after
from enkash_coins.errors import EnkashError, RateLimited, ServiceClosed
from enkash_coins.home import Home
from enkash_coins.layers.waiting import Turns, pause, wait_turn, wake_one
from enkash_coins.transport import Request, Response, Transport, mark

_SAYS_WHEN = frozenset({425, 429, 503})


@attrs.define(kw_only=True)
class Stamped(Request):
    """A request that carries a token.

    Attributes:
        original: the request without it.
        expires_at: when the token ends, on the loop's clock; ``None`` for never.
        again: it has waited for a slot before, in vain, and now goes first.
    """

    original: Request
    expires_at: float | None = None
    again: bool = False


class Stale(EnkashError):
    """The token of a request ended while it waited; nothing was sent."""


@attrs.define(eq=False)
class _Flow:
    """What belongs to one event loop."""

    slots: int
    closing: asyncio.Event = attrs.field(factory=asyncio.Event)
    waiting: Turns = attrs.field(factory=deque)
    gate_opens: float = 0.0  # loop seconds; 0 as long as no answer has shut the gate
    next_send: float = 0.0  # loop seconds

    def leave(self) -> None:
        """Give a slot to the next waiter, or back."""
        if not wake_one(self.waiting):
            self.slots += 1


class Pacing:
    """Slots, a send rate and the gate.

    Slots answer latency and a rate answers 429: limiting what is in flight cannot hold a rate (50 requests per second
    of 2 ms are 0.1 in flight).

    Args:
        slots: requests in flight at most.
        rate: requests per second at most, evenly spaced; ``None`` for no limit.
        max_wait: seconds; a gate that stays closed longer refuses at once.
    """

    def __init__(self, inner: Transport, *, slots: int, rate: float | None, max_wait: float) -> None:
        self._inner = inner
        self._slots = slots
        self._interval = 1 / rate if rate else 0.0
        self._max_wait = max_wait
        self._home = Home()
        self._flow = _Flow(slots)
        self._closed = False

    async def send(self, request: Request, /) -> Response:
        """Send once there is a slot, the gate is open and the rate allows it."""
        if self._home.settle():
            self._flow = _Flow(self._slots)
        flow = self._flow
        if flow.slots and not flow.gate_opens and not self._interval and not self._closed:
            flow.slots -= 1  # the usual case, without a coroutine of its own
        else:
            try:
                await self._enter(flow, request)
            except asyncio.CancelledError as cut_off:
                mark(cut_off)
                raise
        if isinstance(request, Stamped):
            request.original.sent_at = asyncio.get_running_loop().time()
        try:
            response = await self._inner.send(request)
        finally:
            if flow.waiting:
                flow.leave()
            else:
                flow.slots += 1
        if response.status in _SAYS_WHEN:
            wait = retry_after(response.headers, now=time.time())
            if wait:
                flow.gate_opens = max(flow.gate_opens, asyncio.get_running_loop().time() + wait)
        return response

    async def _enter(self, flow: _Flow, request: Request) -> None:  # noqa: C901  # each check follows a wait
        """Return with a slot taken, the gate open, the rate kept and the token alive."""
        now = asyncio.get_running_loop().time
        operation = request.operation
        max_wait = self._max_wait if request.limits.max_wait is None else request.limits.max_wait
        while True:
            if self._closed:
                raise ServiceClosed("the service was closed", operation=operation)
            shut = flow.gate_opens - now()
            if shut > max_wait:
                raise RateLimited(
                    f"{operation}: the server asked for a pause that lasts {shut:.0f} s more, and this call waits for"
                    f" {max_wait:.0f} s at most; nothing was sent",
                    status=429,
                    retry_after=shut,
                    operation=operation,
                )
            if shut > 0:
                await pause(shut, flow.closing)
                continue
            if not flow.slots:
                # Calls wait for the token: neither its request nor a call with a new one goes to the end of the queue.
                first = operation == "token" or (isinstance(request, Stamped) and request.again)
                await wait_turn(flow.waiting, flow.leave, first=first)
            else:
                flow.slots -= 1
            # From here on this task holds a slot.
            try:
                if self._interval and flow.gate_opens <= now():
                    start = max(now(), flow.next_send)
                    flow.next_send = start + self._interval
                    if start > now():
                        await pause(start - now(), flow.closing)
            except BaseException:
                flow.leave()
                raise
            stale = isinstance(request, Stamped) and request.expires_at is not None and request.expires_at <= now()
            if flow.gate_opens <= now() and not self._closed and not stale:
                return
            flow.leave()  # the gate shut meanwhile, say: who waits at it holds no slot
            if stale and not self._closed:
                raise Stale("the token ended while the request waited", operation=operation)

    async def aclose(self) -> None:
        """Turn away who waits, and close the inner transport."""
        self._closed = True
        self._flow.closing.set()
        while self._flow.waiting:
            self._flow.leave()  # each finds the service closed
        await self._inner.aclose()
