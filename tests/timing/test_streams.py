"""Many rows: their order within an id, the bounded look-ahead, and how a stream ends."""

import asyncio
import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from random import Random

import pytest

from enkash_coins import (
    CoinEventConfig,
    CoinEventUpdate,
    LoginRefused,
    Outcome,
    OutcomeStatus,
    OutcomeStream,
    RetryPolicy,
    ServiceClosed,
)
from tests.simulator.fates import CUT_BEFORE, FINE, answered, by_chance
from tests.simulator.server import ModelledServer, client

Done = Outcome[CoinEventUpdate, CoinEventConfig]
Stream = OutcomeStream[CoinEventUpdate, CoinEventConfig]


class Rows:
    """Rows that know how many of them were pulled; async ones take a moment each."""

    def __init__(self, rows: Iterable[CoinEventUpdate], *, error: Exception | None = None) -> None:
        self._rows = rows
        self._error = error
        self.pulled = 0

    def __iter__(self) -> Iterator[CoinEventUpdate]:
        for row in self._rows:
            self.pulled += 1
            yield row
        if self._error is not None:
            raise self._error

    async def slowly(self) -> AsyncIterator[CoinEventUpdate]:
        for row in self:
            await asyncio.sleep(0.001)
            yield row


KINDS: list[Callable[[Rows], Iterable[CoinEventUpdate] | AsyncIterator[CoinEventUpdate]]] = [iter, Rows.slowly]
sync_and_async = pytest.mark.parametrize("kind", KINDS, ids=["sync", "async"])


def ids(count: int) -> list[str]:
    """The first ids of the modelled server."""
    return [f"WCC{number:05d}" for number in range(1, count + 1)]


def one_each(count: int) -> list[CoinEventUpdate]:
    """A row for each of so many ids."""
    return [CoinEventUpdate(config_id, amount=1) for config_id in ids(count)]


def one_id_after_another(count: int, each: int) -> list[CoinEventUpdate]:
    """As in a file that is sorted by id."""
    return [CoinEventUpdate(config_id, amount=n) for config_id in ids(count) for n in range(each)]


async def collect(stream: Stream, outcomes: list[Done]) -> None:
    """Take the outcomes as they come, so that those before an error are kept."""
    async for outcome in stream:
        outcomes.append(outcome)  # noqa: PERF401  # a comprehension would lose them


async def test_rows_of_an_id_arrive_in_input_order_and_the_last_one_wins() -> None:
    """10,000 rows over 100 ids, random latencies, one request in nine refused or lost: no id's rows overtake."""
    dice = Random(3)
    troubles = {answered(429): 0.03, answered(429, "1"): 0.001, answered(503): 0.04, CUT_BEFORE: 0.04}
    server = ModelledServer(100, latency=lambda its: its.expovariate(10), fate=by_chance(troubles, dice))
    plan = [(dice.choice(ids(100)), n) for n in range(10_000)]
    rows = [CoinEventUpdate(config_id, amount=amount) for config_id, amount in plan]
    coins = client(server, retry=RetryPolicy(attempts=12, budget=10_000))
    async with coins.update_many(rows) as stream:
        done = sorted([outcome.index async for outcome in stream if outcome.ok])
    assert done == list(range(10_000))
    assert stream.counts == {OutcomeStatus.APPLIED: 10_000}

    arrived, wanted = defaultdict[str, list[bytes]](list), defaultdict[str, list[bytes]](list)
    for seen in server.log:
        arrived[seen.request.path[-8:]].append(seen.request.body)
    for config_id, amount in plan:
        wanted[config_id].append(f'{{"amount":{amount}}}'.encode())
    for config_id in ids(100):
        # A row that was tried again arrived several times in a row; nothing of its id came in between.
        assert list(dict.fromkeys(arrived[config_id])) == wanted[config_id]
        assert sorted(arrived[config_id], key=wanted[config_id].index) == arrived[config_id]
        assert wanted[config_id][-1] == f'{{"amount":{server.configs[config_id]["amount"]}}}'.encode()
    assert len(server.log) > 11_000
    assert server.most_in_flight == 32


@sync_and_async
@pytest.mark.parametrize("consumer", ["quick", "slow"])
async def test_file_sorted_by_id_still_moves(kind: Callable[[Rows], Iterable[CoinEventUpdate]], consumer: str) -> None:
    """20 rows for each id, one id after another: several ids are at work at once, though no more than four rows
    for each worker are pulled ahead of what was yielded.
    """
    server, dice = ModelledServer(50, latency=lambda its: its.uniform(0.05, 0.15)), Random(0)
    rows, loop, yielded, ahead = Rows(one_id_after_another(50, 20)), asyncio.get_running_loop(), 0, 0
    async with client(server).update_many(kind(rows), concurrency=10) as stream:
        async for _ in stream:
            yielded += 1
            ahead = max(ahead, rows.pulled - yielded)
            if consumer == "slow":
                await asyncio.sleep(dice.choice([0, 0, 0.3]))
                ahead = max(ahead, rows.pulled - yielded)
    assert yielded == 1000
    assert ahead <= 4 * 10
    if consumer == "quick":
        assert 1000 * 0.1 / loop.time() > 1.5, "one after another they would take 100 s"


@sync_and_async
@pytest.mark.parametrize("concurrency", [1, 7])
async def test_a_slow_consumer_holds_the_workers_back(
    kind: Callable[[Rows], Iterable[CoinEventUpdate]], concurrency: int
) -> None:
    """Rows pulled, less the outcomes yielded, come up to four times the concurrency and never exceed it."""
    server, rows = ModelledServer(200), Rows(one_each(200))
    async with client(server).update_many(kind(rows), concurrency=concurrency) as stream:
        for yielded in range(1, 100):
            await anext(stream)
            await asyncio.sleep(50)
            assert rows.pulled - yielded == 4 * concurrency
            assert server.calls["update"] == rows.pulled, "all that was pulled is done meanwhile"


