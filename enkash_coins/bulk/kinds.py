"""What a run's rows may be, how each is asked for, and how it is kept."""

import operator
import uuid
from collections.abc import Callable
from typing import Any, Final

import attrs

from enkash_coins.api import endpoints
from enkash_coins.api.endpoints import Endpoint
from enkash_coins.bulk.comparison import Values
from enkash_coins.models import UNSET, CoinAllocation, CoinEventCreation, CoinEventUpdate, CustomConfiguration

Item = CoinEventUpdate | CoinAllocation | CoinEventCreation


@attrs.frozen
class Kind:
    """One kind of rows.

    Attributes:
        name: of one row, as it is shown; also the kind's name in the ledger.
        operation: what it is sent by.
        item: its type.
        key: the field that names it; a creation has a name only once it is made.
        ask: the endpoint of one; raises ``InvalidRequest`` for one that cannot be sent.
        fields: of the item, without the key.
    """

    name: str
    operation: str
    item: type[Any]
    key: str
    ask: Callable[[Any], Endpoint[Any]]
    fields: tuple[str, ...] = attrs.field(init=False)

    @fields.default
    def _without_key(self) -> tuple[str, ...]:
        return tuple(field.name for field in attrs.fields(self.item) if field.name != self.key)

    def kept(self, item: Item) -> tuple[str | None, bool, Values]:
        """The id of a row, whether it came with it, and what else it says, as JSON values."""
        values: Values = {}
        for field in self.fields:
            value = getattr(item, field)
            if value is UNSET:
                continue
            if type(value) is not int and field == "amount":
                value = operator.index(value)
            values[field] = value.as_dict() if isinstance(value, CustomConfiguration) else value
        id_ = getattr(item, self.key, None)
        if id_ is None and self is ALLOCATIONS:
            return str(uuid.uuid4()), False, values
        return id_, id_ is not None, values

    def made(self, id_: str | None, values: Values) -> Item:
        """The row that was kept so."""
        values = of_model(values)
        item: Item = self.item(**values) if self is CREATIONS else self.item(**{self.key: id_}, **values)
        return item


def of_model(values: Values) -> Values:
    """JSON values as the models have them: an object is a ``CustomConfiguration``."""
    configuration = values.get("configuration")
    if not isinstance(configuration, dict):
        return values
    extra = {key: value for key, value in configuration.items() if key != "CUSTOM"}
    return values | {"configuration": CustomConfiguration(configuration["CUSTOM"], extra)}


def _allocate(allocation: CoinAllocation) -> Endpoint[Any]:
    return endpoints.allocate(allocation, replay=False)


UPDATES: Final = Kind("update", "update", CoinEventUpdate, "coin_config_id", endpoints.update)
ALLOCATIONS: Final = Kind("allocation", "allocate", CoinAllocation, "request_id", _allocate)
CREATIONS: Final = Kind("creation", "create", CoinEventCreation, "coin_config_id", endpoints.create)
KINDS: Final = {kind.name: kind for kind in (UPDATES, ALLOCATIONS, CREATIONS)}
OF_ITEM: Final = {kind.item: kind for kind in KINDS.values()}
