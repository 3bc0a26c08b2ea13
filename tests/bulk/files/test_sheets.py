"""Spreadsheets and Parquet, written by the libraries that people write them with."""

import datetime as dt
import struct
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from enkash_coins import CoinEventUpdate, CustomConfiguration
from enkash_coins.bulk.files import BadFile, read
from enkash_coins.extras import lacking

U = CoinEventUpdate
SOMEWHERE = "has a cell with the error of a formula; of .xlsx it could be told which"
SHORTENED = "is a shortened number, its last digits are lost: format the column as text, enter it again"
FORMULA = "is a formula without its value: open the file in a spreadsheet, and save it"
DATE = "is a date or a time; spreadsheets take texts like 10-12 for one: format the column as text"
HEADER: list[object] = ["coin_config_id", "amount", "event"]


def sheet(path: Path, fill: Callable[[Any, Any], object], *names: str) -> Path:
    """A workbook whose sheets are all filled alike."""
    with xlsxwriter.Workbook(path) as book:
        for name in names or ("June",):
            fill(book, book.add_worksheet(name))
    return path


def of_rows(*rows: list[object]) -> Callable[[Any, Any], object]:
    """Fills a sheet with these from its first cell on."""
    return lambda book, page: [page.write_row(at, 0, row) for at, row in enumerate(rows)]


def told(path: Path, **options: Any) -> list[str]:
    """What is said about a file, without its folder."""
    with pytest.raises(BadFile) as caught:
        list(read(path, **options))
    return [problem.replace(str(path.parent) + "/", "") for problem in caught.value.problems]


def test_a_sheet_is_read_as_it_shows(tmp_path: Path) -> None:
    """Numbers are whole, computed values count, texts are trimmed, ids may be numbers, and rows have their numbers."""

    def fill(_: Any, page: Any) -> None:
        page.write_row(1, 1, HEADER)
        page.write_row(2, 1, [" WCC1 ", 10])
        page.write_row(4, 1, [123456789012345, "10.00", " a b "])
        page.write_row(5, 1, ["007", "", "E"])
        page.write_formula(6, 1, '="WCC" & 3', value="WCC3")
        page.write_formula(6, 2, "=5+5", value=10)
        page.write(6, 9, "")

    assert list(read(sheet(tmp_path / "u.xlsx", fill)).numbered()) == [
        (3, U("WCC1", amount=10)),
        (5, U("123456789012345", amount=10, event="a b")),
        (6, U("007", event="E")),
        (7, U("WCC3", amount=10)),
    ]


def test_what_a_sheet_hides_is_told(tmp_path: Path) -> None:
    """Errors and formulas that nothing has computed are no empty cells; dates, lost digits and truth are told."""

    def fill(book: Any, page: Any) -> None:
        of_rows(HEADER, ["A", 0, "E"], ["B", 0, "E"], ["C"], ["D", 10.5], ["E", 1e15], [1e17, 1], ["F", True])(
            book, page
        )
        page.write_formula(1, 1, "=1/0", value="#DIV/0!")
        page.write_formula(2, 1, "=A1&B1", value="")
        page.write_datetime(3, 1, dt.datetime(2024, 10, 12), book.add_format({"num_format": "dd-mm"}))  # noqa: DTZ001
        page.write(8, 0, "G")
        page.write(8, 1, "#REF!")

    assert told(sheet(tmp_path / "u.xlsx", fill)) == [
        "u.xlsx:June:2: column amount: '#DIV/0!' is the error of a formula",
        f"u.xlsx:June:3: column amount: '=A1&B1' {FORMULA}",
        f"u.xlsx:June:4: column amount: '2024-10-12' {DATE}",
        "u.xlsx:June:5: column amount: '10.5' is not a whole number",
        f"u.xlsx:June:6: column amount: '1000000000000000.0' {SHORTENED}",
        f"u.xlsx:June:7: column coin_config_id: '1e+17' {SHORTENED}",
        "u.xlsx:June:8: column amount: 'True' is a truth value",
        "u.xlsx:June:9: column amount: '#REF!' is the error of a formula",
    ]


