"""Checking of credentials, and the guard that every command shares."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enkash_coins import PasswordGrant
from enkash_coins.sandbox import Fault, Sandbox
from tests.cli.command import Command, Start, ended, process, process_environment, wait_for

REFUSED = "enkash-coins: the token endpoint refused the login: HTTP 400: Bad credentials. "
BEFORE = "enkash-coins: these credentials were refused before: nothing is sent until they change. "
ADVICE = (
    "Check the ENKASH_* credentials first: three refused logins in a row lock the account. Once corrected they are "
    "used at once; to try the same ones again: enkash-coins login --reset"
)
KNOWN = "Known failed logins to this account in a row: "
SECOND = "One more would be the second in a row, and the third locks the account"
THIRD = "One more would be the third in a row: EnKash would lock the account"
LIFTED = "enkash-coins: nothing was sent; one more login is allowed. "


@pytest.fixture
def wrong(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox, and a wrong password for it."""
    monkeypatch.setenv("ENKASH_PASSWORD", "wrong")
    return sandbox


def guard_file() -> Path:
    """The file that the command keeps for the sandbox's account."""
    (file,) = Path(os.environ["XDG_STATE_HOME"], "enkash-coins").iterdir()
    return file


def failures() -> int:
    """How many are known of the account in the environment."""
    names = ("CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD")
    return asyncio.run(PasswordGrant(*(os.environ[f"ENKASH_{name}"] for name in names)).failures())


def test_credentials_that_work(sandbox: Sandbox, run: Command) -> None:
    """One token request and nothing else, and for how long the token may be used."""
    done = run("login")
    assert done.out.splitlines() == ["login  accepted", "token  valid for 23 h 59 min"]
    assert (done.code, done.err) == (0, "")
    read = run("login --json")
    assert json.loads(read.out) == {"login": "accepted", "token_seconds": 86_369}
    assert (read.code, read.err) == (0, "")
    assert sandbox.calls == {"token": 2}
    assert failures() == 0


def test_short_lives_are_told_in_minutes(start: Start, run: Command) -> None:
    """As the documents have it: five minutes, less a margin."""
    start(token_life=300.0)
    assert run("login").out.splitlines()[1] == "token  valid for 4 min 30 s"


def test_refused_credentials_are_sent_once(wrong: Sandbox, run: Command) -> None:
    """By all commands together: what the server said, how many failures are known, what comes next; exit 3."""
    done = run("login")
    assert (done.code, done.out) == (3, "")
    assert done.err == f"{REFUSED}{ADVICE}. {KNOWN}1. {SECOND}\n"
    for command in ("login", "get WCC12345", "balance EK1"):
        again = run(command)
        assert (again.code, again.out) == (3, "")
        assert (BEFORE + ADVICE).removeprefix("enkash-coins: ") in again.err
    read = run("login --json")
    error = json.loads(read.out)
    assert (error["error"]["type"], error["failed"]) == ("LoginRefused", 1)
    assert wrong.calls == {"token": 1}


def test_three_processes_at_once_are_refused_once(wrong: Sandbox) -> None:
    """Each says so and ends with exit 3, and the token endpoint was asked by one."""
    for done in [ended(child) for child in [process("get", "WCC12345") for _ in range(3)]]:
        assert done.code == 3
        assert ADVICE in done.err
    assert wrong.calls == {"token": 1}


IMPATIENT = """
import sys
from enkash_coins.auth import file_guard
from enkash_coins.cli import main

file_guard._LONG = 0.0  # it says at once that it waits
sys.exit(main(["get", "WCC12345"]))
"""


def test_interrupt_while_another_process_logs_in(start: Start) -> None:
    """Ctrl-C ends a command at once that waits for its turn; it has sent nothing."""
    sandbox = start(faults=[Fault("hang", on="token")])
    holder = process("login")
    wait_for(sandbox, "token", 1)
    waiting = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT], stderr=subprocess.PIPE, text=True, env=process_environment()
    )
    assert waiting.stderr is not None
    line = waiting.stderr.readline()
    assert line.startswith(f"enkash-coins: warning: another process has held the login guard {guard_file()} for")
    began = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    assert ended(waiting).code == 130
    assert time.monotonic() - began < 2
    holder.send_signal(signal.SIGINT)
    assert ended(holder).code == 130
    assert sandbox.calls == {"token": 1}
    assert failures() == 1


