"""Runs on real HTTP: planned, applied, gone on with, drifted, forced, taken back."""

import asyncio
import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from enkash_coins import (
    Attempt,
    CoinAllocation,
    CoinEventCreation,
    CoinEventService,
    CoinEventUpdate,
    CustomConfiguration,
    InvalidRequest,
    LoginRefused,
    PasswordGrant,
    Request,
    Response,
    RetryPolicy,
)
from enkash_coins.bulk import AlreadyThere, BadFile, Run, State
from enkash_coins.bulk.ledger import storage
from enkash_coins.cli.exits import Exit
from enkash_coins.cli.runs import code_of_run
from enkash_coins.sandbox import Fault, Sandbox
from enkash_coins.testing import MockTransport, answer

SHORT = 0.2  # seconds after which nothing arrives late any more
COMPANY = "CEK100000"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Configurations WCC00001 to WCC00040, of which the first ten have the amount 5."""
    async with Sandbox(configs=40) as sandbox:
        for number in range(1, 11):
            sandbox.configs[name(number)] |= {"amount": 5, "configuration": "DEFAULT", "event": "E"}
        yield sandbox


def name(number: int) -> str:
    """The id of a configuration."""
    return f"WCC{number:05}"


def updates(*pairs: tuple[int, int]) -> list[CoinEventUpdate]:
    """Rows that set amounts: pairs of a configuration's number and the amount."""
    return [CoinEventUpdate(name(number), amount=amount) for number, amount in pairs]


def states(run: Run) -> list[State]:
    """The states of all changes, in order."""
    return [record.state for record in run.records()]


def change(path: Path, statement: str) -> None:
    """Change a ledger as a crash, or the time, would."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


def crash(path: Path) -> None:
    """As if all were leaving when the process was killed."""
    change(path, "UPDATE record SET state = 'sent', before = known")


def amounts(sandbox: Sandbox, *numbers: int) -> list[object]:
    """What the server has."""
    return [sandbox.configs[name(number)]["amount"] for number in numbers]


def written(sandbox: Sandbox) -> list[tuple[str, object]]:
    """All updates that took effect, in order."""
    return [(id_, fields.get("amount")) for what, id_, fields in sandbox.applied if what == "update"]


def files(path: Path) -> list[str]:
    """What lies beside a run."""
    return sorted(file.name for file in path.parent.iterdir())


# Planning


async def test_plan_reads_and_writes_nothing(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Every configuration is read once; what is as wanted, refused or missing is known before anything is written."""
    run = await Run.plan([*updates((1, 10), (2, 5)), CoinEventUpdate("GONE", amount=1)], coins, to=path)
    assert states(run) == [State.PLANNED, State.UNCHANGED, State.REJECTED]
    assert sandbox.calls == {"token": 1, "get": 3}
    assert run.counts == Counter(states(run))
    first, _, gone = run.records()
    assert first.known == {"amount": 5}
    assert gone.reason == "HTTP 404: No such coin configuration"
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116  # a Path's own would block, for all that is known
    assert files(path) == ["june.run"]


