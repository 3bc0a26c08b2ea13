"""The text of a row file, or of standard input, line by line."""

import os
import stat
import sys
from collections.abc import Iterator
from typing import Final, Self

STANDARD_INPUT: Final = "-"
_LONGEST_LINE = 2**20
_BOM = b"\xef\xbb\xbf"


class BadFile(Exception):
    """A file that cannot be used; ``problems`` has one line for each of the first ten problems."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Source:
    """An open file that is read once, from its first line to its last.

    Args:
        file: a path, or ``-`` for standard input.

    Attributes:
        path: ``None`` for what has no name that says anything: standard input and pipes.
    """

    def __init__(self, file: str) -> None:
        self.path = None if file == STANDARD_INPUT else file
        self.name = "stdin" if self.path is None else printable(file)
        self._begun: list[bytes] = []  # lines that were read to tell the format
        if self.path is None and sys.stdin is None:
            raise BadFile(f"{self.name}: standard input is closed")
        try:
            # A Path would lose the name as given; __exit__ closes it.
            self._file = sys.stdin.buffer if self.path is None else open(file, "rb")  # noqa: PTH123, SIM115  # see above
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self.path = None  # a pipe: its name tells nothing
        except OSError as error:
            raise BadFile(f"{self.name}: {reason(error)}") from None

    def lines(self) -> Iterator[str]:
        """All lines with their ends; raises ``BadFile`` at one that is not text."""
        for number, line in enumerate(self._lines(), 1):
            yield self._text(line.removeprefix(_BOM) if number == 1 else line, number)

    def _lines(self) -> Iterator[bytes]:
        yield from self._begun
        number = len(self._begun)
        try:
            while line := self._file.readline(_LONGEST_LINE + 1):
                number += 1
                yield line
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

    def first_character(self) -> bytes:
        """The first that is not blank, or nothing; before anything else is read."""
        for line in self._lines():
            self._begun.append(line)
            if text := line.removeprefix(_BOM).strip():
                return text[:1]
        return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def printable(path: str) -> str:
    """A path as it may be shown."""
    return path if path.isprintable() else repr(path)


def reason(error: OSError) -> str:
    """Why the operating system refused, without the path and the number."""
    return (error.strerror or str(error)).lower()
