"""The contract's retry table, request by request, counted by a server on a real socket."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest

from enkash_coins import (
    ApiError,
    BadRequest,
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    Conflict,
    ConnectError,
    Disconnected,
    EnkashError,
    Forbidden,
    MalformedResponse,
    NotFound,
    OperationFailed,
    Outcome,
    PreconditionFailed,
    RateLimited,
    RetryPolicy,
    ServerError,
    TimedOut,
    TlsError,
    Unauthorized,
    UnexpectedRedirect,
    UnprocessableEntity,
)
from tests.wire.calls import CALLS, THREE_TRIES, WRITES
from tests.wire.failures import SCRIPTS, failing
from tests.wire.server import Exchange, Script, Server, well

NO, YES = False, True
UPDATE = CoinEventUpdate("WCC12345", amount=10)
ALLOCATION = CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", request_id="order-1")

# One digit for each of: get, balance, update, create, allocate, allocate with replay=True; three tries at most.
# fmt: off
TABLE: Final[dict[str, tuple[str, str, type[EnkashError], bool, str]]] = {
    #                         requests    tries                            a write may  a row of
    #                         arrived     begun     raised                 be applied   a stream
    "connection refused":    ("000 000", "333 333", ConnectError,          NO,          "not_sent"),
    "connect timeout":       ("000 000", "333 333", TimedOut,              NO,          "not_sent"),
    "no such host":          ("000 000", "333 333", ConnectError,          NO,          "not_sent"),
    "proxy refuses":         ("333 333", "333 333", ConnectError,          NO,          "not_sent"),  # CONNECTs only
    "untrusted certificate": ("000 000", "111 111", TlsError,              NO,          "not_sent"),
    "429":                   ("333 333", "333 333", RateLimited,           NO,          "not_sent"),
    "429, Retry-After: 0":   ("333 333", "333 333", RateLimited,           NO,          "not_sent"),
    "425":                   ("333 333", "333 333", RateLimited,           NO,          "not_sent"),
    "401":                   ("111 111", "111 111", Unauthorized,          NO,          "rejected"),
    "401, then a new token": ("222 222", "222 222", Unauthorized,          NO,          "rejected"),
    "reset before reading":  ("333 113", "333 113", Disconnected,          YES,         "unknown"),
    "reset after reading":   ("333 113", "333 113", Disconnected,          YES,         "unknown"),
    "closed after reading":  ("333 113", "333 113", Disconnected,          YES,         "unknown"),
    "timeout after reading": ("333 113", "333 113", TimedOut,              YES,         "unknown"),
    "408":                   ("333 113", "333 113", ApiError,              YES,         "unknown"),
    "500":                   ("333 113", "333 113", ServerError,           YES,         "unknown"),
    "503":                   ("333 113", "333 113", ServerError,           YES,         "unknown"),
    "HTML page, 503":        ("333 113", "333 113", ServerError,           YES,         "unknown"),
    "HTML page":             ("333 113", "333 113", MalformedResponse,     YES,         "unknown"),
    "answer cut short":      ("333 113", "333 113", Disconnected,          YES,         "unknown"),
    "head cut short":        ("333 113", "333 113", Disconnected,          YES,         "unknown"),
    "not HTTP":              ("333 113", "333 113", MalformedResponse,     YES,         "unknown"),
    "bad JSON":              ("333 113", "333 113", MalformedResponse,     YES,         "unknown"),
    "wrong payload":         ("333 113", "333 113", MalformedResponse,     YES,         "unknown"),
    "body too large":        ("333 113", "333 113", MalformedResponse,     YES,         "unknown"),
    "bad gzip":              ("333 113", "333 113", MalformedResponse,     YES,         "unknown"),
    "302":                   ("111 111", "111 111", UnexpectedRedirect,    NO,          "rejected"),
    "400":                   ("111 111", "111 111", BadRequest,            NO,          "rejected"),
    "403":                   ("111 111", "111 111", Forbidden,             NO,          "rejected"),
    "404":                   ("111 111", "111 111", NotFound,              NO,          "rejected"),
    "409":                   ("111 111", "111 111", Conflict,              NO,          "rejected"),
    "412":                   ("111 111", "111 111", PreconditionFailed,    NO,          "rejected"),
    "418":                   ("111 111", "111 111", ApiError,              NO,          "rejected"),
    "422":                   ("111 111", "111 111", UnprocessableEntity,   NO,          "rejected"),
    "response_code 1":       ("111 111", "111 111", OperationFailed,       NO,          "rejected"),
}
# fmt: on


def digit(row: str, call: str) -> int:
    """The table's figure for this call."""
    return int(row.replace(" ", "")[list(CALLS).index(call)])


def definite_no(exchange: Exchange) -> bool:
    """Whether the server, by what it wrote, certainly did nothing: 3xx, 4xx but 408, or a code that is not 0."""
    head, end, body = bytes(exchange.answered).partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1.1 "):
        return False
    status = int(head.split()[1])
    return (300 <= status < 500 and status != 408) or (status == 200 and b'"response_code":1' in body)


