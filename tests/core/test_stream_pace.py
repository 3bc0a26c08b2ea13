"""How streams are paced, over a mock. Their timing is tested elsewhere."""

import asyncio
import json
from collections.abc import Iterator

from enkash_coins import (
    CoinEventService,
    CoinEventUpdate,
    OutcomeStatus,
    Request,
    Response,
)
from enkash_coins.testing import MockTransport, answer


def as_asked(request: Request) -> Response:
    """The answer of a server that did as it was asked."""
    asked = {"configuration": "DEFAULT", "event": "E", "amount": 1} | json.loads(request.body)
    return answer(asked | {"coinConfigId": request.path.rpartition("/")[2]})


def rows(*names: str) -> list[CoinEventUpdate]:
    """An update of one coin for each id."""
    return [CoinEventUpdate(name, amount=1) for name in names]


async def test_counts_are_of_what_was_yielded() -> None:
    """Not of what was done meanwhile."""
    async with CoinEventService(MockTransport(as_asked)) as coins, coins.update_many(rows("a", "b", "c")) as stream:
        seen = []
        async for _ in stream:
            seen.append(stream.counts[OutcomeStatus.APPLIED])
            await asyncio.sleep(0.001)
        assert seen == [1, 2, 3]


async def test_rows_are_pulled_lazily() -> None:
    """Rows pulled, less outcomes yielded, are at most four times the concurrency."""
    pulled = 0

    def source() -> Iterator[CoinEventUpdate]:
        nonlocal pulled
        for n in range(1000):
            pulled += 1
            yield CoinEventUpdate(f"WCC{n}", amount=1)

    async with CoinEventService(MockTransport(as_asked)) as coins, coins.update_many(source(), concurrency=2) as stream:
        assert pulled == 0
        for yielded in range(1, 100):
            await anext(stream)
            for _ in range(5):
                await asyncio.sleep(0)
            assert pulled - yielded <= 8
        assert pulled >= 100


async def test_rows_of_one_id_go_out_in_order() -> None:
    """However many run at once, the last row of an id is the last that the server sees."""
    updates = [CoinEventUpdate(f"W{n % 3}", amount=n) for n in range(60)]
    seen: dict[str, list[int]] = {}

    async def handle(request: Request) -> Response:
        await asyncio.sleep(0)
        seen.setdefault(request.path, []).append(json.loads(request.body)["amount"])
        return as_asked(request)

    async with CoinEventService(MockTransport(handle)) as coins:
        assert await coins.update_many(updates).failures() == []
    assert sorted(seen.values()) == [list(range(start, 60, 3)) for start in range(3)]


async def test_a_lower_concurrency_is_kept_and_a_higher_one_is_not() -> None:
    """The service's is the ceiling."""
    now = most = 0

    async def handle(request: Request) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return as_asked(request)

    async with CoinEventService(MockTransport(handle), concurrency=4) as coins:
        for asked, expected in ((2, 2), (4, 4), (100, 4), (None, 4)):
            most = 0
            assert await coins.update_many(rows(*map(str, range(40))), concurrency=asked).failures() == []
            assert most == expected
