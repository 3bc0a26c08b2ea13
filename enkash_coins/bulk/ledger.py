"""The ledger of a run: one SQLite file. All SQL is here, as functions that the writer's thread performs."""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from typing import Final

import attrs
import orjson

from enkash_coins.bulk.rows import Row, Values
from enkash_coins.bulk.source import BadFile, printable
from enkash_coins.bulk.state import (
    OK,
    TRANSITIONS,
    Event,
    Place,
    State,
    after,
    comparable,
    left_by,
    look,
    settled,
)
from enkash_coins.bulk.writer import LedgerFailed

Counts = Counter[State]

_APPLICATION: Final = 0x454E4B52  # "ENKR", by which a run is known among SQLite files
_SCHEMA: Final = 1
_TABLES: Final = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE row (
    number INTEGER PRIMARY KEY,          -- its place in the input, from 0
    line INTEGER NOT NULL,
    id TEXT NOT NULL,                    -- of the configuration, or the allocation's own
    wanted TEXT NOT NULL,
    state TEXT NOT NULL,
    repeated INTEGER NOT NULL DEFAULT 0, -- whether there are other rows of this id
    before TEXT,                         -- the image that planning saw, with what earlier rows change of it
    expected TEXT,                       -- what should be there, if that is something else by now
    found TEXT,                          -- what was there instead
    read_at REAL,                        -- seconds since 1970
    tries INTEGER NOT NULL DEFAULT 0,    -- how often it was claimed
    attempts INTEGER NOT NULL DEFAULT 0,
    late REAL,                           -- seconds since 1970, until when an earlier attempt may still arrive
    reason TEXT
)"""
_PLACE: Final = "number, state, wanted, coalesce(expected, before), found"
_AGAIN: Final = tuple(state for state in State if Event.AGAIN in TRANSITIONS[state] if state not in OK)
_FAILED: Final = tuple(state for state in _AGAIN if state is not State.UNKNOWN)
_PAGE: Final = 500
# A late arrival of an id's only row repeats what is there.
_DOUBT: Final = "(state = 'unknown' OR (late IS NOT NULL AND repeated))"
_LATE: Final = "(state = 'unknown' OR late IS NOT NULL)"


@attrs.define
class Todo:
    """A row that is to be written."""

    number: int
    id: str
    wanted: Values
    expected: Values | None
    overridden: bool  # whether that is not what the plan says
    read_at: float | None
    repeated: bool
    late: float | None
    tries: int
    claimed: bool


@attrs.frozen
class End:
    """How the call of a row came to an end."""

    todo: Todo
    event: Event
    attempts: int
    late: float | None
    reason: str | None
    found: Values | None


@attrs.frozen
class Record:
    """All that is known of a row."""

    number: int
    line: int
    id: str
    wanted: Values
    state: State
    before: Values | None
    found: Values | None
    tries: int
    attempts: int
    late: float | None
    reason: str | None


def create(path: Path) -> None:
    """Make the file, if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # amounts are nobody else's business


def remove_if_empty(path: Path) -> None:
    """Take the file away in which no run came about."""
    with closing(connect(path)) as db:
        empty = is_empty(db)
    if empty:
        path.unlink()


def connect(path: Path) -> sqlite3.Connection:
    """A connection by which nothing that was committed can be lost."""
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    except sqlite3.Error as error:
        raise told(path, error) from None
    try:
        db.execute("PRAGMA cache_size=-8000")  # KiB
        db.execute("PRAGMA fullfsync=1")  # macOS: else its disks may keep what was synced for themselves
        application = db.execute("PRAGMA application_id").fetchone()
        if not is_empty(db) and application != (_APPLICATION,):
            db.close()  # somebody else's: the next line would change it
            raise BadFile(f"{printable(str(path))}: is no run")
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()
        db.execute("PRAGMA synchronous=FULL")
        level = db.execute("PRAGMA synchronous").fetchone()
    except sqlite3.Error as error:
        db.close()
        raise told(path, error) from None
    if (mode, level) != (("wal",), (2,)):  # some network file systems cannot
        db.close()
        raise LedgerFailed(f"{printable(str(path))}: this file system cannot keep a ledger safe (journal {mode[0]})")
    return db


