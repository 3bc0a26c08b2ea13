"""How to ask for each operation, and how to read its answer: pure functions, no I/O.

Paths, bodies and answers are those of EnKash's "brand loyalty" pages (Get, Create, Update Coin Event Configuration;
Allocate Coins to User) and "Point Management" (balance).
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, Generic, TypeVar

import attrs

from enkash_coins.api.answers import malformed, read_payload
from enkash_coins.api.codec import Unreadable, dumps, read_config, update_body
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
    CustomConfiguration,
)
from enkash_coins.transport import Request, Response

T = TypeVar("T")

_CONFIGS: Final = "/api/v0/enkash-coins"
_ONE_CONFIG: Final = f"{_CONFIGS}/{{coinConfigId}}"
_CREATE: Final = f"{_CONFIGS}/create-coins-config"
_ALLOCATE: Final = f"{_CONFIGS}/allocate-coin"
_BALANCE: Final = "/api/v0/coins/balance"
_JSON: Final = {"Content-Type": "application/json"}
# Refused, not quoted: even a quoted ".." climbs out of the path in some servers.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_NAME = 256
# Not all that is unprintable: Hindi and Marathi names need the zero-width joiner.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AMOUNT_LIMIT = 2**63


@attrs.define
class Endpoint(Generic[T]):
    """One call, of one item: all that its caller needs to know of the operation.

    Attributes:
        template: the path without ids and query, for telemetry.
        read: the answer's value; raises the typed error for anything that is not a success.
        about: what the call is about, in words, for errors.
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


@contextmanager
def _of(operation: str) -> Iterator[None]:
    """Lets a refusal name its operation."""
    try:
        yield
    except InvalidRequest as error:
        error.operation = operation
        raise


def _check_id(name: str, value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidRequest(f"{name}: {shown(value)} is not an id (1 to 64 of A-Z a-z 0-9 _ -)")
    # The characters that were checked, whatever a subclass would format itself as.
    return value if type(value) is str else str.__str__(value)


def _check_name(name: str, value: object) -> str:
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= _LONGEST_NAME
        or (not value.isprintable() and _CONTROL.search(value))
    ):
        raise InvalidRequest(f"{name}: {shown(value)} is not a name (1 to {_LONGEST_NAME} printable characters)")
    return value


def _check_amount(name: str, value: object) -> int:
    if type(value) is not int or not -_AMOUNT_LIMIT <= value < _AMOUNT_LIMIT:
        raise InvalidRequest(f"{name}: {shown(value)} is not an integer of 64 bits")
    return value


