import asyncio
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enkash_coins.bulk.application import Application
from enkash_coins.bulk.not_applied import NotApplied
from enkash_coins.bulk.rows import Row, UpdateFile
from enkash_coins.bulk.source import Source
from enkash_coins.cli.progress import plain_lines
from enkash_coins.models import OutcomeStatus
from enkash_coins.sandbox import Fault, Sandbox
from tests.cli.command import Command, Start, ended, process

HEADER = "coin_config_id,amount\n"


def write(text: str, name: str = "u.csv") -> None:
    """A file in the test's working folder."""
    Path(name).write_text(text, encoding="utf-8")


def files() -> list[str]:
    """What is in the test's working folder."""
    return [path.name for path in Path().iterdir()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], str]], None]:
    """Puts a person before the terminal, who answers by a function."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def put(answer: Callable[[], str]) -> None:
        stdin = Terminal()
        monkeypatch.setattr(stdin, "readline", answer)
        monkeypatch.setattr(sys, "stdin", stdin)

    return put


def test_file_is_applied(sandbox: Sandbox, run: Command) -> None:
    """All rows applied: exit 0, a summary for people, nothing on stdout, and no other file."""
    write(f"{HEADER}WCC00001,7\nWCC00002,8\nWCC00001,9\n")
    done = run("apply u.csv --yes")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[0].startswith("3 of 3 rows in ")
    assert done.err.splitlines()[1:] == ["  3 applied"]
    assert (sandbox.configs["WCC00001"]["amount"], sandbox.configs["WCC00002"]["amount"]) == (9, 8)
    assert files() == ["u.csv"]


def test_rows_not_applied_are_told_and_kept(sandbox: Sandbox, run: Command) -> None:
    """Exit 1; the summary says how many, why and which, and where they are; they can be applied again."""
    write(f"{HEADER}WCC00001,7\nNOPE,8\nGONE,9\n")
    done = run("apply u.csv --yes")
    assert done.code == 1
    assert done.err.splitlines()[1:] == [
        "  2 rejected  update: HTTP 404: No such coin configuration",
        "    line 3 NOPE · line 4 GONE",
        "  1 applied",
        "2 rows to apply again, with reasons: u.not-applied.csv",
    ]
    sandbox.configs["NOPE"] = dict(sandbox.configs["WCC00001"], coinConfigId="NOPE")
    again = run("apply u.not-applied.csv --yes --not-applied rest.csv")
    assert again.code == 1
    assert sandbox.configs["NOPE"]["amount"] == 8
    assert Path("rest.csv").read_text(encoding="utf-8") == (
        "coin_config_id,amount,outcome,reason\nGONE,9,rejected,update: HTTP 404: No such coin configuration\n"
    )


def test_examples_are_few(sandbox: Sandbox, run: Command) -> None:
    """A summary stays short, however many rows fail for one reason."""
    write(HEADER + "NOPE,1\n" * 6)
    assert (
        "    line 2 NOPE · line 3 NOPE · line 4 NOPE · line 5 NOPE · line 6 NOPE · …\n" in run("apply u.csv --yes").err
    )


def test_reasons_are_few(start: Start, run: Command) -> None:
    """A summary stays short, however many reasons there are."""
    start(faults=[Fault("server_error", on="update", nth=number, status=500 + number) for number in range(1, 20)])
    write(HEADER + "WCC00001,1\n" * 15)
    summary = run("apply u.csv --yes --retries 0").err
    assert "  1 unknown  update: HTTP 510: Failed, as the sandbox was told to\n" in summary
    assert "  5 unknown  for other reasons\n" in summary
    assert "HTTP 511" not in summary


def test_change_of_the_file_during_the_run_is_told(
    sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a changed file can be neither sent nor kept: that is said, and how many they are."""
    keep = NotApplied.keep

    def keep_and_change(rest: NotApplied, row: Row, outcome: str, reason: str, *, applied: bool) -> None:
        if row.line == 2:
            with Path("u.csv").open("a", encoding="utf-8") as file:
                file.write("WCC00001,8\n")
        keep(rest, row, outcome, reason, applied=applied)

    monkeypatch.setattr(NotApplied, "keep", keep_and_change)
    write(HEADER + "WCC00001,7\n" * 500)
    done = run("apply u.csv --yes")
    applied = sandbox.calls["update"]
    assert done.code == 1
    assert done.err.startswith("Ended early: u.csv: was changed after it had been checked\n")
    assert done.err.splitlines()[-1] == f"{500 - applied} rows were not sent, and are not among those to apply again"


