"""Several processes, one account: what the token endpoint saw of them, over real sockets and one file."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from enkash_coins import CoinEventService, EnkashError, FileGuard, LoginRefused, LoginSuspended, PasswordGrant
from enkash_coins.auth.guard import History
from enkash_coins.sandbox import Fault, Sandbox

PROGRAM = Path(__file__).with_name("logins.py")
RIGHT, WRONG = "sandbox-password", "a wrong one"
Process = asyncio.subprocess.Process


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """In the tests' own process; who logs in does so from others."""
    async with Sandbox(10) as sandbox:
        yield sandbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The guard's file."""
    return tmp_path / "guard.json"


@asynccontextmanager
async def worker(
    sandbox: Sandbox, path: Path | None, password: str = RIGHT, what: str = "get"
) -> AsyncIterator[Process]:
    """A process that is ready to log in; killed if it is not done in the end. Without a path it names no guard."""
    named = [str(path)] if path else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "dev", "-W", "error", str(PROGRAM), what, sandbox.base_url, password, *named),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def go(process: Process) -> None:
    """Tell it to start."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()


async def end(process: Process) -> str:
    """How its call ended."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


async def one(sandbox: Sandbox, path: Path | None, password: str = RIGHT) -> str:
    """One process from its start to its end."""
    async with worker(sandbox, path, password) as process:
        await go(process)
        return await end(process)


async def killed_in_its_login(sandbox: Sandbox, path: Path) -> None:
    """A process that dies before its login is answered."""
    sandbox.faults[:] = [Fault("hang", on="token")]
    before = sandbox.calls["token"]
    async with worker(sandbox, path) as process:
        await go(process)
        await until(lambda: sandbox.calls["token"] == before + 1)
        process.kill()
    sandbox.faults.clear()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  # another process sets no event here
            await asyncio.sleep(0.002)


class InAMinute(FileGuard):
    """The same file, read a minute later."""

    def now(self) -> float:
        """A minute ahead."""
        return super().now() + 61


def grant(path: Path, password: str = RIGHT, kind: type[FileGuard] = FileGuard) -> PasswordGrant:
    """A login of this process."""
    return PasswordGrant("sandbox-client", "sandbox-client-secret", "sandbox@example.com", password, guard=kind(path))


async def ask(sandbox: Sandbox, auth: PasswordGrant) -> None:
    """One call of this process."""
    async with CoinEventService.connect(sandbox.base_url, auth=auth) as coins:
        await coins.get("WCC12345")


async def known(sandbox: Sandbox, path: Path) -> History:
    """What the file knows of the account."""
    async with asyncio.timeout(10), FileGuard(path).hold(grant(path)._credentials) as record:
        return record.histories.get(sandbox.base_url.removeprefix("http://"), History())


