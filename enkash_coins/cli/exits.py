"""Exit codes, and errors as one line that says what to do next."""

import shlex
import sys
from enum import IntEnum

from enkash_coins.bulk.application import OF_THE_HOST
from enkash_coins.errors import EnkashError, GuardUnusable, InvalidRequest, LoginRefused, LoginSuspended

_RESET = "enkash-coins login --reset"


class Exit(IntEnum):
    """What the command's exit code says."""

    WELL = 0
    NOT_APPLIED = 1  # some rows
    USAGE = 2  # or bad input; nothing was sent
    LOGIN = 3  # refused or suspended
    HOST = 4  # could not be reached, or refuses all
    STORAGE = 5  # local
    INTERRUPTED = 130


def say(text: str) -> None:
    """One line for people."""
    print(f"enkash-coins: {text}", file=sys.stderr)


def code_of(error: Exception | str | None) -> Exit:
    """The exit code for a call that ended with this error."""
    match error:
        case InvalidRequest():
            return Exit.USAGE
        case GuardUnusable():
            return Exit.STORAGE
        case LoginRefused() | LoginSuspended():
            return Exit.LOGIN
        case _:
            return Exit.HOST if isinstance(error, OF_THE_HOST) else Exit.NOT_APPLIED


def explained(error: EnkashError, *, look: tuple[str, ...] = ()) -> str:
    """The error with what it means for the caller, on one line.

    Args:
        look: the command that shows whether a write was applied; there is none for a new configuration.
    """
    parts = [str(error)]
    if error.maybe_applied:
        parts.append("It may have been applied")
        if look:
            parts[-1] += f": look with '{shlex.join(('enkash-coins', *look))}' before it is sent again"
        else:
            parts[-1] += ": to send it again could make a second one; ask EnKash first"
    elif error.operation in ("update", "create", "allocate") and not isinstance(error, InvalidRequest):
        parts.append("Nothing was changed")
    if error.request_id is not None:
        parts.append(f"Its request id, to ask about it or to send it again: {error.request_id}")
    match error:
        case GuardUnusable():
            parts.append("--login-guard or ENKASH_LOGIN_GUARD can name another file")
        case LoginRefused():
            parts.append(
                "Check the ENKASH_* credentials first: three refused logins in a row lock the account. Changed ones are"
                f" tried by themselves; to try the same ones again: {_RESET}"
            )
        case LoginSuspended(retry_at=None):
            parts.append(f"Check the host and the ENKASH_* credentials first; then, to try again: {_RESET}")
    return ". ".join(part.rstrip(".") for part in parts)
