"""What a type checker must not accept of the public API.

Each line stands with the error that it has to be: an ignore that is no longer needed is an error, too.
"""

from collections.abc import AsyncIterator

from enkash_coins import (
    UNSET,
    CoinAllocation,
    CoinEventConfig,
    CoinEventService,
    CoinEventUpdate,
    EnkashError,
    PasswordGrant,
    Request,
    RetryPolicy,
    Token,
    Transport,
)
from enkash_coins.testing import MockTransport

ROW = CoinEventUpdate("WCC12345", amount=10)
GIFT = CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1")


async def wrong_verbs(coins: CoinEventService) -> None:
    """What would be refused at run time is refused by the type checker."""
    await coins.get(12345)  # type: ignore[arg-type]  # an id is text
    await coins.update("WCC1", amount=10.5)  # type: ignore[arg-type]  # coins are whole
    await coins.update("WCC1", amount="10")  # type: ignore[arg-type]  # a number is no text
    await coins.update("WCC1", amount=None)  # type: ignore[arg-type]  # UNSET leaves it out
    await coins.update("WCC1", 10)  # type: ignore[call-arg]  # by keyword only
    await coins.update("WCC1", amout=10)  # type: ignore[call-arg]  # misspelt
    await coins.create(company_id="C", event="E", amount=1)  # type: ignore[call-arg]  # configuration is missing
    await coins.create(company_id="C", event="E", amount=UNSET, configuration="D")  # type: ignore[arg-type]  # all fields are required
    await coins.allocate("C", "E", "U")  # type: ignore[call-arg]  # by keyword only
    await coins.allocate(company_id="C", event="E", user_id=5)  # type: ignore[arg-type]  # an id is text
    await coins.balance(b"EK1")  # type: ignore[arg-type]  # text, not bytes
    coins.get("WCC1")  # type: ignore[unused-coroutine]  # not awaited


def values(config: CoinEventConfig) -> None:
    """Values cannot be changed, and are made with names."""
    config.amount = 11  # type: ignore[misc]  # frozen
    config.amuont = 11  # type: ignore[attr-defined]  # misspelt
    config.extra["new"] = 1  # type: ignore[index]  # not to be changed
    CoinEventUpdate("WCC1", 10)  # type: ignore[call-arg]  # by keyword only
    CoinAllocation("C", "E", "U")  # type: ignore[call-arg]  # by keyword only
    RetryPolicy(attempts="4")  # type: ignore[arg-type]  # a number


async def late() -> AsyncIterator[CoinEventUpdate]:
    """Rows from somewhere that takes its time."""
    yield ROW


async def wrong_streams(coins: CoinEventService) -> None:
    """Rows of one kind do not go where the other kind belongs; a stream is not a list."""
    coins.update_many([GIFT])  # type: ignore[list-item]  # the other kind of row
    coins.allocate_many(late())  # type: ignore[arg-type]  # the other kind of row
    coins.update_many(ROW)  # type: ignore[arg-type]  # one row is no rows
    coins.update_many([{"coin_config_id": "WCC1"}])  # type: ignore[list-item]  # a dictionary is no row
    coins.update_many([ROW], concurrency="16")  # type: ignore[arg-type]  # a number
    for _ in coins.update_many([ROW]):  # type: ignore[attr-defined]  # async for
        pass
    await coins.update_many([ROW])  # type: ignore[misc]  # not awaitable


class NotATransport:
    """It answers with text, and cannot be closed."""

    async def send(self, request: Request, /) -> str:
        """Answer with the path."""
        return request.path


class NotASource:
    """Its token is bare text."""

    async def token(self, send: Transport, /) -> str:
        """A bare token."""
        return "x"

    def refused(self, token: Token, /) -> None:
        """Forget it."""


def seam(mock: MockTransport) -> None:
    """What does not fit the protocols does not fit."""
    CoinEventService(NotATransport())  # type: ignore[arg-type]  # answers with text
    CoinEventService(mock, concurrency="many")  # type: ignore[arg-type]  # a number or "auto"
    CoinEventService(mock, RetryPolicy())  # type: ignore[call-arg, arg-type]  # by keyword only
    CoinEventService("https://coins.example")  # type: ignore[arg-type]  # connect() takes an address
    CoinEventService.connect("https://coins.example", auth=NotASource())  # type: ignore[arg-type]  # its token is text
    CoinEventService.connect("https://coins.example", auth=None)  # type: ignore[arg-type]  # a token or a source
    CoinEventService.connect("https://coins.example")  # type: ignore[call-arg]  # auth is required
    PasswordGrant("id", "secret", "user")  # type: ignore[call-arg]  # the password is missing


def wrong_handler(request: Request) -> str:
    """A handler that answers with text."""
    return request.path


def mocks(transport: Transport) -> None:
    """A mock answers with responses; what it has kept is not known of other transports."""
    MockTransport(wrong_handler)  # type: ignore[arg-type]  # answers with text
    MockTransport(["x"])  # type: ignore[list-item]  # text is no answer
    transport.requests  # type: ignore[attr-defined]  # noqa: B018  # not of the protocol


def environment() -> None:
    """Overrides are the arguments of ``connect``."""
    CoinEventService.from_env(time_out=5)  # type: ignore[call-arg]  # misspelt
    CoinEventService.from_env(timeout="5")  # type: ignore[arg-type]  # a number
    CoinEventService.from_env("token")  # type: ignore[call-arg]  # by keyword only


def failures(error: EnkashError) -> None:
    """A status is of some errors only."""
    error.status  # type: ignore[attr-defined]  # noqa: B018  # not of every error
