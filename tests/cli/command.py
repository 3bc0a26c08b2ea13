"""The command as people run it, and a sandbox for it."""

import os
import subprocess
import sys
import time
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


def ended(child: "subprocess.Popen[str]", given: str | None = None) -> Done:
    """Wait for the end of a process."""
    out, err = child.communicate(given, timeout=30)
    assert "Traceback" not in (err or ""), err
    return Done(child.returncode, out, err)


def wait_for(sandbox: Sandbox, operation: str, count: int) -> None:
    """Until the sandbox has seen so many requests."""
    deadline = time.monotonic() + 20
    while sandbox.calls[operation] < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)
