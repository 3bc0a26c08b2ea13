"""Streams over a mock: one outcome for every row, whatever becomes of it. Their timing is tested elsewhere."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from enkash_coins import (
    AllocationReceipt,
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    InvalidRequest,
    OutcomeStatus,
    RateLimited,
    Request,
    Response,
    RetryPolicy,
    TimedOut,
)
from enkash_coins.testing import Answer, MockTransport, answer

AT_ONCE = RetryPolicy(base=0)
CONFIG = {"coinConfigId": "WCC1", "configuration": "DEFAULT", "event": "E", "amount": 1}


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


@pytest.mark.parametrize("concurrency", [1, 3, 32])
async def test_every_row_has_one_outcome(concurrency: int) -> None:
    """Index, item, status, result or error, and attempts; whatever becomes of the others."""
    expected = {
        "ok-1": ("applied", None, 1),
        "no-1": ("rejected", "OperationFailed", 1),
        "late-1": ("unknown", "TimedOut", 4),
        "../x": ("not_sent", "InvalidRequest", 0),
        "other-1": ("mismatched", "EnkashError", 1),
        "missing-1": ("rejected", "NotFound", 1),
        "ok-2": ("applied", None, 1),
    }
    updates = rows(*expected)
    async with CoinEventService(MockTransport(by_id), retry=AT_ONCE) as coins:
        stream = coins.update_many(updates, concurrency=concurrency)
        outcomes = [outcome async for outcome in stream]
    assert sorted(outcome.index for outcome in outcomes) == list(range(7))
    for outcome in outcomes:
        assert outcome.item is updates[outcome.index]
        error = outcome.error and type(outcome.error).__name__
        assert (outcome.status, error, outcome.attempts) == expected[outcome.item.coin_config_id]
        assert (outcome.result is not None) is (outcome.status in {"applied", "mismatched"})
    assert stream.counts == {"applied": 2, "rejected": 2, "unknown": 1, "not_sent": 1, "mismatched": 1}
    assert isinstance(stream.counts, Counter)


class _Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


ANYTHING: Any = CoinEventUpdate
INVALID: dict[str, Any] = {
    "None": None,
    "a string": "WCC1",
    "a dictionary": {"coin_config_id": "WCC1", "amount": 1},
    "an allocation": CoinAllocation(company_id="C", event="E", user_id="U"),
    "nothing set": CoinEventUpdate("WCC1"),
    "a bad id": CoinEventUpdate("a/b", amount=1),
    "an empty id": CoinEventUpdate("", amount=1),
    "no id": ANYTHING(None, amount=1),
    "an id that is a number": ANYTHING(12345, amount=1),
    "an id that is a list": ANYTHING(["WCC1"], amount=1),
    "an id that is a dictionary": ANYTHING({}, amount=1),
    "amount is text": ANYTHING("WCC1", amount="10"),
    "amount is None": ANYTHING("WCC1", amount=None),
    "amount of 5,001 digits": CoinEventUpdate("WCC1", amount=10**5000),
    "amount cannot be shown": ANYTHING("WCC1", amount=_Unshowable()),
    "a bad event": CoinEventUpdate("WCC1", event="a\nb"),
}


@pytest.mark.parametrize("case", INVALID)
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_an_invalid_row_is_an_outcome_too(case: str, concurrency: int) -> None:
    """Nothing of it is sent, no attempt is counted, and the rows around it are done as if it were not there."""
    transport = MockTransport(as_asked)
    around = rows("before", "after-1", "after-2")
    async with CoinEventService(transport) as coins:
        stream = coins.update_many([around[0], INVALID[case], *around[1:]], concurrency=concurrency)
        outcomes = {outcome.index: outcome async for outcome in stream}
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert [outcomes[index].status for index in range(4)] == ["applied", "not_sent", "applied", "applied"]
    assert outcomes[1].item is INVALID[case]
    assert isinstance(outcomes[1].error, InvalidRequest)
    assert (outcomes[1].attempts, outcomes[1].late_risk, outcomes[1].result) == (0, False, None)
    assert len(transport.requests) == 3


@pytest.mark.parametrize("row", [None, "x", CoinEventUpdate("WCC1", amount=1)], ids=["None", "str", "an update"])
async def test_an_invalid_allocation_is_an_outcome_too(row: CoinAllocation) -> None:
    """Of another type, or with a bad id."""
    bad = CoinAllocation(company_id="C", event="E", user_id="a\nb")
    async with CoinEventService(MockTransport([])) as coins:
        failed = await coins.allocate_many([row, bad]).failures()
    assert [(outcome.status, outcome.attempts) for outcome in failed] == [("not_sent", 0)] * 2
    assert {type(outcome.error) for outcome in failed} == {InvalidRequest}


async def test_allocations_have_ids_and_receipts() -> None:
    """Each row has its own request id, made here or given; it stands on the receipt, and on the error."""
    transport = MockTransport(
        lambda request: TimedOut("late") if b'"late"' in request.body else answer("Successfully allocated")
    )
    gifts = [CoinAllocation(company_id="C", event="E", user_id=user) for user in ("U1", "late", "U3")]
    gifts.append(CoinAllocation(company_id="C", event="E", user_id="U4", request_id="order-7"))
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        outcomes = {outcome.index: outcome async for outcome in coins.allocate_many(gifts)}
    sent = {json.loads(request.body)["userId"]: json.loads(request.body)["requestId"] for request in transport.requests}
    assert len(transport.requests) == 4
    assert len(set(sent.values())) == 4
    assert outcomes[0].unwrap() == AllocationReceipt(sent["U1"], "Successfully allocated")
    assert outcomes[3].unwrap().request_id == sent["U4"] == "order-7"
    assert outcomes[1].status is OutcomeStatus.UNKNOWN
    assert outcomes[1].error is not None
    assert outcomes[1].error.request_id == sent["late"]
    assert [outcomes[index].item is gift for index, gift in enumerate(gifts)] == [True] * 4


async def late(names: list[str]) -> AsyncIterator[CoinEventUpdate]:
    """Rows from somewhere that takes its time."""
    for name in names:
        await asyncio.sleep(0)
        yield CoinEventUpdate(name, amount=1)


async def test_being_put_off_uses_up_no_attempt() -> None:
    """A row is sent again after any number of 429s, as long as the client has successes now and then."""
    transport = MockTransport([*[Response(429)] * 20, answer(CONFIG)])
    async with CoinEventService(transport, retry=AT_ONCE) as coins:
        (outcome,) = [outcome async for outcome in coins.update_many(rows("WCC1"))]
    assert (outcome.status, outcome.attempts) == ("applied", 21)


async def test_being_put_off_for_too_long_is_not_sent() -> None:
    """Without a success for ``max_wait`` seconds the row ends: certainly nothing took effect."""
    transport = MockTransport([Response(429)])
    async with CoinEventService(transport, retry=RetryPolicy(base=0, max_wait=0)) as coins:
        (outcome,) = await coins.update_many(rows("WCC1")).failures()
    assert (outcome.status, outcome.attempts, outcome.late_risk) == ("not_sent", 1, False)
    assert isinstance(outcome.error, RateLimited)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_rows_may_come_from_an_async_iterable(concurrency: int) -> None:
    """An async generator is pulled by one worker at a time, in order."""
    names = [f"WCC{n}" for n in range(50)]
    async with CoinEventService(MockTransport(as_asked)) as coins:
        outcomes = [outcome async for outcome in coins.update_many(late(names), concurrency=concurrency)]
    assert {outcome.index: outcome.item.coin_config_id for outcome in outcomes} == dict(enumerate(names))
    assert all(outcome.ok for outcome in outcomes)


async def test_rows_may_come_from_any_iterable() -> None:
    """A generator, a tuple, a set, a dictionary's values."""
    async with CoinEventService(MockTransport(as_asked)) as coins:
        sources: tuple[Iterable[CoinEventUpdate], ...] = (
            iter(rows("a", "b")),
            tuple(rows("a", "b")),
            set(rows("a", "b")),
            dict(enumerate(rows("a", "b"))).values(),
        )
        for source in sources:
            assert len([outcome async for outcome in coins.update_many(source)]) == 2
        not_rows: Any = 5
        with pytest.raises(TypeError, match="not iterable"):
            coins.update_many(not_rows)


async def test_a_stream_shows_how_far_it_is() -> None:
    """What a person prints while debugging says what was yielded, and never a row."""
    async with CoinEventService(MockTransport(lambda _: answer(7))) as coins:
        stream = coins.balance_many(["EK1", "EK2"])
        assert repr(stream) == "<OutcomeStream: nothing yet; 0 under way>"
        assert await stream.failures() == []
        assert repr(stream) == "<OutcomeStream: 2 unchanged; 0 under way>"
