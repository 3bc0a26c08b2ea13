"""One call: send, read the answer, decide whether to send again. The only loop that repeats requests."""

import asyncio
import copy
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

from enkash_coins.api.endpoints import Endpoint
from enkash_coins.api.redaction import blacked_out
from enkash_coins.calls.retry import RetryBudget, RetryPolicy, next_delay
from enkash_coins.errors import EnkashError, RateLimited, ServiceClosed, TimedOut, Unauthorized
from enkash_coins.layers.waiting import pause
from enkash_coins.models import Attempt
from enkash_coins.per_loop import PerLoop
from enkash_coins.time_limit import TimeLimit
from enkash_coins.transport import Request, Response, Transport, mark, was_harmless

T = TypeVar("T")
_log = logging.getLogger("enkash_coins")


@attrs.frozen
class CallOptions:
    """How a call is performed; every view on a client has its own.

    Attributes:
        retry: when it is sent again; the budget is the client's.
        timeout: seconds for one attempt.
        deadline: seconds for the whole call, waiting and retries included; ``None`` for no limit.
        on_attempt: called after every attempt.
    """

    retry: RetryPolicy = RetryPolicy()
    timeout: float = 30.0
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
        self.transport = transport
        self.closed = False
        self.warned_of_other_id = False  # once for each client is enough
        self._budget = RetryBudget(budget)
        self._closing = PerLoop[asyncio.Event](lambda _: asyncio.Event())
        self._latest_success = float("-inf")

    async def call(  # noqa: C901  # flat, because a frame more would cost every call
        self, endpoint: Endpoint[T], options: CallOptions, /, *, patient: bool = False
    ) -> Success[T] | EnkashError:
        """Perform one call; a failure is returned, complete with what is known of it.

        A ``CancelledError`` is marked as harmless if no attempt can have taken effect.

        Args:
            patient: a 429 does not use up the attempts, as long as the client has successes every ``max_wait`` seconds.
        """
        closing = self._closing.get()
        clock = asyncio.get_running_loop().time
        request = endpoint.request
        body = request.body
        began = request.sent_at = clock()
        ends = None if options.deadline is None else began + options.deadline
        tries: _Tries | None = None  # the first try needs none of it
        attempts = 0
        doubt = False
        error: EnkashError | None = None
        response: Response | None = None
        delay: float | None = None
        while not self.closed:
            attempts += 1
            request.timeout, request.max_wait = options.timeout, options.retry.max_wait
            try:
                response = await (self.transport.send(request) if ends is None else self._in_time(request, ends))
                value = endpoint.read(response)
            except EnkashError as caught:
                # Frames of a traceback hold the answer, and this one the error: a ring of megabytes for the collector.
                error = caught.with_traceback(None)
                if response is not None:
                    error, response = _unquoting(error, endpoint, request, response), None
            except asyncio.CancelledError as cancelled:
                _report(options, request, attempts, cancelled)
                _log_cut_off(cancelled, endpoint, harmless=not doubt and was_harmless(cancelled), patient=patient)
                raise
            else:
                self._latest_success = clock()
                self._budget.refill()
                if options.on_attempt is not None or _log.isEnabledFor(logging.DEBUG):
                    _report(options, request, attempts, response.status)
                return Success(value, attempts, doubt)
            doubt = doubt or (error.maybe_applied and request.method != "GET")
            tries = tries or _Tries(began, ends, patient=patient)
            delay = self._delay(options.retry, request, error, tries, clock())
            _report(options, request, attempts, error, delay)
            if delay is None:
                break
            try:
                await pause(delay, closing)
            except asyncio.CancelledError as cancelled:
                _log_cut_off(cancelled, endpoint, harmless=not doubt, patient=patient)
                raise
            # A copy, because what a transport has seen does not change; headers that a layer has added stay.
            request = attrs.evolve(request, body=body, sent_at=clock(), token_renewed=False)
        if error is None or (delay is not None and self.closed):
            return _complete(ServiceClosed("the service was closed"), endpoint, attempts, maybe_applied=doubt)
        error = _complete(error, endpoint, attempts, maybe_applied=doubt)
        if attempts > 1:
            _log.warning("%s: given up after %d attempts: %s", request.operation, attempts, error.summary)
        return error

    async def _in_time(self, request: Request, ends: float) -> Response:
        """Send as long as the call has time."""
        left = max(0.0, ends - asyncio.get_running_loop().time())
        # A gate that opens after the deadline is not worth waiting for.
        request.max_wait = left if request.max_wait is None else min(request.max_wait, left)
        limit = TimeLimit(left)
        limit.start()
        try:
            response = await self.transport.send(request)
        except asyncio.CancelledError as cancelled:
            if not limit.stop():
                raise
            late = TimedOut("no answer before the call's deadline", maybe_applied=not was_harmless(cancelled))
        except BaseException:
            limit.stop()
            raise
        else:
            limit.stop()
            return response
        raise late

    def _delay(
        self, policy: RetryPolicy, request: Request, error: EnkashError, tries: _Tries, now: float
    ) -> float | None:
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
            replayable=request.replayable,
            failures=tries.failures,
            uncounted=tries.uncounted,
            another_token=request.token_renewed and not tries.renewed,
        )
        if delay is None or (tries.ends is not None and now + delay >= tries.ends):
            return None  # a try that could only begin after the deadline is not waited for
        if isinstance(error, Unauthorized):
            tries.renewed = True
            tries.failures -= 1
            return delay
        # A 429 does not multiply an outage, so it does not spend the budget.
        return delay if limited or self._budget.spend() else None

    def close(self) -> None:
        """Let no further attempt begin, and end the waits before one."""
        self.closed = True
        closing = self._closing.latest
        if closing is not None and not self._closing.has_ended():
            closing.set()


def _unquoting(error: EnkashError, endpoint: Endpoint[T], request: Request, response: Response) -> EnkashError:
    """The same error, read again from the answer without the secrets that it quotes."""
    token = request.headers.get("Authorization", "").rpartition(" ")[2]
    try:
        endpoint.read(blacked_out(response, (token, *response.secrets())))
    except EnkashError as clean:
        return clean.with_traceback(None)
    return error


def _complete(error: EnkashError, endpoint: Endpoint[T], attempts: int, *, maybe_applied: bool) -> EnkashError:
    """A copy with the facts of this call: without traceback and context, whose frames may hold secrets."""
    error = copy.copy(error)
    error.operation, error.about = endpoint.request.operation, endpoint.about
    error.attempts = attempts
    error.maybe_applied = maybe_applied
    error.request_id = endpoint.request_id
    return error


def _report(
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


def _log_cut_off(cancelled: asyncio.CancelledError, endpoint: Endpoint[T], *, harmless: bool, patient: bool) -> None:
    """Log what no exception of ours will say: whoever cancels a call does not get to see one."""
    mark(cancelled, harmless=harmless)
    if harmless:
        return
    # Of a stream's updates, the stream itself tells the number; an allocation's id is not known to anybody else.
    if endpoint.request_id is not None:
        _log.warning("allocate cut off: it may have been applied; its request id is %s", endpoint.request_id)
    elif endpoint.request.method != "GET" and not patient:
        _log.warning("%s cut off: it may have been applied", endpoint.request.operation)
