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
from enkash_coins.auth.guard import LoginHistory
from enkash_coins.sandbox import Fault, Sandbox
from enkash_coins.secret import Secret

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
async def worker(sandbox: Sandbox, path: Path, password: str = RIGHT, what: str = "get") -> AsyncIterator[Process]:
    """A process that is ready to log in; killed if it is not done in the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "dev", "-W", "error", str(PROGRAM), what, sandbox.base_url, password, str(path)),
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


async def one(sandbox: Sandbox, path: Path, password: str = RIGHT) -> str:
    """One process from its start to its end."""
    async with worker(sandbox, path, password) as process:
        await go(process)
        return await end(process)


async def killed_in_its_login(sandbox: Sandbox, path: Path) -> None:
    """A process that dies between the charge and the answer."""
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


@pytest.mark.parametrize(
    ("password", "ends", "calls"),
    [(WRONG, ["LoginRefused"] * 4, {"token": 1}), (RIGHT, ["fine"] * 4, {"token": 4, "get": 4})],
    ids=["wrong", "right"],
)
async def test_four_processes_at_once(
    sandbox: Sandbox, path: Path, password: str, ends: list[str], calls: dict[str, int]
) -> None:
    """With a wrong password one of them asks, and all know the answer; with the right one each logs in."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(worker(sandbox, path, password)) for _ in range(4)]
        await asyncio.gather(*map(go, processes))
        assert await asyncio.gather(*map(end, processes)) == ends
    assert sandbox.calls == calls
    assert not sandbox.locked


async def test_a_kill_between_charge_and_answer_counts(sandbox: Sandbox, path: Path) -> None:
    """As one doubtful login, in the next process: credentials that never worked get two in all."""
    await killed_in_its_login(sandbox, path)
    history = await grant(path).history()
    assert (history.doubtful, history.proven, history.refused) == (1, False, False)
    await killed_in_its_login(sandbox, path)
    assert (await grant(path).history()).doubtful == 2
    assert await one(sandbox, path) == "LoginSuspended"
    with pytest.raises(LoginSuspended) as caught:
        await ask(sandbox, grant(path, kind=InAMinute))
    assert caught.value.retry_at is None
    assert sandbox.calls == {"token": 2}


async def test_a_kill_of_proven_credentials_costs_a_minute(sandbox: Sandbox, path: Path) -> None:
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
    assert await grant(path).history() == LoginHistory(proven=True)
    assert sandbox.calls["token"] == 4


async def test_a_kill_while_waiting_for_the_guard_costs_nothing(sandbox: Sandbox, path: Path) -> None:
    """Nothing was charged, and nobody is held up."""
    async with FileGuard(path).hold(Secret(b"whoever")), worker(sandbox, path) as process:
        await go(process)
        await asyncio.sleep(0.2)
        process.kill()
    assert await grant(path).history() == LoginHistory()
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
        assert (await grant(path, WRONG).reset()).failed == failed
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
            assert await asyncio.wait_for(grant(path).history(), 10) == LoginHistory()
        finally:
            os.kill(child, signal.SIGKILL)


WAYS: dict[str, Callable[[Sandbox, Path], Awaitable[object]]] = {
    "a call": lambda sandbox, path: ask(sandbox, grant(path)),
    "history": lambda _, path: grant(path).history(),
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
    history = await asyncio.wait_for(grant(path).history(), 10)
    assert history.failed == 1
    await asyncio.sleep(0.2)
    assert sandbox.calls == {"token": 1}


async def test_processes_on_both_sides_of_a_refusal(sandbox: Sandbox, path: Path) -> None:
    """What one process learned from the token endpoint, another one says without asking."""
    assert await one(sandbox, path, WRONG) == "LoginRefused"
    (error,) = await asyncio.gather(ask(sandbox, grant(path, WRONG)), return_exceptions=True)
    assert isinstance(error, LoginRefused)
    assert isinstance(error, EnkashError)
    assert "these credentials were refused before" in str(error)