async def test_rows_of_one_configuration_are_one_write(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Amount, event, and the amount again: one PATCH on the wire, three lines in the outcome."""
    rows = [
        CoinEventUpdate(name(1), amount=10),
        *updates((2, 7)),
        CoinEventUpdate(name(1), event="F"),
        *updates((1, 10)),
    ]
    run = await Run.plan(rows, coins, to=path)
    assert run.counts == {State.PLANNED: 4}
    assert [(record.lines, record.wanted) for record in run.records()] == [
        ([1, 3, 4], {"amount": 10, "event": "F"}),
        ([2], {"amount": 7}),
    ]
    assert await run.apply(coins) == {State.APPLIED: 4}
    assert sandbox.calls["update"] == 2
    assert (sandbox.configs[name(1)]["amount"], sandbox.configs[name(1)]["event"]) == (10, "F")
    outcomes = {outcome.index: outcome for outcome in run.outcomes()}
    assert [outcomes[at].item for at in range(4)] == rows
    assert {outcome.status for outcome in outcomes.values()} == {"applied"}


async def test_rows_that_contradict_each_other_are_refused_all_at_once(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Each with all its lines, before anything is read; or the later one counts."""
    rows = [*updates((1, 10), (2, 7), (1, 11), (2, 7), (3, 1), (3, 2)), CoinEventUpdate(name(1), event="F")]
    with pytest.raises(BadFile) as caught:
        await Run.plan(rows, coins, to=path)
    assert [problem.partition(";")[0] for problem in caught.value.problems] == [
        "rows 1, 3: give WCC00001 different values of amount",
        "rows 5, 6: give WCC00003 different values of amount",
    ]
    assert (sandbox.calls, files(path)) == ({}, [])
    run = await Run.plan(rows, coins, to=path, last_wins=True)
    assert [record.wanted for record in run.records()] == [{"amount": 11, "event": "F"}, {"amount": 7}, {"amount": 2}]


async def test_rows_iterator_is_pulled_in_the_callers_thread(coins: CoinEventService, path: Path) -> None:
    """Its errors come out as they are, and no run is left."""
    import threading

    threads = set()

    def rows(most: int) -> Iterator[CoinEventUpdate]:
        for number in range(most):
            threads.add(threading.current_thread())
            yield CoinEventUpdate(name(1 + number % 40), event=f"E{number % 40}")
        raise LookupError("the database is gone")

    with pytest.raises(LookupError, match="the database is gone"):
        await Run.plan(rows(2_500), coins, to=path)
    assert threads == {threading.current_thread()}
    assert files(path) == []


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "there are no rows"),
        (["WCC00001"], "row 1: 'WCC00001' is no CoinEventUpdate, CoinAllocation, CoinEventCreation"),
        ([CoinEventUpdate("A", amount=1), "B"], "row 2: 'B' is no CoinEventUpdate"),
        ([CoinEventUpdate("A", amount=True), CoinEventUpdate("../A", amount=1)], "row 1: amount: True is"),
        ([CoinEventUpdate("A")], "row 1: update of A: nothing is set"),
    ],
)
async def test_rows_that_cannot_be_sent_are_refused(
    sandbox: Sandbox, coins: CoinEventService, path: Path, rows: list[CoinEventUpdate], problem: str
) -> None:
    """Each is named, nothing is sent, and no run is left."""
    with pytest.raises(BadFile) as caught:
        await Run.plan(rows, coins, to=path)
    assert caught.value.problems[0].startswith(problem)
    assert (sandbox.calls, files(path)) == ({}, [])


async def test_only_the_first_problems_are_told(coins: CoinEventService, path: Path) -> None:
    """Twenty lines, and a count of the rest."""
    with pytest.raises(BadFile) as caught:
        await Run.plan([CoinEventUpdate("A") for _ in range(50)], coins, to=path)
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 30 more of this kind"


