"""How streams end, and how they are paced, over a mock. Their timing is tested elsewhere."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from enkash_coins import (
    CoinAllocation,
    CoinEventConfig,
    CoinEventService,
    CoinEventUpdate,
    LoginRefused,
    LoginSuspended,
    NotFound,
    Outcome,
    OutcomeStatus,
    OutcomeStream,
    Request,
    Response,
    RetryPolicy,
    ServiceClosed,
    TimedOut,
)
from enkash_coins.testing import Answer, MockTransport, answer

AT_ONCE = RetryPolicy(base=0)


def as_asked(request: Request) -> Response:
    """The answer of a server that did as it was asked."""
    asked = {"configuration": "DEFAULT", "event": "E", "amount": 1} | json.loads(request.body)
    return answer(asked | {"coinConfigId": request.path.rpartition("/")[2]})


def by_id(request: Request) -> Answer:
    """An answer for each kind of outcome, by the id that is asked for."""
    kind = request.path.rpartition("/")[2].partition("-")[0]
    if kind == "late":
        return TimedOut("late")
    if kind == "other":
        return answer({"coinConfigId": "x", "configuration": "D", "event": "E", "amount": 999})
    return {"no": answer(None, code=36), "missing": answer(None, status=404, code=1)}.get(kind, as_asked(request))


def rows(*names: str) -> list[CoinEventUpdate]:
    """An update of one coin for each id."""
    return [CoinEventUpdate(name, amount=1) for name in names]


Updates = list[Outcome[CoinEventUpdate, CoinEventConfig]]


async def drain(stream: OutcomeStream[CoinEventUpdate, CoinEventConfig], outcomes: Updates) -> None:
    """Keep each outcome as it comes, so that those before an error are not lost."""
    async for outcome in stream:
        outcomes.append(outcome)


async def nothing() -> AsyncIterator[CoinEventUpdate]:
    """No rows, from somewhere that takes its time."""
    for row in rows():
        yield row


async def test_no_rows_are_no_outcomes() -> None:
    """An empty input ends at once, from either kind of iterable, and as often as one asks."""
    transport = MockTransport([])
    async with CoinEventService(transport) as coins:
        sources: tuple[list[CoinEventUpdate] | AsyncIterator[CoinEventUpdate], ...] = ([], nothing())
        for source in sources:
            stream = coins.update_many(source)
            assert [outcome async for outcome in stream] == []
            assert await stream.failures() == []
            assert stream.counts == {}
    assert transport.requests == []


async def test_a_stream_that_is_over_stays_over() -> None:
    """Iterating after the end gives nothing, and asks for nothing; closing it then changes nothing."""
    transport = MockTransport(as_asked)
    async with CoinEventService(transport) as coins:
        stream = coins.update_many(rows("a", "b"))
        assert len([outcome async for outcome in stream]) == 2
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            await stream.aclose()
        assert stream.counts == {"applied": 2}
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert len(transport.requests) == 2


async def test_failures_keeps_only_what_needs_attention() -> None:
    """It drains the stream; what was applied is counted and forgotten."""
    async with CoinEventService(MockTransport(by_id), retry=AT_ONCE) as coins:
        stream = coins.update_many(rows("ok-1", "no-1", "ok-2", "missing-1", "late-1"))
        failed = await stream.failures()
    assert sorted(outcome.index for outcome in failed) == [1, 3, 4]
    assert stream.counts == {"applied": 2, "rejected": 2, "unknown": 1}


async def test_a_stream_that_is_left_early_stops() -> None:
    """Nothing more is pulled or sent; ``aclose()`` may be called again."""
    transport = MockTransport(as_asked)
    async with CoinEventService(transport) as coins:
        async with coins.update_many(
            (CoinEventUpdate(f"W{n}", amount=1) for n in range(1000)), concurrency=1
        ) as stream:
            async for _ in stream:
                break
        asked = len(transport.requests)
        assert asked <= 5
        await stream.aclose()
        await asyncio.sleep(0.002)
        assert len(transport.requests) == asked
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert stream.counts == {"applied": 1}


async def test_a_stream_that_was_never_started_can_be_closed() -> None:
    """Nothing was pulled, and nothing is."""
    source = iter(rows("a", "b"))
    async with CoinEventService(MockTransport([])) as coins:
        stream = coins.update_many(source)
        await stream.aclose()
        assert await stream.failures() == []
    assert len(list(source)) == 2


async def test_cutting_rows_off_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A row under way when its stream is closed may have been applied: that is logged, with their number."""
    started = asyncio.Event()

    async def hang(request: Request) -> Response:
        started.set()
        await asyncio.Event().wait()
        return as_asked(request)

    async with CoinEventService(MockTransport(hang)) as coins:
        stream = coins.update_many(rows("a", "b", "c"))
        waiter = asyncio.create_task(stream.failures())
        await started.wait()
        await stream.aclose()
        assert await waiter == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.message
        == "a stream was closed with 3 rows under way and 0 outcomes not taken: they may have been applied"
    )


