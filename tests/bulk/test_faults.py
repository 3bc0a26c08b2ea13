"""Killed at each point between claim and end, full disks, and folders that cannot be written."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import enkash_coins
from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate
from enkash_coins.bulk import LedgerFailed, Run, State
from enkash_coins.bulk.comparison import OK
from enkash_coins.sandbox import Sandbox
from tests.bulk import killed

ROWS = 12


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """With what would be doubled, if it were."""
    async with Sandbox(configs=ROWS, dedupe=False, latency=0.005) as sandbox:
        yield sandbox


@pytest.fixture
async def coins(sandbox: Sandbox) -> AsyncIterator[CoinEventService]:
    """The sandbox's client, four at once."""
    async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, concurrency=4) as coins:
        yield coins


async def planned(coins: CoinEventService, path: Path, kind: str) -> Run:
    """A run of updates, some of one id, or of allocations."""
    if kind == "allocation":
        rows = [
            CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id=f"EK{number}") for number in range(ROWS)
        ]
        return await Run.plan(rows, coins, to=path, allow_repeats=True)
    updates = [CoinEventUpdate(f"WCC{1 + number % 9:05}", amount=1000 + number) for number in range(ROWS)]
    return await Run.plan(updates, coins, to=path, last_wins=True)


@pytest.mark.parametrize("kind", ["update", "allocation"])
@pytest.mark.parametrize("point", killed.POINTS)
async def test_killed_at_a_named_point(
    sandbox: Sandbox, coins: CoinEventService, tmp_path: Path, point: str, kind: str
) -> None:
    """Wherever it dies: updates are all applied in the end, allocations are given once or held, and nothing is lost."""
    assert enkash_coins.__file__ is not None
    assert killed.__file__ is not None
    run = await planned(coins, tmp_path / "june.run", kind)
    path = str(Path(enkash_coins.__file__).parents[1])
    passed = "0" if "page" in point or "end" in point else "2"
    command = [sys.executable, str(killed.__file__), point, str(run.path), passed]
    environment = {**os.environ, **sandbox.environment, "PYTHONPATH": path}
    child = await asyncio.create_subprocess_exec(*command, env=environment, stderr=subprocess.PIPE)
    _, errors = await child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()
    counts = await run.apply(coins, timeout=0.1)
    with closing(sqlite3.connect(run.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if kind == "update":
        assert sum(counts[state] for state in OK) == ROWS
        wanted = {f"WCC{1 + number % 9:05}": 1000 + number for number in range(ROWS)}
        assert {name: sandbox.configs[name]["amount"] for name in wanted} == wanted
        back = await run.rollback(coins, to=tmp_path / "back.run", timeout=0.1)
        assert back.counts.total() == len({record.id for record in run.records([State.APPLIED])})
        return
    given = Counter(str(body["requestId"]) for body in sandbox.allocations)
    assert set(given.values()) == {1}
    held = {record.id for record in run.records([State.UNKNOWN])}
    assert {record.id for record in run.records([State.APPLIED])} == set(given) - held
    assert counts[State.APPLIED] + counts[State.UNKNOWN] == ROWS
    assert len(held) <= 4


class Failing(sqlite3.Connection):
    """A connection to a disk that gets full at some write; and stays so."""

    left = 10**9

    def _write(self, sql: str) -> None:
        if sql.split(maxsplit=1)[0] in ("INSERT", "UPDATE", "CREATE", "COMMIT", "BEGIN"):
            type(self).left -= 1
            if type(self).left < 0:
                raise sqlite3.OperationalError("database or disk is full")

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401  # sqlite3's own
        self._write(sql)
        return super().execute(sql, *arguments)

    def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401  # sqlite3's own
        self._write(sql)
        return super().executemany(sql, *arguments)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    """Says how many writes the disk takes."""
    connect = sqlite3.connect
    monkeypatch.setattr(Failing, "left", 10**9)
    monkeypatch.setattr("sqlite3.connect", lambda *args, **options: connect(*args, factory=Failing, **options))
    return Failing


@pytest.mark.parametrize("kind", ["update", "allocation"])
async def test_full_disk_at_any_write_loses_nothing(
    sandbox: Sandbox, coins: CoinEventService, tmp_path: Path, disk: type[Failing], kind: str
) -> None:
    """Whichever write fails, of plan or apply: it is one error, and with room again the same call finishes it."""
    finished = False
    writes = 0
    while not finished:
        path = tmp_path / f"{writes}.run"
        disk.left = writes
        try:
            run = await planned(coins, path, kind)
            await run.apply(coins, timeout=0.05)
            finished = True
        except LedgerFailed as error:
            assert str(error) == f"{path}: database or disk is full"  # noqa: PT017  # not at every number
        disk.left = 10**9
        run = await planned(coins, path, kind)
        counts = await run.apply(coins, timeout=0.05)
        states = {record.id: record.state for record in run.records()}
        assert counts.total() == ROWS
        if kind == "allocation":
            given = Counter(body["requestId"] for body in sandbox.allocations if body["requestId"] in states)
            assert set(given.values()) <= {1}
            assert {id_ for id_, state in states.items() if state is State.APPLIED} <= set(given)
            assert set(counts) <= {State.APPLIED, State.UNKNOWN}
        else:
            assert set(counts) <= {State.APPLIED, State.UNCHANGED}
            assert sandbox.configs["WCC00001"]["amount"] == 1009
            for config in sandbox.configs.values():  # for the next time
                config["amount"] = 5
        writes += 2
    assert writes > 10


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_folder_that_cannot_be_written_is_one_error(coins: CoinEventService, tmp_path: Path) -> None:
    """Nothing is sent when there is no place to remember it."""
    os.chmod(tmp_path, 0o500)  # noqa: PTH101  # a Path's own would block, for all that is known
    with pytest.raises(OSError, match="denied"):
        await planned(coins, tmp_path / "june.run", "update")
