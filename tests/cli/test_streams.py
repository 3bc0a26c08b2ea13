"""Standard streams that are closed, full, broken or narrow: the work is done and the exit code the same as ever."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from enkash_coins.sandbox import Sandbox
from tests.cli.command import Command, Done, Start, Terminal, ended, process, process_environment, until

HINDI = "हिन्दी"
FULL = Path("/dev/full")


def shell(line: str, **variables: str) -> Done:
    """A line of shell in which ``coins`` is the command; its exit code is the command's, whatever comes after a bar."""
    coins = f'coins() {{ "{sys.executable}" -m enkash_coins.cli "$@"; }}'
    done = subprocess.run(
        ["/bin/bash", "-c", f"{coins}; {line}; exit ${{PIPESTATUS[0]}}"],
        env=process_environment() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def five(sandbox: Sandbox) -> Sandbox:
    """A file of five updates beside a sandbox."""
    rows = "".join(f"WCC0000{number},{number}\n" for number in range(1, 6))
    Path("u.csv").write_text(f"coin_config_id,amount\n{rows}", encoding="utf-8")
    return sandbox


@pytest.mark.parametrize(
    "streams",
    [
        "<&-",
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
        "| head -0",
        "| head -1",
        "2>&1 >/dev/null | head -0",
        "</dev/null 1<&0",
        "0>/dev/null",
        *(["> /dev/full", "2> /dev/full", "> /dev/full 2>&1"] if FULL.exists() else []),
    ],
)
def test_rows_are_applied_whatever_the_streams_are(five: Sandbox, streams: str) -> None:
    """Nobody may listen, or nothing may be said: every row is written, and the exit code is 0."""
    assert shell(f"coins apply u.csv --yes --json {streams}").code == 0
    assert sorted(id_ for _, id_, _ in five.applied) == [f"WCC0000{number}" for number in range(1, 6)]
    shown = shell("coins show u.run --json")
    assert json.loads(shown.out.splitlines()[-1])["summary"] == {"applied": 5}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("coins get WCC12345 --json 2>&-", 0),
        ("coins get NOPE --json 2>&-", 1),
        ("coins apply u.csv --yes --json 2>&-", 0),
        ("coins apply u.csv --yes --json <&- 2>&-", 0),
        ("coins plan u.csv --json 2>&-", 0),
    ],
)
def test_closed_standard_error_puts_no_prose_among_results(five: Sandbox, line: str, code: int) -> None:
    """What would have been said there goes nowhere, and not to the next open file."""
    done = shell(line)
    assert done.code == code
    assert [json.loads(line) for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("coins get WCC12345 >&-", 0, ""),
        ("coins get WCC12345 | head -0", 0, ""),
        ("coins --help | head -1", 0, ""),
        ("coins apply u.csv <&-", 2, "enkash-coins: there is no terminal to ask on: --yes is required to write\n"),
        ("coins plan - <&-", 2, "enkash-coins: stdin: is empty\n"),
        ("coins get NOPE >&-", 1, "enkash-coins: get of NOPE: HTTP 404: No such coin configuration\n"),
    ],
)
def test_codes_and_complaints_are_as_with_dev_null(five: Sandbox, line: str, code: int, said: str) -> None:
    """A closed stream is an empty one."""
    done = shell(line)
    assert (done.code, done.err) == (code, said)


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
def test_results_that_cannot_be_written_are_complained_of(five: Sandbox) -> None:
    """The exit code tells of the work; that its results are lost is one line on standard error."""
    done = shell("coins get WCC12345 > /dev/full")
    assert (done.code, done.err) == (0, "enkash-coins: standard output: no space left on device\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_narrow_encoding_loses_nothing(sandbox: Sandbox, encoding: str) -> None:
    """What the terminal or file cannot hold is escaped; the write is not in vain, and its exit code is 0."""
    done = shell(f"coins update WCC00001 --event {HINDI}", PYTHONIOENCODING=encoding)
    assert (done.code, done.err) == (0, "")
    assert HINDI.encode("ascii", "backslashreplace").decode() in done.out
    assert sandbox.configs["WCC00001"]["event"] == HINDI


def test_non_blocking_pipe_loses_no_row(start: Start, run: Command) -> None:
    """A neighbour in the pipeline may have made the pipe non-blocking; a slow reader gets every line all the same."""
    start(1500)
    rows = "".join(f"WCC{number:05},7\n" for number in range(1, 1501))
    Path("u.csv").write_text(f"coin_config_id,amount\n{rows}", encoding="utf-8")
    assert run("plan u.csv").code == 0
    theirs, ours = os.pipe()
    os.set_blocking(ours, False)
    child = process("show", "u.run", "--json", stdout=ours)
    os.close(ours)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=3)
    with os.fdopen(theirs, encoding="utf-8") as read:
        assert [json.loads(line) for line in read][-1]["rows"] == len(rows.splitlines())
    assert ended(child).code == 0


@pytest.mark.parametrize("redirected", ["2>log", "2>/dev/null", "2>&-", "</dev/null"])
def test_question_that_nobody_would_see_is_not_waited_for(five: Sandbox, redirected: str) -> None:
    """On a terminal, but with its complaints or its answers elsewhere: exit 2 at once, nothing written."""
    terminal = Terminal("apply", "u.csv", redirected=redirected)
    assert terminal.child.wait(timeout=20) == 2
    terminal.close()
    assert "[y/N]" not in terminal.shown
    assert five.calls == {}


def test_results_may_go_elsewhere_while_it_asks(five: Sandbox) -> None:
    """The question is on the terminal, and only the results are in the file."""
    terminal = Terminal("apply", "u.csv", "--json", redirected=">out")
    until(lambda: "[y/N]" in terminal.shown)
    terminal.type("y\n")
    assert terminal.child.wait(timeout=20) == 0
    terminal.close()
    assert len(Path("out").read_text(encoding="utf-8").splitlines()) == 5 + 1


def test_window_closed_under_nohup_changes_nothing(five: Sandbox) -> None:
    """Started to outlive its terminal, it works on although nothing can be shown any more."""
    terminal = Terminal("apply", "u.csv", "--yes", before='trap "" HUP')
    until(lambda: five.calls["get"])
    terminal.close()
    assert terminal.child.wait(timeout=20) == 0
    assert len(five.applied) == 5
