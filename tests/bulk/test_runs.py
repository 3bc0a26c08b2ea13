import asyncio
import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from enkash_coins import (
    Attempt,
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    InvalidRequest,
    LoginRefused,
    RetryPolicy,
)
from enkash_coins.bulk import AlreadyThere, BadFile, Run, State
from enkash_coins.sandbox import Fault, Sandbox

SHORT = 0.2  # seconds after which nothing arrives late any more


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Configurations WCC00001 to WCC00040, of which the first ten have the amount 5."""
    async with Sandbox(configs=40) as sandbox:
        for number in range(1, 11):
            sandbox.configs[name(number)] |= {"amount": 5, "configuration": "DEFAULT"}
        yield sandbox


def files(path: Path) -> list[str]:
    """What lies beside a run."""
    return sorted(file.name for file in path.parent.iterdir())


def mode(path: Path) -> int:
    """Who may do what with a file."""
    return path.stat().st_mode & 0o777


def name(number: int) -> str:
    """The id of a configuration."""
    return f"WCC{number:05}"


def updates(*pairs: tuple[int, int]) -> list[CoinEventUpdate]:
    """Rows that set amounts: pairs of a configuration's number and the amount."""
    return [CoinEventUpdate(name(number), amount=amount) for number, amount in pairs]


def states(run: Run) -> list[State]:
    """The states of all rows, in order."""
    return [record.state for record in run.records()]


def change(path: Path, statement: str) -> None:
    """Change a ledger as a crash, or the time, would."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


def amounts(sandbox: Sandbox, *numbers: int) -> list[object]:
    """What the server has."""
    return [sandbox.configs[name(number)]["amount"] for number in numbers]


def written(sandbox: Sandbox) -> list[tuple[str, object]]:
    """All updates that took effect, in order."""
    return [(id_, fields.get("amount")) for what, id_, fields in sandbox.applied if what == "update"]


async def test_plan_reads_and_writes_nothing(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Every configuration is read once; what is as wanted, refused or missing is known before anything is written."""
    rows = [*updates((1, 10), (2, 5), (1, 11)), CoinEventUpdate("GONE", amount=1)]
    run = await Run.plan(rows, coins, to=path)
    assert states(run) == [State.PLANNED, State.UNCHANGED, State.PLANNED, State.REJECTED]
    assert sandbox.calls == {"token": 1, "get": 3}
    assert run.counts == Counter(states(run))
    first, _, third, gone = run.records()
    assert first.before == {"amount": 5, "configuration": "DEFAULT", "event": sandbox.configs[name(1)]["event"]}
    assert third.before is not None
    assert third.before["amount"] == 10
    assert gone.reason == "HTTP 404: No such coin configuration"
    assert mode(path) == 0o600


