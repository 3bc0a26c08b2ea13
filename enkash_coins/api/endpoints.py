"""How to ask for each operation, and how to read its answer: pure functions, no I/O.

Paths, bodies and answers are those of EnKash's "brand loyalty" pages (Get, Create, Update Coin Event Configuration;
Allocate Coins to User) and "Point Management" (balance).
"""

import uuid
from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, Final, Generic, ParamSpec, TypeVar
from urllib.parse import quote

import attrs

from enkash_coins.api.answers import malformed, read_config, read_payload
from enkash_coins.api.checks import checked_amount, checked_configuration, checked_id, checked_text
from enkash_coins.api.codec import UpdateBody, dumps, is_integer
from enkash_coins.api.comparison import differences
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import (
    UNSET,
    AllocationReceipt,
    CoinAllocation,
    CoinEventConfig,
    CoinEventCreation,
    CoinEventUpdate,
)
from enkash_coins.transport import Request, Response

Item = TypeVar("Item")
T = TypeVar("T")
Options = ParamSpec("Options")

_CONFIGS: Final = "/api/v0/enkash-coins"
_ONE_CONFIG: Final = f"{_CONFIGS}/{{coinConfigId}}"
_CREATE: Final = f"{_CONFIGS}/create-coins-config"
_ALLOCATE: Final = f"{_CONFIGS}/allocate-coin"
_BALANCE: Final = "/api/v0/coins/balance"
_JSON: Final = {"Content-Type": "application/json"}


@attrs.define
class Endpoint(Generic[T]):
    """One call, of one item: all that its caller needs to know of the operation.

    Attributes:
        template: the path without ids and query, for telemetry.
        read: the answer's value; raises the typed error for anything that is not a success.
        about: what was asked, in words; errors begin with it.
        coin_config_id: the configuration that it reads or changes; an answer that names another is worth a warning.
        request_id: an allocation's own id, shown on its errors.
        compare: what a success shows otherwise than asked for, in words; empty if nothing.
    """

    request: Request
    template: str
    read: Callable[[Response], T]
    about: str
    coin_config_id: str | None = None
    request_id: str | None = None
    compare: Callable[[T], str] | None = None


Ask = Callable[Concatenate[Item, Options], Endpoint[T]]


def _operation(name: str) -> Callable[[Ask[Item, Options, T]], Ask[Item, Options, T]]:
    """Lets a refusal name its operation, and the allocation's own id."""

    def named(ask: Ask[Item, Options, T]) -> Ask[Item, Options, T]:
        @wraps(ask)
        def asked(item: Item, /, *args: Options.args, **options: Options.kwargs) -> Endpoint[T]:
            try:
                return ask(item, *args, **options)
            except InvalidRequest as error:
                error.operation, error.request_id = name, getattr(item, "request_id", None)
                raise

        return asked

    return named


@_operation("get")
def get(coin_config_id: str) -> Endpoint[CoinEventConfig]:
    """Read one configuration."""
    id_ = checked_id(coin_config_id)
    request = Request("GET", f"{_CONFIGS}/{id_}", {}, b"", "get", replayable=True)
    return Endpoint(request, _ONE_CONFIG, read_config, f"get of {id_}", id_)


@_operation("update")
def update(change: CoinEventUpdate) -> Endpoint[CoinEventConfig]:
    """Set fields of one configuration; sets absolute values, so it may be sent again."""
    _check_kind(change, CoinEventUpdate)
    id_ = checked_id(change.coin_config_id)
    body = UpdateBody()
    if change.amount is not UNSET:
        body.amount = checked_amount(change.amount)
    if change.configuration is not UNSET:
        body.configuration = checked_configuration(change.configuration)
    if change.company_id is not UNSET:
        body.company_id = checked_text("company_id", change.company_id)
    if change.event is not UNSET:
        body.event = checked_text("event", change.event)
    json = dumps(body)
    if json == b"{}":
        raise InvalidRequest(f"update of {id_}: nothing is set")
    request = Request("PATCH", f"{_CONFIGS}/{id_}", _JSON, json, "update", replayable=True)
    return Endpoint(request, _ONE_CONFIG, read_config, f"update of {id_}", id_, None, partial(differences, change))


@_operation("create")
def create(creation: CoinEventCreation) -> Endpoint[CoinEventConfig]:
    """Make a new configuration; a repeat could make a second one, so it is not sent again in doubt."""
    _check_kind(creation, CoinEventCreation)
    fields = {
        "configuration": checked_configuration(creation.configuration),
        "companyId": checked_text("company_id", creation.company_id),
        "event": checked_text("event", creation.event),
        "amount": checked_amount(creation.amount),
    }
    request = Request("POST", _CREATE, _JSON, dumps(fields), "create", replayable=False)
    about = f"create {fields['event']} for {fields['companyId']}"
    return Endpoint(request, _CREATE, read_config, about, compare=partial(differences, creation))


@_operation("allocate")
def allocate(allocation: CoinAllocation, *, replay: bool) -> Endpoint[AllocationReceipt]:
    """Give coins to a user.

    Args:
        allocation: without a request id of its own it gets one here (UUID4), the same for all its attempts.
        replay: send it again in doubt, under the same id. Whether EnKash refuses a repeated one is not documented.
    """
    _check_kind(allocation, CoinAllocation)
    own = allocation.request_id
    fields = {
        "companyId": checked_text("company_id", allocation.company_id),
        "event": checked_text("event", allocation.event),
        "requestId": str(uuid.uuid4()) if own is None else checked_text("request_id", own),
        "userId": checked_text("user_id", allocation.user_id),
    }
    request = Request("POST", _ALLOCATE, _JSON, dumps(fields), "allocate", replayable=replay)
    about, id_ = f"allocate {fields['event']} to {fields['userId']}", fields["requestId"]
    return Endpoint(request, _ALLOCATE, partial(_read_receipt, id_), about, request_id=id_)


@_operation("balance")
def balance(user_id: str) -> Endpoint[int]:
    """Read a user's coins."""
    user = checked_text("user_id", user_id)
    request = Request("GET", f"{_BALANCE}?userId={quote(user, safe='')}", {}, b"", "balance", replayable=True)
    return Endpoint(request, _BALANCE, _read_balance, f"balance of {user}")


def _check_kind(item: object, kind: type) -> None:
    if type(item) is not kind:
        raise InvalidRequest(f"{shown(item)} is not a {kind.__name__}")


def _read_receipt(request_id: str, response: Response) -> AllocationReceipt:
    message = read_payload(response)
    if type(message) is not str:
        raise malformed(response, "has a payload that is not a string")
    return AllocationReceipt(request_id, message)


def _read_balance(response: Response) -> int:
    points = read_payload(response)
    if not is_integer(points):
        raise malformed(response, "has a payload that is not an integer of 64 bits")
    return points
