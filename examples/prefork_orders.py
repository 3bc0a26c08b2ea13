"""The shop of ``aiohttp_orders`` in several processes, which share one guard against the account lock.

EnKash locks an account after three failed logins in a row. Each worker process logs in by itself, so a wrong password
would be tried once by each, again whenever one is restarted, and four workers lock the account. The guard keeps the
history of logins in a file: the first refusal holds for all of them, until the credentials change.

The rewards are shared, too: whichever worker an order comes to, the database knows it.
"""

import os

from aiohttp import web

from aiohttp_orders import create_app

# A file of this machine, one for each host of EnKash's. The command takes it from the same variable, so that a login
# from the shell counts as well.
os.environ.setdefault("ENKASH_LOGIN_GUARD", "login-guard.json")


async def create_runner() -> web.AppRunner:
    """What gunicorn's aiohttp worker runs, after the fork."""
    return web.AppRunner(create_app(), handler_cancellation=True, shutdown_timeout=10)