async def test_plan_that_was_interrupted_goes_on(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What could not be read is read by the next plan, of the same rows only; until then nothing can be applied."""
    sandbox.faults.append(Fault("server_error", on="get", nth=range(1, 13)))
    rows = updates(*((number, 10) for number in range(1, 21)))
    run = await Run.plan(rows, coins, to=path)
    unread = run.counts[State.UNREAD]
    assert 1 <= unread <= 4
    with pytest.raises(BadFile, match="were not read yet: plan it again"):
        await run.apply(coins)
    with pytest.raises(AlreadyThere, match="exists already, and is not overwritten"):
        await Run.plan(updates((1, 11)), coins, to=path)
    reads = sandbox.calls["get"]
    run = await Run.plan(rows, coins, to=path)
    assert run.counts == {State.PLANNED: 20}
    assert sandbox.calls["get"] == reads + unread
    await run.apply(coins)
    assert (await Run.plan(rows, coins, to=path)).counts == {State.APPLIED: 20}


async def test_plan_that_was_killed_while_its_rows_were_put_in_begins_anew(coins: CoinEventService, path: Path) -> None:
    """Nothing was sent by then; it is no run."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    change(path, "PRAGMA user_version=0")
    with pytest.raises(BadFile, match="is no run, or its plan was never finished"):
        Run.open(path)
    run = await Run.plan(updates((2, 10), (3, 10)), coins, to=path)
    assert states(run) == [State.PLANNED] * 2


async def test_ledger_is_as_durable_as_it_says(coins: CoinEventService, path: Path) -> None:
    """The journal is a write-ahead log, and every commit is on the disk: read back, because not every disk can."""
    await Run.plan(updates((1, 10)), coins, to=path)
    with closing(storage.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_path_of_a_run_is_made_absolute(
    coins: CoinEventService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that changes its folder goes on with the same file."""
    monkeypatch.chdir(path.parent)
    run = await Run.plan(updates((1, 10)), coins, to="june.run")
    opened = Run.open("june.run")
    monkeypatch.chdir("/")
    assert (run.path, opened.path, run.name) == (path, path, "june.run")
    assert await opened.apply(coins) == {State.APPLIED: 1}


@pytest.mark.parametrize(
    ("limit", "amount", "refused"),
    [("20%", 6, False), ("20%", 7, True), ("20%", 3, True), ("3", 8, False), ("3", 9, True)],
)
async def test_slipped_digit_is_refused(
    sandbox: Sandbox, coins: CoinEventService, path: Path, *, limit: str, amount: int, refused: bool
) -> None:
    """A change of the amount of 5 by more than allowed is not sent, however often it is applied; others are."""
    run = await Run.plan(updates((1, amount), (2, 6)), coins, to=path, max_change=limit)
    assert states(run)[0] is (State.NOT_SENT if refused else State.PLANNED)
    for force in (False, True):
        await run.apply(coins, force=force)
    assert states(run) == [State.NOT_SENT if refused else State.APPLIED, State.APPLIED]
    if refused:
        assert next(record.reason for record in run.records()) == f"would change the amount by more than {limit}"
        sandbox.configs[name(1)]["amount"] = amount  # somebody has brought it nearer
        await run.apply(coins)
        assert states(run) == [State.UNCHANGED, State.APPLIED]


@pytest.mark.parametrize("limit", ["", "%", "-5", "5 %", "1e3", "ten"])
async def test_limit_that_means_nothing_is_refused(coins: CoinEventService, path: Path, limit: str) -> None:
    """Neither a share nor an amount; or there is nothing to compare with."""
    with pytest.raises(InvalidRequest, match="is neither a share such as 20% nor an amount such as 50"):
        await Run.plan(updates((1, 1)), coins, to=path, max_change=limit)
    with pytest.raises(InvalidRequest, match="amounts are compared with what was read"):
        await Run.plan(updates((1, 1)), coins, to=path, max_change="5", read=False)
    assert files(path) == []


# Applying


async def test_apply_writes_what_is_planned(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Each planned change is written once, after a look, and no other; a second apply has nothing to do."""
    run = await Run.plan([*updates((1, 10), (2, 5)), CoinEventUpdate("GONE", amount=1)], coins, to=path)
    told: list[Counter[State]] = []
    counts = await run.apply(coins, on_progress=lambda counts: told.append(+counts))
    assert counts == {State.APPLIED: 1, State.UNCHANGED: 1, State.REJECTED: 1}
    assert written(sandbox) == [(name(1), 10)]
    assert told[-1] == counts
    assert all(one.total() == 3 for one in told)
    assert sandbox.calls["get"] == 3 + 2  # what was not there is looked for again
    again = Run.open(path)
    assert await again.apply(coins) == counts
    assert sandbox.calls["update"] == 1
    assert [outcome.status.value for outcome in again.outcomes()] == ["applied", "unchanged", "rejected"]
    (failed,) = (outcome for outcome in again.outcomes() if not outcome.ok)
    assert failed.item == CoinEventUpdate("GONE", amount=1)
    assert "404" in str(failed.error)


async def test_nothing_is_overwritten_unseen(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Changed a second after the plan: drifted, not written; forced: written; taken back: *their* value returns."""
    run = await Run.plan(updates((1, 10), (2, 10)), coins, to=path)
    sandbox.configs[name(1)]["amount"] = 7
    await run.apply(coins)
    assert states(run) == [State.DRIFTED, State.APPLIED]
    assert [record.found for record in run.records()] == [{"amount": 7}, None]
    assert code_of_run(run) == Exit.NOT_APPLIED
    (outcome,) = (outcome for outcome in run.outcomes() if not outcome.ok)
    assert str(outcome.error) == "update of WCC00001: somebody else has set amount 7"
    await run.apply(coins)
    assert (states(run)[0], amounts(sandbox, 1)) == (State.DRIFTED, [7])
    await run.apply(coins, force=True)
    assert (states(run)[0], amounts(sandbox, 1)) == (State.APPLIED, [10])
    back = await run.rollback(coins, to=path.with_name("back.run"))
    await back.apply(coins)
    assert amounts(sandbox, 1, 2) == [7, 5]


async def test_drifted_is_decided_anew(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Each apply looks again: back as planned it is written, as wanted it is unchanged, gone it is rejected."""
    run = await Run.plan(updates((1, 10), (2, 10), (3, 10)), coins, to=path)
    for number in (1, 2, 3):
        sandbox.configs[name(number)]["amount"] = 7
    await run.apply(coins)
    assert states(run) == [State.DRIFTED] * 3
    sandbox.configs[name(1)]["amount"] = 5
    sandbox.configs[name(2)]["amount"] = 10
    del sandbox.configs[name(3)]
    await run.apply(coins)
    assert states(run) == [State.APPLIED, State.UNCHANGED, State.REJECTED]
    assert written(sandbox) == [(name(1), 10)]


async def test_somebody_elses_change_of_another_field_is_no_drift(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Only the fields that we set are compared, and taken back."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    sandbox.configs[name(1)]["event"] = "THEIRS"
    await run.apply(coins)
    back = await run.rollback(coins, to=path.with_name("back.run"))
    await back.apply(coins)
    assert (sandbox.configs[name(1)]["amount"], sandbox.configs[name(1)]["event"]) == (5, "THEIRS")


async def test_without_check_nothing_is_read_again(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What somebody else has changed since the plan is overwritten, and rollback restores what the plan has seen."""
    run = await Run.plan(updates((1, 10), (2, 10)), coins, to=path)
    sandbox.configs[name(1)]["amount"] = 7
    reads = sandbox.calls["get"]
    await run.apply(coins, check=False)
    assert states(run) == [State.APPLIED] * 2
    assert sandbox.calls["get"] == reads
    back = await run.rollback(coins, to=path.with_name("back.run"))
    await back.apply(coins)
    assert amounts(sandbox, 1, 2) == [5, 5]


async def test_without_reading_each_write_looks_for_itself(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Nothing has drifted; what is there already is unchanged, what the write's own read finds is what is restored."""
    run = await Run.plan(updates((1, 10), (2, 5)), coins, to=path, read=False)
    assert (states(run), sandbox.calls) == ([State.PLANNED] * 2, {})
    sandbox.configs[name(1)]["amount"] = 7
    await run.apply(coins)
    assert states(run) == [State.APPLIED, State.UNCHANGED]
    back = await run.rollback(coins, to=path.with_name("back.run"))
    await back.apply(coins)
    assert amounts(sandbox, 1, 2) == [7, 5]


async def test_without_both_there_is_no_way_back(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Nobody has read what was there: nothing is unchanged, and nothing can be taken back."""
    run = await Run.plan(updates((1, 10), (2, 5)), coins, to=path, read=False)
    await run.apply(coins, check=False)
    assert states(run) == [State.APPLIED] * 2
    assert sandbox.calls == {"token": 1, "update": 2}
    with pytest.raises(BadFile, match="neither its plan nor its apply has read what was there before"):
        await run.rollback(coins, to=path.with_name("back.run"))
    assert files(path) == ["june.run"]


async def test_what_was_refused_is_sent_again(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Rejected or not sent: the next apply looks, and tries again."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    run = await Run.plan(updates((1, 10)), coins, to=path)
    await run.apply(coins)
    assert states(run) == [State.REJECTED]
    assert not next(run.records()).written
    await run.apply(coins)
    assert states(run) == [State.APPLIED]


async def test_company_cannot_be_seen(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """A change that sets it is never unchanged, and it is never taken back."""
    rows = [CoinEventUpdate(name(1), amount=5, company_id=COMPANY), CoinEventUpdate(name(2), company_id=COMPANY)]
    run = await Run.plan(rows, coins, to=path)
    assert states(run) == [State.PLANNED] * 2
    await run.apply(coins)
    assert sandbox.calls["update"] == 2
    back = await run.rollback(coins, to=path.with_name("back.run"))
    assert [(record.wanted, record.state) for record in back.records()] == [({"amount": 5}, State.UNCHANGED)]
    assert run.summary(5, 5)[:2] == (2, 2)


async def test_object_form_of_a_configuration_survives(path: Path) -> None:
    """It is kept, sent, compared by the keys that we set, and taken back."""
    held: dict[str, object] = {"coinConfigId": "A", "configuration": "DEFAULT", "event": "E", "amount": 5}

    def serve(request: Request) -> Response:
        held.update(json.loads(request.body) if request.method == "PATCH" else {})
        return answer(held)

    custom = CustomConfiguration("GOLD", {"tier": 2})
    async with CoinEventService(MockTransport(serve)) as coins:
        run = await Run.plan([CoinEventUpdate("A", configuration=custom)], coins, to=path)
        await run.apply(coins)
        assert held["configuration"] == {"CUSTOM": "GOLD", "tier": 2}
        assert [outcome.item for outcome in run.outcomes()] == [CoinEventUpdate("A", configuration=custom)]
        rows = [CoinEventUpdate("A", configuration=CustomConfiguration("GOLD"))]
        assert states(await Run.plan(rows, coins, to=path.with_name("b.run"))) == [State.UNCHANGED]
        held["configuration"] = {"CUSTOM": "GOLD", "tier": 2, "since": 2026}  # more than we know of
        back = await run.rollback(coins, to=path.with_name("back.run"))
        await back.apply(coins)
        assert [(record.before, record.state) for record in back.records()] == [
            ({"configuration": {"CUSTOM": "GOLD", "tier": 2, "since": 2026}}, State.APPLIED)
        ]
    assert dict(held)["configuration"] == "DEFAULT"


async def test_mismatched_is_read_and_decided_anew(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """The answer showed another value: what is there is ours to write again, and to take back."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    change(
        path,
        "UPDATE record SET state = 'mismatched', written = 1, before = known, known = '{\"amount\":9}', found = known",
    )
    change(path, "UPDATE record SET found = known")
    sandbox.configs[name(1)]["amount"] = 9
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    assert states(back) == [State.PLANNED]
    await run.apply(coins)
    assert (states(run), amounts(sandbox, 1)) == ([State.APPLIED], [10])


# In doubt


@pytest.mark.parametrize(
    ("found", "state", "writes"), [(10, State.APPLIED, 0), (5, State.APPLIED, 1), (7, State.DRIFTED, 0)]
)
async def test_what_was_leaving_at_a_crash_is_looked_at(
    sandbox: Sandbox, coins: CoinEventService, path: Path, *, found: int, state: State, writes: int
) -> None:
    """As wanted is applied, as before is written again, a third value is somebody else's; also without check."""
    for check in (True, False):
        file = path.with_name(f"{check}.run")
        sandbox.configs[name(1)]["amount"] = 5
        run = await Run.plan(updates((1, 10)), coins, to=file)
        crash(file)
        sandbox.configs[name(1)]["amount"] = found
        sent = sandbox.calls["update"]
        await run.apply(coins, timeout=SHORT, check=check)
        assert states(run) == [state]
        assert sandbox.calls["update"] == sent + writes


async def test_crash_and_gone_is_rejected_and_said_to_be_in_doubt(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """There is no such configuration any more: nothing can be read, or written."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    crash(path)
    del sandbox.configs[name(1)]
    await run.apply(coins, timeout=SHORT)
    assert [(record.state, record.reason) for record in run.records()] == [
        (State.REJECTED, "HTTP 404: No such coin configuration, and was in doubt before")
    ]


async def test_what_cannot_be_read_stays_as_it_is(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """In doubt it stays unknown, not begun it stays planned; the next apply looks again."""
    run = await Run.plan(updates((1, 10), (2, 10)), coins, to=path)
    change(path, "UPDATE record SET state = 'sent', before = known WHERE number = 0")
    sandbox.faults.append(Fault("html", on="get", status=403))
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.UNKNOWN, State.PLANNED]
    assert code_of_run(run) == Exit.HOST
    sandbox.faults.clear()
    await run.apply(coins, timeout=SHORT)
    assert states(run) == [State.APPLIED] * 2


async def test_unknown_is_settled_after_the_timeout(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What got no answer in all its attempts is read once nothing can arrive late: it was applied, and is not sent."""
    sandbox.faults.append(Fault("disconnect_after_apply", on="update", nth=range(1, 4)))
    run = await Run.plan(updates((1, 10)), coins, to=path)
    await run.apply(coins, timeout=SHORT)
    assert (states(run), sandbox.calls["update"]) == ([State.APPLIED], 3)
    assert not [record for record in run.records() if record.late]


async def test_late_arrival_is_waited_for_before_it_is_called_drifted(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Somebody else's value is there first, and then our own request arrives: it is applied, and can be taken back."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    crash(path)
    sandbox.configs[name(1)]["amount"] = 7
    asyncio.get_running_loop().call_later(0.3, lambda: sandbox.configs[name(1)].update(amount=10))
    await run.apply(coins, timeout=0.6)
    assert states(run) == [State.APPLIED]
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=SHORT)
    await back.apply(coins, timeout=SHORT)
    assert amounts(sandbox, 1) == [5]


async def test_run_is_not_finished_while_something_may_arrive(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """All is applied, but the first attempt of one may come once more, over what is written next: it is waited for."""
    sandbox.faults.append(Fault("disconnect_after_apply", on="update", nth=1))
    run = await Run.plan(updates((1, 10)), coins, to=path)
    began = asyncio.get_running_loop().time()
    await run.apply(coins, timeout=SHORT)
    assert asyncio.get_running_loop().time() - began >= SHORT
    assert "finished" in run.facts


async def test_no_to_a_repetition_is_no_answer_to_the_first_time(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Leaving at a crash, refused when sent again, and then the first one arrives: that is applied, not refused."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    crash(path)
    sandbox.faults.append(Fault("operation_failed", on="update", nth=1))
    asyncio.get_running_loop().call_later(0.3, lambda: sandbox.configs[name(1)].update(amount=10))
    await run.apply(coins, timeout=0.6)
    assert states(run) == [State.APPLIED]


async def test_what_certainly_had_no_effect_is_rejected_in_the_end(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Refused for ever, and nothing of it to be seen once nothing can arrive: that is a definite no, and no doubt."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    crash(path)
    sandbox.faults.append(Fault("operation_failed", on="update"))
    await run.apply(coins, timeout=SHORT)
    assert [(record.state, record.written) for record in run.records()] == [(State.REJECTED, False)]


async def test_clock_that_was_wrong_costs_no_more_than_the_timeout(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """In doubt from when the clock was hours ahead: at most ``timeout`` from now."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    change(path, "UPDATE record SET state = 'unknown', written = 1, before = known, late = 4e9")
    for work in (
        lambda: run.apply(coins, timeout=SHORT),
        lambda: run.rollback(coins, to=path.with_name("b.run"), timeout=SHORT),
    ):
        async with asyncio.timeout(10):
            await work()
        change(path, "UPDATE record SET late = 4e9")


async def test_force_in_doubt_keeps_what_was_there_before_the_first_write(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """It may have been ours that was changed since: before stays, and rollback restores that."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    crash(path)
    sandbox.configs[name(1)]["amount"] = 7
    await run.apply(coins, timeout=SHORT, force=True)
    assert [(record.state, record.before) for record in run.records()] == [(State.APPLIED, {"amount": 5})]


# Taking back


async def test_rollback_restores_what_was_there_right_before(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """What somebody has changed since is drifted, what was not written is left alone; it can itself be taken back."""
    sandbox.faults.append(Fault("operation_failed", on="update", nth=3))
    run = await Run.plan(updates((1, 10), (2, 10), (3, 10)), coins, to=path)
    async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, concurrency=1) as one_by_one:
        await run.apply(one_by_one)
    assert states(run) == [State.APPLIED, State.APPLIED, State.REJECTED]
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
    assert amounts(sandbox, 1) == [10]


async def test_run_that_was_taken_back_is_closed(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """From the first write of its rollback on; it says by which run. Planning to take it back closes nothing."""
    run = await Run.plan(updates((1, 10), (2, 10)), coins, to=path)
    sandbox.faults.append(Fault("operation_failed", on="update", nth=2))
    await run.apply(coins)
    back_path = path.with_name("back.run")
    await run.rollback(coins, to=back_path)
    await run.apply(coins)
    assert states(run) == [State.APPLIED] * 2
    with pytest.raises(AlreadyThere):  # that plan is of another state of this run
        await run.rollback(coins, to=back_path)
    back = await run.rollback(coins, to=path.with_name("b.run"))
    await back.apply(coins)
    for again in (lambda: run.apply(coins), lambda: run.rollback(coins, to=path.with_name("c.run"))):
        with pytest.raises(BadFile, match=r"june.run: is closed: it was taken back by .*/b.run, 20"):
            await again()
    assert (await run.rollback(coins, to=path.with_name("b.run"))).counts == {State.APPLIED: 2}
    assert amounts(sandbox, 1, 2) == [5, 5]


async def test_rollback_of_what_is_in_doubt(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Whatever became of it: as we wanted it goes back, as before it is unchanged, else it is somebody else's."""
    run = await Run.plan(updates((1, 10), (2, 10), (3, 10)), coins, to=path)
    crash(path)
    sandbox.configs[name(1)]["amount"] = 10
    sandbox.configs[name(3)]["amount"] = 7
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=0.01)
    assert states(back) == [State.PLANNED, State.UNCHANGED, State.DRIFTED]


async def test_rollback_waits_for_late_arrivals(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What arrives before the timeout is seen by the plan that takes it back."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    crash(path)
    asyncio.get_running_loop().call_later(0.2, lambda: sandbox.configs[name(1)].update(amount=10))
    back = await run.rollback(coins, to=path.with_name("back.run"), timeout=0.5)
    assert states(back) == [State.PLANNED]


async def test_run_that_has_written_nothing_has_nothing_to_take_back(coins: CoinEventService, path: Path) -> None:
    """It says so."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    with pytest.raises(BadFile, match="there is nothing to take back: it has written nothing"):
        await run.rollback(coins, to=path.with_name("back.run"))
    assert files(path) == ["june.run"]


# Allocations and creations; their repetition is tested by itself


def allocations(count: int) -> list[CoinAllocation]:
    """Rows for as many users."""
    return [
        CoinAllocation(company_id=COMPANY, event="REFERRAL_EVENT", user_id=f"EK{number}") for number in range(count)
    ]


def creations(count: int) -> list[CoinEventCreation]:
    """Rows for as many events."""
    return [
        CoinEventCreation(company_id=COMPANY, event=f"E{number}", amount=number, configuration="DEFAULT")
        for number in range(count)
    ]


async def test_allocation_in_doubt_is_held(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """It has its request id since the plan, is not sent again by itself, and with replay under that very id."""
    run = await Run.plan(allocations(5), coins, to=path)
    ids = [record.id for record in run.records()]
    sandbox.faults.append(Fault("disconnect_before_apply", on="allocate", nth=3))
    assert await run.apply(coins) == {State.APPLIED: 4, State.UNKNOWN: 1}
    assert code_of_run(run) == Exit.DOUBT
    assert await run.apply(coins) == {State.APPLIED: 4, State.UNKNOWN: 1}
    assert sandbox.calls["allocate"] == 5
    (held,) = (outcome for outcome in run.outcomes() if not outcome.ok)
    assert held.error is not None
    assert (held.error.maybe_applied, held.error.request_id, held.late_risk) == (True, ids[held.index], True)
    assert str(held.error).count(str(ids[held.index])) == 1
    assert await run.apply(coins, replay=True) == {State.APPLIED: 5}
    assert sorted(str(body["requestId"]) for body in sandbox.allocations) == sorted(map(str, ids))


async def test_refusal_of_a_replay_proves_nothing(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """The first time it was given: that its id is refused now leaves it in doubt, and it is not doubled."""
    run = await Run.plan(allocations(1), coins, to=path)
    sandbox.faults.append(Fault("disconnect_after_apply", on="allocate", nth=1))
    await run.apply(coins)
    assert await run.apply(coins, replay=True) == {State.UNKNOWN: 1}
    assert len(sandbox.allocations) == 1


async def test_what_was_leaving_at_a_crash_is_held(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """An allocation or a creation that may have left is in doubt; the others are sent."""
    for kind, rows in (("allocate", allocations(3)), ("create", creations(3))):
        file = path.with_name(f"{kind}.run")
        run = await Run.plan(rows, coins, to=file)
        change(file, "UPDATE record SET state = 'sent' WHERE number = 1")
        assert await run.apply(coins, replay=kind == "create") == {State.APPLIED: 2, State.UNKNOWN: 1}
        assert sandbox.calls[kind] == 2
        assert code_of_run(run) == Exit.DOUBT


async def test_planning_again_forgets_no_doubt(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What may have left when the process was killed is not planned once more by the same plan."""
    run = await Run.plan(allocations(3), coins, to=path)
    change(path, "UPDATE record SET state = 'sent' WHERE number = 1")
    again = await Run.plan(allocations(3), coins, to=path)
    assert states(again) == [State.PLANNED, State.SENT, State.PLANNED]
    assert await run.apply(coins) == {State.APPLIED: 2, State.UNKNOWN: 1}
    assert sandbox.calls["allocate"] == 2


async def test_force_ends_with_its_apply(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """What was to be overwritten, and was not when it was stopped, has drifted as before."""
    run = await Run.plan(updates(*((number, 10) for number in range(1, 11))), coins, to=path)
    for number in range(1, 11):
        sandbox.configs[name(number)]["amount"] = 7
    await run.apply(coins)
    sandbox.faults.append(Fault("rate_limited", on="update", retry_after=30))

    def stop() -> None:
        run.stop("interrupted")
        run.stop("at once")

    asyncio.get_running_loop().call_later(0.3, stop)
    await run.apply(coins, force=True, timeout=SHORT)
    assert states(run) == [State.DRIFTED] * 10
    assert {repr(record.found) for record in run.records()} == {"{'amount': 7}"}
    sandbox.faults.clear()
    await run.apply(coins)
    assert states(run) == [State.DRIFTED] * 10


async def test_ids_of_what_was_created_are_kept(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """In records and outcomes; a rollback lists them and says that there is no way to delete."""
    run = await Run.plan(creations(3), coins, to=path)
    assert await run.apply(coins) == {State.APPLIED: 3}
    made = [outcome.result.coin_config_id for outcome in run.outcomes() if outcome.result is not None]
    assert [record.id for record in run.records()] == made
    assert {sandbox.configs[id_]["event"] for id_ in made} == {"E0", "E1", "E2"}
    with pytest.raises(BadFile, match="no way to delete") as caught:
        await run.rollback(coins, to=path.with_name("b.run"))
    assert all(id_ in str(caught.value) for id_ in made)


async def test_allocations_have_no_way_back(coins: CoinEventService, path: Path) -> None:
    """The API has no call for it."""
    given = await Run.plan(allocations(1), coins, to=path)
    with pytest.raises(BadFile, match="allocations cannot be taken back"):
        await given.rollback(coins, to=path.with_name("b.run"))


# The life of a run


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


@pytest.mark.parametrize("operation", ["get", "update"])
async def test_host_that_only_fails_is_not_tried_for_ever(
    sandbox: Sandbox, coins: CoinEventService, path: Path, operation: str
) -> None:
    """A hundred failures in a row on the host's account end it."""
    sandbox.faults.append(Fault("html", on=operation, status=403))
    rows = [CoinEventUpdate(f"X{number}", amount=1) for number in range(300)]
    run = await Run.plan(rows, coins, to=path, read=operation == "get")
    if operation == "update":
        await run.apply(coins, check=False)
    assert 100 <= sandbox.calls[operation] < 120
    assert str(run.ended_by).startswith("100 in a row failed on account of the host")
    assert run.host_failed
    assert code_of_run(run) == Exit.HOST
    assert sum(run.counts[state] for state in (State.UNREAD, State.PLANNED)) > 180 - (operation == "get") * 100


async def test_refused_login_ends_it(sandbox: Sandbox, path: Path) -> None:
    """One token request, and no row is lost."""
    async with CoinEventService.connect(sandbox.base_url, auth="wrong") as coins:
        run = await Run.plan(updates((1, 10)), coins, to=path, read=False)
    grant = PasswordGrant("sandbox-client", "x", "y", "z")
    async with CoinEventService.connect(sandbox.base_url, auth=grant) as coins:
        await run.apply(coins)
    assert isinstance(run.ended_by, LoginRefused)
    assert sandbox.calls == {"token": 1}
    assert run.counts == {State.PLANNED: 1}
    assert code_of_run(run) == Exit.LOGIN


async def test_stopped_run_is_consistent_and_goes_on(sandbox: Sandbox, coins: CoinEventService, path: Path) -> None:
    """Nothing new begins, what is under way comes to an end, what was claimed ahead is given back."""
    rows = updates(*((number, 100 + number) for number in range(1, 41)))
    run = await Run.plan(rows, coins, to=path)

    def stop(counts: Counter[State]) -> None:
        if counts[State.APPLIED]:
            run.stop("interrupted")

    sandbox.faults.append(Fault("latency", on="update", seconds=0.02))
    counts = await run.apply(coins, on_progress=stop)
    assert (run.stopped, run.ended_by, code_of_run(run)) == (True, "interrupted", Exit.INTERRUPTED)
    assert counts[State.APPLIED] == len(written(sandbox)) <= 40
    assert counts[State.APPLIED] + counts[State.PLANNED] == 40
    assert await run.apply(coins) == {State.APPLIED: 40}
    assert len(written(sandbox)) == 40
    run.stop("too late: nothing is under way")


async def test_run_can_be_stopped_from_its_first_moment_on(
    sandbox: Sandbox, coins: CoinEventService, path: Path
) -> None:
    """Whoever stops it before anything has begun is heard."""
    run = await Run.plan(updates((1, 10)), coins, to=path)
    applying = asyncio.create_task(run.apply(coins))
    await asyncio.sleep(0)
    run.stop("at once")
    assert await applying == {State.PLANNED: 1}
    assert (run.stopped, sandbox.calls["update"]) == (True, 0)
    assert await run.apply(coins) == {State.APPLIED: 1}


@pytest.mark.parametrize(
    ("row", "doubtful", "state"),
    [
        (CoinEventUpdate(name(1), amount=10), False, State.PLANNED),
        (CoinEventUpdate(name(1), amount=10), True, State.UNKNOWN),
        (CoinAllocation(company_id="C1", event="signup", user_id="U1"), False, State.PLANNED),
    ],
)
async def test_what_waits_when_it_is_cut_off_is_in_doubt_only_if_it_may_have_taken_effect(
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
        run = await Run.plan([row], coins, to=path)
        applying = asyncio.create_task(run.apply(coins, timeout=SHORT))
        await refused.wait()
        await asyncio.sleep(0)  # now it waits
        run.stop("interrupted")
        run.stop("interrupted")
        await applying
    assert states(run) == [state]
    assert run.stopped


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(b""), "is no run, or its plan was never finished"),
        (
            lambda path: path.write_bytes(b"no database, but longer than the header of one" * 20),
            "is no run, or is damaged",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "is damaged|is no run"),
        (
            lambda path: change(path, "PRAGMA user_version=2"),
            r"from before its first release: plan .* \(format 2, not 3\)",
        ),
        (lambda path: change(path, "PRAGMA user_version=4"), r"a newer version of this command: update .* \(format 4"),
        (lambda path: change(path, "PRAGMA application_id=7"), "is no run"),
        (Path.unlink, "no such file"),
    ],
)
async def test_what_is_no_run_is_one_line(
    coins: CoinEventService, path: Path, damage: Callable[[Path], object], problem: str
) -> None:
    """Empty, foreign, torn, of another version, or not there."""
    await Run.plan(updates(*((number, 10) for number in range(1, 41))), coins, to=path)
    damage(path)
    with pytest.raises(BadFile, match=problem) as caught:
        Run.open(path)
    assert "\n" not in str(caught.value)
