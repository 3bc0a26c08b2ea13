"""Moves on the way of a write: claimed, prepared, ended, given back."""

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from enkash_coins.bulk.ledger.fields import Counts, End, Todo, as_text, known_of, places_where
from enkash_coins.bulk.ledger.readings import drift
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import OK, Event, State, after, look, set_by

# One step in an index, however many rows an id has.
_WAITING: Final = (
    "SELECT EXISTS (SELECT 1 FROM row WHERE repeated AND id = ? AND state IN ('unread', 'planned', 'sent')"
    " AND number < ? ORDER BY state LIMIT 1)"
)


def page(db: sqlite3.Connection, beyond: int, most: int, read_since: float | None) -> list[Todo]:
    """The next rows to write, of which those that need no other look are claimed.

    Args:
        read_since: seconds since 1970; ``None`` claims none.
    """
    now = time.time()  # what was read later than that, on a clock since set back, has no age
    alone = "NOT repeated AND late IS NULL"
    fresh = "FALSE" if read_since is None else f"{alone} AND coalesce(read_at BETWEEN :since AND :now, TRUE)"
    # As one value: else sqlite3 gives up the interpreter's lock, and waits for it, once for every row.
    (text,) = db.execute(
        f"SELECT json_group_array(CASE WHEN {fresh} THEN json_array(number, id, json(wanted))"  # noqa: S608  # ours
        " ELSE json_array(number, id, json(wanted), 0, read_at, repeated, late, tries) END)"
        " FROM (SELECT * FROM row WHERE number > :beyond AND state = 'planned' ORDER BY number LIMIT :most)",
        {"since": read_since, "now": now, "beyond": beyond, "most": most},
    ).fetchone()
    todos = [Todo(*row) for row in msgspec.json.decode(text)]
    claims = [(todo.number,) for todo in todos if todo.claimed]
    if len(claims) == len(todos) and todos:  # half the time of one by one
        db.execute(
            "UPDATE row SET state = 'sent', tries = tries + 1 WHERE number BETWEEN ? AND ? AND state = 'planned'",
            (todos[0].number, todos[-1].number),
        )
    else:
        db.executemany("UPDATE row SET state = 'sent', tries = tries + 1 WHERE number = ?", claims)
    return todos


def has_its_turn(db: sqlite3.Connection, todo: Todo) -> bool:
    """Whether no row of its id that comes before it waits, and it is still to be written."""
    state, todo.read_at = db.execute("SELECT state, read_at FROM row WHERE number = ?", (todo.number,)).fetchone()
    (waits,) = db.execute(_WAITING, (todo.id, todo.number)).fetchone()
    return state == State.PLANNED and not waits


def compare(db: sqlite3.Connection, todo: Todo, found: Values) -> Event:
    """What another look means for a planned row, and for those of its id that are planned as well."""
    known = known_of(db, todo.id)
    # That its own values are there proves nothing of a row that was not sent.
    event = look(todo.wanted, None if known is None else [*known, todo.wanted], found)
    if event is Event.FOUND_EXPECTED:
        planned = set_by(places_where(db, "id = ? AND state = 'planned'", todo.id))
        if look(planned, known, found) is Event.FOUND_OTHER:
            return Event.FOUND_OTHER
        db.execute("UPDATE row SET read_at = ? WHERE id = ? AND state = 'planned'", (time.time(), todo.id))
    return event


def claim(db: sqlite3.Connection, todo: Todo) -> None:
    """Take note that the request may leave from now on."""
    claimed = after(State.PLANNED, Event.CLAIMED)
    db.execute("UPDATE row SET state = ?, tries = tries + 1 WHERE number = ?", (claimed, todo.number))


def note(db: sqlite3.Connection, todo: Todo, event: Event, reason: str | None, found: Values | None) -> Counts:
    """Take note of what another look at a planned row has shown."""
    if event is Event.FOUND_WANTED and todo.tries:
        event = Event.FOUND_OURS
    if event is Event.FOUND_OTHER and found is not None:
        return drift(db, todo.id, found, (State.PLANNED,))
    state = after(State.PLANNED, event)
    db.execute("UPDATE row SET state = ?, reason = ? WHERE number = ?", (state, reason, todo.number))
    moved = Counter({state: 1, State.PLANNED: -1})
    if todo.repeated and state not in OK:
        _reopen_unchanged(db, todo, moved)
    return moved


def finish(db: sqlite3.Connection, applied: Sequence[int], ends: Sequence[End]) -> Counts:
    """Take note of how calls came to an end.

    Args:
        applied: numbers of rows that were applied at the first attempt, and of which nothing else is to be told.
        ends: of the others.
    """
    moved: Counts = Counter({after(State.SENT, Event.APPLIED): len(applied), State.PLANNED: -len(applied) - len(ends)})
    db.execute(  # those at once, for the same reason as in page()
        "UPDATE row SET state = 'applied', attempts = attempts + 1, late = NULL, reason = NULL, found = NULL"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(applied).decode(),),
    )
    changes = []
    for end in ends:
        state = after(State.SENT, end.event)
        moved[state] += 1
        changes.append((state, end.attempts, end.late, end.reason, as_text(end.found), end.todo.number))
    db.executemany(
        "UPDATE row SET state = ?, attempts = attempts + ?, late = ?, reason = ?, found = coalesce(?, found)"
        " WHERE number = ?",
        changes,
    )
    for end in ends:
        if end.todo.repeated and end.event is not Event.APPLIED:
            _reopen_unchanged(db, end.todo, moved)
    return moved


def _reopen_unchanged(db: sqlite3.Connection, todo: Todo, moved: Counts) -> None:
    """Later rows of its id that would have changed nothing after it may now."""
    reopened = db.execute(
        "UPDATE row SET state = 'planned' WHERE repeated AND id = ? AND number > ? AND state = 'unchanged'",
        (todo.id, todo.number),
    ).rowcount
    moved.update({State.PLANNED: reopened, State.UNCHANGED: -reopened})


def release(db: sqlite3.Connection) -> None:
    """Give back what was claimed and is not under way."""
    db.execute(
        "UPDATE row SET state = ?, tries = tries - 1 WHERE state = ?", (after(State.SENT, Event.RELEASED), State.SENT)
    )