@sync_and_async
async def test_nothing_is_pulled_before_the_first_outcome_is_asked_for(
    kind: Callable[[Rows], Iterable[CoinEventUpdate]],
) -> None:
    """A stream that nobody iterates does nothing."""
    server, rows = ModelledServer(), Rows(one_each(10))
    async with client(server).update_many(kind(rows)):
        await asyncio.sleep(10)
    assert (rows.pulled, server.log) == (0, [])


@sync_and_async
async def test_error_of_the_iterator_ends_the_stream_after_all_outcomes(
    kind: Callable[[Rows], Iterable[CoinEventUpdate]],
) -> None:
    """The caller's own error comes out as it is, once every row pulled before it has had its outcome."""
    server, own = ModelledServer(57, latency=lambda its: its.uniform(0.1, 5)), ValueError("line 58 is no row")
    stream, done = client(server).update_many(kind(Rows(one_each(57), error=own)), concurrency=10), list[Done]()
    with pytest.raises(ValueError, match="line 58") as caught:
        await collect(stream, done)
    assert caught.value is own
    assert sorted(outcome.index for outcome in done) == list(range(57))
    assert all(outcome.ok for outcome in done)


@sync_and_async
async def test_refused_login_ends_the_stream_after_all_outcomes(
    kind: Callable[[Rows], Iterable[CoinEventUpdate]],
) -> None:
    """With a wrong password the rows already pulled end ``not_sent``, the others stay where they are."""
    server, rows = ModelledServer(200), Rows(one_each(200))
    stream = client(server, auth=server.grant(password="wrong")).update_many(kind(rows), concurrency=5)
    with pytest.raises(LoginRefused):
        await collect(stream, [])
    assert 5 <= rows.pulled <= 20
    assert stream.counts == {OutcomeStatus.NOT_SENT: rows.pulled}
    assert server.calls == {"token": 1}


async def test_login_refused_midway_ends_the_stream_after_all_outcomes() -> None:
    """The same when the password stops working later: what was applied stays told."""
    server, rows = ModelledServer(2000, token_life=20), Rows(one_each(2000))
    server.fate = lambda seen: answered(401) if seen.operation == "token" and seen.number > 1 else FINE
    stream = client(server, auth=server.grant()).update_many(rows, concurrency=5)
    with pytest.raises(LoginRefused):
        await collect(stream, [])
    assert stream.counts.keys() == {OutcomeStatus.APPLIED, OutcomeStatus.NOT_SENT}
    assert stream.counts.total() == rows.pulled < 2000
    assert stream.counts[OutcomeStatus.APPLIED] == sum(seen.applied is not None for seen in server.log) - 1 > 500
    assert server.calls["token"] == 2


async def test_leaving_the_context_stops_the_stream() -> None:
    """After ``async with`` not one request leaves, and not one row is pulled."""
    server, rows = ModelledServer(200, latency=lambda its: its.uniform(0.1, 1)), Rows(one_each(200))
    async with client(server).update_many(rows, concurrency=5) as stream:
        async for outcome in stream:
            if outcome.index > 20:
                break
    pulled, sent = rows.pulled, server.calls["update"]
    await asyncio.sleep(100)
    assert (rows.pulled, server.calls["update"]) == (pulled, sent)
    assert pulled < 60
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_closing_the_service_ends_its_streams() -> None:
    """An iterator whose service is closed under it raises ``ServiceClosed`` at once, and nothing more is sent."""
    server, rows, loop = ModelledServer(200, latency=lambda _: 10), Rows(one_each(200)), asyncio.get_running_loop()
    coins = client(server)
    stream = coins.update_many(rows, concurrency=5)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(3)
    await coins.aclose()
    with pytest.raises(ServiceClosed):
        await waiting
    assert loop.time() == 3
    await asyncio.sleep(100)
    assert (server.calls["update"], rows.pulled) == (5, 5)


async def test_stream_of_a_closed_service_raises() -> None:
    """A call after ``aclose()`` raises ``ServiceClosed``; a stream does not tell it row by row."""
    server, rows = ModelledServer(200), Rows(one_each(200))
    coins = client(server)
    await coins.aclose()
    with pytest.raises(ServiceClosed):
        await coins.update_many(rows).failures()
    assert rows.pulled == 0


async def test_stream_left_by_break_ends_with_its_service() -> None:
    """Even a stream that nobody refers to any more is stopped by closing the service, and not by the garbage collector
    (of which asyncio complains: "Task was destroyed but it is pending!").
    """
    server, rows = ModelledServer(200), Rows(one_each(200))
    async with client(server) as coins:
        async for _ in coins.update_many(rows, concurrency=3):
            break
        await asyncio.sleep(100)
        gc.collect()
    await asyncio.sleep(100)
    assert server.calls["update"] == rows.pulled == 3 * 4 + 1


async def test_rows_of_an_id_wait_for_a_slow_predecessor_only() -> None:
    """A row that takes long holds back the rows of its own id, and nobody else."""
    server, loop = ModelledServer(20, latency=lambda _: 0.1), asyncio.get_running_loop()
    server.fate = lambda seen: answered(429, None) if b"999" in seen.request.body and seen.sent < 30 else FINE
    rows = [CoinEventUpdate("WCC00001", amount=999), CoinEventUpdate("WCC00001", amount=1), *one_each(20)[1:]]
    ended = {o.index: loop.time() async for o in client(server).update_many(rows, concurrency=4)}
    assert 30 < ended[0] < ended[1]
    assert max(at for index, at in ended.items() if index > 1) < 2