def test_numbers_among_texts_with_leading_zeros_are_told(tmp_path: Path) -> None:
    """Excel eats zeros where a column is not formatted as text; what is text there is meant."""
    path = sheet(tmp_path / "u.xlsx", of_rows(HEADER, ["0012", 1], [13, 1], ["14", 1]))
    (problem,) = told(path)
    assert problem.startswith("u.xlsx:June:3: column coin_config_id: '13.0' has fewer digits than others of its column")


def test_sheets_have_names(tmp_path: Path) -> None:
    """The first that can be seen is read, unless another is named."""
    with xlsxwriter.Workbook(tmp_path / "u.xlsx") as book:
        for name in ("Notes", "May", "Ju & <ne>"):
            of_rows(HEADER, [name[:2], 1])(book, book.add_worksheet(name))
        book.worksheets()[1].activate()
        book.worksheets()[1].set_first_sheet()
        book.worksheets()[0].hide()
    path = tmp_path / "u.xlsx"
    assert list(read(path)) == [U("Ma", amount=1)]
    assert list(read(path, sheet="Ju & <ne>")) == [U("Ju", amount=1)]
    assert list(read(path, sheet="Notes")) == [U("No", amount=1)]
    assert told(path, sheet="June") == ["u.xlsx: has no sheet 'June'; it has 'Notes', 'May', 'Ju & <ne>'"]


def parts(path: Path) -> dict[str, bytes]:
    """What is in an archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, content: dict[str, bytes]) -> Path:
    """An archive with that in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_a_cell_in_the_last_corner_is_told(tmp_path: Path) -> None:
    """It would take half a terabyte of memory, and the process with it."""
    path = sheet(tmp_path / "u.xlsx", of_rows(HEADER, ["A", 1]))
    content = parts(path)
    page = content["xl/worksheets/sheet1.xml"]
    stray = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    packed(path, content | {"xl/worksheets/sheet1.xml": page.replace(b"</sheetData>", stray)})
    assert told(path) == ["u.xlsx: has a cell in row 1,048,576 or column 16,384, far from all others: delete it"]


def test_xml_may_have_prefixes_and_other_quotes(tmp_path: Path) -> None:
    """Not only Excel writes such files: errors are found in them all the same."""
    path = sheet(tmp_path / "u.xlsx", of_rows(HEADER, ["A", 1, "E"]))
    content = parts(path)
    page = content["xl/worksheets/sheet1.xml"]
    cell = page[page.index(b'<c r="B2"') : page.index(b'<c r="C2"')]
    packed(path, content | {"xl/worksheets/sheet1.xml": page.replace(cell, b"<c t='e' r='B2'><v>#NAME?</v></c>")})
    assert told(path) == ["u.xlsx:June:2: column amount: '#NAME?' is the error of a formula"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04", "is cut off"),
        (b"PK\x03\x04" + bytes(508), "is no spreadsheet of Excel or OpenDocument, or is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000), "is cut off"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1016),
            "is no spreadsheet of Excel or OpenDocument, or is damaged",
        ),
        (b"PAR1", "is no Parquet file, or is damaged"),
        (b"PAR1" + bytes(100) + b"PAR1", "is no Parquet file, or is damaged"),
    ],
)
def test_what_only_begins_so_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    """Damaged files are one line."""
    path = tmp_path / "u"
    path.write_bytes(content)
    assert told(path) == [f"u: {why}"]


def test_any_other_archive_is_told(tmp_path: Path) -> None:
    """A ZIP archive with a CSV file in it is none of these."""
    assert told(packed(tmp_path / "u.zip", {"u.csv": b"coin_config_id,amount\nA,1\n"})) == [
        "u.zip: is no spreadsheet of Excel or OpenDocument, or is damaged"
    ]


