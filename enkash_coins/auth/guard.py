"""The guard against the account lock: three token requests that fail in a row lock an EnKash account.

EnKash counts by account, whatever the password, and so does the guard; an account is a client id and a username on one
host. The rules are pure functions of a ``History``; a guard is a place where histories are kept::

    history ──▶ obstacle()? ──▶ begin(): one failure more, ──▶ the request ──▶ end(): how it ended
                                saved before
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

import attrs

from enkash_coins.auth.credentials import Credentials, fingerprint_of_account, packed
from enkash_coins.errors import AccountLocked, ApiError, EnkashError, LoginRefused, LoginSuspended, RateLimited

_ALLOWED = 2  # failures in a row; a third may lock the account
_PAUSE = 60.0


@attrs.frozen
class History:
    """What is known of the logins to one account. Credentials are known by their fingerprints.

    Attributes:
        failures: logins since the last success that were refused or have no clear answer.
        unproven: how many of them were made with credentials that never worked.
        unclear_at: when the latest login without a clear answer began, in the guard's own seconds.
        worked: credentials that have worked.
        refused: credentials that were refused, and have not worked since.
        let_out: credentials that get one more login because a person says so.
    """

    failures: int = 0
    unproven: int = 0
    unclear_at: float | None = None
    worked: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    let_out: tuple[str, ...] = ()


def obstacle(history: History, credentials: str, now: float) -> LoginRefused | LoginSuspended | None:
    """What keeps a login from going out; a suspension that needs no person says when it ends."""
    if credentials in history.let_out:
        return None
    if credentials in history.refused:
        return LoginRefused("these credentials were refused before: nothing is sent until they change")
    failed = f"{history.failures} logins to this account failed or had no clear answer"
    if credentials in history.worked:
        age = _PAUSE if history.unclear_at is None else now - history.unclear_at
        # A clock that was set back ends the pause: that is one login early, and a pause without an end would be worse.
        if history.failures < _ALLOWED or not 0 <= age < _PAUSE:
            return None
        retry_at = datetime.now(UTC) + timedelta(seconds=_PAUSE - age)
        return LoginSuspended(f"{failed}: the next may go out at {retry_at:%H:%M:%S} UTC", retry_at=retry_at)
    if history.failures >= _ALLOWED:
        why = f"{failed}, and a third may lock it"
    elif history.worked and history.unproven:
        why = "a login with other credentials than those that work for this account has failed"
    else:
        return None
    return LoginSuspended(f"{why}: nothing is sent until somebody has looked")


def begin(history: History, credentials: str, now: float) -> History:
    """The history with one more login under way: a failure without a clear answer, until it is told how it ended."""
    return attrs.evolve(
        history,
        failures=history.failures + 1,
        unproven=history.unproven + (credentials not in history.worked),
        unclear_at=now,
        let_out=_without(history.let_out, credentials),
    )


def end(before: History, begun: History, credentials: str, error: EnkashError | None) -> History:
    """The history after a login that ended with this error, or with a token.

    Args:
        before: as it was before ``begin``.
        begun: as ``begin`` made it.
    """
    others_refused = _without(begun.refused, credentials)
    if error is None:
        worked = (*_without(begun.worked, credentials), credentials)
        return History(worked=worked, refused=others_refused, let_out=begun.let_out)
    if isinstance(error, LoginRefused):
        return attrs.evolve(
            begun,
            failures=max(begun.failures, _ALLOWED + 1) if isinstance(error, AccountLocked) else begun.failures,
            unclear_at=before.unclear_at,
            refused=(*others_refused, credentials),
        )
    answered = isinstance(error, ApiError)  # by something else than a token or a no: that is not clear
    return begun if (answered or error.maybe_applied) and not isinstance(error, RateLimited) else before


def _without(known: tuple[str, ...], credentials: str) -> tuple[str, ...]:
    return tuple(each for each in known if each != credentials)


def let_out(history: History, credentials: str, now: float) -> History:
    """The history after a person has looked: one login with these credentials goes out, whatever is known of them.

    One and not two: the loop that sends again would follow a login without a clear answer by another one, and EnKash
    still counts all that failed before.
    """
    if obstacle(history, credentials, now) is None:
        return history
    return attrs.evolve(history, let_out=(*history.let_out, credentials))


@attrs.define(eq=False)
class Record:
    """What a guard knows of one client id and username, while it is held.

    Attributes:
        credentials: the fingerprint of those with which it is held.
        histories: by host; the latest stands last.
        keep: makes the histories as durable as the guard can.
    """

    credentials: str
    histories: dict[str, History]
    keep: Callable[[], Awaitable[None]]

    async def save(self, host: str, history: History) -> None:
        """Keep this history of this host."""
        self.histories.pop(host, None)
        self.histories[host] = history
        await self.keep()


class MemoryGuard:
    """Counts failed logins in this process; may be shared by several ``PasswordGrant``."""

    def __init__(self) -> None:
        self._histories: dict[str, dict[str, History]] = {}
        self._salt = secrets.token_bytes(16)
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()

    def now(self) -> float:
        """Seconds on the running loop's clock."""
        return asyncio.get_running_loop().time()

    @asynccontextmanager
    async def hold(self, credentials: Credentials, /) -> AsyncIterator[Record]:
        """What is known of this client id and username; one login at a time in each event loop."""
        who = fingerprint_of_account(credentials, self._salt)
        own = hashlib.blake2b(packed(credentials.reveal()), key=self._salt).hexdigest()
        async with self._locks.setdefault(asyncio.get_running_loop(), {}).setdefault(who, asyncio.Lock()):
            yield Record(own, self._histories.setdefault(who, {}), _nothing)


async def _nothing() -> None:
    """Memory is as durable as it is."""