async def test_apply_writes_what_is_planned(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Each planned row is written once, in order within its id, and no other; a second apply has nothing to do."""
    run = await Run.plan([*updates((1, 10), (2, 5), (1, 5)), CoinEventUpdate("GONE", amount=1)], coins, to=path)
    seen: list[Counter[State]] = []
    counts = await run.apply(coins, on_progress=lambda counts: seen.append(counts.copy()))
    assert counts == {State.APPLIED: 2, State.UNCHANGED: 1, State.REJECTED: 1}
    assert written(sandbox) == [(name(1), 10), (name(1), 5)]
    assert seen[-1] == counts
    assert all(told.total() == 4 for told in seen)
    again = Run.open(path)
    assert await again.apply(coins) == counts
    assert sandbox.calls["update"] == 2
    assert [outcome.status.value for outcome in again.outcomes()] == ["applied", "unchanged", "applied", "rejected"]
    (failed,) = (outcome for outcome in again.outcomes() if not outcome.ok)
    assert failed.item == CoinEventUpdate("GONE", amount=1)
    assert "404" in str(failed.error)


async def test_ledger_is_as_durable_as_it_says(coins: CoinEventService, path: Path) -> None:
    """The journal is a write-ahead log, and every commit is on the disk: read back, because not every disk can."""
    from enkash_coins.bulk.ledger import storage

    await Run.plan(updates((1, 10)), coins, to=path)
    with closing(storage.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_unchanged_row_is_written_if_the_one_before_it_was_not(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Value 5, rows 10 and 10: the second would change nothing after the first, but the first is refused."""
    run = await Run.plan(updates((1, 10), (1, 10)), coins, to=path)
    assert states(run) == [State.PLANNED, State.UNCHANGED]
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    await run.apply(coins)
    assert states(run) == [State.REJECTED, State.APPLIED]
    assert written(sandbox) == [(name(1), 10)]


async def test_apply_again_repeats_what_failed_in_order(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """A row that was refused is sent again, and the later ones of its id after it, so that the last one wins."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    run = await Run.plan(updates((1, 10), (1, 20)), coins, to=path)
    await run.apply(coins)
    assert states(run) == [State.REJECTED, State.APPLIED]
    await run.apply(coins)
    assert states(run) == [State.APPLIED, State.APPLIED]
    assert written(sandbox) == [(name(1), 20), (name(1), 10), (name(1), 20)]


@pytest.mark.parametrize(("found", "state"), [(10, State.APPLIED), (5, State.APPLIED), (7, State.DRIFTED)])
async def test_row_that_was_in_flight_is_settled_by_reading(
    sandbox: Sandbox, coins: CoinEventService, path: Path, found: int, state: State
) -> None:
    """After kill -9: as wanted is applied, as before is sent again, a third value is somebody else's."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.configs[name(1)]["amount"] = found
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [state]
    assert sandbox.calls["update"] == (found == 5)
    if state is State.DRIFTED:
        (outcome,) = run.outcomes()
        assert str(outcome.error) == "somebody else has set amount 7"
        await run.apply(coins, force=True)
        assert amounts(sandbox, 1) == [10]


async def test_unknown_row_is_settled_after_the_timeout(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What got no answer in all its attempts is read once nothing can arrive late: it was applied, and is not sent."""
    sandbox.faults.append(Fault("disconnect_after_apply", on="update", nth=range(1, 4)))
    run = await Run.plan(updates((1, 10)), coins, to=path)
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED]
    assert sandbox.calls["update"] == 3


@pytest.mark.parametrize("of", ["the call", "the view", "the client"])
async def test_late_arrival_over_a_newer_row_is_put_right(
    sandbox: Sandbox, coins: CoinEventService, path: Path, of: str
) -> None:
    """The first attempt of the first row arrives after the second row: after its timeout, both are sent again."""
    sandbox.faults.append(Fault("applied_late", on="update", nth=1, seconds=0.5))
    retry = RetryPolicy(attempts=3, base=0.001)
    async with (
        asyncio.timeout(20),  # the usual timeout would be 30
        CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, retry=retry, timeout=1.0) as client,
    ):
        service = {"the call": coins, "the view": coins.with_options(timeout=1.0), "the client": client}[of]
        run = await Run.plan(updates((1, 10), (1, 20)), service, to=path)
        await run.apply(service, timeout=1.0 if of == "the call" else None)
    assert states(run) == [State.APPLIED, State.APPLIED]
    assert [amount for _, amount in written(sandbox)] == [10, 20, 10, 10, 20]  # the late one, and both again in order
    assert not any(record.late for record in run.records())


async def test_stale_plan_is_read_again_before_it_is_written(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """After 15 minutes each row is looked at once more; what somebody has changed is drifted, unless it is forced."""
    run = await Run.plan(updates((1, 10), (2, 10), (3, 10), (4, 10)), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.configs[name(2)]["amount"] = 7
    sandbox.configs[name(3)]["amount"] = 10
    del sandbox.configs[name(4)]
    await run.apply(coins)
    assert states(run) == [State.APPLIED, State.DRIFTED, State.UNCHANGED, State.REJECTED]
    assert written(sandbox) == [(name(1), 10)]
    await run.apply(coins, force=True)
    assert states(run)[1] is State.APPLIED


async def test_fresh_plan_is_written_without_another_look(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Within 15 minutes what was read counts."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    reads = sandbox.calls["get"]
    await run.apply(coins)
    assert sandbox.calls["get"] == reads


async def test_row_after_a_drifted_one_of_its_id_is_not_written(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else's change is not overwritten by the next row either."""
    run = await Run.plan(updates((1, 10), (1, 20)), coins, to=path)
    change(path, "UPDATE row SET read_at = read_at - 901")
    sandbox.configs[name(1)]["amount"] = 7
    await run.apply(coins)
    assert states(run) == [State.DRIFTED, State.DRIFTED]
    assert written(sandbox) == []
    await run.apply(coins, force=True)
    assert amounts(sandbox, 1) == [20]


async def test_answer_that_shows_other_values_is_mismatched(
    sandbox: Sandbox, coins: CoinEventService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success is believed only if it shows what was asked for; the rollback starts from what it shows."""
    original = sandbox._world._operations["update"]

    def halved(id_: str, body: bytes) -> object:
        return original(id_, json.dumps({"amount": json.loads(body)["amount"] // 2}).encode())

    run = await Run.plan(updates((1, 10)), coins, to=path)
    monkeypatch.setitem(sandbox._world._operations, "update", halved)
    sandbox.configs[name(1)]["amount"] = 5
    await Run.plan(updates((2, 100)), coins, to=path.with_name("b.run"))
    run = Run.open(path.with_name("b.run"))
    await run.apply(coins)
    assert states(run) == [State.MISMATCHED]
    monkeypatch.setitem(sandbox._world._operations, "update", original)
    back = await run.rollback(coins, to=path.with_name("c.run"), timeout=SHORT)
    await back.apply(coins)
    assert amounts(sandbox, 2) == [5]
    assert await run.apply(coins) == {State.APPLIED: 1}


async def test_company_is_never_taken_for_unchanged(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """It cannot be read back: such a row is written, and the field is not taken back."""
    rows = [CoinEventUpdate(name(1), amount=5, company_id="CEK1"), CoinEventUpdate(name(2), company_id="CEK1")]
    run = await Run.plan(rows, coins, to=path)
    assert states(run) == [State.PLANNED, State.PLANNED]
    await run.apply(coins)
    assert sandbox.calls["update"] == 2
    back = await run.rollback(coins, to=path.with_name("back.run"))
    assert [record.wanted for record in back.records()] == [{"amount": 5}]
    assert run.summary(5, 5)[0] == {"ids": 2, "companies": 2, "late": 0}


async def test_rollback_restores_the_first_image(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """One row for each id; what somebody has changed since is drifted, what failed is left alone."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=range(4, 7)))
    run = await Run.plan(updates((1, 10), (1, 20), (2, 10), (3, 10)), coins, to=path)
    async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, concurrency=1) as one_by_one:
        await run.apply(one_by_one)
    assert states(run) == [State.APPLIED, State.APPLIED, State.APPLIED, State.REJECTED]
    sandbox.faults.clear()
    sandbox.configs[name(2)]["amount"] = 7
    back = await run.rollback(coins, to=path.with_name("back.run"))
    assert [(record.id, record.wanted, record.state) for record in back.records()] == [
        (name(1), {"amount": 5}, State.PLANNED),
        (name(2), {"amount": 5}, State.DRIFTED),
    ]
    await back.apply(coins)
    assert amounts(sandbox, 1, 2, 3) == [5, 7, 5]
    forth = await back.rollback(coins, to=path.with_name("forth.run"))
    await forth.apply(coins)
    assert amounts(sandbox, 1) == [20]


async def test_rollback_settles_first_what_is_unknown(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """A row whose answer was lost is read: applied ones are taken back, others are not in the new run."""
    run = await Run.plan(updates((1, 10), (2, 10)), coins, to=path)
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    sandbox.configs[name(1)]["amount"] = 10
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=0.01)
    assert [(record.id, record.state) for record in back.records()] == [(name(1), State.PLANNED)]


async def test_what_cannot_be_taken_back_says_why(coins: CoinEventService, path: Path, tmp_path: Path) -> None:
    """Allocations, and updates that were planned without reading."""
    given = await Run.plan(
        [CoinAllocation(company_id="CEK1", event="E", user_id="U")], coins, to=tmp_path / "a.run", allocate=True
    )
    with pytest.raises(BadFile, match="allocations cannot be taken back"):
        await given.rollback(coins, to=path)
    blind = await Run.plan(updates((1, 10)), coins, to=tmp_path / "b.run", read=False)
    with pytest.raises(BadFile, match="planned without reading what was there before"):
        await blind.rollback(coins, to=path)


async def test_plan_without_reading_sends_no_request(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Everything is planned, also what is there already; what was in flight is still settled by reading."""
    run = await Run.plan(updates((1, 5), (2, 10)), coins, to=path, read=False)
    assert states(run) == [State.PLANNED, State.PLANNED]
    assert sandbox.calls == {}
    change(path, "UPDATE row SET state = 'sent', tries = 1")
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED, State.APPLIED]
    assert written(sandbox) == [(name(2), 10)]


@pytest.mark.parametrize(
    ("limit", "amount", "refused"),
    [("20%", 6, False), ("20%", 7, True), ("20%", 3, True), ("3", 8, False), ("3", 9, True), ("0.5%", 5, False)],
)
async def test_slipped_digit_is_refused_in_the_plan(
    coins: CoinEventService, path: Path, limit: str, amount: int, refused: bool
) -> None:
    """A row that changes the amount of 5 by more than allowed is refused, and stays so; the next is compared with 5."""
    run = await Run.plan(updates((1, amount), (1, 5)), coins, to=path, max_change=limit)
    first, second = states(run)
    assert (first is State.NOT_SENT) is refused
    if refused:
        assert second is State.UNCHANGED
        await run.apply(coins)
        assert states(run) == [State.NOT_SENT, State.UNCHANGED]


async def test_from_nothing_only_the_absolute_form_applies(
    sandbox: Sandbox, coins: CoinEventService, path: Path, tmp_path: Path
) -> None:
    """No share of 0 is anything."""
    sandbox.configs[name(1)]["amount"] = 0
    assert states(await Run.plan(updates((1, 999)), coins, to=path, max_change="20%")) == [State.PLANNED]
    assert states(await Run.plan(updates((1, 999)), coins, to=tmp_path / "b.run", max_change="50")) == [State.NOT_SENT]


@pytest.mark.parametrize("limit", ["", "%", "-5", "5 %", "1e3", "ten"])
async def test_limit_that_means_nothing_is_refused(coins: CoinEventService, path: Path, limit: str) -> None:
    """Neither a share nor an amount; or there is nothing to compare with."""
    with pytest.raises(InvalidRequest, match="is neither a share such as 20% nor an amount such as 50"):
        await Run.plan(updates((1, 1)), coins, to=path, max_change=limit)
    with pytest.raises(InvalidRequest, match="amounts are compared with what was read"):
        await Run.plan(updates((1, 1)), coins, to=path, max_change="5", read=False)
    assert files(path) == []


def allocations(count: int) -> list[CoinAllocation]:
    """Rows for as many users."""
    return [CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id=f"EK{number}") for number in range(count)]


async def test_allocation_in_doubt_is_held(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """It has its request id since the plan, is not sent again by itself, and with replay under that very id."""
    run = await Run.plan(allocations(5), coins, to=path, allocate=True)
    ids = [record.id for record in run.records()]
    sandbox.faults.append(Fault("disconnect_before_apply", on="allocate", nth=3))
    assert await run.apply(coins) == {State.APPLIED: 4, State.UNKNOWN: 1}
    assert await run.apply(coins) == {State.APPLIED: 4, State.UNKNOWN: 1}
    assert sandbox.calls["allocate"] == 5
    (held,) = (outcome for outcome in run.outcomes() if not outcome.ok)
    assert held.error is not None
    assert (held.error.maybe_applied, held.error.request_id, held.late_risk) == (True, ids[held.index], True)
    assert str(held.error).count(ids[held.index]) == 1
    assert all(ids[held.index] not in (record.reason or "") for record in run.records())  # or no two rows share one
    assert await run.apply(coins, replay=True) == {State.APPLIED: 5}
    assert sorted(str(body["requestId"]) for body in sandbox.allocations) == sorted(ids)


async def test_refusal_of_a_replay_proves_nothing(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """The first time it was given: that its id is refused now leaves it in doubt, and it is not doubled."""
    run = await Run.plan(allocations(1), coins, to=path, allocate=True)
    sandbox.faults.append(Fault("disconnect_after_apply", on="allocate", nth=1))
    await run.apply(coins)
    assert await run.apply(coins, replay=True) == {State.UNKNOWN: 1}
    assert len(sandbox.allocations) == 1


async def test_killed_allocation_is_held(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What was claimed when the process died is in doubt; the others are sent."""
    run = await Run.plan(allocations(3), coins, to=path, allocate=True)
    change(path, "UPDATE row SET state = 'sent', tries = 1 WHERE number = 1")
    assert await run.apply(coins) == {State.APPLIED: 2, State.UNKNOWN: 1}
    assert sandbox.calls["allocate"] == 2


async def test_request_id_that_stands_twice_is_refused(coins: CoinEventService, path: Path) -> None:
    """The same allocation in two rows is a mistake of whoever made the file."""
    rows = [CoinAllocation(company_id="C", event="E", user_id="U", request_id="order-1")] * 2
    with pytest.raises(BadFile, match="request_id order-1 stands there twice, in lines 1 and 2"):
        await Run.plan(rows, coins, to=path, allocate=True)
    assert files(path) == []


async def test_run_belongs_to_its_host(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """A plan for one host, or for one of the APIs there, is not written to another."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    async with Sandbox() as other, CoinEventService.connect(other.base_url, auth=other.auth) as elsewhere:
        with pytest.raises(BadFile, match=r"was planned for .* and not for"):
            await run.apply(elsewhere)
        with pytest.raises(BadFile, match=r"was planned for .* and not for"):
            await run.rollback(elsewhere, to=path.with_name("b.run"))
        assert other.calls == {}
    async with CoinEventService.connect(f"{sandbox.base_url}/other", auth=sandbox.auth) as elsewhere:
        with pytest.raises(BadFile, match=r"was planned for http.*, and not for http.*/other"):
            await run.apply(elsewhere)


async def test_one_process_at_a_time(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Who works on a run holds a lock; others are told who that is, and may look at it."""
    sandbox.faults.append(Fault("hang", on="update"))
    run = await Run.plan(updates((1, 10)), coins, to=path)
    working = asyncio.create_task(run.apply(coins))
    while not sandbox.calls["update"]:  # noqa: ASYNC110  # the sandbox has no event for it
        await asyncio.sleep(0.01)
    with pytest.raises(BadFile, match=rf"is being worked on by process {os.getpid()}"):
        await Run.open(path).apply(coins)
    assert states(Run.open(path)) == [State.SENT]
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert states(run) == [State.UNKNOWN]
    assert files(path) == ["june.run"]


async def test_plan_that_was_interrupted_goes_on(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What could not be read is read by the next plan, of the same rows only; until then nothing can be applied."""
    sandbox.faults.append(Fault("server_error", on="get", nth=range(1, 13)))
    rows = updates(*((number, 10) for number in range(1, 21)))
    run = await Run.plan(rows, coins, to=path)
    unread = run.counts[State.UNREAD]
    assert 1 <= unread <= 4
    with pytest.raises(BadFile, match="were not read yet: plan it again"):
        await run.apply(coins)
    with pytest.raises(AlreadyThere):
        await Run.plan(updates((1, 11)), coins, to=path)
    reads = sandbox.calls["get"]
    run = await Run.plan(rows, coins, to=path)
    assert run.counts == {State.PLANNED: 20}
    assert sandbox.calls["get"] == reads + unread
    assert (await Run.plan(rows, coins, to=path, unless_done=True)).counts == {State.PLANNED: 20}
    await run.apply(coins)
    assert (await Run.plan(rows, coins, to=path)).counts == {State.APPLIED: 20}
    with pytest.raises(AlreadyThere, match="exists already, and is not overwritten"):
        await Run.plan(rows, coins, to=path, unless_done=True)


@pytest.mark.parametrize("operation", ["get", "update"])
async def test_host_that_only_fails_is_not_tried_for_ever(
    sandbox: Sandbox, coins: CoinEventService, path: Path, operation: str
) -> None:
    """A hundred failures in a row on the host's account end it."""
    sandbox.faults.append(Fault("html", on=operation, status=403))
    rows = [CoinEventUpdate(f"X{number}", amount=1) for number in range(300)]
    run = await Run.plan(rows, coins, to=path, read=operation == "get")
    if operation == "update":
        await run.apply(coins)
    assert 100 <= sandbox.calls[operation] < 120
    assert str(run.ended_by).startswith("100 rows in a row failed on account of the host")
    assert run.host_failed
    assert sum(run.counts[state] for state in (State.UNREAD, State.PLANNED)) > 180 - (operation == "get") * 100


async def test_refused_login_ends_it(sandbox: Sandbox, path: Path) -> None:
    """One token request, and no row is lost."""
    async with CoinEventService.connect(sandbox.base_url, auth="wrong") as coins:
        run = await Run.plan(updates((1, 10)), coins, to=path, read=False)
    from enkash_coins import PasswordGrant

    grant = PasswordGrant("sandbox-client", "x", "y", "z")
    async with CoinEventService.connect(sandbox.base_url, auth=grant) as coins:
        await run.apply(coins)
    assert isinstance(run.ended_by, LoginRefused)
    assert sandbox.calls == {"token": 1}
    assert run.counts == {State.NOT_SENT: 1}


async def test_stopped_run_is_consistent_and_goes_on(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """No new row begins, those under way come to an end, what was claimed ahead is given back."""
    rows = updates(*((1 + number % 40, 100 + number) for number in range(200)))
    run = await Run.plan(rows, coins, to=path)

    def stop(counts: Counter[State]) -> None:
        if counts[State.APPLIED] > 20:
            run.stop("interrupted")

    counts = await run.apply(coins, on_progress=stop)
    assert run.stopped
    assert run.ended_by == "interrupted"
    assert counts[State.APPLIED] == len(written(sandbox)) < 200
    assert counts[State.APPLIED] + counts[State.PLANNED] == 200
    assert await run.apply(coins) == {State.APPLIED: 200}
    assert len(written(sandbox)) == 200
    run.stop("too late: nothing is under way")


@pytest.mark.parametrize(
    ("row", "doubtful", "state"),
    [
        (CoinEventUpdate(name(1), amount=10), False, State.PLANNED),
        (CoinEventUpdate(name(1), amount=10), True, State.UNKNOWN),
        (CoinAllocation(company_id="C1", event="signup", user_id="U1"), False, State.PLANNED),
    ],
)
async def test_row_that_waits_when_it_is_cut_off_is_in_doubt_only_if_it_may_have_taken_effect(
    sandbox: Sandbox, path: Path, row: CoinEventUpdate | CoinAllocation, doubtful: bool, state: State
) -> None:
    """Stopped twice in a storm of 429: what was refused each time is given back; what once had no answer is not."""
    operation = "update" if isinstance(row, CoinEventUpdate) else "allocate"
    refused = asyncio.Event()

    def tell(attempt: Attempt) -> None:
        if attempt.status == 429:
            refused.set()

    if doubtful:
        sandbox.faults.append(Fault("disconnect_after_apply", on=operation, nth=1))
    sandbox.faults.append(Fault("rate_limited", on=operation, retry_after=30))
    async with CoinEventService.connect(
        sandbox.base_url, auth=sandbox.auth, retry=RetryPolicy(base=0.001), on_attempt=tell
    ) as coins:
        run = await Run.plan([row], coins, to=path, allocate=operation == "allocate")
        applying = asyncio.create_task(run.apply(coins, timeout=SHORT))
        await refused.wait()
        await asyncio.sleep(0)  # now it waits
        run.stop("interrupted")
        run.stop("interrupted")
        await applying
    assert states(run) == [state]
    assert run.stopped
