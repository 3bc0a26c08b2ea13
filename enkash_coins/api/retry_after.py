"""Reading of the ``Retry-After`` header."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

# int() of a longer run of digits would only be a slower way to say "for ever".
_DIGITS = re.compile(r"[0-9]{1,18}")


def _timestamp(http_date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
        # HTTP dates are in GMT, also the old forms that do not say so.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that the server asks to wait, or ``None`` when it says nothing or nonsense.

    Args:
        headers: of the answer, case-insensitive.
        now: seconds since the epoch. An HTTP date is read against the answer's own ``Date`` where there is one, so
            that a skewed clock on either side does not matter.

    Source: RFC 9110, section 10.2.3 (digits or an HTTP date). ``nan``, ``-5`` and ``1e9`` are neither.
    """
    text = headers.get("Retry-After", "").strip()
    if _DIGITS.fullmatch(text):
        return float(text)
    until = _timestamp(text)
    if until is None:
        return None
    server_now = _timestamp(headers.get("Date", ""))
    return max(0.0, until - (now if server_now is None else server_now))
