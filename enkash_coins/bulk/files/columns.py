"""Which column of a file is which field of what is sent."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import attrs

from enkash_coins.bulk.files.cells import BadCell, Cells, is_empty
from enkash_coins.bulk.files.problems import BadRow, named
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinAllocation, CoinEventCreation, CoinEventUpdate

Item = CoinEventUpdate | CoinAllocation | CoinEventCreation
_OTHERS: Final = "*"
_LEFT_OUT: Final = dict.fromkeys(map(ord, " _-\t\n\r\u00a0\ufeff"))


def normal(name: str) -> str:
    """A name without what people write differently: case, blanks, ``_`` and ``-``."""
    return name.translate(_LEFT_OUT).casefold()


@attrs.frozen
class Column:
    """One that is read: where it stands, what it is called there, and the field that it fills."""

    at: int
    name: str
    field: str


class Columns:
    """The columns of a file, or the keys of an object.

    Attributes:
        used: those that are read.
        unnamed: where one has no name, and so must be empty.
        count: of all.
    """

    def __init__(self, schema: "Schema", used: Sequence[Column], unnamed: Sequence[int], count: int) -> None:
        self.schema = schema
        self.used = used
        self.unnamed = unnamed
        self.count = count
        self._names = [(column.at, {normal(column.name), normal(column.field)}) for column in used]

    def item(self, row: Sequence[object], cells: Cells, *, typed: bool) -> Item:
        """What a row says; raises ``BadRow`` with all that is wrong with it."""
        if len(row) != self.count:
            raise BadRow(f"has {len(row)} cells, but the header has {self.count}")
        if all(isinstance(row[at], str) and normal(str(row[at])) in names for at, names in self._names):
            raise BadRow("is the header once more")
        values: dict[str, Any] = {}
        wrong = [
            f"column {at + 1}: {shown(row[at])} has no name above it" for at in self.unnamed if not is_empty(row[at])
        ]
        for column in self.used:
            try:
                value = cells.value(column.field, row[column.at], typed=typed)
            except BadCell as error:
                wrong.append(f"column {named(column.name)}: {error}")
                continue
            if value is not None:
                values[column.field] = value
            elif column.field in self.schema.required:
                wrong.append(f"column {named(column.name)}: is empty")
        if not wrong and not self.schema.says_something(values):
            wrong.append("sets nothing: all that it could change is empty")
        if wrong:
            raise BadRow(*wrong)
        item: Item = self.schema.kind(**values)
        return item


class Schema:
    """What columns there may be.

    Args:
        kind: what a row is; its fields are the columns.
        columns: names of fields that are called otherwise in the file.
        ignore: names of columns that are left out; ``*``: all that are not known.

    Raises:
        InvalidRequest: ``columns`` is about something else.
    """

    def __init__(self, kind: type[Item], columns: Mapping[str, str], ignore: Collection[str]) -> None:
        fields = attrs.fields(kind)
        self.kind: type[Any] = kind
        self.required = {field.name for field in fields if field.default is attrs.NOTHING}
        given = {normal(field): name for field, name in columns.items()}
        self._names = {field.name: given.pop(normal(field.name), field.name) for field in fields}
        self._fields = {normal(name): field for field, name in self._names.items()}
        if given or len(self._fields) < len(fields):
            raise InvalidRequest(
                f"columns: {shown(dict(columns))} does not name some of {', '.join(self._names)}, each once"
            )
        self._known = ", ".join(map(named, self._names.values()))
        self._ignored = {normal(name) for name in ignore}
        self._ignores_others = _OTHERS in ignore

    def knows(self, names: Collection[str]) -> int:
        """How many of these names are of columns that are read."""
        return sum(normal(name) in self._fields for name in names)

    def says_something(self, fields: Collection[str]) -> bool:
        """Whether an update with these fields changes any."""
        return self.kind is not CoinEventUpdate or len(fields) > len(self.required)

    def columns(self, names: Sequence[object]) -> Columns:
        """The columns that have these names; raises ``BadRow`` with all that is wrong with them."""
        used: dict[str, Column] = {}
        unnamed: list[int] = []
        wrong: list[str] = []
        for at, cell in enumerate(names):
            name = "" if is_empty(cell) else str(cell).strip()
            field = self._fields.get(normal(name))
            if not name:
                unnamed.append(at)
            elif normal(name) in self._ignored or (field is None and self._ignores_others):
                pass
            elif field is None:
                wrong.append(f"column {named(name)}: is unknown. {self._nearest(name)} --ignore leaves it out")
            elif field in used:
                wrong.append(f"column {named(name)}: stands there twice, also as {named(used[field].name)}")
            else:
                used[field] = Column(at, name, field)
        missing = [self._names[field] for field in self._names if field in self.required - used.keys()]
        wrong += [f"column {named(name)}: is missing" for name in missing]
        if not used:
            wrong = [f"has none of the columns {self._known}"]
        elif not wrong and not self.says_something(used):
            wrong = [f"has nothing to set: none of {self._known} but what names the row"]
        if wrong:
            raise BadRow(*wrong)
        return Columns(self, list(used.values()), unnamed, len(names))

    def _nearest(self, name: str) -> str:
        near = get_close_matches(normal(name), self._fields, n=1)
        return f"Is {named(self._names[self._fields[near[0]]])} meant?" if near else f"Known are {self._known}."
