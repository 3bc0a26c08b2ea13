"""Update files: CSV or JSON Lines, checked as a whole before the first row is sent, then read again row by row."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import Final

import attrs

from enkash_coins.bulk.source import BadFile, ChangedFile, Source
from enkash_coins.endpoints import check_update
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinEventUpdate

# Every accepted spelling of a column, and the field that it means.
_FIELDS: Final = {
    "coin_config_id": "coin_config_id",
    "coinConfigId": "coin_config_id",
    "amount": "amount",
    "configuration": "configuration",
    "company_id": "company_id",
    "companyId": "company_id",
    "event": "event",
}
_CHANGES = ("amount", "configuration", "company_id", "event")
#: What a file of rows that were not applied has besides; ignored when it is applied again.
REMARKS: Final = ("outcome", "reason")
_INTEGER = re.compile(r"-?[0-9]+")
_LONGEST_INTEGER = 20
_SHOWN_PROBLEMS = 10


class Format(StrEnum):
    """How rows are written in a file."""

    CSV = "csv"
    JSONL = "jsonl"


_ENDINGS: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}


@attrs.frozen
class Row:
    """One row of a file.

    Attributes:
        line: where it begins, from 1.
        update: what it asks for.
        source: its values as they stand in the file, by column; without remarks.
    """

    line: int
    update: CoinEventUpdate
    source: Mapping[str, object]


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


class UpdateFile:
    """An update file that was checked: iterating it reads the rows once more.

    Args:
        source: closed by whoever opened it.
        kind: the format; ``None``: as the name says, or, for what has no name, as its first character does.

    Attributes:
        count: how many rows there are.
        ids: how many configurations they are about.

    Raises:
        BadFile: with a line for each problem; from iteration ``ChangedFile``.
    """

    def __init__(self, source: Source, kind: Format | None = None) -> None:
        self.source = source
        if kind is None and source.path is not None:
            kind = format_of(source.path)
            if kind is None:
                raise BadFile(f"{source.name}: its name must end in {', '.join(_ENDINGS)}, or --format say what it is")
        self.format = kind or (Format.JSONL if source.first_character() in ("{", "[") else Format.CSV)
        self._header: list[str] = []
        self.count = 0
        self.ids = 0
        self._check()

    def _check(self) -> None:
        problems: list[str] = []
        more = 0
        ids = set()
        try:
            for found in self._rows():
                if isinstance(found, Row):
                    self.count += 1
                    ids.add(found.update.coin_config_id)
                elif len(problems) < _SHOWN_PROBLEMS:
                    problems.append(found)
                else:
                    more += 1
        except BadFile as error:  # nothing after it can be read
            problems += error.problems
        if problems:
            raise BadFile(*problems, *([f"{self.source.name}: and {more:,} problems more"] if more else []))
        if not self.count:
            raise BadFile(f"{self.source.name}: {'has a header, but no rows' if self._header else 'is empty'}")
        self.source.refuse_changes()
        self.ids = len(ids)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of a CSV file, as its header has them; without remarks."""
        return tuple(name for name in self._header if name not in REMARKS)

    def __iter__(self) -> Iterator[Row]:
        for found in self._rows():
            self.source.refuse_changes()  # 1 µs a row; what was read before is from the file that was checked
            if not isinstance(found, Row):  # pragma: no cover  # the same bytes made a row before
                raise ChangedFile(found)
            yield found

    def _rows(self) -> Iterator[Row | str]:
        """Every row, or its problem."""
        for line, found in self._csv() if self.format is Format.CSV else self._json():
            try:
                source = self._by_column(found)
                yield Row(line, _update(source, self.format), source)
            except _BadRow as error:
                yield f"{self.source.name}:{line}: {error}"
            except RecursionError:  # from reading it, or from showing what could just be read
                yield f"{self.source.name}:{line}: is nested too deeply"

    def _by_column(self, found: list[str] | str) -> dict[str, object]:
        if isinstance(found, str):
            return _json_row(found)
        if len(found) != len(self._header):
            raise _BadRow(f"has {len(found)} cells, but the header has {len(self._header)}")
        return {name: cell for name, cell in zip(self._header, found, strict=True) if name not in REMARKS}

    def _csv(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.source.lines(), strict=True)
        self._header = []
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
        problems = list(_column_problems(header))
        if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
            problems = ["columns are to be separated by commas"]
        elif not problems and not any(_FIELDS.get(name) in _CHANGES for name in header):
            problems = [f"has none of the columns {', '.join(_CHANGES)}"]
        if problems:
            raise BadFile(*(f"{self.source.name}:{line}: {problem}" for problem in problems))
        return header


def _column_problems(names: list[str]) -> Iterator[str]:
    """What is wrong with the columns, or keys, of a file."""
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        field = name if name in REMARKS else _FIELDS.get(name)
        if not name:
            yield f"column {number}: has no name"
        elif field is None:
            yield f"column {_named(name)}: is unknown; known are {', '.join(_FIELDS)}"
        elif field in seen:
            yield f"column {name}: stands there twice" + (f", also as {seen[field]}" if seen[field] != name else "")
        else:
            seen[field] = name
    if "coin_config_id" not in seen:
        yield "column coin_config_id: is missing"


def _csv_problem(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "has a quote that is never closed"
    if "field limit" in text:
        return f"has a cell longer than {csv.field_size_limit():,} characters: is a quote not closed?"
    if "new-line" in text:
        return "has a carriage return inside: lines are to end in \\n or \\r\\n"
    return f"is not CSV: {text}"


def _json_row(text: str) -> dict[str, object]:
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
    for problem in _column_problems(list(found)):
        raise _BadRow(problem)
    return {key: value for key, value in found.items() if key not in REMARKS}


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _BadRow(f"column {_named(max(names, key=names.count))}: stands there twice")
    return found


def _update(source: Mapping[str, object], kind: Format) -> CoinEventUpdate:
    """The update that these values mean; raises ``_BadRow``."""
    values: dict[str, object] = {}
    spelled = {}
    for column, value in source.items():
        field = _FIELDS[column]
        spelled[field] = column
        if value is None:
            raise _BadRow(f"column {column}: is null; leave the key out to leave the value as it is")
        if kind is Format.JSONL:
            values[field] = value
        elif text := str(value).strip():
            try:
                values[field] = integer(text) if field == "amount" else text
            except ValueError as error:
                raise _BadRow(f"column {column}: {error}") from None
        elif field == "coin_config_id":
            raise _BadRow(f"column {column}: is empty")
    if values.keys() == {"coin_config_id"}:
        raise _BadRow("sets nothing: all that could be changed is left out")
    update = CoinEventUpdate(**values)  # type: ignore[arg-type]  # the check below finds wrong types
    try:
        check_update(update)
    except InvalidRequest as error:
        field, _, why = str(error).partition(": ")
        raise _BadRow(f"column {spelled[field]}: {why}") from None
    return update


def _named(column: str) -> str:
    return column if column.isidentifier() else _shown(column)


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
