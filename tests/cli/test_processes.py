"""What only a process of its own shows: signals and terminals."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from enkash_coins.bulk import Run
from enkash_coins.sandbox import Fault, Sandbox
from tests.cli.command import Command, Start, ended, process, process_environment, wait_for

ROWS = 400


def states(path: str) -> Counter[str]:
    """Rows of a run by state."""
    return Counter({state.value: count for state, count in Run.open(path).counts.items()})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_file_can_be_finished(start: Start, run: Command, number: signal.Signals) -> None:
    """After Ctrl-C every row is applied or planned; applying those brings the server to where the file would have."""
    sandbox = start(ROWS, latency=0.005)
    names = [f"WCC{1 + row:05}" for row in range(ROWS)]
    rows = [(name, 1000 + row) for row, name in enumerate(names)]
    text = "coin_config_id,amount\n" + "".join(f"{name},{row}\n" for name, row in rows)
    Path("u.csv").write_text(text, encoding="utf-8")
    child = process("apply", "u.csv", "--yes", "--concurrency", "8")
    wait_for(sandbox, "update", ROWS // 4)
    child.send_signal(number)
    done = ended(child)
    assert done.code == 130
    assert "stopping: rows under way get 2 s to come to an end" in done.err
    assert states("u.run") == {"applied": len(sandbox.applied), "planned": ROWS - len(sandbox.applied)}
    assert run("apply u.run --yes").code == 0
    assert {name: sandbox.configs[name]["amount"] for name in names} == dict(rows)
    assert len(sandbox.applied) == ROWS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_plan_goes_on(start: Start, run: Command, number: signal.Signals) -> None:
    """What was read before Ctrl-C is kept: the same command reads the rest, and no more."""
    sandbox = start(200, latency=0.02)
    rows = "".join(f"WCC{row:05},1000\n" for row in range(1, 201))
    Path("u.csv").write_text(f"coin_config_id,amount\n{rows}", encoding="utf-8")
    child = process("plan", "u.csv", "--concurrency", "4")
    wait_for(sandbox, "get", 40)
    child.send_signal(number)
    done = ended(child)
    assert (done.code, done.err) == (130, "enkash-coins: interrupted\n")
    assert run("plan u.csv").code == 0
    assert states("u.run") == {"planned": 200}
    assert sandbox.calls["get"] <= 200 + 4


def test_second_interrupt_ends_it_at_once(start: Start) -> None:
    """Rows that are never answered are unknown, those not sent are planned as before."""
    sandbox = start(faults=[Fault("hang", on="update")])
    text = "coin_config_id,amount\n" + "".join(f"WCC000{1 + row:02},{1000 + row}\n" for row in range(20))
    Path("u.csv").write_text(text, encoding="utf-8")
    child = process("apply", "u.csv", "--yes", "--concurrency", "4")
    wait_for(sandbox, "update", 4)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert child.stderr.readline().startswith("enkash-coins: stopping")
    child.send_signal(signal.SIGINT)
    done = ended(child)
    assert done.code == 130
    assert time.monotonic() - began < 2
    assert states("u.run") == {"unknown": 4, "planned": 16}


def test_terminal_shows_a_bar(start: Start) -> None:
    """On a terminal the question is asked, and progress is a bar that ends full."""
    sandbox = start(100, latency=0.01)
    rows = "".join(f"WCC{1 + row:05},{1000 + row}\nNOPE{row},1\n" for row in range(100))
    Path("u.csv").write_text(f"coin_config_id,amount\n{rows}", encoding="utf-8")
    ours, theirs = pty.openpty()
    child = process("apply", "u.csv", stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"y\n")
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                seen.extend(os.read(ours, 4096))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    assert child.wait(timeout=30) == 1
    reader.join()
    os.close(ours)
    text = seen.decode()
    assert "? [y/N] " in text
    assert "200/200" in text
    assert "100 not ok" in text
    assert sandbox.calls["update"] == 100


def test_interrupted_demo_is_exit_130() -> None:
    """Ctrl-C ends the demo like any other run, and its files are gone."""
    child = process("demo", "--rows", "20000")
    assert child.stderr is not None
    folder = Path()
    while "apply updates.run" not in (line := child.stderr.readline()):
        assert line, "it has ended"
        if "/updates.run: " in line:
            folder = Path(line.partition("updates.run")[0])
    assert folder.exists()
    child.send_signal(signal.SIGINT)
    assert ended(child).code == 130
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sandbox_serves_until_it_is_ended(
    run: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It prints the variables to export, serves whoever uses them, and ends well when it is told to."""
    faults = ("--fault", "get:1=server_error,status=500", "--fault", "get:2=html")
    child = process("sandbox", "--configs", "5", "--seed", "1", "--no-dedupe", *faults)
    assert child.stdout is not None
    for _ in range(5):
        export, _, setting = child.stdout.readline().rstrip("\n").partition(" ")
        name, _, value = setting.partition("=")
        assert export == "export"
        monkeypatch.setenv(name, value)
    assert "HTTP 502" in run("get WCC00005 --retries 1").err
    assert run("get WCC00005").code == 0
    assert run("get WCC00006").code == 1
    assert run(f"sandbox --port {os.environ['ENKASH_BASE_URL'].rpartition(':')[2]}").code == 2
    child.send_signal(number)
    done = ended(child)
    assert (done.code, done.out) == (0, "")
    assert done.err.count("\n") == 1


def test_package_is_the_command() -> None:
    """`python -m enkash_coins` is `enkash-coins`, for whoever has several Pythons."""
    command = [sys.executable, "-m", "enkash_coins", "show", "missing.run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=process_environment())
    assert (done.returncode, done.stderr) == (2, "enkash-coins: missing.run: no such file\n")


def test_taken_port_is_one_line(sandbox: Sandbox, run: Command) -> None:
    """A port that somebody else listens on is a mistake in the arguments."""
    done = run(f"sandbox --port {sandbox.port}")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"enkash-coins: sandbox: cannot listen on port {sandbox.port}: address already in use\n"
