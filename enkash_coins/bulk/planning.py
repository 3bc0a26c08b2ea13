"""Rows checked, kept, put together, and told from all others, before anything is read."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Final

import msgspec

from enkash_coins.bulk.comparison import State, Values
from enkash_coins.bulk.files.problems import BadFile
from enkash_coins.bulk.kinds import ALLOCATIONS, OF_ITEM, UPDATES, Item, Kind
from enkash_coins.bulk.ledger import records, storage
from enkash_coins.bulk.ledger.records import Entry, Row
from enkash_coins.bulk.report import told
from enkash_coins.bulk.writer import Writer
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest

_BATCH: Final = 1_000
_SHOWN: Final = 20
GIVES_AGAIN: Final = "allow_repeats (--allow-repeats) gives them all the same"
_LAST: Final = "last_wins (--last-wins) takes the later one"


class Rows:
    """Rows as the ledger keeps them, to be iterated once: pulled where they are iterated, each checked.

    Attributes:
        kind: what they are, told by the first.
    """

    def __init__(self, rows: Iterable[Item]) -> None:
        numbered = getattr(rows, "numbered", None)  # a file's rows know their lines
        self._name = getattr(rows, "name", None)
        self._rows: Iterator[tuple[int, Item]] = iter(enumerate(rows, 1) if numbered is None else numbered())
        first = next(self._rows, None)
        if first is None:
            raise BadFile("there are no rows" if self._name is None else f"{self._name}: has no rows")
        kind = OF_ITEM.get(type(first[1]))
        if kind is None:
            raise BadFile(f"row 1: {shown(first[1])} is no {', '.join(item.__name__ for item in OF_ITEM)}")
        self.kind: Kind = kind
        self._rows = chain((first,), self._rows)

    def where(self, *lines: int) -> str:
        """Where rows stand, as it is shown."""
        listed = ", ".join(map(str, lines[:_SHOWN])) + (", …" if len(lines) > _SHOWN else "")
        plural = "s" if len(lines) > 1 else ""
        return f"row{plural} {listed}" if self._name is None else f"{self._name}: line{plural} {listed}"

    def __iter__(self) -> Iterator[Entry]:
        problems: list[str] = []
        for line, item in self._rows:
            try:
                if type(item) is not self.kind.item:
                    raise InvalidRequest(f"{shown(item)} is no {self.kind.item.__name__}")  # noqa: TRY301  # told like others
                self.kind.ask(item)
                yield (line, *self.kind.kept(item), None)
            except InvalidRequest as error:
                problems.append(f"{self.where(line)}: {error.args[0]}")
        refuse(problems)


def refuse(problems: list[str], *advice: str) -> None:
    """Raise them, if there are any: the first, a count of the rest, and what to do about them."""
    if problems:
        more = (f"and {len(problems) - _SHOWN:,} more of this kind",) if len(problems) > _SHOWN else ()
        raise BadFile(*problems[:_SHOWN], *more, *advice)


class Batches:
    """Entries, many at a time; ``str()`` tells those that were seen from all others."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = iter(entries)
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[list[Entry]]:
        while batch := list(islice(self._entries, _BATCH)):
            told = [(id_ if given else None, wanted, known) for _, id_, given, wanted, known in batch]
            self._hash.update(msgspec.json.encode(told))
            yield batch

    def __str__(self) -> str:
        return self._hash.hexdigest()


def digest(rows: Iterable[Item]) -> str:
    """What tells these rows from all others, in hexadecimal digits."""
    batches = Batches(Rows(rows))
    for _ in batches:
        pass
    return str(batches)


async def load(
    writer: Writer, rows: Rows | Iterable[Entry], facts: dict[str, str], *, last_wins: bool, allow_repeats: bool
) -> dict[str, str] | None:
    """Fill the ledger with rows, unless it was filled before; then the facts of that.

    Args:
        facts: get the digest of the rows.
    """
    new = not await writer.post(storage.is_whole)
    if new:
        await writer.post(storage.begin)
    state = State.UNREAD if facts["reads"] == "yes" else State.PLANNED
    batches, first = Batches(rows), 0
    for batch in batches:
        if new:
            await writer.post(partial(records.insert, first=first, entries=batch, state=state))
            first += len(batch)
    facts["input"] = str(batches)
    if not new:
        return await writer.post(lambda db: storage.check(db, writer.path))
    where = rows.where if isinstance(rows, Rows) else str
    await writer.post(partial(_complete, facts=facts, where=where, last_wins=last_wins, allow_repeats=allow_repeats))
    return None


def _complete(
    db: sqlite3.Connection, facts: dict[str, str], where: Callable[..., str], *, last_wins: bool, allow_repeats: bool
) -> None:
    """Put rows together, or refuse them; then it is a run."""
    repeated = records.repeated(db)
    if facts["kind"] == UPDATES.name:
        records.put_together(db, _together(repeated, where, last_wins=last_wins))
    elif facts["kind"] == ALLOCATIONS.name:
        refuse([f"{where(*(row.line for row in rows))}: have one request_id, {id_}" for id_, rows in repeated])
        alike = () if allow_repeats else records.alike(db)
        refuse([f"{where(*lines)}: give the same, {told(wanted)}; {GIVES_AGAIN}" for wanted, lines in alike])
    storage.complete(db, facts)


def _together(
    groups: Iterable[tuple[str, list[Row]]], where: Callable[..., str], *, last_wins: bool
) -> Iterator[tuple[Values, int, int]]:
    """Of the rows of each id: what they want together, how many they are, and the number of the first."""
    problems: dict[str, None] = {}
    for id_, rows in groups:
        wanted: Values = {}
        for row in rows:
            for field in row.wanted if not last_wins else ():
                if wanted.get(field, row.wanted[field]) != row.wanted[field]:
                    lines = [other.line for other in rows if field in other.wanted]
                    problems[f"{where(*lines)}: give {id_} different values of {field}; {_LAST}"] = None
            wanted |= row.wanted
        yield wanted, len(rows), rows[0].number
    refuse(list(problems))
