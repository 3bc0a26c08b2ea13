import asyncio
import io
import json
import re
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from enkash_coins.bulk import Counts, State
from enkash_coins.cli.progress import Progress, plain_lines
from enkash_coins.sandbox import Fault, Sandbox
from tests.cli.command import Command, Start, ended, process, wait_for

HEADER = "coin_config_id,amount\n"


def write(text: str, name: str = "u.csv") -> None:
    """A file in the test's working folder."""
    Path(name).write_text(text, encoding="utf-8")


def files() -> list[str]:
    """What is in the test's working folder."""
    return sorted(path.name for path in Path().iterdir())


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
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    return put


@pytest.fixture
def five(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose first two configurations have the amount 5."""
    for name in ("WCC00001", "WCC00002"):
        sandbox.configs[name]["amount"] = 5
    return sandbox


def test_plan_shows_the_difference_and_apply_writes_it(five: Sandbox, run: Command) -> None:
    """The plan says what would change, and writes nothing; apply does just that; show tells what became of it."""
    write("coin_config_id,amount,event\nWCC00001,9,\nWCC00002,5,\nWCC00001,9,E\n")
    event = five.configs["WCC00001"]["event"]
    done = run("plan u.csv -o june.run")
    assert (done.code, done.err) == (0, "Next: enkash-coins apply june.run\n")
    assert done.out.splitlines() == [
        "june.run: 3 updates of 2 configurations",
        "  2 planned",
        f"    lines 2, 4 WCC00001  amount 5 → 9, event {event} → E",
        "  1 unchanged",
    ]
    assert five.calls["update"] == 0
    done = run("apply june.run --yes")
    assert (done.code, done.err) == (0, "Next: enkash-coins rollback june.run, to take it back\n")
    assert done.out.splitlines()[:-1] == ["june.run: 3 updates of 2 configurations", "  2 applied", "  1 unchanged"]
    assert done.out.splitlines()[-1].startswith("Finished 20")
    assert (five.configs["WCC00001"]["amount"], five.calls["update"]) == (9, 1)
    assert run("show june.run") == done
    assert files() == ["june.run", "u.csv"]


def test_rows_that_contradict_each_other_are_refused(five: Sandbox, run: Command) -> None:
    """With both lines; or the later one counts."""
    write(f"{HEADER}WCC00001,7\nWCC00001,8\n")
    done = run("apply u.csv --yes")
    assert (done.code, five.calls) == (2, {})
    assert "u.csv: lines 2, 3: give WCC00001 different values of amount; last_wins (--last-wins) takes" in done.err
    assert run("apply u.csv --yes --last-wins").code == 0
    assert five.configs["WCC00001"]["amount"] == 8


def test_nothing_is_overwritten_unseen(five: Sandbox, run: Command) -> None:
    """Somebody else has changed it since the plan: exit 1; forced it is written, taken back it is theirs again."""
    write(f"{HEADER}WCC00001,7\n")
    assert run("plan u.csv").code == 0
    five.configs["WCC00001"]["amount"] = 6
    done = run("apply u.run --yes")
    assert (done.code, five.configs["WCC00001"]["amount"]) == (1, 6)
    assert "  1 drifted\n    line 2 WCC00001  somebody else has set amount 6\n" in done.out
    assert done.err == "Next: enkash-coins apply u.run, with --force also over what somebody else has set\n"
    assert run("apply u.run --yes --force").code == 0
    assert run("rollback u.run --yes").code == 0
    assert five.configs["WCC00001"]["amount"] == 6


def test_command_that_has_nothing_to_do_says_so(five: Sandbox, run: Command) -> None:
    """And since when: applied again, planned as it is already, taken back twice, taken back and applied again."""
    write(f"{HEADER}WCC00001,7\n")
    assert run("apply u.csv --yes").code == 0
    done = run("apply u.run --yes")
    assert done.code == 0
    assert done.err.startswith("enkash-coins: nothing to do: u.run was finished 20")
    done = run("apply u.csv --yes")
    assert (done.code, files()) == (0, ["u-2.run", "u.csv", "u.run"])
    assert done.err.startswith("enkash-coins: nothing to do: all of u-2.run is as wanted already")
    assert run("rollback u.run --yes").code == 0
    done = run("rollback u.run --yes")
    assert done.code == 0
    assert done.err.startswith("enkash-coins: nothing to do: u.rollback.run was finished 20")
    done = run("apply u.run --yes")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "u.run: is closed: it was taken back by " in done.err
    assert "u.rollback.run, 20" in done.err
    assert "Taken back by " in run("show u.run").out
    assert five.calls["update"] == 2
    assert run("apply u.csv --yes").code == 0, "the same rows once more are another run"
    assert five.calls["update"] == 3


def test_apply_of_a_file_is_plan_and_apply_in_one(five: Sandbox, run: Command) -> None:
    """Its run is kept beside it; what was not applied is taken up by the same command."""
    write(f"{HEADER}WCC00001,7\nWCC00002,8\n")
    five.faults.append(Fault("operation_failed", on="update", nth=1))
    done = run("apply u.csv --yes --concurrency 1")
    assert done.code == 1
    assert "  1 rejected  response_code 1: Refused, as the sandbox was told to" in done.out
    assert "    line 2 WCC00001" in done.out
    assert run("apply u.csv --yes").code == 0
    assert five.configs["WCC00001"]["amount"] == 7
    assert five.calls["update"] == 3
    assert run("apply u.csv --yes").code == 0, "the same file once more is another run"
    assert five.calls["update"] == 3
    assert files() == ["u-2.run", "u.csv", "u.run"]
    write(f"{HEADER}WCC00001,1\n")
    assert run("apply u.csv --yes").code == 0
    assert files() == ["u-2.run", "u-3.run", "u.csv", "u.run"]


def test_rollback_takes_a_run_back(five: Sandbox, run: Command) -> None:
    """It is a run like any other, and can itself be taken back."""
    write(f"{HEADER}WCC00001,7\nWCC00002,8\n")
    run("apply u.csv --yes")
    five.configs["WCC00002"]["amount"] = 6
    done = run("rollback u.run --yes")
    assert done.code == 1
    assert done.out.splitlines()[-3:] == [
        "  1 applied",
        "  1 drifted",
        "    line 3 WCC00002  somebody else has set amount 6",
    ]
    assert [five.configs[name]["amount"] for name in ("WCC00001", "WCC00002")] == [5, 6]
    assert run("rollback u.run --yes --force").code == 0
    assert five.configs["WCC00002"]["amount"] == 5
    assert run("rollback u.rollback.run --yes -o forth.run").code == 0
    assert five.configs["WCC00001"]["amount"] == 7


def test_allocations_are_planned_and_held_in_doubt(sandbox: Sandbox, run: Command) -> None:
    """They have their request ids since the plan; one in doubt is not sent again, but on demand; none is taken back."""
    write("company_id,event,user_id\nCEK1,REFERRAL_EVENT,EK1\nCEK1,REFERRAL_EVENT,EK2\n", "a.csv")
    assert run("plan --allocate a.csv").code == 0
    sandbox.faults.append(Fault("disconnect_before_apply", on="allocate", nth=1))
    done = run("apply a.run --yes")
    assert done.code == 6
    assert done.out.endswith(
        "1 row in doubt, and held: may have been applied; ask EnKash, or send again with --replay\n"
    )
    done = run("apply a.run --yes")
    assert done.code == 6
    assert done.err.startswith("enkash-coins: nothing to do: a.run holds what is in doubt")
    assert sandbox.calls["allocate"] == 2
    assert run("apply a.run --yes --replay").code == 0
    assert len(sandbox.allocations) == 2
    back = run("rollback a.run --yes")
    assert (back.code, back.err) == (
        2,
        "enkash-coins: a.run: allocations cannot be taken back: the API has no call for it\n",
    )


def test_limits_and_missing_configurations_are_in_the_plan(five: Sandbox, run: Command) -> None:
    """Exit 1: not all rows can be applied, and why not stands in the plan."""
    write(f"{HEADER}WCC00001,50\nWCC00002,6\nGONE,1\n")
    done = run("plan u.csv --max-change 20%")
    assert done.code == 1
    refused = "  1 not_sent  would change the amount by more than 20%\n    line 2 WCC00001  amount 5 → 50\n"
    assert refused in done.out
    assert "  1 rejected  HTTP 404: No such coin configuration" in done.out
    assert "WCC00002  amount 5 → 6" in done.out
    done = run("apply u.run --yes")
    assert (done.code, five.calls["update"]) == (1, 1)
    assert refused in done.out
    bad = run("plan u.csv -o b.run --max-change lots")
    assert bad.code == 2
    assert "max_change: 'lots' is neither a share such as 20% nor an amount such as 50" in bad.err


def test_plan_and_apply_without_looking_say_so(five: Sandbox, run: Command) -> None:
    """Without reading in the plan no drift, without a look before each write neither; without both no way back."""
    write(f"{HEADER}WCC00001,6\n")
    done = run("plan u.csv --no-read")
    assert done.out.splitlines()[-1].startswith("Planned without reading: ")
    assert five.calls == {}
    done = run("apply u.run --yes --no-check")
    assert (done.code, five.calls["get"]) == (0, 0)
    assert "Neither the plan nor the writes look at what is there: " in done.out
    back = run("rollback u.run --yes")
    assert back.code == 2
    assert "neither its plan nor its apply has read what was there before" in back.err
    write(f"{HEADER}WCC00001,7\n", "v.csv")
    done = run("apply v.csv --yes --no-check")
    assert "Written without another look: " in done.out


def test_company_is_told_to_be_unverifiable(sandbox: Sandbox, run: Command) -> None:
    """Plan and summary say that the field is neither checked nor taken back."""
    write("coin_config_id,company_id\nWCC00001,CEK1\n")
    told = "1 write set company_id, which cannot be read: it is neither checked nor taken back"
    assert run("plan u.csv").out.splitlines()[-1] == told
    assert told in run("apply u.run --yes").out


def test_rows_can_be_shown_by_status(five: Sandbox, run: Command) -> None:
    """One a line, with the reason; machines get all that is known."""
    write(f"{HEADER}WCC00001,7\nGONE,8\n")
    run("apply u.csv --yes")
    assert run("show u.run --state rejected").out == "line 3 GONE  HTTP 404: No such coin configuration\n"
    assert run("show u.run --state rejected,applied").out.count("\n") == 2
    assert run("show u.run --state lost").code == 2
    applied, rejected, total = map(json.loads, run("show u.run --json").out.splitlines())
    assert (applied["coin_config_id"], applied["status"], applied["before"]["amount"]) == ("WCC00001", "applied", 5)
    assert (rejected["line"], rejected["reason"]) == (3, "HTTP 404: No such coin configuration")
    summary = {"summary": {"applied": 1, "rejected": 1}, "rows": 2}
    assert total == summary | {"run": "u.run", "ended_by": None, "taken_back_by": None}
    assert len(run("apply u.run --yes --json").out.splitlines()) == 3
    assert len(run("show u.run --state applied --json").out.splitlines()) == 2


def test_remote_text_cannot_steer_the_terminal(five: Sandbox, run: Command) -> None:
    """What a server sends is shown, but not obeyed."""
    five.configs["WCC00001"]["event"] = "\x1b[2J"
    write("coin_config_id,event\nWCC00001,E\n")
    done = run("plan u.csv")
    assert "\x1b" not in done.out
    assert "event \N{REPLACEMENT CHARACTER}[2J → E" in done.out


def test_summary_is_short(start: Start, run: Command) -> None:
    """A few reasons, a few examples of each, and how many more there are."""
    start(faults=[Fault("server_error", on="get", nth=number, status=400 + number) for number in range(10, 30)])
    write(HEADER + "".join(f"WCC{number:05},1\n" for number in range(1, 20)) + "".join(f"NO{n},1\n" for n in range(9)))
    summary = run("plan u.csv --retries 0 --concurrency 1").out
    assert " · …" in summary
    assert "for other reasons: see them with enkash-coins show u.run --state …" in summary


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "u.csv: is empty"),
        (HEADER, "u.csv: has a header, but no rows"),
        (f"{HEADER}WCC00001,1\nWCC00002,10.5\n", "u.csv:3: column amount: '10.5' is not a whole number"),
        (f"{HEADER}WCC00001,1\nWCC00002\n", "u.csv:3: has 1 cells, but the header has 2"),
        ("coin_config_id,amuont\nWCC00001,1\n", "u.csv:1: column amuont: is unknown. Is amount meant?"),
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
    for command in ("apply u.csv", "rollback u.run"):
        done = run(command)
        assert (done.code, done.err) == (
            2,
            "enkash-coins: there is no terminal to ask on: --yes is required to write\n",
        )
    assert sandbox.calls == {}


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_consent_applies(five: Sandbox, run: Command, terminal: Callable[..., None], answer: str) -> None:
    """The question comes after the plan, and names the host."""
    write(f"{HEADER}WCC00001,7\nWCC00002,8\n")
    terminal(lambda: answer)
    done = run("apply u.csv")
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.err)
    assert "u.run: 2 updates of 2 configurations\n  2 planned\n    line 2 WCC00001  amount 5 → 7" in told
    assert f"Write 2 rows to http://127.0.0.1:{five.port}? [y/N] " in told
    assert five.calls["update"] == 2


@pytest.mark.parametrize("answer", ["\n", "n\n", "yess\n", ""])
def test_anything_but_consent_does_not(five: Sandbox, run: Command, terminal: Callable[..., None], answer: str) -> None:
    """Whatever is not a yes, the end of input included, is a no; the plan is kept."""
    write(f"{HEADER}WCC00001,7\n")
    terminal(lambda: answer)
    done = run("apply u.csv")
    assert done.code == 1
    assert done.err.endswith("[y/N] enkash-coins: nothing was written; the plan is kept: u.run\n")
    assert five.calls["update"] == 0
    assert run("apply u.run --yes").code == 0


def test_interrupted_question_is_exit_130(five: Sandbox, run: Command, terminal: Callable[..., None]) -> None:
    """Ctrl-C at the question writes nothing."""

    def interrupt() -> str:
        raise KeyboardInterrupt

    write(f"{HEADER}WCC00001,7\n")
    terminal(interrupt)
    done = run("apply u.csv")
    assert (done.code, done.err.splitlines()[-1].partition("? ")[2]) == (130, "[y/N] enkash-coins: interrupted")
    assert five.calls["update"] == 0


def test_refused_login_is_exit_3(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token request for the whole file, and all rows wait in the run."""
    monkeypatch.setenv("ENKASH_PASSWORD", "wrong")
    write(HEADER + "".join(f"WCC{number:05},7\n" for number in range(500)))
    done = run("apply u.csv --yes")
    assert done.code == 3
    assert "Check the ENKASH_* credentials first" in done.err.splitlines()[0]
    assert sandbox.calls == {"token": 1}
    assert "500 unread" in done.out


def test_unreachable_host_is_exit_4(sandbox: Sandbox, run: Command) -> None:
    """After a hundred rows nothing more is tried; the plan goes on another time."""
    write(HEADER + "".join(f"WCC{number:05},7\n" for number in range(500)))
    done = run("plan u.csv --retries 0 --base-url http://127.0.0.1:1")
    assert done.code == 4
    assert "ended early: 100 in a row failed on account of the host, the last with: no connection" in done.err
    assert "500 unread" in done.out


def test_another_host_is_refused(five: Sandbox, run: Command, start: Start) -> None:
    """A plan is for one host: exit 2, and nothing is sent to the other."""
    write(f"{HEADER}WCC00001,7\n")
    run("plan u.csv")
    other = start()
    done = run("apply u.run --yes")
    assert done.code == 2
    assert f"u.run: was planned for http://127.0.0.1:{five.port}, and not for http://127.0.0.1:{other.port}" in done.err
    assert other.calls == {}


async def test_without_terminal_progress_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Now and then a line says how many rows are done, and how they ended."""
    shown = Progress(State.PLANNED)
    async with plain_lines(shown, seconds=0.001):
        await asyncio.sleep(0.01)
        shown(Counts({State.APPLIED: 1, State.REJECTED: 1, State.PLANNED: 3, State.SENT: 0}))
        await asyncio.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "0 of 0 rows: none yet"
    assert lines[-1] == "2 of 5 rows: 1 applied, 1 rejected, 3 planned"
    assert shown.not_ok == 1


def test_warnings_of_the_package_are_shown(sandbox: Sandbox, run: Command) -> None:
    """An answer about another id than the one asked for is a warning that people see."""
    sandbox.configs["WCC00001"]["coinConfigId"] = "WCC99999"
    done = run("get WCC00001")
    assert done.code == 0
    assert done.err.startswith("enkash-coins: warning: asked for WCC00001, the answer names WCC99999;")


def test_standard_input_is_applied(sandbox: Sandbox) -> None:
    """A pipe is checked as a whole like any file, in the format that it begins with; its run goes to this folder."""
    child = process("apply", "-", "--yes", stdin=-1)
    done = ended(child, '{"coinConfigId": "WCC00001", "amount": 77}\n{"coinConfigId": "NOPE", "amount": 1}\n')
    assert done.code == 1
    assert sandbox.configs["WCC00001"]["amount"] == 77
    bad = ended(process("apply", "-", "--yes", stdin=-1), f"{HEADER}WCC00001,5\nWCC00001,x\n")
    assert (bad.code, bad.err) == (2, "enkash-coins: stdin:3: column amount: 'x' is not an integer\n")
    assert sandbox.calls["update"] == 1
    (name,) = files()
    assert name.startswith("stdin-")


def test_same_pipe_again_pays_nobody_twice(sandbox: Sandbox) -> None:
    """Interrupted after a few: the same rows go on with the run that is named after them."""
    piped = "company_id,event,user_id\n" + "".join(f"CEK1,E,EK{number}\n" for number in range(40))
    sandbox.faults.append(Fault("hang", on="allocate", nth=10))
    child = process("apply", "--allocate", "--yes", "--concurrency", "1", "-", stdin=-1)
    assert child.stdin is not None
    child.stdin.write(piped)
    child.stdin.close()
    child.stdin = None
    wait_for(sandbox, "allocate", 10)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    assert ended(child).code == 130
    done = ended(process("apply", "--allocate", "--yes", "-", stdin=-1), piped)
    assert done.code == 6
    assert sandbox.calls["allocate"] == 40
    done = ended(process("apply", "--allocate", "--yes", "-", stdin=-1), piped)
    assert (done.code, sandbox.calls["allocate"]) == (6, 40)
    assert "nothing to do" in done.err


def test_mended_sheet_pays_nobody_twice(sandbox: Sandbox, run: Command) -> None:
    """One row was refused, the sheet was mended: the others are named, and need --allow-repeats."""
    sheet = "company_id,event,user_id\nCEK1,E,EK1\nCEK1,E,EK2\n"
    write(sheet, "a.csv")
    sandbox.faults.append(Fault("operation_failed", on="allocate", nth=2))
    assert run("apply --allocate a.csv --yes --concurrency 1").code == 1
    write(sheet.replace("EK2", "EK3"), "a.csv")
    done = run("apply --allocate a.csv --yes")
    assert (done.code, files()) == (2, ["a.csv", "a.run"])
    assert "line 2: a.run has given, or may have given, CEK1 E EK1 (its line 2, on 20" in done.err
    write(sheet, "a.csv")
    assert run("apply --allocate a.csv --yes").code == 0, "the same rows go on with their run"
    assert sandbox.calls["allocate"] == 3
    done = run("apply --allocate a.csv --yes")
    assert (done.code, sandbox.calls["allocate"]) == (0, 3)
    assert done.err.startswith("enkash-coins: nothing to do: a.run was finished 20")


def test_creations_are_a_run(sandbox: Sandbox, run: Command) -> None:
    """The ids that come back are kept and shown; there is no way back, and the ids are listed."""
    write("company_id,event,amount,configuration\nCEK100000,E1,1,DEFAULT\nCEK100000,E2,2,DEFAULT\n", "c.csv")
    assert run("apply --create c.csv --yes").code == 0
    made = [name for name, config in sandbox.configs.items() if config["event"] in ("E1", "E2")]
    assert len(made) == 2
    assert {line.split()[2] for line in run("show c.run --state applied").out.splitlines()} == set(made)
    assert (run("apply --create c.csv --yes").code, sandbox.calls["create"]) == (0, 2)
    done = run("rollback c.run --yes")
    assert done.code == 2
    assert "no way to delete" in done.err
    assert all(name in done.err for name in made)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no run, or its plan was never finished"),
        (b"not a database, but longer than the header of one" * 20, "is no run, or is damaged"),
        (None, "no such file"),
    ],
)
def test_what_is_no_run_is_one_line(sandbox: Sandbox, run: Command, content: bytes | None, problem: str) -> None:
    """A foreign, an empty or a missing file: exit 2."""
    if content is not None:
        Path("x.run").write_bytes(content)
    for command in ("apply x.run --yes", "show x.run", "rollback x.run --yes"):
        done = run(command)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"x.run: {problem}" in done.err
    assert sandbox.calls == {}


def test_torn_run_and_run_of_another_version_are_one_line(five: Sandbox, run: Command) -> None:
    """A file that lost its end, another program's database, and a schema that is not ours: exit 2."""
    write(HEADER + "".join(f"NO{number},7\n" for number in range(1000)))
    run("plan u.csv")
    whole = Path("u.run").read_bytes()
    Path("torn.run").write_bytes(whole[: len(whole) // 2])
    with closing(sqlite3.connect("other.run")) as db:
        db.execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect("u.run")) as db:
        db.execute("PRAGMA user_version=1")
    calls = five.calls.copy()
    for name, problem in (
        ("torn", "is damaged"),
        ("other", "is no run"),
        ("u", "was written by an earlier version of this command, from before its first release: plan its rows again"),
    ):
        done = run(f"apply {name}.run --yes")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert problem in done.err
    assert five.calls == calls
