"""What simulated runs have found: rows that are worked off again know what is there, and what may have been applied."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from enkash_coins import CoinEventService, CoinEventUpdate
from enkash_coins.bulk import LedgerFailed, Run, State
from enkash_coins.bulk.ledger import readings, storage, writings
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.writer import Writer
from enkash_coins.cli.exits import Exit
from enkash_coins.cli.runs import code_of_run
from enkash_coins.sandbox import Fault, Sandbox

SHORT = 0.2  # seconds after which nothing arrives late any more


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A configuration WCC00001 of the amount 5."""
    async with Sandbox(configs=1) as sandbox:
        sandbox.configs["WCC00001"] |= {"amount": 5, "configuration": "DEFAULT", "event": "E"}
        yield sandbox


def updates(*amounts: int) -> list[CoinEventUpdate]:
    """Rows of the one configuration."""
    return [CoinEventUpdate("WCC00001", amount=amount) for amount in amounts]


def states(run: Run) -> list[State]:
    """The states of all rows, in order."""
    return [record.state for record in run.records()]


def change(path: Path, *statements: str, amount: int = 0) -> None:
    """Change a ledger as a crash, or the time, would; ``:values`` is the configuration with another amount."""
    values = f'{{"amount":{amount},"configuration":"DEFAULT","event":"E"}}'
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement, {"values": values} if ":values" in statement else {})
        db.commit()


