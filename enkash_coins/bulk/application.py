"""One file on its way to the host: every row comes to an end, and every end is told."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from enkash_coins.bulk.not_applied import NotApplied
from enkash_coins.bulk.rows import Row, UpdateFile
from enkash_coins.bulk.source import BadFile
from enkash_coins.errors import (
    EnkashError,
    Forbidden,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    RateLimited,
    ServerError,
    TransportError,
    Unauthorized,
    UnexpectedRedirect,
)
from enkash_coins.models import CoinEventConfig, CoinEventUpdate, Outcome, OutcomeStatus
from enkash_coins.service import CoinEventService

UpdateOutcome = Outcome[CoinEventUpdate, CoinEventConfig]

#: Errors that speak of the host as a whole, and not of the one row.
OF_THE_HOST: Final = (
    TransportError,
    ServerError,
    RateLimited,
    Unauthorized,
    Forbidden,
    UnexpectedRedirect,
    MalformedResponse,
)
# So many rows in a row that fail on account of the host end it: the others would fare no better, and each of them
# could end as unknown.
_HOPELESS = 100
_GRACE = 2.0


class Application:
    """Sends all rows of a file and keeps those that were not applied.

    Args:
        rows: checked.
        not_applied: gets every row whose outcome is not ok.
        told: called with each row and its outcome, also for those that were never sent.
        grace: seconds that rows under way have to come to an end after the first ``stop()``.

    Attributes:
        counts: rows by what became of them.
        ended_by: why not all rows were sent: an exception, or words; ``None`` if they were.
        stopped: whether ``stop()`` was called.
        host_answers: whether any row failed or succeeded on its own account, and not on the host's.
    """

    def __init__(
        self,
        rows: UpdateFile,
        not_applied: NotApplied,
        *,
        told: Callable[[Row, UpdateOutcome], None] = lambda row, outcome: None,  # noqa: ARG005  # nobody listens
        grace: float = _GRACE,
    ) -> None:
        self.rows = rows
        self.counts: Counter[OutcomeStatus] = Counter()
        self.ended_by: Exception | str | None = None
        self.host_answers = False
        self._not_applied = not_applied
        self._told = told
        self._grace = grace
        self._under_way: dict[int, Row] = {}
        self._limit: asyncio.Timeout | None = None
        self.stopped = False
        self._failed_in_a_row = 0

    @property
    def ok(self) -> int:
        """Rows that are as wanted."""
        return self.counts[OutcomeStatus.APPLIED] + self.counts[OutcomeStatus.UNCHANGED]

    @property
    def done(self) -> int:
        """Rows that have come to an end."""
        return self.counts.total()

    def stop(self, why: str) -> None:
        """Send no more rows; those under way get a moment to come to an end, and none at the second call."""
        if self._limit is not None and not self._limit.expired():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now if self.stopped else now + self._grace)
        self.stopped = True
        self._end(why)

    def _end(self, why: Exception | str) -> None:
        """Send no more rows."""
        if self.ended_by is None:
            self.ended_by = why

    async def run(self, coins: CoinEventService) -> None:
        """Send the rows; returns when every one has come to an end.

        Raises:
            ChangedFile: nothing was sent, because the file is not the one that was checked.
            OSError: the file of rows that were not applied cannot be written.
        """
        self.rows.source.refuse_changes(by_name=True)
        rows = enumerate(self.rows)
        try:
            async with asyncio.timeout(None) as self._limit, coins.update_many(self._pull(rows)) as stream:
                async for outcome in stream:
                    self._look_at(outcome)
                    self._settle(self._under_way.pop(outcome.index), outcome)
        except TimeoutError:
            pass  # it was stopped, and the moment is over
        except (LoginRefused, BadFile) as error:
            self._end(error)
        finally:
            self._limit = None
        unclear = EnkashError("under way when it was stopped: it may have been applied", maybe_applied=True)
        for index, row in self._under_way.items():
            self._settle(row, Outcome(index, row.update, OutcomeStatus.UNKNOWN, None, unclear))
        unsent = EnkashError(f"not sent: {self.ended_by}")
        for index, row in rows:
            self._settle(row, Outcome(index, row.update, OutcomeStatus.NOT_SENT, None, unsent))
        self._not_applied.finish()

    def _pull(self, rows: Iterator[tuple[int, Row]]) -> Iterator[CoinEventUpdate]:
        while self.ended_by is None and (found := next(rows, None)) is not None:
            index, row = found
            self._under_way[index] = row
            yield row.update

    def _look_at(self, outcome: UpdateOutcome) -> None:
        """Learn from a row whether it is any use to send others."""
        if isinstance(outcome.error, LoginRefused | LoginSuspended):
            self._end(outcome.error)
        elif isinstance(outcome.error, OF_THE_HOST):
            self._failed_in_a_row += 1
            if self._failed_in_a_row == _HOPELESS:
                self._end(f"{_HOPELESS} rows in a row failed on account of the host, the last with: {outcome.error}")
        else:
            self._failed_in_a_row = 0
            self.host_answers = True

    def _settle(self, row: Row, outcome: UpdateOutcome) -> None:
        self.counts[outcome.status] += 1
        self._not_applied.keep(row, outcome.status, str(outcome.error or ""), applied=outcome.ok)
        self._told(row, outcome)
