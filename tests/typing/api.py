"""The public API as a type checker sees it. Nothing here is run: mypy --strict passes, or a user's code would not."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import assert_type

from enkash_coins import (
    UNSET,
    AllocationReceipt,
    ApiError,
    CoinAllocation,
    CoinEventConfig,
    CoinEventService,
    CoinEventUpdate,
    Configuration,
    CustomConfiguration,
    EnkashError,
    InvalidRequest,
    LoginSuspended,
    MalformedResponse,
    MemoryGuard,
    Outcome,
    OutcomeStatus,
    OutcomeStream,
    PasswordGrant,
    RateLimited,
    Request,
    Response,
    RetryPolicy,
    TimedOut,
    Token,
    TokenSource,
    Transport,
)
from enkash_coins.testing import MockTransport, answer

GIFT = CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1")
ROW = CoinEventUpdate("WCC12345", amount=10)


async def verbs(coins: CoinEventService) -> None:
    """Each verb gives its own value."""
    assert_type(await coins.get("WCC1"), CoinEventConfig)
    assert_type(await coins.update("WCC1", amount=10, configuration="WEEKEND"), CoinEventConfig)
    assert_type(await coins.update("WCC1", configuration=Configuration.CUSTOM, amount=UNSET), CoinEventConfig)
    assert_type(
        await coins.create(company_id="C", event="E", amount=1, configuration=Configuration.DEFAULT), CoinEventConfig
    )
    assert_type(await coins.allocate(company_id="C", event="E", user_id="U"), AllocationReceipt)
    assert_type(
        await coins.allocate(company_id="C", event="E", user_id="U", request_id="order-7", replay=True),
        AllocationReceipt,
    )
    assert_type(await coins.balance("EK1"), int)
    await coins.aclose()


async def values(config: CoinEventConfig, receipt: AllocationReceipt, row: CoinEventUpdate) -> None:
    """Fields have their documented types."""
    assert_type(config.coin_config_id, str)
    assert_type(config.configuration, str | CustomConfiguration)
    assert_type(config.event, str)
    assert_type(config.amount, int)
    assert_type(config.company_id, str | None)
    assert_type(config.extra, Mapping[str, object])
    assert_type(config.as_dict(), dict[str, object])
    assert_type(receipt.request_id, str)
    assert_type(receipt.message, str)
    assert_type(GIFT.request_id, str | None)
    if row.amount is not UNSET:
        assert_type(row.amount, int)


async def late() -> AsyncIterator[CoinEventUpdate]:
    """Rows from somewhere that takes its time."""
    yield ROW


def soon() -> Iterator[CoinAllocation]:
    """Rows at hand."""
    yield GIFT


async def streams(coins: CoinEventService) -> None:
    """An outcome knows the type of its row and of its result."""
    updates = coins.update_many([ROW])
    assert_type(updates, OutcomeStream[CoinEventUpdate, CoinEventConfig])
    async for outcome in updates:
        assert_type(outcome, Outcome[CoinEventUpdate, CoinEventConfig])
        assert_type(outcome.index, int)
        assert_type(outcome.item, CoinEventUpdate)
        assert_type(outcome.status, OutcomeStatus)
        assert_type(outcome.result, CoinEventConfig | None)
        assert_type(outcome.error, EnkashError | None)
        assert_type(outcome.attempts, int)
        assert_type(outcome.late_risk, bool)
        assert_type(outcome.ok, bool)
        assert_type(outcome.unwrap(), CoinEventConfig)
    assert_type(updates.counts, Counter[OutcomeStatus])
    async with coins.update_many(late(), concurrency=16) as stream:
        assert_type(stream, OutcomeStream[CoinEventUpdate, CoinEventConfig])
    failed = await coins.allocate_many(soon()).failures()
    assert_type(failed, list[Outcome[CoinAllocation, AllocationReceipt]])
    assert_type(failed[0].unwrap(), AllocationReceipt)
    await updates.aclose()


class Recording:
    """A transport of a user's own: nothing to inherit from."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.seen: list[str] = []

    async def send(self, request: Request, /) -> Response:
        """Remember the path."""
        self.seen.append(request.path)
        return await self.inner.send(request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self.inner.aclose()


class Renamed:
    """The same with another name for the argument: it is passed by position."""

    async def send(self, message: Request) -> Response:
        """Answer nothing."""
        return Response(204, {}, message.body)

    async def aclose(self) -> None:
        """Nothing is held."""


class Vault:
    """A token source of a user's own."""

    async def token(self, send: Transport, /) -> Token:
        """Fetch one through the inner transport."""
        response = await send.send(Request("GET", "/vault"))
        return Token(response.body.decode(), expires_at=None)

    def refused(self, token: Token, /) -> None:
        """Forget it."""


def over_any_transport() -> None:
    """The seam is two protocols, and whoever fits them fits."""
    mock = MockTransport([answer(5), TimedOut("late"), Response(429, {"Retry-After": "1"})])
    assert_type(mock.requests, list[Request])
    CoinEventService(mock, retry=RetryPolicy(attempts=1), concurrency=4)
    CoinEventService(Recording(mock), concurrency="auto")
    CoinEventService(Renamed())
    source: TokenSource = Vault()
    source = PasswordGrant("id", "secret", "user", "password", guard=MemoryGuard())
    CoinEventService.connect("https://coins.example", auth=source)


def handler(request: Request) -> Response:
    """A handler for the mock."""
    return answer({"path": request.path}, status=200, code=0, message="Success", headers={"X-A": "1"})


async def slow_handler(request: Request) -> Response | EnkashError:
    """A handler that takes its time, and may fail."""
    return TimedOut("late", operation=request.operation)


def mocks() -> None:
    """A mock takes a handler of either kind, or answers and errors."""
    MockTransport(handler)
    MockTransport(slow_handler)
    MockTransport(answer(n) for n in range(5))


async def ways_to_connect() -> None:
    """``connect`` and ``from_env`` give the service itself, ready for ``async with``."""
    coins = CoinEventService.connect(
        "https://coins.example",
        auth="token",
        cookies={"JSESSIONID": "x"},
        headers={"X-A": "1"},
        user_agent="acme/1",
        timeout=5,
        retry=RetryPolicy(),
        concurrency=8,
        rate=10,
        ssl_context=None,
        proxy=None,
        trust_env=False,
        session=None,
    )
    assert_type(coins, CoinEventService)
    held: AbstractAsyncContextManager[CoinEventService] = coins
    async with held as entered:
        assert_type(entered, CoinEventService)
    assert_type(CoinEventService.from_env(), CoinEventService)
    assert_type(CoinEventService.from_env(auth="token", timeout=5, rate=None, concurrency="auto"), CoinEventService)


class Custom(CoinEventService):
    """A service of a user's own."""


def subclasses() -> None:
    """A subclass connects to itself."""
    assert_type(Custom.connect("https://coins.example", auth="token"), Custom)
    assert_type(Custom.from_env(), Custom)


def failures(error: EnkashError) -> None:
    """Errors have typed facts, and can be told apart."""
    assert_type(error.operation, str | None)
    assert_type(error.attempts, int)
    assert_type(error.maybe_applied, bool)
    assert_type(error.request_id, str | None)
    match error:
        case RateLimited():
            assert_type(error.retry_after, float | None)
        case ApiError():
            assert_type(error.status, int)
            assert_type(error.response_code, int | None)
            assert_type(error.response_message, str | None)
            assert_type(error.headers, dict[str, str])
        case MalformedResponse():
            assert_type(error.status, int | None)
        case LoginSuspended():
            assert_type(error.retry_at, datetime | None)
    value_error: ValueError = InvalidRequest("x")
    timeout: TimeoutError = TimedOut("x")
    raise value_error from timeout