def told(path: Path, error: sqlite3.Error) -> Exception:
    """What SQLite complains about, as one line."""
    name = printable(str(path))
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return BadFile(f"{name}: is no run, or is damaged ({error})")
    return LedgerFailed(f"{name}: {error}")


def check(db: sqlite3.Connection, path: Path) -> dict[str, str]:
    """The facts of a run; raises ``BadFile`` if this is none, or not whole."""
    name = printable(str(path))
    try:
        ((application,), (schema,)) = (
            db.execute(f"PRAGMA {what}").fetchone() for what in ("application_id", "user_version")
        )
        if application != _APPLICATION:
            raise BadFile(f"{name}: is no run" + ("" if application else ", or its plan was never finished"))
        if schema != _SCHEMA:
            raise BadFile(f"{name}: was written by a newer version of this command (schema {schema}, not {_SCHEMA})")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise BadFile(f"{name}: is damaged ({' '.join(str(verdict).split())})")
        return dict(db.execute("SELECT name, value FROM fact"))
    except sqlite3.Error as error:
        raise told(path, error) from None


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever committed to it: its process ended while the rows were read."""
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,))


def load(
    db: sqlite3.Connection, rows: Iterable[tuple[Row, Values | None]], facts: dict[str, str], state: State
) -> None:
    """Fill a new ledger: wholly or, if the rows raise, not at all.

    Args:
        rows: with what is expected before them, if that is known.
        facts: read after the last row.
    """
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.executemany(
        "INSERT INTO row (number, line, id, wanted, expected, state) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (number, row.line, row.id, _text(row.wanted), _text(expected), state)
            for number, (row, expected) in enumerate(rows)
        ),
    )
    db.execute("CREATE INDEX row_id ON row (id, number)")
    db.execute("UPDATE row SET repeated = 1 WHERE id IN (SELECT id FROM row GROUP BY id HAVING count(*) > 1)")
    query = "SELECT id, min(line), max(line) FROM row WHERE repeated GROUP BY id LIMIT 1"
    if facts["kind"] == "allocation" and (twice := db.execute(query).fetchone()):
        raise BadFile("request_id {} stands there twice, in lines {} and {}".format(*twice))
    db.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
    db.execute(f"PRAGMA application_id={_APPLICATION}")
    db.execute(f"PRAGMA user_version={_SCHEMA}")


def counts(db: sqlite3.Connection) -> Counts:
    """Rows by state."""
    return Counter(
        {State(state): count for state, count in db.execute("SELECT state, count(*) FROM row GROUP BY state")}
    )


def numbers(db: sqlite3.Connection) -> dict[str, int]:
    """What else a plan tells: ids, rows that set a company, rows whose late arrivals are waited for."""
    ids, companies, late = db.execute(
        "SELECT count(DISTINCT id), sum(wanted LIKE '%\"company_id\"%'),"  # noqa: S608  # ours
        f" sum(late IS NOT NULL AND {_DOUBT}) FROM row"
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
    return _ids(db, beyond, _LATE if every else _DOUBT)


def ids_unknown(db: sqlite3.Connection, beyond: str) -> list[str]:
    """The next ids of which it is not known whether a request was applied."""
    return _ids(db, beyond, "state = 'unknown'")


def _ids(db: sqlite3.Connection, beyond: str, condition: str) -> list[str]:
    query = f"SELECT id FROM row WHERE id > ? AND {condition} GROUP BY id ORDER BY id LIMIT {_PAGE}"  # noqa: S608  # ours
    return [id_ for (id_,) in db.execute(query, (beyond,))]


def plan(
    db: sqlite3.Connection, id_: str, found: Values, now: float, refusal: Callable[[Values, Values], str | None]
) -> Counts:
    """Compare all rows of an id with its configuration, each with what the one before leaves behind."""
    moved: Counts = Counter()
    last = -1
    query = f"SELECT number, wanted, expected FROM row WHERE id = ? AND number > ? AND state = 'unread' LIMIT {_PAGE}"  # noqa: S608  # ours
    while rows := db.execute(query, (id_, last)).fetchall():
        changes = []
        for last, wanted_text, expected_text in rows:  # the last one's number is used
            wanted, expected = _values(wanted_text), _maybe(expected_text)
            event = look(wanted, expected, found)
            reason = None
            if event is Event.FOUND_EXPECTED and (reason := refusal(wanted, found)):
                event = Event.REFUSED
            state = after(State.UNREAD, event)
            other = _text(found) if event is Event.FOUND_OTHER else None
            changes.append((state, _text(found), other, now, reason, last))
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
        moved += Counter({end: changed})
        moved[state] -= changed
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
    failed = f"tries > 0 AND state IN {_in(_FAILED)}"
    last = ""
    query = (
        f"SELECT id, min(number) FROM row WHERE repeated AND {failed} AND id > ? GROUP BY id ORDER BY id LIMIT {_PAGE}"  # noqa: S608  # ours
    )
    while ids := db.execute(query, (last,)).fetchall():
        for id_, first in ids:
            places = _places(db, "id = ? AND number >= ? AND (tries > 0 OR state = 'unchanged')", id_, first)
            _reopen(db, id_, first, left_by(places[-1]) or places[0].expected)
        last = ids[-1][0]
    there = "expected = CASE state WHEN 'mismatched' THEN found ELSE expected END"
    db.execute(f"UPDATE row SET {there}, state = 'planned', found = NULL, reason = NULL WHERE {failed}")  # noqa: S608  # ours


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
    """Plan what somebody else has changed."""
    db.execute(
        "UPDATE row SET state = ?, reason = NULL, found = NULL WHERE state = ?",
        (after(State.DRIFTED, Event.FORCED), State.DRIFTED),
    )


def settle(db: sqlite3.Connection, id_: str, found: Values, *, due: bool, forced: bool) -> None:
    """Compare what is in doubt of an id with its configuration.

    Args:
        due: nothing can arrive late any more.
    """
    doubt = "SELECT min(number) FROM row WHERE id = ? AND (state = 'unknown' OR late IS NOT NULL)"
    places = _places(db, f"id = ? AND number >= ({doubt}) AND state NOT IN ('planned', 'unread')", id_, id_)
    if len(places) > 1 or (places and places[0].state is State.UNKNOWN):
        event = settled(places, found, forced=forced)
        if event is Event.FOUND_EXPECTED:
            _reopen(db, id_, places[0].number, found)
        else:
            for place in places:
                unknown = place.state is State.UNKNOWN
                if unknown or (
                    event is Event.FOUND_OTHER and place is places[-1] and event in TRANSITIONS[place.state]
                ):
                    other = _text(found) if event is Event.FOUND_OTHER else None
                    db.execute(
                        "UPDATE row SET state = ?, reason = NULL, found = ? WHERE number = ?",
                        (after(place.state, event), other, place.number),
                    )
    if due:
        db.execute("UPDATE row SET late = NULL WHERE id = ? AND state <> 'unknown'", (id_,))


def _reopen(db: sqlite3.Connection, id_: str, first: int, expected: Values | None) -> None:
    """Plan the rows of an id again from the first one on; those that planning ended stay ended."""
    tried = f"tries > 0 AND state IN {_in((*_AGAIN, State.APPLIED))}"
    db.execute(
        "UPDATE row SET state = 'planned', expected = NULL, found = NULL, reason = NULL"  # noqa: S608  # ours
        f" WHERE id = ? AND number >= ? AND (state = 'unchanged' OR {tried})",
        (id_, first),
    )
    db.execute("UPDATE row SET expected = ? WHERE number = ?", (_text(expected), first))


def latest_arrival(db: sqlite3.Connection, *, every: bool = False) -> float | None:
    """Seconds since 1970 until when requests may still arrive late; ``None`` if nothing is in doubt."""
    query = f"SELECT max(coalesce(late, 0)) FROM row WHERE {_LATE if every else _DOUBT}"  # noqa: S608  # ours
    (until,) = db.execute(query).fetchone()
    return None if until is None else float(until)


def page(db: sqlite3.Connection, beyond: int, most: int, read_since: float | None) -> list[Todo]:
    """The next rows to write, of which those that need no other look are claimed.

    Args:
        read_since: seconds since 1970; ``None`` claims none.
    """
    # As one value: else sqlite3 gives up the interpreter's lock, and waits for it, once for every row.
    (text,) = db.execute(
        "SELECT json_group_array(json_array(number, id, json(wanted), json(coalesce(expected, before)),"
        " expected IS NOT NULL, read_at, repeated, late, tries))"
        " FROM (SELECT * FROM row WHERE number > ? AND state = 'planned' ORDER BY number LIMIT ?)",
        (beyond, most),
    ).fetchone()
    rows = orjson.loads(text)
    now = time.time()  # what was read later than that, on a clock since set back, has no age
    todos = []
    claims = []
    for number, id_, wanted, expected, overridden, read_at, repeated, late, tries in rows:
        claimed = read_since is not None and not repeated and (read_at is None or read_since <= read_at <= now)
        if claimed:
            claims.append((number,))
        todos.append(Todo(number, id_, wanted, expected, overridden, read_at, repeated, late, tries, claimed))
    if len(claims) == len(rows) and rows:  # half the time of one by one
        db.execute(
            "UPDATE row SET state = 'sent', tries = tries + 1 WHERE number BETWEEN ? AND ? AND state = 'planned'",
            (rows[0][0], rows[-1][0]),
        )
    else:
        db.executemany("UPDATE row SET state = 'sent', tries = tries + 1 WHERE number = ?", claims)
    return todos


def prepare(db: sqlite3.Connection, todo: Todo, *, forced: bool) -> Event | None:
    """Learn what the row before it has left; what that means for this one, ``None``: its turn has not come."""
    places = _places(db, "id = ? AND number < ? ORDER BY number DESC LIMIT 1", todo.id, todo.number)
    if not places:
        return Event.FOUND_EXPECTED if todo.expected is None else look(todo.wanted, None, todo.expected)
    (before,) = places
    if before.state in (State.UNREAD, State.PLANNED, State.SENT):
        return None
    if before.state is State.DRIFTED and not forced:
        todo.expected = before.found
        return Event.FOUND_OTHER
    if not todo.overridden:
        todo.expected = left_by(before)
    return Event.FOUND_EXPECTED if todo.expected is None else look(todo.wanted, None, todo.expected)


def claim(db: sqlite3.Connection, todo: Todo) -> None:
    """Take note that the request may leave from now on."""
    db.execute(
        "UPDATE row SET state = ?, tries = tries + 1, expected = coalesce(?, expected), read_at = ? WHERE number = ?",
        (
            after(State.PLANNED, Event.CLAIMED),
            _text(todo.expected) if todo.repeated else None,
            todo.read_at,
            todo.number,
        ),
    )


def note(db: sqlite3.Connection, todo: Todo, event: Event, reason: str | None, found: Values | None) -> Counts:
    """Take note of what another look at a planned row has shown."""
    if event is Event.FOUND_WANTED and todo.tries:
        event = Event.FOUND_OURS
    state = after(State.PLANNED, event)
    db.execute(
        "UPDATE row SET state = ?, reason = ?, found = ?, expected = coalesce(?, expected) WHERE number = ?",
        (state, reason, _text(found), _text(todo.expected) if todo.repeated else None, todo.number),
    )
    if todo.repeated and state not in OK:
        _reopen_unchanged(db, todo)
    return Counter({state: 1, State.PLANNED: -1})


def finish(db: sqlite3.Connection, ends: Sequence[End]) -> Counts:
    """Take note of how calls came to an end."""
    moved: Counts = Counter()
    changes = []
    plain = []
    for end in ends:
        state = after(State.SENT, end.event)
        moved[state] += 1
        if state is State.APPLIED and end.attempts == 1 and end.late is None:
            plain.append(end.todo.number)
        else:
            changes.append((state, end.attempts, end.late, end.reason, _text(end.found), end.todo.number))
    db.execute(  # those at once, for the same reason as in page()
        "UPDATE row SET state = 'applied', attempts = attempts + 1, late = NULL, reason = NULL, found = NULL"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (orjson.dumps(plain).decode(),),
    )
    db.executemany(
        "UPDATE row SET state = ?, attempts = attempts + ?, late = ?, reason = ?, found = ? WHERE number = ?", changes
    )
    for end in ends:
        if end.todo.repeated and end.event is not Event.APPLIED:
            _reopen_unchanged(db, end.todo)
    moved[State.PLANNED] -= len(ends)
    return moved


def _reopen_unchanged(db: sqlite3.Connection, todo: Todo) -> None:
    """Later rows of its id that would have changed nothing after it may now."""
    db.execute(
        "UPDATE row SET state = 'planned' WHERE id = ? AND number > ? AND state = 'unchanged'", (todo.id, todo.number)
    )


def release(db: sqlite3.Connection) -> None:
    """Give back what was claimed and is not under way."""
    db.execute(
        "UPDATE row SET state = ?, tries = tries - 1 WHERE state = ?", (after(State.SENT, Event.RELEASED), State.SENT)
    )


def records(db: sqlite3.Connection, states: Sequence[State], *, beyond: int = -1) -> Iterator[Record]:
    """All rows of these states in order, read a page at a time."""
    query = (
        "SELECT number, line, id, wanted, state, before, found, tries, attempts, late, reason FROM row"  # noqa: S608  # ours
        f" WHERE number > ? AND state IN {_in(states)} ORDER BY number LIMIT {_PAGE}"
    )
    while rows := db.execute(query, (beyond,)).fetchall():
        for number, line, id_, wanted, state, before, found, *rest in rows:
            yield Record(number, line, id_, _values(wanted), State(state), _maybe(before), _maybe(found), *rest)
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


def undoing(db: sqlite3.Connection) -> Iterator[tuple[Row, Values | None]]:
    """The rows that take a run back: for each id the first before-image, and what the run has left."""
    touched = (*OK, State.MISMATCHED, State.UNKNOWN)
    query = (
        "SELECT id, line, before, wanted, state, found, tries, expected FROM row WHERE before IS NOT NULL"
        " ORDER BY id, number"
    )
    for id_, rows in groupby(db.execute(query), key=lambda row: str(row[0])):
        image: Values = {}
        target: Values = {}
        left: Values = {}
        there: Values = {}  # before rows that are to be sent again: what they left the first time, if anything
        line = 0
        for _, line, before, wanted, state, found, tries, expected in rows:  # noqa: B007  # the last one's line is used
            image = image or _values(before)
            fields = comparable(_values(wanted))
            if tries and state == State.PLANNED:
                there = there or _maybe(expected) or {}
                changed = {name: there[name] for name in fields if there.get(name, image[name]) != image[name]}
                target |= {name: image[name] for name in changed}
                left |= changed
            elif tries and state in touched:
                target |= {name: image[name] for name in fields}
                left |= fields if state != State.MISMATCHED else _maybe(found) or {}
        if target:
            yield Row(line, id_, target), {name: left[name] for name in target}


def _places(db: sqlite3.Connection, condition: str, *arguments: object) -> list[Place]:
    order = "" if "ORDER BY" in condition else " ORDER BY number"
    rows = db.execute(f"SELECT {_PLACE} FROM row WHERE {condition}{order}", arguments)  # noqa: S608  # ours
    return [
        Place(number, State(state), _values(wanted), _maybe(expected), _maybe(found))
        for number, state, wanted, expected, found in rows
    ]


def _in(states: Iterable[State]) -> str:
    return f"({', '.join(map(repr, map(str, states)))})"


def _text(values: Values | None) -> str | None:
    return None if values is None else orjson.dumps(values).decode()


def _values(text: str) -> Values:
    values: Values = orjson.loads(text)
    return values


def _maybe(text: str | None) -> Values | None:
    return None if text is None else _values(text)
