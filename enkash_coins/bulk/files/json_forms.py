"""JSON Lines, or one array: objects, each with the line where it begins."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from enkash_coins.bulk.files.problems import BadRow, Row, Unreadable, named
from enkash_coins.bulk.files.text import LONGEST_LINE, blocks

_NO_SPACE: Final = re.compile(r"[^ \t\n]")
# What may stand between the objects of an array, and what is expected after it.
_MARKS: Final = {"start": "[", "first": "]", "value": "", "next": ",]", "end": ""}
_PLACES: Final = {"start": "where it begins", "next": "behind an object", "end": "behind its end"}
_AFTER: Final = {"[": "first", ",": "value", "]": "end"}


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object] | BadRow:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    return BadRow(f"column {named(max(names, key=names.count))}: stands there twice")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_distinct)


def lines(texts: Iterator[str]) -> Iterator[tuple[int, Row]]:
    """What each line that is not blank holds; a ``BadRow`` where that is no JSON."""
    for first, block in blocks(texts):
        for line, text in enumerate(block.split("\n"), first):
            if text and not text.isspace():
                yield line, _read(text)


def _read(text: str) -> Row:
    try:
        return _object(_DECODER.decode(text))
    except json.JSONDecodeError as error:
        return BadRow(f"is not JSON: {error.msg} (character {error.colno})")
    except (RecursionError, ValueError) as error:
        return BadRow(_beyond(error))


def elements(texts: Iterator[str]) -> Iterator[tuple[int, Row]]:
    """What an array holds, without ever holding all of it; raises ``Unreadable`` where it is no JSON."""
    text, line, expected = "", 1, "start"
    for piece in chain(texts, ("",)):
        text += piece
        at = 0
        while found := _NO_SPACE.search(text, at):
            start, mark = found.start(), found[0]
            line += text.count("\n", at, start)
            if mark in _MARKS[expected]:
                at, expected = start + 1, _AFTER[mark]
                continue
            if expected not in ("first", "value"):
                raise Unreadable(f"is not a JSON array: {mark!a} stands {_PLACES[expected]}", line)
            try:
                row, at = _DECODER.raw_decode(text, start)
            except json.JSONDecodeError as error:
                at = start
                if piece and len(text) - start < LONGEST_LINE:
                    break  # it may go on
                raise Unreadable(f"is not JSON: {error.msg}", line) from None
            except (RecursionError, ValueError) as error:
                raise Unreadable(_beyond(error), line) from None
            yield line, _object(row)
            line += text.count("\n", start, at)
            expected = "next"
        text = text[at:]
    if expected != "end":
        raise Unreadable("the array is not closed: is the file cut off?", line)


def _object(found: object) -> dict[str, object] | BadRow:
    return found if isinstance(found, dict | BadRow) else BadRow("is not an object")


def _beyond(error: Exception) -> str:
    """Python reads integers of up to 4,300 digits."""
    return "is nested too deeply" if isinstance(error, RecursionError) else "has an integer of more than 64 bits"
