"""The command as people run it, and a sandbox for it."""

import os
import pty
import select
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import attrs

import enkash_coins
from enkash_coins.sandbox import Sandbox


@attrs.frozen
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Runs a command in this process; one string is split at its blanks."""

    def __call__(self, *argv: str) -> Done: ...


class Start(Protocol):
    """Starts a sandbox, and lets the environment lead to it."""

    def __call__(self, configs: int = 20, **options: Any) -> Sandbox: ...  # noqa: ANN401  # the sandbox's own


def process_environment() -> dict[str, str]:
    """The environment, and a path by which a process finds this very package."""
    assert enkash_coins.__file__ is not None
    return {**os.environ, "PYTHONPATH": str(Path(enkash_coins.__file__).parents[1])}


def process(*argv: str, **options: Any) -> "subprocess.Popen[str]":  # noqa: ANN401  # Popen's own
    """Start the command as a process of its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "enkash_coins.cli", *argv], text=True, env=process_environment(), **{**pipes, **options}
    )


class Terminal:
    """A terminal of its own with the command on it; what is shown there is read all the time.

    Args:
        redirected: what a shell is told on top, such as ``2>log``.
        before: what it does first.
    """

    def __init__(self, *argv: str, redirected: str = "", before: str = ":") -> None:
        self._ours, theirs = pty.openpty()
        command = shlex.join([sys.executable, "-m", "enkash_coins.cli", *argv])
        # The leader of a session gets the first terminal that it opens as its own.
        shell = ["sh", "-c", f'{before}; exec <"$0" >"$0" 2>"$0"; exec {command} {redirected}', os.ttyname(theirs)]
        environment = process_environment()
        self.child = subprocess.Popen(shell, text=True, env=environment, start_new_session=True, pass_fds=(theirs,))
        os.close(theirs)
        self._shown = bytearray()
        self._closing = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def shown(self) -> str:
        """What was shown so far."""
        return self._shown.decode(errors="replace")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def close(self) -> None:
        """Close the window."""
        self._closing = True
        self._reader.join()
        os.close(self._ours)

    def _read(self) -> None:
        with suppress(OSError):  # nobody has the other end any more
            while (ready := select.select((self._ours,), (), (), 0.02)[0]) or not self._closing:
                if ready:
                    self._shown += os.read(self._ours, 4096)


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ended(child: "subprocess.Popen[str]", given: str | None = None) -> Done:
    """Wait for the end of a process."""
    out, err = child.communicate(given, timeout=30)
    assert "Traceback" not in (err or ""), err
    return Done(child.returncode, out, err)


def wait_for(sandbox: Sandbox, operation: str, count: int) -> None:
    """Until the sandbox has seen so many requests."""
    until(lambda: sandbox.calls[operation] >= count)