async def test_outcomes_that_nobody_took_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """Who leaves a stream early does not hear of rows that were applied meanwhile: the log does, with the ids of
    allocations.
    """
    given = [CoinAllocation(company_id="C", event="E", user_id=f"U{n}", request_id=f"order-{n}") for n in range(3)]
    transport = MockTransport([answer("Done"), Response(404), answer("Done")])
    async with CoinEventService(transport) as coins, coins.allocate_many(given, concurrency=1) as stream:
        assert (await anext(stream)).ok
        for _turn in range(20):
            await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == [
        "a stream was closed with 0 rows under way and 1 outcomes not taken: they may have been applied",
        "allocate applied, but its outcome was not taken: request id order-2",
    ]


@pytest.mark.parametrize("begun", [False, True], ids=["not begun", "at work"])
async def test_workers_that_somebody_else_cancels_end_the_stream_with_an_error(*, begun: bool) -> None:
    """Who cancels every task of a program, also those that have not begun, leaves no iterator waiting for ever, nor
    taking this for the end of the rows.
    """

    async def hang(request: Request) -> Response:
        await asyncio.Event().wait()
        return as_asked(request)

    async with CoinEventService(MockTransport(hang)) as coins:
        stream = coins.update_many(rows("a", "b", "c"))
        waiting = asyncio.ensure_future(anext(stream))
        for _turn in range(5 if begun else 1):
            await asyncio.sleep(0)
        for worker in stream._workers:
            worker.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(RuntimeError, match="ended from outside"):
                await waiting
        assert not coins._client.streams


async def test_closing_the_service_ends_its_streams_with_an_error() -> None:
    """Whoever iterates learns that the end is not the end of the rows."""
    coins = CoinEventService(MockTransport(as_asked))
    stream = coins.update_many(rows("a", "b", "c"))
    await anext(stream)
    await coins.aclose()
    with pytest.raises(ServiceClosed):
        await anext(stream)


async def test_a_refused_login_ends_the_stream_after_its_rows() -> None:
    """Rows already pulled have their outcomes, then the refusal is raised: no row is lost, and none more is pulled."""
    source = iter(rows(*(f"WCC{n}" for n in range(100))))
    outcomes: Updates = []
    async with CoinEventService(MockTransport(lambda request: LoginRefused("no"))) as coins:
        stream = coins.update_many(source, concurrency=2)
        with pytest.raises(LoginRefused, match="no"):
            await drain(stream, outcomes)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert {outcome.status for outcome in outcomes} == {OutcomeStatus.NOT_SENT}
    assert len(outcomes) + len(list(source)) == 100
    assert 1 <= len(outcomes) <= 8


async def test_a_bug_of_the_transport_ends_the_stream() -> None:
    """What is no ``EnkashError`` is not made an outcome, and not swallowed: it is raised after what was done."""
    outcomes: Updates = []
    async with CoinEventService(MockTransport([as_asked(Request("PATCH", "/a", {}, b"{}"))])) as coins:
        with pytest.raises(AssertionError, match="no answer left for request 2"):
            await drain(coins.update_many(rows("a", "b"), concurrency=1), outcomes)
    assert [outcome.status for outcome in outcomes] == ["applied"]


async def test_two_may_share_a_stream() -> None:
    """Each outcome goes to one of them; one that gives up does not take another's turn along."""
    release = asyncio.Event()

    async def handle(request: Request) -> Response:
        await (release if request.path.endswith("/a") else asyncio.Event()).wait()
        return as_asked(request)

    async with CoinEventService(MockTransport(handle)) as coins:
        stream = coins.update_many(rows("a", "never"))
        first, second = (asyncio.ensure_future(anext(stream)) for _ in range(2))
        for _ in range(5):
            await asyncio.sleep(0)
        release.set()
        for _ in range(50):
            if stream._done:
                break
            await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(1):
            assert (await second).status == "applied"


async def test_a_suspended_login_fails_its_rows_only() -> None:
    """It may end while the stream goes on."""
    async with CoinEventService(MockTransport([LoginSuspended("wait")])) as coins:
        (failed,) = await coins.update_many(rows("a")).failures()
    assert failed.status is OutcomeStatus.NOT_SENT
    assert isinstance(failed.error, LoginSuspended)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_of_the_callers_iterator_is_raised_after_its_rows(asynchronous: bool) -> None:
    """The rows before it have their outcomes; the error comes out as it is."""

    def broken() -> Iterator[CoinEventUpdate]:
        yield from rows("a", "b")
        raise OSError("the file is gone")

    async def broken_later() -> AsyncIterator[CoinEventUpdate]:
        for row in broken():
            yield row

    seen: Updates = []
    async with CoinEventService(MockTransport(as_asked)) as coins:
        stream = coins.update_many(broken_later() if asynchronous else broken())
        with pytest.raises(OSError, match="the file is gone"):
            await drain(stream, seen)
    assert [outcome.status for outcome in seen] == ["applied", "applied"]


async def test_an_outcome_can_be_unwrapped() -> None:
    """For those who want the exception after all."""
    async with CoinEventService(MockTransport(by_id)) as coins:
        outcomes = {outcome.index: outcome async for outcome in coins.update_many(rows("ok-1", "missing-1"))}
    assert outcomes[0].unwrap() == CoinEventConfig("ok-1", "DEFAULT", "E", 1)
    with pytest.raises(NotFound):
        outcomes[1].unwrap()
