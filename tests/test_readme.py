"""The README's Python is run as it stands, against the sandbox; its shell commands are the ones that exist."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from enkash_coins.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("enkash-coins ")
]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in a thread of its own: the README's code starts its own event loop."""
    import asyncio

    started, stop = threading.Event(), threading.Event()
    made: list[Sandbox] = []

    async def serve() -> None:
        async with Sandbox(configs=200) as running:
            made.append(running)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield made[0]
    finally:
        stop.set()
        thread.join()


def test_the_readme_has_code() -> None:
    """A pattern that found nothing would pass every other rule here."""
    assert len(BLOCKS) == 4
    assert len(COMMANDS) == 7


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_runs_as_it_stands(number: int, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies it gets what the README promises, without an edit."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[number], f"README.md block {number + 1}", "exec"), {"__name__": "__main__"})  # noqa: S102  # the README's own code
    if "update_many" in BLOCKS[number]:
        assert "{<OutcomeStatus.APPLIED: 'applied'>: 100}" in printed.getvalue()
        assert sandbox.configs["WCC00007"]["amount"] == 20
    if "allocate(" in BLOCKS[number] and "reward" in BLOCKS[number]:
        assert "Successfully allocated" in printed.getvalue()


@pytest.mark.parametrize("command", [line for line in COMMANDS if not line.startswith("enkash-coins sandbox")])
def test_every_command_runs_as_it_stands(
    command: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of the README exists, takes these options and succeeds."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "updates.csv").write_text("coin_config_id,amount\nWCC12345,12\n", encoding="utf-8")
    arguments = shlex.split(command)[1:] + (["--yes"] if " apply " in command else [])
    done = subprocess.run(
        [sys.executable, "-m", "enkash_coins.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_ci_runs_the_readmes_test_command() -> None:
    """What a newcomer is told to run is what has to pass."""
    (command,) = (line for line in README.splitlines() if line.endswith(".venv/bin/nox"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
