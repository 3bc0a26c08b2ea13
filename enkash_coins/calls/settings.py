"""The settings of calls, checked: each problem is one sentence that names the setting."""

from collections.abc import Callable

from enkash_coins.calls.retry import RetryPolicy
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import Attempt

_DEFAULT_WIDTH = 32
_ENDLESS = 1e9


def checked_timeout(timeout: object) -> float:
    """Seconds for one attempt."""
    return _positive("timeout", timeout, "seconds")


def checked_deadline(deadline: object) -> float | None:
    """Seconds for a whole call, or ``None`` for no limit."""
    return None if deadline is None else _positive("deadline", deadline, "seconds")


def checked_rate(rate: object) -> float | None:
    """Requests per second, or ``None`` for no limit."""
    return None if rate is None else _positive("rate", rate, "requests per second")


def _positive(name: str, value: object, unit: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _ENDLESS:
        return float(value)
    raise InvalidRequest(f"{name}: {shown(value)} is not a positive number of {unit}")


def checked_concurrency(concurrency: object) -> int:
    """How many at once: a positive integer, or ``"auto"``."""
    if concurrency == "auto":
        return _DEFAULT_WIDTH
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not concurrency > 0:
        raise InvalidRequest(f'concurrency: {shown(concurrency)} is neither a positive integer nor "auto"')
    return concurrency


def checked_retry(retry: object) -> RetryPolicy:
    """A retry policy."""
    if isinstance(retry, RetryPolicy):
        return retry
    raise InvalidRequest(f"retry: {shown(retry)} is not a RetryPolicy")


def checked_hook(on_attempt: Callable[[Attempt], None] | None) -> Callable[[Attempt], None] | None:
    """What is told of every attempt, or ``None``."""
    if on_attempt is None or callable(on_attempt):
        return on_attempt
    raise InvalidRequest(f"on_attempt: {shown(on_attempt)} cannot be called")
