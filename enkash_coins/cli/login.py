"""One login to check the credentials, and the word of a person that they are to be tried again."""

import json as json_text
from contextlib import suppress

from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.cli.exits import Exit, code_of, explained, say
from enkash_coins.cli.operations import facts, show
from enkash_coins.cli.settings import DEFAULTS, Host, Json
from enkash_coins.errors import AccountLocked, EnkashError
from enkash_coins.transports.settings import checked_base_url


async def login(*, reset: bool = False, json: Json = False, host: Host = DEFAULTS) -> int:
    """Check the credentials with one login, and say what came of it.

    EnKash locks an account after three failed logins in a row. So no command
    sends refused credentials again, until they change or --reset is used.

    Args:
        reset: Send nothing, but allow one more login although earlier ones failed.
    """
    grant = host.grant()
    if reset:
        failed = await grant.reset(checked_base_url(host.address()))
        say(f"nothing was sent; one more login is allowed. {_standing(failed)}")
        if json:
            print(json_text.dumps({"login": "reset", "failed": failed}))
        return Exit.WELL
    try:
        seconds = await host.log_in(grant)
    except EnkashError as error:
        return await _told(error, grant, json=json)
    if json:
        print(json_text.dumps({"login": "accepted", "token_seconds": round(seconds)}))
    else:
        show({"login": "accepted", "token": f"valid for {_duration(seconds)}"})
    return Exit.WELL


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


async def _told(error: EnkashError, grant: PasswordGrant, *, json: bool) -> int:
    failed = None
    with suppress(EnkashError):  # then there is no guard, or nothing to be guarded
        failed = await grant.failures()
    standing = f". {_standing(failed)}" if failed and not isinstance(error, AccountLocked) else ""
    say(explained(error) + standing)
    if json:
        print(json_text.dumps({"error": facts(error), "failed": failed}))
    code = code_of(error)
    return Exit.HOST if code is Exit.NOT_APPLIED else code


def _standing(failed: int) -> str:
    """How close the account is to its lock."""
    if not failed:
        return "No failed login to this account is known here"
    known = f"Known failed logins to this account in a row: {failed}"
    if failed >= 3:
        return f"{known}. EnKash locks an account after three: ask EnKash whether it is locked"
    if failed == 2:
        return f"{known}. One more would be the third in a row: EnKash would lock the account"
    return f"{known}. One more would be the second in a row, and the third locks the account"
