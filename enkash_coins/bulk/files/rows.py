"""The rows of a file, as what is sent: all of them are checked before the first is handed on."""

import codecs
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Generic, TypedDict, TypeVar, Unpack, cast, overload

import attrs

from enkash_coins.bulk.files.cells import GROUPING, Cells
from enkash_coins.bulk.files.columns import Item, Schema
from enkash_coins.bulk.files.forms import Form, form_of
from enkash_coins.bulk.files.problems import BadFile, Problems, Unreadable, problems_of
from enkash_coins.bulk.files.reading import Purpose, Reading
from enkash_coins.bulk.files.repeats import Repeats
from enkash_coins.bulk.files.source import Source
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinAllocation, CoinEventUpdate

T = TypeVar("T", bound=Item)


@attrs.frozen(eq=False)
class Rows(Generic[T]):
    """The rows of a file, as ``read`` makes them; to be iterated as often as it takes.

    Nothing is handed on before the whole file was checked, so that nothing of a bad file is sent.
    """

    _source: Source
    _schema: Schema
    _cells: Cells
    _sheet: str | None
    _encoding: str | None
    _allow_repeats: bool

    @property
    def name(self) -> str:
        """The file's name, as it is shown."""
        return self._source.name

    @property
    def path(self) -> Path | None:
        """Where the file is; ``None`` for standard input and pipes, whose names tell nothing."""
        return self._source.path

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal digits; raises ``BadFile`` if they cannot be read."""
        return self._source.digest

    def __iter__(self) -> Iterator[T]:
        return map(itemgetter(1), self.numbered())

    def numbered(self) -> Iterator[tuple[int, T]]:
        """Each row with the line where it begins; the rows of a Parquet file are numbered from 1.

        Raises:
            BadFile: before the first row, with a line for each problem of the file.
        """
        cells = attrs.evolve(self._cells, widths={})
        with self._source.opened() as file:
            with problems_of(self.name):
                form = form_of(file, sheet=self._sheet, encoding=self._encoding)
            name = self.name if form.sheet is None else f"{self.name}:{form.sheet}"
            self._check(form, cells, name)
            with problems_of(name) as problems:
                last = Reading(self._schema, cells, problems, typed=form.typed, purpose="make")
                yield from cast("Iterator[tuple[int, T]]", form.items(last))

    def _check(self, form: Form, cells: Cells, name: str) -> None:
        repeats = Repeats() if self._schema.kind is CoinAllocation and not self._allow_repeats else None

        def reading(purpose: Purpose) -> Reading:
            found = Reading(self._schema, cells, Problems(name), typed=form.typed, repeats=repeats, purpose=purpose)
            try:
                deque(form.items(found), maxlen=0)
            except Unreadable as error:
                found.problems.add(error.why, error.line)
            return found

        found = reading("check")
        if cells.widths or (repeats is not None and repeats.any()):
            found = reading("compare")
        found.problems.refuse()
        if not found.rows:
            raise BadFile(f"{name}: is empty" if found.columns is None else f"{name}: has a header, but no rows")


class _Options(TypedDict, total=False):
    sheet: str | None
    encoding: str | None
    columns: Mapping[str, str]
    ignore: Collection[str]
    thousands: str | None
    allow_negative: bool
    allow_repeats: bool


@overload
def read(path: str | os.PathLike[str], **options: Unpack[_Options]) -> Rows[CoinEventUpdate]: ...
@overload
def read(path: str | os.PathLike[str], kind: type[T], **options: Unpack[_Options]) -> Rows[T]: ...
def read(
    path: str | os.PathLike[str],
    kind: type[T] | type[CoinEventUpdate] = CoinEventUpdate,
    *,
    sheet: str | None = None,
    encoding: str | None = None,
    columns: Mapping[str, str] | None = None,
    ignore: Collection[str] = (),
    thousands: str | None = None,
    allow_negative: bool = False,
    allow_repeats: bool = False,
) -> Rows[T] | Rows[CoinEventUpdate]:
    """The rows of a file: CSV, JSON Lines, a JSON array, Excel, OpenDocument or Parquet, told by what is in it.

    Args:
        path: of the file, or ``-`` for standard input; it is opened when its rows are iterated.
        kind: what a row is.
        sheet: which one of a spreadsheet; else the first that is not hidden.
        encoding: of a text that has no mark of its own; UTF-8 unless said.
        columns: names of fields that are called otherwise in the file: ``{"amount": "New coins"}``.
        ignore: names of columns that are left out; ``("*",)`` leaves out all that are not known.
        thousands: what groups the digits of amounts: ``,`` or ``.`` or ``'`` or ``_`` or a blank.
        allow_negative: amounts may be below zero.
        allow_repeats: allocations without a request id may be alike in all.

    Raises:
        InvalidRequest: an option means nothing.
    """
    if thousands is not None and thousands not in GROUPING:
        raise InvalidRequest(f"thousands: {shown(thousands)} is none of {' '.join(map(repr, GROUPING))}")
    if encoding is not None and not _is_encoding(encoding):
        raise InvalidRequest(f"encoding: {shown(encoding)} is none that Python knows")
    if isinstance(ignore, str):
        raise InvalidRequest("ignore: is to be names, not one text")
    cells = Cells(thousands, allow_negative)
    return Rows(
        Source(path), Schema(cast("type[Item]", kind), columns or {}, ignore), cells, sheet, encoding, allow_repeats
    )


def _is_encoding(name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)
        "".encode(name)  # "hex" is a codec, but of no text
    except (LookupError, ValueError):
        return False
    return True
