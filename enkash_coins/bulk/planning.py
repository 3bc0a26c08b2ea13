"""Planning: rows checked and kept, each with its place, before any is looked at."""

import hashlib
import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from enkash_coins.bulk.ledger import storage
from enkash_coins.bulk.rows import Format, Item, Kind, Row, RowFile, row_of
from enkash_coins.bulk.source import Source
from enkash_coins.bulk.state import Known, State
from enkash_coins.bulk.writer import LedgerFailed, Writer

KnownRow = tuple[Row, Known]


@contextmanager
def checked(rows: str | os.PathLike[str] | Iterable[Item], kind: Kind, form: Format | None) -> Iterator[Iterable[Row]]:
    """Rows of a file or of a program, each checked when it is asked for."""
    if isinstance(rows, str | os.PathLike):
        with Source(os.fspath(rows)) as source:
            yield RowFile(source, kind, form)
    else:
        yield (row_of(item, index, kind) for index, item in enumerate(rows))


async def loaded(writer: Writer, rows: Iterable[KnownRow], facts: dict[str, str]) -> dict[str, str] | None:
    """Fill the ledger, unless it was filled before; then the facts of that.

    Args:
        facts: gets the digest of the rows.
    """
    hashed = _hashed(rows, facts, writer)

    def fill(db: sqlite3.Connection) -> dict[str, str] | None:
        if storage.is_empty(db):
            storage.load(db, hashed, facts, State.UNREAD if facts["reads"] == "yes" else State.PLANNED)
            return None
        known = storage.check(db, writer.path)
        deque(hashed, maxlen=0)
        return known

    return await writer.post(fill)


def _hashed(rows: Iterable[KnownRow], facts: dict[str, str], writer: Writer) -> Iterator[KnownRow]:
    """The same rows; when they are through, their digest is among the facts."""
    digest = hashlib.sha256()
    for row, ours in rows:
        if writer.closing:  # whoever asked for them was cancelled
            raise LedgerFailed("interrupted")
        digest.update(msgspec.json.encode((row.id if row.given else None, row.wanted, ours)))
        yield row, ours
    facts["input"] = digest.hexdigest()
