"""How a command ends when it is told to: it stops first, tells afterwards, and leaves with 130. Real processes only."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from enkash_coins.bulk import Run
from enkash_coins.sandbox import Fault, Sandbox
from tests.cli.command import Command, Done, Start, Terminal, ended, process, process_environment, until, wait_for

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
GIFT = ("allocate", "--company-id", "CEK1", "--event", "REFERRAL_EVENT", "--user-id", "EK1")
ROWS = 400
SLOW = Fault("latency", on="update", seconds=0.05)


def states(path: str) -> Counter[str]:
    """Rows of a run by state."""
    return Counter({state.value: count for state, count in Run.open(path).counts.items()})


def write_rows(count: int = ROWS) -> dict[str, int]:
    """A file of updates, and what it sets."""
    rows = {f"WCC{number:05}": 1000 + number for number in range(1, count + 1)}
    text = "coin_config_id,amount\n" + "".join(f"{name},{amount}\n" for name, amount in rows.items())
    Path("u.csv").write_text(text, encoding="utf-8")
    return rows


def stopped(child: "subprocess.Popen[str]", number: signal.Signals | None = None, seconds: float = 3.0) -> Done:
    """See the process end in time, after this signal."""
    began = time.monotonic()
    if number is not None:
        child.send_signal(number)
    done = ended(child)
    assert time.monotonic() - began < seconds
    assert done.code == 130, done
    return done


@pytest.mark.parametrize("number", SIGNALS)
def test_allocation_cut_off_is_told_with_its_request_id(start: Start, number: signal.Signals) -> None:
    """The server has given and is slow to answer: only this process knows the id, and may not take it along."""
    sandbox = start(faults=[Fault("latency", on="allocate", seconds=60)])
    child = process(*GIFT, "--json")
    until(lambda: sandbox.allocations)
    done = stopped(child, number)
    (gift,) = sandbox.allocations
    assert "interrupted. It may have been applied: look with 'enkash-coins balance EK1'" in done.err
    assert done.err.endswith(f"{gift['requestId']}\n")
    error = json.loads(done.out)["error"]
    assert (error["request_id"], error["maybe_applied"]) == (gift["requestId"], True)


@pytest.mark.parametrize("command", ["update WCC00001 --amount 5", " ".join(GIFT), "get WCC00001"])
def test_call_that_had_not_left_is_not_in_doubt(start: Start, command: str) -> None:
    """Cut off while it still logs in, a write has changed nothing, and nobody is sent to look."""
    sandbox = start(faults=[Fault("hang", on="token")])
    child = process(*command.split())
    wait_for(sandbox, "token", 1)
    done = stopped(child, signal.SIGTERM)
    assert "may have been" not in done.err
    assert ("Nothing was changed" in done.err) == (not command.startswith("get"))


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupted_file_can_be_finished(start: Start, run: Command, number: signal.Signals) -> None:
    """Every row is applied or planned; applying those brings the server to where the file would have."""
    sandbox = start(ROWS, latency=0.005)
    rows = write_rows()
    child = process("apply", "u.csv", "--yes", "--concurrency", "8")
    wait_for(sandbox, "update", ROWS // 4)
    assert "stopping: rows under way may come to an end" in stopped(child, number).err
    assert states("u.run") == {"applied": len(sandbox.applied), "planned": ROWS - len(sandbox.applied)}
    assert run("apply u.run --yes").code == 0
    assert {name: sandbox.configs[name]["amount"] for name in rows} == rows
    assert len(sandbox.applied) == ROWS


def test_closed_window_stops_the_writing(start: Start, run: Command) -> None:
    """Whoever closes the terminal's window takes its words along, and nothing else: it stops, and can go on."""
    sandbox = start(ROWS, faults=[SLOW])
    write_rows()
    terminal = Terminal("apply", "u.csv", "--yes", "--concurrency", "4")
    wait_for(sandbox, "update", 20)
    terminal.close()
    stopped(terminal.child)
    written = len(sandbox.applied)
    assert written <= sandbox.calls["update"] < 100
    assert states("u.run") == {"applied": written, "planned": ROWS - written}
    assert run("apply u.run --yes").code == 0
    assert len(sandbox.applied) == ROWS


def test_reader_of_its_complaints_went_away(start: Start) -> None:
    """Standard error is a pipe that nobody reads any more: SIGTERM stops the writing all the same."""
    sandbox = start(ROWS, faults=[SLOW])
    write_rows()
    theirs, ours = os.pipe()
    child = process("apply", "u.csv", "--yes", "--concurrency", "4", stderr=ours)
    os.close(ours)
    wait_for(sandbox, "update", 20)
    os.close(theirs)
    stopped(child, signal.SIGTERM)
    assert sandbox.calls["update"] < 100


