"""Planning: rows checked, kept and put together, and each configuration read."""

import asyncio
import hashlib
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, Final

import msgspec

from enkash_coins.bulk.comparison import Gone, State, Values, decide
from enkash_coins.bulk.kinds import ALLOCATIONS, OF_ITEM, UPDATES, Item, Kind
from enkash_coins.bulk.ledger import changes, storage
from enkash_coins.bulk.ledger.changes import End, Entry, Todo
from enkash_coins.bulk.limit import Refusal
from enkash_coins.bulk.report import told
from enkash_coins.bulk.source import BadFile
from enkash_coins.bulk.work import Work
from enkash_coins.bulk.writer import Writer
from enkash_coins.bulk.writing import Notes, look, skipped, why
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import Outcome

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


class Digest:
    """Rows as they pass, and what tells them from all others."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            _, id_, given, wanted, known = entry
            self._hash.update(msgspec.json.encode((id_ if given else None, wanted, known)))
            yield entry

    def __str__(self) -> str:
        return self._hash.hexdigest()


def digest(rows: Iterable[Item]) -> str:
    """What tells these rows from all others, in hexadecimal digits."""
    entries = Digest(Rows(rows))
    deque(entries, maxlen=0)
    return str(entries)


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
    digest = Digest(rows)
    entries = iter(digest)
    first = 0
    state = State.UNREAD if facts["reads"] == "yes" else State.PLANNED
    while batch := list(islice(entries, _BATCH)):
        if new:
            await writer.post(partial(changes.insert, first=first, entries=batch, state=state))
        first += len(batch)
    facts["input"] = str(digest)
    if not new:
        return await writer.post(lambda db: storage.check(db, writer.path))
    where = rows.where if isinstance(rows, Rows) else str
    await writer.post(partial(_complete, facts=facts, where=where, last_wins=last_wins, allow_repeats=allow_repeats))
    return None


def _complete(
    db: sqlite3.Connection, facts: dict[str, str], where: Callable[..., str], *, last_wins: bool, allow_repeats: bool
) -> None:
    """Put rows together, or refuse them; then it is a run."""
    if facts["kind"] == UPDATES.name:
        changes.put_together(db, _together(changes.repeated(db), where, last_wins=last_wins))
    elif facts["kind"] == ALLOCATIONS.name:
        refuse(
            [
                f"{where(*(line for _, line, _ in rows))}: have one request_id, {id_}"
                for id_, rows in changes.repeated(db)
            ]
        )
        if not allow_repeats:
            refuse(
                [
                    f"{where(*lines)}: give the same, {told(wanted)}; {GIVES_AGAIN}"
                    for wanted, lines in changes.alike(db)
                ]
            )
    storage.complete(db, facts)


def _together(
    groups: Iterable[tuple[str, list[tuple[int, int, Values]]]], where: Callable[..., str], *, last_wins: bool
) -> Iterator[tuple[int, int, Values]]:
    """One change of the rows of each id: the number of the first, how many they are, and what they want together."""
    problems: list[str] = []
    for id_, rows in groups:
        wanted: Values = {}
        for _, _, values in rows:
            if not last_wins:
                for field in (field for field, value in values.items() if wanted.get(field, value) != value):
                    lines = [line for _, line, values in rows if field in values]
                    problems.append(f"{where(*lines)}: give {id_} different values of {field}; {_LAST}")
            wanted |= values
        yield rows[0][0], len(rows), wanted
    refuse(list(dict.fromkeys(problems)))


async def read(work: Work, refusal: Refusal) -> None:
    """Read what no change was compared with yet."""
    notes = Notes(work)

    async def pages() -> AsyncIterator[list[Todo]]:
        beyond = -1
        unread = (State.UNREAD,)
        while page := await work.writer.post(partial(changes.page, beyond=beyond, most=_BATCH, states=unread)):
            beyond = page[-1].number
            notes.commit()
            await asyncio.shield(notes.on_disk)  # so that no more waits for the disk than two pages
            yield page

    async def perform(index: int, todo: Todo) -> Outcome[Todo, Any]:
        if work.ended_by is not None:
            return skipped(index, todo)
        seen, outcome = await look(work, index, todo)
        if seen is None:
            return outcome
        state = decide(todo.wanted, todo.known, seen, written=False)
        if isinstance(seen, Gone):
            notes.add(End(todo, state, None, None, written=False, reason=why(outcome)))
        elif state is State.DRIFTED:
            notes.add(End(todo, state, todo.known, None, written=False, found=seen))
        else:
            reason = refusal(todo.wanted, seen) if state is State.PLANNED else None
            notes.add(End(todo, State.NOT_SENT if reason else state, seen, None, written=False, reason=reason))
        return outcome

    try:
        await work.each(pages(), perform)
    finally:
        notes.commit()
        await notes.on_disk
