"""Many rows at once: a pool of workers, one outcome per row, order kept within an id."""

import asyncio
import copy
import logging
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, Self

from enkash_coins.errors import LoginRefused, ServiceClosed
from enkash_coins.layers.waiting import Waiters, wait_turn, wake_all, wake_one
from enkash_coins.models import Item, Outcome, OutcomeStatus, Result

_log = logging.getLogger("enkash_coins")
_LOOK_AHEAD = 4
_UNDER_IT = "the service was closed while this stream was open"
_MAY_BE_APPLIED = frozenset({OutcomeStatus.APPLIED, OutcomeStatus.MISMATCHED, OutcomeStatus.UNKNOWN})


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
        rows: Iterable[Item] | AsyncIterable[Item] | AsyncIterable[Iterable[Item]],
        perform: Callable[[int, Item], Awaitable[Outcome[Item, Result]]],
        *,
        key: Callable[[Item], str | None],
        width: int,
        started: set[Any],
        closed: Callable[[], bool],
        paged: bool = False,
    ) -> None:
        self.counts: Counter[OutcomeStatus] = Counter()
        self._perform = perform
        self._key = key
        self._width = width
        self._most_pulled = width * _LOOK_AHEAD
        self._pages: AsyncIterator[Any] | None = aiter(rows) if isinstance(rows, AsyncIterable) else None
        # ``None`` asks for the next one.
        self._page: Iterator[Item] | None = None if isinstance(rows, AsyncIterable) else iter(rows)
        self._paged = paged
        self._turning = False
        self._exhausted = False
        self._failure: Exception | None = None
        self._pulled = 0
        self._yielded = 0
        self._under_way = 0
        self._done: deque[Outcome[Item, Result]] = deque()
        self._consumers: Waiters = deque()  # wait for an outcome
        self._pullers: Waiters = deque()  # workers that wait to pull
        self._busy: dict[str, list[tuple[int, Item]]] = {}  # ids at work, and the rows that wait for them
        self._workers: list[asyncio.Task[None]] = []
        self._working = 0
        self._closed = False
        self._started = started
        self._service_closed = closed

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return f"<OutcomeStream: {counts or 'nothing yet'}; {self._under_way} under way>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[Item, Result]:
        if not self._working and not self._closed:
            self._start_or_end()
        while not self._done:
            if self._closed or not self._working:
                if isinstance(self._failure, ServiceClosed):
                    raise copy.copy(self._failure)  # to each who asks: the rows were not all done
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                raise StopAsyncIteration
            await wait_turn(self._consumers, partial(wake_one, self._consumers))
        outcome = self._done.popleft()
        self._yielded += 1
        self.counts[outcome.status] += 1
        wake_one(self._pullers)
        return outcome

    async def failures(self) -> list[Outcome[Item, Result]]:
        """Drain the stream; keep only the outcomes that are not ok."""
        async with self:
            return [outcome async for outcome in self if not outcome.ok]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the workers; rows under way are cut off, and rows not yet pulled stay in their iterable."""
        await self._stop(None)

    async def service_closed(self) -> None:
        """Stop because the service is closing: iteration raises ``ServiceClosed`` from now on."""
        await self._stop(ServiceClosed(_UNDER_IT))

    async def _stop(self, failure: Exception | None) -> None:
        finished = bool(self._workers) and not self._working and not self._done
        if self._closed or finished:
            return
        self._close(failure)
        for worker in self._workers:
            worker.cancel()
        wake_all(self._consumers)
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _close(self, failure: Exception | None) -> None:
        """Let nobody take another outcome, and tell the log of rows whose fate nobody will hear of."""
        self._closed = True
        self._failure = failure
        untaken = [outcome for outcome in self._done if outcome.status in _MAY_BE_APPLIED]
        self._done.clear()
        if self._under_way or untaken:
            _log.warning(
                "a stream was closed with %d rows under way and %d outcomes not taken: they may have been applied",
                self._under_way,
                len(untaken),
            )
        for outcome in untaken:  # an allocation's id may be known to nobody else; of rows under way each call tells it
            request_id = getattr(outcome.result or outcome.error, "request_id", None)
            if request_id is not None:
                _log.warning("allocate %s, but its outcome was not taken: request id %s", outcome.status, request_id)

    def _start_or_end(self) -> None:
        if self._service_closed() and (self._done or not self._workers):
            self._close(ServiceClosed(_UNDER_IT))
        if self._closed or self._workers:
            return
        # Somebody has to refer to a stream that is left by `break`: the event loop holds its tasks only weakly.
        self._started.add(self)
        loop = asyncio.get_running_loop()
        self._working = self._width
        self._workers = [loop.create_task(self._work()) for _ in range(self._width)]
        for worker in self._workers:
            worker.add_done_callback(self._worker_ended)

    async def _work(self) -> None:  # flat, because a frame more would cost every row
        row: tuple[int, Item] | None = None
        key: str | None = None
        while row is not None or not self._exhausted:
            if row is None:
                row = self._next_row()
                if row is None:
                    if self._page is None and not self._turning and not self._exhausted:
                        await self._turn_page()
                    elif not self._exhausted:
                        await wait_turn(self._pullers, partial(wake_one, self._pullers))
                    continue
                key = self._key(row[1])
                if key is not None and not self._claim(key, row):
                    row = None
                    continue
            self._under_way += 1
            try:
                outcome = await self._perform(*row)
            except asyncio.CancelledError:
                _raise_if_cancelled()
                self._end(RuntimeError("a row's call was cancelled from within"))
            except Exception as error:  # noqa: BLE001  # no EnkashError: a wrong loop or a bug; iteration raises it
                self._end(error)
            else:
                self._add(outcome)
            finally:
                self._under_way -= 1
            row = None if key is None else self._follower(key)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        """Count it. A callback and not a ``finally``: one that is cancelled before it began never gets there."""
        if not self._closed and (worker.cancelled() or worker.exception() is not None):
            # Nobody here asked for that: iteration must not end as if complete.
            self._end(RuntimeError("a worker of this stream was ended from outside"))
        self._working -= 1
        if not self._working:
            self._started.discard(self)
            wake_all(self._consumers)

    def _claim(self, key: str, row: tuple[int, Item]) -> bool:
        """Whether nobody is at work on this id; if somebody is, he goes on with this row, in order."""
        followers = self._busy.get(key)
        if followers is None:
            self._busy[key] = []
            return True
        followers.append(row)
        return False

    def _follower(self, key: str) -> tuple[int, Item] | None:
        """The next row of this id; ``None`` lets it go."""
        followers = self._busy[key]
        if followers:
            return followers.pop(0)
        del self._busy[key]
        return None

    def _add(self, outcome: Outcome[Item, Result]) -> None:
        if isinstance(outcome.error, LoginRefused):
            self._end(copy.copy(outcome.error))
        self._done.append(outcome)
        wake_one(self._consumers)

    def _next_row(self) -> tuple[int, Item] | None:
        """The next row with its index; ``None`` at the end of what is there, or without room for its outcome."""
        if self._page is None or self._pulled - self._yielded >= self._most_pulled:
            return None
        try:
            item = next(self._page)
        except StopIteration:
            self._page = None
            if self._pages is None:
                self._end(None)
        except Exception as error:  # noqa: BLE001  # the caller's own; iteration raises it
            self._end(error)
        else:
            self._pulled += 1
            return self._pulled - 1, item
        return None

    async def _turn_page(self) -> None:
        """Get more rows from an async iterable, which one worker at a time may ask."""
        assert self._pages is not None  # noqa: S101  # else the only page is the last one
        self._turning = True
        try:
            page = await anext(self._pages)
            self._page = iter(page if self._paged else (page,))
        except StopAsyncIteration:
            self._end(None)
        except asyncio.CancelledError:
            _raise_if_cancelled()
            self._end(RuntimeError("the iterator of the rows was cancelled"))
        except Exception as error:  # noqa: BLE001  # the caller's own; iteration raises it
            self._end(error)
        finally:
            self._turning = False
            (wake_all if self._paged else wake_one)(self._pullers)

    def _end(self, failure: Exception | None) -> None:
        """Pull no more; rows already pulled still get their outcomes."""
        self._exhausted = True
        if self._failure is None:
            self._failure = failure
        wake_all(self._pullers)


def _raise_if_cancelled() -> None:
    """Let a ``CancelledError`` through if this task is being cancelled, and not something that it awaits."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
