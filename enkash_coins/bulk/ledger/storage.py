"""The ledger's file: made, opened so that nothing can be lost, checked and filled."""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from enkash_coins.bulk.ledger.fields import as_text
from enkash_coins.bulk.rows import Row
from enkash_coins.bulk.source import BadFile, printable
from enkash_coins.bulk.state import Known, State
from enkash_coins.bulk.writer import LedgerFailed

_APPLICATION: Final = 0x454E4B52  # "ENKR", by which a run is known among SQLite files
_SCHEMA: Final = 2
_FACTS: Final = "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_ROWS: Final = """
CREATE TABLE row (
    number INTEGER PRIMARY KEY,          -- its place in the input, from 0
    line INTEGER NOT NULL,
    id TEXT NOT NULL,                    -- of the configuration, or the allocation's own
    wanted TEXT NOT NULL,
    state TEXT NOT NULL,
    repeated INTEGER NOT NULL DEFAULT 0, -- whether there are other rows of this id
    before TEXT,                         -- the image that planning saw, with what earlier rows change of it
    ours TEXT,                           -- all that the run which it takes back may have left there: a list
    found TEXT,                          -- what was there instead: by its answer or, of a drifted one, by a reading
    read_at REAL,                        -- seconds since 1970
    tries INTEGER NOT NULL DEFAULT 0,    -- how often it was claimed
    attempts INTEGER NOT NULL DEFAULT 0,
    late REAL,                           -- until when an earlier attempt may arrive (0: it took effect, as it seems)
    reason TEXT
)"""


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
            raise BadFile(f"{name}: was written by another version of this command (schema {schema}, not {_SCHEMA})")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise BadFile(f"{name}: is damaged ({' '.join(str(verdict).split())})")
        return dict(db.execute("SELECT name, value FROM fact"))
    except sqlite3.Error as error:
        raise told(path, error) from None


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever committed to it: its process ended while the rows were read."""
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,))


def load(db: sqlite3.Connection, rows: Iterable[tuple[Row, Known]], facts: dict[str, str], state: State) -> None:
    """Fill a new ledger: wholly or, if the rows raise, not at all.

    Args:
        rows: with what the run that they take back may have left there.
        facts: read after the last row.
    """
    db.execute(_FACTS)
    db.execute(_ROWS)
    db.executemany(
        "INSERT INTO row (number, line, id, wanted, ours, state) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (number, row.line, row.id, as_text(row.wanted), as_text(ours), state)
            for number, (row, ours) in enumerate(rows)
        ),
    )
    db.execute("CREATE INDEX row_id ON row (id, number)")
    db.execute("UPDATE row SET repeated = 1 WHERE id IN (SELECT id FROM row GROUP BY id HAVING count(*) > 1)")
    db.execute("CREATE INDEX row_repeated ON row (id, state, number) WHERE repeated")
    query = "SELECT id, min(line), max(line) FROM row WHERE repeated GROUP BY id LIMIT 1"
    if facts["kind"] == "allocation" and (twice := db.execute(query).fetchone()):
        raise BadFile("request_id {} stands there twice, in lines {} and {}".format(*twice))
    db.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
    db.execute(f"PRAGMA application_id={_APPLICATION}")
    db.execute(f"PRAGMA user_version={_SCHEMA}")
