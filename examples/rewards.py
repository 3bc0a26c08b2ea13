"""An order earns its coins at most once, whatever becomes of the request, the process or the machine.

EnKash does not say whether it refuses a repeated request id, so nothing here relies on that: an order is claimed in a
database of ours, durably, before its request may leave. What was never recorded as given is never sent again by itself.

    no row ──claim──▶ begun ──success──▶ given
       ◀──certainly nothing happened──┘ └──▶ stays begun when that is not certain, or when the machine died meanwhile

Somebody has to look up those that stay begun:
``SELECT * FROM rewards WHERE NOT given AND begun_at < datetime('now', '-1 minute')``.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import NamedTuple, ParamSpec, Self, TypeVar

from enkash_coins import CoinEventService, Conflict, EnkashError

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("rewards")

COMPANY_ID = "CEK1"
EVENT = "REFERRAL_EVENT"
SCHEMA = """
CREATE TABLE IF NOT EXISTS rewards (
    order_id TEXT PRIMARY KEY, request_id TEXT NOT NULL, user_id TEXT NOT NULL,
    given INTEGER NOT NULL DEFAULT 0, begun_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""


class Reward(NamedTuple):
    """What is known of an order's coins; ``given=False``: under way, or cut off and in doubt."""

    order_id: str
    request_id: str
    user_id: str  # who was first: an order has its coins once, whoever asks later
    given: bool


class Rewards:
    """Gives coins for orders; several processes may share one database."""

    def __init__(self, coins: CoinEventService, path: str) -> None:
        self._coins = coins
        # One thread for SQLite: a commit waits for the disk, and must not hold up the event loop meanwhile.
        self._thread = ThreadPoolExecutor(1, "rewards")
        self._rows = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA synchronous=FULL")
        self._rows.execute(SCHEMA)
        self._under_way: set[asyncio.Task[Reward]] = set()

    @classmethod
    @asynccontextmanager
    async def opened(cls, coins: CoinEventService, path: str) -> AsyncIterator[Self]:
        """Open the database; on the way out let what is under way come to its end, and close it.

        Put this inside the ``async with`` of the service, whose ``deadline`` says how long the end takes at most.
        """
        rewards = cls(coins, path)
        try:
            yield rewards
        finally:
            if rewards._under_way:
                await asyncio.wait(rewards._under_way)
            rewards._thread.shutdown()
            rewards._rows.close()

    async def give(self, order_id: str, user_id: str) -> Reward:
        """Give the order's coins, or tell what became of them when that was tried before.

        It runs in a task of its own: a caller that is cancelled, because its client has hung up, leaves it alone. The
        request may have left already, and an answer that nobody records is an allocation in doubt.

        Raises:
            EnkashError: with ``maybe_applied``, or a ``Conflict``, if it is in doubt; else certainly nothing happened,
                and it may be tried again.
        """
        task = asyncio.create_task(self._give(order_id, user_id), name=f"order {order_id}")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait([task])  # which does not cancel what it waits for
        return task.result()

    async def _give(self, order_id: str, user_id: str) -> Reward:
        request_id = f"order-{order_id}"
        known = await self._in_thread(self._claim, order_id, request_id, user_id)
        if known is not None:
            return known
        try:
            await self._coins.allocate(company_id=COMPANY_ID, event=EVENT, user_id=user_id, request_id=request_id)
        except EnkashError as error:
            # A conflict: EnKash has seen this id before, and it is nobody's but this order's.
            if error.maybe_applied or isinstance(error, Conflict):
                log.warning("order %s is in doubt, look up request id %s: %s", order_id, request_id, error)
            else:
                await self._in_thread(self._release, order_id)
            raise
        await self._in_thread(self._record, order_id)
        return Reward(order_id, request_id, user_id, given=True)

    def _claim(self, order_id: str, request_id: str, user_id: str) -> Reward | None:
        """``None`` if the order is ours now; else what is known of it."""
        insert = "INSERT OR IGNORE INTO rewards (order_id, request_id, user_id) VALUES (?, ?, ?)"
        if self._rows.execute(insert, (order_id, request_id, user_id)).rowcount:
            return None
        row = self._rows.execute("SELECT user_id, given FROM rewards WHERE order_id = ?", (order_id,)).fetchone()
        # No row any more: another process has released it this very moment, and its client may try again.
        known_user, given = row or (user_id, 0)
        return Reward(order_id, request_id, known_user, given=bool(given))

    def _release(self, order_id: str) -> None:
        self._rows.execute("DELETE FROM rewards WHERE order_id = ?", (order_id,))

    def _record(self, order_id: str) -> None:
        self._rows.execute("UPDATE rewards SET given = 1 WHERE order_id = ?", (order_id,))

    def _ended(self, task: asyncio.Task[Reward]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, EnkashError):
            # Our own database: what was given, and not recorded, stays begun and is not sent again.
            log.error("%s is in doubt: %r", task.get_name(), error)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **_: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
