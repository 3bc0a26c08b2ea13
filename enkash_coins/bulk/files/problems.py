"""What is wrong with a file, told one line for each problem."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from enkash_coins.display import shown

_SHOWN: Final = 20


class BadFile(Exception):
    """A file that cannot be used.

    Attributes:
        problems: one line for each of the first twenty, and a line that counts the others.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class BadRow(Exception):
    """Why a row cannot be used; has an argument for each reason."""


#: The cells of a header or of a row below one, or an object, or why a row is neither.
Row = Sequence[object] | Mapping[str, object] | BadRow


class Unreadable(Exception):
    """Why a file, or what follows a line of it, cannot be read.

    Attributes:
        why: as it is told.
        line: the line, or 0.
    """

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why, line)
        self.why = why
        self.line = line


class Problems:
    """What is wrong with one file: its first problems, and the number of the others.

    Args:
        name: of the file, and of its sheet, as it is shown.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._first: list[str] = []
        self._more = 0

    def add(self, why: str, line: int = 0) -> None:
        """One more, of the row that begins on this line; 0: of the whole file."""
        if len(self._first) < _SHOWN:
            self._first.append(f"{self._name}:{line}: {why}" if line else f"{self._name}: {why}")
        else:
            self._more += 1

    def refuse(self) -> None:
        """Raise ``BadFile`` if there are any."""
        if self._first:
            more = [f"{self._name}: and {self._more:,} more problems"] if self._more else []
            raise BadFile(*self._first, *more)


@contextmanager
def problems_of(name: str) -> Iterator[Problems]:
    """Problems that are refused at the end, what is ``Unreadable`` among them."""
    problems = Problems(name)
    try:
        yield problems
    except Unreadable as error:
        problems.add(error.why, error.line)
    problems.refuse()


def named(column: str) -> str:
    """A column's name as it is shown."""
    plain = column.isascii() and column.isprintable() and column == column.strip() and 0 < len(column) <= 60
    return column if plain else shown(column)


def printable(path: str) -> str:
    """A path as it may be shown."""
    return path if path.isprintable() else repr(path)


def reason(error: OSError) -> str:
    """Why the operating system refused, without the path and the number."""
    return (error.strerror or str(error)).lower()