def _check_configuration(value: object) -> object:
    if not isinstance(value, CustomConfiguration):
        return _check_name("configuration", value)
    _check_name("configuration", value.custom)
    try:
        ours = "CUSTOM" not in value.extra and all(type(key) is str for key in value.extra)
        json.dumps(value.as_dict(), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        ours = False
    if not ours:
        raise InvalidRequest(
            f"configuration: {shown(value.extra)} is no extra of a CustomConfiguration (JSON, no CUSTOM)"
        )
    return value.as_dict()


def check_update(update: CoinEventUpdate) -> str:
    """The id to send the update to; raises ``InvalidRequest`` naming the first field that could not be sent."""
    if type(update) is not CoinEventUpdate:
        raise InvalidRequest(f"{shown(update)} is not a CoinEventUpdate")
    id_ = _check_id("coin_config_id", update.coin_config_id)
    if update.amount is not UNSET:
        _check_amount("amount", update.amount)
    if update.configuration is not UNSET:
        _check_configuration(update.configuration)
    if update.company_id is not UNSET:
        _check_id("company_id", update.company_id)
    if update.event is not UNSET:
        _check_name("event", update.event)
    elif update.amount is UNSET and update.configuration is UNSET and update.company_id is UNSET:
        raise InvalidRequest(f"update of {id_}: nothing is set")
    return id_


def _read(operation: str, response: Response) -> CoinEventConfig:
    payload = read_payload(response, operation)
    try:
        return read_config(payload)
    except Unreadable as error:
        reason = str(error)
    raise malformed(response, operation, reason)


_read_get, _read_update, _read_create = partial(_read, "get"), partial(_read, "update"), partial(_read, "create")


@_of("get")
def get(coin_config_id: str) -> Endpoint[CoinEventConfig]:
    """Read one configuration."""
    id_ = _check_id("coin_config_id", coin_config_id)
    request = Request("GET", f"{_CONFIGS}/{id_}", {}, b"", "get", replayable=True)
    return Endpoint(request, _ONE_CONFIG, _read_get, id_, id_)


def update(change: CoinEventUpdate) -> Endpoint[CoinEventConfig]:
    """Set fields of one configuration; sets absolute values, so it may be sent again."""
    try:  # and not @_of, which would cost every row of a stream
        id_ = check_update(change)
    except InvalidRequest as error:
        error.operation = "update"
        raise
    request = Request("PATCH", f"{_CONFIGS}/{id_}", _JSON, update_body(change), "update", replayable=True)
    return Endpoint(request, _ONE_CONFIG, _read_update, id_, id_, compare=partial(differences, change))


@_of("create")
def create(creation: CoinEventCreation) -> Endpoint[CoinEventConfig]:
    """Make a new configuration; a repeat could make a second one, so it is not sent again in doubt."""
    if type(creation) is not CoinEventCreation:
        raise InvalidRequest(f"{shown(creation)} is not a CoinEventCreation")
    company = _check_id("company_id", creation.company_id)
    event = _check_name("event", creation.event)
    body = dumps(
        {
            "configuration": _check_configuration(creation.configuration),
            "companyId": company,
            "event": event,
            "amount": _check_amount("amount", creation.amount),
        }
    )
    request = Request("POST", _CREATE, _JSON, body, "create", replayable=False)
    return Endpoint(request, _CREATE, _read_create, f"{event} for {company}", compare=partial(differences, creation))


@_of("allocate")
def allocate(allocation: CoinAllocation, *, replay: bool) -> Endpoint[AllocationReceipt]:
    """Give coins to a user.

    Args:
        allocation: without a request id of its own it gets one here (UUID4), the same for all its attempts.
        replay: send it again in doubt, under the same id. Whether EnKash refuses a repeated one is not documented.
    """
    if type(allocation) is not CoinAllocation:
        raise InvalidRequest(f"{shown(allocation)} is not a CoinAllocation")
    given = allocation.request_id
    request_id = str(uuid.uuid4()) if given is None else _check_id("request_id", given)
    try:
        company = _check_id("company_id", allocation.company_id)
        event = _check_name("event", allocation.event)
        user = _check_id("user_id", allocation.user_id)
    except InvalidRequest as error:
        error.request_id = request_id
        raise
    body = dumps({"companyId": company, "event": event, "requestId": request_id, "userId": user})

    def read(response: Response) -> AllocationReceipt:
        message = read_payload(response, "allocate")
        if type(message) is not str:
            raise malformed(response, "allocate", "has a payload that is not a string")
        return AllocationReceipt(request_id, message)

    request = Request("POST", _ALLOCATE, _JSON, body, "allocate", replayable=replay)
    return Endpoint(request, _ALLOCATE, read, f"{event} to {user}", request_id=request_id)


def _read_balance(response: Response) -> int:
    points = read_payload(response, "balance")
    if type(points) is not int:
        raise malformed(response, "balance", "has a payload that is not an integer")
    return points


@_of("balance")
def balance(user_id: str) -> Endpoint[int]:
    """Read a user's coins."""
    user = _check_id("user_id", user_id)
    request = Request("GET", f"{_BALANCE}?userId={user}", {}, b"", "balance", replayable=True)
    return Endpoint(request, _BALANCE, _read_balance, user)
