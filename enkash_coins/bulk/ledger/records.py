"""Records in the ledger, one for each write: put in, fetched by the page, moved and counted. No rule is in here."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from enkash_coins.bulk.comparison import State, Values

#: Line, id, whether that came with the row, what is wanted, what is known.
Entry = tuple[int, str | None, bool, Values, Values | None]
#: Of an allocation that another run has given: its line, what it says, the line there, and when it was sent.
Given = tuple[int, Values, int, float | None]
Counts = Counter[State]


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row of the input: its place, from 0, its line, and what it says."""

    number: int
    line: int
    wanted: Values


class Record(msgspec.Struct, array_like=True, gc=False):
    """One write, and all that is known of it.

    Attributes:
        number: of its first row, from 0.
        line: of its first row.
        id: of the configuration, once there is one; or the allocation's own.
        known: what was there when we last knew, in the fields that it sets.
        before: what was there right before our first write.
        found: what is there instead of what is wanted; of a creation, what was made.
        written: whether we may have written it.
        sent_at: seconds since 1970; not of updates.
        late: until when an attempt without an answer may arrive; seconds since 1970.
        together: its rows, if it was put together of several.
    """

    number: int
    line: int
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
    together: list[Row] | None

    @property
    def rows(self) -> list[Row]:
        """Its rows."""
        return self.together or [Row(self.number, self.line, self.wanted)]

    @property
    def lines(self) -> list[int]:
        """Where its rows stand in the input."""
        return [row.line for row in self.rows]


_RECORDS: Final = msgspec.json.Decoder(list[Record], strict=False)  # SQLite has no bool
_PAGE: Final = 512
_decode: Final = msgspec.json.decode


def _listed(states: Iterable[State]) -> str:
    return f"({', '.join(map(repr, map(str, states)))})"


def text(values: object) -> str | None:
    """Values as they are kept."""
    return None if values is None else msgspec.json.encode(values).decode()


def insert(db: sqlite3.Connection, first: int, entries: Iterable[Entry], state: State) -> None:
    """Put in rows, each as a record of its own for now."""
    db.executemany(
        "INSERT INTO record (number, line, id, given, wanted, known, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (number, line, id_, given, text(wanted), text(known), state)
            for number, (line, id_, given, wanted, known) in enumerate(entries, first)
        ),
    )


def repeated(db: sqlite3.Connection) -> Iterator[tuple[str, list[Row]]]:
    """Ids of several rows, each with its rows."""
    db.execute("CREATE INDEX record_id ON record (id)")
    db.execute(
        "INSERT INTO row SELECT number, line, min(number) OVER (PARTITION BY id), wanted FROM record"
        " WHERE id IN (SELECT id FROM record GROUP BY id HAVING count(*) > 1)"
    )
    found = db.execute("SELECT id, row.* FROM row JOIN record USING (number) ORDER BY record, row.number")
    for id_, rows in groupby(found, key=lambda row: str(row[0])):
        yield id_, [Row(number, line, _decode(wanted)) for _, number, line, _, wanted in rows]


def put_together(db: sqlite3.Connection, wanted: Iterable[tuple[Values, int, int]]) -> None:
    """Make one record of the rows of an id: what they want together, how many they are, the number of the first."""
    query = "UPDATE record SET wanted = ?, rows = ? WHERE number = ?"
    db.executemany(query, ((text(values), rows, number) for values, rows, number in wanted))
    db.execute("DELETE FROM record WHERE number IN (SELECT number FROM row WHERE number <> record)")
    db.execute("CREATE INDEX row_record ON row (record)")
    db.execute("DROP INDEX record_id")  # else every change of a record would cost one of the index


def alike(db: sqlite3.Connection) -> Iterator[tuple[Values, list[int]]]:
    """What rows without an id of their own say alike, with their lines."""
    query = "SELECT wanted, json_group_array(line) FROM record WHERE NOT given GROUP BY wanted HAVING count(*) > 1"
    return ((_decode(wanted), sorted(_decode(lines))) for wanted, lines in db.execute(query))


