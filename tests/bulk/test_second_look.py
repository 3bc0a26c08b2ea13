"""What a second pair of eyes has found: rules that a row's way through a run must not break."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from enkash_coins import CoinAllocation, CoinEventService, CoinEventUpdate
from enkash_coins.bulk import BadFile, Run, State
from enkash_coins.sandbox import Fault, Sandbox

SHORT = 0.2  # seconds after which nothing arrives late any more
ALLOCATION = CoinAllocation(company_id="CEK1", event="E", user_id="U")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A configuration WCC00001 of the amount 5."""
    async with Sandbox(configs=1) as sandbox:
        sandbox.configs["WCC00001"] |= {"amount": 5, "configuration": "DEFAULT"}
        yield sandbox


def updates(*amounts: int) -> list[CoinEventUpdate]:
    """Rows of the one configuration."""
    return [CoinEventUpdate("WCC00001", amount=amount) for amount in amounts]


def states(run: Run) -> list[State]:
    """The states of all rows, in order."""
    return [record.state for record in run.records()]


def change(path: Path, statement: str) -> None:
    """Change a ledger as a crash, or the time, would."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


async def test_late_request_of_a_killed_process_is_waited_for(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """What was under way at the crash arrives after the newer row of its id: that one is sent again."""
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1 WHERE number = 0")
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, lambda: sandbox.configs["WCC00001"].update(amount=10))
    await run.apply(coins, timeout=1.0)
    await asyncio.sleep(0.6)
    assert sandbox.configs["WCC00001"]["amount"] == 20


async def test_rollback_waits_for_what_may_arrive_late(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """The first attempt of a row that was applied arrives after all: not over the value that was taken back."""
    sandbox.faults.append(Fault("applied_late", on="update", nth=1, seconds=0.6))
    run = await Run.plan(updates(10), coins, to=path)
    await run.apply(coins, timeout=1.0)
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=1.0)
    await back.apply(coins, timeout=1.0)
    await asyncio.sleep(0.7)
    assert sandbox.configs["WCC00001"]["amount"] == 5


async def test_lock_is_the_same_by_every_name(coins: CoinEventService, path: Path) -> None:
    """A symbolic link to a run is the same run: nobody else works on it."""
    from enkash_coins.bulk.lock import Lock

    await Run.plan([ALLOCATION], coins, to=path, allocate=True)
    other = path.with_name("latest.run")
    other.symlink_to(path)
    lock = Lock(path)
    try:
        with pytest.raises(BadFile, match="is being worked on"):
            await Run.open(other).apply(coins)
    finally:
        lock.release()


async def test_replay_that_was_interrupted_is_asked_for_again(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """--replay holds for one apply: what it did not come to is held again, and not sent by the next one."""
    run = await Run.plan([ALLOCATION], coins, to=path, allocate=True)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    await run.apply(coins)
    assert states(run) == [State.UNKNOWN]

    def stop(_: object) -> None:
        run.stop("interrupted")

    await run.apply(coins, replay=True, on_progress=stop)
    assert sandbox.calls["allocate"] == 0
    assert states(run) == [State.UNKNOWN]
    await run.apply(coins)
    assert sandbox.calls["allocate"] == 0


async def test_replay_whose_process_was_killed_is_asked_for_again(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """The same after a kill between the replay's planning and its claim."""
    run = await Run.plan([ALLOCATION], coins, to=path, allocate=True)
    change(path, "UPDATE row SET state = 'planned', tries = 1, late = 1.0")
    await run.apply(coins)
    assert sandbox.calls["allocate"] == 0
    assert states(run) == [State.UNKNOWN]
    await run.apply(coins, replay=True)
    assert states(run) == [State.APPLIED]


