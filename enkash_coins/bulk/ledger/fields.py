"""What the ledger's rooms share: rows as values, and how they are written in SQL."""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs
import msgspec

from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import OK, TRANSITIONS, Event, Known, Place, State, extended

Counts = Counter[State]

AGAIN: Final = tuple(state for state in State if Event.AGAIN in TRANSITIONS[state] if state not in OK)
FAILED: Final = tuple(state for state in AGAIN if state is not State.UNKNOWN)
REOPENED: Final = (*AGAIN, State.APPLIED)
PAGE: Final = 500
# A late arrival of an id's only row repeats what is there. Of a row of 0 nothing will arrive any more, but a definite
# no to its repetition does not say that nothing took effect.
DOUBT: Final = "(state = 'unknown' OR (late > 0 AND repeated))"
LATE: Final = "(state = 'unknown' OR late > 0)"
# Whether such a row is sent again depends on what the others of its id have left, and that is to be read.
TOGETHER: Final = f"(repeated AND tries > 0 AND state IN ({', '.join(repr(str(state)) for state in FAILED)}))"


@attrs.define
class Todo:
    """A row that is to be written; of one that is claimed already, nothing else is of interest."""

    number: int
    id: str
    wanted: Values
    claimed: bool = True
    read_at: float | None = None
    repeated: bool = False
    late: float | None = None
    tries: int = 0


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


def places_where(db: sqlite3.Connection, condition: str, *arguments: object) -> list[Place]:
    """Rows as places, in order."""
    rows = db.execute(f"SELECT number, state, wanted, tries FROM row WHERE {condition} ORDER BY number", arguments)  # noqa: S608  # ours
    return [Place(number, State(state), values_of(wanted), tries) for number, state, wanted, tries in rows]


def known_of(db: sqlite3.Connection, id_: str, *, before: float = math.inf) -> Known:
    """What the run has seen of a configuration, and what its rows before one may have set."""
    # Of later rows it is what earlier ones should leave; a rollback has seen what the run left, or somebody else's.
    first = "SELECT coalesce(ours, '[' || before || ']') FROM row WHERE id = ? ORDER BY number LIMIT 1"
    (seen,) = db.execute(first, (id_,)).fetchone()
    if seen is None:
        return None
    answered = db.execute("SELECT found FROM row WHERE id = ? AND found IS NOT NULL AND state <> 'drifted'", (id_,))
    known = [*msgspec.json.decode(seen), *(values_of(found) for (found,) in answered)]
    return extended(known, places_where(db, "id = ? AND number < ?", id_, before))


def listed(states: Iterable[State]) -> str:
    """States as SQL's IN takes them."""
    return f"({', '.join(map(repr, map(str, states)))})"


def as_text(values: Values | Known) -> str | None:
    """Values as they are kept."""
    return None if values is None else msgspec.json.encode(values).decode()


def values_of(text: str) -> Values:
    """Values that were kept."""
    values: Values = msgspec.json.decode(text)
    return values


def values_or_none(text: str | None) -> Values | None:
    """Values that were kept, if any were."""
    return None if text is None else values_of(text)
