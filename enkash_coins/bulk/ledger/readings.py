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
    TOGETHER,
    Counts,
    as_text,
    counts,
    listed,
    places_where,
    values_of,
    values_or_none,
)
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import TRANSITIONS, Event, State, after, comparable, look, settled

# A no to the repetition of what may have been applied is no answer; nor is a reading, if nothing was seen before it.
_MARKED: Final = (
    "late = CASE WHEN state IN ('applied', 'mismatched') OR (state = 'unknown' AND coalesce(expected, before) IS NULL)"
    " THEN coalesce(late, 0) ELSE late END"
)


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
    """Plan what was tried and failed; rows of an id that has others are planned by what is read: see ``settle``."""
    there = "expected = CASE state WHEN 'mismatched' THEN found ELSE expected END"
    db.execute(
        f"UPDATE row SET {there}, state = 'planned', found = NULL, reason = NULL, {_MARKED}"  # noqa: S608  # ours
        f" WHERE tries > 0 AND state IN {listed(FAILED)} AND NOT repeated"
    )


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


def settle(db: sqlite3.Connection, id_: str, found: Values, now: float, *, due: bool, forced: bool) -> Counts:
    """Compare what is in doubt of an id with its configuration, and what of several rows is to be sent again.

    Args:
        now: seconds since 1970, when it was read.
        due: nothing can arrive late any more; what has failed in this very apply is left alone.
    """
    before = counts(db, "id = ?", id_)
    again = not due and counts(db, f"id = ? AND {TOGETHER}", id_).total() > 0
    in_doubt = counts(db, f"id = ? AND {LATE}", id_).total() > 0
    # What was planned again and has waited since goes first.
    whence = f"{LATE} OR {TOGETHER if again else 'FALSE'} OR (state = 'planned' AND expected IS NOT NULL)"
    (first,) = db.execute(f"SELECT min(number) FROM row WHERE id = ? AND ({whence})", (id_,)).fetchone()  # noqa: S608  # ours
    rows = places_where(db, "id = ? AND state <> 'unread'", id_) if again or in_doubt else []
    places = [place for place in rows if place.number >= first]
    worked = [place for place in places if place.state is not State.PLANNED]
    if due:
        db.execute("UPDATE row SET late = NULL WHERE id = ? AND late > 0", (id_,))
    if again or len(worked) > 1 or (worked and worked[0].state is State.UNKNOWN):
        others = rows[: len(rows) - len(places)]
        event = settled(places, found, others=others, again=again, forced=forced)
        if event is Event.FOUND_EXPECTED:
            # What is found as a row in doubt wants it was applied, it seems, though it is sent again behind others.
            there = [
                (place.number,) for place in worked if place.state is State.UNKNOWN and _is_there(place.wanted, found)
            ]
            db.executemany("UPDATE row SET late = coalesce(late, 0) WHERE number = ?", there)
            reopen(db, id_, first, found, now)
        else:
            for place in worked:
                unknown = place.state is State.UNKNOWN
                if unknown or (
                    event is Event.FOUND_OTHER and place is worked[-1] and event in TRANSITIONS[place.state]
                ):
                    other = as_text(found) if event is Event.FOUND_OTHER else None
                    db.execute(
                        "UPDATE row SET state = ?, reason = NULL, found = ? WHERE number = ?",
                        (after(place.state, event), other, place.number),
                    )
            if again:  # each of them is looked at once more, and drifted by that
                db.execute(
                    f"UPDATE row SET state = 'planned', found = NULL, reason = NULL, read_at = 0, {_MARKED}"  # noqa: S608  # ours
                    f" WHERE id = ? AND {TOGETHER}",
                    (id_,),
                )
    moved = counts(db, "id = ?", id_)
    moved.subtract(before)
    return moved


def _is_there(wanted: Values, found: Values) -> bool:
    """Whether all of it is found; of a row that sets the company that cannot be said."""
    return "company_id" not in wanted and wanted.items() <= found.items()


def reopen(db: sqlite3.Connection, id_: str, first: int, found: Values, now: float) -> None:
    """Plan the rows of an id again from the first one on; those that planning ended stay ended."""
    tried = f"tries > 0 AND state IN {listed((*AGAIN, State.APPLIED))}"
    db.execute(
        "UPDATE row SET state = 'planned', expected = NULL, found = NULL, reason = NULL, read_at = ?,"  # noqa: S608  # ours
        f" {_MARKED} WHERE id = ? AND number >= ? AND (state IN ('unchanged', 'planned') OR {tried})",
        (now, id_, first),
    )
    db.execute("UPDATE row SET expected = ? WHERE number = ?", (as_text(found), first))
