"""What is to be known of a run; nothing here changes it."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from enkash_coins.bulk.ledger.fields import (
    DOUBT,
    LATE,
    PAGE,
    TOGETHER,
    Counts,
    Record,
    listed,
    values_of,
    values_or_none,
)
from enkash_coins.bulk.rows import Row, Values
from enkash_coins.bulk.state import NO, State, comparable


def counts(db: sqlite3.Connection, condition: str = "TRUE", *arguments: object) -> Counts:
    """Rows by state."""
    rows = db.execute(f"SELECT state, count(*) FROM row WHERE {condition} GROUP BY state", arguments)  # noqa: S608  # ours
    return Counter({State(state): count for state, count in rows})


def count(db: sqlite3.Connection, state: State) -> int:
    """Rows of one state; a quarter of the work of counting all."""
    return int(db.execute("SELECT count(*) FROM row WHERE state = ?", (state,)).fetchone()[0])


def numbers(db: sqlite3.Connection) -> dict[str, int]:
    """What else a plan tells: ids, rows that set a company, rows whose late arrivals are waited for."""
    ids, companies, late = db.execute(
        "SELECT count(DISTINCT id), sum(wanted LIKE '%\"company_id\"%'),"  # noqa: S608  # ours
        f" sum(late IS NOT NULL AND {DOUBT}) FROM row"
    ).fetchone()
    return {"ids": ids, "companies": companies or 0, "late": late or 0}


def ids_unread(db: sqlite3.Connection, beyond: str) -> list[str]:
    """The next ids whose configuration was not read yet."""
    return _ids(db, beyond, "state = 'unread'")


def ids_in_doubt(db: sqlite3.Connection, beyond: str, *, every: bool = False) -> list[str]:
    """The next ids of which a request may have been applied, or may yet arrive and matter.

    Args:
        every: also where it could only repeat what is there, which matters once that is taken back.
    """
    return _ids(db, beyond, LATE if every else DOUBT)


def ids_to_settle(db: sqlite3.Connection, beyond: str) -> list[str]:
    """The next ids of which it is to be read how an apply goes on."""
    return _ids(db, beyond, f"({DOUBT} OR {TOGETHER})")


def _ids(db: sqlite3.Connection, beyond: str, condition: str) -> list[str]:
    query = f"SELECT id FROM row WHERE id > ? AND {condition} GROUP BY id ORDER BY id LIMIT {PAGE}"  # noqa: S608  # ours
    return [id_ for (id_,) in db.execute(query, (beyond,))]


def latest_arrival(db: sqlite3.Connection, *, every: bool = False) -> float | None:
    """Seconds since 1970 until when requests may still arrive late; ``None`` if nothing is in doubt."""
    query = f"SELECT max(coalesce(late, 0)) FROM row WHERE {LATE if every else DOUBT}"  # noqa: S608  # ours
    (until,) = db.execute(query).fetchone()
    return None if until is None else float(until)


# Of a drifted row what was really there: that of later rows is what earlier ones should have left.
_SEEN: Final = (
    "CASE WHEN repeated AND state = 'drifted'"
    " THEN (SELECT before FROM row AS first WHERE first.id = row.id ORDER BY number LIMIT 1) ELSE before END"
)


def records(db: sqlite3.Connection, states: Sequence[State], *, beyond: int = -1) -> Iterator[Record]:
    """All rows of these states in order, read a page at a time."""
    query = (
        f"SELECT number, line, id, wanted, state, {_SEEN}, found, tries, attempts, late, reason FROM row"  # noqa: S608  # ours
        f" WHERE number > ? AND state IN {listed(states)} ORDER BY number LIMIT {PAGE}"
    )
    while rows := db.execute(query, (beyond,)).fetchall():
        for number, line, id_, wanted, state, before, found, *rest in rows:
            yield Record(
                number, line, id_, values_of(wanted), State(state), values_or_none(before), values_or_none(found), *rest
            )
        beyond = rows[-1][0]


def reasons(db: sqlite3.Connection, most: int) -> list[tuple[State, str, int]]:
    """States and reasons with the number of their rows; the most frequent first."""
    query = "SELECT state, coalesce(reason, ''), count(*) AS n FROM row GROUP BY 1, 2 ORDER BY n DESC, 1 LIMIT ?"
    return [(State(state), reason, count) for state, reason, count in db.execute(query, (most,))]


def examples(db: sqlite3.Connection, state: State, reason: str, most: int) -> list[Record]:
    """A few rows of this state and reason."""
    query = "SELECT number FROM row WHERE state = ? AND coalesce(reason, '') = ? ORDER BY number LIMIT ?"
    return [
        next(records(db, (state,), beyond=number - 1))
        for (number,) in db.execute(query, (state, reason, most)).fetchall()
    ]


def undoing(db: sqlite3.Connection) -> Iterator[tuple[Row, Sequence[Values]]]:
    """The rows that take a run back: for each id the first before-image, and all that the run may have left there."""
    # Certainly nothing: refused, or planned once more after it was seen that nothing had come of it.
    unsent = "state = 'planned' AND late IS NULL AND NOT repeated"
    nothing = f"tries = 0 OR (found IS NULL AND (state IN {listed(NO)} OR ({unsent})))"
    query = (
        f"SELECT id, line, before, wanted, {nothing}, state = 'drifted', found FROM row"  # noqa: S608  # ours
        " WHERE before IS NOT NULL ORDER BY id, number"
    )
    for id_, rows in groupby(db.execute(query), key=lambda row: str(row[0])):
        image: Values = {}
        target: Values = {}
        left: list[Values] = []
        for _, line, before, wanted, nothing_left, drifted, found_text in rows:  # noqa: B007  # the last one's line is used
            image = image or values_of(before)
            if nothing_left:
                continue
            fields = comparable(values_of(wanted))
            found = values_or_none(found_text) or {}
            if drifted:  # what of it is there all the same
                fields = {name: value for name, value in fields.items() if found[name] == value}
            left += [fields] if drifted else [fields, found]
            target |= {name: image[name] for name in fields}
        if target:
            yield Row(line, id_, target), left
