"""The guard in a file, seen from one process; what several processes make of it is tested over real sockets."""

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from enkash_coins import FileGuard, LoginSuspended, PasswordGrant, Request, Response
from enkash_coins.auth import file_guard
from enkash_coins.auth.credentials import Credentials, packed
from enkash_coins.auth.guard import History
from enkash_coins.errors import GuardUnusable
from enkash_coins.secret import Secret
from enkash_coins.testing import MockTransport

OURS = ("client-1", "s3cret-client", "user@example.com", "pa55 wörd&=+%")
YES = Response(200, {}, b'{"access_token":"tok-1","expires_in":86399}')
NO = Response(401, {}, b'{"error":"invalid_grant","error_description":"Bad credentials"}')


def login(username: str = "user", password: str = "sesame") -> Credentials:
    """A login."""
    return Secret(("client", "secret", username, password))


ONE = login()
NOTHING, USED = History(), History(failures=1, unclear_at=3.0, worked=("a",), refused=("b",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the guard's file will be."""
    return tmp_path / "guard.json"


def held(path: Path) -> bytes:
    """All that the file holds."""
    return path.read_bytes()


def put(path: Path, body: bytes) -> None:
    """A file with another content."""
    path.touch(mode=0o600)
    path.write_bytes(body)


async def keep(path: Path, history: History = USED, who: Credentials = ONE, host: str = "") -> None:
    """Write a history down."""
    async with FileGuard(path).hold(who) as record:
        await record.save(host, history)


async def known(path: Path, who: Credentials = ONE, host: str = "") -> History:
    """What a guard of this file knows."""
    async with asyncio.timeout(10), FileGuard(path).hold(who) as record:
        return record.histories.get(host, NOTHING)


async def one_more(guard: FileGuard, seconds: float) -> None:
    """A login that takes a while, and fails."""
    async with guard.hold(ONE) as record:
        failures = record.histories.get("", NOTHING).failures
        await asyncio.sleep(seconds)
        await record.save("", History(failures=failures + 1))


async def all_let_go() -> None:
    """Until the guards' threads have done what they were left with."""
    for thread in threading.enumerate():
        if thread.name.startswith("login-guard"):
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
    assert [fd for file in file_guard._files for fd in file._fds] == []


async def test_a_file_remembers_what_it_was_told(path: Path) -> None:
    """Another guard of the same file knows it; each client id, username and host has its own history."""
    assert await known(path) == NOTHING
    await keep(path)
    await keep(path, History(failures=2), login("another"))
    await keep(path, History(failures=3), host="another")
    assert await known(path, login(password="another")) == USED
    assert await known(path, login("another")) == History(failures=2)
    assert await known(path, host="another") == History(failures=3)
    assert await known(path.with_name("another")) == NOTHING
    await all_let_go()


def test_a_relative_path_means_the_folder_of_now(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that changes its folder later does not lose its guard; ``~`` is the home folder; a guard pickles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    guards = [FileGuard("guard.json"), FileGuard("~/guard.json"), pickle.loads(pickle.dumps(FileGuard(path)))]  # noqa: S301  # our own
    assert {repr(guard) for guard in guards} == {f"FileGuard('{path}')"}


async def test_one_login_at_a_time_holds_the_file(path: Path) -> None:
    """Of three guards of one file in one loop, who comes later reads what the others saved."""
    await asyncio.gather(*(one_more(FileGuard(path), 0.01) for _ in range(3)))
    assert (await known(path)).failures == 3


def test_threads_take_turns(path: Path) -> None:
    """Also in loops of their own, with one guard or several: no login is forgotten."""
    shared = FileGuard(path)

    async def log_in(guard: FileGuard) -> None:
        for _ in range(5):
            await one_more(guard, 0.001)

    guards = [shared, shared, FileGuard(path)]
    threads = [threading.Thread(target=lambda guard=guard: asyncio.run(log_in(guard))) for guard in guards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(known(path)).failures == 15


async def test_who_is_cancelled_while_waiting_ends_at_once(path: Path) -> None:
    """And holds nothing: when the holder lets go, the next one gets the file."""
    async with FileGuard(path).hold(ONE):
        for delay in (0, 0.001, 0.02, 0.07):
            waiter = asyncio.create_task(known(path))
            await asyncio.sleep(delay)
            began = time.monotonic()
            waiter.cancel()
            await asyncio.wait([waiter])
            assert waiter.cancelled()
            assert time.monotonic() - began < 1
    await all_let_go()
    assert await known(path) == NOTHING


async def test_who_is_cancelled_while_getting_the_file_leaves_it(path: Path) -> None:
    """At whatever moment it comes, nobody has to wait for who is gone."""
    for turns in range(12):
        waiter = asyncio.create_task(known(path))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        assert await known(path) == NOTHING
    await all_let_go()


async def test_who_opened_a_file_that_was_replaced_opens_it_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a file that is gone protects nothing, and what it held is out of date."""
    opened, go_on = threading.Event(), threading.Event()
    check = file_guard._check

    def late(found: os.stat_result) -> None:
        opened.set()
        assert go_on.wait(10)
        check(found)

    async with FileGuard(path).hold(ONE) as record:
        monkeypatch.setattr(file_guard, "_check", late)
        waiter = asyncio.create_task(known(path))
        await asyncio.to_thread(opened.wait, 10)
        await record.save("", USED)
    go_on.set()
    assert await waiter == USED


async def test_the_file_is_let_go_after_the_last_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login cancelled in the middle of a write ends at once, but nobody else gets the file until that is done."""
    writing, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd: int) -> None:
        if not go_on.is_set():
            writing.set()
            assert go_on.wait(10)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    login = asyncio.create_task(keep(path))
    await asyncio.to_thread(writing.wait, 10)
    login.cancel()
    await asyncio.wait([login], timeout=1)
    assert login.cancelled()
    next_one = asyncio.create_task(known(path))
    done, _ = await asyncio.wait([next_one], timeout=0.2)
    assert not done
    go_on.set()
    assert await next_one == USED


async def test_a_failed_login_lets_go(path: Path) -> None:
    """However it ended, the file is free again."""

    async def fail() -> None:
        async with FileGuard(path).hold(ONE):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await known(path) == NOTHING


async def test_long_waiting_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with the file's name: somebody may want to look who holds it."""
    monkeypatch.setattr(file_guard, "_LONG", 0.0)
    async with FileGuard(path).hold(ONE):
        waiter = asyncio.create_task(known(path))
        await asyncio.sleep(0.2)
    assert await waiter == NOTHING
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"another process has held the login guard {path} for")


async def test_nothing_blocks_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, locking, hashing and writing to the disk are done by another thread."""
    here = threading.current_thread()
    seen = []

    def watch(module: object, name: str) -> None:
        real = getattr(module, name)

        def watched(*arguments: object, **options: object) -> object:
            seen.append(name)
            assert threading.current_thread() is not here
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    for name in ("open", "close", "fsync"):
        watch(os, name)
    watch(fcntl, "flock")
    watch(hashlib, "pbkdf2_hmac")
    await keep(path, who=login("a new one"))
    await all_let_go()
    assert set(seen) == {"open", "close", "fsync", "flock", "pbkdf2_hmac"}


async def test_what_is_saved_is_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before ``save`` returns, the whole file was made durable, then put in its place, then the folder made durable."""
    steps: list[object] = []
    fsync, rename = os.fsync, Path.replace

    def synced(fd: int) -> None:
        found = os.fstat(fd)
        steps.append("folder" if stat.S_ISDIR(found.st_mode) else found.st_ino)
        assert stat.S_ISDIR(found.st_mode) or b'"failures":1' in Path(f"/dev/fd/{fd}").read_bytes()
        fsync(fd)

    def renamed(new: Path, target: Path) -> Path:
        steps.append("put in its place")
        return rename(new, target)

    guard = FileGuard(path)
    async with guard.hold(ONE) as record:
        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "replace", renamed)
        await record.save("", USED)
        assert steps == [os.stat(path).st_ino, "put in its place", "folder"]  # noqa: PTH116  # at once


async def test_a_login_is_in_the_file_before_the_request_leaves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And on the disk: whatever dies after that, the login counts."""
    syncs: list[int] = []
    fsync = os.fsync
    seen = []

    def counted(fd: int) -> None:
        syncs.append(fd)
        fsync(fd)

    def look(request: Request) -> Response:
        seen.append((b'"failures":1' in held(path), len(syncs)))
        return YES

    monkeypatch.setattr(os, "fsync", counted)
    await PasswordGrant(*OURS, guard=FileGuard(path)).token(MockTransport(look))
    assert seen == [(True, 2)]
    assert b'"failures":0' in held(path)


@pytest.mark.parametrize("umask", [0, 0o077])
async def test_the_file_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    """0600 from the beginning, and 0700 for a folder that is made for it; nothing else is left beside it."""
    path = tmp_path / "new" / "guard.json"
    before = os.umask(umask)
    try:
        async with FileGuard(path).hold(ONE) as record:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            await record.save("", USED)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["guard.json"]  # noqa: PTH208  # names


async def test_the_file_holds_nothing_of_the_credentials(path: Path) -> None:
    """Neither they nor anything that is quickly computed from them, with the salt or without; another file has other
    fingerprints.
    """
    source = PasswordGrant(*OURS, guard=FileGuard(path))
    await source.token(MockTransport([YES]))
    body = held(path)
    content = file_guard._parsed(body)
    salt = content.salt.encode()
    (history,) = content.accounts.popitem()[1].values()
    (key,) = history.worked
    texts = [packed(OURS), *(part.encode() for part in OURS), ":".join(OURS).encode()]
    for text in texts:
        assert text not in body
        for kind, salted in product(sorted(hashlib.algorithms_guaranteed), (text, salt + text, text + salt)):
            digest = hashlib.new(kind, salted)
            short = digest.digest(32) if kind.startswith("shake") else digest.digest()  # type: ignore[call-arg]  # shake's
            assert short.hex()[:16] not in key
        assert hashlib.blake2b(text, key=salt).hexdigest()[:16] not in key
    another = path.with_name("another.json")
    await PasswordGrant(*OURS, guard=FileGuard(another)).token(MockTransport([YES]))
    assert key not in another.read_text(encoding="utf-8")


async def test_recognising_credentials_is_slow_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash takes the parameters that make guessing dear, and is not paid for again by each row."""
    calls = []
    slow = hashlib.pbkdf2_hmac

    def counted(kind: str, password: bytes, salt: bytes, rounds: int, size: int) -> bytes:
        calls.append((kind, rounds, len(salt)))
        return slow(kind, password, salt, rounds, size)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    source = PasswordGrant(*OURS, guard=FileGuard(path))
    await source.token(MockTransport([YES]))
    for _ in range(3):
        await source.failures()
    assert calls == [("sha256", 100_000, 32)]


async def test_failures_are_never_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only hosts without one are, and never the latest."""
    monkeypatch.setattr(file_guard, "_REMEMBERED", 2)
    await keep(path, USED, host="failed")
    await keep(path, History(refused=("b",)), host="refused")
    for host in "abcda":
        await keep(path, History(worked=("a",)), host=host)
    async with FileGuard(path).hold(ONE) as record:
        assert list(record.histories) == ["failed", "refused", "d", "a"]


FOREIGN = {
    "not JSON": b'{"version":1,"salt":"00","acc',
    "zeros": bytes(512),
    "not UTF-8": b'{"version":1,"salt":"\xff","accounts":{}}',
    "nested": b"[" * 200_000,
    "later": b'{"version":2,"salt":"00","accounts":{}}',
    "another program's": b'{"version":1}',
    "a list": b"[]",
    "no history": b'{"version":1,"salt":"00","accounts":{"a":{"b":[]}}}',
    "wrong history": b'{"version":1,"salt":"00","accounts":{"a":{"b":{"failures":true}}}}',
    "no salt": b'{"version":1,"salt":7,"accounts":{}}',
}


def directory(path: Path) -> None:
    """A directory."""
    path.mkdir()


def link(path: Path) -> None:
    """A symbolic link."""
    path.with_name("elsewhere").touch(mode=0o600)
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    """A named pipe."""
    os.mkfifo(path, 0o600)


def writable_by_others(path: Path) -> None:
    """A file that others can write to."""
    path.touch()
    path.chmod(0o622)


def below_a_file(path: Path) -> None:
    """A file where there should be a folder."""
    path.parent.rmdir()
    path.parent.touch()


STRANGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "directory": (directory, "is a directory"),
    "link": (link, "symbolic link"),
    "pipe": (pipe, "it is not a file"),
    "writable by others": (writable_by_others, "others can write to it (chmod 600 mends that)"),
    "below a file": (below_a_file, ""),
}


async def refused(path: Path, why: str) -> None:
    """No login is made, and the error is one line with the file and the reason."""
    transport = MockTransport([YES])
    for _ in range(2):
        with pytest.raises(LoginSuspended) as caught:
            await PasswordGrant(*OURS, guard=FileGuard(path)).token(transport)
        assert isinstance(caught.value, GuardUnusable)
        assert caught.value.retry_at is None
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert str(caught.value).startswith(f"the login guard {path} cannot be used: ")
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)
    assert transport.requests == []
    await all_let_go()


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_file_that_is_not_ours_stops_logins(path: Path, kind: str) -> None:
    """It is left as it is, and no login is made unguarded."""
    put(path, FOREIGN[kind])
    await refused(path, "it is damaged, or was written by another version of this package")
    assert held(path) == FOREIGN[kind]


@pytest.mark.parametrize("kind", STRANGE)
async def test_a_path_that_cannot_hold_the_file_stops_logins(tmp_path: Path, kind: str) -> None:
    """Whatever stands there."""
    path = tmp_path / "folder" / "guard.json"
    path.parent.mkdir()
    make, why = STRANGE[kind]
    make(path)
    await refused(path, why)


async def test_somebody_elses_file_stops_logins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could have written anything into it, and could not read ours."""
    await keep(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    await refused(path, "it belongs to another user")


NO_ROOM = """
import asyncio, os, resource, sys
from enkash_coins import EnkashError, FileGuard, PasswordGrant, Response
from enkash_coins.testing import MockTransport

what, path = sys.argv[1:]
if what == "full disk":  # as far as a process can have one to itself
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
if what == "read-only folder" and os.geteuid() == 0:  # whom no mode stops
    os.chown(os.path.dirname(path), 65534, -1)
    os.setuid(65534)

async def main():
    transport = MockTransport([Response(200, {}, b'{"access_token":"t"}')])
    try:
        await PasswordGrant("a", "b", "c", "d", guard=FileGuard(path)).token(transport)
    except EnkashError as error:
        print(type(error).__name__, error)
    print(len(transport.requests), os.listdir(os.path.dirname(path)))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("what", "why", "left"),
    [("full disk", "file too large", "['guard.json']"), ("read-only folder", "permission denied", "[]")],
)
def test_without_room_for_it_no_login_is_made(tmp_path: Path, what: str, why: str, left: str) -> None:
    """What cannot be written down is not sent; a file half written is not left behind."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    if what == "read-only folder":
        for parent in (tmp_path, *tmp_path.parents):
            if parent.name.startswith(("pytest-", "popen-", "test_")):  # pytest's own, which another user has to pass
                parent.chmod(0o711)
        folder.chmod(0o500)
    path = folder / "guard.json"
    # Whoever measures coverage would find no room for that either.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, what, path], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"GuardUnusable the login guard {path} cannot be used: {why}",
        f"0 {left}",
    ]


@pytest.mark.parametrize("step", ["fsync", "replace"])
async def test_a_write_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At whichever step the disk turns out to be full: the old content stays, and half of the new one is removed."""
    await keep(path)
    before = held(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os if step == "fsync" else Path, step, full)
        await refused(path, "no space left on device")
    assert held(path) == before
    assert os.listdir(path.parent) == ["guard.json"]  # noqa: PTH208  # names
    assert await known(path) == USED


async def test_what_a_killed_process_left_is_in_nobodys_way(path: Path) -> None:
    """Half of a new file, or whatever stands there in its place, is not followed and not read."""
    precious = path.with_name("precious")
    precious.write_text("mine", encoding="utf-8")
    path.with_name("guard.json.new").symlink_to(precious)
    await keep(path)
    assert precious.read_text(encoding="utf-8") == "mine"
    assert await known(path) == USED


async def test_a_file_that_is_deleted_is_made_again(path: Path) -> None:
    """That is a person's own reset; so is a file that was emptied."""
    await keep(path)
    os.unlink(path)  # noqa: PTH108  # at once
    assert await known(path) == NOTHING
    await keep(path)
    put(path, b"")
    assert await known(path) == NOTHING


@pytest.mark.parametrize("answer", [YES, NO], ids=["accepted", "refused"])
async def test_an_answer_that_cannot_be_recorded_still_counts(
    path: Path, answer: Response, caplog: pytest.LogCaptureFixture
) -> None:
    """The token is used or the refusal raised; what was saved before stays in the file, and it is told."""
    kept = []

    def break_guard(request: Request) -> Response:
        kept.append(held(path))
        path.with_name("guard.json.new").mkdir()
        return answer

    source = PasswordGrant(*OURS, guard=FileGuard(path))
    (outcome,) = await asyncio.gather(source.token(MockTransport(break_guard)), return_exceptions=True)
    assert type(outcome).__name__ == ("Token" if answer is YES else "LoginRefused")
    assert [held(path)] == kept
    assert "the end of a login is not recorded: the login guard" in caplog.records[0].getMessage()


async def test_a_person_may_look_and_let_one_out(path: Path) -> None:
    """``failures`` and ``reset`` send nothing; after a reset one login goes out, and what failed still counts."""
    transport = MockTransport([NO, NO])
    source = PasswordGrant(*OURS, guard=FileGuard(path))
    assert await source.failures() == await source.reset() == 0
    assert held(path) == b""
    for failed in (1, 2):
        for _ in range(3):
            (error,) = await asyncio.gather(source.token(transport), return_exceptions=True)
            assert type(error).__name__ == "LoginRefused"
        assert len(transport.requests) == failed
        assert await source.failures() == await source.reset() == failed


class At(MockTransport):
    """One that says where it leads."""

    base_url = ""


@pytest.mark.parametrize(
    ("known_as", "reset", "goes"),
    [
        ("https://one.example", None, {"https://one.example"}),
        (None, None, {"https://one.example", "https://two.example"}),
        (None, "https://two.example:443/prefix", {"https://two.example"}),
        ("https://one.example", "https://TWO.example.", {"https://two.example"}),
        (None, "https://two.example:444", set()),
        (None, "http://two.example", set()),
    ],
)
async def test_a_reset_is_of_a_host(path: Path, known_as: str | None, reset: str | None, goes: set[str]) -> None:
    """Of the one that is named, else of the one that this grant has logged in to, else of all."""

    async def ask(source: PasswordGrant, base_url: str) -> bool:
        transport = At([NO])
        transport.base_url = base_url
        await asyncio.gather(source.token(transport), return_exceptions=True)
        return bool(transport.requests)

    hosts = ["https://one.example", "https://two.example"]
    assert [await ask(PasswordGrant(*OURS, guard=FileGuard(path)), host) for host in hosts] == [True, True]
    source = PasswordGrant(*OURS, guard=FileGuard(path))
    if known_as:
        assert not await ask(source, known_as)
    await source.reset(reset)
    gone = {host for host in hosts if await ask(PasswordGrant(*OURS, guard=FileGuard(path)), host)}
    assert gone == goes
