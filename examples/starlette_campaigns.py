"""Changes of many coin events, on Starlette: watched while they happen, or left to run.

``POST /updates`` answers with one JSON line per row as soon as its outcome is known. A client that hangs up ends it:
Starlette cancels a streaming answer, the stream is left, and rows that have not begun are never sent. Updates set
absolute values, so whoever was cut off just sends the same rows again.

``POST /campaigns`` runs on by itself. When the server stops, rows under way are finished and no new one begins; the log
says how many were left.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from enkash_coins import CoinEventConfig, CoinEventService, CoinEventUpdate, EnkashError, Outcome
from http_answers import http_answer

log = logging.getLogger("campaigns")


class Campaigns:
    """Changes that run in the background, by their number."""

    def __init__(self, coins: CoinEventService) -> None:
        self._coins = coins
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._counts: list[Counter[str]] = []

    def start(self, updates: list[CoinEventUpdate]) -> int:
        """Begin, and return the campaign's number."""
        self._counts.append(Counter(waiting=len(updates)))
        self._tasks.append(asyncio.create_task(self._run(len(self._tasks), updates)))
        return len(self._tasks) - 1

    async def _run(self, number: int, updates: list[CoinEventUpdate]) -> None:
        def rows() -> Iterator[CoinEventUpdate]:
            for update in updates:
                if self._stopping:
                    return
                yield update

        counts = self._counts[number]
        try:
            async with self._coins.update_many(rows()) as stream:
                async for outcome in stream:
                    counts["waiting"] -= 1
                    counts[outcome.status.value] += 1
                    if not outcome.ok:
                        log.warning("campaign %d, row %d: %s %s", number, outcome.index, outcome.status, outcome.error)
        except EnkashError as error:  # a refused login ends it all
            log.error("campaign %d ended: %s", number, error)  # noqa: TRY400  # the error says it all in one line
        log.log(logging.WARNING if counts["waiting"] else logging.INFO, "campaign %d: %s", number, dict(counts))

    def progress(self, number: int) -> dict[str, object] | None:
        """Counts by status, or ``None`` for a number that was not given."""
        if number >= len(self._tasks):
            return None
        return {"done": self._tasks[number].done(), "rows": dict(self._counts[number])}

    async def stop(self) -> None:
        """Begin no new row, and let those under way come to their end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)


class State(TypedDict):
    """What lives as long as the application."""

    coins: CoinEventService
    campaigns: Campaigns


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[State]:
    """One client for the whole process; each row's call ends by the deadline."""
    async with CoinEventService.from_env(deadline=5.0) as coins:
        campaigns = Campaigns(coins)
        try:
            yield {"coins": coins, "campaigns": campaigns}
        finally:
            await campaigns.stop()


async def read_updates(request: Request) -> list[CoinEventUpdate]:
    """All rows of the body, one JSON object a line; nothing is sent before the last one was read."""
    updates = []
    for number, line in enumerate((await request.body()).splitlines(), start=1):
        try:
            updates.append(CoinEventUpdate(**json.loads(line)))
        except (ValueError, TypeError) as error:  # no JSON, or JSON that is no row
            raise HTTPException(422, f"line {number}: {error}") from None
    return updates


def as_line(outcome: Outcome[CoinEventUpdate, CoinEventConfig]) -> str:
    """One outcome, for whoever has to act on it."""
    line = {"row": outcome.index, "coin_config_id": outcome.item.coin_config_id, "status": outcome.status}
    if outcome.error is not None:
        line["error"] = str(outcome.error)
    return json.dumps(line) + "\n"


async def update_many(request: Request) -> Response:
    """Apply the rows, and answer with their outcomes in the order in which they become known."""
    coins: CoinEventService = request.state.coins
    updates = await read_updates(request)

    async def lines() -> AsyncIterator[str]:
        try:
            async with coins.update_many(updates) as stream:
                async for outcome in stream:
                    yield as_line(outcome)
        except EnkashError as error:  # the status 200 is out already: the last line has to say it
            _, _, body = http_answer(error)
            yield json.dumps(body) + "\n"
        else:
            yield json.dumps({"end": stream.counts}) + "\n"  # without this line the answer was cut off

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def start_campaign(request: Request) -> Response:
    """Accept the rows, and say where to ask how it goes."""
    campaigns: Campaigns = request.state.campaigns
    number = campaigns.start(await read_updates(request))
    return JSONResponse({"campaign": number}, 202, {"Location": f"/campaigns/{number}"})


async def show_campaign(request: Request) -> Response:
    """How far it is."""
    campaigns: Campaigns = request.state.campaigns
    progress = campaigns.progress(request.path_params["number"])
    return Response(status_code=404) if progress is None else JSONResponse(progress)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/updates", update_many, methods=["POST"]),
        Route("/campaigns", start_campaign, methods=["POST"]),
        Route("/campaigns/{number:int}", show_campaign),
    ],
)
