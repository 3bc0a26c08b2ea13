"""What is left in files, whatever failed: no secret, in no form."""

from collections import Counter
from pathlib import Path

import pytest

from enkash_coins import (
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    EnkashError,
    FileGuard,
    PasswordGrant,
    RetryPolicy,
)
from enkash_coins.bulk import Run
from enkash_coins.service import ConnectOptions
from tests.faults.hostile import Hostile, named
from tests.faults.watch import PLANTED, Watch
from tests.wire.calls import CALLS, ONE_TRY
from tests.wire.failures import SCRIPTS
from tests.wire.leaks import GRANT
from tests.wire.server import Script, Server, close, http
from tests.wire.test_secrets import in_envelope, in_oauth_error, login, quoting


def _closing(case: Hostile) -> Script:
    return lambda _: [*case.steps, close]


LOGINS: dict[str, Script] = {
    **SCRIPTS,
    "quoted in an envelope": quoting(400, in_envelope),
    "quoted in an OAuth error": quoting(401, in_oauth_error),
    "well": login,
    **{name: _closing(case) for name, case in list(named().items())[::20] if not case.endless},
}
del LOGINS["timeout after reading"]  # puts a clock forward that all of these share


def _unless_login(script: Script) -> Script:
    return lambda exchange: script(exchange) if exchange.operation == "token" else [http(500)]


def _contents(folder: Path) -> list[bytes]:
    """What is in the files of a folder, which then are no more."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    contents = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    return contents


@pytest.mark.parametrize("before", [(), (login,)], ids=["never proven", "proven"])
async def test_what_a_guard_leaves_in_files(
    before: tuple[Script, ...], tmp_path: Path, tally: Counter[str], watch: Watch
) -> None:
    """Logins that go well, fail, or are quoted back, under a guard in files: the files know none of the credentials."""
    async with Server() as server:
        for name, script in LOGINS.items():
            guard = FileGuard(tmp_path / "guard")
            for once in (*before, script):
                server.script = _unless_login(once)
                options = PLANTED | ConnectOptions(auth=PasswordGrant(*GRANT, guard=guard), retry=ONE_TRY)
                async with CoinEventService.connect(server.url, **options) as coins:
                    with pytest.raises(EnkashError) as caught:
                        await CALLS["allocate"](coins)
                watch.look(caught.value)
            contents = _contents(tmp_path)
            assert contents, name
            watch.look(texts=tuple(data.decode(code, "replace") for data in contents for code in ("utf-8", "latin-1")))
            tally["files of login guards searched for planted secrets"] += len(contents)


_WAL = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # how SQLite's begin
ROWS = [CoinEventUpdate(id_, amount=10) for id_ in ("WCC12345", "WCC12346")]
GIVEN = [CoinAllocation(company_id="CEK1", event="E", user_id="EK1", request_id=f"order-{number}") for number in (1, 2)]


@pytest.mark.parametrize("kind", ["update", "allocation"])
async def test_what_a_run_leaves_in_files(kind: str, tmp_path: Path, tally: Counter[str], watch: Watch) -> None:
    """Runs whose answers fail or quote the request: ledgers, their WAL and what is told of rows know no secret."""
    options = PLANTED | ConnectOptions(retry=RetryPolicy(attempts=1, base=0, max_wait=0.01), timeout=2.0)
    async with Server() as server:
        for name, script in LOGINS.items():
            server.script = script
            seen: set[bytes] = set()

            def look(_: object, seen: set[bytes] = seen) -> None:
                seen.update(file.read_bytes() for file in tmp_path.iterdir())

            async with CoinEventService.connect(server.url, **options) as coins:
                if kind == "update":
                    read = await Run.plan(ROWS, coins, to=tmp_path / "read.run", on_progress=look)
                    run = await Run.plan(ROWS, coins, to=tmp_path / "june.run", read=False)
                else:
                    read = run = await Run.plan(GIVEN, coins, to=tmp_path / "june.run")
                await run.apply(coins, timeout=0.01, on_progress=look)
                told = [f"{run.ended_by} {record!r}" for run in (read, run) for record in run.records()]
                watch.look(*(outcome.error for outcome in run.outcomes() if outcome.error is not None))
            assert any(data.startswith(_WAL) for data in seen), name
            seen.update(_contents(tmp_path))
            texts = [data.decode(code, "replace") for data in seen for code in ("utf-8", "latin-1")]
            watch.look(texts=(*told, *texts))
            tally["states of a run's files searched for planted secrets"] += len(seen)
