"""Exit codes, and errors as one line that says what to do next."""

import asyncio
import shlex
import sys
from collections.abc import Sequence
from enum import IntEnum

from cyclopts import CycloptsError

from enkash_coins.bulk import BadFile, LedgerFailed
from enkash_coins.bulk.files.problems import printable, reason
from enkash_coins.bulk.work import OF_THE_HOST
from enkash_coins.errors import (
    AccountLocked,
    Conflict,
    EnkashError,
    Forbidden,
    GuardUnusable,
    InvalidRequest,
    LoginRefused,
    LoginSuspended,
    Unauthorized,
)

_RESET = "enkash-coins login --reset"


#: Everything else that a command raises is a mistake of ours.
FAILURES = (
    EnkashError,
    BadFile,
    CycloptsError,
    ModuleNotFoundError,
    LedgerFailed,
    OSError,
    KeyboardInterrupt,
    asyncio.CancelledError,
)


class Interrupted(EnkashError):
    """A signal has ended the call."""


class Exit(IntEnum):
    """What the command's exit code says."""

    WELL = 0
    NOT_APPLIED = 1  # some rows
    USAGE = 2  # or bad input; nothing was sent
    LOGIN = 3  # refused or suspended
    HOST = 4  # could not be reached, or refuses all
    STORAGE = 5  # local
    DOUBT = 6  # something may have been applied
    INTERRUPTED = 130


def say(text: str) -> None:
    """One line for people."""
    print(f"enkash-coins: {text}", file=sys.stderr)


def told(failure: BaseException) -> tuple[Sequence[str], Exit]:
    """What is said of a command's failure, and its exit code."""
    match failure:
        case EnkashError():
            return (explained(failure),), code_of(failure)
        case BadFile():
            return failure.problems, Exit.USAGE
        case CycloptsError():
            return (" ".join(str(failure).split()),), Exit.USAGE
        case ModuleNotFoundError():  # an extra's: its message is the command that installs it
            return (str(failure),), Exit.USAGE
        case LedgerFailed():
            return (str(failure),), Exit.STORAGE
        case OSError():
            where = f"{printable(str(failure.filename))}: " if failure.filename else ""
            return (where + reason(failure),), Exit.STORAGE
        case _:
            return ("interrupted",), Exit.INTERRUPTED


def code_of(error: EnkashError) -> Exit:
    """The exit code for a call that ended with this error."""
    match error:
        case InvalidRequest():
            return Exit.USAGE
        case GuardUnusable():
            return Exit.STORAGE
        case LoginRefused() | LoginSuspended():
            return Exit.LOGIN
        case Interrupted():
            return Exit.INTERRUPTED
        case _ if error.maybe_applied and error.operation in ("allocate", "create"):
            return Exit.DOUBT
        case _ if isinstance(error, OF_THE_HOST):
            return Exit.HOST
        case _:
            return Exit.DOUBT if error.maybe_applied and error.operation == "update" else Exit.NOT_APPLIED


def explained(error: EnkashError, *, look: tuple[str, ...] = ()) -> str:
    """The error with what it means for the caller, on one line.

    Args:
        look: the command that shows whether a write was applied; there is none for a new configuration.
    """
    said = str(error.args[0])
    parts = [f"{error.about}: {said}" if error.about else said]  # without its doubt, which is told below
    if error.maybe_applied:
        parts.append("It may have been applied")
        if look:
            parts[-1] += f": look with '{shlex.join(('enkash-coins', *look))}' before it is sent again"
        else:
            parts[-1] += ": to send it again could make a second one; ask EnKash first"
    elif error.operation == "allocate" and isinstance(error, Conflict):
        parts.append("This one gave nothing, but an earlier one with its id may have: look before you use another id")
    elif error.operation in ("update", "create", "allocate") and not isinstance(error, InvalidRequest):
        parts.append("Nothing was changed")
    if error.request_id is not None:
        parts.append(f"Its request id, to ask about it or to send it again: {error.request_id}")
    if advice := _advice(error):
        parts.append(advice)
    return ". ".join(part.rstrip(".") for part in parts)


def _advice(error: EnkashError) -> str:
    """What to do about the set-up that the error speaks of, if it does."""
    match error:
        case GuardUnusable():
            return "--login-guard or ENKASH_LOGIN_GUARD can name another file"
        case AccountLocked():
            return f"Then, to log in again: {_RESET}"
        case LoginRefused():
            return (
                "Check the ENKASH_* credentials first: three refused logins in a row lock the account. Once corrected"
                f" they are used at once; to try the same ones again: {_RESET}"
            )
        case LoginSuspended(retry_at=None):
            return f"Check the host and the ENKASH_* credentials first; then, to try again: {_RESET}"
        case Unauthorized():
            return "Renew ENKASH_TOKEN; if you log in, ask EnKash whether the API is enabled for you"
        case Forbidden():
            return "Ask EnKash whether the API is enabled for you, and this machine's address on its allow-list"
        case _:
            return ""
