"""What users test their own code with."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from enkash_coins import (
    AllocationReceipt,
    ApiError,
    CoinEventConfig,
    CoinEventService,
    Conflict,
    CustomConfiguration,
    Disconnected,
    NotFound,
    OperationFailed,
    RateLimited,
    Request,
    Response,
    RetryPolicy,
    ServerError,
    ServiceClosed,
    UnexpectedRedirect,
)
from enkash_coins.api.answers import ERRORS
from enkash_coins.testing import Answer, MockTransport, NotAnAnswer, answer

ASK = Request("GET", "/api/v0/coins/balance?userId=EK1", operation="balance")


async def test_a_function_answers() -> None:
    """A handler sees each request and returns its answer."""
    transport = MockTransport(lambda request: answer(request.path))
    response = await transport.send(ASK)
    assert json.loads(response.body)["payload"] == ASK.path
    assert transport.requests == [ASK]


async def test_a_coroutine_function_answers() -> None:
    """A handler may take its time."""

    async def handle(request: Request) -> Response:
        await asyncio.sleep(0)
        return answer(5)

    async with CoinEventService(MockTransport(handle)) as coins:
        assert await coins.balance("EK1") == 5


async def test_any_callable_answers() -> None:
    """An object with ``__call__``, asynchronous or not, will do."""

    class Counting:
        calls = 0

        def __call__(self, request: Request) -> Response:
            self.calls += 1
            return answer(self.calls)

    async with CoinEventService(MockTransport(Counting())) as coins:
        assert [await coins.balance("EK1"), await coins.balance("EK1")] == [1, 2]


async def test_answers_are_given_in_order() -> None:
    """From a list, or from any iterable, pulled one by one."""

    def endless() -> Iterator[Answer]:
        points = 0
        while True:
            points += 1
            yield answer(points)

    for answers in ([answer(1), answer(2)], (answer(1), answer(2)), endless()):
        async with CoinEventService(MockTransport(answers)) as coins:
            assert [await coins.balance("EK1"), await coins.balance("EK2")] == [1, 2]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_is_raised(asynchronous: bool) -> None:
    """From a list, from a function or from a coroutine: an ``EnkashError`` stands for a failure of the transport."""

    def fail(request: Request) -> Answer:
        return Disconnected("gone")

    async def fail_later(request: Request) -> Answer:
        return Disconnected("gone")

    for transport in (MockTransport(fail_later if asynchronous else fail), MockTransport([Disconnected("gone")])):
        with pytest.raises(Disconnected, match="gone"):
            await transport.send(ASK)
        assert transport.requests == [ASK]


async def test_a_handler_may_raise_by_itself() -> None:
    """What it raises comes out as it is."""

    def fail(request: Request) -> Answer:
        raise Disconnected("gone")

    with pytest.raises(Disconnected):
        await MockTransport(fail).send(ASK)


@pytest.mark.parametrize("given", [0, 2])
async def test_one_request_too_many_is_a_failed_test(given: int) -> None:
    """It names the request, so that one sees at once what was not expected; the service does not hide it."""
    transport = MockTransport([answer(1)] * given)
    async with CoinEventService(transport) as coins:
        for _ in range(given):
            await coins.balance("EK1")
        with pytest.raises(AssertionError, match=rf"no answer left for request {given + 1}: GET .*userId=EK2$"):
            await coins.balance("EK2")
    assert len(transport.requests) == given + 1


async def test_a_bare_payload_is_no_answer() -> None:
    """Whoever forgets ``answer(…)`` is told so, and not that some attribute is missing."""
    transport = MockTransport([{"amount": 10}])  # type: ignore[list-item]  # the mistake
    async with CoinEventService(transport) as coins:
        with pytest.raises(TypeError, match=r"answers with dict: wrap the payload in answer\(…\)"):
            await coins.balance("EK1")


async def test_retries_are_seen_as_requests() -> None:
    """Every attempt is kept, each as it went out."""
    transport = MockTransport([answer(None, status=503), Disconnected("gone"), answer(7)])
    async with CoinEventService(transport, retry=RetryPolicy(base=0)) as coins:
        assert await coins.balance("EK1") == 7
    assert [request.operation for request in transport.requests] == ["balance"] * 3
    assert transport.requests[0] == transport.requests[1] == transport.requests[2]


async def test_a_closed_mock_is_closed() -> None:
    """The service closes it, once or twice; after that it refuses, as a real one would."""
    transport = MockTransport([answer(1)])
    async with CoinEventService(transport):
        assert not transport.closed
    await transport.aclose()
    assert transport.closed
    with pytest.raises(ServiceClosed):
        await transport.send(ASK)
    assert transport.requests == []


def test_an_answer_is_the_documented_envelope() -> None:
    """Payload, code and message under the API's own names, as JSON."""
    response = answer({"a": [1, None]})
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.body == b'{"payload":{"a":[1,null]},"response_code":0,"response_message":"Success"}'


