"""One process at a time: a lock of the operating system, which ends with its holder, whatever kills it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enkash_coins.bulk.files.problems import BadFile, printable
from enkash_coins.bulk.ledger import storage
from enkash_coins.bulk.writer import Writer


class Lock:
    """Held from its making to ``release()``.

    A file of its own, because SQLite's locks on the ledger are lost when anything else closes that file.

    Raises:
        BadFile: somebody else holds it; the message names the process.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path = path.resolve()  # by whatever name it is called
        self._path = path.with_name(path.name + ".lock")
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._file, 64).decode("ascii", "replace") or "another process"
                os.close(self._file)
                raise BadFile(f"{printable(str(path))}: is being worked on by {holder}") from None
            if self._is_there():
                break
            os.close(self._file)  # its holder has just taken it away
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()}".encode(), 0)

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others in."""
        self._path.unlink(missing_ok=True)  # while it is held: nobody has a lock on a file that is gone
        os.close(self._file)


def is_held(path: Path) -> bool:
    """Whether somebody works on this run."""
    path = path.resolve()
    try:
        file = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextmanager
def at_work(path: Path, *, new: bool = False) -> Iterator[Writer]:
    """The writer of a run, for this process alone.

    Args:
        new: there may be no such file yet; it is gone again if no run comes about.
    """
    lock = Lock(path)
    try:
        if new:
            storage.create(path)
        writer = Writer(storage.connect(path), path)
        try:
            yield writer
        finally:
            writer.close()
            if new:
                storage.remove_if_unfinished(path)
    finally:
        lock.release()
