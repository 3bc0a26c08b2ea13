"""What a file is, told by what is in it: its name means nothing."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import attrs

from enkash_coins.bulk.files import delimited, json_forms, parquet, spreadsheets
from enkash_coins.bulk.files.columns import Item
from enkash_coins.bulk.files.problems import Unreadable
from enkash_coins.bulk.files.reading import Reading
from enkash_coins.bulk.files.text import pieces, unpacked


@attrs.frozen
class Form:
    """How a file is read.

    Attributes:
        items: what its rows say, each with its line; raises ``Unreadable`` where no more can be read.
        sheet: the name of what is read of it, or ``None``.
        typed: it tells texts from numbers.
    """

    items: Callable[[Reading], Iterator[tuple[int, Item]]]
    typed: bool = True
    sheet: str | None = None


def form_of(file: BinaryIO, *, sheet: str | None, encoding: str | None) -> Form:
    """How to read a file.

    Raises:
        Unreadable: it cannot be.
    """
    beginning = file.read(8)
    file.seek(0)
    if beginning.startswith(spreadsheets.BEGINNINGS):
        opened = spreadsheets.Sheet(file, sheet)
        return Form(lambda reading: reading.items(opened.rows()), sheet=opened.name)
    if sheet is not None:
        raise Unreadable("has no sheets")
    if beginning.startswith(parquet.BEGINNING):
        return Form(lambda reading: reading.items(parquet.rows(file)))

    def texts() -> Iterator[str]:
        file.seek(0)
        return pieces(unpacked(file), encoding)

    first = next((text.lstrip()[0] for text in texts() if text and not text.isspace()), "")
    if first == "{":
        return Form(lambda reading: reading.items(json_forms.lines(texts())))
    if first == "[":
        return Form(lambda reading: reading.items(json_forms.elements(texts())))
    return Form(lambda reading: delimited.items(texts(), reading), typed=False)
