"""What is to be known of a run; nothing here changes it."""

import sqlite3
from collections import Counter

import msgspec

from enkash_coins.bulk.comparison import State
from enkash_coins.bulk.ledger.records import Counts, Given, Record, page


def counts(db: sqlite3.Connection) -> Counts:
    """Rows by state."""
    rows = db.execute("SELECT state, sum(rows) FROM record GROUP BY state")
    return Counter({State(state): count for state, count in rows})


def numbers(db: sqlite3.Connection) -> tuple[int, int]:
    """How many writes there are, and how many of them set a company."""
    found: tuple[int, int | None] = db.execute(
        "SELECT count(*), sum(wanted LIKE '%\"company_id\":%') FROM record"
    ).fetchone()
    return found[0], found[1] or 0


def reasons(db: sqlite3.Connection, most: int) -> list[tuple[State, str, int]]:
    """States and reasons with the number of their rows; the most frequent first."""
    query = "SELECT state, coalesce(reason, ''), sum(rows) AS n FROM record GROUP BY 1, 2 ORDER BY n DESC, 1 LIMIT ?"
    return [(State(state), reason, count) for state, reason, count in db.execute(query, (most,))]


def examples(db: sqlite3.Connection, state: State, reason: str, most: int) -> list[Record]:
    """A few records of this state and reason; of those that were not sent, those that change an amount most."""
    query = (
        "SELECT number FROM record WHERE state = ? AND coalesce(reason, '') = ? ORDER BY"
        " CASE state WHEN 'not_sent' THEN -abs(json_extract(wanted, '$.amount') - json_extract(known, '$.amount')) END,"
        " number LIMIT ?"
    )
    return [page(db, number - 1, most=1)[0] for (number,) in db.execute(query, (state, reason, most)).fetchall()]


def given_elsewhere(db: sqlite3.Connection, other: str, *, at_work: bool) -> list[Given]:
    """Allocations that are to be sent and that a run in another file has given, or may have given.

    Args:
        at_work: somebody works on it now, so all that it plans may be given.
    """
    db.execute("ATTACH ? AS other", (other,))
    found = db.execute(
        "SELECT ours.line, ours.wanted, theirs.line, theirs.sent_at FROM main.record AS ours"
        " JOIN other.record AS theirs ON theirs.wanted = ours.wanted"
        " WHERE NOT ours.given AND NOT ours.written AND ours.state IN ('planned', 'rejected', 'not_sent')"
        " AND (theirs.written OR theirs.state = 'sent' OR ?) ORDER BY ours.number",
        (at_work,),
    )
    return [(line, msgspec.json.decode(wanted), there, at) for line, wanted, there, at in found]
