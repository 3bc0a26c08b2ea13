"""What python-calamine does not show of a spreadsheet, looked for in the file itself.

It gives an empty cell for a formula that failed and for one that nothing has computed yet, which would be read as
"leave it as it is". It makes room for all cells up to the farthest one, which ends the process where memory does (seen:
512 GB, for one cell in the last corner of a sheet). And at files that are cut off it panics, or does not end.
"""

import html
import re
from collections import defaultdict
from collections.abc import Iterator
from os import SEEK_END
from posixpath import join, normpath
from typing import IO, Final
from xml.parsers import expat
from zipfile import ZipFile, is_zipfile

from enkash_coins.bulk.files.problems import Unreadable

_MOST_BYTES: Final = 2**31
_MOST_CELLS: Final = 2**25
# Names may have a prefix. A cell that is only formatted has no content, and ends with "/>".
_CELL = re.compile(rb"<(?:\w+:)?c\b([^>]*[^/>])>(.*?)</(?:\w+:)?c>", re.DOTALL)
_PLACE = re.compile(rb"""\br=["']([A-Z]{1,3})([0-9]{1,7})["']""")
_KIND = re.compile(rb"""\bt=["'](\w+)["']""")
_VALUE = re.compile(rb"<(?:\w+:)?v\b[^>]*>([^<]+)<")
_FORMULA = re.compile(rb"<(?:\w+:)?f\b[^>]*>([^<]*)")
_SHEET = re.compile(rb"""<(?:\w+:)?sheet\b[^>]*:id=["']([^"']+)["']""")
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
_SECTOR: Final = 512  # of Excel 97
_CONTENT: Final = "content.xml"  # of OpenDocument
_FAILED_ODS = re.compile(rb"""value-type=["']error["'][^>]*>\s*<text:p>([^<]*)""")

# Of Excel 97: a cell with an error, and a formula whose value is one.
_FAILED_97 = re.compile(
    rb"\x05\x02\x08\0.{6}[\0\x07\x0f\x17\x1d\x24\x2a]\x01|\x06\0.{8}\x02.[\0\x07\x0f\x17\x1d\x24\x2a].{3}\xff\xff",
    re.DOTALL,
)

#: By row and then by column, from 0: texts that stand for what would be shown as empty.
Unshown = dict[int, dict[int, str]]


def check(file: IO[bytes]) -> None:
    """Raise ``Unreadable`` for what is too big to be unpacked, and for what is cut off; for some, ``ExpatError``."""
    if is_zipfile(file):
        with ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > _MOST_BYTES:
                raise Unreadable(f"unpacks to more than {_MOST_BYTES:,} bytes")
            if _CONTENT in archive.namelist():
                expat.ParserCreate().Parse(archive.read(_CONTENT), True)  # noqa: FBT003  # its own signature
    elif file.seek(0, SEEK_END) % _SECTOR:
        raise Unreadable("is cut off")
    file.seek(0)


def unshown(file: IO[bytes], sheet: str, number: int) -> Unshown:
    """What is not shown of the sheet of this name and number, from 0.

    Raises:
        Unreadable: a cell is too far away; or one failed, and it is not easily told which.
    """
    if not is_zipfile(file):
        file.seek(0)
        failed = _FAILED_97.search(file.read())
    else:
        with ZipFile(file) as archive:
            if _CONTENT not in archive.namelist():
                return _in_xlsx(archive.read(_part(archive, number)))
            own = archive.read(_CONTENT).partition(f'table:name="{html.escape(sheet)}"'.encode())[2]
            failed = _FAILED_ODS.search(own.partition(b"</table:table>")[0])
    if failed:
        raise Unreadable("has a cell with the error of a formula; of .xlsx it could be told which")
    return {}


def _in_xlsx(xml: bytes) -> Unshown:
    found: Unshown = defaultdict(dict)
    rows = columns = 0
    for row, column, kind, content in _cells(xml):
        rows, columns = max(rows, row + 1), max(columns, column + 1)
        value = _VALUE.search(content)
        if kind == b"e":
            found[row][column] = value[1].decode() if value else "#ERROR!"
        elif value is None and kind != b"str" and (formula := _FORMULA.search(content)):
            found[row][column] = f"={html.unescape(formula[1].decode())}"
    if rows * columns > _MOST_CELLS:
        raise Unreadable(f"has a cell in row {rows:,} or column {columns:,}, far from all others: delete it")
    return found


def _part(archive: ZipFile, number: int) -> str:
    """The name of a sheet's XML in the archive."""
    id_ = _SHEET.findall(archive.read("xl/workbook.xml"))[number]
    for relation in _RELATION.findall(archive.read("xl/_rels/workbook.xml.rels")):
        values = dict(re.findall(rb"""\b(Id|Target)=["']([^"']+)["']""", relation))
        if values.get(b"Id") == id_:
            return normpath(join("/xl", values[b"Target"].decode())).lstrip("/")
    raise KeyError(id_)


def _cells(xml: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Row, column, type and content of each cell that has one; those that do not say where they are stand at 0, 0."""
    for attributes, content in (cell.groups() for cell in _CELL.finditer(xml)):
        kind = _KIND.search(attributes)
        place = _PLACE.search(attributes)
        row = column = 0
        if place is not None:
            for letter in place[1]:
                column = column * 26 + letter - ord("A") + 1
            row, column = int(place[2]) - 1, column - 1
        yield row, column, kind[1] if kind else b"n", content
