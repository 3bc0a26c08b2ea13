"""What may become of a request: whether and when it takes effect, and what the client gets to see of it."""

from collections.abc import Callable, Iterable
from enum import Enum, auto
from random import Random
from typing import Final

import attrs

from enkash_coins.transport import Request, Response


class Lost(Enum):
    """How the client is left without an answer."""

    NO_CONNECTION = auto()  # nothing leaves
    NO_CONNECTION_IN_TIME = auto()  # nothing leaves until the client's time is over
    NO_TLS = auto()  # the handshake fails: nothing leaves
    DISCONNECT = auto()  # the connection ends when the request has arrived
    SILENCE = auto()  # nothing ever comes


@attrs.frozen(eq=False)
class Fate:
    """What becomes of one request.

    Attributes:
        effect: whether the API carries it out.
        after: seconds from its arrival until then; more than the client's timeout makes it a late one.
        reply: what the client sees; ``None`` for the API's own answer.
        early: whether a response comes before the effect, as from a proxy that has given up on the API.
    """

    effect: bool = True
    after: float = 0.0
    reply: Response | Lost | None = None
    early: bool = False


# With these nothing leaves the client.
NOTHING_LEAVES: Final = (Lost.NO_CONNECTION, Lost.NO_CONNECTION_IN_TIME, Lost.NO_TLS)

FINE: Final = Fate()
NO_CONNECTION: Final = Fate(effect=False, reply=Lost.NO_CONNECTION)
CUT_BEFORE: Final = Fate(effect=False, reply=Lost.DISCONNECT)
CUT_AFTER: Final = Fate(reply=Lost.DISCONNECT)
SILENT_BEFORE: Final = Fate(effect=False, reply=Lost.SILENCE)
SILENT_AFTER: Final = Fate(reply=Lost.SILENCE)
GARBLED: Final = Fate(reply=Response(200, {"Content-Type": "text/html"}, b"<html>It works!"))


def answered(status: int, retry_after: str | None = None) -> Fate:
    """No effect, and a page with this status, as a CDN in front of the API would say it."""
    headers = {"Content-Type": "text/html"} | ({} if retry_after is None else {"Retry-After": retry_after})
    return Fate(effect=False, reply=Response(status, headers, b"<html>"))


@attrs.define(eq=False)
class Seen:
    """One request, with the virtual seconds of its life.

    Attributes:
        number: from 1, in the order in which requests left, each operation by itself.
        arrived: ``None`` until then; it stays so if nothing left.
        applied: when the API carried it out with success; ``None`` until then, or for ever.
        status: of the API's own answer, whether or not the client got to see that.
    """

    number: int
    operation: str
    request: Request = attrs.field(repr=False)
    sent: float
    arrived: float | None = None
    applied: float | None = None
    status: int | None = None


Decide = Callable[[Seen], Fate]


def always(fate: Fate, *, on: str = "update") -> Decide:
    """The same for every request of this operation; all others fare well."""
    return lambda seen: fate if seen.operation == on else FINE


def in_turn(fates: Iterable[Fate], *, on: str = "update") -> Decide:
    """One after another for the requests of this operation, then well; all others fare well."""
    left = iter(fates)
    return lambda seen: next(left, FINE) if seen.operation == on else FINE


def by_chance(chances: dict[Fate, float], dice: Random, *, on: str = "update") -> Decide:
    """Each fate with its probability for the requests of this operation, else well; all others fare well."""
    fates, weights = [FINE, *chances], [1 - sum(chances.values()), *chances.values()]
    return lambda seen: dice.choices(fates, weights)[0] if seen.operation == on else FINE
