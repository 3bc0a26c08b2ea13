"""A guard against the slipped digit: by how much one row may change an amount."""

import re
from collections.abc import Callable
from fractions import Fraction

from enkash_coins.bulk.comparison import Values
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest

Refusal = Callable[[Values, Values | None], str | None]

_LIMIT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,6})?)(%?)")


def refusal(limit: str | None) -> Refusal:
    """Tells why a change that wants these values over those is refused, or ``None``.

    Args:
        limit: such as ``"20%"`` (from 0 any change is more), or ``"50"`` coins; ``None`` for none.

    Raises:
        InvalidRequest: it is neither.
    """
    if limit is None:
        return lambda wanted, found: None  # noqa: ARG005  # nothing is refused
    match = _LIMIT.fullmatch(limit)
    if match is None:
        raise InvalidRequest(f"max_change: {shown(limit)} is neither a share such as 20% nor an amount such as 50")
    most, share = Fraction(match[1]), bool(match[2])

    def refused(wanted: Values, found: Values | None) -> str | None:
        new, old = wanted.get("amount"), (found or {}).get("amount")
        if not isinstance(new, int) or not isinstance(old, int):
            return None
        if abs(new - old) <= (most * abs(old) / 100 if share else most):
            return None
        return f"would change the amount by more than {limit}"

    return refused