def page(
    db: sqlite3.Connection,
    beyond: int = -1,
    *,
    states: Iterable[State] = State,
    written: bool = False,
    claim: Sequence[State] = (),
    most: int = _PAGE,
) -> list[Record]:
    """The next records in these states.

    Args:
        written: only those that may have been written.
        claim: say that those in these states that were certainly not written may leave from now on.
    """
    # As one value: else sqlite3 gives up the interpreter's lock, and waits for it, once for every row.
    (found,) = db.execute(
        "SELECT json_group_array(json_array(number, line, id, json(wanted), state, json(known), json(before),"  # noqa: S608  # ours
        " json(found), written, attempts, sent_at, late, reason,"
        " CASE WHEN rows > 1 THEN (SELECT json_group_array(json_array(number, line, json(wanted)))"
        " FROM row WHERE record = its.number) END)) FROM (SELECT * FROM record WHERE number > ?"
        f" AND state IN {_listed(states)}{' AND written' * written} ORDER BY number LIMIT ?) AS its",
        (beyond, most),
    ).fetchone()
    records = _RECORDS.decode(found)
    if claim and records:
        db.execute(
            "UPDATE record SET state = 'sent', before = known"  # noqa: S608  # ours
            f" WHERE number BETWEEN ? AND ? AND state IN {_listed(claim)} AND NOT written",
            (records[0].number, records[-1].number),
        )
    return records


def every(db: sqlite3.Connection, states: Iterable[State] = State) -> Iterator[Record]:
    """All records in these states, in the order of their first rows."""
    states = tuple(states)
    records = page(db, states=states)
    while records:
        yield from records
        records = page(db, records[-1].number, states=states)


def claim(db: sqlite3.Connection, claims: Sequence[tuple[int, Values | None, Values | None, float | None]]) -> None:
    """Say that these may leave from now on: numbers, with what is known, what was before, and when they do."""
    db.execute(
        "UPDATE record SET state = 'sent', known = json_extract(value, '$[1]'), before = json_extract(value, '$[2]'),"
        " sent_at = json_extract(value, '$[3]') FROM json_each(?) WHERE number = json_extract(value, '$[0]')",
        (text(claims),),
    )


_COLUMNS: Final = ("number", "id", "state", "known", "before", "found", "written", "attempts", "late", "reason")
_KEEP: Final = (
    "UPDATE record SET "  # noqa: S608  # ours
    + ", ".join(f"{name} = json_extract(value, '$[{at}]')" for at, name in enumerate(_COLUMNS) if at)
    + " FROM json_each(?) WHERE number = json_extract(value, '$[0]')"
)

_kept: Final = attrgetter(*_COLUMNS)


def keep(db: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Keep what has become of records."""
    db.execute(_KEEP, (text(list(map(_kept, records))),))  # one statement for all, for the same reason as in page()


def applied(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Keep that these were applied at the first attempt, an eighth of the work of ``keep``."""
    db.execute(
        "UPDATE record SET state = 'applied', written = 1, attempts = attempts + 1, found = NULL, reason = NULL"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (text(numbers),),
    )


def release(db: sqlite3.Connection) -> None:
    """Give back what may leave, and has not."""
    db.execute("UPDATE record SET state = 'planned' WHERE state = 'sent'")


def resume(db: sqlite3.Connection, late: float) -> None:
    """What a process was sending when it ended is in doubt; it may arrive until then, and nothing else later."""
    db.execute(
        "UPDATE record SET state = 'unknown', written = 1, late = ?, reason = 'under way when its process ended'"
        " WHERE state = 'sent'",
        (late,),
    )
    db.execute("UPDATE record SET late = ? WHERE late > ?", (late, late))


def arrived(db: sqlite3.Connection) -> None:
    """Nothing can arrive late any more."""
    db.execute("UPDATE record SET late = NULL WHERE late IS NOT NULL")


def latest(db: sqlite3.Connection) -> float | None:
    """Until when something may arrive late, if anything may."""
    found: float | None = db.execute("SELECT max(late) FROM record").fetchone()[0]
    return found
