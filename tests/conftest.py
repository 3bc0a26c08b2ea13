"""What holds for every test."""

import itertools
import os
import signal
from pathlib import Path

import pytest

pytest_plugins = ["enkash_coins.pytest_plugin"]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def _states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(autouse=True)
def _state(_states: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test, or a process that it starts, keeps of its logins is not among the developer's files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(_states / str(next(_numbers))))
    monkeypatch.delenv("ENKASH_LOGIN_GUARD", raising=False)


# A shell's background job may ignore these, and what it starts would inherit that: signals could not be tested.
for _signal in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.SIG_DFL)
# What a fixture of a wider scope starts, too.
os.environ["XDG_STATE_HOME"] = os.devnull
