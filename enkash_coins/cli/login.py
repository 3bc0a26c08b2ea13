"""One login to check the credentials, and the word of a person that they are to be tried again."""

import asyncio
import json as json_text

from enkash_coins.cli.exits import Exit, code_of, explained, say
from enkash_coins.cli.operations import facts, show
from enkash_coins.cli.settings import DEFAULTS, Host
from enkash_coins.errors import EnkashError
from enkash_coins.login_guard import LoginHistory
from enkash_coins.password_grant import PasswordGrant


def login(*, reset: bool = False, json: bool = False, host: Host = DEFAULTS) -> int:
    """Check the credentials with one login, and say what came of it.

    EnKash locks an account after three failed logins in a row. So no command
    sends refused credentials again, until they change or --reset is used.

    Args:
        reset: Send nothing, but allow one more login although earlier ones failed.
        json: Print one line of JSON.
    """
    grant = host.grant()
    if reset:
        lifted = asyncio.run(grant.reset())
        say(f"nothing was sent; one more login is allowed. {_standing(lifted)}")
        if json:
            print(json_text.dumps({"login": "reset", "failed": lifted.failed}))
        return Exit.WELL
    found, history = asyncio.run(_checked(host, grant))
    if isinstance(found, EnkashError):
        say(explained(found) + (f". {_standing(history)}" if history is not None and history.failed else ""))
        if json:
            print(json_text.dumps({"error": facts(found), "failed": None if history is None else history.failed}))
        code = code_of(found)
        return Exit.HOST if code is Exit.NOT_APPLIED else code
    if json:
        print(json_text.dumps({"login": "accepted", "token_seconds": round(found)}))
    else:
        show({"login": "accepted", "token": f"valid for {_duration(found)}"})
    return Exit.WELL


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


async def _checked(host: Host, grant: PasswordGrant) -> tuple[float | EnkashError, LoginHistory | None]:
    """Seconds that the token is valid or why there is none, and what the guard knows then."""
    try:
        return await host.log_in(grant), None
    except EnkashError as error:
        failure = error
    try:
        return failure, await grant.history()
    except EnkashError:  # then there is no guard, or nothing to be guarded
        return failure, None


def _standing(history: LoginHistory) -> str:
    """How close the account is to its lock."""
    failed = history.failed
    if not failed:
        return "No failed login with these credentials is known here"
    known = f"Known failed logins in a row: {failed}, not counting other passwords"
    if failed >= 3:
        return f"{known}. EnKash locks an account after three: ask EnKash whether it is locked"
    if failed == 2:
        return f"{known}. One more would be the third in a row: EnKash would lock the account"
    return f"{known}. One more would be the second in a row, and the third locks the account"
