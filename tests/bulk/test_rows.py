import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from enkash_coins import UNSET, CoinAllocation, CoinEventUpdate
from enkash_coins.bulk.rows import ALLOCATIONS, UPDATES, Format, Row, RowFile, integer, row_of
from enkash_coins.bulk.source import BadFile, Source

HEADER = b"coin_config_id,amount,configuration\n"
KNOWN = "coin_config_id, coinConfigId, amount, configuration, company_id, companyId, event"


class Opener(Protocol):
    def __call__(self, path: Path, form: Format | None = None) -> RowFile: ...


@pytest.fixture
def checked() -> Iterator[Opener]:
    """Opens and checks an update file; closes it after the test."""
    with ExitStack() as stack:
        yield lambda path, form=None: RowFile(stack.enter_context(Source(str(path))), UPDATES, form)


def problems(path: Path) -> list[str]:
    """What is wrong with the file, without its folder."""
    with pytest.raises(BadFile) as caught, Source(str(path)) as source:
        list(RowFile(source, UPDATES))
    return [problem.replace(str(path), path.name) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "u.csv: is empty"),
        (b"\n\r\n", "u.csv: is empty"),
        (HEADER, "u.csv: has a header, but no rows"),
        (b"coin_config_id,amount,colour\nA,1,red\n", f"u.csv:1: column colour: is unknown; known are {KNOWN}"),
        (
            b"coin_config_id,amount," + b"x" * 100_000 + b"\nA,1,2\n",
            f"u.csv:1: column '{'x' * 78}…: is unknown; known are {KNOWN}",
        ),
        (b"coin_config_id,amount,\nA,1,\n", "u.csv:1: column 3: has no name"),
        (b"amount,event\n1,X\n", "u.csv:1: column coin_config_id: is missing"),
        (b"coin_config_id,amount,amount\nA,1,2\n", "u.csv:1: column amount: stands there twice"),
        (
            b"coin_config_id,amount,coinConfigId\nA,1,B\n",
            "u.csv:1: column coinConfigId: stands there twice, also as coin_config_id",
        ),
        (b"coin_config_id;amount\nA;1\n", "u.csv:1: columns are to be separated by commas"),
        (b"coin_config_id\tamount\nA\t1\n", "u.csv:1: columns are to be separated by commas"),
        (
            b"coin_config_id\nA\n",
            "u.csv:1: has none of the columns amount, configuration, company_id, event",
        ),
        (HEADER + b"A,10.5,\n", "u.csv:2: column amount: '10.5' is not an integer"),
        (HEADER + b"A,ten,\n", "u.csv:2: column amount: 'ten' is not an integer"),
        (HEADER + b"A,1_0,\n", "u.csv:2: column amount: '1_0' is not an integer"),
        (HEADER + b"A,+1,\n", "u.csv:2: column amount: '+1' is not an integer"),
        (HEADER + "A,\uff11\uff10,\n".encode(), "u.csv:2: column amount: '\uff11\uff10' is not an integer"),
        (
            HEADER + b"A,9223372036854775808,\n",
            "u.csv:2: column amount: 9223372036854775808 is not an integer of 64 bits",
        ),
        (
            HEADER + b"A," + b"9" * 5000 + b",\n",
            f"u.csv:2: column amount: '{'9' * 78}… is not an integer of 64 bits",
        ),
        (HEADER + b"A,1\n", "u.csv:2: has 2 cells, but the header has 3"),
        (HEADER + b"A,1,X,\n", "u.csv:2: has 4 cells, but the header has 3"),
        (HEADER + b",1,\n", "u.csv:2: column coin_config_id: is empty"),
        (
            HEADER + b"a/b,1,\n",
            "u.csv:2: column coin_config_id: 'a/b' is not an id (1 to 64 of A-Z a-z 0-9 _ -)",
        ),
        (
            b"companyId,coinConfigId\nx\x7f,A\n",
            "u.csv:2: column companyId: 'x\\x7f' has a control character",
        ),
        (
            HEADER + b'A,,"X\nY"\n',
            "u.csv:2: column configuration: 'X\\nY' has a control character",
        ),
        (HEADER + b"A,,\n", "u.csv:2: sets nothing: all that could be changed is left out"),
        (HEADER + b"A, ,\t\n", "u.csv:2: sets nothing: all that could be changed is left out"),
        (HEADER + b"A,1,\n\nB,\xff,\n", "u.csv:4: is not UTF-8 (byte 3 of the line)"),
        (HEADER.decode().encode("utf-16"), "u.csv:1: has a NUL byte: is this a text file in UTF-8?"),
        (HEADER + b"A,1,\0\n", "u.csv:2: has a NUL byte: is this a text file in UTF-8?"),
        (HEADER + b'A,1,\nB,2,"X\nC,3,\n', "u.csv:3: has a quote that is never closed"),
        (HEADER + b'"A"B,2,\n', "u.csv:2: is not CSV: ',' expected after '\"'"),
        (b"coin_config_id,amount\rA,1\r", "u.csv:1: has a carriage return inside: lines are to end in \\n or \\r\\n"),
        (
            HEADER + b"A,1," + b"x" * 131_073 + b"\n",
            "u.csv:2: has a cell longer than 131,072 characters: is a quote not closed?",
        ),
        (HEADER + b"x" * (2**20 + 1), "u.csv:2: the line is longer than 1,048,576 bytes"),
    ],
)
def test_bad_csv_is_one_line_that_says_where_and_why(tmp_path: Path, content: bytes, problem: str) -> None:
    """Each mistake in a CSV file is one line with file, line and column."""
    path = tmp_path / "u.csv"
    path.write_bytes(content)
    assert problems(path) == [problem]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "u.jsonl: is empty"),
        ("\n \n", "u.jsonl: is empty"),
        ('{"coin_config_id": "A", "amount": 10.5}', "u.jsonl:1: column amount: 10.5 is not an integer of 64 bits"),
        ('{"coin_config_id": "A", "amount": 10.0}', "u.jsonl:1: column amount: 10.0 is not an integer of 64 bits"),
        ('{"coin_config_id": "A", "amount": NaN}', "u.jsonl:1: column amount: nan is not an integer of 64 bits"),
        ('{"coin_config_id": "A", "amount": "10"}', "u.jsonl:1: column amount: '10' is not an integer of 64 bits"),
        ('{"coin_config_id": "A", "amount": true}', "u.jsonl:1: column amount: True is not an integer of 64 bits"),
        (
            '{"coin_config_id": "A", "amount": ' + "9" * 5000 + "}",
            "u.jsonl:1: has an integer of more than 64 bits",
        ),
        (
            '{"coin_config_id": "A", "event": ""}',
            "u.jsonl:1: column event: '' is not 1 to 128 characters long",
        ),
        (
            '{"coin_config_id": "A", "event": "\\ud800"}',
            "u.jsonl:1: column event: '\\ud800' has a control character",
        ),
        (
            '{"coinConfigId": 7, "amount": 1}',
            "u.jsonl:1: column coinConfigId: 7 is not an id (1 to 64 of A-Z a-z 0-9 _ -)",
        ),
        (
            '{"coin_config_id": "A", "amount": null}',
            "u.jsonl:1: column amount: is null; leave the key out to leave the value as it is",
        ),
        ('{"coin_config_id": "A"}', "u.jsonl:1: sets nothing: all that could be changed is left out"),
        ('{"amount": 1}', "u.jsonl:1: column coin_config_id: is missing"),
        ('{"coin_config_id": "A", "colour": 1}', f"u.jsonl:1: column colour: is unknown; known are {KNOWN}"),
        ('{"coin_config_id": "A", "amount": 1, "amount": 2}', "u.jsonl:1: column amount: stands there twice"),
        (
            '{"coin_config_id": "A", "companyId": "C", "company_id": "C"}',
            "u.jsonl:1: column company_id: stands there twice, also as companyId",
        ),
        ('\n{"coin_config_id": "A"', "u.jsonl:2: is not JSON: Expecting ',' delimiter (character 23)"),
        ('[{"coin_config_id": "A"}]', "u.jsonl:1: is not an object: in JSON Lines, every line is one"),
        ("[" * 100_000, "u.jsonl:1: is nested too deeply"),
        ('{"coin_config_id": "A", "event": "\0"}', "u.jsonl:1: has a NUL byte: is this a text file in UTF-8?"),
    ],
)
def test_bad_json_lines_are_one_line_that_says_where_and_why(tmp_path: Path, content: str, problem: str) -> None:
    """Each mistake in a JSON Lines file is one line with file, line and column."""
    path = tmp_path / "u.jsonl"
    path.write_text(content, encoding="utf-8")
    assert problems(path) == [problem]


