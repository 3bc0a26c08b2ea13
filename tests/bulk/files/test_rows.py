"""Reading as a whole: what is checked when, where files may come from, what it may cost."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins import CoinAllocation, CoinEventCreation, CoinEventUpdate, InvalidRequest
from enkash_coins.bulk.files import BadFile, delimited, read
from enkash_coins.bulk.files.cells import Cells
from enkash_coins.bulk.files.columns import Schema
from enkash_coins.bulk.files.plain import Plain
from enkash_coins.bulk.files.problems import Problems
from enkash_coins.bulk.files.reading import Reading

U = CoinEventUpdate
ONE = "coin_config_id,amount\nA,10\n"
MILLION = 1_000_000


def told(path: Path | str, kind: Any = U, **options: Any) -> list[str]:
    """What is said about a file, without its folder."""
    with pytest.raises(BadFile) as caught:
        list(read(path, kind, **options))
    return [problem.replace(f"{Path(path).parent}/", "") for problem in caught.value.problems]


# what a row is


def test_allocations(tmp_path: Path) -> None:
    """Three columns, and maybe a request id, which may be left empty."""
    path = tmp_path / "a.csv"
    path.write_text("companyId,event,user_id,requestId\nC,E,U1,order-1\nC,E,U2,\n", encoding="utf-8")
    assert list(read(path, CoinAllocation)) == [
        CoinAllocation(company_id="C", event="E", user_id="U1", request_id="order-1"),
        CoinAllocation(company_id="C", event="E", user_id="U2"),
    ]
    path.write_text("company_id,event\nC,E\n", encoding="utf-8")
    assert told(path, CoinAllocation) == ["a.csv:1: column user_id: is missing"]


def test_creations(tmp_path: Path) -> None:
    """All four columns, none of them empty."""
    path = tmp_path / "c.csv"
    path.write_text("company_id,event,amount,configuration\nC,E,10,DEFAULT\n", encoding="utf-8")
    (creation,) = read(path, CoinEventCreation)
    assert creation == CoinEventCreation(company_id="C", event="E", amount=10, configuration="DEFAULT")
    path.write_text("company_id,event,amount,configuration\nC,E,,DEFAULT\n", encoding="utf-8")
    assert told(path, CoinEventCreation) == ["c.csv:2: column amount: is empty"]


@pytest.mark.parametrize("rows", [2, 5000])
def test_equal_allocations_are_told(tmp_path: Path, rows: int) -> None:
    """Rows that were pasted twice would be given twice; those with a request id of their own are meant."""
    path = tmp_path / "a.csv"
    head = "company_id,event,user_id,request_id\nC,E,U,\n"
    path.write_text(head + "".join(f"C,E,U{row},\n" for row in range(rows)) + "C,E,U1,\nC,E,U1,a\nC,E,U1,a\nC,E,U,\n")
    assert told(path, CoinAllocation) == [
        f"a.csv:{rows + 3}: says the same as line 4, without a request_id: that needs --allow-repeats",
        f"a.csv:{rows + 6}: says the same as line 2, without a request_id: that needs --allow-repeats",
    ]
    assert len(list(read(path, CoinAllocation, allow_repeats=True))) == rows + 5


def test_a_second_header_among_texts_is_told(tmp_path: Path) -> None:
    """A file that cat made of two: also far down, where lines are read many at once, and spelled otherwise."""
    path = tmp_path / "a.csv"
    rows = "".join(f"C,E,U{row}\n" for row in range(1000))
    path.write_text(
        f"company_id,event,user_id\n{rows}companyId,Event,USER-ID\n{rows.replace('U', 'V')}", encoding="utf-8"
    )
    assert told(path, CoinAllocation) == ["a.csv:1002: is the header once more"]


# what is checked when


def test_nothing_is_handed_on_of_a_bad_file(tmp_path: Path) -> None:
    """A million lines with the last one wrong: not one of them goes out."""
    path = tmp_path / "u.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("coin_config_id,amount,event\n")
        file.writelines(f"WCC{row:07},{row},INVOICE_PAYMENT\n" for row in range(MILLION - 1))
        file.write("WCC1,1O,INVOICE_PAYMENT\n")
    rows = iter(read(path))
    with pytest.raises(BadFile, match=r"u.csv:1000001: column amount: '1O' is not an integer$"):
        next(rows)


def test_first_twenty_problems_are_told_and_the_others_counted(tmp_path: Path) -> None:
    """A file with many mistakes is no flood of lines, and does not hide how many there are."""
    path = tmp_path / "u.csv"
    path.write_text("coin_config_id,amount\n" + "A,x\n" * 1022, encoding="utf-8")
    found = told(path)
    assert found[19:] == ["u.csv:21: column amount: 'x' is not an integer", "u.csv: and 1,002 more problems"]


def test_all_that_is_wrong_with_a_row_is_told(tmp_path: Path) -> None:
    """So that a file has to be mended once."""
    path = tmp_path / "u.csv"
    path.write_text("coin_config_id,amount,event\na/b,x,NULL\n", encoding="utf-8")
    assert [line.partition(":")[2][:24] for line in told(path)] == [
        "2: column coin_config_id",
        "2: column amount: 'x' is",
        "2: column event: 'NULL' ",
    ]


def test_rows_may_be_iterated_again(tmp_path: Path) -> None:
    """Also while they are being iterated; the digest is that of the bytes."""
    path = tmp_path / "u.csv"
    path.write_text(ONE + "B,2\n", encoding="utf-8")
    rows = read(path)
    first = iter(rows)
    assert next(first) == U("A", amount=10)
    assert len(list(rows)) == 2
    assert next(first) == U("B", amount=2)
    assert (rows.name, rows.path) == (str(path), path)
    assert rows.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_changes_is_told(tmp_path: Path) -> None:
    """What is sent is what was checked."""
    path = tmp_path / "u.csv"
    path.write_text(ONE, encoding="utf-8")
    rows = read(path)
    assert rows.digest
    path.write_text(ONE + "B,x\n", encoding="utf-8")
    with pytest.raises(BadFile, match=r"has changed while it was read$"):
        next(iter(rows))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"thousands": "x"}, "thousands: 'x' is none of"),
        ({"encoding": "utf-9"}, "encoding: 'utf-9' is none that Python knows"),
        ({"encoding": "hex"}, "encoding: 'hex' is none that Python knows"),
        ({"encoding": "a\0"}, "encoding: 'a\\x00' is none that Python knows"),
        ({"columns": {"amuont": "x"}}, "columns: {'amuont': 'x'} does not name some of coin_config_id, amount"),
        ({"columns": {"amount": "event"}}, "columns: {'amount': 'event'} does not name some of"),
        ({"ignore": "Note"}, "ignore: is to be names, not one text"),
    ],
)
def test_an_option_that_means_nothing_is_refused_at_once(options: dict[str, Any], why: str) -> None:
    """Before any file is opened."""
    with pytest.raises(InvalidRequest) as caught:
        read("missing", **options)
    assert str(caught.value).startswith(why)


# where files come from


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    """A folder, a name that leads nowhere, or is none."""
    assert told(tmp_path / "missing.csv") == ["missing.csv: no such file or directory"]
    assert told(tmp_path).pop().endswith(": is a directory")
    assert told("a\0b") == ["'a\\x00b': no path has a NUL or half a character"]
    assert told("\ud800") == ["'\\ud800': no path has a NUL or half a character"]
    assert told(tmp_path / "a\nb.csv") == ["'a\\nb.csv': no such file or directory"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    """A file that may not be read is told as such."""
    path = tmp_path / "u.csv"
    path.touch(mode=0)
    assert told(path) == ["u.csv: permission denied"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that can be opened and not read")
def test_a_disk_that_fails_is_one_line() -> None:
    """A file that can be opened but not read."""
    assert told("/proc/self/mem") == ["mem: input/output error"]


def test_closed_standard_input_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have no standard input at all."""
    monkeypatch.setattr("sys.stdin", None)
    assert told("-") == ["stdin: standard input is closed"]


