"""Many rows at once: a pool of workers, one outcome per row, order kept within an id."""

import asyncio
import copy
import logging
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self

from enkash_coins.errors import LoginRefused, ServiceClosed
from enkash_coins.models import Item, Outcome, OutcomeStatus, Result

_log = logging.getLogger("enkash_coins")
_LOOK_AHEAD = 4


class OutcomeStream(Generic[Item, Result]):
    """The outcomes of many rows, one each, in the order in which they are done.

    Iterate it with ``async for``, within ``async with`` if you may leave early. It is an object and not an async
    generator, because a generator is not closed by ``break`` while anything refers to it.

    Rows are pulled lazily: those pulled, less the outcomes yielded, are at most four times the concurrency. A slow
    consumer thus holds the workers back. Rows with the same key are performed one after another in input order.

    Attributes:
        counts: how many outcomes of each status were yielded.

    Raises (from iteration):
        LoginRefused: after the outcomes of the rows already pulled. An error of the caller's own iterator likewise.
        ServiceClosed: the service was closed under it.
    """

    def __init__(
        self,
        rows: Iterable[Item] | AsyncIterable[Item],
        perform: Callable[[int, Item], Awaitable[Outcome[Item, Result]]],
        *,
        key: Callable[[Item], str | None],
        width: int,
    ) -> None:
        self.counts: Counter[OutcomeStatus] = Counter()
        self._perform = perform
        self._key = key
        self._width = width
        self._sync_rows: Iterator[Item] | None = None
        self._async_rows: AsyncIterator[Item] | None = None
        if isinstance(rows, AsyncIterable):
            self._async_rows = aiter(rows)
        else:
            self._sync_rows = iter(rows)
        self._pulling = False
        self._exhausted = False
        self._failure: Exception | None = None
        self._pulled = 0
        self._yielded = 0
        self._under_way = 0
        self._done: deque[Outcome[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()  # workers that wait to pull
        self._busy: dict[str, deque[tuple[int, Item]]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._working = 0
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[Item, Result]:
        if not self._workers and not self._closed:
            self._start()
        while not self._done:
            if self._closed or not self._working:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        outcome = self._done.popleft()
        self._yielded += 1
        self.counts[outcome.status] += 1
        self._let_one_pull()
        return outcome

    async def failures(self) -> list[Outcome[Item, Result]]:
        """Drain the stream; keep only the outcomes that are not ok."""
        async with self:
            return [outcome async for outcome in self if not outcome.ok]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the workers; rows under way are cut off, and rows not yet pulled stay in their iterable."""
        await self._stop(None)

    async def service_closed(self) -> None:
        """Stop because the service is closing: iteration raises ``ServiceClosed`` from now on."""
        await self._stop(ServiceClosed("the service was closed while this stream was open"))

    async def _stop(self, failure: Exception | None) -> None:
        finished = bool(self._workers) and not self._working and not self._done
        if self._closed or finished:
            return
        self._closed = True
        self._done.clear()
        self._failure = failure
        if self._under_way:
            _log.warning("a stream was closed with %d rows under way: they may have been applied", self._under_way)
        for worker in self._workers:
            worker.cancel()
        self._arrived.set()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._working = self._width
        self._workers = [loop.create_task(self._work()) for _ in range(self._width)]

    async def _work(self) -> None:
        try:
            while (row := await self._pull()) is not None:
                key = self._key(row[1])
                if key is None:
                    await self._perform_row(row)
                elif (followers := self._busy.get(key)) is not None:
                    followers.append(row)  # whoever is at work on this id goes on with it, in order
                else:
                    await self._perform_in_order(key, row)
        finally:
            self._working -= 1
            self._arrived.set()

    async def _perform_in_order(self, key: str, row: tuple[int, Item]) -> None:
        followers = self._busy[key] = deque([row])
        while followers:
            await self._perform_row(followers[0])
            followers.popleft()
        del self._busy[key]

    async def _perform_row(self, row: tuple[int, Item]) -> None:
        self._under_way += 1
        try:
            outcome = await self._perform(*row)
        except Exception as error:  # noqa: BLE001  # not an EnkashError: a wrong loop or a bug; iteration raises it
            self._end(error)
            return
        finally:
            self._under_way -= 1
        if isinstance(outcome.error, LoginRefused):
            self._end(copy.copy(outcome.error))
        self._done.append(outcome)
        self._arrived.set()

    async def _pull(self) -> tuple[int, Item] | None:
        """The next row with its index, once there is room for its outcome; ``None`` at the end."""
        while not self._exhausted:
            if self._pulled - self._yielded >= self._width * _LOOK_AHEAD:
                await self._room_for_one()
                continue
            try:
                if self._sync_rows is not None:
                    item = next(self._sync_rows)
                elif self._async_rows is not None and not self._pulling:
                    self._pulling = True
                    try:
                        item = await anext(self._async_rows)
                    finally:
                        self._pulling = False
                        self._let_one_pull()
                else:
                    await self._room_for_one()
                    continue
            except (StopIteration, StopAsyncIteration):
                self._end(None)
            except Exception as error:  # noqa: BLE001  # the caller's own; iteration raises it
                self._end(error)
            else:
                self._pulled += 1
                return self._pulled - 1, item
        return None

    async def _room_for_one(self) -> None:
        room = asyncio.get_running_loop().create_future()
        self._waiting.append(room)
        await room

    def _let_one_pull(self) -> None:
        while self._waiting:
            room = self._waiting.popleft()
            if not room.done():
                room.set_result(None)
                return

    def _end(self, failure: Exception | None) -> None:
        """Pull no more; rows already pulled still get their outcomes."""
        self._exhausted = True
        if self._failure is None:
            self._failure = failure
        while self._waiting:
            self._let_one_pull()
