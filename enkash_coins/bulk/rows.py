"""What rows are: updates or allocations, every one checked before any is sent."""

import re
import uuid
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Final

import attrs

from enkash_coins.api import endpoints
from enkash_coins.bulk.forms import BadRow, Cells, csv_rows, json_rows, named, quoted
from enkash_coins.bulk.source import STANDARD_INPUT, BadFile, Source, printable
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinAllocation, CoinEventCreation, CoinEventUpdate

Item = CoinEventUpdate | CoinAllocation | CoinEventCreation
#: What a row sets, by the fields' names; of the type that the field has.
Values = dict[str, int | str]

_INTEGER = re.compile(r"-?[0-9]+")
_LONGEST_INTEGER = 20
_SHOWN_PROBLEMS = 10


@attrs.frozen
class Kind:
    """What the rows of a file are: their columns are the fields of what is sent.

    Attributes:
        name: of one row, as it is shown.
        key: the field that names a row.
        item: a row as what is sent.
        check: raises ``InvalidRequest`` for one that cannot be sent; the message begins with the field.
        columns: every accepted spelling of a column, ours and the API's, and the field that it means.
        required: fields that every row has.
    """

    name: str
    key: str
    item: type[Any]
    check: Callable[[Any], object]
    columns: dict[str, str] = attrs.field(init=False)
    required: list[str] = attrs.field(init=False)

    @columns.default
    def _spellings(self) -> dict[str, str]:
        names = [field.name for field in attrs.fields(self.item)]
        return {spelling: name for name in names for spelling in (name, _camel_case(name))}

    @required.default
    def _without_default(self) -> list[str]:
        return [field.name for field in attrs.fields(self.item) if field.default is attrs.NOTHING]


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


UPDATES: Final = Kind("update", "coin_config_id", CoinEventUpdate, endpoints.update)
ALLOCATIONS: Final = Kind("allocation", "request_id", CoinAllocation, partial(endpoints.allocate, replay=False))
CREATIONS: Final = Kind("creation", "", CoinEventCreation, endpoints.create)
KINDS: Final = {kind.name: kind for kind in (UPDATES, ALLOCATIONS, CREATIONS)}


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


def integer(text: str) -> int:
    """An integer in ASCII digits; ``int()`` would also take ``1_0``, ``+1`` and digits of other scripts.

    Raises:
        ValueError: the text is none.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not an integer")
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"{quoted(text)} is not an integer of 64 bits")
    return int(text)


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
            form = _ENDINGS.get(PurePath(source.path).suffix.lower())
            if form is None:
                raise BadFile(f"{source.name}: its name must end in {', '.join(_ENDINGS)}, or --format say what it is")
        self.format = form or (Format.JSONL if source.first_character() in (b"{", b"[") else Format.CSV)

    def __iter__(self) -> Iterator[Row]:
        kind, name = self.kind, self.source.name
        texts = self.format is Format.CSV
        rows, check = (csv_rows, _header_problems) if texts else (json_rows, _column_problems)
        problems: list[str] = []
        count = 0
        try:
            for line, read in rows(self.source, partial(check, kind)):
                count += 1
                try:
                    yield _row(kind, line, read(), texts=texts)
                except BadRow as error:
                    problems.append(f"{name}:{line}: {error}")
                except RecursionError:  # from reading it, or from showing what could just be read
                    problems.append(f"{name}:{line}: is nested too deeply")
        except BadFile as error:  # nothing after it can be read
            problems += error.problems
        if len(problems) > _SHOWN_PROBLEMS:
            more = len(problems) - _SHOWN_PROBLEMS
            problems[_SHOWN_PROBLEMS:] = [f"{name}: and {more:,} problems more"]
        if not problems and not count:
            problems = [f"{name}: is empty"]
        if problems:
            raise BadFile(*problems)


def row_of(item: Item, index: int, kind: Kind) -> Row:
    """An item of a program as a row; raises ``BadFile`` for one that cannot be sent."""
    if type(item) is not kind.item:
        raise BadFile(f"row {index}: is no {kind.item.__name__}")
    try:
        values = attrs.asdict(item, recurse=False, filter=lambda field, value: value is not field.default)
        return _checked(kind, index + 1, values)
    except InvalidRequest as error:
        raise BadFile(f"row {index}: {error}") from None


def _checked(kind: Kind, line: int, values: dict[str, Any]) -> Row:
    given = kind.key in values
    if kind.key:
        values.setdefault(kind.key, str(uuid.uuid4()))
    kind.check(kind.item(**values))
    return Row(line, values.pop(kind.key, ""), values, given)


def _row(kind: Kind, line: int, cells: Cells, *, texts: bool) -> Row:
    """The row that these cells make.

    Args:
        texts: whatever is meant, a cell is a text; an empty one leaves the value as it is.
    """
    values: dict[str, Any] = {}
    for column, cell in cells.items():
        field = kind.columns[column]
        if cell is None:
            raise BadRow(f"column {column}: is null; leave the key out to leave the value as it is")
        if texts and not cell:
            if field in kind.required:
                raise BadRow(f"column {column}: is empty")
            continue
        try:
            values[field] = integer(str(cell)) if texts and field == "amount" else cell
        except ValueError as error:
            raise BadRow(f"column {column}: {error}") from None
    if values.keys() == {kind.key}:
        raise BadRow("sets nothing: all that could be changed is left out")
    try:
        return _checked(kind, line, values)
    except InvalidRequest as error:
        field, _, why = str(error).partition(": ")
        (column,) = (name for name in cells if kind.columns[name] == field)
        raise BadRow(f"column {column}: {why}") from None


def _column_problems(kind: Kind, names: list[str]) -> Iterator[str]:
    """What is wrong with the columns, or keys, of a file."""
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        field = kind.columns.get(name)
        if not name:
            yield f"column {number}: has no name"
        elif field is None:
            yield f"column {named(name)}: is unknown; known are {', '.join(kind.columns)}"
        elif field in seen:
            yield f"column {name}: stands there twice" + (f", also as {seen[field]}" if seen[field] != name else "")
        else:
            seen[field] = name
    for field in kind.required:
        if field not in seen:
            yield f"column {field}: is missing"


def _header_problems(kind: Kind, header: list[str]) -> Iterator[str]:
    yield from _column_problems(kind, header)
    if [kind.columns.get(name) for name in header] == [kind.key] == kind.required:
        others = [field.name for field in attrs.fields(kind.item) if field.name != kind.key]
        yield f"has none of the columns {', '.join(others)}"


class FileRows:
    """The items of a file, with their lines."""

    def __init__(self, path: str, kind: str, form: Format | None = None) -> None:
        self._kind = KINDS[kind]
        self._path, self._form = path, form
        self._kept: list[tuple[int, Item]] = []
        self.name = "stdin" if path == STANDARD_INPUT else printable(path)

    def numbered(self) -> Iterator[tuple[int, Item]]:
        """Lines and items."""
        if self._path == STANDARD_INPUT or not Path(self._path).is_file():
            self._kept = self._kept or list(self._read())
            return iter(self._kept)
        return self._read()

    def _read(self) -> Iterator[tuple[int, Item]]:
        with Source(self._path) as source:
            for row in RowFile(source, self._kind, self._form):
                yield row.line, self._kind.item(**({self._kind.key: row.id} if row.given else {}), **row.wanted)

    def __iter__(self) -> Iterator[Item]:
        return (item for _, item in self.numbered())


def read(path: str, *, kind: str = "update", form: Format | None = None) -> FileRows:
    """The items of a file."""
    return FileRows(path, kind, form)
