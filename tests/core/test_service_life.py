"""A service's life: its loop, its end, and what it writes into the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from enkash_coins import (
    AllocationReceipt,
    CoinEventConfig,
    CoinEventService,
    CoinEventUpdate,
    ConnectError,
    EnkashError,
    InvalidRequest,
    MalformedResponse,
    NotFound,
    Request,
    Response,
    RetryPolicy,
    ServerError,
    ServiceClosed,
    TimedOut,
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
async def test_a_closed_service_says_so(operation: str) -> None:
    """A call after ``aclose()`` raises ``ServiceClosed``, and nothing is sent; closing twice is fine."""
    transport = MockTransport([])
    async with CoinEventService(transport) as coins:
        await coins.aclose()
    await coins.aclose()
    with pytest.raises(ServiceClosed) as caught:
        await VERBS[operation][0](coins)
    assert (caught.value.operation, caught.value.attempts, caught.value.maybe_applied) == (operation, 0, False)
    assert caught.value.request_id == ("order-7" if operation == "allocate" else None)
    assert transport.requests == []
    assert transport.closed


async def test_a_stream_of_a_closed_service_says_so() -> None:
    """It does not turn a hundred thousand rows into as many failures."""
    coins = CoinEventService(MockTransport([]))
    await coins.aclose()
    with pytest.raises(ServiceClosed):
        await coins.update_many([CoinEventUpdate("WCC1", amount=1)]).failures()


async def test_closing_ends_a_wait_before_a_retry() -> None:
    """Whoever backs off does not keep a closed service waiting."""
    asked = asyncio.Event()

    def handle(request: Request) -> Response:
        asked.set()
        return Response(429, {"Retry-After": "50"})

    transport = MockTransport(handle)
    coins = CoinEventService(transport)
    call = asyncio.create_task(coins.balance("EK1"))
    await asked.wait()
    await coins.aclose()
    async with asyncio.timeout(5):
        with pytest.raises(EnkashError):
            await call
    assert len(transport.requests) == 1


def test_a_service_belongs_to_one_living_loop() -> None:
    """On another loop it raises ``RuntimeError``; when its loop is closed it moves on."""
    transport = MockTransport(lambda request: answer(42))
    coins = CoinEventService(transport)

    async def ask() -> int:
        return await coins.balance("EK1")

    with asyncio.Runner() as first:
        assert first.run(ask()) == 42
        with asyncio.Runner() as second, pytest.raises(RuntimeError, match="belongs to another event loop"):
            second.run(ask())
    assert asyncio.run(ask()) == 42
    assert len(transport.requests) == 2


@pytest.mark.parametrize("bad", [0, -1, 1.5, "many", None, True])
def test_a_concurrency_without_sense_is_refused_at_once(bad: int) -> None:
    """For the service and for a stream, before anything runs; only a stream may leave it to the service."""
    with pytest.raises(InvalidRequest, match=r"^concurrency: "):
        CoinEventService(MockTransport([]), concurrency=bad)
    if bad is not None:
        with pytest.raises(InvalidRequest, match=r"^concurrency: "):
            CoinEventService(MockTransport([])).update_many([], concurrency=bad)


def other(request: Request) -> Response:
    """The documented example: an answer that names another id."""
    return answer(CONFIG | {"coinConfigId": "WCC024845"})


async def test_another_id_in_an_answer_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A warning that names both, once per service whatever the call; never an error."""
    async with CoinEventService(MockTransport(other)) as coins:
        assert (await coins.update("WCC12345", amount=10)).coin_config_id == "WCC024845"
        await coins.get("WCC12345")
        assert await coins.update_many([CoinEventUpdate(f"WCC{n}", amount=10) for n in range(5)]).failures() == []
    async with CoinEventService(MockTransport(other)) as coins:
        await coins.get("WCC7")
    records = [record for record in caplog.records if record.name == "enkash_coins"]
    assert [record.levelno for record in records] == [logging.WARNING] * 2
    assert [("WCC12345" in record.message, "WCC7" in record.message) for record in records] == [
        (True, False),
        (False, True),
    ]
    assert all("WCC024845" in record.message for record in records)


