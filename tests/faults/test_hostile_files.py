"""Generated row files, given to the command as a user gives them: never a traceback, and nothing by halves."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from enkash_coins.cli import main
from enkash_coins.sandbox import Sandbox
from tests.faults.cases import Cases
from tests.faults.test_hostile_input import NASTY, text

COLUMNS = ("coin_config_id", "amount", "configuration", "event")
BAD = (
    "",
    "10.0",
    "1e3",
    "1_0",
    "+1",
    "٣",
    "NaN",
    "0x1",
    "9" * 30,
    "9" * 5000,
    "-9223372036854775809",
    "null",
    " ",
    "true",
)
CONFIGS = 20


def rows(dice: Random) -> list[dict[str, object]]:
    """Updates of the sandbox's configurations, all of which can be applied."""
    found: list[dict[str, object]] = []
    for _ in range(dice.randrange(1, 8)):
        row: dict[str, object] = {
            "coin_config_id": f"WCC{dice.randrange(1, CONFIGS):05}",
            "amount": dice.randrange(1000),
        }
        if dice.random() < 0.3:
            row["event"] = dice.choice(("INVOICE_PAYMENT", "दिवाली", 'a "quoted" one', "a, b", "x" * 128))
        found.append(row)
    return found


def together(given: list[dict[str, object]]) -> tuple[dict[str, dict[str, object]], bool]:
    """What each id is to be, a later value before an earlier one; and whether a row contradicts one before it."""
    wanted: dict[str, dict[str, object]] = {}
    contradicted = False
    for row in given:
        fields = dict(row)
        before = wanted.setdefault(str(fields.pop("coin_config_id")), {})
        contradicted |= any(before.get(name, value) != value for name, value in fields.items())
        before |= fields
    return wanted, contradicted


def as_csv(found: list[dict[str, object]], dice: Random) -> str:
    """The rows as CSV in one of its dialects."""
    file = io.StringIO()
    header = dice.sample(COLUMNS, k=len(COLUMNS))
    dialect = dice.choice(("excel", "unix"))  # \r\n and quotes where needed, or \n and quotes everywhere
    writer = csv.DictWriter(file, header, dialect=dialect)
    writer.writeheader()
    writer.writerows(found)
    return dice.choice(("", "\ufeff")) + file.getvalue()


def as_jsonl(found: list[dict[str, object]], dice: Random) -> str:
    """The rows as JSON Lines, escaped or not."""
    plain = dice.random() < 0.5
    return "".join(json.dumps(row, ensure_ascii=plain) + dice.choice(("\n", "\r\n", "\n\n")) for row in found)


def damaged(whole: str, dice: Random) -> bytes:
    """The file with something wrong in it, or not, or as good as random."""
    data = whole.encode()
    at, to = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
    match dice.randrange(9):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:at] + data[at:to] * 2 + data[to:]
        case 3:
            return data[:at] + dice.choice(NASTY).encode("utf-8", "surrogatepass") + data[at:]
        case 4:
            return data[:at] + bytes(dice.randrange(256) for _ in range(dice.randrange(1, 9))) + data[at:]
        case 5:
            return (
                data[:at]
                + dice.choice((b'"', b"[" * 5000, b"{" * 100_000, b"\0", b"\r", b",", b"x" * 100_000))
                + data[at:]
            )
        case 6:
            lines = whole.splitlines(keepends=True)
            dice.shuffle(lines)
            return "".join(lines).encode()
        case 7:
            return whole.replace(
                dice.choice(("amount", "WCC", "coin", "0", "1")), dice.choice((*BAD, text(dice)))
            ).encode("utf-8", "replace")
    return whole.encode(dice.choice(("utf-16", "utf-32", "cp1252", "utf-7")), "replace")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """One that the environment leads to, from a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    with Sandbox(CONFIGS) as sandbox:
        for name, value in sandbox.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ENKASH_LOGIN_GUARD", str(tmp_path / "guard"))  # and not the file of whoever runs this
        yield sandbox
        passwords = [value for name, value in sandbox.environment.items() if "SECRET" in name or "PASSWORD" in name]
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or not any(password.encode() in file.read_bytes() for password in passwords)


@pytest.mark.parametrize("block", range(4))
def test_generated_files(
    block: int, cases: Cases, sandbox: Sandbox, capsys: pytest.CaptureFixture[str], tally: Counter[str]
) -> None:
    """Exit 0: every id has what its rows say together, by one write. Exit 2: lines that name file and place, nothing is
    sent; rows that contradict each other end so, unless the last one wins. Exit 1: rows that are not in the
    sandbox. Nothing else, and no secret on any output.
    """
    passwords = [value for name, value in sandbox.environment.items() if "SECRET" in name or "PASSWORD" in name]
    assert len(passwords) == 2
    for case, dice in cases(short=130, full=1500):
        given = rows(dice)
        kind, whole = ("csv", as_csv(given, dice)) if dice.random() < 0.5 else ("jsonl", as_jsonl(given, dice))
        intact = dice.random() < 0.2
        file = Path(f"{case}.{kind}")
        file.write_bytes(whole.encode() if intact else damaged(whole, dice))
        before = sandbox.calls["update"]
        wanted, contradicted = together(given)
        changing = sum(not fields.items() <= sandbox.configs[id_].items() for id_, fields in wanted.items())
        options = [option for option in ("--json", "--last-wins") if dice.random() < 0.3]
        refused = contradicted and "--last-wins" not in options
        code = main(["apply", file.name, "--yes", *options])
        out, err = capsys.readouterr()
        sent = sandbox.calls["update"] - before
        assert "Traceback" not in out + err
        assert not any(password in out + err for password in passwords)
        tally["outputs searched for planted secrets"] += 2
        assert code in ((2 if refused else 0,) if intact else (0, 1, 2)), err
        if code == 2:
            assert sent == 0
            assert all(line.startswith("enkash-coins: ") for line in err.splitlines())
            assert file.name in err
            assert err.replace("\n", "").isprintable()
            assert len(err) < 20_000
            tally["generated files that were refused, with nothing sent"] += 1
        if intact and not refused:
            assert sent == changing  # what is as wanted already is not written
            assert all(fields.items() <= sandbox.configs[id_].items() for id_, fields in wanted.items())
        if code != 2:
            tally["generated files that were applied"] += 1
