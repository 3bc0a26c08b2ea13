"""CSV and JSON as people have them: what each is read as, or what is said about it."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from enkash_coins import CoinEventUpdate, CustomConfiguration
from enkash_coins.bulk.files import BadFile, read

U = CoinEventUpdate
ONE = "coin_config_id,amount\nA,10\n"
GZIP = gzip.compress(ONE.encode(), mtime=0)
A10 = [(2, U("A", amount=10))]


def problems(path: Path, **options: Any) -> list[str]:
    """What is said about a file, without its folder."""
    with pytest.raises(BadFile) as caught:
        list(read(path, **options))
    return [problem.replace(str(path.parent) + "/", "") for problem in caught.value.problems]


# fmt: off
READ: list[Any] = [
    # how the file is written
    pytest.param(ONE, {}, A10, id="commas"),
    pytest.param("coin_config_id;amount\nA;10\n", {}, A10, id="semicolons"),
    pytest.param("coin_config_id\tamount\nA\t10\n", {}, A10, id="tabs"),
    pytest.param("coin_config_id|amount\nA|10\n", {}, A10, id="bars"),
    pytest.param("sep=;\ncoin_config_id;amount\nA;10\n", {}, [(3, U("A", amount=10))], id="sep= of Excel"),
    pytest.param('"sep=,"\r\ncoin_config_id,amount\r\nA,10\r\n', {}, [(3, U("A", amount=10))], id="sep= in quotes"),
    pytest.param(b"\xef\xbb\xbf" + ONE.encode(), {}, A10, id="UTF-8 with a mark"),
    pytest.param(ONE.encode("utf-16"), {}, A10, id="UTF-16 with a mark"),
    pytest.param(b"\xfe\xff" + ONE.encode("utf-16-be"), {}, A10, id="UTF-16, big end first"),
    pytest.param(ONE.encode("utf-32"), {}, A10, id="UTF-32 with a mark"),
    pytest.param(ONE.encode("utf-16-le"), {"encoding": "utf-16-le"}, A10, id="UTF-16 without a mark, told"),
    pytest.param("coin_config_id,event\nA,Prämie\n".encode("cp1252"), {"encoding": "cp1252"},
                 [(2, U("A", event="Prämie"))], id="cp1252, told"),
    pytest.param(ONE.encode("utf-16"), {"encoding": "cp1252"}, A10, id="a mark counts more than what is told"),
    pytest.param(ONE.replace("\n", "\r\n"), {}, A10, id="lines of Windows"),
    pytest.param(ONE.replace("\n", "\r"), {}, A10, id="lines of old Macs"),
    pytest.param(ONE.strip(), {}, A10, id="a last line without an end"),
    pytest.param(GZIP, {}, A10, id="gzip"),
    pytest.param(gzip.compress(ONE.encode("utf-16"), mtime=0), {}, A10, id="gzip of UTF-16"),
    pytest.param('"coin_config_id","amount"\n"A","10"\n', {}, A10, id="quotes around all"),
    pytest.param('coin_config_id,event\nA,"a, ""b"""\n', {}, [(2, U("A", event='a, "b"'))], id="quotes in quotes"),
    # which rows
    pytest.param("\n\r\n" + ONE, {}, [(4, U("A", amount=10))], id="blank lines before the header"),
    pytest.param("coin_config_id,amount\n\nA,10\n \n\nB,2\n\n", {}, [(3, U("A", amount=10)), (6, U("B", amount=2))],
                 id="blank lines between"),
    pytest.param(ONE + ",\n,,,\n , \n", {}, A10, id="rows of empty cells at the end"),
    pytest.param("coin_config_id,amount,,\nA,10,,\n", {}, A10, id="trailing commas, in the header too"),
    pytest.param(" coin_config_id ,\tamount\n A , 10 \n", {}, A10, id="padded columns"),
    pytest.param('coin_config_id,"amount\n"\n\nA,1\n\n"B","2\n"\nC,3', {},
                 [(4, U("A", amount=1)), (6, U("B", amount=2)), (8, U("C", amount=3))], id="line breaks in cells"),
    # which columns
    pytest.param("Coin Config ID,AMOUNT\nA,10\n", {}, A10, id="names with blanks and capitals"),
    pytest.param("coinConfigId,Amount\nA,10\n", {}, A10, id="names as the API has them"),
    pytest.param("coin-config-id,Amount\nA,10\n", {}, A10, id="names with hyphens"),
    pytest.param("amount,coin_config_id\n10,A\n", {}, A10, id="any order"),
    pytest.param("coin_config_id,New coins\nA,10\n", {"columns": {"amount": "new_coins"}}, A10, id="a mapped name"),
    pytest.param("coin_config_id,Amount,New\nA,9,10\n", {"columns": {"amount": "New"}, "ignore": ["amount"]},
                 A10, id="a mapped name, not the own"),
    pytest.param("coin_config_id,amount,Note\nA,10,x\n", {"ignore": ["NOTE"]}, A10, id="an ignored column"),
    pytest.param('coin_config_id,amount,Note\nA,10,"x, y\nz"\n', {"ignore": ["*"]}, A10, id="all others ignored"),
    pytest.param("coin_config_id,amount,event\nA,,E\n", {}, [(2, U("A", event="E"))], id="empty: left as it is"),
    # amounts
    pytest.param("coin_config_id,amount\nA,10.00\n", {}, A10, id="10.00"),
    pytest.param("coin_config_id,amount\nA,10.0\n", {}, A10, id="10.0 of pandas"),
    pytest.param("coin_config_id;amount\nA;10,00\n", {}, A10, id="10,00"),
    pytest.param("coin_config_id,amount\nA,10.\n", {}, A10, id="10."),
    pytest.param("coin_config_id,amount\nA,+10\n", {}, A10, id="+10"),
    pytest.param("coin_config_id,amount\nA,010\n", {}, A10, id="010"),
    pytest.param("coin_config_id,amount\nA,0\n", {}, [(2, U("A", amount=0))], id="0"),
    pytest.param("coin_config_id,amount\nA,-0\n", {}, [(2, U("A", amount=0))], id="-0"),
    pytest.param("coin_config_id,amount\nA,-5\n", {"allow_negative": True}, [(2, U("A", amount=-5))], id="-5, allowed"),
    pytest.param("coin_config_id,amount\nA,9223372036854775807\n", {}, [(2, U("A", amount=2**63 - 1))], id="the most"),
    pytest.param('coin_config_id,amount\nA,"1,000"\n', {"thousands": ","}, [(2, U("A", amount=1000))], id="1,000"),
    pytest.param('coin_config_id,amount\nA,"1,00,000.00"\n', {"thousands": ","}, [(2, U("A", amount=100_000))],
                 id="1,00,000.00 of India"),
    pytest.param("coin_config_id,amount\nA,1.000\n", {"thousands": "."}, [(2, U("A", amount=1000))], id="1.000"),
    pytest.param("coin_config_id;amount\nA;1.000,00\n", {"thousands": "."}, [(2, U("A", amount=1000))], id="1.000,00"),
    pytest.param("coin_config_id,amount\nA,1.000\n", {"thousands": ","}, [(2, U("A", amount=1))], id="1.000 is 1"),
    pytest.param("coin_config_id,amount\nA,1\xa0000\n", {"thousands": " "}, [(2, U("A", amount=1000))], id="1 000"),
    pytest.param("coin_config_id,amount\nA,1’000\n", {"thousands": "'"}, [(2, U("A", amount=1000))], id="1’000"),
    pytest.param("coin_config_id,amount\nA,250\n", {"thousands": ","}, [(2, U("A", amount=250))], id="ungrouped"),
    # texts
    pytest.param('coin_config_id,amount\n="A",10\n', {}, A10, id='="A" of Excel'),
    pytest.param('coin_config_id,amount\n"=""A""",10\n', {}, A10, id='="A" in quotes'),
    pytest.param("coin_config_id,event\nA,'=x\n", {}, [(2, U("A", event="=x"))], id="'=x, kept from being a formula"),
    pytest.param("coin_config_id,event\nA,दिवाली\n", {}, [(2, U("A", event="दिवाली"))], id="Hindi"),
    pytest.param('coin_config_id,configuration\nA,"{""CUSTOM"": ""gold"", ""level"": 3}"\n', {},
                 [(2, U("A", configuration=CustomConfiguration("gold", {"level": 3})))], id="an object in a cell"),
    pytest.param("coin_config_id,company_id,event\nA,007,E\nB,012,E\n", {},
                 [(2, U("A", company_id="007", event="E")), (3, U("B", company_id="012", event="E"))],
                 id="leading zeros of one length"),
    pytest.param('coin_config_id,company_id,event\nA,007,E\nB,="12",E\n', {},
                 [(2, U("A", company_id="007", event="E")), (3, U("B", company_id="12", event="E"))],
                 id="fewer digits, kept as text"),
    # JSON
    pytest.param('{"coin_config_id": "A", "amount": 10}\n', {}, [(1, U("A", amount=10))], id="JSON Lines"),
    pytest.param('\n{"coinConfigId": "A", "Amount": 10.0}\r\n\r\n{"event": "E", "coin_config_id": "B", "amount": null}',
                 {}, [(2, U("A", amount=10)), (4, U("B", event="E"))], id="JSON Lines, each its own keys"),
    pytest.param(b'\xef\xbb\xbf{"coin_config_id": " A ", "amount": "10.00"}', {}, [(1, U("A", amount=10))],
                 id="JSON is trimmed as well"),
    pytest.param('[{"coin_config_id": "A", "amount": 10},\n\n {"coin_config_id": "B",\n"amount": 2}\n, {}]\n', {},
                 [(1, U("A", amount=10)), (3, U("B", amount=2))], id="a JSON array"),
    pytest.param('[{"coin_config_id": "A", "configuration": {"CUSTOM": "gold", "x": 1.5}}]', {},
                 [(1, U("A", configuration=CustomConfiguration("gold", {"x": 1.5})))], id="an object in JSON"),
    pytest.param(gzip.compress(b'[{"coin_config_id": "A", "amount": 10}]', mtime=0), {}, [(1, U("A", amount=10))],
                 id="gzip of JSON"),
]
# fmt: on


