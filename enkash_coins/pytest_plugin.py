"""Fixtures for pytest: a running sandbox, and the environment that leads to it.

Nothing is loaded unasked: put ``pytest_plugins = ["enkash_coins.pytest_plugin"]`` into your top ``conftest.py``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from enkash_coins.auth.default_guard import LOGIN_GUARD
from enkash_coins.environment import ENCRYPTED, TOKEN
from enkash_coins.sandbox import Sandbox


@pytest.fixture
def enkash_sandbox() -> Iterator[Sandbox]:
    """A sandbox of this test's own, for sync tests, async tests of any plugin, and processes."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def enkash_environment(enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, str]:
    """The ``ENKASH_*`` variables, set to the sandbox for this test and for processes that it starts.

    What the command keeps of an account goes into the test's own folder, and not among the developer's files.
    """
    for name in (TOKEN, LOGIN_GUARD, ENCRYPTED):  # the developer's own
        monkeypatch.delenv(name, raising=False)
    for name, value in enkash_sandbox.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return enkash_sandbox.environment
