"""Cells with something between them: CSV, in the dialect that its header tells."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Final

from enkash_coins.bulk.files.columns import Item
from enkash_coins.bulk.files.plain import Plain
from enkash_coins.bulk.files.problems import Unreadable
from enkash_coins.bulk.files.reading import Reading
from enkash_coins.bulk.files.text import blocks

_DELIMITERS: Final = ",;\t|"
_SAID = re.compile(r'\s*"?sep=(.)"?[,;\t|]*\n', re.IGNORECASE)  # a first line for Excel


def items(texts: Iterator[str], reading: Reading) -> Iterator[tuple[int, Item]]:
    """What the rows say, each with its line; a reading that only checks gets none of plain lines.

    Raises:
        BadFile: the header cannot be used.
        Unreadable: it is no CSV.
    """
    every = blocks(texts)
    delimiter = ""
    plain: Plain | None = None
    for line, block in every:
        if block.isspace():
            continue
        if not delimiter:
            delimiter, block = _dialect(line, block, reading)  # noqa: PLW2901  # less what only told the dialect
        if plain is None and reading.columns is not None and reading.purpose != "compare":
            plain = Plain(reading.columns, delimiter, reading.cells)
        if plain is not None and plain.fits(block):
            reading.rows += 1
            if reading.purpose == "make":
                yield from zip(count(line), plain.items(block))
            elif reading.repeats is not None:
                reading.repeats.note(plain.gifts(block))
        else:
            yield from reading.items(_rows(line, block, every, delimiter))


def _dialect(line: int, block: str, reading: Reading) -> tuple[str, str]:
    """What stands between cells, as is said or as most names of the header tell; and the block without that."""
    said = _SAID.match(block)
    if said is None:
        return max(_DELIMITERS, key=lambda by: reading.schema.knows(_header(block, by))), block
    if said[1] not in _DELIMITERS:
        raise Unreadable(f"{said[0].strip()}: cells are to be separated by a comma, a semicolon, a tab or |", line)
    return said[1], "\n" * said[0].count("\n") + block[said.end() :]


def _header(block: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(block, newline="\n"), delimiter=delimiter)
    try:
        return next((cells for cells in reader if any(map(str.strip, cells))), [])
    except csv.Error:
        return []


def _rows(
    first: int, block: str, further: Iterator[tuple[int, str]], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a block, each with the line where it begins; a quoted cell may go on in further blocks."""
    lines = deque(io.StringIO(block, newline="\n"))

    def upcoming() -> Iterator[str]:
        while True:
            if not lines:
                lines.extend(io.StringIO(next(further, (0, ""))[1], newline="\n"))
            if not lines:
                return
            yield lines.popleft()

    reader = csv.reader(upcoming(), delimiter=delimiter, strict=True)
    line = first
    try:
        while lines:
            cells = next(reader)
            yield line, cells
            line = first + reader.line_num
    except csv.Error as error:
        raise Unreadable(_why(str(error)), line) from None


def _why(error: str) -> str:
    if "unexpected end" in error:
        return "has a quote that is never closed"
    if "field limit" in error:
        return f"has a cell longer than {csv.field_size_limit():,} characters: is a quote not closed?"
    return f"is not CSV: {error}"