def test_json_is_one_line_for_each_row_and_one_for_all(sandbox: Sandbox, run: Command) -> None:
    """Machines find every row on stdout, with line, id, status, result and error, and at last the sum."""
    write(f"{HEADER}WCC00001,7\nNOPE,8\n")
    *rows, total = map(json.loads, run("apply u.csv --yes --json").out.splitlines())
    first, second = sorted(rows, key=lambda row: row["line"])
    assert (first["line"], first["status"], first["result"]["amount"], first["error"]) == (2, "applied", 7, None)
    assert (second["coin_config_id"], second["status"], second["error"]["type"]) == ("NOPE", "rejected", "NotFound")
    assert total == {
        "summary": {"applied": 1, "rejected": 1},
        "rows": 2,
        "not_applied": "u.not-applied.csv",
        "ended_by": None,
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "u.csv: is empty"),
        (HEADER, "u.csv: has a header, but no rows"),
        (f"{HEADER}WCC00001,1\nWCC00002,10.5\n", "u.csv:3: column amount: '10.5' is not an integer"),
        (f"{HEADER}WCC00001,1\nWCC00002\n", "u.csv:3: has 1 cells, but the header has 2"),
        ("coin_config_id,amuont\nWCC00001,1\n", "u.csv:1: column amuont: is unknown; known are coin_config_id,"),
    ],
)
def test_bad_file_is_one_line_and_nothing_is_sent(sandbox: Sandbox, run: Command, content: str, problem: str) -> None:
    """The whole file is checked first: one bad row at its end, and not even a login is tried."""
    write(content)
    done = run("apply u.csv --yes")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"enkash-coins: {problem}")
    assert sandbox.calls == {}
    assert files() == ["u.csv"]


def test_without_terminal_yes_is_required(sandbox: Sandbox, run: Command) -> None:
    """Nobody can be asked: exit 2, nothing sent."""
    write(f"{HEADER}WCC00001,7\n")
    done = run("apply u.csv")
    assert (done.code, done.err) == (2, "enkash-coins: there is no terminal to ask on: --yes is required to write\n")
    assert sandbox.calls == {}


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_consent_applies(sandbox: Sandbox, run: Command, terminal: Callable[..., None], answer: str) -> None:
    """The question names the file, how much is to be written, and the host."""
    write(f"{HEADER}WCC00001,7\nWCC00001,8\n")
    terminal(lambda: answer)
    done = run("apply u.csv")
    assert done.err.startswith(
        f"u.csv: 2 updates of 1 configuration\nto {sandbox.base_url}\nApply them? [y/N] 2 of 2 rows in "
    )
    assert sandbox.calls["update"] == 2


@pytest.mark.parametrize("answer", ["\n", "n\n", "yess\n", ""])
def test_anything_but_consent_does_not(
    sandbox: Sandbox, run: Command, terminal: Callable[..., None], answer: str
) -> None:
    """Whatever is not a yes, the end of input included, is a no."""
    write(f"{HEADER}WCC00001,7\n")
    terminal(lambda: answer)
    done = run("apply u.csv")
    assert (done.code, done.err.splitlines()[-1]) == (1, "Apply them? [y/N] enkash-coins: nothing was sent")
    assert sandbox.calls == {}


def test_interrupted_question_is_exit_130(sandbox: Sandbox, run: Command, terminal: Callable[..., None]) -> None:
    """Ctrl-C at the question sends nothing, and leaves nothing behind."""

    def interrupt() -> str:
        raise KeyboardInterrupt

    write(f"{HEADER}WCC00001,7\n")
    terminal(interrupt)
    done = run("apply u.csv")
    assert (done.code, done.err.splitlines()[-1]) == (
        130,
        "Apply them? [y/N] enkash-coins: interrupted; nothing was sent",
    )
    assert sandbox.calls == {}
    assert files() == ["u.csv"]


def test_file_that_changes_during_the_question_is_not_sent(
    sandbox: Sandbox, run: Command, terminal: Callable[..., None]
) -> None:
    """What was consented to is what was checked: a file saved meanwhile is neither."""

    def save() -> str:
        write(f"{HEADER}WCC00001,1000000\n", "new.csv")
        Path("new.csv").replace("u.csv")
        return "y\n"

    write(f"{HEADER}WCC00001,7\n")
    terminal(save)
    done = run("apply u.csv")
    assert done.code == 2
    assert "enkash-coins: u.csv: was changed after it had been checked\n" in done.err
    assert sandbox.calls == {}
    assert files() == ["u.csv"]


@pytest.mark.parametrize(
    ("option", "code", "line"),
    [
        ("taken.csv", 2, "taken.csv: exists already"),
        ("rest.jsonl", 2, "rest.jsonl: its name must end in .csv, like what u.csv holds"),
        ("missing/rest.csv", 5, "missing/rest.csv.unfinished: No such file or directory"),
    ],
)
def test_no_place_for_the_rest_means_that_nothing_is_sent(
    sandbox: Sandbox, run: Command, option: str, code: int, line: str
) -> None:
    """Before the first row is sent, there is a place for those that will not be applied."""
    write(f"{HEADER}WCC00001,7\n")
    write("mine", "taken.csv")
    done = run(f"apply u.csv --yes --not-applied {option}")
    assert done.code == code
    assert done.err.splitlines()[-1].startswith(f"enkash-coins: {line}")
    assert sandbox.calls == {}
    assert Path("taken.csv").read_text(encoding="utf-8") == "mine"