def test_a_pipe_is_kept(tmp_path: Path) -> None:
    """It is read once, whatever is asked first and how often; its name tells nothing."""
    pipe = tmp_path / "u.xlsx"
    os.mkfifo(pipe)
    content = ONE + "B,2\n" * 9999
    writer = threading.Thread(target=pipe.write_text, args=[content])
    writer.start()
    rows = read(pipe)
    assert rows.path is None
    assert rows.digest == hashlib.sha256(content.encode()).hexdigest()
    writer.join()
    both = zip(rows, rows, strict=True)
    assert sum(one == other for one, other in both) == 10_000


@pytest.mark.parametrize("file", ["-", "/dev/stdin", "/dev/fd/0"])
def test_standard_input(file: str) -> None:
    """By its own name or by another."""
    code = f"from enkash_coins.bulk.files import read; print(*read({file!r}))"
    done = subprocess.run([sys.executable, "-c", code], input=ONE, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CoinEventUpdate(coin_config_id='A', amount=10")


# what it costs


def peak(path: Path, program: str) -> int:
    """By how many MiB a process grows that reads the file after it has read a small one."""
    small = path.with_name("small")
    with path.open("rb") as file:
        small.write_bytes(b"".join(islice(file, 50)).rstrip(b",\n") + (b"]" if path.suffix == ".json" else b""))
    code = f"""
import resource
from enkash_coins.bulk.files import read
from enkash_coins import CoinAllocation, CoinEventUpdate
def consume(path):
    return sum(1 for _ in {program})
consume({str(small)!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = consume({str(path)!r})
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, kib = map(int, done.stdout.split())
    assert count == ROWS
    return kib // 1024


ROWS = 100_000
FORMS = {
    "plain.csv": ("coin_config_id,amount\n", "WCC{0:07},{0}\n", "read(path)", 4),
    "careful.csv": ("coin_config_id;amount\n", 'WCC{0:07};"{0},00"\n', "read(path)", 4),
    "gifts.csv": ("company_id,event,user_id\n", "C,E,U{0}\n", "read(path, CoinAllocation)", 4),
    "lines.jsonl": ("", '{{"coin_config_id": "WCC{0:07}", "amount": {0}}}\n', "read(path)", 4),
    "array.json": ("[", '{{"coin_config_id": "WCC{0:07}", "amount": {0}}},\n', "read(path)", 4),
}


@pytest.mark.parametrize("name", FORMS)
def test_memory_is_flat(tmp_path: Path, name: str) -> None:
    """Many rows take no more memory than fifty; only hashes of allocations are kept, to find those that are alike."""
    head, row, program, most = FORMS[name]
    path = tmp_path / name
    with path.open("w", encoding="utf-8") as file:
        file.write(head)
        file.writelines(row.format(number) for number in range(ROWS - 1))
        file.write(row.format(ROWS).rstrip(",\n") + ("]" if name.endswith(".json") else ""))
    assert peak(path, program) <= most


# plain lines


def careful(block: str, columns: list[str], kind: Any, delimiter: str, cells: Cells) -> list[object] | None:
    """What the rules for cells make of lines; ``None`` if any is wrong."""
    problems = Problems("u.csv")
    reading = Reading(Schema(kind, {}, ["note"]), cells, problems, typed=False, purpose="make")
    reading.columns = Schema(kind, {}, ["note"]).columns(columns)
    found = list(reading.items(delimited._rows(1, block, iter(()), delimiter)))
    try:
        problems.refuse()
    except BadFile:
        return None
    return [item for _, item in found] if len(found) == block.count("\n") else None


ODD = [
    "",
    " ",
    "10",
    "+10",
    "-5",
    "10.0",
    "10.00",
    "10.000",
    "1.000",
    "1,000",
    "1E+03",
    "1E-05",
    "0",
    "00",
    "007",
    "12",
    "9" * 18,
]
ODD += [
    "9" * 19,
    "NULL",
    "nan",
    "Nil",
    "N/A",
    "n/a x",
    "Err:502",
    "#REF!",
    "undefined",
    "A",
    "a b",
    "a  b",
    " a ",
    "É",
    "दिवाली",
]
ODD += [
    "amount",
    "company_id",
    "COIN-config id",
    "companyid",
    "event",
    "=A",
    '="A"',
    "'=A",
    "{",
    "x" * 64,
    "x" * 65,
    "x" * 129,
]
ODD += [
    "a\u00a0",
    "\u2003a",
    "a\u3000b",
    "a\x85",
    "a\x7f",
    "a\u2028b",
    "a'b",
    "a:b",
    "-",
    "@",
    "1.5",
    "a\\b",
    "<na>",
    "\\N",
]
COLUMNS: dict[Any, list[str]] = {
    CoinEventUpdate: ["coin_config_id", "amount", "event", "note", ""],
    CoinAllocation: ["company_id", "event", "note", "user_id", "request_id", ""],
    CoinEventCreation: ["note", "company_id", "event", "amount", "configuration"],
}
USUAL = {"amount": "10", "note": "n", "": ""}


def assert_the_same(kind: Any, rows: list[list[str]], delimiter: str, cells: Cells) -> None:
    """If these lines are plain, they mean what the rules for cells make of them."""
    block = "".join(delimiter.join(row) + "\n" for row in rows)
    columns = Schema(kind, {}, ["note"]).columns(COLUMNS[kind])
    plain = Plain(columns, delimiter, cells)
    if not plain.fits(block):
        return
    problems = Problems("u.csv")
    reading = Reading(columns.schema, cells, problems, typed=False, purpose="make")
    reading.columns = columns
    items = [item for _, item in reading.items(delimited._rows(1, block, iter(()), delimiter))]
    problems.refuse()
    assert plain.items(block) == items
    assert not cells.widths, "leading zeros want a closer look"


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("cells", [Cells(), Cells(",", allow_negative=True), Cells(".")])
def test_plain_lines_mean_what_the_rules_make_of_them(kind: Any, quote: str, cells: Cells) -> None:
    """Whatever is read many lines at once would be read the same cell by cell: also with one or two odd cells."""
    columns = COLUMNS[kind]
    usual = [USUAL.get(name, f"T{at}") for at, name in enumerate(columns)]
    for at in range(len(columns)):
        for odd in ODD:
            for empty in range(len(columns)):
                row = [odd if place == at else "" if place == empty else cell for place, cell in enumerate(usual)]
                assert_the_same(kind, [[f"{quote}{cell}{quote}" for cell in row], usual], ";", cells)


@pytest.mark.parametrize("kind", COLUMNS)
@given(
    st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=9),
    st.integers(0, 4),
    st.data(),
)
def test_plain_lines_of_any_letters(kind: Any, odd: str, at: int, data: st.DataObject) -> None:
    """As above, with texts that nobody thought of."""
    delimiter = data.draw(st.sampled_from(",;\t|"))
    row = [USUAL.get(name, "T") for name in COLUMNS[kind]]
    row[at] = odd
    assert_the_same(kind, [row], delimiter, Cells())


@pytest.mark.parametrize("kind", COLUMNS)
def test_usual_lines_are_plain(kind: Any) -> None:
    """Or reading would be slow, and the tests above blind."""
    plain = Plain(Schema(kind, {}, ["note"]).columns(COLUMNS[kind]), ",", Cells())
    usual = ",".join(USUAL.get(name, "दिवाली Bonus" if name == "event" else "WCC-1") for name in COLUMNS[kind])
    assert plain.fits(f"{usual}\n" * 9)


@given(st.lists(st.sampled_from(["A,1", '"B\n\n",2', "", "C,x", '"D\n,\n"'] * 3), max_size=30), st.integers(1, 9))
def test_blocks_may_end_anywhere(given_lines: list[str], size: int) -> None:
    """Rows and their lines are the same, however the text comes in."""
    text = "coin_config_id,event\n" + "".join(line + "\n" for line in given_lines)

    def told_by(pieces: Iterator[str]) -> str:
        problems = Problems("u.csv")
        reading = Reading(Schema(U, {}, ()), Cells(), problems, typed=False, purpose="make")
        found = list(delimited.items(pieces, reading))
        return f"{found} {problems._first}"

    assert told_by(iter([text])) == told_by(text[at : at + size] for at in range(0, len(text), size))
