"""The ledger of a run: one SQLite file. All SQL is in here, as functions that the writer's thread performs."""

from enkash_coins.bulk.ledger.fields import Counts, End, Record, Todo, counts
from enkash_coins.bulk.ledger.file import check, connect, create, is_empty, load, remove_if_empty, told
from enkash_coins.bulk.ledger.readings import again, force, hold, not_found, plan, replay, resume, settle
from enkash_coins.bulk.ledger.views import (
    count,
    examples,
    ids_in_doubt,
    ids_to_settle,
    ids_unread,
    latest_arrival,
    numbers,
    reasons,
    records,
    undoing,
)
from enkash_coins.bulk.ledger.writings import claim, compare, finish, has_its_turn, note, page, release

__all__ = [
    "Counts",
    "End",
    "Record",
    "Todo",
    "again",
    "check",
    "claim",
    "compare",
    "connect",
    "count",
    "counts",
    "create",
    "examples",
    "finish",
    "force",
    "has_its_turn",
    "hold",
    "ids_in_doubt",
    "ids_to_settle",
    "ids_unread",
    "is_empty",
    "latest_arrival",
    "load",
    "not_found",
    "note",
    "numbers",
    "page",
    "plan",
    "reasons",
    "records",
    "release",
    "remove_if_empty",
    "replay",
    "resume",
    "settle",
    "told",
    "undoing",
]
