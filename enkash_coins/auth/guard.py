"""The guard against the account lock: three consecutive failed token requests lock an EnKash account.

The rules are pure functions of a ``LoginHistory``; a ``LoginGuard`` is a place where histories are kept::

            admit()                         settle(…)
    history ───────▶ charged history, saved ─────────▶ history, saved
       │             (before the request leaves)
       └▶ LoginRefused or LoginSuspended ◀── lift(), when a person has looked

A charge counts as a doubtful failure until it is settled, so that a crash in between errs on the safe side.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Protocol
from weakref import WeakKeyDictionary

import attrs

from enkash_coins.errors import LoginRefused, LoginSuspended
from enkash_coins.secret import Secret

_DOUBTFUL_LOGINS = 2
_PAUSE = 60.0


class LoginResult(Enum):
    """How a login ended, as far as the account lock is concerned."""

    ACCEPTED = auto()
    REFUSED = auto()
    DOUBTFUL = auto()  # it left, and no clear answer came: timeout, disconnect, 5xx, unreadable answer
    NOT_COUNTED = auto()  # it never left, or was answered 429


@attrs.frozen
class LoginHistory:
    """What is known of one set of credentials.

    Attributes:
        proven: they have worked before.
        refused: the token endpoint said no to them.
        doubtful: logins since the last success of which none is known to have worked, as far as they hold others back.
        latest: when the latest login began, in the guard's own seconds.
        failed: the same for the account lock, which a person's ``lift`` does not open: failures in a row.
    """

    proven: bool = False
    refused: bool = False
    doubtful: int = 0
    latest: float = 0.0
    failed: int = 0


def admit(history: LoginHistory, now: float) -> LoginHistory:
    """The history charged with one more login.

    Never-proven credentials get two doubtful logins in all; proven ones get one more a minute after the latest, and
    so on.

    Raises:
        LoginRefused: the credentials were refused before.
        LoginSuspended: too many doubtful logins; ``retry_at`` says when the next may be tried.
    """
    if history.refused:
        raise LoginRefused("these credentials were refused before: nothing is sent until they change")
    if history.doubtful >= _DOUBTFUL_LOGINS:
        if not history.proven:
            raise LoginSuspended(
                f"{history.doubtful} logins without a clear answer, with credentials that never worked:"
                " no further one, because a third failure would lock the account"
            )
        wait = history.latest + _PAUSE - now
        if wait > 0:
            retry_at = datetime.now(UTC) + timedelta(seconds=wait)
            raise LoginSuspended(
                f"{history.doubtful} logins without a clear answer: the next may be tried at {retry_at:%H:%M:%S} UTC",
                retry_at=retry_at,
            )
    return attrs.evolve(history, doubtful=history.doubtful + 1, latest=now, failed=history.failed + 1)


def settle(before: LoginHistory, charged: LoginHistory, result: LoginResult) -> LoginHistory:
    """The history after a login: ``before`` and ``charged`` are those before and after ``admit``."""
    match result:
        case LoginResult.ACCEPTED:
            return LoginHistory(proven=True)
        case LoginResult.REFUSED:
            return attrs.evolve(charged, refused=True)
        case LoginResult.DOUBTFUL:
            return charged
        case LoginResult.NOT_COUNTED:
            return before


def lift(history: LoginHistory) -> LoginHistory:
    """The history after a person has looked, and wants the next login to go out.

    It lets one login out, and not two: the account lock still counts the failures before, and the loop that sends
    again would follow a doubtful login with another by itself.
    """
    return attrs.evolve(history, refused=False, doubtful=min(history.doubtful, _DOUBTFUL_LOGINS - 1))


class LoginRecord(Protocol):
    """One set of credentials' history, held by one login."""

    history: LoginHistory

    async def save(self, history: LoginHistory, /) -> None:
        """Keep this history; when it returns, it is as durable as the guard makes it."""
        ...


class LoginGuard(Protocol):
    """Where login histories are kept."""

    def now(self) -> float:
        """Seconds on a clock that all who share this guard agree on."""
        ...

    def hold(self, credentials: Secret[bytes], /) -> AbstractAsyncContextManager[LoginRecord]:
        """The record of these credentials, held by nobody else until the context ends."""
        ...


@attrs.define(eq=False)
class _MemoryRecord:
    history: LoginHistory
    _histories: dict[bytes, LoginHistory]
    _key: bytes

    async def save(self, history: LoginHistory, /) -> None:
        self._histories[self._key] = self.history = history


class MemoryGuard:
    """Keeps login histories in this process; may be shared by several ``PasswordGrant``."""

    def __init__(self) -> None:
        self._histories: dict[bytes, LoginHistory] = {}
        self._salt = secrets.token_bytes(16)
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bytes, asyncio.Lock]] = WeakKeyDictionary()

    def now(self) -> float:
        """Seconds on the running loop's clock."""
        return asyncio.get_running_loop().time()

    @asynccontextmanager
    async def hold(self, credentials: Secret[bytes], /) -> AsyncIterator[LoginRecord]:
        """The record of these credentials; one login of them at a time in each event loop."""
        key = hashlib.blake2b(credentials.reveal(), key=self._salt).digest()
        lock = self._locks.setdefault(asyncio.get_running_loop(), {}).setdefault(key, asyncio.Lock())
        async with lock:
            yield _MemoryRecord(self._histories.get(key, LoginHistory()), self._histories, key)
