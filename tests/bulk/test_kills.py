"""kill -9 at random instants of real processes.

``ENKASH_KILLS`` says how often (`nox -s kills`: 300), ``ENKASH_SEED`` throws the same dice again.
"""

import csv
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

import enkash_coins
from tests.bulk import witness

KILLS = int(os.environ.get("ENKASH_KILLS", "12"))
SEED = int(os.environ.get("ENKASH_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
WIDTH = 8
ROWS = 200
ENDS = ("applied", "unchanged", "rejected", "not_sent", "mismatched", "unknown", "drifted")
OK = ("applied", "unchanged")


class Witness:
    """The server, and what it knows."""

    def __init__(self, seed: int) -> None:
        assert enkash_coins.__file__ is not None
        path = str(Path(enkash_coins.__file__).parents[1])
        assert witness.__file__ is not None
        self._process = subprocess.Popen(
            [sys.executable, witness.__file__, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.environment = {**os.environ, "PYTHONPATH": path, **self._line()}

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def truth(self) -> dict[str, Any]:
        """Configurations, allocations, and all writes in order."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def server() -> Iterator[Witness]:
    """A server with latency, refusals and lost answers, in another process."""
    server = Witness(SEED % 1000)
    yield server
    server.close()


@attrs.define
class Killer:
    """Starts commands, kills them, and starts them again until one comes to its end."""

    server: Witness
    folder: Path
    dice: random.Random
    startup: float = 0.3
    killed: Counter[str] = attrs.field(factory=Counter)
    in_doubt: int = 0

    def work(self, *argv: str, kills: int, run: Path) -> None:
        """Kill a command so often, then let it finish."""
        for _ in range(kills):
            child = self._start(*argv)
            try:
                child.communicate(timeout=self.startup + self.dice.random())
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
                self.killed[argv[0]] += 1
            else:
                if argv[0] == "plan" and not states(run)["unread"]:
                    return
            if argv[0] == "apply" and "alloc" in run.name and run.exists():
                self.in_doubt = max(self.in_doubt, states(run)["sent"])
        for _ in range(4):  # what was rejected once, as the server's dice fell, is taken up again
            child = self._start(*argv)
            _, errors = child.communicate(timeout=120)
            assert "Traceback" not in errors
            assert child.returncode in (0, 1, 6), (argv, child.returncode, errors)
            if child.returncode == 0 or "alloc" in run.name or (argv[0] == "plan" and not states(run)["unread"]):
                break

    def _start(self, *argv: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "enkash_coins.cli", *argv, "--concurrency", str(WIDTH), "--timeout", "0.3"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            # A login that was killed counts as one that failed: here each process knows of none before.
            env={**self.server.environment, "ENKASH_LOGIN_GUARD": str(self.folder / f"guard-{self.dice.random()}")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def states(run: Path) -> Counter[str]:
    """Rows by state, as a killed process has left them."""
    with closing(sqlite3.connect(run)) as db:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return Counter()
        return Counter(dict(db.execute("SELECT state, sum(rows) FROM record GROUP BY state")))


def changes(run: Path) -> list[tuple[str, dict[str, Any], str]]:
    """Id, what is wanted, and state of all changes of a run that is whole."""
    with closing(sqlite3.connect(run)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = db.execute("SELECT id, wanted, state FROM record ORDER BY number").fetchall()
    assert {state for *_, state in found} <= set(ENDS)
    return [(id_, json.loads(wanted), state) for id_, wanted, state in found]


def write(path: Path, header: list[str], lines: Sequence[Sequence[object]]) -> None:
    """A CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])


def check_updates(run: Path, wanted: dict[str, int], before: dict[str, Any], truth: dict[str, Any], since: int) -> int:
    """What the ledger says of updates is what the server has seen; returns how many changes were looked at."""
    found = changes(run)
    assert {id_: fields["amount"] for id_, fields, _ in found} == wanted
    assert not [change for change in found if change[2] == "drifted"], "nobody else has written"
    seen = {(id_, fields["amount"]) for what, id_, fields in truth["applied"][since:] if what == "update"}
    assert seen <= set(wanted.items()), "something was written that the ledger does not know of"
    for id_, _, state in found:
        assert state != "applied" or (id_, wanted[id_]) in seen, id_
        assert state not in OK or truth["configs"][id_]["amount"] == wanted[id_], (id_, state)
        assert state != "unchanged" or (id_, wanted[id_]) not in seen or before[id_]["amount"] == wanted[id_]
    for id_ in before.keys() - wanted.keys():
        assert truth["configs"][id_] == before[id_]
    return len(found)


def check_allocations(run: Path, count: int, truth: dict[str, Any], since: int) -> int:
    """Nothing is doubled or lost; returns how many are in doubt."""
    by_state = {id_: state for id_, _, state in changes(run)}
    assert len(by_state) == count
    given = Counter(fields["requestId"] for fields in truth["allocations"][since:])
    assert not [id_ for id_, times in given.items() if times > 1], "an allocation was doubled"
    assert {state for id_, state in by_state.items() if id_ in given} <= {"applied", "unknown"}
    assert all(id_ in given for id_, state in by_state.items() if state == "applied")
    return sum(state == "unknown" for state in by_state.values())


def test_nothing_is_lost_or_doubled_by_kill_9(
    server: Witness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often plan, apply and rollback are killed: every row ends in one state, and the server's log agrees."""
    sys.stdout.write(f"seed {SEED}\n")  # shown when it fails
    dice = random.Random(SEED)
    killer = Killer(server, tmp_path, dice)
    checked: Counter[str] = Counter()
    number = 0
    in_doubt = 0
    each = max(1, min(5, KILLS // 4))
    while killer.killed.total() < KILLS:
        number += 1
        truth = server.truth()
        before, since = truth["configs"], len(truth["applied"])
        ids = [
            f"WCC{dice.randrange(1, 61):05}" if dice.random() < 0.3 else f"WCC{1 + row % 60:05}" for row in range(ROWS)
        ]
        lines = [(id_, dice.randrange(1, 5000)) for id_ in ids]
        wanted = dict(lines)
        file, run, back = (tmp_path / f"{number}{ending}" for ending in (".csv", ".run", ".back.run"))
        write(file, ["coin_config_id", "amount"], lines)
        killer.work("plan", file.name, "--last-wins", kills=each, run=run)
        assert server.truth()["configs"] == before, "a plan writes nothing"
        killer.work("apply", run.name, "--yes", kills=each, run=run)
        truth = server.truth()
        checked["changes"] += check_updates(run, wanted, before, truth, since)
        since = len(truth["applied"])
        killer.work("rollback", run.name, "--yes", "-o", back.name, kills=each, run=back)
        after = server.truth()
        undone = {id_: fields["amount"] for id_, fields, _ in changes(back)}
        assert undone.items() <= {id_: config["amount"] for id_, config in before.items()}.items()
        checked["changes"] += check_updates(back, undone, truth["configs"], after, since)
        file, run = tmp_path / f"{number}.alloc.csv", tmp_path / f"{number}.alloc.run"
        users = [["CEK1", "REFERRAL_EVENT", f"EK{number}-{row}"] for row in range(ROWS)]
        write(file, ["company_id", "event", "user_id"], users)
        given = len(after["allocations"])
        killer.work("plan", file.name, "--allocate", "-o", run.name, kills=0, run=run)
        killer.work("apply", run.name, "--yes", kills=each, run=run)
        in_doubt += check_allocations(run, ROWS, server.truth(), given)
        checked["allocations"] += ROWS
    assert killer.in_doubt <= WIDTH
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {SEED}: {killer.killed.total()} kills ({dict(killer.killed)}) in {number} rounds, {dict(checked)}"
            f" checked: none lost, none doubled; {in_doubt} allocations held in doubt, at most {killer.in_doubt} at one"
            " kill\n"
        )
