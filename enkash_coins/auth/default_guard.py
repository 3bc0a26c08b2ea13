"""What guards a login unasked: files that all processes of this user share, or memory where there can be none."""

import functools
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from enkash_coins.auth.credentials import Credentials, fingerprint_of_account
from enkash_coins.auth.file_guard import FileGuard
from enkash_coins.auth.guard import MemoryGuard, Record
from enkash_coins.errors import GuardUnusable

LOGIN_GUARD = "ENKASH_LOGIN_GUARD"
_log = logging.getLogger("enkash_coins")


def default_guard() -> "DefaultGuard":
    """The file that ``ENKASH_LOGIN_GUARD`` names, else files in ``$XDG_STATE_HOME/enkash-coins``."""
    if named := os.environ.get(LOGIN_GUARD):
        return _guard_in(*os.path.split(os.path.abspath(os.path.expanduser(named))))  # noqa: PTH100, PTH111  # as strings
    state = os.environ.get("XDG_STATE_HOME", "")  # the XDG specification: a relative one does not count
    return _guard_in(f"{state if os.path.isabs(state) else '~/.local/state'}/enkash-coins", "")  # noqa: PTH117


@functools.cache
def _guard_in(folder: str, name: str) -> "DefaultGuard":
    # One for the whole process: its grants share the memory that takes the place of a file.
    return DefaultGuard(folder, name)


class DefaultGuard:
    """Files, until one cannot be used; from then on memory.

    Args:
        name: of the one file; empty for a file for each client id and username, so that nobody waits for the login of
            somebody else.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._folder = folder
        self._name = name
        self._usable = True
        self._memory = MemoryGuard()

    def now(self) -> float:
        """Seconds on the wall clock, as in files."""
        return time.time()

    @asynccontextmanager
    async def hold(self, credentials: Credentials, /) -> AsyncIterator[Record]:
        """What is known of this client id and username; one login at a time."""
        async with AsyncExitStack() as held:
            record = await self._held_on_disk(credentials, held) if self._usable else None
            yield await held.enter_async_context(self._memory.hold(credentials)) if record is None else record

    async def _held_on_disk(self, credentials: Credentials, held: AsyncExitStack) -> Record | None:
        try:
            record = await held.enter_async_context(self._file(credentials).hold(credentials))
            await record.keep()  # a full disk shows only now
        except GuardUnusable as error:
            await held.aclose()
            if self._usable:
                self._usable = False
                _log.warning("%s: this process counts its failed logins for itself", error)
            return None
        return record

    def _file(self, credentials: Credentials) -> FileGuard:
        name = self._name or f"login-{fingerprint_of_account(credentials, b'')[:8]}.json"
        return FileGuard(os.path.join(self._folder, name))  # noqa: PTH118  # as strings
