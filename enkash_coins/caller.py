"""One call: send, read the answer, decide whether to send again. The only loop that repeats requests."""

import asyncio
import copy
import logging
from contextlib import suppress
from typing import Generic, TypeVar

import attrs

from enkash_coins.endpoints import Endpoint
from enkash_coins.errors import ApiError, EnkashError, RateLimited, ServiceClosed, Unauthorized
from enkash_coins.home import Home
from enkash_coins.retry import RetryBudget, RetryPolicy, next_delay
from enkash_coins.transport import Transport

T = TypeVar("T")
_log = logging.getLogger("enkash_coins")


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
    replayable: bool
    patient: bool
    failures: int = 0
    uncounted: int = 0
    renewed: bool = False


class Caller:
    """Performs calls over a transport; one for each client, because budget and closing are the client's."""

    def __init__(self, transport: Transport, policy: RetryPolicy) -> None:
        self._transport = transport
        self._policy = policy
        self._budget = RetryBudget(policy.budget)
        self._home = Home()
        self._closing = asyncio.Event()
        self._latest_success = float("-inf")

    async def call(self, endpoint: Endpoint[T], *, patient: bool = False) -> Success[T] | EnkashError:
        """Perform one call; a failure is returned, complete with what is known of it.

        Args:
            patient: a 429 does not use up the attempts, as long as the client has successes every ``max_wait`` seconds.
        """
        if self._home.settle() is not None and not self._closing.is_set():
            self._closing = asyncio.Event()
        clock = asyncio.get_running_loop().time
        request = endpoint.request
        tries: _Tries | None = None  # the first try needs none of it
        began = started = clock()
        attempts = 0
        doubt = False
        error: EnkashError | None = None
        delay: float | None = None
        while not self._closing.is_set():
            attempts += 1
            try:
                response = await self._transport.send(request)
                value = endpoint.read(response)
            except EnkashError as caught:
                error = caught
            else:
                self._latest_success = now = clock()
                self._budget.refill()
                if _log.isEnabledFor(logging.DEBUG):
                    _log_attempt(request.operation, attempts, str(response.status), now - started, None)
                return Success(value, attempts, doubt)
            doubt = doubt or (error.maybe_applied and request.method != "GET")
            tries = tries or _Tries(began, replayable=request.replayable, patient=patient)
            delay = self._delay(error, tries, clock())
            if _log.isEnabledFor(logging.DEBUG):
                _log_attempt(request.operation, attempts, _kind(error), clock() - started, delay)
            if delay is None:
                break
            await self._pause(delay)
            started = clock()
        if error is None or (delay is not None and self._closing.is_set()):
            error = ServiceClosed("the service was closed")
        elif attempts > 1:
            _log.warning("%s: given up after %d attempts: %s", request.operation, attempts, error)
        return _complete(error, endpoint, attempts, maybe_applied=doubt)

    def _delay(self, error: EnkashError, tries: _Tries, now: float) -> float | None:
        """Seconds until the next try, or ``None``; counts the failed one."""
        limited = isinstance(error, RateLimited)
        if tries.patient and limited:
            tries.uncounted += 1
            if now - max(self._latest_success, tries.began) >= self._policy.max_wait:
                return None
        else:
            tries.failures += 1
        delay = next_delay(
            self._policy,
            error,
            replayable=tries.replayable,
            failures=tries.failures,
            uncounted=tries.uncounted,
            renewed=tries.renewed,
        )
        if delay is not None and isinstance(error, Unauthorized):
            tries.renewed = True
            tries.failures -= 1
            return delay
        # A 429 does not multiply an outage, so it does not spend the budget.
        return delay if delay is None or limited or self._budget.spend() else None

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)  # others run all the same
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closing.is_set()

    def close(self) -> None:
        """Let no further attempt begin, and end the waits before one."""
        self._closing.set()


def _complete(error: EnkashError, endpoint: Endpoint[T], attempts: int, *, maybe_applied: bool) -> EnkashError:
    """A copy with the facts of this call: without traceback and context, whose frames may hold secrets."""
    error = copy.copy(error)
    error.operation = endpoint.request.operation
    error.attempts = attempts
    error.maybe_applied = maybe_applied
    error.request_id = endpoint.request_id
    return error


def _kind(error: EnkashError) -> str:
    return str(error.status) if isinstance(error, ApiError) else type(error).__name__


def _log_attempt(operation: str, attempt: int, result: str, seconds: float, delay: float | None) -> None:
    then = "" if delay is None else f", again in {delay:.3f} s"
    _log.debug("%s attempt %d: %s in %.1f ms%s", operation, attempt, result, seconds * 1000, then)
