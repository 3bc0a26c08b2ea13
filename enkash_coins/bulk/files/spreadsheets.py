"""Sheets of Excel and OpenDocument, read by python-calamine (extra ``[excel]``)."""

import zlib
from collections.abc import Iterator
from typing import IO, Final
from xml.parsers.expat import ExpatError
from zipfile import BadZipFile

from enkash_coins.bulk.files.problems import Unreadable
from enkash_coins.bulk.files.unshown import check, unshown
from enkash_coins.display import shown
from enkash_coins.extras import lacking

#: How such files begin: as ZIP archives, and as Excel 97 wrote them.
BEGINNINGS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


class Sheet:
    """One sheet of a file.

    Args:
        name: of the sheet; ``None``: the first that is not hidden.

    Attributes:
        name: of the sheet.

    Raises:
        Unreadable: there is none, or the file cannot be read.
    """

    def __init__(self, file: IO[bytes], name: str | None) -> None:
        try:
            import python_calamine as calamine  # noqa: PLC0415  # an extra
        except ModuleNotFoundError:
            raise Unreadable(lacking("reading spreadsheets", "excel")) from None
        try:
            check(file)
            book = calamine.load_workbook(file)
            shows = calamine.SheetVisibleEnum.Visible
            visible = [sheet.name for sheet in book.sheets_metadata if sheet.visible == shows]
            self.name = visible[0] if name is None and visible else name or ""
            if self.name not in book.sheet_names:
                raise Unreadable(f"has no sheet {shown(name)}; it has {', '.join(map(shown, book.sheet_names))}")
            self._unshown = unshown(file, self.name, book.sheet_names.index(self.name))
            self._sheet = book.get_sheet_by_name(self.name)
        except calamine.PasswordError:
            raise Unreadable("is protected by a password") from None
        except (calamine.CalamineError, BadZipFile, LookupError, ValueError, RuntimeError, zlib.error, ExpatError):
            raise Unreadable("is no spreadsheet of Excel or OpenDocument, or is damaged") from None

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """The cells of each row, with its number."""
        first = (self._sheet.start or (0, 0))[1]
        for row, cells in enumerate(self._sheet.iter_rows()):
            for column, text in self._unshown.get(row, {}).items():
                cells[column - first] = text
            yield row + 1, list(cells)
