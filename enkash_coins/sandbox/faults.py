"""What goes wrong on demand, and which requests it hits. Pure: the dice are an argument."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from math import inf
from random import Random
from typing import Any

from attrs import Factory, field, frozen
from attrs.validators import ge, le, lt, optional

from enkash_coins.sandbox.answers import Answer, failure, oauth_error, page, too_many
from enkash_coins.sandbox.routes import OPERATIONS


class FaultKind(StrEnum):
    """The ways in which a request goes wrong; whether it takes effect is part of each."""

    LATENCY = "latency"  #: takes effect at once; the answer comes `seconds` later
    RATE_LIMITED = "rate_limited"  #: no effect; 429, as an HTML page if there is no `retry_after`
    SERVER_ERROR = "server_error"  #: no effect; the envelope with `status`
    OPERATION_FAILED = "operation_failed"  #: no effect; HTTP 200 with response_code 1
    HTML = "html"  #: no effect; an HTML page with `status`
    MALFORMED = "malformed"  #: takes effect; 200 and a body of the announced length that is not JSON
    CUT = "cut"  #: takes effect; half of the body, then the connection is closed
    DISCONNECT_BEFORE_APPLY = "disconnect_before_apply"  #: no effect; the connection is closed
    DISCONNECT_AFTER_APPLY = "disconnect_after_apply"  #: takes effect; the connection is closed
    APPLIED_LATE = "applied_late"  #: the connection is closed at once; takes effect `seconds` later
    DRIP = "drip"  #: takes effect; the whole answer, head and body, comes one byte every `seconds`
    HANG = "hang"  #: no effect; never answered, and the connection stays open
    UNAUTHORIZED = "unauthorized"  #: no effect; 401, though the token is good
    CLOSE = "close"  #: takes effect; a whole answer, then the connection is closed, which no header has announced
    LARGE_HEADER = "large_header"  #: takes effect; the answer has a header of `size` bytes
    NEW_COOKIE = "new_cookie"  #: takes effect; the answer sets a cookie of a new name, of `size` bytes


_ENDLESS = 10**12  # requests
# The settings that mean something to a kind, with their defaults.
_SETTINGS: dict[str, dict[str, Any]] = {
    "latency": {"seconds": 0.05},
    "applied_late": {"seconds": 0.05},
    "drip": {"seconds": 0.01},
    "rate_limited": {"retry_after": None},
    "server_error": {"status": 503, "retry_after": None},
    "html": {"status": 502},
    "large_header": {"size": 9000},
    "new_cookie": {"size": 100},
}
_STATUSES: dict[str, Collection[int]] = {
    "server_error": range(400, 600),
    "html": {*range(200, 600)} - {204, 205, 304},  # these three have no body
}
_READ: dict[str, Callable[[str], Any]] = {"seconds": float, "status": int, "size": int, "retry_after": str}


def _kind(value: str) -> FaultKind:
    if value not in set(FaultKind):
        raise ValueError(f"kind must be one of {', '.join(FaultKind)}; not {value!r}")
    return FaultKind(value)


def _numbers(value: int | Collection[int] | None) -> Collection[int] | None:
    # A range stays one: it may be as good as endless.
    return value if value is None or isinstance(value, Collection) else (value,)


def _setting(name: str) -> Any:  # noqa: ANN401  # any field's, as in attrs' own functions
    default = Factory(lambda fault: _SETTINGS.get(fault.kind, {}).get(name, 0), takes_self=True)
    return field(default=default, validator=[ge(0), lt(inf)])


@frozen(kw_only=True)
class Fault:
    """One thing that goes wrong, and for which requests: the nth ones, each with a probability, or all of them.

    Args:
        kind: what goes wrong: a ``FaultKind`` or its value.
        on: the operation that it hits, "other" for unknown paths, or "*" for everything.
        nth: the numbers of the requests that it hits, one or a collection, as ``Sandbox.calls`` counts them: from 1,
            each operation by itself; for "*" all together.
        probability: of each request to be hit, from 0 to 1.
        seconds: how late (latency: 0.05, applied_late: 0.05) or between two bytes (drip: 0.01).
        status: of server_error (400 to 599; 503) and html (200 to 599; 502).
        retry_after: the header of rate_limited and server_error: seconds, or a text that is sent as it is.
        size: bytes of large_header (9000) and new_cookie (100).
    """

    kind: FaultKind = field(converter=_kind, kw_only=False)
    on: str = "*"
    nth: Collection[int] | None = field(default=None, converter=_numbers)
    probability: float | None = field(default=None, validator=optional([ge(0.0), le(1.0)]))
    seconds: float = _setting("seconds")
    status: int = _setting("status")
    size: int = _setting("size")
    retry_after: float | str | None = None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """The fault that a text means, such as ``update:3=disconnect_after_apply``.

        ``[OPERATION][:WHEN]=KIND[,SETTING=VALUE …]``. WHEN is a number (``3``), several (``3,7``), a span (``3-9``,
        ``3-``) or a share (``10%``); without it every request is hit, and without an operation those of all.

        Raises:
            ValueError: the text, and what is wrong with it.
        """
        where, _, what = text.partition("=")
        on, _, when = where.partition(":")
        kind, *settings = what.split(",")
        try:
            read = {name: _READ[name](value) for name, _, value in (setting.partition("=") for setting in settings)}
            return cls(_kind(kind), on=on or "*", **_hits(when), **read)
        except KeyError as unknown:
            problem = f"{unknown} is none of {', '.join(_READ)}"
        except ValueError as error:
            problem = str(error)
        raise ValueError(f"{text!r} is no fault such as update:3=disconnect_after_apply: {problem}")

    def __attrs_post_init__(self) -> None:
        if self.on not in ("*", *OPERATIONS):
            raise ValueError(f"on must be '*' or one of {', '.join(OPERATIONS)}; not {self.on!r}")
        if self.nth is not None and self.probability is not None:
            raise ValueError("nth and probability exclude each other")
        if self.nth is not None and not _positive(self.nth):
            raise ValueError("nth must be whole numbers, from 1")
        for name in _READ:
            if getattr(self, name) not in (0, None) and name not in _SETTINGS.get(self.kind, {}):
                raise ValueError(f"{name} means nothing to {self.kind}")
        if self.kind in _STATUSES and self.status not in _STATUSES[self.kind]:
            raise ValueError(f"{self.kind} cannot have the status {self.status}")
        if not str(self.retry_after).isprintable():
            raise ValueError("retry_after must be one line of text")

    def answer(self) -> Answer | None:
        """What is said in the API's place; None if the kind leaves the word to the API."""
        retry_after = None if self.retry_after is None else str(self.retry_after)
        match self.kind:
            case FaultKind.RATE_LIMITED:
                return too_many(retry_after)
            case FaultKind.SERVER_ERROR:
                return failure(self.status, "Failed, as the sandbox was told to", retry_after=retry_after)
            case FaultKind.OPERATION_FAILED:
                return failure(200, "Refused, as the sandbox was told to")
            case FaultKind.HTML:
                return page(self.status)
            case FaultKind.UNAUTHORIZED:
                return oauth_error(401, "invalid_token", "Refused, as the sandbox was told to")
            case _:
                return None

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the answer's head has besides."""
        match self.kind:
            case FaultKind.LARGE_HEADER:
                return (("Content-Security-Policy", "x" * self.size),)
            case FaultKind.NEW_COOKIE:
                return (("Set-Cookie", f"c{secrets.token_hex(4)}={'x' * self.size}; Path=/"),)
            case _:
                return ()


def choose(faults: Iterable[Fault], operation: str, calls: Counter[str], dice: Random) -> Fault | None:
    """The first of the faults that hits this request, which ``calls`` has counted already."""
    for fault in faults:
        if fault.on not in ("*", operation):
            continue
        if fault.nth is not None:
            hit = (calls.total() if fault.on == "*" else calls[operation]) in fault.nth
        else:
            hit = fault.probability is None or dice.random() < fault.probability
        if hit:
            return fault
    return None


def _hits(when: str) -> dict[str, Any]:
    if when.endswith("%"):
        return {"probability": float(when[:-1]) / 100}
    first, dash, last = when.partition("-")
    if dash:
        return {"nth": range(int(first), int(last) + 1 if last else _ENDLESS)}
    return {"nth": [int(number) for number in when.split(",")]} if when else {}


def _positive(numbers: Collection[int]) -> bool:
    ends = (numbers[0], numbers[-1]) if isinstance(numbers, range) and numbers else numbers
    return bool(numbers) and all(type(number) is int and number > 0 for number in ends)
