"""One reading of a file: each row becomes what is sent, or a problem."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from enkash_coins.bulk.files.cells import Cells, is_empty
from enkash_coins.bulk.files.columns import Columns, Item, Schema
from enkash_coins.bulk.files.problems import BadRow, Problems, Row
from enkash_coins.bulk.files.repeats import Repeats
from enkash_coins.models import CoinAllocation

_REMEMBERED: Final = 100
Purpose = Literal["check", "compare", "make"]


class Reading:
    """Makes rows what is sent, and collects what is wrong with them.

    Args:
        problems: gets that.
        typed: the format tells texts from numbers.
        repeats: finds allocations that are not to be alike.
        purpose: ``check`` them all; then, where something can only be told once all were seen, ``compare`` them;
            at last ``make`` items of them.

    Attributes:
        columns: those of the header, once it was read.
        rows: how many there were, good or bad; a block of plain lines is counted as one.
    """

    def __init__(
        self,
        schema: Schema,
        cells: Cells,
        problems: Problems,
        *,
        typed: bool,
        repeats: Repeats | None = None,
        purpose: Purpose,
    ) -> None:
        self.cells = cells
        self.problems = problems
        self.repeats = repeats
        self.purpose = purpose
        self.columns: Columns | None = None
        self.rows = 0
        self.schema = schema
        self._typed = typed
        self._objects: dict[tuple[str, ...], Columns] = {}

    def items(self, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Item]]:
        """What the good ones say, each with its line; raises ``BadFile`` for a header that cannot be used."""
        for line, row in rows:
            try:
                if isinstance(row, BadRow):
                    raise row  # told like the others
                cells = list(row.values()) if isinstance(row, Mapping) else row
                if all(map(is_empty, cells)):
                    continue
                columns = self._of_object(tuple(row)) if isinstance(row, Mapping) else self.columns
                if columns is None:
                    self.columns = self.schema.columns(cells)
                    continue
                item = columns.item(cells, self.cells, typed=self._typed)
                self._compare(line, item)
            except BadRow as error:
                for why in error.args:
                    self.problems.add(why, line)
                if self.columns is None and not isinstance(row, Mapping | BadRow):
                    self.problems.refuse()
            else:
                yield line, item
            self.rows += 1

    def _of_object(self, keys: tuple[str, ...]) -> Columns:
        if keys not in self._objects:
            if len(self._objects) >= _REMEMBERED:
                self._objects.clear()
            self._objects[keys] = self.schema.columns(keys)
        return self._objects[keys]

    def _compare(self, line: int, item: Item) -> None:
        """Keep an allocation; raises ``BadRow`` for one that an earlier one says."""
        if self.repeats is not None and isinstance(item, CoinAllocation) and item.request_id is None:
            gift = item.company_id, item.event, item.user_id
            if self.purpose == "check":
                self.repeats.note([gift])
            elif earlier := self.repeats.earlier(gift, line):
                raise BadRow(f"says the same as line {earlier:,}, without a request_id: that needs --allow-repeats")
