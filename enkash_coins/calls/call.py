"""One call: send, read the answer, decide whether to send again. The only loop that repeats requests."""

import asyncio
import copy
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

from enkash_coins.api.endpoints import Endpoint
from enkash_coins.calls.retry import RetryBudget, RetryPolicy, next_delay
from enkash_coins.errors import EnkashError, RateLimited, ServiceClosed, TimedOut, Unauthorized
from enkash_coins.home import Home
from enkash_coins.layers.waiting import pause
from enkash_coins.models import Attempt
from enkash_coins.transport import (
    NO_LIMITS,
    Limits,
    Request,
    Response,
    Transport,
    mark,
    was_harmless,
)

T = TypeVar("T")
_log = logging.getLogger("enkash_coins")


@attrs.frozen
class CallOptions:
    """How a call is performed; every view on a client has its own.

    Attributes:
        retry: when it is sent again; the budget is the client's.
        limits: of every attempt, if other than the client's.
        deadline: seconds for the whole call, waiting and retries included; ``None`` for no limit.
        on_attempt: called after every attempt.
    """

    retry: RetryPolicy
    limits: Limits = NO_LIMITS
    deadline: float | None = None
    on_attempt: Callable[[Attempt], None] | None = None


@attrs.define
class Success(Generic[T]):
    """A call that succeeded; ``late_risk``: an earlier attempt of it may still arrive."""

    value: T
    attempts: int
    late_risk: bool


@attrs.define
class _Tries:
    """How far one call has come."""

    began: float  # loop seconds
    ends: float | None  # loop seconds
    replayable: bool
    patient: bool
    failures: int = 0
    uncounted: int = 0
    renewed: bool = False


class Call(Protocol):
    """How a call is performed: ``Caller.call``, or something around it."""

    async def __call__(
        self, endpoint: Endpoint[T], options: CallOptions, /, *, patient: bool = False
    ) -> Success[T] | EnkashError:
        """Perform one call; a failure is returned."""
        ...


class Caller:
    """Performs calls over a transport; one for each client, because budget and closing are the client's."""

    def __init__(self, transport: Transport, budget: float) -> None:
        self._transport = transport
        self._budget = RetryBudget(budget)
        self._home = Home()
        self._closing = asyncio.Event()
        self._latest_success = float("-inf")
        self.warned_of_other_id = False  # once for each client is enough

    async def call(  # noqa: C901  # flat, because a frame more would cost every call
        self, endpoint: Endpoint[T], options: CallOptions, /, *, patient: bool = False
    ) -> Success[T] | EnkashError:
        """Perform one call; a failure is returned, complete with what is known of it.

        A ``CancelledError`` is marked as harmless if no attempt can have taken effect.

        Args:
            patient: a 429 does not use up the attempts, as long as the client has successes every ``max_wait`` seconds.
        """
        if self._home.settle() is not None and not self._closing.is_set():
            self._closing = asyncio.Event()
        clock = asyncio.get_running_loop().time
        request = endpoint.request
        request.limits = options.limits
        tries: _Tries | None = None  # the first try needs none of it
        began = request.sent_at = clock()
        ends = None if options.deadline is None else began + options.deadline
        attempts = 0
        doubt = False
        error: EnkashError | None = None
        response: Response | None = None
        delay: float | None = None
        while not self._closing.is_set():
            attempts += 1
            try:
                response = await (self._transport.send(request) if ends is None else self._in_time(request, ends))
                value = endpoint.read(response)
            except EnkashError as caught:
                # Frames of a traceback hold the answer, and this one the error: a ring of megabytes for the collector.
                # From 3.12 on asyncio.timeout leaves one of its own, which holds this frame.
                error, response = caught.with_traceback(None), None
            except asyncio.CancelledError as cut_off:
                _tell(options, request, attempts, cut_off)
                _tell_cut_off(cut_off, endpoint, harmless=not doubt and was_harmless(cut_off), patient=patient)
                raise
            else:
                self._latest_success = clock()
                self._budget.refill()
                if options.on_attempt is not None or _log.isEnabledFor(logging.DEBUG):
                    _tell(options, request, attempts, response.status)
                return Success(value, attempts, doubt)
            doubt = doubt or (error.maybe_applied and request.method != "GET")
            tries = tries or _Tries(began, ends, replayable=request.replayable, patient=patient)
            delay = self._delay(options.retry, error, tries, clock())
            _tell(options, request, attempts, error, delay)
            if delay is None:
                break
            try:
                await pause(delay, self._closing)
            except asyncio.CancelledError as cut_off:
                _tell_cut_off(cut_off, endpoint, harmless=not doubt, patient=patient)
                raise
            request.sent_at = clock()
        if error is None or (delay is not None and self._closing.is_set()):
            return _complete(ServiceClosed("the service was closed"), endpoint, attempts, maybe_applied=doubt)
        error = _complete(error, endpoint, attempts, maybe_applied=doubt)
        if attempts > 1:
            _log.warning("%s: given up after %d attempts: %s", request.operation, attempts, error.summary)
        return error

    async def _in_time(self, request: Request, ends: float) -> Response:
        """Send as long as the call has time."""
        # A gate that opens after the deadline is not worth waiting for.
        left = max(0.0, ends - asyncio.get_running_loop().time())
        most = request.limits.max_wait
        request.limits = Limits(request.limits.timeout, left if most is None else min(most, left))
        try:
            async with asyncio.timeout_at(ends):
                return await self._transport.send(request)
        except TimeoutError as late:
            if isinstance(late, EnkashError):
                raise
            harmless = was_harmless(late.__cause__)
            raise TimedOut("no answer before the call's deadline", maybe_applied=not harmless) from None

    def _delay(self, policy: RetryPolicy, error: EnkashError, tries: _Tries, now: float) -> float | None:
        """Seconds until the next try, or ``None``; counts the failed one."""
        limited = isinstance(error, RateLimited)
        if tries.patient and limited:
            tries.uncounted += 1
            if now - max(self._latest_success, tries.began) >= policy.max_wait:
                return None
        else:
            tries.failures += 1
        delay = next_delay(
            policy,
            error,
            replayable=tries.replayable,
            failures=tries.failures,
            uncounted=tries.uncounted,
            renewed=tries.renewed,
        )
        if delay is None or (tries.ends is not None and now + delay >= tries.ends):
            return None  # a try that could only begin after the deadline is not waited for
        if isinstance(error, Unauthorized):
            tries.renewed = True
            tries.failures -= 1
            return delay
        # A 429 does not multiply an outage, so it does not spend the budget.
        return delay if limited or self._budget.spend() else None

    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closing.is_set()

    def close(self) -> None:
        """Let no further attempt begin, and end the waits before one."""
        self._closing.set()