async def test_failed_reading_settles_nothing(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """A row in doubt whose reading fails stays in doubt; it is not called refused, and not written over others."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.configs["WCC00001"]["amount"] = 7
    sandbox.faults.append(Fault("operation_failed", on="get", nth=2))
    await run.apply(coins, timeout=SHORT)
    assert sandbox.calls["update"] == 0
    assert states(run) == [State.DRIFTED]


async def test_stale_row_whose_reading_the_host_refuses_stays_planned(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """A 403 for everybody says nothing about one row: apply again goes on with it."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.faults.append(Fault("html", on="get", status=403))
    await run.apply(coins)
    assert states(run) == [State.PLANNED]
    sandbox.faults.clear()
    await run.apply(coins)
    assert states(run) == [State.APPLIED]


async def test_rollback_takes_back_what_is_to_be_sent_again(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """First row in doubt, second one applied: whatever is planned to be sent again, the value there is the run's."""
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(path, "UPDATE row SET state = 'unknown', tries = 1, late = 1.0 WHERE number = 0")
    change(path, "UPDATE row SET state = 'applied', tries = 1 WHERE number = 1")
    sandbox.configs["WCC00001"]["amount"] = 20
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins)
    assert sandbox.configs["WCC00001"]["amount"] == 5


async def test_rollback_of_a_run_stopped_before_its_second_round(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """The first row was refused, the second applied; another apply has planned both again and was stopped."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    run = await Run.plan(updates(10, 20), coins, to=path)
    await run.apply(coins)
    await run.apply(coins, on_progress=lambda _: run.stop("interrupted"))
    assert sandbox.configs["WCC00001"]["amount"] == 20
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins)
    assert sandbox.configs["WCC00001"]["amount"] == 5


async def test_rollback_that_was_interrupted_goes_on(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What could not be read the first time is not settled by reading what the rollback itself has written."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.configs["WCC00001"]["amount"] = 10
    sandbox.faults.append(Fault("operation_failed", on="get", nth=2))
    to = path.with_name("back.run")
    back = await run.rollback(coins, to=to, timeout=0.01)
    sandbox.configs["WCC00001"]["amount"] = 5  # its write arrived, and the process was killed
    change(to, "UPDATE row SET state = 'sent', tries = 1")
    back = await run.rollback(coins, to=to, timeout=0.01)
    await back.apply(coins, timeout=0.01)
    assert states(back) == [State.APPLIED]


async def test_same_allocations_are_not_given_twice_by_the_same_command(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Going on with a finished run of allocations finds nothing to do; a second run is to be planned on purpose."""
    for _ in range(2):
        run = await Run.plan([ALLOCATION], coins, to=path, allocate=True, unless_done=True)
        await run.apply(coins)
    assert len(sandbox.allocations) == 1


def test_foreign_database_is_left_as_it_is(path: Path) -> None:
    """Looking at an SQLite file that is no run does not change a byte of it."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other (x)")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(BadFile, match="is no run"):
        Run.open(path)
    assert path.read_bytes() == before


async def test_nothing_is_written_after_work_that_failed(path: Path) -> None:
    """Whatever failed: what came with it is undone, and nothing goes on as if it were done."""
    from enkash_coins.bulk.ledger import storage
    from enkash_coins.bulk.writer import Writer

    def fails(_: sqlite3.Connection) -> None:
        raise ValueError("no")

    storage.create(path)
    writer = Writer(storage.connect(path), path)
    try:
        with pytest.raises(ValueError, match="no"):
            await writer.post(fails)
        with pytest.raises(ValueError, match="no"):
            await writer.post(lambda db: db.execute("CREATE TABLE x (y)").fetchone())
    finally:
        writer.close()


async def test_plan_from_the_future_is_stale(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """After the clock was set back nobody knows how old a plan is: each row is looked at once more."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at + 7200")
    sandbox.configs["WCC00001"]["amount"] = 7
    await run.apply(coins)
    assert states(run) == [State.DRIFTED]


async def test_stopped_while_a_late_arrival_is_waited_for_is_exit_130(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Both rows are applied, but the first one may still come once more over the second: that is not all well."""
    from enkash_coins.cli.runs import code_of_run

    sandbox.faults.append(Fault("disconnect_after_apply", on="update", nth=1))
    run = await Run.plan(updates(10, 20), coins, to=path)

    def stop(_: object) -> None:
        if states(run) == [State.APPLIED, State.APPLIED]:
            run.stop("interrupted")

    await run.apply(coins, on_progress=stop)
    assert states(run) == [State.APPLIED, State.APPLIED]
    assert code_of_run(run) == 130