def test_values_of_any_depth_end_in_one_line(tmp_path: Path) -> None:
    """A value so deep that it can just be read, or just be shown, is a line about that row, never a crash."""
    path = tmp_path / "u.jsonl"
    for depth in range(900, 1000):
        path.write_text('{"coin_config_id": "A", "event": ' + "[" * depth + "]" * depth + "}", encoding="utf-8")
        (problem,) = problems(path)
        assert "is nested too deeply" in problem or "column event: " in problem


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.csv", "missing.csv: no such file or directory"),
        ("folder.csv", "folder.csv: is a directory"),
        ("rows.txt", "rows.txt: its name must end in .csv, .jsonl, .ndjson, or --format say what it is"),
        ("rows", "rows: its name must end in .csv, .jsonl, .ndjson, or --format say what it is"),
    ],
)
def test_what_is_no_update_file_is_one_line(tmp_path: Path, name: str, problem: str) -> None:
    """A path that leads to no file of a known format is told apart by its reason."""
    (tmp_path / "folder.csv").mkdir()
    for file in ("rows.txt", "rows"):
        (tmp_path / file).write_bytes(HEADER + b"A,1,\n")
    assert problems(tmp_path / name) == [problem]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_one_line(tmp_path: Path) -> None:
    """A file that may not be read is told as such."""
    path = tmp_path / "u.csv"
    path.touch(mode=0)
    assert problems(path) == ["u.csv: permission denied"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that can be opened and not read")
def test_file_that_cannot_be_read_is_one_line() -> None:
    """A disk that fails while it is read is a line about the file."""
    with Source("/proc/self/mem") as source, pytest.raises(BadFile, match=r"^/proc/self/mem:1: input/output error$"):
        list(RowFile(source, UPDATES, Format.CSV))


def test_closed_standard_input_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have no standard input at all."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(BadFile, match=r"^stdin: standard input is closed$"):
        Source("-")


def test_names_that_steer_a_terminal_are_quoted(tmp_path: Path) -> None:
    """A file name with a line break does not break the one line about it."""
    path = tmp_path / "a\nb.csv"
    assert problems(path) == [f"{str(path)!r}: no such file or directory"]


def test_first_ten_problems_are_told_and_the_others_counted(tmp_path: Path) -> None:
    """A file with many mistakes is not a flood of lines, and does not hide how many there are."""
    path = tmp_path / "u.csv"
    path.write_bytes(HEADER + b"A,x,\n" * 1012)
    found = problems(path)
    assert found[0] == "u.csv:2: column amount: 'x' is not an integer"
    assert found[9:] == ["u.csv:11: column amount: 'x' is not an integer", "u.csv: and 1,002 problems more"]


def test_line_numbers_count_lines_of_the_file(tmp_path: Path, checked: Opener) -> None:
    """A row's line is where it begins, whatever quoted line breaks and empty lines stand before it."""
    path = tmp_path / "u.csv"
    path.write_bytes(b'coin_config_id,"amount\n"\n\nA,1\n\nB,2\nC,x\n')
    assert problems(path) == ["u.csv:7: column amount: 'x' is not an integer"]
    path.write_bytes(b'coin_config_id,"amount\n"\n\nA,1\n\nB,2\n')
    assert [row.line for row in checked(path)] == [4, 6]


def test_csv_means_what_it_says(tmp_path: Path, checked: Opener) -> None:
    """Both spellings, any order, a byte order mark, Windows line ends, blanks around values, 0 and the limits."""
    path = tmp_path / "u.csv"
    path.write_bytes(
        b"\xef\xbb\xbfevent,coinConfigId, amount ,companyId,configuration\r\n"
        b'INVOICE_PAYMENT,A,0,,\r\n,B, -7 ,CEK1,"CUSTOM"\r\n,C,-9223372036854775808,,\r\n"a, b",D,,,\xc3\xa9'
    )
    assert [(row.id, row.wanted) for row in checked(path)] == [
        ("A", {"event": "INVOICE_PAYMENT", "amount": 0}),
        ("B", {"amount": -7, "company_id": "CEK1", "configuration": "CUSTOM"}),
        ("C", {"amount": -(2**63)}),
        ("D", {"event": "a, b", "configuration": "é"}),
    ]


def test_json_lines_mean_what_they_say(tmp_path: Path, checked: Opener) -> None:
    """Both spellings, empty lines and a byte order mark; a missing key leaves the value as it is."""
    path = tmp_path / "u.ndjson"
    path.write_bytes(b'\xef\xbb\xbf{"coinConfigId": "A", "amount": 0}\n\n{"company_id": "C", "coin_config_id": "B"}')
    assert [(row.id, row.wanted) for row in checked(path)] == [("A", {"amount": 0}), ("B", {"company_id": "C"})]
    assert checked(path).format is Format.JSONL


def test_allocation_files_have_columns_of_their_own(tmp_path: Path) -> None:
    """The same reader and the same rules; a request id that is not given is made, and is another for each row."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"companyId,event,user_id,requestId\nCEK1,E,U1,order-1\nCEK1,E,U2,\nCEK1,E,U2,\n")
    with Source(str(path)) as source:
        first, second, third = RowFile(source, ALLOCATIONS)
    assert first == Row(2, "order-1", {"company_id": "CEK1", "event": "E", "user_id": "U1"})
    assert not second.given
    assert second.id != third.id


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"company_id,event\nC,E\n", "a.csv:1: column user_id: is missing"),
        (b"company_id,event,user_id\nC,E,\n", "a.csv:2: column user_id: is empty"),
        (b"company_id,event,user_id\nC,E,a\tb\n", "a.csv:2: column user_id: 'a\\tb' has a control"),
        (b"company_id,event,user_id,amount\nC,E,U,1\n", "a.csv:1: column amount: is unknown; known are company_id,"),
        (b"company_id,event,user_id,request_id\nC,E,U,\x7f\n", "a.csv:2: column request_id: '\\x7f' has a control"),
    ],
)
def test_bad_allocations_are_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    """Each mistake in a file of allocations is one line with file, line and column."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(BadFile) as caught, Source(str(path)) as source:
        list(RowFile(source, ALLOCATIONS))
    (found,) = caught.value.problems
    assert found.replace(str(path), path.name).startswith(problem)


def test_none_in_an_update_is_refused() -> None:
    """It is not taken for a field that is left out, neither by a call nor by a run."""
    none: Any = None
    with pytest.raises(BadFile, match=r"^row 3: amount: None is not an integer of 64 bits$"):
        row_of(CoinEventUpdate("A", amount=none, event="E"), 3, UPDATES)
    assert row_of(CoinEventUpdate("A", amount=0), 3, UPDATES) == Row(4, "A", {"amount": 0})
    gift = CoinAllocation(company_id="C", event="E", user_id="U")
    assert not row_of(gift, 0, ALLOCATIONS).given


def test_format_may_be_said(tmp_path: Path, checked: Opener) -> None:
    """What is said about the format counts more than the file's name."""
    path = tmp_path / "u.csv"
    path.write_text('{"coin_config_id": "A", "amount": 1}', encoding="utf-8")
    assert len(list(checked(path, Format.JSONL))) == 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [(HEADER + b"A,1,\n", Format.CSV), (b'\n {"coin_config_id": "A", "amount": 1}\n', Format.JSONL)],
)
def test_pipes_are_read_but_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, kind: Format) -> None:
    """A pipe has no name that tells the format: its first character does, and is not lost."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()
    with Source(str(path)) as source:
        rows = RowFile(source, UPDATES)
        writer.join()
        assert rows.format is kind
        assert [(row.id, row.wanted) for row in rows] == [("A", {"amount": 1})]


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-0", 0), ("007", 7), ("-12", -12)])
def test_integers_are_ascii_digits(text: str, value: int) -> None:
    """Plain digits are numbers, with or without a minus."""
    assert integer(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", "--1", "1 ", " 1", "1\n", "0x10", "1e3", "1_0", "+1", "\uff11", "²", UNSET.name]
)
def test_what_int_takes_beyond_is_refused(text: str) -> None:
    """What merely looks like a number is refused, even where int() would take it."""
    with pytest.raises(ValueError, match="is not an integer"):
        integer(text)
