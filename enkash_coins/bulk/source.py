"""The text of a row file, read as often as need be: from a regular file itself, from anything else by way of a copy."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

STANDARD_INPUT: Final = "-"
_LONGEST_LINE = 2**20
_BOM = b"\xef\xbb\xbf"


class BadFile(Exception):
    """A file that cannot be applied; ``problems`` has one line for each of the first ten problems."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ChangedFile(BadFile):
    """The file is no longer the one that was checked."""


class Source:
    """An open file whose lines can be read again, and which tells when it was changed.

    Args:
        file: a path, or ``-`` for standard input. Pipes are copied, because they can be read but once.
    """

    def __init__(self, file: str) -> None:
        self.path = None if file == STANDARD_INPUT else file
        self.name = "stdin" if self.path is None else file if file.isprintable() else repr(file)
        try:
            self._file = _opened(self.path)
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file = _copied(self._file)
                self.path = None
            self._checked = self._state()
        except OSError as error:
            raise BadFile(f"{self.name}: {reason(error)}") from None

    def lines(self) -> Iterator[str]:
        """All lines with their ends, from the first; raises ``BadFile`` at one that is not text."""
        number = 0
        try:
            self._file.seek(0)
            while line := self._file.readline(_LONGEST_LINE + 1):
                number += 1
                yield self._text(line.removeprefix(_BOM) if number == 1 else line, number)
        except OSError as error:
            raise BadFile(f"{self.name}:{number + 1}: {reason(error)}") from None

    def _text(self, line: bytes, number: int) -> str:
        where = f"{self.name}:{number}"
        if b"\0" in line:
            raise BadFile(f"{where}: has a NUL byte: is this a text file in UTF-8?")
        if len(line) > _LONGEST_LINE:
            raise BadFile(f"{where}: the line is longer than {_LONGEST_LINE:,} bytes")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise BadFile(f"{where}: is not UTF-8 (byte {error.start + 1} of the line)") from None

    def first_character(self) -> str:
        """The first that is not blank, or nothing."""
        return next((text[0] for line in self.lines() if (text := line.strip())), "")

    def refuse_changes(self, *, by_name: bool = False) -> None:
        """Raises ``ChangedFile`` if the file was written to since it was opened.

        Args:
            by_name: also if another file has taken its name, as editors do when they save.
        """
        changed = self._state() != self._checked
        if by_name and self.path is not None and not changed:
            try:
                changed = not os.path.samestat(Path(self.path).stat(), os.fstat(self._file.fileno()))
            except OSError:
                changed = True
        if changed:
            raise ChangedFile(f"{self.name}: was changed after it had been checked")

    def _state(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def reason(error: OSError) -> str:
    """Why the operating system refused, without the path and the number."""
    return (error.strerror or str(error)).lower()


def _opened(path: str | None) -> BinaryIO:
    if path is not None:
        return open(path, "rb")  # noqa: PTH123  # a Path would lose the name as given; Source closes it
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer


def _copied(pipe: BinaryIO) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # Source closes it
    with pipe:
        shutil.copyfileobj(pipe, copy)
    copy.flush()
    return copy
