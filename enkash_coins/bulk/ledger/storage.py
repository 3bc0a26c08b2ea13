"""The ledger's file: made, opened so that nothing can be lost, and checked."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from enkash_coins.bulk.files.problems import BadFile, printable
from enkash_coins.bulk.writer import LedgerFailed

_APPLICATION: Final = 0x454E4B52  # "ENKR", by which a run is known among SQLite files
_FORMAT: Final = 3
_TABLES: Final = (
    "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # One for each write: see Record. Values are JSON; ``rows``: how many it was put together of.
    """CREATE TABLE record (
    number INTEGER PRIMARY KEY, line INTEGER NOT NULL, rows INTEGER NOT NULL DEFAULT 1, id TEXT, given INTEGER NOT NULL,
    wanted TEXT NOT NULL, state TEXT NOT NULL, known TEXT, before TEXT, found TEXT, written INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, sent_at REAL, late REAL, reason TEXT)""",
    # What each row says of those that were put together.
    """CREATE TABLE row (
    number INTEGER PRIMARY KEY, line INTEGER NOT NULL, record INTEGER NOT NULL, wanted TEXT NOT NULL)""",
)


def create(path: Path) -> None:
    """Make the file, if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # amounts are nobody else's business


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file."""
    return Path(path).is_file()


def remove_if_unfinished(path: Path) -> None:
    """Take the file away in which no run came about."""
    with closing(connect(path)) as db:
        whole = is_whole(db)
    if not whole:
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
        if not is_ours(db) and not is_empty(db):
            db.close()  # somebody else's: the next line would change it
            raise BadFile(f"{printable(str(path))}: is no run")
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()
        db.execute("PRAGMA synchronous=FULL")
        level = _pragma(db, "synchronous")
    except sqlite3.Error as error:
        db.close()
        raise told(path, error) from None
    if (mode, level) != (("wal",), 2):  # some network file systems cannot
        db.close()
        raise LedgerFailed(f"{printable(str(path))}: this file system cannot keep a ledger safe (journal {mode[0]})")
    return db


def may_be_run(path: Path) -> bool:
    """Whether a file calls itself a run, by its name or by what is in it.

    Only SQLite opens it: whoever else closes a file takes this process's locks on it away.
    """
    if path.suffix == ".run" or not path.stat().st_size:
        return path.stat().st_size > 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
            return is_ours(db)
    except sqlite3.Error:
        return False


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def told(path: Path, error: sqlite3.Error) -> Exception:
    """What SQLite complains about, as one line."""
    name = printable(str(path))
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return BadFile(f"{name}: is no run, or is damaged ({error})")
    return LedgerFailed(f"{name}: {error}")


def is_ours(db: sqlite3.Connection) -> bool:
    """Whether it is a run's, and not another program's."""
    return _pragma(db, "application_id") == _APPLICATION


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether there is nothing in it at all."""
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,))


def is_whole(db: sqlite3.Connection) -> bool:
    """Whether all rows came to be in it; else its process ended while they were read, and nothing was sent."""
    return _pragma(db, "user_version") != 0


def begin(db: sqlite3.Connection) -> None:
    """Make the tables of a new ledger, in place of whatever was in it."""
    db.execute("PRAGMA user_version=0")
    for table in ("fact", "record", "row"):
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for table in _TABLES:
        db.execute(table)
    db.execute(f"PRAGMA application_id={_APPLICATION}")


def complete(db: sqlite3.Connection, known: dict[str, str]) -> None:
    """Call it a run: from now on it is whole."""
    note(db, known)
    db.execute(f"PRAGMA user_version={_FORMAT}")


def facts(db: sqlite3.Connection) -> dict[str, str]:
    """What is kept of a run's plan and life."""
    return dict(db.execute("SELECT name, value FROM fact"))


def note(db: sqlite3.Connection, news: dict[str, str]) -> None:
    """Keep more facts of the run."""
    db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", news.items())


def check(db: sqlite3.Connection, path: Path) -> dict[str, str]:
    """The facts of a run; raises ``BadFile`` if this is none, or not whole."""
    name = printable(str(path))
    try:
        if not (is_ours(db) and is_whole(db)):
            unfinished = is_ours(db) or is_empty(db)
            raise BadFile(f"{name}: is no run" + (", or its plan was never finished" if unfinished else ""))
        if (found := _pragma(db, "user_version")) != _FORMAT:
            which = (
                "an earlier version of this command, from before its first release: plan its rows again"
                if found < _FORMAT
                else "a newer version of this command: update this one"
            )
            raise BadFile(f"{name}: was written by {which} (format {found}, not {_FORMAT})")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise BadFile(f"{name}: is damaged ({' '.join(str(verdict).split())})")
        return facts(db)
    except sqlite3.Error as error:
        raise told(path, error) from None