@pytest.mark.parametrize(("content", "options", "expected"), READ)
def test_what_people_have_is_read(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], expected: list[object]
) -> None:
    """Each way of writing rows means what whoever wrote them meant."""
    path = tmp_path / "u.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert list(read(path, **options).numbered()) == expected


SHORTENED = "is a shortened number, its last digits are lost: format the column as text, enter it again"
FEWER = (
    "has fewer digits than others of its column, which begin with 0: are its own zeros lost? "
    'If not, keep it as text: ="7"'
)
KNOWN = "coin_config_id, amount, configuration, company_id, event"
IGNORE = "--ignore leaves it out"
# fmt: off
REFUSED: list[Any] = [
    # the file
    (b"", {}, "u.csv: is empty"),
    (b"\n \r\n,,\n", {}, "u.csv: is empty"),
    ("[]", {}, "u.csv: is empty"),
    ("coin_config_id,amount\n", {}, "u.csv: has a header, but no rows"),
    ("coin_config_id,amount\n,\n", {}, "u.csv: has a header, but no rows"),
    (ONE.encode("utf-16-le"), {}, "u.csv:1: has a NUL: is this a text, in UTF-8 or with a mark?"),
    (ONE.encode() + b"B,\0\n", {}, "u.csv:3: has a NUL: is this a text, in UTF-8 or with a mark?"),
    (ONE.encode() + b"\r\nB,\xff\n", {}, "u.csv:4: is not UTF-8: say what it is with --encoding, e.g. cp1252"),
    (b"\xef\xbb\xbfa\n\xff", {}, "u.csv:2: is not UTF-8"),
    (b"a\r\xff", {"encoding": "ascii"}, "u.csv:2: is not ASCII"),
    (ONE.encode() + b"x" * (2**20 + 1), {}, "u.csv:3: the line is longer than 1,048,576 characters"),
    (GZIP[:-9], {}, "u.csv:1: the compressed file is cut off or damaged here"),
    (GZIP[:-8] + b"checksum", {}, "u.csv:1: the compressed file is cut off or damaged here"),
    ('coin_config_id,amount\nA,1\nB,"2\nC,3\n', {}, "u.csv:3: has a quote that is never closed"),
    ('coin_config_id,amount\n"A"B,2\n', {}, "u.csv:2: is not CSV: ',' expected after '\"'"),
    ("coin_config_id,amount\nA," + "x" * 131_073, {},
     "u.csv:2: has a cell longer than 131,072 characters: is a quote not closed?"),
    ("sep=^\na^b\n", {}, "u.csv:1: sep=^: cells are to be separated by a comma, a semicolon, a tab or |"),
    (ONE, {"sheet": "June"}, "u.csv: has no sheets"),
    # the header
    ("A,10\nB,20\n", {}, f"u.csv:1: has none of the columns {KNOWN}"),
    ("coin_config_id,colour\nA,red\n", {}, f"u.csv:1: column colour: is unknown. Known are {KNOWN}. {IGNORE}"),
    ("coin_config_id,amonut\nA,1\n", {}, f"u.csv:1: column amonut: is unknown. Is amount meant? {IGNORE}"),
    ("coin_config_id,amount," + "x" * 99 + "\nA,1,2\n", {"ignore": ["x"]},
     f"u.csv:1: column '{'x' * 78}…: is unknown. Known are {KNOWN}. {IGNORE}"),
    ("amount,event\n1,X\n", {}, "u.csv:1: column coin_config_id: is missing"),
    ("coin_config_id,amount\nA,1\n", {"columns": {"amount": "New"}},
     "u.csv:1: column amount: is unknown. Known are coin_config_id, New, configuration, company_id, event. " + IGNORE),
    ("coin_config_id,amount,amount\nA,1,2\n", {}, "u.csv:1: column amount: stands there twice, also as amount"),
    ("coin_config_id,amount,Coin Config Id\nA,1,B\n", {},
     "u.csv:1: column Coin Config Id: stands there twice, also as coin_config_id"),
    ("coin_config_id\nA\n", {}, f"u.csv:1: has nothing to set: none of {KNOWN} but what names the row"),
    # rows
    ("coin_config_id,amount\nA\n", {}, "u.csv:2: has 1 cells, but the header has 2"),
    ("coin_config_id,amount\nA,1,\n", {}, "u.csv:2: has 3 cells, but the header has 2"),
    ("coin_config_id,amount,\nA,1,x\n", {}, "u.csv:2: column 3: 'x' has no name above it"),
    (ONE + ONE, {}, "u.csv:3: is the header once more"),
    (ONE + "\ufeffCoin Config Id, AMOUNT\nB,1\n", {}, "u.csv:3: is the header once more"),
    ("coin_config_id,amount\nA,\n", {}, "u.csv:2: sets nothing: all that it could change is empty"),
    ("coin_config_id,amount,event\nA, ,\t\n", {}, "u.csv:2: sets nothing: all that it could change is empty"),
    ("coin_config_id,amount\n,10\n", {}, "u.csv:2: column coin_config_id: is empty"),
    # amounts
    *((f"coin_config_id;amount\nA;{cell}\n", {}, f"u.csv:2: column amount: {cell!a} {why}") for cell, why in [
        ("10.5", "is not a whole number"),
        ("10,5", "is not a whole number"),
        ("1,000", "may have its thousands grouped: if so, say --thousands ','"),
        ("1.000", "may have its thousands grouped: if so, say --thousands '.'"),
        ("1.234", "may have its thousands grouped: if so, say --thousands '.'"),
        ("1 000", "may have its thousands grouped: if so, say --thousands ' '"),
        ("1,00,000.00", "may have its thousands grouped: if so, say --thousands ','"),
        ("1E+03", SHORTENED),
        ("1,5E+17", SHORTENED),
        ("1e3", "is not an integer"),
        ("ten", "is not an integer"),
        ("1_000", "is not an integer"),
        ("0x10", "is not an integer"),
        ("--1", "is not an integer"),
        ("\uff11\uff10", "is not an integer"),
        ("²", "is not an integer"),
        ("₹10", "is not an integer"),
        ("(10)", "is not an integer"),
        ("-5", "is negative: that needs --allow-negative"),
        ("9" * 50, "is not an integer of 64 bits"),
        ("=5+5", "is a formula without its value: open the file in a spreadsheet, and save it"),
        ("{}", "is not an integer"),
    ]),
    ("coin_config_id,amount\nA,9223372036854775808\n", {},
     "u.csv:2: column amount: 9223372036854775808 is not an integer of 64 bits"),
    ("coin_config_id;amount\nA;10,00\n", {"thousands": ","}, "u.csv:2: column amount: '10,00' is not an integer"),
    ("coin_config_id;amount\nA;1,000,5\n", {"thousands": ","}, "u.csv:2: column amount: '1,000,5' is not an integer"),
    # texts
    *((f"coin_config_id,event\nA,{cell}\n", {}, f"u.csv:2: column event: {cell!a} {why}")
      for why, cells in {
          "stands for nothing: leave the cell empty instead":
              ["NULL", "None", "nan", "N/A", "NA", "nil", "<NA>", "NaT", "undefined", "\\N"],
          "is the error of a formula": ["#REF!", "#N/A", "#DIV/0!", "#VALUE!", "#NAME?", "Err:502"],
          "is a formula without its value: open the file in a spreadsheet, and save it": ["=A1", "=", '="A'],
      }.items() for cell in cells),
    ("coin_config_id,event\n12345.5E+17,E\n", {}, f"u.csv:2: column coin_config_id: '12345.5E+17' {SHORTENED}"),
    ("coin_config_id,amount\na/b,1\n", {},
     "u.csv:2: column coin_config_id: 'a/b' is not an id (1 to 64 of A-Z a-z 0-9 _ -)"),
    ("coin_config_id,configuration\nA,{CUSTOM}\n", {}, "u.csv:2: column configuration: '{CUSTOM}' is not JSON"),
    ("coin_config_id,configuration\nA,{}\n", {},
     "u.csv:2: column configuration: '{}' is not an object like {\"CUSTOM\": \"a text\"}"),
    ("coin_config_id,amount\n0012,1\n7,1\n", {}, f"u.csv:3: column coin_config_id: '7' {FEWER}"),
    ("coin_config_id,amount\n7,1\n0012,1\n", {}, f"u.csv:2: column coin_config_id: '7' {FEWER}"),
    # JSON
    ('{"coin_config_id": "A"', {}, "u.csv:1: is not JSON: Expecting ',' delimiter (character 23)"),
    ('{"coin_config_id": "A", "amount": 1}\n[1]\n"x"', {}, "u.csv:2: is not an object\nu.csv:3: is not an object"),
    ('{"coin_config_id": "A", "amount": 1, "amount": 2}', {}, "u.csv:1: column amount: stands there twice"),
    ('{"coin_config_id": "A", "amount": 1, "Amount": 2}', {},
     "u.csv:1: column Amount: stands there twice, also as amount"),
    ('{"amount": 1}', {}, "u.csv:1: column coin_config_id: is missing"),
    ('{"coin_config_id": "A", "amount": NaN}', {},
     "u.csv:1: column amount: 'nan' stands for nothing: leave the cell empty instead"),
    ('{"coin_config_id": "A", "amount": 10.5}', {}, "u.csv:1: column amount: '10.5' is not a whole number"),
    ('{"coin_config_id": "A", "amount": true}', {}, "u.csv:1: column amount: 'True' is a truth value"),
    ('{"coin_config_id": "A", "amount": [1]}', {}, "u.csv:1: column amount: [1] is neither a text nor a number"),
    ('{"coin_config_id": "A", "amount": ' + "9" * 5000 + "}", {}, "u.csv:1: has an integer of more than 64 bits"),
    ('{"a": ' * 100_000, {}, "u.csv:1: is nested too deeply"),
    ("[" * 100_000, {}, "u.csv:1: is nested too deeply"),
    ('[{"coin_config_id": "A", "amount": 1},\n2,\n{"amount": 1}]', {},
     "u.csv:2: is not an object\nu.csv:3: column coin_config_id: is missing"),
    ('[{"coin_config_id": "A", "amount": 1}', {}, "u.csv:1: the array is not closed: is the file cut off?"),
    ('[{"coin_config_id": "A", "amount": 1}\n{"coin_', {}, "u.csv:2: is not a JSON array: '{' stands behind an object"),
    ('[{"coin_config_id": "A", "amount": 1}] x', {}, "u.csv:1: is not a JSON array: 'x' stands behind its end"),
    ('[{"coin_config_id": "A", "amount": 1},\n{"coin_config_id" "A"}]', {},
     "u.csv:2: is not JSON: Expecting ':' delimiter"),
    ('[{"coin_config_id": "A", "amount": ' + "9" * 5000 + "}]", {}, "u.csv:1: has an integer of more than 64 bits"),
]
# fmt: on


@pytest.mark.parametrize(("content", "options", "told"), REFUSED)
def test_what_is_wrong_is_one_line_that_says_where_and_why(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], told: str
) -> None:
    """Each mistake is one line with file, line, column, value and reason."""
    path = tmp_path / "u.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert "\n".join(problems(path, **options)) == told
