"""A sandbox beside the test, and the command in the test's own process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enkash_coins.cli import main
from enkash_coins.sandbox import Sandbox
from tests.cli.command import Command, Done, Start


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test has a working folder of its own, and no settings but its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("BASE_URL", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD", "ENCRYPTED"):
        monkeypatch.delenv(f"ENKASH_{name}", raising=False)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a sandbox, and lets the environment lead to it."""
    with contextlib.ExitStack() as stack:

        def started(configs: int = 20, **options: Any) -> Sandbox:  # noqa: ANN401  # the sandbox's own
            sandbox = stack.enter_context(Sandbox(configs, **options))
            for name, value in sandbox.environment.items():
                monkeypatch.setenv(name, value)
            return sandbox

        yield started


@pytest.fixture
def sandbox(start: Start) -> Sandbox:
    """A sandbox with 20 configurations, and the documented one."""
    return start()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def ran(*argv: str) -> Done:
        code = main(argv[0].split() if len(argv) == 1 else argv)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(code, captured.out, captured.err)

    return ran