def _complete(error: EnkashError, endpoint: Endpoint[T], attempts: int, *, maybe_applied: bool) -> EnkashError:
    """A copy with the facts of this call: without traceback and context, whose frames may hold secrets."""
    error = copy.copy(error)
    error.operation, error.about = endpoint.request.operation, endpoint.about
    error.attempts = attempts
    error.maybe_applied = maybe_applied
    error.request_id = endpoint.request_id
    return error


def _tell(
    options: CallOptions,
    request: Request,
    number: int,
    result: int | EnkashError | asyncio.CancelledError,
    delay: float | None = None,
) -> None:
    """Tell the log and the hook of an attempt that has ended, with a status or with an error."""
    operation, seconds, status = request.operation, 0.0, None
    error = None if isinstance(result, int) else type(result).__name__
    if request.sent_at is not None:  # else what the error says is of its login, or of the gate
        seconds = asyncio.get_running_loop().time() - request.sent_at
        status = result if isinstance(result, int) else getattr(result, "status", None) or None
    if _log.isEnabledFor(logging.DEBUG):
        then = "" if delay is None else f", again in {delay:.3f} s"
        _log.debug("%s attempt %d: %s in %.1f ms%s", operation, number, status or error, seconds * 1000, then)
    if options.on_attempt is not None:
        try:
            options.on_attempt(Attempt(operation, number, status, error, seconds, will_retry=delay is not None))
        except Exception:  # noqa: BLE001  # the hook is the caller's own, and changes nothing
            _log.exception("on_attempt raised")


def _tell_cut_off(cut_off: asyncio.CancelledError, endpoint: Endpoint[T], *, harmless: bool, patient: bool) -> None:
    """Say what no exception of ours will: whoever cancels a call does not get to see one."""
    mark(cut_off, harmless=harmless)
    if harmless:
        return
    # Of a stream's updates, the stream itself tells the number; an allocation's id is not known to anybody else.
    if endpoint.request_id is not None:
        _log.warning("allocate cut off: it may have been applied; its request id is %s", endpoint.request_id)
    elif endpoint.request.method != "GET" and not patient:
        _log.warning("%s cut off: it may have been applied", endpoint.request.operation)
