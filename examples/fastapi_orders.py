"""A shop on FastAPI that rewards orders with coins.

A client that hangs up does not end a handler: neither uvicorn nor FastAPI cancels it, it runs on and its answer goes
nowhere. What does cancel one is the end of ``--timeout-graceful-shutdown``, and middleware that somebody adds later.
``Rewards.give`` holds against all of them: an allocation under way is finished and recorded, never cut off.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from enkash_coins import CoinEventService, EnkashError
from http_answers import http_answer
from rewards import Rewards


class State(TypedDict):
    """What lives as long as the application."""

    coins: CoinEventService
    rewards: Rewards


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """One client for the whole process: it holds the connections, the token and the retry budget.

    No call takes longer than its ``deadline``, waiting and retries included, so no handler hangs. On SIGTERM uvicorn
    lets the requests under way end, and then leaves this context: first the rewards, then the client.
    """
    async with (
        CoinEventService.from_env(deadline=5.0) as coins,
        Rewards.opened(coins, os.environ.get("REWARDS_DB", "rewards.db")) as rewards,
    ):
        yield {"coins": coins, "rewards": rewards}


def the_coins(request: Request) -> CoinEventService:
    """The application's client."""
    coins: CoinEventService = request.state.coins
    return coins


def the_rewards(request: Request) -> Rewards:
    """The application's rewards."""
    rewards: Rewards = request.state.rewards
    return rewards


class Order(BaseModel):
    """What the shop knows of an order."""

    user_id: str


app = FastAPI(lifespan=lifespan)


@app.exception_handler(EnkashError)
async def tell(_: Request, error: EnkashError) -> JSONResponse:
    """Answer by the table in ``http_answers``."""
    status, headers, body = http_answer(error)
    return JSONResponse(body, status, headers)


@app.post("/orders/{order_id}/reward")
async def reward(order_id: str, order: Order, rewards: Annotated[Rewards, Depends(the_rewards)]) -> JSONResponse:
    """Give the order's coins; the same order twice gives them once."""
    given = await rewards.give(order_id, order.user_id)
    return JSONResponse(given._asdict(), 200 if given.given else 202)


@app.get("/users/{user_id}/balance")
async def balance(user_id: str, coins: Annotated[CoinEventService, Depends(the_coins)]) -> dict[str, int]:
    """A page waits for this one, so it gets less time than a reward."""
    return {"coins": await coins.with_options(deadline=2.0).balance(user_id)}