ODS = """<?xml version="1.0"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:calcext="urn:org:documentfoundation:names:calc:1.0"
xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>
<table:table table:name="June"><table:table-row table:number-rows-repeated="2"><table:table-cell/></table:table-row>
<table:table-row><table:table-cell office:value-type="string"><text:p>Coin Config ID</text:p></table:table-cell>
<table:table-cell office:value-type="string"><text:p>amount</text:p></table:table-cell></table:table-row>
<table:table-row><table:table-cell office:value-type="string"><text:p>A</text:p></table:table-cell>
<table:table-cell {amount}</table:table-cell></table:table-row></table:table>
<table:table table:name="Other"/></office:spreadsheet></office:body></office:document-content>"""
MANIFEST = """<?xml version="1.0"?><m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">
<m:file-entry m:full-path="/" m:media-type="application/vnd.oasis.opendocument.spreadsheet"/></m:manifest>"""


def ods(path: Path, amount: str) -> Path:
    """A sheet of OpenDocument with this cell."""
    return packed(
        path,
        {
            "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": MANIFEST.encode(),
            "content.xml": ODS.format(amount=amount).replace(">\n", ">").encode(),
        },
    )


def test_opendocument(tmp_path: Path) -> None:
    """It is read like Excel; of an error it can only be told that there is one."""
    path = ods(tmp_path / "u.ods", 'office:value-type="float" office:value="10"><text:p>10</text:p>')
    assert list(read(path).numbered()) == [(4, U("A", amount=10))]
    failed = 'office:value-type="string" office:string-value="" calcext:value-type="error"><text:p>#DIV/0!</text:p>'
    assert told(ods(path, failed)) == [f"u.ods: {SOMEWHERE}"]


def test_opendocument_that_is_cut_off_is_told(tmp_path: Path) -> None:
    """python-calamine would look for its end for ever."""
    path = ods(tmp_path / "u.ods", "/>")
    content = parts(path)
    packed(path, content | {"content.xml": content["content.xml"].partition(b"<table:table-row>")[0]})
    assert told(path) == ["u.ods: is no spreadsheet of Excel or OpenDocument, or is damaged"]


def record(kind: int, data: bytes) -> bytes:
    """One of Excel 97."""
    return struct.pack("<HH", kind, len(data)) + data


def xls(path: Path, *rows: list[str | float]) -> Path:
    """A file of Excel 97, made by hand: nobody writes them any more, but people have them. ``#`` is an error."""
    begins = [record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 0, 0, 0)) for kind in (5, 16)]
    cells = b""
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            place = struct.pack("<HHH", row, column, 0)
            if value == "#":
                cells += record(0x205, place + b"\x07\x01")
            elif isinstance(value, str):
                cells += record(0x204, place + struct.pack("<HB", len(value), 0) + value.encode())
            else:
                cells += record(0x203, place + struct.pack("<d", value))
    end = record(10, b"")
    sheet = struct.pack("<HBB", 0, 4, 0) + b"June"
    at = len(begins[0]) + len(record(0x85, bytes(4) + sheet)) + len(end)
    stream = begins[0] + record(0x85, struct.pack("<I", at) + sheet) + end + begins[1] + cells + end
    stream = stream.ljust(4096, b"\0")
    free, last = 0xFFFFFFFF, 0xFFFFFFFE
    blocks = [0xFFFFFFFD, last, *range(3, 10), last]
    head = struct.pack("<8s16x5H6x9I", SIGNATURE, 62, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, last, 0, last, 0)
    head += struct.pack("<109I", 0, *[free] * 108)
    table = struct.pack("<128I", *blocks, *[free] * (128 - len(blocks)))

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        raw = name.encode("utf-16-le") + b"\0\0"
        return raw.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", len(raw), kind, 1, free, free, child, start, size)

    folder = entry("Root Entry", 5, 1, last, 0) + entry("Workbook", 2, free, 2, len(stream)) + bytes(256)
    path.write_bytes(head + table + folder + stream)
    return path


SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def test_excel_97(tmp_path: Path) -> None:
    """It is read like Excel; of an error it can only be told that there is one."""
    path = xls(tmp_path / "u.xls", ["coin_config_id", "amount"], ["A", 10])
    assert list(read(path).numbered()) == [(2, U("A", amount=10))]
    assert told(xls(path, ["coin_config_id", "amount"], ["A", "#"])) == [f"u.xls: {SOMEWHERE}"]


def parquet(path: Path, **columns: Any) -> Path:
    """A file of these columns, in several groups of rows."""
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize(
    "amounts",
    [
        pa.array([10, None, 0], pa.int32()),
        pa.array([10, None, 0], pa.uint64()),
        pa.array([10.0, None, 0.0], pa.float64()),
        pa.array([10.0, None, 0.0], pa.float32()),
        pa.array([Decimal("10.00"), None, Decimal(0)], pa.decimal128(9, 2)),
        pa.array(["10", "", " 0 "]),
        pa.array(["10", None, "0"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_parquet_of_any_type(tmp_path: Path, amounts: Any) -> None:
    """Whole numbers of any type are amounts, and what is null is left as it is."""
    path = parquet(tmp_path / "u.parquet", coin_config_id=["A", "B", "C"], amount=amounts, event=["x", "y", None])
    assert list(read(path).numbered()) == [
        (1, U("A", amount=10, event="x")),
        (2, U("B", event="y")),
        (3, U("C", amount=0)),
    ]


def test_what_parquet_cannot_hold_for_sure_is_told(tmp_path: Path) -> None:
    """Fractions, more digits than the type keeps, NaN, dates and bytes."""
    path = tmp_path / "u.parquet"
    ids = [f"A{n}" for n in range(5)]
    parquet(
        path,
        coin_config_id=ids,
        amount=pa.array([10.5, 16777217, float("nan"), 1e15, 9999999]).cast(pa.float32(), safe=False),
    )
    assert told(path) == [
        "u.parquet:1: column amount: '10.5' is not a whole number",
        f"u.parquet:2: column amount: '1.677722e+07' {SHORTENED}",
        "u.parquet:3: column amount: 'nan' stands for nothing: leave the cell empty instead",
        f"u.parquet:4: column amount: '1e+15' {SHORTENED}",
    ]
    parquet(path, coin_config_id=["A", "B"], amount=[dt.date(2024, 1, 2), None], event=[b"x", b"y"])
    assert told(path)[1:] == [
        "u.parquet:1: column event: \"b'x'\" is neither a text nor a number",
        "u.parquet:2: column event: \"b'y'\" is neither a text nor a number",
    ]
    parquet(path, coin_config_id=["A"], colour=["red"])
    assert told(path)[0].startswith("u.parquet: column colour: is unknown")
    parquet(path, coin_config_id=[], amount=[])
    assert told(path) == ["u.parquet: has a header, but no rows"]


def test_an_object_in_parquet(tmp_path: Path) -> None:
    """A struct is a configuration in the object form."""
    path = parquet(tmp_path / "u.parquet", coin_config_id=["A"], configuration=[{"CUSTOM": "gold", "level": 3}])
    assert list(read(path)) == [U("A", configuration=CustomConfiguration("gold", {"level": 3}))]


@pytest.mark.parametrize(("module", "extra"), [("python_calamine", "excel"), ("pyarrow", "parquet")])
def test_a_missing_extra_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    """One line with the command that installs what is missing."""
    monkeypatch.setitem(__import__("sys").modules, module, None)
    path = tmp_path / "u"
    if extra == "excel":
        sheet(path, of_rows(HEADER, ["A", 1]))
    else:
        parquet(path, coin_config_id=["A"], amount=[1])
    (problem,) = told(path)
    assert problem.endswith(lacking("", extra))
