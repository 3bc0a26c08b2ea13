"""Changes in the ledger: put in, fetched by the page, and moved. No rule is in here."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import attrs
import msgspec

from enkash_coins.bulk.comparison import State, Values

#: Line, id, whether that came with the row, what is wanted, what is known.
Entry = tuple[int, str | None, bool, Values, Values | None]


class Todo(msgspec.Struct, array_like=True):
    """A change that is to be worked on."""

    number: int
    rows: int
    id: str | None
    wanted: Values
    known: Values | None
    before: Values | None
    state: State
    written: bool
    attempts: int
    late: float | None
    claimed: bool = False  # it may leave, which is on the disk
    ready: bool = False  # it was looked at, and is to be written


_TODOS: Final = msgspec.json.Decoder(list[Todo], strict=False)  # SQLite has no bool


def text(values: object) -> str | None:
    """Values as they are kept."""
    return None if values is None else msgspec.json.encode(values).decode()


def insert(db: sqlite3.Connection, first: int, entries: Iterable[Entry], state: State) -> None:
    """Put in rows, each as a change of its own for now."""
    db.executemany(
        "INSERT INTO change (number, line, id, given, wanted, known, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (number, line, id_, given, text(wanted), text(known), state)
            for number, (line, id_, given, wanted, known) in enumerate(entries, first)
        ),
    )


def repeated(db: sqlite3.Connection) -> Iterator[tuple[str, list[tuple[int, int, Values]]]]:
    """Ids of several rows, each with the number, line and values of all of them."""
    db.execute("CREATE INDEX change_id ON change (id)")
    db.execute(
        "INSERT INTO row SELECT number, line, min(number) OVER (PARTITION BY id), wanted FROM change"
        " WHERE id IN (SELECT id FROM change GROUP BY id HAVING count(*) > 1)"
    )
    found = db.execute(
        "SELECT id, r.number, r.line, r.wanted FROM row AS r JOIN change USING (number) ORDER BY change, 2"
    )
    for id_, rows in groupby(found, key=lambda row: str(row[0])):
        yield id_, [(number, line, msgspec.json.decode(wanted)) for _, number, line, wanted in rows]


def put_together(db: sqlite3.Connection, changes: Iterable[tuple[int, int, Values]]) -> None:
    """Make one change of the rows of an id: number of the first, how many, and what is wanted."""
    db.executemany(
        "UPDATE change SET rows = ?, wanted = ? WHERE number = ?",
        ((rows, text(wanted), number) for number, rows, wanted in changes),
    )
    db.execute("DELETE FROM change WHERE number IN (SELECT number FROM row WHERE number <> change)")
    db.execute("CREATE INDEX row_change ON row (change)")


def alike(db: sqlite3.Connection) -> Iterator[tuple[Values, list[int]]]:
    """Rows without an id of their own that say the same, with their lines."""
    query = "SELECT wanted, json_group_array(line) FROM change WHERE NOT given GROUP BY wanted HAVING count(*) > 1"
    return ((msgspec.json.decode(wanted), sorted(msgspec.json.decode(lines))) for wanted, lines in db.execute(query))


def listed(states: Iterable[State]) -> str:
    """States as SQL's IN takes them."""
    return f"({', '.join(map(repr, map(str, states)))})"


def page(
    db: sqlite3.Connection,
    beyond: int,
    most: int,
    states: Iterable[State],
    *,
    written: bool = False,
    claim: Sequence[State] = (),
) -> list[Todo]:
    """The next changes in these states.

    Args:
        written: only those that may have been written.
        claim: say that those in these states that were certainly not written may leave from now on.
    """
    only = " AND written" if written else ""
    # As one value: else sqlite3 gives up the interpreter's lock, and waits for it, once for every row.
    (found,) = db.execute(
        "SELECT json_group_array(json_array(number, rows, id, json(wanted), json(known), json(before), state, written,"  # noqa: S608  # ours
        " attempts, late)) FROM (SELECT * FROM change"
        f" WHERE number > ? AND state IN {listed(states)}{only} ORDER BY number LIMIT ?)",
        (beyond, most),
    ).fetchone()
    todos = _TODOS.decode(found)
    if claim and todos:
        db.execute(
            "UPDATE change SET state = 'sent', before = known"  # noqa: S608  # ours
            f" WHERE number BETWEEN ? AND ? AND state IN {listed(claim)} AND NOT written",
            (todos[0].number, todos[-1].number),
        )
        for todo in todos:
            if todo.state in claim and not todo.written:
                todo.claimed, todo.before = True, todo.known
    return todos


@attrs.define
class Claim:
    """That a change may leave from now on, with what is known of it, and when it does."""

    todo: Todo
    sent_at: float | None


@attrs.define
class End:
    """What became of a change, whether it was read or written."""

    todo: Todo
    state: State
    known: Values | None
    before: Values | None
    written: bool
    found: Values | None = None
    attempts: int = 0
    late: float | None = None
    reason: str | None = None
    id: str | None = None


def claim(db: sqlite3.Connection, claims: Sequence[Claim]) -> None:
    """Say that these may leave from now on."""
    if not claims:
        return
    db.execute(
        "UPDATE change SET state = 'sent', known = json_extract(value, '$[1]'), before = json_extract(value, '$[2]'),"
        " sent_at = json_extract(value, '$[3]') FROM json_each(?) WHERE number = json_extract(value, '$[0]')",
        (text([(of.todo.number, of.todo.known, of.todo.before, of.sent_at) for of in claims]),),
    )


def finish(db: sqlite3.Connection, applied: Sequence[int], ends: Sequence[End]) -> None:
    """Say what became of changes.

    Args:
        applied: numbers of those that were applied at the first attempt, and of which nothing else is to be told.
        ends: of the others.
    """
    # One statement for many, for the same reason as in page().
    if applied:
        db.execute(
            "UPDATE change SET state = 'applied', written = 1, attempts = attempts + 1, found = NULL, reason = NULL"
            " WHERE number IN (SELECT value FROM json_each(?))",
            (text(applied),),
        )
    if ends:
        columns = ("state", "known", "before", "written", "found", "late", "reason")
        sets = ", ".join(f"{name} = json_extract(value, '$[{at}]')" for at, name in enumerate(columns, 3))
        db.execute(
            f"UPDATE change SET {sets}, attempts = attempts + json_extract(value, '$[1]'),"  # noqa: S608  # ours
            " id = coalesce(json_extract(value, '$[2]'), change.id)"
            " FROM json_each(?) WHERE number = json_extract(value, '$[0]')",
            (
                text(
                    [
                        (
                            *(end.todo.number, end.attempts, end.id, end.state, end.known),
                            *(end.before, end.written, end.found, end.late, end.reason),
                        )
                        for end in ends
                    ]
                ),
            ),
        )


def release(db: sqlite3.Connection) -> None:
    """Give back what may leave, and has not."""
    db.execute("UPDATE change SET state = CASE WHEN written THEN 'unknown' ELSE 'planned' END WHERE state = 'sent'")


def resume(db: sqlite3.Connection, late: float) -> None:
    """What a process was sending when it ended is in doubt; it may arrive until then, and nothing else later."""
    db.execute(
        "UPDATE change SET state = 'unknown', written = 1, late = ?, reason = 'under way when its process ended'"
        " WHERE state = 'sent'",
        (late,),
    )
    db.execute("UPDATE change SET late = ? WHERE late > ?", (late, late))


def arrived(db: sqlite3.Connection) -> None:
    """Nothing can arrive late any more."""
    db.execute("UPDATE change SET late = NULL WHERE late IS NOT NULL")
