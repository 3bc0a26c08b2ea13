"""No more in flight, and no faster, than the host is to bear; a 429 closes the gate of the whole client."""

import asyncio
import time
from collections import deque

import attrs

from enkash_coins.api.retry_after import retry_after
from enkash_coins.errors import Disconnected, EnkashError, RateLimited, ServiceClosed, TimedOut
from enkash_coins.layers.waiting import Waiters, pause, wait_turn, wake_one
from enkash_coins.per_loop import PerLoop
from enkash_coins.time_limit import TimeLimit
from enkash_coins.transport import Request, Response, Transport, WrongLoop, mark

_SAYS_WHEN = frozenset({425, 429, 503})
# After its timeout a transport has so many seconds to say so itself.
_GRACE = 5.0
# A wrong loop, and a failed assertion of a test, are mistakes of whoever calls; nothing happened on the way.
_OURS = (EnkashError, WrongLoop, AssertionError)


class TokenEnded(EnkashError):
    """The token of a request ended while it waited; nothing was sent."""


@attrs.define(eq=False)
class _Flow:
    """What belongs to one event loop."""

    slots: int
    limit: TimeLimit
    closing: asyncio.Event = attrs.field(factory=asyncio.Event)
    waiting: Waiters = attrs.field(factory=deque)
    gate_opens: float = 0.0  # loop seconds; 0 as long as no answer has shut the gate
    next_send: float = 0.0  # loop seconds

    def leave(self) -> None:
        """Give a slot to the next waiter, or back."""
        if not wake_one(self.waiting):
            self.slots += 1


class Pacing:
    """Slots, a send rate and the gate, around any transport; and what a transport forgets.

    Slots answer latency and a rate answers 429: limiting what is in flight cannot hold a rate (50 requests per second
    of 2 ms are 0.1 in flight).

    Args:
        slots: requests in flight at most.
        rate: requests per second at most, evenly spaced; ``None`` for no limit.
        max_wait: seconds; a gate that stays closed longer refuses at once.
        timeout: seconds for a token request, which knows nothing of the client.
    """

    def __init__(self, inner: Transport, *, slots: int, rate: float | None, max_wait: float, timeout: float) -> None:
        self.base_url = getattr(inner, "base_url", "")
        self._inner = inner
        self._slots = slots
        self._interval = 1 / rate if rate else 0.0
        self._max_wait = max_wait
        self._timeout = timeout
        self._flow = PerLoop(lambda _: _Flow(slots, TimeLimit(timeout + _GRACE)))
        self._closed = False

    @property
    def in_flight(self) -> int:
        """How many requests are out now."""
        flow = self._flow.latest
        return self._slots - flow.slots if flow else 0

    async def send(self, request: Request, /) -> Response:
        """Send once there is a slot, the gate is open and the rate allows it."""
        flow = self._flow.get()
        if request.operation == "token":
            request.timeout = self._timeout
        if flow.slots and not flow.gate_opens and not self._interval and not self._closed:
            flow.slots -= 1  # the usual case, without a coroutine of its own
        else:
            try:
                await self._enter(flow, request)
            except asyncio.CancelledError as cancelled:
                mark(cancelled)
                raise
        try:
            response = await self._send(flow, request)
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

    async def _send(self, flow: _Flow, request: Request) -> Response:
        """Send now; whatever the transport does, this ends in time, and with an error of ours."""
        limit = flow.limit
        if limit.seconds != request.timeout + _GRACE:
            limit = flow.limit = TimeLimit(request.timeout + _GRACE)
        request.sent_at = limit.start()
        try:
            response = await self._inner.send(request)
        except asyncio.CancelledError:
            if not limit.stop():
                raise
            error: EnkashError = TimedOut(f"no answer within {limit.seconds:g} s, and the transport does not say why")
        except _OURS:
            limit.stop()
            raise
        except Exception as unknown:  # noqa: BLE001  # somebody else's transport
            limit.stop()
            error = Disconnected(f"the transport failed with {type(unknown).__name__}")
        else:
            limit.stop()
            return response
        raise error  # outside the handlers: what a transport raises may hold the token, and may not be in __context__

    async def _enter(self, flow: _Flow, request: Request) -> None:  # noqa: C901  # each check follows a wait
        """Return with a slot taken, the gate open, the rate kept and the token alive."""
        now = asyncio.get_running_loop().time
        operation = request.operation
        max_wait = self._max_wait if request.max_wait is None else request.max_wait
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
                await wait_turn(flow.waiting, flow.leave, first=operation == "token" or request.goes_first)
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
            ended = request.expires_at is not None and request.expires_at <= now()
            if flow.gate_opens <= now() and not self._closed and not ended:
                return
            flow.leave()  # the gate shut meanwhile, say: who waits at it holds no slot
            if ended and not self._closed:
                raise TokenEnded("the token ended while the request waited", operation=operation)

    async def aclose(self) -> None:
        """Turn away who waits, and close the inner transport."""
        self._closed = True
        flow = self._flow.latest
        if flow is not None and not self._flow.has_ended():
            flow.closing.set()
            while flow.waiting:
                flow.leave()  # each finds the service closed
        await self._inner.aclose()
