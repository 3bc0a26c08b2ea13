"""Moves that a reading brings about, or a new start: planned, settled, taken up again."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Final

from enkash_coins.bulk.ledger.fields import (
    AGAIN,
    FAILED,
    LATE,
    PAGE,
    Counts,
    as_text,
    counts,
    listed,
    places_where,
    values_of,
    values_or_none,
)
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import TRANSITIONS, Event, State, after, comparable, left_by, look, settled

_MARKED: Final = "late = CASE WHEN state IN ('applied', 'mismatched') THEN coalesce(late, 0) ELSE late END"


def plan(
    db: sqlite3.Connection, id_: str, found: Values, now: float, refusal: Callable[[Values, Values], str | None]
) -> Counts:
    """Compare all rows of an id with its configuration, each with what the one before leaves behind."""
    moved: Counts = Counter()
    last = -1
    query = f"SELECT number, wanted, expected FROM row WHERE id = ? AND number > ? AND state = 'unread' LIMIT {PAGE}"  # noqa: S608  # ours
    while rows := db.execute(query, (id_, last)).fetchall():
        changes = []
        for last, wanted_text, expected_text in rows:  # the last one's number is used
            wanted, expected = values_of(wanted_text), values_or_none(expected_text)
            event = look(wanted, expected, found)
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
            "UPDATE row SET state = ?, reason = ?, late = NULL WHERE id = ? AND state = ?", (end, reason, id_, state)
        ).rowcount
        moved.update({end: changed, state: -changed})
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
    """Plan what was tried and failed, in order: of an id with other rows, also those that come after it."""
    failed = f"tries > 0 AND state IN {listed(FAILED)}"
    last = ""
    query = (
        f"SELECT id, min(number) FROM row WHERE repeated AND {failed} AND id > ? GROUP BY id ORDER BY id LIMIT {PAGE}"  # noqa: S608  # ours
    )
    while ids := db.execute(query, (last,)).fetchall():
        for id_, first in ids:
            places = places_where(db, "id = ? AND number >= ? AND (tries > 0 OR state = 'unchanged')", id_, first)
            # What was seen when rows were planned again and not sent since; what the plan expected is a guess by now.
            seen = "id = ? AND number >= ? AND state = 'planned' AND expected IS NOT NULL ORDER BY number LIMIT 1"
            known = [place.expected for place in places_where(db, seen, id_, first)] or [left_by(places[-1])]
            reopen(db, id_, first, known[0] or places[0].expected)
        last = ids[-1][0]
    there = "expected = CASE state WHEN 'mismatched' THEN found ELSE expected END"
    db.execute(f"UPDATE row SET {there}, state = 'planned', found = NULL, reason = NULL, {_MARKED} WHERE {failed}")  # noqa: S608  # ours


def replay(db: sqlite3.Connection) -> None:
    """Plan allocations in doubt once more; that they are in doubt stays known."""
    db.execute("UPDATE row SET state = ? WHERE state = ?", (after(State.UNKNOWN, Event.AGAIN), State.UNKNOWN))


def hold(db: sqlite3.Connection) -> None:
    """Hold allocations in doubt that were planned once more, and not sent: it was asked for once."""
    db.execute(
        "UPDATE row SET state = ? WHERE state = ? AND late IS NOT NULL",
        (after(State.PLANNED, Event.HELD), State.PLANNED),
    )


def force(db: sqlite3.Connection) -> None:
    """Plan what somebody else has changed; whoever goes on without force looks again, because the plan is of old."""
    db.execute(
        "UPDATE row SET state = ?, reason = NULL, found = NULL, read_at = 0 WHERE state = ?",
        (after(State.DRIFTED, Event.FORCED), State.DRIFTED),
    )


def settle(db: sqlite3.Connection, id_: str, found: Values, *, due: bool, forced: bool) -> Counts:
    """Compare what is in doubt of an id with its configuration.

    Args:
        due: nothing can arrive late any more.
    """
    doubt = f"SELECT min(number) FROM row WHERE id = ? AND {LATE}"  # noqa: S608  # ours
    before = counts(db, "id = ?", id_)
    places = places_where(db, f"id = ? AND number >= ({doubt}) AND state NOT IN ('planned', 'unread')", id_, id_)
    if due:
        db.execute("UPDATE row SET late = NULL WHERE id = ? AND late > 0", (id_,))
    if len(places) > 1 or (places and places[0].state is State.UNKNOWN):
        event = settled(places, found, forced=forced)
        if event is Event.FOUND_EXPECTED:
            reopen(db, id_, places[0].number, found)
        else:
            for place in places:
                unknown = place.state is State.UNKNOWN
                if unknown or (
                    event is Event.FOUND_OTHER and place is places[-1] and event in TRANSITIONS[place.state]
                ):
                    other = as_text(found) if event is Event.FOUND_OTHER else None
                    db.execute(
                        "UPDATE row SET state = ?, reason = NULL, found = ? WHERE number = ?",
                        (after(place.state, event), other, place.number),
                    )
    moved = counts(db, "id = ?", id_)
    moved.subtract(before)
    return moved


def reopen(db: sqlite3.Connection, id_: str, first: int, expected: Values | None) -> None:
    """Plan the rows of an id again from the first one on; those that planning ended stay ended."""
    tried = f"tries > 0 AND state IN {listed((*AGAIN, State.APPLIED))}"
    db.execute(
        f"UPDATE row SET state = 'planned', expected = NULL, found = NULL, reason = NULL, {_MARKED}"  # noqa: S608  # ours
        f" WHERE id = ? AND number >= ? AND (state IN ('unchanged', 'planned') OR {tried})",
        (id_, first),
    )
    db.execute("UPDATE row SET expected = ? WHERE number = ?", (as_text(expected), first))