def may_have_acted(server: Server) -> bool:
    """The server's own view: a byte of a request for the API came in, and was not answered with a definite no."""
    refused = sum(definite_no(exchange) or exchange.operation == "other" for exchange in server.seen)
    return server.arrived > refused


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", TABLE)
async def test_retry_table(failure: str, call: str) -> None:
    """A request leaves as often as the contract's table says, fails as the right error, and never hides a doubt."""
    arrived, tries, kind, doubtful, _ = TABLE[failure]
    async with (
        failing(failure) as given,
        given.client(THREE_TRIES) as coins,
    ):
        with pytest.raises(kind) as caught:
            await CALLS[call](coins)
        assert given.server.arrived == digit(arrived, call)
    error = caught.value
    assert isinstance(error, TimedOut) if kind is TimedOut else type(error) is kind
    assert error.attempts == digit(tries, call)
    assert error.maybe_applied == (doubtful and call in WRITES)
    assert error.operation == call.partition(",")[0]
    assert error.request_id == ("order-1" if call.startswith("allocate") else None)
    if call in WRITES:
        assert error.maybe_applied or not may_have_acted(given.server)


@pytest.mark.parametrize("rows", ["update_many", "allocate_many"])
@pytest.mark.parametrize("failure", TABLE)
async def test_a_row_is_not_sent_only_when_nothing_took_effect(failure: str, rows: str) -> None:
    """A stream's row ends as the contract's statuses say; never as not_sent when the server may have acted."""
    *_, doubtful, status = TABLE[failure]
    # In a stream a 429 uses up no attempts but time: here, none.
    policy = RetryPolicy(attempts=3, base=0, max_wait=0)
    async with (
        failing(failure) as given,
        given.client(policy) as coins,
    ):
        if rows == "update_many":
            failures: Sequence[Outcome[Any, Any]] = await coins.update_many([UPDATE]).failures()
        else:
            failures = await coins.allocate_many([ALLOCATION]).failures()
    (outcome,) = failures
    assert outcome.status == status
    assert outcome.error is not None
    assert outcome.error.maybe_applied == doubtful
    if outcome.status in ("not_sent", "rejected"):
        assert not may_have_acted(given.server)


def once(script: Script) -> Script:
    """This script for the first request, then what the documents show."""
    left = [script]
    return lambda exchange: left.pop()(exchange) if left else well(exchange)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", [name for name in TABLE if name in SCRIPTS])
async def test_a_retry_sends_the_very_same_bytes(failure: str, call: str) -> None:
    """Where the table allows a second try and that goes well, the call succeeds, and both requests were the same."""
    async with (
        failing(failure) as given,
        given.client(THREE_TRIES) as coins,
    ):
        given.server.script = once(SCRIPTS[failure])
        if digit(TABLE[failure][0], call) == 1:
            with pytest.raises(EnkashError):
                await CALLS[call](coins)
            assert len(given.server.seen) == 1
            return
        assert await CALLS[call](coins) is not None
        first, second = (exchange.raw for exchange in given.server.seen)
    assert second == (first.replace(b"token-1", b"token-2") if "new token" in failure else first)


async def test_a_401_is_answered_once_with_a_new_token() -> None:
    """Also when the first token had been good until then, and every further one is refused at once."""
    async with (
        failing("401, then a new token") as given,
        given.client(THREE_TRIES) as coins,
    ):
        given.server.script = once(well)
        await coins.get("WCC12345")
        given.server.script = SCRIPTS["401"]
        with pytest.raises(Unauthorized) as caught:
            await coins.update("WCC12345", amount=10)
        assert caught.value.attempts == 2
        tokens = [exchange.header("Authorization") for exchange in given.server.seen]
    assert tokens == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


async def test_a_doubt_is_not_taken_back_by_a_later_no() -> None:
    """Once one attempt may have been applied, a definite no to the next does not prove the contrary."""
    answers = [SCRIPTS["closed after reading"], SCRIPTS["404"]]
    async with (
        Server(lambda exchange: answers.pop(0)(exchange)) as server,  # noqa: PLW0108  # each request takes the next one
        CoinEventService.connect(server.url, auth="token-1", retry=THREE_TRIES) as coins,
    ):
        with pytest.raises(NotFound) as caught:
            await coins.update("WCC12345", amount=10)
    assert (caught.value.attempts, caught.value.maybe_applied) == (2, True)


async def test_a_cancelled_call_is_not_repeated() -> None:
    """Cancelling is passed on at once, and nothing more is sent."""
    arrived = asyncio.Event()

    async def tell(_: object) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with (
        Server(lambda _: [tell]) as server,
        CoinEventService.connect(server.url, auth="token-1", retry=THREE_TRIES) as coins,
    ):
        call = asyncio.ensure_future(coins.get("WCC12345"))
        await asyncio.wait_for(arrived.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(server.seen) == 1