async def at_once(sandbox: Sandbox, path: Path | None, *passwords: str) -> list[str]:
    """How processes ended that started at the same time."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(worker(sandbox, path, password)) for password in passwords]
        await asyncio.gather(*map(go, processes))
        return await asyncio.gather(*map(end, processes))


async def test_three_scripts_in_a_row(sandbox: Sandbox) -> None:
    """With a wrong password, and without a word about guards: one refusal."""
    assert [await one(sandbox, None, WRONG) for _ in range(3)] == ["LoginRefused"] * 3
    assert sandbox.calls == {"token": 1}


async def test_three_wrong_passwords_in_a_row(sandbox: Sandbox) -> None:
    """As a person tries them: two refusals, for the third would lock the account."""
    ends = [await one(sandbox, None, password) for password in ("one", "two", "three")]
    assert ends == ["LoginRefused", "LoginRefused", "LoginSuspended"]
    assert sandbox.calls == {"token": 2}
    assert not sandbox.locked


@pytest.mark.parametrize(
    ("passwords", "ends", "calls"),
    [
        ([WRONG] * 4, ["LoginRefused"] * 4, {"token": 1}),
        (["one", "two", "three"], ["LoginRefused", "LoginRefused", "LoginSuspended"], {"token": 2}),
        ([RIGHT] * 4, ["fine"] * 4, {"token": 4, "get": 4}),
    ],
    ids=["one wrong password", "three wrong ones", "the right one"],
)
async def test_processes_at_once(
    sandbox: Sandbox, passwords: list[str], ends: list[str], calls: dict[str, int]
) -> None:
    """One asks after the other, and each knows what those before it have learned."""
    assert sorted(await at_once(sandbox, None, *passwords)) == ends
    assert sandbox.calls == calls
    assert not sandbox.locked


async def test_a_typo_stops_no_process_that_works(sandbox: Sandbox, path: Path) -> None:
    """Once a password has worked, all others together get one refusal, and it goes on working."""
    passwords = (RIGHT, WRONG, "another", RIGHT)
    ends = [await one(sandbox, path, password) for password in passwords]
    assert ends == ["fine", "LoginRefused", "LoginSuspended", "fine"]
    assert sandbox.calls["token"] == 3


async def test_a_success_resets_the_count(sandbox: Sandbox, path: Path) -> None:
    """At EnKash, and here: refusals count in a row."""
    for wrong in ("one", "two", "three", "four"):
        assert [await one(sandbox, path, password) for password in (wrong, RIGHT)] == ["LoginRefused", "fine"]
    assert sandbox.calls["token"] == 8


async def test_a_kill_before_the_answer_counts(sandbox: Sandbox, path: Path) -> None:
    """As a login without a clear answer, in the next process: credentials that never worked get two in all."""
    for failures in (1, 2):
        await killed_in_its_login(sandbox, path)
        assert (await known(sandbox, path)).failures == failures
    assert await one(sandbox, path) == "LoginSuspended"
    with pytest.raises(LoginSuspended) as caught:
        await ask(sandbox, grant(path, kind=InAMinute))
    assert caught.value.retry_at is None
    assert sandbox.calls == {"token": 2}


async def test_a_kill_of_credentials_that_worked_costs_a_minute(sandbox: Sandbox, path: Path) -> None:
    """Credentials that have worked, in whichever process, get one more try a minute later, and so on."""
    assert await one(sandbox, path) == "fine"
    for _ in range(2):
        await killed_in_its_login(sandbox, path)
    with pytest.raises(LoginSuspended) as caught:
        await ask(sandbox, grant(path))
    assert caught.value.retry_at is not None
    assert 30 < caught.value.retry_at.timestamp() - time.time() <= 60
    assert sandbox.calls["token"] == 3
    await ask(sandbox, grant(path, kind=InAMinute))
    assert (await known(sandbox, path)).failures == 0
    assert sandbox.calls["token"] == 4


async def test_a_kill_while_waiting_for_the_guard_costs_nothing(sandbox: Sandbox, path: Path) -> None:
    """Nothing was counted, and nobody is held up."""
    async with FileGuard(path).hold(grant(path)._credentials), worker(sandbox, path) as process:
        await go(process)
        await asyncio.sleep(0.2)
        process.kill()
    assert await known(sandbox, path) == History()
    assert sandbox.calls == {}


async def test_a_changed_password_needs_no_reset(sandbox: Sandbox, path: Path) -> None:
    """It is another set of credentials; the old ones stay refused."""
    passwords = (WRONG, WRONG, RIGHT, WRONG)
    ends = [await one(sandbox, path, password) for password in passwords]
    assert ends == ["LoginRefused", "LoginRefused", "fine", "LoginRefused"]
    assert sandbox.calls == {"token": 2, "get": 1}


async def test_a_reset_lets_one_login_out(sandbox: Sandbox, path: Path) -> None:
    """In whichever process; and what EnKash has counted is not forgotten."""
    for failed in (1, 2):
        assert [await one(sandbox, path, WRONG) for _ in range(2)] == ["LoginRefused"] * 2
        assert sandbox.calls == {"token": failed}
        assert await grant(path, WRONG).reset() == failed
    assert not sandbox.locked


async def test_a_killed_holder_lets_the_next_one_go_on(sandbox: Sandbox, path: Path) -> None:
    """Who waits sends nothing as long as the other one lives, and goes on when it is dead."""
    sandbox.faults[:] = [Fault("hang", on="token", nth=1)]
    async with worker(sandbox, path) as holder, worker(sandbox, path) as waiting:
        await go(holder)
        await until(lambda: sandbox.calls["token"] == 1)
        await go(waiting)
        await asyncio.sleep(0.3)
        assert sandbox.calls == {"token": 1}
        holder.kill()
        assert await end(waiting) == "fine"
    assert sandbox.calls == {"token": 2, "get": 1}


async def test_a_killed_holders_child_does_not_hold_on(sandbox: Sandbox, path: Path) -> None:
    """A child of a fork shares the open file, yet not the lock."""
    async with worker(sandbox, path, what="fork") as parent:
        await go(parent)
        child = int(await end(parent))
        try:
            parent.kill()
            assert await asyncio.wait_for(grant(path).failures(), 10) == 0
        finally:
            os.kill(child, signal.SIGKILL)


WAYS: dict[str, Callable[[Sandbox, Path], Awaitable[object]]] = {
    "a call": lambda sandbox, path: ask(sandbox, grant(path)),
    "failures": lambda _, path: grant(path).failures(),
    "reset": lambda _, path: grant(path).reset(),
}


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_cancelled_while_another_process_logs_in_ends_at_once(
    sandbox: Sandbox, path: Path, way: str
) -> None:
    """And sends nothing, also later, when the file is free: not even by a login that nobody waits for any more."""
    sandbox.faults[:] = [Fault("hang", on="token", nth=1)]
    async with worker(sandbox, path) as holder:
        await go(holder)
        await until(lambda: sandbox.calls["token"] == 1)
        waiting = asyncio.ensure_future(WAYS[way](sandbox, path))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert time.monotonic() - began < 1
    assert await asyncio.wait_for(grant(path).failures(), 10) == 1
    await asyncio.sleep(0.2)
    assert sandbox.calls == {"token": 1}


async def test_processes_on_both_sides_of_a_refusal(sandbox: Sandbox, path: Path) -> None:
    """What one process learned from the token endpoint, another one says without asking."""
    assert await one(sandbox, path, WRONG) == "LoginRefused"
    (error,) = await asyncio.gather(ask(sandbox, grant(path, WRONG)), return_exceptions=True)
    assert isinstance(error, LoginRefused)
    assert isinstance(error, EnkashError)
    assert "these credentials were refused before" in str(error)
