"""Options that say how a file is to be read."""

from typing import Annotated

import attrs
from cyclopts import Parameter

from enkash_coins.bulk.files import Item, Rows, read
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CoinAllocation, CoinEventCreation, CoinEventUpdate


@Parameter(name="*", group="File")
@attrs.frozen(kw_only=True)
class FileOptions:
    """How FILE is written, where that is not found by itself.

    Attributes:
        sheet: Which sheet of a spreadsheet; else the first.
        encoding: Of a text that is neither UTF-8 nor has a mark, such as cp1252.
        columns: A field that is called otherwise in the file: --column amount="New coins".
        ignore: A column to leave out; '*' for all that are not known.
        thousands: What groups the digits of amounts, such as a comma.
        allow_negative: Amounts may be below zero.
    """

    sheet: str | None = None
    encoding: str | None = None
    columns: Annotated[tuple[str, ...], Parameter(name="--column", negative=())] = ()
    ignore: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    thousands: str | None = None
    allow_negative: Annotated[bool, Parameter(negative=())] = False

    def rows(
        self, file: str, *, allocate: bool = False, create: bool = False, allow_repeats: bool = False
    ) -> Rows[Item]:
        """The rows of a file; raises ``InvalidRequest`` for options that contradict each other."""
        if allocate and create:
            raise InvalidRequest("--allocate and --create: a file has rows of one kind")
        kind: type[Item] = CoinAllocation if allocate else CoinEventCreation if create else CoinEventUpdate
        columns = dict(map(_column, self.columns))
        return read(
            file,
            kind,
            sheet=self.sheet,
            encoding=self.encoding,
            columns=columns,
            ignore=self.ignore,
            thousands=self.thousands,
            allow_negative=self.allow_negative,
            allow_repeats=allow_repeats,
        )


def _column(said: str) -> tuple[str, str]:
    field, sign, name = said.partition("=")
    if not sign or not field or not name:
        raise InvalidRequest(f"--column {said}: write it as FIELD=NAME, such as amount='New coins'")
    return field, name


FILE_DEFAULTS = FileOptions()