def test_reader_of_its_complaints_reads_no_more(start: Start) -> None:
    """The pipe under standard error is full and stays so: it ends nevertheless."""
    sandbox = start(ROWS, faults=[SLOW])
    write_rows()
    theirs, ours = os.pipe()
    child = process("apply", "u.csv", "--yes", "--concurrency", "4", stderr=ours)
    wait_for(sandbox, "update", 20)
    os.set_blocking(ours, False)
    with suppress(BlockingIOError):
        while True:
            os.write(ours, b"x" * 4096)
    os.set_blocking(ours, True)
    os.close(ours)
    stopped(child, signal.SIGTERM, seconds=6)
    os.close(theirs)
    assert sandbox.calls["update"] < 100


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("file", ["-", "silent.csv"])
def test_silent_input_is_waited_for_no_longer_than_a_signal(
    sandbox: Sandbox, number: signal.Signals, file: str
) -> None:
    """After the first line nothing more comes from standard input, or from a named pipe: the first signal ends it."""
    os.mkfifo("silent.csv")
    silent = os.open("silent.csv", os.O_RDWR)
    child = process("plan", file, stdin=silent)
    os.write(silent, b"coin_config_id,amount\n")
    until(lambda: fcntl.ioctl(silent, termios.FIONREAD, bytes(4)) == bytes(4))
    assert stopped(child, number).err == "enkash-coins: interrupted\n"
    os.close(silent)
    assert sandbox.calls == {}


@pytest.mark.parametrize("number", SIGNALS)
def test_question_is_no_reason_to_stay(start: Start, number: signal.Signals) -> None:
    """While it waits for an answer it can be ended like anything else, and has written nothing."""
    sandbox = start()
    write_rows(5)
    terminal = Terminal("apply", "u.csv")
    until(lambda: "[y/N]" in terminal.shown)
    stopped(terminal.child, number)
    terminal.close()
    assert sandbox.calls["update"] == 0


def test_output_that_nobody_reads_does_not_hold_it(start: Start, run: Command) -> None:
    """Its results fill the pipe, and nobody reads on, as in a pager that was left open."""
    start(2000)
    write_rows(2000)
    assert run("plan u.csv").code == 0
    child = process("show", "u.run", "--json")
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=3) == 130
    ended(child)


def test_silent_name_server_does_not_hold_it(sandbox: Sandbox) -> None:
    """The system's resolver knows no end: a thread still waits for it when the command leaves."""
    silent = (
        "import socket, sys, time; socket.getaddrinfo = lambda *_, **__: print('asked', flush=True) or time.sleep(60)\n"
        "from enkash_coins.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", silent, "get", "WCC12345", "--base-url", "https://coins.example"]
    child = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=process_environment()
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "asked\n"
    assert stopped(child, signal.SIGTERM).err == "enkash-coins: interrupted\n"


def test_what_nohup_ignores_stays_ignored(start: Start) -> None:
    """A signal that it was started to ignore does nothing."""
    sandbox = start(100, latency=0.02)
    write_rows(100)
    line = f'trap "" HUP; exec {sys.executable} -m enkash_coins.cli apply u.csv --yes --concurrency 4'
    child = subprocess.Popen(["/bin/sh", "-c", line], text=True, stderr=subprocess.PIPE, env=process_environment())
    wait_for(sandbox, "update", 20)
    child.send_signal(signal.SIGHUP)
    assert ended(child).code == 0
    assert len(sandbox.applied) == 100


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupted_plan_goes_on(start: Start, run: Command, number: signal.Signals) -> None:
    """What was read before is kept: the same command reads the rest, and no more."""
    sandbox = start(200, latency=0.02)
    write_rows(200)
    child = process("plan", "u.csv", "--concurrency", "4")
    wait_for(sandbox, "get", 40)
    assert stopped(child, number).err == "enkash-coins: interrupted\n"
    assert run("plan u.csv").code == 0
    assert states("u.run") == {"planned": 200}
    assert sandbox.calls["get"] <= 200 + 4


def test_second_signal_ends_it_at_once(start: Start) -> None:
    """Rows that are never answered are unknown, those not sent are planned as before."""
    sandbox = start(faults=[Fault("hang", on="update")])
    write_rows(20)
    child = process("apply", "u.csv", "--yes", "--concurrency", "4")
    wait_for(sandbox, "update", 4)
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert child.stderr.readline().startswith("enkash-coins: stopping")
    stopped(child, signal.SIGTERM, seconds=2)
    assert states("u.run") == {"unknown": 4, "planned": 16}


def test_interrupted_demo_leaves_no_files() -> None:
    """It ends like any other run, and its files are gone."""
    child = process("demo", "--rows", "20000")
    assert child.stderr is not None
    folder = Path()
    while "apply updates.run" not in (line := child.stderr.readline()):
        assert line, "it has ended"
        if "/updates.run: " in line:
            folder = Path(line.partition("updates.run")[0])
    assert folder.exists()
    stopped(child, signal.SIGINT, seconds=5)
    assert not folder.exists()
