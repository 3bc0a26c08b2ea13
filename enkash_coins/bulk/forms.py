"""How rows are written: CSV or JSON Lines, read as cells by column."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from enkash_coins.bulk.source import BadFile, Source

_LONGEST_SHOWN = 80

Cells = dict[str, object]
#: Tells what is wrong with the columns of a file, or with the keys of a row.
Check = Callable[[list[str]], Iterable[str]]
#: The lines where rows begin, each with the function that reads its row; that raises ``BadRow``.
Unread = Iterator[tuple[int, Callable[[], Cells]]]


class BadRow(Exception):
    """Why a row cannot be sent."""


def csv_rows(source: Source, check: Check) -> Unread:
    """The rows after the header, their cells as text; raises ``BadFile`` where no more can be read."""
    reader = csv.reader(source.lines(), strict=True)
    header: list[str] = []
    line = rows = 1
    try:
        for cells in reader:
            if not cells:  # an empty line
                pass
            elif header:
                rows += 1
                yield line, partial(_by_column, header, cells)
            else:
                header = [cell.strip() for cell in cells]
                problems = list(check(header))
                if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
                    problems = ["columns are to be separated by commas"]
                if problems:
                    raise BadFile(*(f"{source.name}:{line}: {problem}" for problem in problems))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(f"{source.name}:{line}: {_csv_problem(error)}") from None
    if header and rows == 1:
        raise BadFile(f"{source.name}: has a header, but no rows")


def _by_column(header: list[str], cells: list[str]) -> Cells:
    if len(cells) != len(header):
        raise BadRow(f"has {len(cells)} cells, but the header has {len(header)}")
    return {column: cell.strip() for column, cell in zip(header, cells, strict=True)}


def _csv_problem(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "has a quote that is never closed"
    if "field limit" in text:
        return f"has a cell longer than {csv.field_size_limit():,} characters: is a quote not closed?"
    if "new-line" in text:
        return "has a carriage return inside: lines are to end in \\n or \\r\\n"
    return f"is not CSV: {text}"


def json_rows(source: Source, check: Check) -> Unread:
    """One object a line, its values of whatever type; raises ``BadFile`` where no more can be read."""
    return ((line, partial(_object, text, check)) for line, text in enumerate(source.lines(), 1) if text.strip())


def _object(text: str, check: Check) -> Cells:
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise BadRow(f"is not JSON: {error.msg} (character {error.colno})") from None
    except ValueError:  # int() stops at 4,300 digits
        raise BadRow("has an integer of more than 64 bits") from None
    if not isinstance(found, dict):
        raise BadRow("is not an object: in JSON Lines, every line is one")
    for problem in check(list(found)):
        raise BadRow(problem)
    return found


def _distinct(pairs: list[tuple[str, object]]) -> Cells:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadRow(f"column {named(max(names, key=names.count))}: stands there twice")
    return found


def named(column: str) -> str:
    """A column's name as it may be shown."""
    return column if column.isidentifier() and len(column) <= _LONGEST_SHOWN else quoted(column)


def quoted(text: str) -> str:
    """A cell as it may be shown: what is no character of a text is escaped, and what is long is cut."""
    shown = repr(text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 1]}…"
