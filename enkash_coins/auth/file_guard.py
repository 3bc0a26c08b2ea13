"""Login histories in one file, for every process that logs in to the same account.

An ``flock``, and JSON that is replaced as a whole; not SQLite: its POSIX locks are lost when anything else in the
process closes the file, and its connections must not be carried through a fork. An ``flock`` belongs to the open file:
two guards, threads or loops of one process exclude each other as two processes do, and it ends with its holder.
"""

import asyncio
import fcntl
import hashlib
import logging
import math
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar
from weakref import WeakSet

import msgspec

from enkash_coins.auth.credentials import Credentials, fingerprint_of_account, packed
from enkash_coins.auth.guard import History, Record
from enkash_coins.errors import GuardUnusable

T = TypeVar("T")
_log = logging.getLogger("enkash_coins")
_POLL = 0.05
_LONG = 30.0
# Hosts of a client id and username that are remembered although nothing has failed there.
_REMEMBERED = 16
_LARGEST = 1 << 20
_files: "WeakSet[_File]" = WeakSet()


def _let_go_in_child() -> None:
    # A child of a fork shares the open files, and would keep their locks when its parent is killed.
    for file in list(_files):
        file.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)


class FileGuard:
    """Counts failed logins for all processes that share a file on a local disk.

    Whoever logs in holds the file, and what it knows is on the disk before a request leaves. Credentials are recognised
    by a slow salted hash; they cannot be read from the file. While it cannot be used no login is made: calls end with a
    ``LoginSuspended`` that names the file and the reason.

    Args:
        path: of the file; it is made when it is missing, its folder as well. It is replaced at each login, so it must
            be a file proper, in a folder that may be written to.

    Raises:
        LoginSuspended: the path begins with ``~``, and there is no home folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._path = Path(path).expanduser().absolute()
        except RuntimeError:
            raise GuardUnusable(f"the login guard {path} cannot be used: there is no home folder") from None

    def __repr__(self) -> str:
        return f"FileGuard({str(self._path)!r})"

    def now(self) -> float:
        """Seconds on the wall clock, the only one that processes and restarts share."""
        return time.time()

    @asynccontextmanager
    async def hold(self, credentials: Credentials, /) -> AsyncIterator[Record]:
        """What is known of this client id and username; one login at a time, of all processes that share the file.

        Raises:
            GuardUnusable: the file cannot be used; the message says why.
        """
        # One thread, so that what is done to the file is done in this order even when the login is cancelled in the
        # middle of it: the file is let go last.
        thread = ThreadPoolExecutor(1, "login-guard")
        file = _File(self._path)

        async def done(work: Callable[[], T]) -> T:
            try:
                return await asyncio.wrap_future(thread.submit(work))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
            raise GuardUnusable(f"the login guard {self._path} cannot be used: {reason}")

        try:
            loop = asyncio.get_running_loop()
            too_long = loop.time() + _LONG
            # Tried again and again: a thread that waits for a lock cannot be cancelled, and holds up the exit.
            while not await done(file.lock):
                if loop.time() >= too_long:
                    too_long = math.inf
                    _log.warning("another process has held the login guard %s for %.0f s", self._path, _LONG)
                await asyncio.sleep(_POLL)
            own, histories = await done(lambda: file.read(credentials))
            yield Record(own, histories, lambda: done(lambda: file.write(histories)))
        finally:
            thread.submit(file.let_go)
            thread.shutdown(wait=False)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in the file: histories by the fingerprint of client id and username, and by host."""

    version: Literal[1]
    salt: str
    accounts: dict[str, dict[str, History]]


class _File:
    """One hold on the file; all of it happens in the hold's own thread, and raises ``OSError``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fds: list[int] = []
        self._content = _Content(1, "", {})
        self._who = ""
        _files.add(self)

    def lock(self) -> bool:
        self.let_go()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = self._opened(self._path, os.O_RDWR)
        _check(os.fstat(fd))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it until now has replaced the file: then this is the lock of a file that is gone.
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            return False

    def read(self, credentials: Credentials) -> tuple[str, dict[str, History]]:
        with open(self._fds[0], "rb", closefd=False) as file:  # it is open already
            body = file.read(_LARGEST)
        # An empty file was made just now, or emptied by hand.
        self._content = _parsed(body) if body else _Content(1, secrets.token_hex(16), {})
        salt = self._content.salt.encode()
        self._who = fingerprint_of_account(credentials, salt)
        return _slowly_hashed(credentials, salt), self._content.accounts.get(self._who, {})

    def write(self, histories: dict[str, History]) -> None:
        fine = [host for host, history in histories.items() if not history.failures and not history.refused]
        for host in fine[:-_REMEMBERED]:
            del histories[host]
        self._content.accounts[self._who] = histories
        new = self._path.with_name(f"{self._path.name}.new")
        new.unlink(missing_ok=True)  # left by a process that was killed
        fd = self._opened(new, os.O_WRONLY | os.O_EXCL)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ours before anybody can find it
            with open(fd, "wb", closefd=False) as file:  # it is open already
                file.write(msgspec.json.encode(self._content))
            os.fsync(fd)
            new.replace(self._path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name is on the disk, too
        finally:
            os.close(folder)

    def let_go(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def _opened(self, path: Path, flags: int) -> int:
        fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._fds.append(fd)
        return fd


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is not a file")
    if found.st_uid != os.geteuid():
        raise OSError("it belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError("others can write to it (chmod 600 mends that)")


def _parsed(body: bytes) -> _Content:
    try:
        return msgspec.json.decode(body, type=_Content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # what it holds is nobody's business
    raise OSError("it is damaged, or was written by another version of this package")


@lru_cache(maxsize=16)
def _slowly_hashed(credentials: Credentials, salt: bytes) -> str:
    # Slow, so that guessing from a stolen file is, too: 50 ms for each try. Not scrypt, whose 16 MiB a process kept.
    return hashlib.pbkdf2_hmac("sha256", packed(credentials.reveal()), salt, 100_000, 16).hex()
