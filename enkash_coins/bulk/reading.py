"""Readings: many configurations at once, each of which lets rows move."""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from enkash_coins.bulk.crew import OF_THE_HOST, Crew
from enkash_coins.bulk.ledger import readings, views
from enkash_coins.bulk.ledger.fields import Counts
from enkash_coins.bulk.limit import Refusal
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import State
from enkash_coins.bulk.writer import Work
from enkash_coins.display import cut
from enkash_coins.errors import NotFound
from enkash_coins.models import CoinEventConfig, CustomConfiguration, Outcome, OutcomeStatus

Found = Callable[[str, Values], Work[Counts | None]]


async def read(crew: Crew, ids: Callable[..., list[str]], found: Found) -> None:
    """Read the configurations of these ids, and let each move its rows."""

    async def pages() -> AsyncIterator[list[str]]:
        last = ""
        while (page := await crew.writer.post(partial(ids, beyond=last))) and crew.ended_by is None:
            last = page[-1]
            yield page

    async def perform(index: int, id_: str) -> Outcome[str, CoinEventConfig]:
        if crew.ended_by is not None:
            return Outcome(index, id_, OutcomeStatus.NOT_SENT)
        outcome = await crew.rows.get(index, id_)
        moved = None
        if outcome.result is not None:
            moved = await crew.writer.post(found(id_, seen(outcome.result)))
        elif is_no(outcome):
            reason, gone = cut(outcome.error.summary if outcome.error else ""), isinstance(outcome.error, NotFound)
            moved = await crew.writer.post(lambda db: readings.not_found(db, id_, reason, gone=gone))
        if moved is not None:
            crew.moved(moved)
        return outcome

    await crew.work_off(pages(), perform)


async def read_for_plan(crew: Crew, refused: Refusal) -> None:
    """Read what no row was compared with yet."""
    await read(
        crew, views.ids_unread, lambda id_, found: lambda db: readings.plan(db, id_, found, time.time(), refused)
    )


async def settle(crew: Crew, ids: Callable[..., list[str]], *, due: bool) -> None:
    """Read what is in doubt.

    Args:
        due: nothing can arrive late any more.
    """
    await read(
        crew,
        ids,
        lambda id_, found: lambda db: readings.settle(db, id_, found, time.time(), due=due, forced=crew.forced),
    )


async def settle_late(crew: Crew, *, every: bool = False) -> bool:
    """Read what is in doubt when nothing can arrive late any more; whether there is something to write again.

    Args:
        every: also where a late arrival could only repeat what is there.
    """
    until = await crew.writer.post(partial(views.latest_arrival, every=every))
    if until is not None and crew.ended_by is None:
        await crew.wait(until - time.time())
        if crew.ended_by is None:
            await settle(crew, partial(views.ids_in_doubt, every=every), due=True)
    again = crew.ended_by is None and await crew.writer.post(partial(views.count, state=State.PLANNED)) > 0
    if not (again or every or crew.ended_by) and await crew.writer.post(views.latest_arrival) is not None:
        crew.end("not all that may have arrived late could be read")
    return again


def is_no(outcome: Outcome[str, CoinEventConfig]) -> bool:
    """Whether a reading was refused on account of the row."""
    return outcome.status is OutcomeStatus.REJECTED and not isinstance(outcome.error, OF_THE_HOST)


def seen(config: CoinEventConfig) -> Values:
    """What of a configuration can be read back."""
    configuration: Any = config.configuration
    if isinstance(configuration, CustomConfiguration):
        configuration = configuration.as_dict()  # kept as JSON, and never equal to a string
    return {"amount": config.amount, "configuration": configuration, "event": config.event}
