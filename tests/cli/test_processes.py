"""What only a process of its own shows."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from enkash_coins.sandbox import Sandbox
from tests.cli.command import Command, Start, Terminal, ended, process, process_environment


def test_terminal_shows_a_bar(start: Start) -> None:
    """On a terminal the question is asked, and progress is a bar that ends full."""
    sandbox = start(100, latency=0.01)
    rows = "".join(f"WCC{1 + row:05},{1000 + row}\nNOPE{row},1\n" for row in range(100))
    Path("u.csv").write_text(f"coin_config_id,amount\n{rows}", encoding="utf-8")
    terminal = Terminal("apply", "u.csv", redirected=">/dev/null")
    terminal.type("y\n")
    assert terminal.child.wait(timeout=30) == 1
    terminal.close()
    text = terminal.shown
    assert "? [y/N] " in text
    assert "200/200" in text
    assert "100 not ok" in text
    assert sandbox.calls["update"] == 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sandbox_serves_until_it_is_ended(
    run: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It prints the variables to export, serves whoever uses them, and ends like any command: told, and with 130."""
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
    assert (done.code, done.out) == (130, "")
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
