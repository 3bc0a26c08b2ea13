"""What may become of a row: the one state machine, as a table, and the pure functions that find its events.

Planning, a dry run, applying, resuming and rolling back are all the same walk through this table.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import attrs

from enkash_coins.bulk.rows import Values
from enkash_coins.models import OutcomeStatus


class State(StrEnum):
    """How far a row is; all but the first three are ends, with the names of ``OutcomeStatus``."""

    UNREAD = "unread"  # its configuration was not read yet
    PLANNED = "planned"  # to be written
    SENT = "sent"  # the intent is committed: the request may have left
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    MISMATCHED = "mismatched"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    DRIFTED = "drifted"


class Event(StrEnum):
    """What moves a row from one state to another."""

    FOUND_WANTED = "found as wanted"  # the configuration was read
    FOUND_OURS = "found as sent before"
    FOUND_EXPECTED = "found as expected"
    FOUND_OTHER = "found otherwise"
    FOUND_NOTHING = "not found"
    REFUSED = "refused"  # by --max-change
    CLAIMED = "claimed"  # the request may leave from now on
    RELEASED = "released"  # it certainly did not
    APPLIED = "applied"  # how the call ended
    MISMATCHED = "mismatched"
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    CUT_OFF = "cut off"  # or ended in doubt
    HELD = "held again"  # in doubt, and its repetition did not come about
    AGAIN = "worked off again"  # by another apply, or because a late arrival overwrote it
    FORCED = "forced"


_FOUND: Final = {Event.FOUND_OTHER: State.DRIFTED, Event.FOUND_NOTHING: State.REJECTED}

#: Every pair that is not here cannot happen.
TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.UNREAD: {
        **_FOUND,
        Event.FOUND_WANTED: State.UNCHANGED,
        Event.FOUND_EXPECTED: State.PLANNED,
        Event.REFUSED: State.NOT_SENT,
    },
    State.PLANNED: {
        **_FOUND,
        Event.FOUND_WANTED: State.UNCHANGED,
        Event.FOUND_OURS: State.APPLIED,
        Event.HELD: State.UNKNOWN,
        Event.CLAIMED: State.SENT,
    },
    State.SENT: {
        Event.RELEASED: State.PLANNED,
        Event.APPLIED: State.APPLIED,
        Event.MISMATCHED: State.MISMATCHED,
        Event.REJECTED: State.REJECTED,
        Event.NOT_SENT: State.NOT_SENT,
        Event.CUT_OFF: State.UNKNOWN,
    },
    State.UNKNOWN: {
        **_FOUND,
        Event.FOUND_WANTED: State.APPLIED,
        Event.FOUND_EXPECTED: State.PLANNED,
        Event.AGAIN: State.PLANNED,
    },
    State.APPLIED: {Event.AGAIN: State.PLANNED},
    State.UNCHANGED: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.MISMATCHED: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.REJECTED: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.NOT_SENT: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.DRIFTED: {Event.FORCED: State.PLANNED},
}

OK: Final = (State.APPLIED, State.UNCHANGED)
NO: Final = (State.REJECTED, State.NOT_SENT)
#: What a call that ended so does to its row.
ENDS: Final = {
    OutcomeStatus.APPLIED: Event.APPLIED,
    OutcomeStatus.MISMATCHED: Event.MISMATCHED,
    OutcomeStatus.REJECTED: Event.REJECTED,
    OutcomeStatus.NOT_SENT: Event.NOT_SENT,
    OutcomeStatus.UNKNOWN: Event.CUT_OFF,
}


class Impossible(Exception):
    """An event that a row in this state cannot have: a mistake of ours, and nothing is written."""


def after(state: State, event: Event) -> State:
    """The state that follows; raises ``Impossible`` if none does."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        pass
    raise Impossible(f"a row that is {state} cannot be {event}")


@attrs.frozen
class Place:
    """A row among those of its id, and what it sets."""

    number: int
    state: State
    wanted: Values
    tries: int


#: What the run has seen of a configuration, and what its rows set there; ``None``: it has seen nothing, so anything may
#: be there.
Known = Sequence[Values] | None


def comparable(wanted: Values) -> Values:
    """What of a row can be read back; ``company_id`` cannot."""
    return {field: value for field, value in wanted.items() if field != "company_id"}


def look(wanted: Values, known: Known, found: Values, *, forced: bool = False) -> Event:
    """What a reading means for a row: what the run has neither seen nor set is somebody else's.

    Args:
        known: without what the row itself sets.
        forced: anything may be there.
    """
    fields = comparable(wanted)
    there = fields.items() <= found.items()
    if there and "company_id" not in wanted:
        return Event.FOUND_WANTED
    news = _news(fields, known, found)
    # A row that sets the company as well is done only if the rest of it proves that: both went in one request.
    if there and news:
        return Event.FOUND_WANTED
    return (
        Event.FOUND_EXPECTED if forced or all(found.get(name) == fields[name] for name in news) else Event.FOUND_OTHER
    )


def _news(fields: Iterable[str], known: Known, found: Values) -> list[str]:
    return [
        name
        for name in fields
        if known is not None and not any(name in values and values[name] == found.get(name) for values in known)
    ]


def settled(
    places: Sequence[Place], known: Known, found: Values, *, again: bool = False, forced: bool = False
) -> Event:
    """What a reading means for rows of one id of which requests may have arrived, or may have come late.

    Args:
        places: from the first in doubt, or that is to be sent again, to the last.
        known: without what these set.
        again: some are to be sent again in any case.

    Returns:
        Found as wanted: all of them are done. Found as expected: they are to be sent again, in order; nobody else has
        written. Found otherwise: somebody has.
    """
    worked = [place for place in places if place.tries and place.state not in (State.PLANNED, State.DRIFTED, *NO)]
    # Of one in doubt that others came after, no reading tells whether it took effect.
    if not again and all(place.state is not State.UNKNOWN for place in worked[:-1]):
        left = set_by(place for place in worked if place.state in (*OK, State.UNKNOWN))
        others = extended(known, (place for place in places if place not in worked[-1:]))
        if look(left, others, found) is Event.FOUND_WANTED:
            return Event.FOUND_WANTED
    event = look(set_by(places), extended(known, places), found, forced=forced)
    return Event.FOUND_OTHER if event is Event.FOUND_OTHER else Event.FOUND_EXPECTED


def seems_applied(place: Place, places: Sequence[Place], known: Known, found: Values) -> bool:
    """Whether a row that is to be sent again took effect before, as far as is known; arguments as for ``settled``."""
    if place.state not in (State.UNKNOWN, State.MISMATCHED):
        return place.state is State.APPLIED
    others = extended(known, (other for other in places if other is not place))
    if look(place.wanted, others, found) is Event.FOUND_WANTED:
        return True
    later = set_by(other for other in places if other.number > place.number)
    left = {field: value for field, value in comparable(place.wanted).items() if field not in later}
    if others is None:  # nothing proves that a value was not there before: of a row that may be refused for its company
        return bool(left) and left.items() <= found.items() and "company_id" not in place.wanted
    return left.items() <= found.items() and bool(_news(left, others, found))


def extended(known: Known, places: Iterable[Place]) -> Known:
    """What is known, with what rows may have set: those that were refused, or never sent, have not."""
    if known is None:
        return None
    return [*known, *(place.wanted for place in places if place.tries and place.state not in NO)]


def set_by(places: Iterable[Place]) -> Values:
    """What rows set, one after the other."""
    return {field: value for place in places for field, value in place.wanted.items()}
