"""Login histories in one file, for every process that logs in to the same account.

An ``flock``, and JSON that is replaced as a whole; not SQLite: its POSIX locks are lost when anything else in the
process closes the file, and its connections must not be carried through a fork. An ``flock`` belongs to the open file:
two guards, threads or loops of one process exclude each other as two processes do, and it ends with its holder.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import attrs

from enkash_coins.api.codec import Unreadable, dumps, loads
from enkash_coins.auth.guard import LoginHistory, LoginRecord
from enkash_coins.errors import GuardUnusable
from enkash_coins.secret import Secret

T = TypeVar("T")
_log = logging.getLogger("enkash_coins")
_VERSION = 1
_POLL = 0.05
_LONG = 30.0
# Credentials that are remembered, the latest ones.
_REMEMBERED = 16
_LARGEST = 1 << 20
_HISTORY = {"proven": bool, "refused": bool, "doubtful": int, "latest": float, "failed": int}
_held: set[int] = set()


def _let_go_in_child() -> None:
    # A child of a fork shares the open file, and would keep the lock when its parent is killed.
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


class FileGuard:
    """Shares the guard against the account lock between the processes of one user, through a file on a local disk.

    Whoever logs in holds the file, and what it knows is on the disk before a request leaves. Credentials are recognised
    by a slow salted hash; they cannot be read from the file. While the file cannot be used no login is made: calls end
    with a ``LoginSuspended`` that names the file and the reason.

    Args:
        path: of the file; one for each host. It is made when it is missing, its folder as well. It is replaced at each
            login, so it must be a file proper, in a folder that may be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser().absolute()

    def __repr__(self) -> str:
        return f"FileGuard({str(self._path)!r})"

    def now(self) -> float:
        """Seconds on the wall clock, the only one that processes and restarts share.

        A clock that is set back makes a pause longer; one that is set forward ends it early, and lets out one login for
        each time that it is set: such a login is counted like any other.
        """
        return time.time()

    @asynccontextmanager
    async def hold(self, credentials: Secret[bytes], /) -> AsyncIterator[LoginRecord]:
        """The record of these credentials; one login at a time, of all processes that share the file.

        Raises:
            GuardUnusable: the file cannot be used; the message says why.
        """
        # One thread, so that what is done to the file is done in this order even when the login is cancelled in the
        # middle of it: the file is let go last.
        thread = ThreadPoolExecutor(1, "login-guard")
        file = _File(self._path)

        async def done(work: Callable[[], T]) -> T:
            outcome = await asyncio.wrap_future(thread.submit(file.tried, work))
            if isinstance(outcome, GuardUnusable):
                raise outcome
            return outcome

        try:
            await self._locked(lambda: done(file.lock))
            history = await done(lambda: file.read(credentials))
            yield _FileRecord(history, lambda new: done(lambda: file.write(new)))
        finally:
            thread.submit(file.let_go)
            thread.shutdown(wait=False)

    async def _locked(self, lock: Callable[[], Awaitable[bool]]) -> None:
        loop = asyncio.get_running_loop()
        began, told = loop.time(), False
        # Tried again and again, and not waited for: a thread that waits cannot be cancelled, and holds up the exit.
        while not await lock():
            if not told and loop.time() - began >= _LONG:
                told = True
                _log.warning("another process has held the login guard %s for %.0f s: still waiting", self._path, _LONG)
            await asyncio.sleep(_POLL)


@attrs.define(eq=False)
class _FileRecord:
    history: LoginHistory
    _write: Callable[[LoginHistory], Awaitable[None]]

    async def save(self, history: LoginHistory, /) -> None:
        await self._write(history)
        self.history = history


class _File:
    """One hold on the file; all of it happens in the hold's own thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._salt = ""
        self._histories: dict[str, LoginHistory] = {}
        self._key = ""

    def tried(self, work: Callable[[], T]) -> T | GuardUnusable:
        try:
            return work()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        except Unreadable as error:
            reason = str(error)
        return GuardUnusable(f"no login, because its guard {self._path} cannot be used: {reason}")

    def lock(self) -> bool:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _opened(self._path, os.O_RDWR)
        try:
            _check(os.fstat(fd))
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it until now has replaced the file: then this is the lock of a file that is gone.
            if os.path.samestat(os.fstat(fd), self._path.stat()):
                self._fd = fd
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if self._fd is None:
                _close(fd)
        return self._fd is not None

    def read(self, credentials: Secret[bytes]) -> LoginHistory:
        assert self._fd is not None  # noqa: S101  # it was locked
        with open(self._fd, "rb", closefd=False) as file:  # it is open already
            body = file.read(_LARGEST)
        # An empty file was made just now, or emptied by hand.
        self._salt, self._histories = _parsed(body) if body else (secrets.token_hex(16), {})
        self._key = _fingerprint(credentials, self._salt)
        return self._histories.get(self._key, LoginHistory())

    def write(self, history: LoginHistory) -> None:
        self._histories.pop(self._key, None)
        self._histories[self._key] = history  # the latest stands last
        latest = list(self._histories.items())[-_REMEMBERED:]
        logins = {key: attrs.asdict(kept) for key, kept in latest}
        new = self._path.with_name(f"{self._path.name}.new")
        new.unlink(missing_ok=True)  # left by a process that was killed
        fd = _opened(new, os.O_WRONLY | os.O_EXCL)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ours before anybody can find it
            with open(fd, "wb", closefd=False) as file:  # it is open already
                file.write(dumps({"version": _VERSION, "salt": self._salt, "logins": logins}))
            os.fsync(fd)
            new.replace(self._path)
        except BaseException:
            _close(fd)
            with suppress(OSError):
                new.unlink()
            raise
        self.let_go()
        self._fd = fd
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name is on the disk, too
        finally:
            os.close(folder)

    def let_go(self) -> None:
        if self._fd is not None:
            _close(self._fd)
            self._fd = None


def _opened(path: Path, flags: int) -> int:
    fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _held.add(fd)
    return fd


def _close(fd: int) -> None:
    if fd in _held:  # else it was closed in the child of a fork, and the number may be another file's
        _held.remove(fd)
        os.close(fd)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable("it is not a file")
    if found.st_uid != os.geteuid():
        raise Unreadable("it belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unreadable("others can write to it (chmod 600 mends that)")


def _parsed(body: bytes) -> tuple[str, dict[str, LoginHistory]]:
    match loads(body):
        case {"version": int(version)} if version > _VERSION:
            raise Unreadable("it was written by a later version of this package")
        case {"version": 1, "salt": str(salt), "logins": dict(logins)}:
            return salt, {key: _history(fields) for key, fields in logins.items()}
    raise Unreadable("it holds something else")


def _history(fields: object) -> LoginHistory:
    if isinstance(fields, dict) and {name: type(value) for name, value in fields.items()} == _HISTORY:
        return LoginHistory(**fields)
    raise Unreadable("it holds something else")


@lru_cache(maxsize=_REMEMBERED)
def _fingerprint(credentials: Secret[bytes], salt: str) -> str:
    # Slow, so that guessing a password from a stolen file is, too: 16 MiB and about 50 ms for each try.
    return hashlib.scrypt(credentials.reveal(), salt=salt.encode(), n=2**14, r=8, p=1).hex()
