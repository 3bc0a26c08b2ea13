"""The five operations, one call each."""

import json as json_text
import re
import uuid
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import attrs
from cyclopts import Parameter, Token

from enkash_coins.cli.ending import stopped_by
from enkash_coins.cli.exits import Exit, Interrupted, code_of, explained, say
from enkash_coins.cli.settings import DEFAULTS, Host, Json
from enkash_coins.display import cut, shown
from enkash_coins.errors import ApiError, EnkashError
from enkash_coins.models import UNSET, AllocationReceipt, CoinEventConfig
from enkash_coins.service import CoinEventService
from enkash_coins.transport import was_harmless

T = TypeVar("T")


def _strictly(_: type, tokens: list[Token]) -> int:
    text = tokens[0].value
    if not re.fullmatch(r"-?[0-9]{1,19}", text):  # int() would also take 1_0 and digits of other scripts
        raise ValueError(f"{shown(text)} is not an integer of 64 bits")
    return int(text)


Amount = Annotated[int, Parameter(converter=_strictly)]


async def get(coin_config_id: str, /, *, json: Json = False, host: Host = DEFAULTS) -> int:
    """Show one coin event configuration.

    Args:
        coin_config_id: Its id, such as WCC12345.
    """
    return await _perform("get", host, lambda coins: coins.get(coin_config_id), CoinEventConfig.as_dict, json=json)


async def update(
    coin_config_id: str,
    /,
    *,
    amount: Amount | None = None,
    configuration: str | None = None,
    company_id: str | None = None,
    event: str | None = None,
    json: Json = False,
    host: Host = DEFAULTS,
) -> int:
    """Change one configuration; what is not given stays as it is.

    Args:
        coin_config_id: Its id, such as WCC12345.
        amount: Coins for one such event.
        configuration: DEFAULT, CUSTOM, or another kind.
        company_id: The company that it belongs to.
        event: The event that earns the coins.
    """

    def call(coins: CoinEventService) -> Awaitable[CoinEventConfig]:
        return coins.update(
            coin_config_id,
            amount=UNSET if amount is None else amount,
            configuration=UNSET if configuration is None else configuration,
            company_id=UNSET if company_id is None else company_id,
            event=UNSET if event is None else event,
        )

    return await _perform("update", host, call, CoinEventConfig.as_dict, json=json, look=("get", coin_config_id))


async def create(
    *, company_id: str, event: str, amount: Amount, configuration: str, json: Json = False, host: Host = DEFAULTS
) -> int:
    """Make a new configuration.

    Args:
        company_id: The company that it belongs to.
        event: The event that earns the coins.
        amount: Coins for one such event.
        configuration: DEFAULT, CUSTOM, or another kind.
    """

    def call(coins: CoinEventService) -> Awaitable[CoinEventConfig]:
        return coins.create(company_id=company_id, event=event, amount=amount, configuration=configuration)

    return await _perform("create", host, call, CoinEventConfig.as_dict, json=json)


async def allocate(
    *,
    company_id: str,
    event: str,
    user_id: str,
    request_id: str | None = None,
    replay: bool = False,
    json: Json = False,
    host: Host = DEFAULTS,
) -> int:
    """Give a user the coins of an event.

    Args:
        company_id: The company that gives them.
        event: What earned the coins.
        user_id: Who gets them.
        request_id: The allocation's own id, best made from your order's; else a random one.
        replay: In doubt send it again with the same id. It is not documented that EnKash gives coins only once then.
    """
    own_id = str(uuid.uuid4()) if request_id is None else request_id  # here, to have it when a signal comes

    def call(coins: CoinEventService) -> Awaitable[AllocationReceipt]:
        return coins.allocate(company_id=company_id, event=event, user_id=user_id, request_id=own_id, replay=replay)

    look = ("balance", user_id)
    return await _perform("allocate", host, call, attrs.asdict, json=json, look=look, request_id=own_id)


async def balance(user_id: str, /, *, json: Json = False, host: Host = DEFAULTS) -> int:
    """Show how many coins a user has.

    Args:
        user_id: The user's id.
    """

    def shown(points: int) -> dict[str, object]:
        return {"user_id": user_id, "balance": points}

    return await _perform("balance", host, lambda coins: coins.balance(user_id), shown, json=json)


async def _perform(
    operation: str,
    host: Host,
    call: Callable[[CoinEventService], Awaitable[T]],
    shown: Callable[[T], Mapping[str, object]],
    *,
    json: bool,
    look: tuple[str, ...] = (),
    request_id: str | None = None,
) -> int:
    writes = operation not in ("get", "balance")
    cut_off = Interrupted("interrupted", operation=operation, maybe_applied=writes, request_id=request_id)
    error: EnkashError
    try:
        with stopped_by(last_words=explained(cut_off, look=look)):
            async with host.connect() as coins:
                values = shown(await call(coins))
    except CancelledError as cancelled:
        cut_off.maybe_applied = writes and not was_harmless(cancelled)
        error = cut_off
    except EnkashError as caught:
        error = caught
    else:
        if json:
            print(json_text.dumps(values))
        else:
            show(values)
        return Exit.WELL
    say(explained(error, look=look))
    if json:
        print(json_text.dumps({"error": facts(error)}))
    return code_of(error)


def facts(error: EnkashError) -> dict[str, Any]:
    """An error as JSON."""
    found = {"type": type(error).__name__, "message": error.args[0], "attempts": error.attempts}
    found |= {"maybe_applied": error.maybe_applied, "request_id": error.request_id}
    if isinstance(error, ApiError):
        found |= {"status": error.status, "response_code": error.response_code}
    return found


def show(values: Mapping[str, object]) -> None:
    """A line for each value, for people."""
    lines = {name: cut(str(value)) for name, value in values.items() if value is not None and name != "extra"}
    extra = values.get("extra")
    if isinstance(extra, Mapping):
        lines |= {cut(str(name)): cut(json_text.dumps(value)) for name, value in extra.items()}
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {value}")