@pytest.mark.parametrize(("status", "code"), [(404, 0), (503, 0), (200, 1)])
def test_a_failure_does_not_say_success(status: int, code: int) -> None:
    """A test that asks for a failure sees one in the error's words, too."""
    assert b'"response_message":"Failure"' in answer(None, status=status, code=code).body


async def test_an_answer_may_be_a_failure() -> None:
    """With another status, or another code; headers come on top."""
    conflict = answer(
        "x", status=409, code=38, message="duplicate", headers={"CF-Ray": "8f", "Content-Type": "text/plain"}
    )
    transport = MockTransport([conflict, answer(None, status=404, code=1, message="no such config")])
    async with CoinEventService(transport) as coins:
        with pytest.raises(Conflict) as caught:
            await coins.get("WCC1")
        assert (caught.value.status, caught.value.response_code, caught.value.response_message) == (
            409,
            38,
            "duplicate",
        )
        assert caught.value.headers == {"CF-Ray": "8f", "Content-Type": "text/plain"}
        with pytest.raises(NotFound, match="no such config"):
            await coins.get("WCC1")


CONFIGS = [
    CoinEventConfig("WCC1", "DEFAULT", "INVOICE_PAYMENT", 10),
    CoinEventConfig("WCC1", CustomConfiguration("x", {"more": 1}), "E", -1, "CEK1", {"state": "new"}),
]


@pytest.mark.parametrize("config", CONFIGS)
async def test_an_answer_is_made_of_a_configuration(config: CoinEventConfig) -> None:
    """Under the API's own names, whatever there is in it: what a call reads from it is equal."""
    async with CoinEventService(MockTransport([answer(config)] * 2)) as coins:
        assert await coins.get("WCC1") == config
        assert (await coins.update("WCC1", event="E")).extra == config.extra


async def test_an_answer_is_made_of_a_receipt() -> None:
    """Its message is the payload; the request id is the caller's."""
    async with CoinEventService(MockTransport([answer(AllocationReceipt("r1", "Given"))])) as coins:
        receipt = await coins.allocate(company_id="CEK1", event="E", user_id="EK1", request_id="r1")
    assert receipt == AllocationReceipt("r1", "Given")


@pytest.mark.parametrize("kind", sorted({*ERRORS.values(), OperationFailed, ServerError, UnexpectedRedirect}, key=str))
async def test_an_answer_is_made_of_an_error(kind: type[ApiError]) -> None:
    """Named by its class alone, or with all that it holds: a call raises the same."""
    full = kind(
        status=503 if kind is ServerError else 0,
        response_code=38,
        response_message="duplicate",
        payload={"a": 1},
        headers={"CF-Ray": "8f"},
        retry_after=2.0 if kind in (RateLimited, ServerError) else None,
    )
    transport = MockTransport([answer(kind("as the page says")), answer(full)])
    async with CoinEventService(transport, retry=RetryPolicy(attempts=1)) as coins:
        with pytest.raises(kind, match="as the page says") as caught:
            await coins.get("WCC1")
        assert caught.value.response_code == 1
        with pytest.raises(kind) as caught:
            await coins.get("WCC1")
    raised = caught.value
    assert (raised.response_code, raised.response_message, raised.payload) == (38, "duplicate", {"a": 1})
    assert (raised.headers["CF-Ray"], raised.retry_after) == ("8f", full.retry_after)


def test_no_answer_is_made_of_an_error_without_one() -> None:
    """It goes to the mock as it is."""
    with pytest.raises(NotAnAnswer, match="Disconnected is what a call raises without an answer"):
        answer(Disconnected("gone"))