async def test_the_right_id_and_a_new_one_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A creation is asked for without an id: there is nothing to differ from."""
    async with CoinEventService(MockTransport(lambda request: answer(CONFIG))) as coins:
        await coins.get("WCC12345")
        await coins.create(company_id="C", event="E", amount=1, configuration="D")
        assert await coins.update_many([CoinEventUpdate("WCC12345", amount=10)]).failures() == []
    assert caplog.records == []


async def test_a_hostile_id_cannot_write_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What a server says is made harmless in a log line, as in an error."""
    hostile = "X\nCRITICAL all is lost\x1b[31m" + "x" * 10_000
    async with CoinEventService(MockTransport([answer(CONFIG | {"coinConfigId": hostile})])) as coins:
        await coins.get("WCC12345")
    (record,) = caplog.records
    assert record.message.isprintable()
    assert len(record.message) < 700


async def test_a_retry_without_a_wait_lets_others_run() -> None:
    """Even with ``base=0`` and a transport that never waits, one call in trouble does not stop the whole program."""
    turns: list[int] = []

    def handle(request: Request) -> Response:
        if len(transport.requests) == 1:
            asyncio.get_running_loop().call_soon(lambda: turns.append(len(transport.requests)))
        return Response(503)

    transport = MockTransport(handle)
    async with CoinEventService(transport, retry=RetryPolicy(attempts=50, base=0)) as coins:
        with pytest.raises(ServerError):
            await coins.get("WCC12345")
    assert turns
    assert turns[0] < 10


async def test_the_retry_budget_is_the_clients() -> None:
    """Spent by one call, it is missing to the next; 429s do not spend it."""
    policy = RetryPolicy(base=0, budget=3)
    transport = MockTransport(lambda request: Response(503))
    async with CoinEventService(transport, retry=policy) as coins:
        for expected in (4, 5, 6):
            with pytest.raises(ServerError):
                await coins.get("WCC12345")
            assert len(transport.requests) == expected
    transport = MockTransport(lambda request: Response(429))
    async with CoinEventService(transport, retry=policy) as coins:
        for expected in (4, 8):
            with pytest.raises(EnkashError):
                await coins.get("WCC12345")
            assert len(transport.requests) == expected


async def test_successes_refill_the_budget() -> None:
    """Five of them buy one retry."""
    no, yes = Response(503), answer(42)
    transport = MockTransport([no, yes, *[yes] * 3, no, *[yes], no, yes])
    async with CoinEventService(transport, retry=RetryPolicy(base=0, budget=1)) as coins:
        for _ in range(4):  # the first spends the budget; four successes are not enough for another retry
            assert await coins.balance("EK1") == 42
        with pytest.raises(ServerError) as caught:
            await coins.balance("EK1")
        assert caught.value.attempts == 1
        for _ in range(2):
            assert await coins.balance("EK1") == 42
    assert len(transport.requests) == 9


async def test_log_lines_say_how_each_attempt_went(caplog: pytest.LogCaptureFixture) -> None:
    """DEBUG: one line per attempt; WARNING: one when it was given up; never a body or an id of a user."""
    caplog.set_level(logging.DEBUG, "enkash_coins")
    answers: list[Answer] = [Response(503), answer(42), TimedOut("late"), MalformedResponse("odd"), Response(404)]
    async with CoinEventService(MockTransport(answers), retry=AT_ONCE) as coins:
        await coins.balance("EK-somebody")
        with pytest.raises(NotFound):
            await coins.get("WCC12345")
    lines = [(record.levelname, record.message) for record in caplog.records if record.name == "enkash_coins"]
    starts = [
        ("DEBUG", "balance attempt 1: 503 in "),
        ("DEBUG", "balance attempt 2: 200 in "),
        ("DEBUG", "get attempt 1: TimedOut in "),
        ("DEBUG", "get attempt 2: MalformedResponse in "),
        ("DEBUG", "get attempt 3: 404 in "),
        ("WARNING", "get: given up after 3 attempts: "),
    ]
    assert len(lines) == len(starts)
    for (level, line), (expected, start) in zip(lines, starts, strict=True):
        assert level == expected
        assert line.startswith(start)
        assert "EK-somebody" not in line
    assert lines[0][1].endswith("again in 0.000 s")


async def test_the_log_of_an_allocation_given_up_in_doubt_has_its_request_id(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads no more than the log can look it up."""
    async with CoinEventService(MockTransport([ConnectError("no"), TimedOut("late")]), retry=AT_ONCE) as coins:
        with pytest.raises(TimedOut):
            await coins.allocate(company_id="CEK1", event="E", user_id="EK1", request_id="order-7")
    assert caplog.messages == [
        "allocate: given up after 2 attempts: late; coins may have been given, under request id order-7"
    ]
