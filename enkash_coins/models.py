"""The values that go in and come out: frozen attrs classes without behaviour beyond reading themselves."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final, Generic, Literal, TypeVar

import attrs

from enkash_coins.errors import EnkashError


class Unset(Enum):
    """The type of ``UNSET``, which marks an argument that is left out and therefore not sent."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET


class Configuration(StrEnum):
    """The known kinds of configuration; any other string passes through unharmed.

    Source: the documented schema names ``CUSTOM``, its examples send ``DEFAULT``; the list is open.
    """

    DEFAULT = "DEFAULT"
    CUSTOM = "CUSTOM"


@attrs.frozen
class CustomConfiguration:
    """A configuration in the object form, ``{"CUSTOM": custom, **extra}``.

    Two are equal when both fields are. An answer is compared otherwise: it may hold more keys than were set.

    Source: the documented schema types ``configuration`` as an object with a required string ``CUSTOM``.

    Attributes:
        custom: what stands under the key ``CUSTOM``.
        extra: all other keys, as JSON values.
    """

    custom: str
    extra: Mapping[str, object] = attrs.field(factory=dict, hash=False)  # a mapping has no hash

    def as_dict(self) -> dict[str, object]:
        """The object itself, ready for JSON."""
        return {"CUSTOM": self.custom, **self.extra}


@attrs.frozen
class CoinEventConfig:
    """One coin event as the API shows it: which event earns how many coins.

    Attributes:
        coin_config_id: the configuration's id.
        configuration: ``DEFAULT``, ``CUSTOM`` or any other string; a ``CustomConfiguration`` for an object.
        event: the event's name, e.g. ``INVOICE_PAYMENT``.
        amount: coins for one such event.
        company_id: the company, when the answer names it.
        extra: keys of the answer that this version does not know; not compared.
    """

    coin_config_id: str
    configuration: str | CustomConfiguration
    event: str
    amount: int
    company_id: str | None = None
    extra: Mapping[str, object] = attrs.field(factory=dict, eq=False)

    def as_dict(self) -> dict[str, object]:
        """All fields as a plain dictionary, ready for JSON."""
        kind = self.configuration
        plain = kind.as_dict() if isinstance(kind, CustomConfiguration) else kind
        return attrs.asdict(self, recurse=False) | {"configuration": plain, "extra": dict(self.extra)}


@attrs.frozen
class CoinEventUpdate:
    """One row for ``update_many``: what to change of one configuration; fields left ``UNSET`` are not sent.

    Values are checked when the row is sent, not here, so that a bad row becomes an outcome.

    Attributes:
        coin_config_id: 1 to 64 letters, digits, ``_`` and ``-``, because it stands in a path.
        amount: coins for one such event, an integer of 64 bits; ``0`` is sent.
        configuration: ``DEFAULT``, ``CUSTOM`` or any other string; a ``CustomConfiguration`` for an object.
        company_id: like every text, 1 to 128 characters without control characters and outer spaces.
    """

    coin_config_id: str
    amount: int | Unset = attrs.field(default=UNSET, kw_only=True)
    configuration: str | CustomConfiguration | Unset = attrs.field(default=UNSET, kw_only=True)
    company_id: str | Unset = attrs.field(default=UNSET, kw_only=True)
    event: str | Unset = attrs.field(default=UNSET, kw_only=True)


@attrs.frozen(kw_only=True)
class CoinEventCreation:
    """One row for ``create_many``: a new configuration."""

    company_id: str
    event: str
    amount: int
    configuration: str | CustomConfiguration


@attrs.frozen(kw_only=True)
class CoinAllocation:
    """One row for ``allocate_many``: coins for a user because an event happened.

    Attributes:
        request_id: the allocation's own id; derive it from your order, so that not even a crash doubles it.
            ``None``: one is made (UUID4) before the first attempt.
    """

    company_id: str
    event: str
    user_id: str
    request_id: str | None = None


@attrs.frozen
class AllocationReceipt:
    """A successful allocation: its own id, and what the API said."""

    request_id: str
    message: str


@attrs.frozen
class Attempt:
    """One attempt of a call that has ended, as ``on_attempt`` is told of it.

    Attributes:
        operation: get, update, create, allocate or balance.
        number: of the attempt within its call, from 1.
        status: the HTTP status of its answer, or ``None``.
        error: the name of the error that it ended with; ``None`` for a success.
        seconds: from the moment it went out to its end; 0.0 if it never did, e.g. for want of a token.
        will_retry: whether the same request will be sent again.
    """

    operation: str
    number: int
    status: int | None
    error: str | None
    seconds: float
    will_retry: bool


class OutcomeStatus(StrEnum):
    """What became of a row."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    MISMATCHED = "mismatched"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    DRIFTED = "drifted"


Item = TypeVar("Item")
Result = TypeVar("Result")


@attrs.frozen
class Outcome(Generic[Item, Result]):
    """What became of one row of a stream.

    Attributes:
        index: the row's place in the input, from 0.
        item: the row itself.
        status: what became of it.
        result: what the API answered, or ``None``.
        error: why it is not ok, or ``None``.
        attempts: tries begun, whether or not bytes left this machine; 0 when it was refused here.
        late_risk: an earlier attempt may still arrive at the server.
    """

    index: int
    item: Item
    status: OutcomeStatus
    result: Result | None = None
    error: EnkashError | None = None
    attempts: int = 0
    late_risk: bool = False

    @property
    def ok(self) -> bool:
        """Whether the row is as wanted, which is applied or unchanged."""
        return self.status is OutcomeStatus.APPLIED or self.status is OutcomeStatus.UNCHANGED

    def unwrap(self) -> Result:
        """The result of a row that is ok; raises the row's error otherwise."""
        if self.error is not None:
            raise self.error
        if self.result is None or not self.ok:
            raise EnkashError(f"row {self.index} is {self.status.value} and has no result")
        return self.result
