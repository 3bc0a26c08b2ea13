"""What may become of a row: the one state machine, as a table, and the pure functions that find its events.

Planning, a dry run, applying, resuming and rolling back are all the same walk through this table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    HELD = "held again"  # an allocation in doubt whose repetition did not come about
    AGAIN = "worked off again"  # by another apply, or because a late arrival overwrote it
    FORCED = "forced"


_FOUND: Final = {Event.FOUND_OTHER: State.DRIFTED, Event.FOUND_NOTHING: State.REJECTED}
_PLANNING: Final = {**_FOUND, Event.FOUND_WANTED: State.UNCHANGED, Event.FOUND_EXPECTED: State.PLANNED}

#: Every pair that is not here cannot happen.
TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.UNREAD: {**_PLANNING, Event.REFUSED: State.NOT_SENT},
    State.PLANNED: {**_PLANNING, Event.FOUND_OURS: State.APPLIED, Event.HELD: State.UNKNOWN, Event.CLAIMED: State.SENT},
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
    State.APPLIED: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.UNCHANGED: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.MISMATCHED: {Event.FOUND_OTHER: State.DRIFTED, Event.AGAIN: State.PLANNED},
    State.REJECTED: {Event.AGAIN: State.PLANNED},
    State.NOT_SENT: {Event.AGAIN: State.PLANNED},
    State.DRIFTED: {Event.FORCED: State.PLANNED},
}

OK: Final = (State.APPLIED, State.UNCHANGED)
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
    """A row, as far as its configuration's value is concerned.

    Attributes:
        wanted: what it sets.
        expected: what is there before it, as far as that is known.
        found: what was seen instead of what is wanted, by its answer or by reading.
    """

    number: int
    state: State
    wanted: Values
    expected: Values | None
    found: Values | None = None


def comparable(wanted: Values) -> Values:
    """What of a row can be read back; ``company_id`` cannot."""
    return {field: value for field, value in wanted.items() if field != "company_id"}


def look(wanted: Values, expected: Values | None, found: Values, *, forced: bool = False) -> Event:
    """What a reading means for a row.

    Args:
        expected: what should be there if the row was not applied; ``None``: anything may.
        forced: anything may be there.
    """
    fields = comparable(wanted)
    as_expected = forced or expected is None or all(found.get(name) == expected.get(name) for name in fields)
    # A row that sets the company as well is done only if the rest of it proves that: both went in one request.
    if fields.items() <= found.items() and not ("company_id" in wanted and as_expected):
        return Event.FOUND_WANTED
    return Event.FOUND_EXPECTED if as_expected else Event.FOUND_OTHER


def left_by(place: Place) -> Values | None:
    """What a row leaves behind for the next one of its id; ``None`` if that is not known."""
    match place.state:
        case State.APPLIED | State.UNCHANGED:
            return None if place.expected is None else place.expected | comparable(place.wanted)
        case State.MISMATCHED | State.DRIFTED:
            return place.found
        case State.REJECTED | State.NOT_SENT:
            return place.expected
        case _:
            return None


def settled(
    places: Sequence[Place],
    found: Values,
    *,
    others: Sequence[Place] = (),
    again: bool = False,
    forced: bool = False,
) -> Event:
    """What a reading means for rows of one id of which requests may have arrived, or may have come late.

    Args:
        places: from the first in doubt, or that is to be sent again, to the last; those that are planned are so anyway.
        others: rows of the id before these.
        again: some are to be sent again in any case.

    Returns:
        Found as wanted: all of them are done. Found as expected: they are to be sent again, in order; nobody else has
        written. Found otherwise: somebody has.
    """
    first = places[0]
    worked = [place for place in places if place.state is not State.PLANNED]
    # What took effect, or may have; a company among it is never found, because it cannot be read back.
    left = _wanted_by(place for place in worked if place.state in (*OK, State.UNKNOWN))
    unclear = any(place.state is State.UNKNOWN for place in worked[:-1])
    if len(worked) == 1 and not again:
        event = look(worked[0].wanted, worked[0].expected, found, forced=forced)
    elif not (unclear or again) and left.items() <= found.items():
        event = Event.FOUND_WANTED
    else:
        event = Event.FOUND_EXPECTED
    ours = [first.expected or {}, *_ours((*others, *places))]
    if event is not Event.FOUND_EXPECTED or forced or first.expected is None:
        return event
    fields = comparable(_wanted_by(places))
    as_left = all(any(found.get(name) == values[name] for values in ours if name in values) for name in fields)
    return Event.FOUND_EXPECTED if as_left else Event.FOUND_OTHER


def _ours(places: Iterable[Place]) -> Iterator[Values]:
    """What rows may have left: what they set, what an answer showed instead, or what was there at their planning."""
    for place in places:
        yield place.wanted
        if place.state is State.MISMATCHED and place.found is not None:
            yield place.found
        if place.state is State.PLANNED and place.expected is not None:
            yield place.expected


def _wanted_by(places: Iterable[Place]) -> Values:
    return {field: value for place in places for field, value in place.wanted.items()}
