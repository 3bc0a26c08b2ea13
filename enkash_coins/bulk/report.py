"""What became of rows, for whoever asks: in outcomes, and in words."""

from collections.abc import Iterator
from typing import Any

from enkash_coins.bulk.comparison import State, Values
from enkash_coins.bulk.kinds import ALLOCATIONS, CREATIONS, Item, Kind, of_model
from enkash_coins.bulk.ledger.records import Record
from enkash_coins.display import cut
from enkash_coins.errors import EnkashError
from enkash_coins.models import CoinEventConfig, Outcome, OutcomeStatus


def outcomes(record: Record, kind: Kind) -> Iterator[Outcome[Item, CoinEventConfig]]:
    """The outcomes of the rows of a change that came to an end, one each."""
    status = OutcomeStatus(record.state)
    error = None
    if status not in (OutcomeStatus.APPLIED, OutcomeStatus.UNCHANGED):
        error = EnkashError(
            explained(record) or status.value,
            operation=kind.operation,
            about=kind.ask(kind.made(record.id, record.wanted)).about,
            attempts=record.attempts,
            maybe_applied=record.written,
            request_id=record.id if kind is ALLOCATIONS else None,
        )
    made: CoinEventConfig | None = None
    if kind is CREATIONS and record.found is not None:
        values: dict[str, Any] = of_model(record.found)
        made = CoinEventConfig(**values)
    for row in record.rows:
        item = kind.made(record.id, row.wanted)
        yield Outcome(row.number, item, status, made, error, record.attempts, record.late is not None)


def explained(record: Record) -> str:
    """Why a change is not as wanted."""
    if record.state is State.DRIFTED and record.reason is None:
        known = record.known or {}
        found = record.found or {}
        news = {name: value for name, value in found.items() if value not in (known.get(name), record.wanted.get(name))}
        return f"somebody else has set {told(news or found)}" + (
            ", after it may have been written" if record.written else ""
        )
    return record.reason or ""


def told(values: Values) -> str:
    """Values as people read them."""
    return ", ".join(f"{name} {cut(str(value))}" for name, value in values.items())
