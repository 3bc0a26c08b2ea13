"""The guard that is there unasked: on disk, for all processes of the user; in memory where there is no disk for it."""

import errno
import logging
import os
from pathlib import Path

import pytest

from enkash_coins import EnkashError, MemoryGuard, PasswordGrant, Response
from enkash_coins.testing import MockTransport

YES = Response(200, {}, b'{"access_token":"tok-1","expires_in":86399}')
NO = Response(401, {}, b'{"error":"invalid_grant","error_description":"Bad credentials"}')


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's folder for what programs keep."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "enkash-coins"


def grant(password: str = "wrong", username: str = "user") -> PasswordGrant:
    """A login without a guard of its own."""
    return PasswordGrant("client", "secret", username, password)


def files(folder: Path) -> list[Path]:
    """What is in it."""
    return list(folder.glob("*"))


async def failures(*sources: PasswordGrant) -> list[str]:
    """How one login of each ended, the token endpoint refusing all of them, and how many it has seen."""
    transport = MockTransport(lambda request: NO)
    kinds = []
    for source in sources:
        with pytest.raises(EnkashError) as caught:
            await source.token(transport)
        kinds.append(caught.type.__name__)
    return [*kinds, str(len(transport.requests))]


async def test_failures_are_counted_on_disk(state: Path) -> None:
    """What one grant learns, another one knows, as another process would; a file for each client id and username."""
    assert await failures(grant(), grant(), grant("two"), grant("three")) == [
        *("LoginRefused", "LoginRefused", "LoginRefused", "LoginSuspended", "2")
    ]
    assert await failures(grant(username="another")) == ["LoginRefused", "1"]
    assert len(files(state)) == 2


@pytest.mark.parametrize("name", ["guard", "~/guard"])
async def test_another_file_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """By ``ENKASH_LOGIN_GUARD``; it is one file for all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ENKASH_LOGIN_GUARD", name)
    sources = grant(), grant(username="another")
    monkeypatch.chdir("/")
    assert await failures(*sources) == ["LoginRefused", "LoginRefused", "2"]
    assert files(tmp_path) == [tmp_path / "guard"]


@pytest.mark.parametrize("given", [None, "", "relative"])
async def test_it_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None) -> None:
    """Where the XDG specification has it, which also says that a relative folder does not count."""
    if given is None:
        monkeypatch.delenv("XDG_STATE_HOME")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await failures(grant()) == ["LoginRefused", "1"]
    assert len(files(tmp_path / ".local/state/enkash-coins")) == 1


@pytest.mark.parametrize("trouble", ["no folder", "read-only", "full disk", "damaged", "no home"])
async def test_without_a_disk_it_is_in_memory(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """It goes on counting, for all grants of the process, and says so in one record."""
    state.parent.mkdir()
    match trouble:
        case "no folder":
            os.symlink("nowhere", state)  # noqa: PTH211  # at once
        case "read-only":
            monkeypatch.setattr(os, "open", lambda *_, **__: broken(errno.EROFS))
        case "full disk":
            monkeypatch.setattr(os, "fsync", lambda _: broken(errno.ENOSPC))
        case "damaged":
            await failures(grant())
            (file,) = files(state)
            file.write_text("{", encoding="utf-8")
        case "no home":
            monkeypatch.delenv("XDG_STATE_HOME")
            monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does when it knows no home
    caplog.clear()
    assert await failures(grant(), grant("two"), grant("three")) == [
        *("LoginRefused", "LoginRefused", "LoginSuspended", "2")
    ]
    told = [record for record in caplog.records if "login guard" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert told[0].getMessage().endswith(": this process counts its failed logins for itself")
    assert (await grant("right", "another").token(MockTransport([YES]))).value == "tok-1"


def broken(number: int) -> int:
    """What a disk says."""
    raise OSError(number, os.strerror(number))


async def test_memory_may_be_chosen(state: Path) -> None:
    """A guard in memory is for those who share it; nothing is kept on the disk."""
    guard = MemoryGuard()
    sources = [PasswordGrant("client", "secret", "user", password, guard=guard) for password in ("one", "two", "three")]
    assert await failures(*sources) == ["LoginRefused", "LoginRefused", "LoginSuspended", "2"]
    assert files(state) == []
