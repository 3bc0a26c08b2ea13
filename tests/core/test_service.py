"""The five verbs over a mock: what goes out, what comes back, and what is said about it."""

import contextlib
import gc
import json
import traceback
import uuid
import weakref
from collections.abc import Awaitable, Callable

import pytest

from enkash_coins import (
    UNSET,
    AllocationReceipt,
    CoinEventConfig,
    CoinEventService,
    ConnectError,
    Disconnected,
    EnkashError,
    NotFound,
    OperationFailed,
    Response,
    RetryPolicy,
    TimedOut,
    TlsError,
    Token,
    Transport,
    Unauthorized,
)
from enkash_coins.testing import Answer, MockTransport, answer

CONFIG = {"coinConfigId": "WCC12345", "configuration": "DEFAULT", "event": "INVOICE_PAYMENT", "amount": 10}
AT_ONCE = RetryPolicy(base=0)
SAID = "Successfully allocated enkash Coins"

Call = Callable[[CoinEventService], Awaitable[object]]
VERBS: dict[str, tuple[Call, object, object]] = {
    "get": (lambda coins: coins.get("WCC12345"), CONFIG, CoinEventConfig(*CONFIG.values())),  # type: ignore[arg-type]  # its four
    "update": (
        lambda coins: coins.update("WCC12345", amount=10),
        CONFIG,
        CoinEventConfig(*CONFIG.values()),  # type: ignore[arg-type]  # same
    ),
    "create": (
        lambda coins: coins.create(company_id="C", event="E", amount=1, configuration="D"),
        CONFIG,
        CoinEventConfig(*CONFIG.values()),  # type: ignore[arg-type]  # same
    ),
    "allocate": (
        lambda coins: coins.allocate(company_id="C", event="E", user_id="U", request_id="order-7"),
        SAID,
        AllocationReceipt("order-7", SAID),
    ),
    "balance": (lambda coins: coins.balance("EK1"), 42, 42),
}


@pytest.mark.parametrize("operation", VERBS)
async def test_each_verb_sends_one_request_and_gives_its_value(operation: str) -> None:
    """One success is one request, and what the API says comes back as a value."""
    call, payload, value = VERBS[operation]
    transport = MockTransport([answer(payload)])
    async with CoinEventService(transport) as coins:
        assert await call(coins) == value
    assert [request.operation for request in transport.requests] == [operation]


@pytest.mark.parametrize("operation", VERBS)
async def test_an_error_tells_the_facts_of_its_call(operation: str) -> None:
    """Operation, tries begun, doubt and an allocation's id; nothing of the exchange hangs on it."""
    call, _, _ = VERBS[operation]
    async with CoinEventService(MockTransport([ConnectError("refused")] * 4), retry=AT_ONCE) as coins:
        with pytest.raises(ConnectError, match="refused") as caught:
            await call(coins)
    error = caught.value
    assert (error.operation, error.attempts, error.maybe_applied) == (operation, 4, False)
    assert error.request_id == ("order-7" if operation == "allocate" else None)
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_each_call_has_an_error_of_its_own() -> None:
    """The transport's error object stays as it was: facts of one call are not seen on another's, nor are its frames."""
    original = ConnectError("refused")
    async with CoinEventService(MockTransport([original] * 2), retry=RetryPolicy(attempts=1)) as coins:
        with pytest.raises(ConnectError) as first:
            await coins.get("WCC12345")
        with pytest.raises(ConnectError) as second:
            await coins.allocate(company_id="C", event="E", user_id="U", request_id="order-7")
    assert (original.operation, original.attempts, original.request_id) == (None, 0, None)
    assert (first.value.operation, first.value.request_id) == ("get", None)
    assert (second.value.operation, second.value.request_id) == ("allocate", "order-7")
    assert "send" not in {frame.name for frame in traceback.extract_tb(second.value.__traceback__)}


@pytest.mark.parametrize("operation", VERBS)
async def test_doubt_is_a_matter_of_writes(operation: str) -> None:
    """A read that timed out is repeated and never doubtful; a create or an allocation is neither repeated nor clear."""
    call, _, _ = VERBS[operation]
    transport = MockTransport([TimedOut("late")] * 4)
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        with pytest.raises(TimedOut) as caught:
            await call(coins)
    assert caught.value.maybe_applied is (operation in {"update", "create", "allocate"})
    assert len(transport.requests) == (1 if operation in {"create", "allocate"} else 4)


async def test_a_later_no_does_not_undo_doubt() -> None:
    """Once an attempt may have been applied, a definite no to its repetition proves nothing."""
    transport = MockTransport([Disconnected("gone"), answer(None, status=404, code=1)])
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        with pytest.raises(NotFound) as caught:
            await coins.update("WCC12345", amount=10)
    assert (caught.value.maybe_applied, caught.value.attempts) == (True, 2)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (TlsError("untrusted"), TlsError),
        (answer(None, status=404, code=1), NotFound),
        (answer(None, code=36), OperationFailed),
    ],
    ids=["tls", "404", "response_code"],
)
async def test_a_final_failure_is_asked_once(failure: Answer, kind: type[EnkashError]) -> None:
    """What will not get better is not repeated, not even a read."""
    transport = MockTransport([failure])
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        with pytest.raises(kind) as caught:
            await coins.get("WCC12345")
    assert (caught.value.attempts, caught.value.maybe_applied) == (1, False)


