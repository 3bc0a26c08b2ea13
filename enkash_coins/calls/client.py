"""How a service performs calls, and rows by way of them: a row ends in an outcome, never in an exception."""

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import attrs

from enkash_coins.api import endpoints
from enkash_coins.api.endpoints import Endpoint
from enkash_coins.calls.call import Call, Caller, CallOptions, Success
from enkash_coins.calls.outcomes import outcome_of, refused
from enkash_coins.calls.stream import OutcomeStream
from enkash_coins.display import cut
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import (
    AllocationReceipt,
    CoinAllocation,
    CoinEventConfig,
    CoinEventUpdate,
    Item,
    Outcome,
    Result,
)
from enkash_coins.settings import checked_width

_log = logging.getLogger("enkash_coins")


@attrs.frozen(eq=False)
class Client:
    """What one view on a client is made of; for the package's own modules (``service.client_of`` hands it out).

    Attributes:
        caller: the client's; all views share it.
        call: ``caller.call``, or something around it.
        options: of every call of this view.
        width: rows at once.
        wire_timeout: seconds for one attempt, unless the options say otherwise.
        base_url: without a slash at its end; empty when not made by ``connect``.
        streams: those at work.
    """

    caller: Caller
    call: Call
    options: CallOptions
    width: int
    wire_timeout: float = 30.0
    base_url: str = ""
    streams: set[OutcomeStream[Any, Any]] = attrs.field(factory=set)

    @property
    def timeout(self) -> float:
        """Seconds for one attempt."""
        return self.options.limits.timeout or self.wire_timeout

    def stream(
        self,
        rows: Iterable[Item] | AsyncIterable[Item] | AsyncIterable[Iterable[Item]],
        perform: Callable[[int, Item], Awaitable[Outcome[Item, Result]]],
        key: Callable[[Item], str | None],
        concurrency: int | None = None,
        *,
        paged: bool = False,
    ) -> OutcomeStream[Item, Result]:
        """Many rows at once; rows of one key are performed one after another, in input order.

        Args:
            paged: the rows come many at a time.
        """
        width = self.width if concurrency is None else min(self.width, checked_width(concurrency))
        return OutcomeStream(
            rows, perform, key=key, width=width, started=self.streams, closed=self.caller.is_closed, paged=paged
        )

    async def get(self, index: int, id_: str) -> Outcome[str, CoinEventConfig]:
        """Read one configuration."""
        return await self.outcome(index, id_, endpoints.get)

    async def update(self, index: int, row: CoinEventUpdate) -> Outcome[CoinEventUpdate, CoinEventConfig]:
        """Change one configuration."""
        return await self.outcome(index, row, endpoints.update)

    async def allocate(
        self, index: int, row: CoinAllocation, *, replay: bool = False
    ) -> Outcome[CoinAllocation, AllocationReceipt]:
        """Give a user coins."""
        return await self.outcome(index, row, partial(endpoints.allocate, replay=replay))

    async def outcome(self, index: int, item: Item, ask: Callable[[Item], Endpoint[Result]]) -> Outcome[Item, Result]:
        """Perform the call that this row asks for; a row that is refused here is an outcome, too."""
        try:
            endpoint = ask(item)
        except InvalidRequest as error:
            return refused(index, item, error)
        called = await self.call(endpoint, self.options, patient=True)
        if isinstance(called, Success):
            self.compare_ids(endpoint, called.value)
        return outcome_of(index, item, endpoint, called)

    def compare_ids(self, endpoint: Endpoint[Result], answered: Result) -> None:
        """Warn, once for each client, of an answer that names another id than the one asked for."""
        # The documented example itself does, so this is never an error.
        asked = endpoint.coin_config_id
        if (
            asked is not None
            and isinstance(answered, CoinEventConfig)
            and answered.coin_config_id != asked
            and not self.caller.warned_of_other_id
        ):
            self.caller.warned_of_other_id = True
            named = cut(answered.coin_config_id)
            _log.warning("asked for %s, the answer names %s; further differences are not logged", asked, named)
