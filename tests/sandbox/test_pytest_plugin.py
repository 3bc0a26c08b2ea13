"""The fixtures for users' own tests, in the hands of a user: pytest in a process and a folder of its own."""

import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from enkash_coins import CoinEventService
from enkash_coins.sandbox import Fault, Sandbox


def run_pytest(folder: Path, tests: str, *, conftest: str = 'pytest_plugins = ["enkash_coins.pytest_plugin"]') -> str:
    """What pytest prints of these tests, with every warning an error."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # else settings of a folder above are found
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_mine.py").write_text(dedent(tests), encoding="utf-8")
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-W",
        "error",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_sync_async_and_process_reach_the_same_sandbox(tmp_path: Path) -> None:
    """One fixture serves them all; what they did is seen in the test."""
    printed = run_pytest(
        tmp_path,
        """
        import asyncio, subprocess, sys
        from enkash_coins import CoinEventService

        PROGRAM = '''
        import asyncio
        from enkash_coins import CoinEventService

        async def main():
            async with CoinEventService.from_env() as coins:
                await coins.update("WCC12345", amount=3)
        asyncio.run(main())
        '''

        async def set_to(amount):
            async with CoinEventService.from_env() as coins:
                await coins.update("WCC12345", amount=amount)

        def test_sync(enkash_sandbox, enkash_environment):
            asyncio.run(set_to(2))
            assert enkash_sandbox.configs["WCC12345"]["amount"] == 2

        def test_process(enkash_sandbox, enkash_environment):
            import textwrap
            subprocess.run([sys.executable, "-c", textwrap.dedent(PROGRAM)], check=True)
            assert enkash_sandbox.configs["WCC12345"]["amount"] == 3

        def test_fresh(enkash_sandbox, enkash_environment):
            assert enkash_environment["ENKASH_BASE_URL"] == enkash_sandbox.base_url
            assert enkash_sandbox.configs["WCC12345"]["amount"] == 10
        """,
    )
    assert "3 passed" in printed, printed


async def test_an_async_test_may_block_its_own_loop(enkash_sandbox: Sandbox) -> None:
    """The sandbox answers from another thread's loop, whatever this one does."""
    async with CoinEventService.connect(enkash_sandbox.base_url, auth=enkash_sandbox.auth) as coins:
        assert (await coins.get("WCC12345")).amount == 10
    code = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
    done = subprocess.run(  # noqa: ASYNC221  # blocking is the point
        [sys.executable, "-c", code, enkash_sandbox.base_url], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_the_developers_is_touched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token in the developer's shell neither clashes with the sandbox's login nor goes to it; no file is written."""
    monkeypatch.setenv("ENKASH_TOKEN", "of-the-developer")
    monkeypatch.setenv("ENKASH_LOGIN_GUARD", str(tmp_path / "guard.json"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    tests = """
        import asyncio, subprocess, sys
        from enkash_coins import CoinEventService

        async def read():
            async with CoinEventService.from_env() as coins:
                return await coins.balance("EK1")

        def test_it(enkash_sandbox, enkash_environment):
            assert asyncio.run(read()) == 0
            subprocess.run([sys.executable, "-m", "enkash_coins.cli", "get", "WCC12345"], check=True)
            assert enkash_sandbox.calls["token"] == 2
    """
    assert "1 passed" in run_pytest(tmp_path, tests)
    assert not (tmp_path / "guard.json").exists()
    assert not (tmp_path / "state").exists()


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    """With a request still hanging at its end, thread and loop go away without a warning."""
    printed = run_pytest(
        tmp_path,
        """
        import asyncio, threading
        from enkash_coins import CoinEventService, TimedOut
        from enkash_coins.sandbox import Fault

        def test_hang(enkash_sandbox, enkash_environment):
            enkash_sandbox.faults.append(Fault("hang", on="get"))

            async def main():
                async with CoinEventService.from_env() as coins:
                    await coins.balance("EK1")  # logs in: a login that is cut off ends in a thread of its own
                    await coins.with_options(deadline=0.2).get("WCC12345")

            try:
                asyncio.run(main())
            except TimedOut:
                pass

        def test_after():
            assert [t.name for t in threading.enumerate()] == ["MainThread"]
        """,
    )
    assert "2 passed" in printed, printed
    assert "arning" not in printed
    assert "enkash-sandbox" not in [thread.name for thread in threading.enumerate()]


def test_without_asking_for_it_there_is_no_fixture(tmp_path: Path) -> None:
    """It costs nothing when unused: pytest does not load it, and the package does not import pytest."""
    printed = run_pytest(tmp_path, "def test_it(enkash_sandbox): ...", conftest="")
    assert "fixture 'enkash_sandbox' not found" in printed
    code = "import sys, enkash_coins, enkash_coins.sandbox, enkash_coins.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_faults_are_added_while_it_runs(enkash_sandbox: Sandbox) -> None:
    """Its list of faults is the test's to change."""
    enkash_sandbox.faults.append(Fault("hang", on="balance"))
    assert enkash_sandbox.calls["balance"] == 0
