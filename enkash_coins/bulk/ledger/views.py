"""What is to be known of a run; nothing here changes it."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs
import msgspec

from enkash_coins.bulk.comparison import State, Values
from enkash_coins.bulk.ledger.changes import listed

#: Of an allocation that another run has given: its line, what it says, the line there, and when it was sent.
Given = tuple[int, Values, int, float | None]
Counts = Counter[State]

_PAGE: Final = 500


@attrs.frozen
class Row:
    """One row of the input: its place, from 0, its line, and what it says."""

    number: int
    line: int
    wanted: Values


@attrs.frozen
class Record:
    """All that is known of one change."""

    number: int
    id: str | None
    wanted: Values
    state: State
    known: Values | None
    before: Values | None
    found: Values | None
    written: bool
    attempts: int
    sent_at: float | None
    late: float | None
    reason: str | None
    rows: tuple[Row, ...]

    @property
    def lines(self) -> tuple[int, ...]:
        """Where its rows stand in the input."""
        return tuple(row.line for row in self.rows)


def latest(db: sqlite3.Connection) -> float | None:
    """Seconds since 1970 until when something may arrive late, if anything may."""
    found: float | None = db.execute("SELECT max(late) FROM change").fetchone()[0]
    return found


def counts(db: sqlite3.Connection) -> Counts:
    """Rows by state."""
    rows = db.execute("SELECT state, sum(rows) FROM change GROUP BY state")
    return Counter({State(state): count for state, count in rows})


def numbers(db: sqlite3.Connection) -> dict[str, int]:
    """What else is told of a run: changes, those that set a company, and those that cannot be taken back."""
    found = db.execute(
        "SELECT count(*), sum(wanted LIKE '%\"company_id\":%'), sum(written AND before IS NULL) FROM change"
    ).fetchone()
    return {name: count or 0 for name, count in zip(("changes", "companies", "blind"), found, strict=True)}


def records(
    db: sqlite3.Connection, states: Iterable[State], *, beyond: int = -1, most: int | None = None
) -> Iterator[Record]:
    """Changes of these states, in the order of their first rows, read a page at a time."""
    query = (
        "SELECT number, id, wanted, state, known, before, found, written, attempts, sent_at, late, reason, line,"  # noqa: S608  # ours
        " CASE WHEN rows > 1 THEN (SELECT json_group_array(json_array(number, line, json(wanted)))"
        " FROM row WHERE row.change = change.number) END FROM change"
        f" WHERE number > ? AND state IN {listed(states)} ORDER BY number LIMIT {_PAGE if most is None else most}"
    )
    while page := db.execute(query, (beyond,)).fetchall():
        yield from (_record(*columns) for columns in page)
        if most is not None:
            return
        beyond = page[-1][0]


def _record(number: int, id_: str | None, wanted: str, state: str, *columns: Any) -> Record:  # noqa: ANN401  # SQLite's
    known, before, found, written, attempts, sent_at, late, reason, line, rows = columns
    values: Values = msgspec.json.decode(wanted)
    known, before, found = (None if kept is None else msgspec.json.decode(kept) for kept in (known, before, found))
    several = [Row(number, line, values)] if rows is None else [Row(*row) for row in msgspec.json.decode(rows)]
    facts = (known, before, found, bool(written), attempts, sent_at, late, reason)
    return Record(number, id_, values, State(state), *facts, tuple(several))


def reasons(db: sqlite3.Connection, most: int) -> list[tuple[State, str, int]]:
    """States and reasons with the number of their rows; the most frequent first."""
    query = "SELECT state, coalesce(reason, ''), sum(rows) AS n FROM change GROUP BY 1, 2 ORDER BY n DESC, 1 LIMIT ?"
    return [(State(state), reason, count) for state, reason, count in db.execute(query, (most,))]


def examples(db: sqlite3.Connection, state: State, reason: str, most: int) -> list[Record]:
    """A few changes of this state and reason, those first that change an amount most."""
    query = (
        "SELECT number FROM change WHERE state = ? AND coalesce(reason, '') = ? ORDER BY"
        " CASE state WHEN 'not_sent' THEN -abs(json_extract(wanted, '$.amount') - json_extract(known, '$.amount')) END,"
        " number LIMIT ?"
    )
    numbers = [number for (number,) in db.execute(query, (state, reason, most)).fetchall()]
    return [next(records(db, (state,), beyond=number - 1, most=1)) for number in numbers]


def undoing(db: sqlite3.Connection) -> Iterator[tuple[int, str, Values, Values | None, Values]]:
    """Of what may have been written: line, id, what was wanted, what an answer showed instead, and what was before."""
    query = (
        "SELECT line, id, wanted, CASE state WHEN 'mismatched' THEN found END, before FROM change"
        " WHERE written AND before IS NOT NULL ORDER BY number"
    )
    for line, id_, wanted, found, before in db.execute(query):
        yield (
            line,
            id_,
            msgspec.json.decode(wanted),
            None if found is None else msgspec.json.decode(found),
            msgspec.json.decode(before),
        )


def given_elsewhere(db: sqlite3.Connection, other: str, *, at_work: bool) -> list[Given]:
    """Allocations that are to be sent and that a run in another file has given, or may have given.

    Args:
        other: the file; attached to ``db``.
        at_work: somebody works on it now, so all that it plans may be given.
    """
    db.execute("ATTACH ? AS other", (other,))
    found = db.execute(
        "SELECT ours.line, ours.wanted, theirs.line, theirs.sent_at FROM main.change AS ours"
        " JOIN other.change AS theirs ON theirs.wanted = ours.wanted"
        " WHERE NOT ours.given AND NOT ours.written AND ours.state IN ('planned', 'rejected', 'not_sent')"
        " AND (theirs.written OR theirs.state = 'sent' OR ?) ORDER BY ours.number",
        (at_work,),
    )
    return [(line, msgspec.json.decode(wanted), there, at) for line, wanted, there, at in found]