async def test_a_new_token_is_tried_once_and_costs_no_attempt() -> None:
    """A 401 with a new token at hand is asked again at once; a second one is final, and other failures count."""
    refused = answer(None, status=401)

    class Renewing:
        """Has a new token after each refusal."""

        number = 0

        async def token(self, send: Transport, /) -> Token:
            return Token(f"token-{self.number}")

        def refused(self, token: Token, /) -> None:
            self.number += 1

    transport = MockTransport([refused, *[ConnectError("refused")] * 3, answer(42), refused, refused])
    async with CoinEventService(transport, auth=Renewing(), retry=AT_ONCE) as coins:
        assert await coins.balance("EK1") == 42
        with pytest.raises(Unauthorized) as caught:
            await coins.allocate(company_id="C", event="E", user_id="U")
    assert (caught.value.attempts, caught.value.maybe_applied) == (2, False)
    assert len(transport.requests) == 7


async def test_an_unreadable_answer_is_asked_again() -> None:
    """Reading is part of the attempt."""
    transport = MockTransport([Response(200, {}, b"<html>"), answer("x"), answer(42)])
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        assert await coins.balance("EK1") == 42
    assert len(transport.requests) == 3


async def test_what_is_left_out_is_not_sent() -> None:
    """``UNSET`` is the same as leaving out; zero is a value."""
    transport = MockTransport(lambda request: answer(CONFIG))
    async with CoinEventService(transport) as coins:
        await coins.update("WCC12345", amount=0)
        await coins.update("WCC12345", event="E", amount=UNSET, configuration=UNSET, company_id=UNSET)
    assert [request.body for request in transport.requests] == [b'{"amount":0}', b'{"event":"E"}']


async def test_an_allocation_makes_its_id_once() -> None:
    """A UUID4, made before the first attempt, the same on every attempt and on the receipt; another for each call."""
    transport = MockTransport([ConnectError("refused"), answer(None, status=429), answer(SAID), answer(SAID)])
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        first = await coins.allocate(company_id="C", event="E", user_id="U")
        second = await coins.allocate(company_id="C", event="E", user_id="U")
    sent = [json.loads(request.body)["requestId"] for request in transport.requests]
    assert sent == [first.request_id] * 3 + [second.request_id]
    assert first.request_id != second.request_id
    assert [uuid.UUID(one).version for one in sent] == [4] * 4
    assert transport.requests[0].body == transport.requests[2].body


FAILURES: dict[str, Callable[[], Answer]] = {
    "never left": lambda: ConnectError("refused"),
    "timeout": lambda: TimedOut("late"),
    "disconnect": lambda: Disconnected("gone"),
    "500": lambda: Response(500),
    "408": lambda: Response(408),
    "429": lambda: Response(429),
    "404": lambda: Response(404),
    "unreadable": lambda: Response(200, {}, b"?"),
    "no": lambda: answer(None, code=38),
}


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("replay", [False, True])
async def test_every_error_of_an_allocation_shows_its_id(kind: str, replay: bool) -> None:
    """The id that was made here is the only way to look up what became of it."""
    transport = MockTransport(lambda request: FAILURES[kind]())
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        with pytest.raises(EnkashError) as caught:
            await coins.allocate(company_id="C", event="E", user_id="U", replay=replay)
    sent = {json.loads(request.body)["requestId"] for request in transport.requests}
    assert sent == {caught.value.request_id}
    doubtful = kind in {"timeout", "disconnect", "500", "408", "unreadable"}
    again = kind in {"never left", "429"} or (doubtful and replay)
    assert len(transport.requests) == (4 if again else 1)
    assert caught.value.maybe_applied is doubtful


async def test_an_id_of_the_callers_own_is_used() -> None:
    """Derived from an order, it lasts longer than this process."""
    transport = MockTransport([answer(SAID)])
    async with CoinEventService(transport) as coins:
        receipt = await coins.allocate(company_id="C", event="E", user_id="U", request_id="order-7")
    assert receipt == AllocationReceipt("order-7", SAID)
    assert json.loads(transport.requests[0].body)["requestId"] == "order-7"


async def test_a_failed_call_lets_go_of_its_answer() -> None:
    """At once, and not when the collector next runs: an error page of megabytes with each retry of an outage, held in
    a ring of error, traceback and frame, would be as much memory as there are calls.
    """
    pages = [Response(503, {}, b"<html>" * 1000) for _ in range(2)]
    kept = [weakref.ref(page) for page in pages]
    gc.disable()
    try:
        async with CoinEventService(
            MockTransport(lambda _: pages.pop()), retry=RetryPolicy(attempts=2, base=0)
        ) as coins:
            with contextlib.suppress(EnkashError):
                await coins.get("WCC12345")
            assert [page() for page in kept] == [None, None]
    finally:
        gc.enable()
