"""Nobody is paid twice by a second try: allocations that other runs in the folder have given, or may have given."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from enkash_coins.bulk.files.problems import BadFile, printable, reason
from enkash_coins.bulk.kinds import ALLOCATIONS
from enkash_coins.bulk.ledger import storage, views
from enkash_coins.bulk.ledger.records import Given
from enkash_coins.bulk.lock import is_held
from enkash_coins.bulk.writer import LedgerFailed

_RECENT: Final = 7 * 24 * 3600.0


def repeats(path: Path, base_url: str) -> tuple[list[str], list[str]]:
    """Allocations of a run, without a request id of their own and still to be sent, that its neighbours have given.

    Args:
        path: of the run; whoever looks holds its lock, so of two that look at each other one at least sees the other.
        base_url: of its host.

    Returns: one line each: those of the last seven days, or of nobody knows when; and older ones.
    """
    recent: list[str] = []
    older: list[str] = []
    for file in sorted(path.parent.iterdir()):
        if not file.is_file() or file.samefile(path) or not storage.may_be_run(file):
            continue
        try:
            for line, wanted, there, at in _given(path, file, base_url):
                day = "" if at is None else f", on {datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
                what = " ".join(str(value) for value in wanted.values())
                told = (
                    f"line {line}: {printable(file.name)} has given, or may have given, {what} (its line {there}{day})"
                )
                (recent if at is None or at > time.time() - _RECENT else older).append(told)
        except (sqlite3.Error, OSError, BadFile, LedgerFailed) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            recent.append(f"{printable(file.name)}: what it has given cannot be told ({why})")
    return recent, older


def _given(path: Path, file: Path, base_url: str) -> Iterator[Given]:
    with closing(storage.connect(file)) as db:
        if not storage.is_whole(db):
            return  # its plan was never finished: it has given nothing
        facts = storage.check(db, file)
    if facts["kind"] == ALLOCATIONS.name and (facts["base_url"] == base_url or not (facts["base_url"] and base_url)):
        with closing(storage.connect(path)) as db:
            yield from views.given_elsewhere(db, str(file), at_work=is_held(file))
