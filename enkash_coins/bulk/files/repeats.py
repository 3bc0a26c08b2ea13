"""Allocations that say the same: whoever pastes rows twice gives twice."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Final

#: What an allocation without a request id says: company, event and user.
Gift = tuple[str, str, str]

_PARTS: Final = 16


class Repeats:
    """Finds them in two readings of a file, with eight bytes for each row.

    The first reading keeps hashes, in parts that are counted one after another; where two are alike, the second one
    compares the allocations themselves.
    """

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]
        self._doubtful: set[int] = set()
        self._lines: dict[Gift, int] = {}

    def note(self, gifts: Iterable[Gift]) -> None:
        """Keep some of the first reading."""
        parts = self._parts
        for found in map(hash, gifts):
            parts[found % _PARTS].append(found)

    def any(self) -> bool:
        """Whether the second reading has to look for some; ends the first."""
        while self._parts:
            part = self._parts.pop()
            if len(set(part)) < len(part):
                self._doubtful.update(found for found, times in Counter(part).items() if times > 1)
        return bool(self._doubtful)

    def earlier(self, gift: Gift, line: int) -> int | None:
        """The first line of the second reading that says the same, if there is one before this."""
        first = self._lines.setdefault(gift, line) if hash(gift) in self._doubtful else line
        return first if first != line else None
