"""Moves that a reading brings about, or a new start: planned, settled, taken up again."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from enkash_coins.bulk.ledger.fields import (
    DOUBT,
    FAILED,
    PAGE,
    REOPENED,
    TOGETHER,
    Counts,
    as_text,
    known_of,
    listed,
    places_where,
    values_of,
)
from enkash_coins.bulk.ledger.views import counts
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import Event, Known, Place, State, after, comparable, look, seems_applied, settled

# A no to the repetition of what took effect is no answer; whether something did that was answered with other values is
# to be read.
_MARKED: Final = "late = coalesce(late, CASE WHEN :applied THEN 0 WHEN state = 'mismatched' THEN :now END)"


def plan(
    db: sqlite3.Connection, id_: str, found: Values, now: float, refusal: Callable[[Values, Values], str | None]
) -> Counts:
    """Compare all rows of an id with its configuration, each with what the one before leaves behind."""
    moved: Counts = Counter()
    last = -1
    query = f"SELECT number, wanted, ours FROM row WHERE id = ? AND number > ? AND state = 'unread' LIMIT {PAGE}"  # noqa: S608  # ours
    while rows := db.execute(query, (id_, last)).fetchall():
        changes = []
        for last, wanted_text, ours in rows:  # the last one's number is used
            wanted = values_of(wanted_text)
            event = look(wanted, None if ours is None else msgspec.json.decode(ours), found)
            reason = None
            if event is Event.FOUND_EXPECTED and (reason := refusal(wanted, found)):
                event = Event.REFUSED
            state = after(State.UNREAD, event)
            other = as_text(found) if event is Event.FOUND_OTHER else None
            changes.append((state, as_text(found), other, now, reason, last))
            moved[state] += 1
            if state is State.PLANNED:
                found = found | comparable(wanted)
        db.executemany(
            "UPDATE row SET state = ?, before = ?, found = ?, read_at = ?, reason = ? WHERE number = ?", changes
        )
    moved[State.UNREAD] -= moved.total()
    return moved


def not_found(db: sqlite3.Connection, id_: str, reason: str, *, gone: bool) -> Counts:
    """Reading said a definite no: so end all rows of the id that wait for it.

    Args:
        gone: there is no such configuration; any other no says nothing about a request in doubt.
    """
    moved: Counts = Counter()
    for state in (State.UNREAD, State.UNKNOWN) if gone else (State.UNREAD,):
        end = after(state, Event.FOUND_NOTHING)
        changed = db.execute(
            "UPDATE row SET state = ?, reason = ? WHERE id = ? AND state = ?", (end, reason, id_, state)
        ).rowcount
        moved.update({end: changed, state: -changed})
    if gone:  # nothing that arrives late can change it
        db.execute("UPDATE row SET late = NULL WHERE id = ?", (id_,))
    return moved


def resume(db: sqlite3.Connection, *, until: float) -> None:
    """What a process left behind that ended under way is in doubt.

    Args:
        until: seconds since 1970; so long its requests may still arrive.
    """
    db.execute(
        "UPDATE row SET state = ?, late = max(coalesce(late, 0), ?), reason = ? WHERE state = ?",
        (after(State.SENT, Event.CUT_OFF), until, "under way when its process ended", State.SENT),
    )


def again(db: sqlite3.Connection) -> None:
    """Plan what was tried and failed; rows of an id that has others are planned by what is read: see ``settle``."""
    db.execute(
        f"UPDATE row SET state = 'planned', {_MARKED}"  # noqa: S608  # ours
        f" WHERE tries > 0 AND state IN {listed(FAILED)} AND NOT repeated",
        {"now": time.time(), "applied": False},
    )


def replay(db: sqlite3.Connection) -> None:
    """Plan allocations in doubt once more; that they are in doubt stays known."""
    db.execute("UPDATE row SET state = ? WHERE state = ?", (after(State.UNKNOWN, Event.AGAIN), State.UNKNOWN))


def hold(db: sqlite3.Connection) -> None:
    """Hold what was in doubt and was planned once more, but not sent; rows of an id that has others go on together."""
    db.execute(
        "UPDATE row SET state = ? WHERE state = ? AND late IS NOT NULL AND NOT repeated",
        (after(State.PLANNED, Event.HELD), State.PLANNED),
    )


def force(db: sqlite3.Connection) -> None:
    """Plan what somebody else has changed; whoever goes on without force looks again, because the plan is of old."""
    db.execute(
        "UPDATE row SET state = ?, reason = NULL, found = NULL, read_at = 0 WHERE state = ?",
        (after(State.DRIFTED, Event.FORCED), State.DRIFTED),
    )


def settle(db: sqlite3.Connection, id_: str, found: Values, now: float, *, due: bool, forced: bool) -> Counts:
    """Compare what is in doubt of an id with its configuration, and what of several rows is to be sent again.

    Args:
        now: seconds since 1970, when it was read.
        due: nothing can arrive late any more; what has failed in this very apply is left alone.
    """
    before = counts(db, "id = ?", id_)
    unclear = f"state NOT IN ('unread', 'planned') AND ({DOUBT if due else f'{DOUBT} OR {TOGETHER}'})"
    (first,) = db.execute(f"SELECT min(number) FROM row WHERE id = ? AND {unclear}", (id_,)).fetchone()  # noqa: S608  # ours
    if due:
        db.execute("UPDATE row SET late = NULL WHERE id = ? AND late > 0 AND state <> 'planned'", (id_,))
    if first is not None:
        places = places_where(db, "id = ? AND state <> 'unread' AND number >= ?", id_, first)
        known = known_of(db, id_, before=first)
        again = not due and any(place.tries and place.state in FAILED for place in places)
        match event := settled(places, known, found, again=again, forced=forced):
            case Event.FOUND_EXPECTED:
                _reopen(db, places, known, found, now, forced=forced)
            case Event.FOUND_OTHER:
                # What may still arrive is read again when it cannot any more.
                drift(db, id_, found, (State.PLANNED, *((State.UNKNOWN,) if due else ()), *(FAILED if again else ())))
            case _:
                done = after(State.UNKNOWN, event)
                db.execute("UPDATE row SET state = ?, reason = NULL WHERE id = ? AND state = 'unknown'", (done, id_))
    moved = counts(db, "id = ?", id_)
    moved.subtract(before)
    return moved


def drift(db: sqlite3.Connection, id_: str, found: Values, states: Iterable[State]) -> Counts:
    """Somebody else has changed the configuration: leave alone its rows of these states, and what relied on them."""
    moved: Counts = Counter()
    for state in (*states, State.UNCHANGED):
        changed = db.execute(
            "UPDATE row SET state = ?, found = ?, reason = NULL WHERE id = ? AND state = ?"
            " AND (tries > 0 OR state = 'planned' OR (state = 'unchanged' AND number >"
            " (SELECT min(number) FROM row AS first WHERE first.id = row.id AND first.state = 'drifted')))",
            (after(state, Event.FOUND_OTHER), as_text(found), id_, state),
        ).rowcount
        moved.update({State.DRIFTED: changed, state: -changed})
    return moved


def _reopen(
    db: sqlite3.Connection, places: Sequence[Place], known: Known, found: Values, now: float, *, forced: bool
) -> None:
    """Plan rows again, but for those that planning ended.

    Args:
        forced: whoever goes on without force looks again.
    """
    for place in places:
        if place.state in (State.UNCHANGED, State.PLANNED) or (place.tries and place.state in REOPENED):
            applied = seems_applied(place, places, known, found)
            db.execute(
                f"UPDATE row SET state = 'planned', read_at = :read_at, {_MARKED} WHERE number = :number",  # noqa: S608  # ours
                {"now": now, "read_at": 0 if forced else now, "applied": applied, "number": place.number},
            )