async def test_row_that_changes_nothing_hides_no_order(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """The first row cannot be read and waits; the third does not go before it, only because the second has no work."""
    run = await Run.plan(updates(10, 10, 20), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.faults += [Fault("server_error", on="get", nth=nth) for nth in (2, 3, 4)]
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED, State.UNCHANGED, State.APPLIED]
    assert sandbox.configs["WCC00001"]["amount"] == 20


async def test_what_the_run_itself_has_left_is_not_somebody_elses(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """The first row was refused; the second's value was seen there when both others were planned again."""
    run = await Run.plan(updates(10, 20, 30), coins, to=path)
    change(
        path,
        "UPDATE row SET read_at = read_at - 901, tries = 1",
        "UPDATE row SET state = 'rejected' WHERE number = 0",
    )
    sandbox.configs["WCC00001"]["amount"] = 20
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED] * 3


async def test_row_that_was_never_sent_is_not_taken_for_applied(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """That the plan thought it would be there before the next row proves nothing."""
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(
        path,
        "UPDATE row SET tries = 1",
        "UPDATE row SET state = 'rejected' WHERE number = 0",
    )
    await run.apply(coins, timeout=SHORT)
    assert sandbox.calls["update"] == 2


async def test_no_to_a_repetition_is_no_answer_to_the_first_time(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Under way at a crash, refused when sent again, and then the first one arrives: that is applied, not refused."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    loop = asyncio.get_running_loop()
    loop.call_later(0.3, lambda: sandbox.configs["WCC00001"].update(amount=10))
    await run.apply(coins, timeout=0.6)
    assert states(run) == [State.APPLIED]


async def test_earlier_row_is_not_written_over_what_a_later_one_has_found(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else's value was seen by the second row; the first one, which was refused, does not overwrite it."""
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(
        path,
        "UPDATE row SET tries = 1, state = 'rejected' WHERE number = 0",
        "UPDATE row SET tries = 1, state = 'drifted', found = :values WHERE number = 1",
        amount=7,
    )
    sandbox.configs["WCC00001"]["amount"] = 7
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED] * 2
    assert sandbox.calls["update"] == 0


async def test_row_that_was_applied_and_waits_to_be_sent_again_is_taken_back(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Whatever stopped the second time: what its first time has left is the run's."""
    rows = [*updates(10), CoinEventUpdate("WCC00001", event="OTHER")]
    run = await Run.plan(rows, coins, to=path)
    change(
        path,
        "UPDATE row SET tries = 1, state = 'applied' WHERE number = 0",
        "UPDATE row SET tries = 1, late = 0 WHERE number = 1",
    )
    sandbox.configs["WCC00001"] |= {"amount": 10, "event": "OTHER"}
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins, timeout=SHORT)
    assert (sandbox.configs["WCC00001"]["amount"], sandbox.configs["WCC00001"]["event"]) == (5, "E")


async def test_late_arrival_that_could_not_be_read_is_not_all_well(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """All rows are applied, but whether the first came once more over the second nobody knows: apply again reads it."""
    sandbox.faults.append(Fault("disconnect_after_apply", on="update", nth=1))
    sandbox.faults += [Fault("server_error", on="get", nth=nth) for nth in (2, 3, 4)]
    run = await Run.plan(updates(10, 20), coins, to=path)
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED] * 2
    assert code_of_run(run) == Exit.NOT_APPLIED
    sandbox.configs["WCC00001"]["amount"] = 10
    await run.apply(coins, timeout=SHORT)
    assert code_of_run(run) == Exit.WELL
    assert sandbox.configs["WCC00001"]["amount"] == 20


async def test_counts_that_are_told_are_those_in_the_file(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """A row that turns out to change something is told no longer as one that does not."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    run = await Run.plan(updates(10, 10), coins, to=path)
    told = []
    await run.apply(coins, on_progress=lambda counts: told.append(+counts), timeout=SHORT)
    assert {State.REJECTED: 1, State.UNCHANGED: 1} not in told


async def test_failure_that_nobody_waits_for_is_not_complained_of(path: Path) -> None:
    """A full disk is one error for the user: asyncio does not add its own."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def fails(_: sqlite3.Connection) -> None:
        raise LedgerFailed("full")

    storage.create(path)
    writer = Writer(storage.connect(path), path)
    posted = writer.post(fails)
    writer.close()
    await asyncio.wait([posted])
    del posted, writer
    gc.collect()
    assert not complaints


async def test_force_ends_with_its_apply(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What was to be overwritten, and was not when the process ended, is looked at again by an apply without force."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.configs["WCC00001"]["amount"] = 7
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED]
    change(path, "UPDATE row SET read_at = read_at + 901")
    await run.apply(coins, timeout=SHORT, force=True, on_progress=lambda _: run.stop("killed"))
    assert states(run) == [State.PLANNED]
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED]
    assert sandbox.configs["WCC00001"]["amount"] == 7
    await run.apply(coins, timeout=SHORT, force=True)
    assert states(run) == [State.APPLIED]


async def test_row_costs_the_same_however_many_its_id_has(coins: CoinEventService, path: Path) -> None:
    """What is to be known before a row is sent takes some steps in an index, and not one for each row before it."""
    await Run.plan(updates(*range(5_000)), coins, to=path)
    change(path, "UPDATE row SET state = 'applied', tries = 1 WHERE number < 4999")
    thousands = 0

    def count() -> int:
        nonlocal thousands
        thousands += 1
        return 0

    with closing(sqlite3.connect(path)) as db:
        (todo,) = writings.page(db, 4_998, 1, None)
        db.set_progress_handler(count, 1_000)
        assert writings.has_its_turn(db, todo)
    assert thousands == 0


async def test_row_whose_value_is_there_may_have_been_applied(coins: CoinEventService, path: Path) -> None:
    """It is sent again only because the one before it is; a no to that does not say that it had no effect."""
    await Run.plan(updates(10, 20), coins, to=path)
    change(path, "UPDATE row SET state = 'unknown', tries = 1, late = 1.0")
    with closing(sqlite3.connect(path)) as db:
        found: Values = {"amount": 20, "configuration": "DEFAULT", "event": "E"}
        readings.settle(db, "WCC00001", found, 2.0, due=True, forced=False)
        rows = db.execute("SELECT state, late FROM row ORDER BY number").fetchall()
    assert rows == [("planned", None), ("planned", 0.0)]


async def test_own_late_arrival_is_not_somebody_elses_change(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """The first row's value is there again, of all those that the run has set: the last one is sent over it."""
    run = await Run.plan(updates(10, 20, 30), coins, to=path)
    change(
        path,
        "UPDATE row SET state = 'applied', tries = 1, read_at = read_at - 901",
        "UPDATE row SET state = 'unknown', late = 1.0 WHERE number = 2",
    )
    sandbox.configs["WCC00001"]["amount"] = 10
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED] * 3
    assert sandbox.configs["WCC00001"]["amount"] == 30


async def test_rows_that_wait_are_drifted_together(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """One reading shows somebody else's value: no row of this id is sent, and each says what is there."""
    rows = [*updates(10), CoinEventUpdate("WCC00001", event="OTHER")]
    run = await Run.plan(rows, coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.configs["WCC00001"]["amount"] = 7
    reads = sandbox.calls["get"]
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED] * 2
    assert (sandbox.calls["get"], sandbox.calls["update"]) == (reads + 1, 0)
    assert ["amount 7" in str(outcome.error) for outcome in run.outcomes()] == [True, True]


async def test_old_plan_of_many_rows_of_one_id_is_read_once(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """What was read for the first of them is known for the others."""
    run = await Run.plan(updates(*range(10, 30)), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    reads = sandbox.calls["get"]
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED] * 20
    assert sandbox.calls["get"] == reads + 1


async def test_force_that_was_interrupted_does_not_pass_for_a_reading(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Rows that a forced apply has planned again, and did not come to, are looked at by one without force."""
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1 WHERE number = 0")
    sandbox.configs["WCC00001"]["amount"] = 7
    await run.apply(coins, timeout=SHORT, force=True, on_progress=lambda _: run.stop("killed"))
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED] * 2
    assert sandbox.calls["update"] == 0


async def test_row_that_sets_the_company_is_sent_whatever_else_of_it_is_there(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else has set the same amount: that says nothing about the company."""
    company = str(sandbox.configs["WCC00001"]["companyId"])
    run = await Run.plan([CoinEventUpdate("WCC00001", amount=7, company_id=company)], coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.configs["WCC00001"]["amount"] = 7
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED]
    assert sandbox.calls["update"] == 1


async def test_what_may_still_arrive_is_not_called_drifted(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else's value is there first, and then our own request arrives: it is applied, and taken back."""
    run = await Run.plan(updates(10), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.configs["WCC00001"]["amount"] = 7
    asyncio.get_running_loop().call_later(0.3, lambda: sandbox.configs["WCC00001"].update(amount=10))
    await run.apply(coins, timeout=0.6)
    assert states(run) == [State.APPLIED]
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins, timeout=SHORT)
    assert sandbox.configs["WCC00001"]["amount"] == 5


async def test_row_that_relied_on_a_drifted_one_is_drifted(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """It was unchanged only behind the first, which never got there."""
    run = await Run.plan(updates(10, 10), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1 WHERE number = 0")
    sandbox.configs["WCC00001"]["amount"] = 7
    told = []
    await run.apply(coins, timeout=SHORT, on_progress=lambda counts: told.append(+counts))
    assert states(run) == [State.DRIFTED] * 2
    assert told[-1] == {State.DRIFTED: 2}


async def test_rollback_takes_back_what_is_left_of_a_drifted_row(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else has changed the amount since: the event is still the run's."""
    run = await Run.plan([CoinEventUpdate("WCC00001", amount=10, event="OTHER")], coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.configs["WCC00001"] |= {"amount": 7, "event": "OTHER"}
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins, timeout=SHORT)
    assert (sandbox.configs["WCC00001"]["amount"], sandbox.configs["WCC00001"]["event"]) == (7, "E")


async def test_value_of_a_refused_row_is_not_the_runs(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Somebody else has set what a row was refused: a rollback leaves it alone."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    run = await Run.plan(updates(10, 20), coins, to=path)
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.REJECTED, State.APPLIED]
    sandbox.configs["WCC00001"]["amount"] = 10
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins, timeout=SHORT)
    assert states(back) == [State.DRIFTED]
    assert sandbox.configs["WCC00001"]["amount"] == 10


async def test_value_of_a_row_that_was_never_sent_is_not_the_runs(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else has set what the second row is to set: the first one does not overwrite it."""
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.configs["WCC00001"]["amount"] = 20
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED] * 2
    assert sandbox.calls["update"] == 0


async def test_refused_row_does_not_hide_what_is_in_doubt_before_it(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """The first row's answer is lost, the second is refused: a reading shows the first, and nothing is sent again."""
    sandbox.faults.append(Fault("disconnect_after_apply", on="update", nth=(1, 2, 3)))
    sandbox.faults.append(Fault("operation_failed", on="update", nth=4))
    run = await Run.plan(updates(10, 20), coins, to=path)
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED, State.REJECTED]
    assert sandbox.calls["update"] == 4


async def test_row_that_is_refused_again_and_again_ends_the_apply_with_a_word(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """It was applied, overwritten by a late arrival, and is refused ever since: three rounds are enough."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=range(2, 100)))
    run = await Run.plan(updates(10, 20), coins, to=path)
    change(
        path,
        "UPDATE row SET state = 'applied', tries = 1",
        "UPDATE row SET late = 1.0 WHERE number = 0",
    )
    sandbox.configs["WCC00001"]["amount"] = 10
    await run.apply(coins, timeout=SHORT)
    assert run.ended_by == "some rows are still to be sent after 3 rounds"
    assert code_of_run(run) == Exit.NOT_APPLIED


async def test_what_max_change_refused_is_not_drifted(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Else ``--force`` would send it."""
    run = await Run.plan(updates(6, 100), coins, to=path, max_change="10")
    change(path, "UPDATE row SET state = 'rejected', tries = 1 WHERE number = 0")
    sandbox.configs["WCC00001"]["amount"] = 7
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.DRIFTED, State.NOT_SENT]
