"""What a service is made of: how it performs calls. A row ends in an outcome, never in an exception."""

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import attrs

from enkash_coins.api.endpoints import Endpoint
from enkash_coins.calls.call import Call, Caller, CallOptions, Success
from enkash_coins.calls.outcomes import outcome_of, refused
from enkash_coins.calls.settings import checked_concurrency
from enkash_coins.calls.stream import OutcomeStream
from enkash_coins.display import cut
from enkash_coins.errors import EnkashError, InvalidRequest
from enkash_coins.models import (
    CoinEventConfig,
    Item,
    Outcome,
    Result,
)

T = TypeVar("T")
_log = logging.getLogger("enkash_coins")


@attrs.frozen(eq=False)
class Client:
    """What one view on a service is made of; for the package's own modules (``service.client_of`` hands it out).

    Attributes:
        caller: all views share it.
        call: ``caller.call``, or something around it.
        options: of every call of this view.
        width: rows at once.
        streams: those at work.
    """

    caller: Caller
    call: Call
    options: CallOptions
    width: int
    streams: set[OutcomeStream[Any, Any]] = attrs.field(factory=set)

    @property
    def base_url(self) -> str:
        """Where requests go, without a slash at its end; empty when the transport does not say."""
        return str(getattr(self.caller.transport, "base_url", ""))

    @property
    def timeout(self) -> float:
        """Seconds for one attempt."""
        return self.options.timeout

    async def value(self, endpoint: Endpoint[T]) -> T:
        """Perform one call; a failure is raised."""
        called = await self.call(endpoint, self.options)
        if isinstance(called, EnkashError):
            raise called
        self._compare_ids(endpoint, called.value)
        return called.value

    async def outcome(self, index: int, item: Item, ask: Callable[[Item], Endpoint[Result]]) -> Outcome[Item, Result]:
        """Perform the call that this row asks for; a row that is refused here is an outcome, too."""
        try:
            endpoint = ask(item)
        except InvalidRequest as error:
            return refused(index, item, error)
        called = await self.call(endpoint, self.options, patient=True)
        if isinstance(called, Success):
            self._compare_ids(endpoint, called.value)
        return outcome_of(index, item, endpoint, called)

    def many(
        self,
        rows: Iterable[Item] | AsyncIterable[Item],
        ask: Callable[[Item], Endpoint[Result]],
        concurrency: int | None,
        key: Callable[[Item], str | None] = lambda _: None,
    ) -> OutcomeStream[Item, Result]:
        """Perform many calls at once; rows of one key one after another, in input order."""
        return self.stream(rows, partial(self._row, ask), key, concurrency)

    async def _row(self, ask: Callable[[Item], Endpoint[Result]], index: int, item: Item) -> Outcome[Item, Result]:
        return await self.outcome(index, item, ask)

    def stream(
        self,
        rows: Iterable[Item] | AsyncIterable[Item] | AsyncIterable[Iterable[Item]],
        perform: Callable[[int, Item], Awaitable[Outcome[Item, Result]]],
        key: Callable[[Item], str | None],
        concurrency: int | None = None,
        *,
        paged: bool = False,
    ) -> OutcomeStream[Item, Result]:
        """Perform many rows at once, each in its own way.

        Args:
            paged: the rows come many at a time.
        """
        width = self.width if concurrency is None else min(self.width, checked_concurrency(concurrency))
        return OutcomeStream(
            rows,
            perform,
            key=key,
            width=width,
            started=self.streams,
            closed=lambda: self.caller.closed,
            paged=paged,
        )

    def _compare_ids(self, endpoint: Endpoint[T], answered: T) -> None:
        """Warn, once for each client, of an answer that names another id than the one asked for."""
        # The documented example itself does, so this is never an error.
        asked = endpoint.coin_config_id
        if asked is None or not isinstance(answered, CoinEventConfig) or answered.coin_config_id == asked:
            return
        if not self.caller.warned_of_other_id:
            self.caller.warned_of_other_id = True
            other = cut(answered.coin_config_id)
            _log.warning("asked for %s, the answer names %s; further differences are not logged", asked, other)
