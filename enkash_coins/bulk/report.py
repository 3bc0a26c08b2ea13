"""What became of rows, for whoever asks: in outcomes, and in words."""

from enkash_coins.bulk.ledger.fields import Record
from enkash_coins.bulk.rows import UPDATES, Item, Kind, Values
from enkash_coins.bulk.state import State
from enkash_coins.display import cut
from enkash_coins.errors import EnkashError
from enkash_coins.models import Outcome, OutcomeStatus


def outcome_of_record(record: Record, kind: Kind) -> Outcome[Item, object]:
    """The outcome of a row that came to an end."""
    item: Item = kind.item(**{kind.key: record.id}, **record.wanted)
    status = OutcomeStatus(record.state)
    error = None
    if record.reason is not None or status is OutcomeStatus.DRIFTED:
        error = EnkashError(
            explained(record),
            operation="update" if kind is UPDATES else "allocate",
            attempts=record.attempts,
            maybe_applied=status in (OutcomeStatus.UNKNOWN, OutcomeStatus.MISMATCHED),
            request_id=None if kind is UPDATES else record.id,
        )
    return Outcome(record.number, item, status, None, error, record.attempts, bool(record.late))


def explained(record: Record) -> str:
    """Why a row is not as wanted."""
    if record.state is State.DRIFTED and record.found is not None:
        before = record.before or {}
        seen = {name: (before.get(name), record.wanted.get(name)) for name in record.found}
        news = {name: value for name, value in record.found.items() if value not in seen[name]} or record.found
        own = {name: value for name, value in news.items() if name in record.wanted}
        return f"somebody else has set {changes(own or news)}"
    return record.reason or ""


def changes(values: Values) -> str:
    """Values as people read them."""
    return ", ".join(f"{name} {cut(str(value))}" for name, value in values.items())
