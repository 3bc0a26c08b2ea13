"""When a request is sent again: the pure decision. The loop itself is in ``call.py``.

``backoff`` is used for its sequence and its jitter only: its decorators retry for ever by default, hide the clock and
may wait less than ``Retry-After``.
"""

from itertools import islice

import attrs
import backoff

from enkash_coins.display import shown
from enkash_coins.errors import (
    ApiError,
    EnkashError,
    InvalidRequest,
    MalformedResponse,
    RateLimited,
    ServerError,
    TlsError,
    TransportError,
    Unauthorized,
)

# A success gives back a fifth of a retry. Counted in fifths, because ten times 0.2 is less than 2 in floats.
_FIFTHS = 5
_LAST_DOUBLING = 64


@attrs.frozen
class RetryPolicy:
    """How persistently a call is repeated.

    Attributes:
        attempts: tries in all, the first one included; a new token after a 401 is not counted.
        base: seconds; the first wait is between 0 and this, each further one up to twice as long.
        max_delay: seconds; the longest wait that backoff asks for.
        max_wait: seconds; the longest ``Retry-After`` that is obeyed.
        budget: retries at most for the whole client; each success gives 0.2 back.
    """

    attempts: int = 4
    base: float = 0.5
    max_delay: float = 20.0
    max_wait: float = 60.0
    budget: float = 100

    def __attrs_post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise InvalidRequest(f"RetryPolicy: attempts={shown(self.attempts)} is not an integer of 1 or more")
        for name in ("base", "max_delay", "max_wait", "budget"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < float("inf"):
                raise InvalidRequest(f"RetryPolicy: {name}={shown(value)} is not a number of 0 or more")


class RetryBudget:
    """Keeps an outage from being multiplied: retries at most, shared by a whole client."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: float) -> None:
        self._most = self._left = most * _FIFTHS

    def spend(self) -> bool:
        """Take one retry; ``False`` when none is left."""
        if self._left < _FIFTHS:
            return False
        self._left -= _FIFTHS
        return True

    def refill(self) -> None:
        """Give back a part of a retry, for a success."""
        if self._left < self._most:
            self._left = min(self._most, self._left + 1)


def _worth_repeating(error: EnkashError) -> bool:
    if isinstance(error, TransportError):
        return not isinstance(error, TlsError)
    if isinstance(error, ApiError):
        return isinstance(error, RateLimited | ServerError) or error.status == 408
    return isinstance(error, MalformedResponse)


def backoff_delay(policy: RetryPolicy, failures: int) -> float:
    """Seconds before the next try after so many failures (from 1): exponential, with full jitter."""
    # The generator yields None first; its n-th value is base * 2 ** (n - 1), which for a huge n is no float any more.
    place = min(failures, _LAST_DOUBLING)
    ceiling: float = next(islice(backoff.expo(factor=policy.base, max_value=policy.max_delay), place, None))
    return backoff.full_jitter(ceiling)


def next_delay(
    policy: RetryPolicy,
    error: EnkashError,
    *,
    replayable: bool,
    failures: int,
    uncounted: int = 0,
    another_token: bool = False,
) -> float | None:
    """Seconds to wait before the very same bytes are sent again, or ``None`` to give up.

    Args:
        error: why the latest try failed; for a read, ``maybe_applied`` is ``False``.
        replayable: whether the request may be sent again although it may have been applied.
        failures: failed tries so far, the latest included, that count towards ``policy.attempts``.
        uncounted: failed tries that do not count but lengthen the backoff.
        another_token: whether a new token is at hand, and this call was not sent with one after a 401 before.
    """
    if isinstance(error, Unauthorized):
        return 0.0 if another_token else None
    if not _worth_repeating(error) or failures >= policy.attempts:
        return None
    if error.maybe_applied and not replayable:
        return None
    asked = (isinstance(error, ApiError) and error.retry_after) or 0.0
    if asked > policy.max_wait:
        return None
    return max(asked, backoff_delay(policy, failures + uncounted))
