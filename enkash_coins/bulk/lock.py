"""One process at a time: a lock of the operating system, which ends with its holder, whatever kills it."""

import fcntl
import os
from pathlib import Path

from enkash_coins.bulk.source import BadFile, printable


class Lock:
    """Held from its making to ``release()``.

    A file of its own, because SQLite's locks on the ledger are lost when anything else closes that file.

    Raises:
        BadFile: somebody else holds it; the message names the process.
        OSError: the folder cannot be written.
    """

    def __init__(self, ledger: Path) -> None:
        ledger = ledger.resolve()  # by whatever name it is called
        self._path = ledger.with_name(ledger.name + ".lock")
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._file, 64).decode("ascii", "replace") or "another process"
                os.close(self._file)
                raise BadFile(f"{printable(str(ledger))}: is being worked on by {holder}") from None
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
