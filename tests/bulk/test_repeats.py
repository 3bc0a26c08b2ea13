"""Nobody is paid twice by a second try: allocations alike, in one file and in runs beside it."""

import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate
from enkash_coins.bulk import BadFile, Run, State
from enkash_coins.bulk.lock import Lock
from enkash_coins.sandbox import Fault, Sandbox

DAY = 24 * 3600
COMPANY = "CEK100000"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A server that gives coins for every request id."""
    async with Sandbox(configs=1, dedupe=False) as sandbox:
        yield sandbox


def rows(*users: int, request_id: str | None = None) -> list[CoinAllocation]:
    """Allocations for users."""
    return [
        CoinAllocation(
            company_id=COMPANY, event="E", user_id=f"EK{user}", request_id=request_id and f"{request_id}-{user}"
        )
        for user in users
    ]


def files(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(file.name for file in folder.iterdir())


def change(path: Path, statement: str, *values: object) -> None:
    """Change a ledger as a crash, or the time, would."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement, values)
        db.commit()


@pytest.fixture
async def given(coins: CoinEventService, path: Path) -> Run:
    """A run that has given coins to the users 1 to 4, and was refused for user 5."""
    run = await Run.plan(rows(1, 2, 3, 4), coins, to=path)
    await run.apply(coins)
    return run


async def refused(coins: CoinEventService, path: Path, *users: int) -> list[str]:
    """What is said when these are planned beside what is there."""
    with pytest.raises(BadFile) as caught:
        await Run.plan(rows(*users), coins, to=path)
    assert path.name not in files(path.parent)
    return list(caught.value.problems)


@pytest.mark.usefixtures("given")
async def test_what_a_run_beside_has_given_is_refused(
    sandbox: Sandbox, coins: CoinEventService, tmp_path: Path
) -> None:
    """The sheet was mended and sorted: each is named with its line, that run, and the line there."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    problems = await refused(coins, tmp_path / "b.run", 9, 3, 1)
    assert problems == [
        f"line 2: june.run has given, or may have given, {COMPANY} E EK3 (its line 3, on {today})",
        f"line 3: june.run has given, or may have given, {COMPANY} E EK1 (its line 1, on {today})",
        f"{tmp_path / 'b.run'}: allow_repeats (--allow-repeats) gives them all the same",
    ]
    run = await Run.plan(rows(9, 3), coins, to=tmp_path / "b.run", allow_repeats=True)
    assert len(run.notes) == 1
    assert await Run.open(run.path).apply(coins) == {State.APPLIED: 2}, "the plan keeps that it is allowed"
    assert len(sandbox.allocations) == 6


@pytest.mark.usefixtures("given")
async def test_request_ids_of_ones_own_are_nobodys_repetition(coins: CoinEventService, tmp_path: Path) -> None:
    """Whoever gives each allocation an id says by that which it is."""
    run = await Run.plan(rows(1, 2, request_id="order"), coins, to=tmp_path / "b.run")
    assert await run.apply(coins) == {State.APPLIED: 2}


@pytest.mark.usefixtures("given")
async def test_rows_alike_in_one_file_are_refused(coins: CoinEventService, tmp_path: Path) -> None:
    """Pasted twice; those with ids of their own are not alike, unless the ids are."""
    problems = await refused(coins, tmp_path / "b.run", 7, 8, 7)
    assert problems[0].startswith(
        f"rows 1, 3: give the same, company_id {COMPANY}, event E, user_id EK7; allow_repeats"
    )
    both = [*rows(7, request_id="a"), *rows(7, request_id="b")]
    assert (await Run.plan(both, coins, to=tmp_path / "c.run")).counts == {State.PLANNED: 2}
    with pytest.raises(BadFile, match="rows 1, 2: have one request_id, a-7"):
        await Run.plan(rows(7, request_id="a") * 2, coins, to=tmp_path / "d.run")
    assert (await Run.plan(rows(7, 7), coins, to=tmp_path / "e.run", allow_repeats=True)).counts == {State.PLANNED: 2}


@pytest.mark.parametrize(
    ("state", "days", "repeat"),
    [
        ("state = 'applied', written = 1", 6.9, True),
        ("state = 'applied', written = 1", 7.1, False),
        ("state = 'unknown', written = 1", 1, True),
        ("state = 'sent', written = 0", 1, True),
        ("state = 'sent', written = 0", -1, True),  # by a clock that was ahead
        ("state = 'rejected', written = 0", 1, False),
        ("state = 'planned', written = 0", 1, False),
    ],
)
async def test_what_may_have_been_given_in_the_last_seven_days_counts(
    coins: CoinEventService, given: Run, tmp_path: Path, *, state: str, days: float, repeat: bool
) -> None:
    """Given, or in doubt; what is older is only named."""
    change(given.path, f"UPDATE record SET {state}, sent_at = ?", time.time() - days * DAY)  # noqa: S608  # of this table
    if repeat:
        assert len(await refused(coins, tmp_path / "b.run", 1)) == 2
        return
    run = await Run.plan(rows(1), coins, to=tmp_path / "b.run")
    assert len(run.notes) == ("applied" in state)


async def test_it_is_looked_at_again_when_applied(sandbox: Sandbox, coins: CoinEventService, tmp_path: Path) -> None:
    """Both were planned before either was applied."""
    one = await Run.plan(rows(1, 2), coins, to=tmp_path / "a.run")
    other = await Run.plan(rows(2, 3), coins, to=tmp_path / "b.run")
    await one.apply(coins)
    with pytest.raises(BadFile, match=r"line 1: a\.run has given, or may have given"):
        await other.apply(coins)
    assert len(sandbox.allocations) == 2


async def test_run_that_is_being_applied_gives_all_that_it_plans(coins: CoinEventService, tmp_path: Path) -> None:
    """Of two that are applied at once, one at least sees the other."""
    await Run.plan(rows(1, 2), coins, to=tmp_path / "a.run")
    other = await Run.plan(rows(2, 3), coins, to=tmp_path / "b.run")
    lock = Lock(tmp_path / "a.run")
    try:
        with pytest.raises(BadFile, match=r"line 1: a\.run has given, or may have given"):
            await other.apply(coins)
    finally:
        lock.release()
    assert await other.apply(coins) == {State.APPLIED: 2}


@pytest.mark.parametrize("damage", ["torn", "newer", "no database"])
async def test_neighbour_that_cannot_be_read_counts(
    coins: CoinEventService, given: Run, tmp_path: Path, damage: str
) -> None:
    """It is named, whatever it may hold."""
    if damage == "newer":
        change(given.path, "PRAGMA user_version=9")
    else:
        whole = given.path.read_bytes()
        given.path.write_bytes(whole[: len(whole) // 2] if damage == "torn" else b"x" * 5_000)
    (problem, _) = await refused(coins, tmp_path / "b.run", 99)
    assert problem.startswith("june.run: what it has given cannot be told (")


async def test_what_is_no_neighbour_is_left_alone(coins: CoinEventService, tmp_path: Path) -> None:
    """Other programs' databases, plans that were never finished, runs of updates, folders, links to nowhere."""
    with closing(sqlite3.connect(tmp_path / "photos.db")) as db:
        db.execute("CREATE TABLE t (x)")
        db.commit()
    before = (tmp_path / "photos.db").read_bytes()
    (tmp_path / "empty.run").touch()
    (tmp_path / "notes.txt").write_text("x" * 1000, encoding="utf-8")
    (tmp_path / "folder.run").mkdir()
    (tmp_path / "link.run").symlink_to("nowhere")
    unfinished = await Run.plan(rows(1), coins, to=tmp_path / "unfinished.run")
    change(unfinished.path, "PRAGMA user_version=0")
    await Run.plan([CoinEventUpdate("WCC00001", amount=1)], coins, to=tmp_path / "updates.run")
    assert (await Run.plan(rows(1), coins, to=tmp_path / "b.run")).notes == []
    assert (tmp_path / "photos.db").read_bytes() == before
    assert not [name for name in files(tmp_path) if name.endswith(("-wal", "-shm", ".lock"))]