def test_changed_credentials_are_tried_by_themselves(
    wrong: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has done something: no reset is asked for."""
    assert run("login").code == 3
    monkeypatch.setenv("ENKASH_PASSWORD", "sandbox-password")
    assert run("get WCC12345").code == 0
    assert wrong.calls == {"token": 2, "get": 1}


def test_reset_lets_one_login_out_and_warns(wrong: Sandbox, run: Command) -> None:
    """It sends nothing, and says what one more failure would mean: that goes on counting."""
    nothing = run("login --reset")
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err == f"{LIFTED}No failed login to this account is known here\n"
    for failed, meaning in (1, SECOND), (2, THIRD), (3, "EnKash locks an account after three: ask EnKash whether"):
        assert [run("login").code for _ in range(3)] == [3, 3, 3]
        assert wrong.calls == {"token": failed}
        lifted = run("login --reset")
        assert (lifted.code, lifted.out) == (0, "")
        assert lifted.err.startswith(f"{LIFTED}{KNOWN}{failed}. {meaning}")
        assert json.loads(run("login --reset --json").out) == {"login": "reset", "failed": failed}
    assert wrong.locked


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("server_error", on="token"), "HTTP 503: Failed, as the sandbox was told to"),
        (Fault("server_error", on="token", status=408), "HTTP 408"),
        (Fault("malformed", on="token"), "is not JSON"),
        (Fault("disconnect_after_apply", on="token"), ""),
    ],
    ids=["503", "408", "malformed", "disconnect"],
)
def test_no_clear_answer_is_exit_4_and_counts(start: Start, run: Command, fault: Fault, said: str) -> None:
    """Twice; after that nothing is sent, exit 3, until a person has looked."""
    sandbox = start(faults=[fault])
    for failed, meaning in (1, SECOND), (2, THIRD):
        done = run("login --json")
        assert done.code == 4
        assert said in done.err
        assert done.err.endswith(f"{KNOWN}{failed}. {meaning}\n")
        assert json.loads(done.out)["failed"] == failed
    suspended = run("login")
    assert suspended.code == 3
    assert "nothing is sent until somebody has looked" in suspended.err
    assert (
        "Check the host and the ENKASH_* credentials first; then, to try again: enkash-coins login --r" in suspended.err
    )
    sandbox.faults.clear()
    assert run("get WCC12345").code == 3
    assert sandbox.calls == {"token": 2}
    assert run("login --reset").code == 0
    assert run("login").code == 0


def test_suspension_that_ends_says_when(start: Start, run: Command) -> None:
    """Credentials that have worked need no person: the time of the next login is told."""
    sandbox = start()
    assert run("login").code == 0
    sandbox.faults.append(Fault("server_error", on="token"))
    assert [run("login").code for _ in range(2)] == [4, 4]
    done = run("login")
    assert done.code == 3
    assert "the next may go out at" in done.err
    assert "--reset" not in done.err
    assert sandbox.calls == {"token": 3}


def test_unreachable_host_is_exit_4_and_does_not_count(sandbox: Sandbox, run: Command) -> None:
    """Nothing left this machine."""
    done = run("login --base-url http://127.0.0.1:1 --json")
    assert done.code == 4
    assert json.loads(done.out)["error"]["type"] == "ConnectError"
    assert KNOWN not in done.err
    assert done.err.count("\n") == 1
    assert failures() == 0


@pytest.mark.parametrize("command", ["login", "login --reset"])
def test_token_needs_no_login(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """One line that says what to do, exit 2."""
    for name in ("CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"ENKASH_{name}")
    monkeypatch.setenv("ENKASH_TOKEN", "made-up")
    done = run(command)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "enkash-coins: login: ENKASH_TOKEN is set: unset it, and set ENKASH_CLIENT_ID, ENKASH_CLIENT_SECRET, "
        "ENKASH_USERNAME, ENKASH_PASSWORD\n"
    )
    assert sandbox.calls == {}


@pytest.mark.parametrize("option", ["--timeout 0", "--rate -1", "--base-url http://example.com"])
def test_wrong_setting_is_exit_2(sandbox: Sandbox, run: Command, option: str) -> None:
    """As for every other command: one line, nothing sent, nothing counted."""
    done = run(f"login {option}")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert sandbox.calls == {}
    assert failures() == 0


COMMANDS = ["login", "login --reset", "get WCC12345", "update WCC12345 --amount 1", "apply u.csv --yes"]


@pytest.mark.parametrize("command", COMMANDS)
def test_guard_that_cannot_be_used_is_exit_5(sandbox: Sandbox, run: Command, tmp_path: Path, command: str) -> None:
    """No login is made without it; the line names the file, why, and how to name another."""
    Path("u.csv").write_text("coin_config_id,amount\nWCC00001,7\n", encoding="utf-8")
    Path("guard").write_text("{", encoding="utf-8")
    Path("guard").chmod(0o600)
    done = run(f"{command} --login-guard guard")
    assert done.code == 5
    assert (
        f"the login guard {tmp_path}/guard cannot be used: it is damaged, or was written by another version" in done.err
    )
    assert "--login-guard or ENKASH_LOGIN_GUARD can name another file" in done.err
    assert sandbox.calls == {}


def test_guard_is_kept_for_the_user_alone(sandbox: Sandbox, run: Command) -> None:
    """One file for the account, in a folder of its own."""
    assert run("get WCC12345").code == 0
    assert stat.S_IMODE(guard_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(guard_file().parent.stat().st_mode) == 0o700


def test_guard_may_be_named(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the environment, or by an option, which counts more."""
    monkeypatch.setenv("ENKASH_LOGIN_GUARD", "of-the-environment")
    assert run("login").code == 0
    assert run("get WCC12345 --login-guard of-the-option").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["of-the-environment", "of-the-option"]
    assert not Path(os.environ["XDG_STATE_HOME"], "enkash-coins").exists()


def test_without_a_folder_it_goes_on_with_a_warning(
    sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in some containers: the command works, and says that it counts for itself."""
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)
    done = run("get WCC12345")
    assert done.code == 0
    assert done.err.startswith("enkash-coins: warning: the login guard /dev/null/enkash-coins/login-")
    assert done.err.endswith(
        ".json cannot be used: not a directory: this process counts its failed logins for itself\n"
    )


def test_locked_account_is_told_as_such(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom to ask, and what to do then, and no word of a wrong password."""
    for number in range(3):
        monkeypatch.setenv("ENKASH_PASSWORD", f"wrong {number}")
        run("login --reset")
        run("login")
    monkeypatch.setenv("ENKASH_PASSWORD", "sandbox-password")
    assert run("login --reset").code == 0
    done = run("login")
    assert done.code == 3
    assert done.err == (
        "enkash-coins: the account is locked: HTTP 401: Account locked: ask EnKash to unlock it. "
        "Then, to log in again: enkash-coins login --reset\n"
    )


def test_demo_does_not_touch_the_guard(run: Command) -> None:
    """Its account is made up, and nobody can lock it."""
    assert run("demo --rows 5").code == 0
    assert not Path(os.environ["XDG_STATE_HOME"]).exists()
