"""Row files: CSV or JSON Lines of updates or allocations, every row checked before any is sent."""

import csv
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Final

import attrs

from enkash_coins import endpoints
from enkash_coins.bulk.source import BadFile, Source
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import UNSET, CoinAllocation, CoinEventUpdate

Item = CoinEventUpdate | CoinAllocation
#: What a row sets, by the fields' names; of the type that the field has.
Values = dict[str, int | str]

_INTEGER = re.compile(r"-?[0-9]+")
_LONGEST_INTEGER = 20
_LONGEST_SHOWN = 80
_SHOWN_PROBLEMS = 10


@attrs.frozen
class Kind:
    """What the rows of a file are, as data.

    Attributes:
        name: of one row, as it is shown.
        key: the field that names a row.
        columns: every accepted spelling of a column, and the field that it means.
        required: fields that every row has.
        any_of: fields of which every row has at least one.
        item: a row as what is sent.
        check: raises ``InvalidRequest`` for one that cannot be sent; the message begins with the field.
    """

    name: str
    key: str
    columns: Mapping[str, str]
    required: tuple[str, ...]
    any_of: tuple[str, ...]
    item: type[Any]
    check: Callable[[Any], object]


def _spelled(**spellings: str) -> dict[str, str]:
    """Each field under its own name and, if it has one, the API's."""
    return {spelling: field for field, other in spellings.items() for spelling in (field, other)}


UPDATES: Final = Kind(
    "update",
    "coin_config_id",
    _spelled(
        coin_config_id="coinConfigId",
        amount="amount",
        configuration="configuration",
        company_id="companyId",
        event="event",
    ),
    ("coin_config_id",),
    ("amount", "configuration", "company_id", "event"),
    CoinEventUpdate,
    endpoints.check_update,
)
ALLOCATIONS: Final = Kind(
    "allocation",
    "request_id",
    _spelled(company_id="companyId", event="event", user_id="userId", request_id="requestId"),
    ("company_id", "event", "user_id"),
    (),
    CoinAllocation,
    lambda allocation: endpoints.allocate(allocation, replay=False),
)
KINDS: Final = {kind.name: kind for kind in (UPDATES, ALLOCATIONS)}


class Format(StrEnum):
    """How rows are written in a file."""

    CSV = "csv"
    JSONL = "jsonl"


_ENDINGS: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}


@attrs.frozen
class Row:
    """One row that can be sent.

    Attributes:
        line: where it begins, from 1.
        id: which configuration, or the allocation's own id.
        wanted: what else it says.
        given: whether its id was given, and not made here.
    """

    line: int
    id: str
    wanted: Values
    given: bool = True


class _BadRow(ValueError):
    """Why a row cannot be sent."""


def integer(text: str) -> int:
    """An integer in ASCII digits; ``int()`` would also take ``1_0``, ``+1`` and digits of other scripts.

    Raises:
        ValueError: the text is none.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not an integer")
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"{_shown(text)} is not an integer of 64 bits")
    return int(text)


def format_of(path: str) -> Format | None:
    """The format that a file's name tells, if it does."""
    return _ENDINGS.get(PurePath(path).suffix.lower())