def test_refused_login_is_exit_3(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token request for the whole file, and all rows are kept as not sent."""
    monkeypatch.setenv("ENKASH_PASSWORD", "wrong")
    write(HEADER + "WCC00001,7\n" * 500)
    done = run("apply u.csv --yes")
    assert done.code == 3
    assert "Check the ENKASH_* credentials first" in done.err.splitlines()[0]
    assert sandbox.calls == {"token": 1}
    rest = Path("u.not-applied.csv").read_text(encoding="utf-8").splitlines()
    assert len(rest) == 501
    assert all(line.startswith("WCC00001,7,not_sent,") for line in rest[1:])


def test_suspended_login_is_exit_3(start: Start, run: Command) -> None:
    """A token endpoint that never answers clearly is asked twice in all."""
    sandbox = start(faults=[Fault("server_error", on="token")])
    write(HEADER + "WCC00001,7\n" * 500)
    assert run("apply u.csv --yes --retries 5").code == 3
    assert sandbox.calls == {"token": 2}


def test_unreachable_host_is_exit_4(sandbox: Sandbox, run: Command) -> None:
    """Nothing left: all rows are kept as not sent."""
    write(HEADER + "WCC00001,7\n" * 500)
    done = run("apply u.csv --yes --retries 0 --base-url http://127.0.0.1:1")
    assert done.code == 4
    assert done.err.startswith(
        "Ended early: 100 rows in a row failed on account of the host, the last with: no connection"
    )
    assert len(Path("u.not-applied.csv").read_text(encoding="utf-8").splitlines()) == 501


def test_retries_that_may_arrive_late_are_told(start: Start, run: Command) -> None:
    """A row that was applied at a later try is applied; the earlier one is not concealed."""
    start(faults=[Fault("disconnect_before_apply", on="update", nth=1)])
    write(f"{HEADER}WCC00001,7\n")
    assert run("apply u.csv --yes").err.splitlines()[1:] == [
        "  1 applied  1 of them not at the first try",
        "1 of the applied had an earlier try without a clear answer: it could still arrive, and undo a later change",
    ]


async def test_without_terminal_progress_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Now and then a line says how many rows are done, and how they ended."""
    write(f"{HEADER}A,1\nB,2\n")
    with Source("u.csv") as source, NotApplied(rows := UpdateFile(source)) as rest:
        application = Application(rows, rest)
        async with plain_lines(application, seconds=0.001):
            await asyncio.sleep(0.01)
            application.counts[OutcomeStatus.APPLIED] = 1
            await asyncio.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "0 of 2 rows: none yet"
    assert lines[-1] == "1 of 2 rows: 1 applied"


def test_warnings_of_the_package_are_shown(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer about another id than the one asked for is a warning that people see."""
    sandbox.configs["WCC00001"]["coinConfigId"] = "WCC99999"
    done = run("get WCC00001")
    assert done.code == 0
    assert done.err.startswith("enkash-coins: warning: asked for WCC00001, the answer names WCC99999;")


def test_standard_input_is_applied(sandbox: Sandbox) -> None:
    """A pipe is checked as a whole like any file, in the format that it begins with; the rest goes to this folder."""
    child = process("apply", "-", "--yes", stdin=-1)
    done = ended(child, '{"coinConfigId": "WCC00001", "amount": 77}\n{"coinConfigId": "NOPE", "amount": 1}\n')
    assert done.code == 1
    assert sandbox.configs["WCC00001"]["amount"] == 77
    assert json.loads(Path("stdin.not-applied.jsonl").read_text(encoding="utf-8"))["coinConfigId"] == "NOPE"
    bad = ended(process("apply", "-", "--yes", stdin=-1), f"{HEADER}WCC00001,5\nWCC00001,x\n")
    assert (bad.code, bad.err) == (2, "enkash-coins: stdin:3: column amount: 'x' is not an integer\n")
    assert sandbox.calls["update"] == 2


def test_full_disk_under_standard_output_is_exit_5(sandbox: Sandbox) -> None:
    """When results cannot be written no more rows are sent, and those left are kept."""
    write(HEADER + "WCC00001,7\n" * 500)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = ended(process("apply", "u.csv", "--yes", "--json", stdout=full))
    assert done.code == 5
    assert "Ended early: interrupted, standard output: no space left on device" in done.err
    assert Path("u.not-applied.csv").exists()


def test_full_disk_under_the_rest_is_exit_5(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a row that was not applied cannot be kept, it is said, and what to do."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NotApplied, "keep", fail)
    write(HEADER + "WCC00001,7\n" * 500)
    done = run("apply u.csv --yes")
    assert done.code == 5
    assert done.err.startswith(
        "enkash-coins: no space left on device: not every row is accounted for; apply u.csv again as a whole\n"
    )
    assert sandbox.calls["update"] < 500


def test_reader_that_goes_away_interrupts(start: Start) -> None:
    """When nobody reads the results any more, no more rows are sent, and the rest is kept as after Ctrl-C."""
    start(latency=0.002)
    write(HEADER + "WCC00001,7\n" * 3000)
    with process("apply", "u.csv", "--yes", "--json") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        errors = child.stderr.read()
    assert child.returncode == 130
    assert "Ended early: interrupted, standard output: broken pipe" in errors
    assert "Traceback" not in errors
    assert Path("u.not-applied.csv").exists()
