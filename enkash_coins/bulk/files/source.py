"""The bytes of a file or of standard input, which can be read as often as it takes."""

import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from enkash_coins.bulk.files.problems import BadFile, printable, reason

STANDARD_INPUT: Final = "-"


class Source:
    """A file that is opened for each reading, and found unchanged each time; what is no file is kept in one.

    Args:
        file: a path, or ``-`` for standard input.

    Attributes:
        name: as it is shown.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._file = os.fspath(file)
        self.name = "stdin" if self._file == STANDARD_INPUT else printable(self._file)
        self._kept: BinaryIO | None = None
        self._stamp: tuple[int, ...] | None = None
        self._digest: str | None = None

    @property
    def path(self) -> Path | None:
        """Where the file is; ``None`` for standard input and pipes, whose names tell nothing."""
        return Path(self._file) if self._file != STANDARD_INPUT and os.path.isfile(self._file) else None  # noqa: PTH113

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal digits."""
        if self._digest is None:
            with self.opened() as file:
                self._digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digest

    @contextmanager
    def opened(self) -> Iterator[io.BufferedReader]:
        """The bytes from the first one on.

        Raises:
            BadFile: it cannot be read, or has changed since it was opened first.
        """
        try:
            with self._open() as file:
                self._compare(file)
                yield file
                self._compare(file)
        except OSError as error:
            raise BadFile(f"{self.name}: {reason(error)}") from None

    def _open(self) -> io.BufferedReader:
        if self._kept is None:
            standard = self._file == STANDARD_INPUT
            if standard and sys.stdin is None:
                raise BadFile(f"{self.name}: standard input is closed")
            try:  # a Path would lose the name as given
                file = open(0 if standard else self._file, "rb", closefd=not standard)  # noqa: SIM115
            except ValueError:
                raise BadFile(f"{self.name}: no path has a NUL or half a character") from None
            if not standard and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            kept = tempfile.TemporaryFile()  # noqa: SIM115  # closed with this object
            weakref.finalize(self, kept.close)
            with file:
                shutil.copyfileobj(file, kept)
            kept.flush()
            self._kept = kept
        return io.BufferedReader(_Kept(self._kept.fileno()))

    def _compare(self, file: BinaryIO) -> None:
        if self._kept is None:
            now = os.fstat(file.fileno())
            stamp = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
            self._stamp = self._stamp or stamp
            if stamp != self._stamp:
                raise BadFile(f"{self.name}: has changed while it was read")


class _Kept(io.RawIOBase):
    """Reads a file from its start, wherever other readers of it are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = os.fstat(self._descriptor).st_size
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # whatever io hands over to be filled
        room = memoryview(buffer).cast("B")
        found = os.pread(self._descriptor, len(room), self._at)
        room[: len(found)] = found
        self._at += len(found)
        return len(found)
