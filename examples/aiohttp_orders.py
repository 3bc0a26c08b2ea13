"""A shop on aiohttp.web that rewards orders with coins.

With ``handler_cancellation`` a client that hangs up cancels its handler at once. For reading a balance that is right:
nobody waits for it any more, and the connection is free for others. An allocation may have left already; cut off, it
would be in doubt for ever. ``Rewards.give`` therefore finishes and records it without the handler.
"""

import argparse
import logging
import os
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from enkash_coins import CoinEventService, EnkashError
from http_answers import http_answer
from rewards import Rewards

COINS = web.AppKey("COINS", CoinEventService)
REWARDS = web.AppKey("REWARDS", Rewards)


async def reward(request: web.Request) -> web.Response:
    """Give the order's coins; the same order twice gives them once."""
    try:
        user_id = str((await request.json())["user_id"])
    except (ValueError, KeyError, TypeError):
        raise web.HTTPUnprocessableEntity(text='The body must be JSON such as {"user_id": "EK1"}') from None
    given = await request.app[REWARDS].give(request.match_info["order_id"], user_id)
    return web.json_response(given._asdict(), status=200 if given.given else 202)


async def balance(request: web.Request) -> web.Response:
    """A page waits for this one, so it gets less time than a reward."""
    coins = request.app[COINS].with_options(deadline=2.0)
    return web.json_response({"coins": await coins.balance(request.match_info["user_id"])})


@web.middleware
async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors by the table in ``http_answers``."""
    try:
        return await handler(request)
    except EnkashError as error:
        status, headers, body = http_answer(error)
        return web.json_response(body, status=status, headers=headers)


def create_app() -> web.Application:
    """The application, with one client for the whole process."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        # No call takes longer than its deadline, so no handler hangs. After SIGTERM the requests under way end first,
        # then this context: the rewards, and then the client.
        async with (
            CoinEventService.from_env(deadline=5.0) as app[COINS],
            Rewards.opened(app[COINS], os.environ.get("REWARDS_DB", "rewards.db")) as app[REWARDS],
        ):
            yield

    app = web.Application(middlewares=[tell])
    app.cleanup_ctx.append(opened)
    app.router.add_post("/orders/{order_id}/reward", reward)
    app.router.add_get("/users/{user_id}/balance", balance)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    logging.basicConfig(level=logging.INFO)
    web.run_app(
        create_app(),
        host="127.0.0.1",
        port=parser.parse_args().port,
        handler_cancellation=True,
        shutdown_timeout=10,  # longer than a call's deadline, so that every accepted request gets its answer
    )
