"""What goes wrong on demand, and which requests it hits. Pure: the dice are an argument."""

import math
from collections import Counter
from collections.abc import Collection, Iterable
from enum import StrEnum
from random import Random

from attrs import Factory, field, frozen

from enkash_coins.sandbox.answers import Answer, failure, page
from enkash_coins.sandbox.routes import OPERATIONS


class FaultKind(StrEnum):
    """The ways in which a request goes wrong; whether it takes effect is part of each."""

    LATENCY = "latency"  # takes effect at once; the answer comes `seconds` later
    RATE_LIMITED = "rate_limited"  # no effect; 429, as an HTML page if there is no `retry_after`
    SERVER_ERROR = "server_error"  # no effect; the envelope with `status`
    OPERATION_FAILED = "operation_failed"  # no effect; HTTP 200 with response_code 1
    HTML = "html"  # no effect; an HTML page with `status`
    MALFORMED = "malformed"  # takes effect; 200 and a body of the announced length that is not JSON
    CUT = "cut"  # takes effect; half of the body, then the connection is closed
    DISCONNECT_BEFORE_APPLY = "disconnect_before_apply"  # no effect; the connection is closed
    DISCONNECT_AFTER_APPLY = "disconnect_after_apply"  # takes effect; the connection is closed
    APPLIED_LATE = "applied_late"  # the connection is closed at once; takes effect `seconds` later
    DRIP = "drip"  # takes effect; the whole answer, head and body, comes one byte every `seconds`
    HANG = "hang"  # no effect; never answered, and the connection stays open


_SECONDS = {FaultKind.LATENCY: 0.05, FaultKind.APPLIED_LATE: 0.05, FaultKind.DRIP: 0.01}
_STATUS = {FaultKind.SERVER_ERROR: 503, FaultKind.HTML: 502}
_STATUSES: dict[FaultKind, Collection[int]] = {
    FaultKind.SERVER_ERROR: range(400, 600),
    FaultKind.HTML: {*range(200, 600)} - {204, 205, 304},  # these three have no body
}
_SETTINGS: dict[str, Collection[FaultKind]] = {
    "seconds": _SECONDS,
    "status": _STATUS,
    "retry_after": (FaultKind.RATE_LIMITED, FaultKind.SERVER_ERROR),
}


def _kind(value: str) -> FaultKind:
    if value not in set(FaultKind):
        raise ValueError(f"kind must be one of {', '.join(FaultKind)}; not {value!r}")
    return FaultKind(value)


def _numbers(value: int | Collection[int] | None) -> Collection[int] | None:
    if value is None or isinstance(value, range):  # a range stays one: it may be as good as endless
        return value
    return frozenset(value) if isinstance(value, Collection) else frozenset((value,))


@frozen
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
    """

    kind: FaultKind = field(converter=_kind)
    on: str = field(default="*", kw_only=True)
    nth: Collection[int] | None = field(default=None, kw_only=True, converter=_numbers)
    probability: float | None = field(default=None, kw_only=True)
    seconds: float = field(default=Factory(lambda self: _SECONDS.get(self.kind, 0), takes_self=True), kw_only=True)
    status: int = field(default=Factory(lambda self: _STATUS.get(self.kind, 0), takes_self=True), kw_only=True)
    retry_after: float | str | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.on not in ("*", *OPERATIONS):
            raise ValueError(f"on must be '*' or one of {', '.join(OPERATIONS)}; not {self.on!r}")
        if self.nth is not None and self.probability is not None:
            raise ValueError("nth and probability exclude each other")
        if self.nth is not None and not _positive(self.nth):
            raise ValueError("nth must be whole numbers, from 1")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        for name, kinds in _SETTINGS.items():
            if getattr(self, name) not in (0, None) and self.kind not in kinds:
                raise ValueError(f"{name} means nothing to {self.kind}")
        if not 0 <= self.seconds < math.inf:
            raise ValueError("seconds must be a finite number, from 0")
        if self.kind in _STATUSES and self.status not in _STATUSES[self.kind]:
            raise ValueError(f"{self.kind} cannot have the status {self.status}")
        if not str(self.retry_after).isprintable():
            raise ValueError("retry_after must be one line of text")

    def answer(self) -> Answer | None:
        """What is said in the API's place; None if the kind leaves the word to the API."""
        retry_after = None if self.retry_after is None else str(self.retry_after)
        match self.kind:
            case FaultKind.RATE_LIMITED:
                return failure(429, "Too many requests", retry_after=retry_after) if retry_after else page(429)
            case FaultKind.SERVER_ERROR:
                return failure(self.status, "Failed, as the sandbox was told to", retry_after=retry_after)
            case FaultKind.OPERATION_FAILED:
                return failure(200, "Refused, as the sandbox was told to")
            case FaultKind.HTML:
                return page(self.status)
            case _:
                return None


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


def _positive(numbers: Collection[int]) -> bool:
    ends = (numbers[0], numbers[-1]) if isinstance(numbers, range) and numbers else numbers
    return bool(numbers) and all(type(number) is int and number > 0 for number in ends)