async def test_neighbour_may_have_any_name_and_a_wal(coins: CoinEventService, given: Run, tmp_path: Path) -> None:
    """A run is known by what is in it, also where a killed process has left that in the log beside the file."""
    db = sqlite3.connect(given.path)
    db.execute("UPDATE record SET state = 'unknown'")
    db.commit()
    for ending in ("", "-wal"):  # as kill -9 leaves them
        shutil.copyfile(f"{given.path}{ending}", f"{tmp_path}/killed.db{ending}")
    db.close()
    given.path.unlink()
    assert "killed.db" in (await refused(coins, tmp_path / "b.run", 1))[0]


async def test_other_hosts_have_given_nothing_here(coins: CoinEventService, given: Run, tmp_path: Path) -> None:
    """What was tried out elsewhere is no payment; of a run that knows no host, nobody knows."""
    change(given.path, "UPDATE fact SET value = 'https://uat.example' WHERE name = 'base_url'")
    assert (await Run.plan(rows(1), coins, to=tmp_path / "b.run")).counts == {State.PLANNED: 1}
    change(given.path, "UPDATE fact SET value = '' WHERE name = 'base_url'")
    assert "june.run" in (await refused(coins, tmp_path / "c.run", 1))[0]


async def test_run_goes_on_with_its_own_rows(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What it has given itself is no repetition of what it has still to give."""
    sandbox.faults.append(Fault("operation_failed", on="allocate", nth=2))
    run = await Run.plan(rows(1, 2, 3), coins, to=path)
    await run.apply(coins)
    assert await run.apply(coins) == {State.APPLIED: 3}
    assert len(sandbox.allocations) == 3