class RowFile:
    """The rows of a file, to be iterated once.

    Args:
        source: closed by whoever opened it.
        kind: what its rows are.
        form: how they are written; ``None``: as the name says, or, for what has no name, as its first character does.

    Raises:
        BadFile: with a line for each problem; from iteration after the last row, so that all of them are found.
    """

    def __init__(self, source: Source, kind: Kind, form: Format | None = None) -> None:
        self.source = source
        self.kind = kind
        if form is None and source.path is not None:
            form = format_of(source.path)
            if form is None:
                raise BadFile(f"{source.name}: its name must end in {', '.join(_ENDINGS)}, or --format say what it is")
        self.format = form or (Format.JSONL if source.first_character() in (b"{", b"[") else Format.CSV)
        self._header: list[str] = []

    def __iter__(self) -> Iterator[Row]:
        problems: list[str] = []
        count = 0
        try:
            for line, found in self._csv() if self.format is Format.CSV else self._json():
                count += 1
                try:
                    yield self._row(line, found)
                except _BadRow as error:
                    problems.append(f"{self.source.name}:{line}: {error}")
                except RecursionError:  # from reading it, or from showing what could just be read
                    problems.append(f"{self.source.name}:{line}: is nested too deeply")
        except BadFile as error:  # nothing after it can be read
            problems += error.problems
        if len(problems) > _SHOWN_PROBLEMS:
            more = len(problems) - _SHOWN_PROBLEMS
            problems[_SHOWN_PROBLEMS:] = [f"{self.source.name}: and {more:,} problems more"]
        if not problems and not count:
            problems = [f"{self.source.name}: {'has a header, but no rows' if self._header else 'is empty'}"]
        if problems:
            raise BadFile(*problems)

    def _csv(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.source.lines(), strict=True)
        line = 1
        try:
            for cells in reader:
                if cells and self._header:  # csv makes no cells of an empty line
                    yield line, cells
                elif cells:
                    self._header = self._checked_header(cells, line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadFile(f"{self.source.name}:{line}: {_csv_problem(error)}") from None

    def _json(self) -> Iterator[tuple[int, str]]:
        return ((line, text) for line, text in enumerate(self.source.lines(), 1) if text.strip())

    def _checked_header(self, cells: list[str], line: int) -> list[str]:
        header = [cell.strip() for cell in cells]
        problems = list(_column_problems(header, self.kind))
        if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
            problems = ["columns are to be separated by commas"]
        elif (
            not problems
            and self.kind.any_of
            and not any(self.kind.columns[name] in self.kind.any_of for name in header)
        ):
            problems = [f"has none of the columns {', '.join(self.kind.any_of)}"]
        if problems:
            raise BadFile(*(f"{self.source.name}:{line}: {problem}" for problem in problems))
        return header

    def _row(self, line: int, found: list[str] | str) -> Row:
        kind = self.kind
        if isinstance(found, str):
            cells: Mapping[str, object] = _json_row(found, kind)
        elif len(found) != len(self._header):
            raise _BadRow(f"has {len(found)} cells, but the header has {len(self._header)}")
        else:
            cells = dict(zip(self._header, found, strict=True))
        values: dict[str, Any] = {}
        for column, cell in cells.items():
            value = _cell(column, cell, kind) if self.format is Format.CSV else cell
            if value is not None:
                values[kind.columns[column]] = value
            elif cell is None:
                raise _BadRow(f"column {column}: is null; leave the key out to leave the value as it is")
            elif kind.columns[column] in kind.required:
                raise _BadRow(f"column {column}: is empty")
        if kind.any_of and values.keys() == {kind.key}:
            raise _BadRow("sets nothing: all that could be changed is left out")
        given = kind.key in values
        values.setdefault(kind.key, str(uuid.uuid4()))
        try:
            kind.check(kind.item(**values))
        except InvalidRequest as error:
            field, _, why = str(error).partition(": ")
            (column,) = (name for name in cells if kind.columns[name] == field)
            raise _BadRow(f"column {column}: {why}") from None
        return Row(line, values.pop(kind.key), values, given)


def row_of(item: Item, index: int, kind: Kind) -> Row:
    """An item of a program as a row; raises ``BadFile`` for one that cannot be sent."""
    if type(item) is not kind.item:
        raise BadFile(f"row {index}: is no {kind.item.__name__}")
    fields = ((field.name, getattr(item, field.name)) for field in attrs.fields(type(item)))
    values = {name: value for name, value in fields if value is not UNSET and value is not None}
    given = kind.key in values
    values.setdefault(kind.key, str(uuid.uuid4()))
    try:
        kind.check(kind.item(**values))
    except InvalidRequest as error:
        raise BadFile(f"row {index}: {error}") from None
    return Row(index + 1, values.pop(kind.key), values, given)


def _cell(column: str, cell: object, kind: Kind) -> int | str | None:
    text = str(cell).strip()
    if not text:
        return None
    try:
        return integer(text) if kind.columns[column] == "amount" else text
    except ValueError as error:
        raise _BadRow(f"column {column}: {error}") from None


def _column_problems(names: list[str], kind: Kind) -> Iterator[str]:
    """What is wrong with the columns, or keys, of a file."""
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        field = kind.columns.get(name)
        if not name:
            yield f"column {number}: has no name"
        elif field is None:
            yield f"column {_named(name)}: is unknown; known are {', '.join(kind.columns)}"
        elif field in seen:
            yield f"column {name}: stands there twice" + (f", also as {seen[field]}" if seen[field] != name else "")
        else:
            seen[field] = name
    for field in kind.required:
        if field not in seen:
            yield f"column {field}: is missing"


def _csv_problem(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "has a quote that is never closed"
    if "field limit" in text:
        return f"has a cell longer than {csv.field_size_limit():,} characters: is a quote not closed?"
    if "new-line" in text:
        return "has a carriage return inside: lines are to end in \\n or \\r\\n"
    return f"is not CSV: {text}"


def _json_row(text: str, kind: Kind) -> dict[str, object]:
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise _BadRow(f"is not JSON: {error.msg} (character {error.colno})") from None
    except ValueError as error:
        if isinstance(error, _BadRow):
            raise
        raise _BadRow("has an integer of more than 64 bits") from None  # int() stops at 4,300 digits
    if not isinstance(found, dict):
        raise _BadRow("is not an object: in JSON Lines, every line is one")
    for problem in _column_problems(list(found), kind):
        raise _BadRow(problem)
    return found


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _BadRow(f"column {_named(max(names, key=names.count))}: stands there twice")
    return found


def _named(column: str) -> str:
    return column if column.isidentifier() and len(column) <= _LONGEST_SHOWN else _shown(column)


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 1]}…"
