"""A run is one comparison: of what is wanted, what is known, and what is found.

For each field of a configuration there are three values. *Wanted*: what its rows say, put together. *Known*: what the
plan has read, or an answer to our own write has shown; of a run that takes another one back, what that one has left.
*Found*: what was read just now. ``decide`` says what they mean; planning, applying, going on after a crash, settling
what is in doubt, force and rollback ask it at different times, and there is no other rule.
"""

from enum import Enum, StrEnum
from typing import Final

from enkash_coins.api.comparison import holds
from enkash_coins.models import CoinEventConfig, CustomConfiguration

#: What is set in a configuration, by our names of the fields, as JSON values.
Values = dict[str, object]


class State(StrEnum):
    """What became of a write. The last seven are those of an ``OutcomeStatus``, by the same names."""

    UNREAD = "unread"  # nobody has looked yet at what is there
    PLANNED = "planned"  # to be written
    SENT = "sent"  # may be leaving at this very moment; found after a crash, it is in doubt
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    MISMATCHED = "mismatched"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    DRIFTED = "drifted"


class Gone(Enum):
    """The type of ``GONE``: there is no such configuration."""

    GONE = "gone"


GONE: Final = Gone.GONE
#: Fields that no answer shows.
UNREADABLE: Final = frozenset({"company_id"})
#: As wanted.
OK: Final = frozenset({State.APPLIED, State.UNCHANGED})


def readable(wanted: Values, values: Values) -> Values:
    """Of these values, those of fields that we set and that can be read."""
    return {field: values[field] for field in wanted if field not in UNREADABLE}


def shown(wanted: Values, config: CoinEventConfig) -> Values:
    """What an answer shows, in the fields that we set, as JSON values."""
    found: Values = {field: getattr(config, field) for field in wanted if field not in UNREADABLE}
    kind = found.get("configuration")
    return found | {"configuration": kind.as_dict()} if isinstance(kind, CustomConfiguration) else found


def decide(
    wanted: Values, known: Values | None, found: Values | Gone | None, *, written: bool, force: bool = False
) -> State:
    """What to do about a configuration, as the state of its write: ``PLANNED`` means that it is to be written.

    Args:
        wanted: what is to be set.
        known: what was there when we last knew, in those fields; ``None``: nobody has looked.
        found: what is there now; ``None``: it was not, or could not be, read.
        written: whether we may have written it already.
        force: write also over what somebody else has set.
    """
    if found is GONE:
        return State.REJECTED
    if found is None:
        return State.UNKNOWN if written else State.PLANNED
    others = [field for field in wanted if field in UNREADABLE or not holds(found[field], wanted[field])]
    if not others:
        return State.APPLIED if written else State.UNCHANGED
    if force or known is None:
        return State.PLANNED
    as_known = all(field in UNREADABLE or holds(found[field], known[field]) for field in others)
    return State.PLANNED if as_known else State.DRIFTED


def untouched(wanted: Values, known: Values | None, found: Values) -> bool:
    """Whether what is found proves that our write, which sets all fields at once, has not taken effect."""
    return any(not holds(found[field], wanted[field]) for field in readable(wanted, wanted)) and known == found
