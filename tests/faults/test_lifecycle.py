"""Loops, threads, forks and idle connections: what a service lives through in other people's programs."""

import asyncio
import os
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from enkash_coins import CoinEventService, CoinEventUpdate, PasswordGrant
from enkash_coins.sandbox import Sandbox
from tests.faults.cases import Cases
from tests.faults.simulation import simulate
from tests.wire.calls import CALLS, ONE_TRY
from tests.wire.server import Exchange, Server, Step, hang, well

eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with CPython 3.12")


async def burst(base_url: str, auth: PasswordGrant) -> list[object]:
    """Calls and rows at once, on a service of its own; what failed."""
    async with CoinEventService.connect(base_url, auth=auth, concurrency=8) as coins:
        rows = [CoinEventUpdate(f"WCC{n % 9 + 1:05}", amount=n) for n in range(60)]
        reads = asyncio.gather(*(coins.get(f"WCC{n % 9 + 1:05}") for n in range(20)))
        failures = await coins.update_many(rows).failures()
        await reads
        return list(failures)


async def test_threads_with_a_loop_each(tally: Counter[str]) -> None:
    """Each thread has its loop and its service, and they do not notice each other."""
    async with Sandbox(10) as sandbox:
        runs = [asyncio.to_thread(lambda: asyncio.run(burst(sandbox.base_url, sandbox.auth))) for _ in range(4)]
        assert await asyncio.gather(*runs) == [[], [], [], []]
        assert sandbox.calls == {"token": 4, "update": 240, "get": 80}
    tally["lifecycle: threads"] += 4


async def test_a_second_thread_is_told(tally: Counter[str]) -> None:
    """A service in use in one thread's loop refuses another's, at every verb, and is none the worse for it."""
    async with Server() as server, CoinEventService.connect(server.url, auth="a-token") as coins:
        await CALLS["get"](coins)
        for call in CALLS.values():

            async def ask(call: Any = call) -> object:  # noqa: ANN401  # any of the five
                return await call(coins)

            with pytest.raises(RuntimeError, match="belongs to another event loop"):
                await asyncio.to_thread(asyncio.run, ask())
            tally["lifecycle: uses from a wrong loop"] += 1
        await CALLS["get"](coins)
        assert (len(server.seen), server.connections) == (2, 1)


@eager
async def test_eager_tasks_on_sockets() -> None:
    """Tasks that begin at once, within whoever makes them, change nothing: one login, every row its outcome."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # from 3.12
    async with Sandbox(10) as sandbox:
        assert await burst(sandbox.base_url, sandbox.auth) == []
        assert sandbox.calls == {"token": 1, "update": 60, "get": 20}


@eager
def test_eager_tasks_under_faults(cases: Cases, tally: Counter[str]) -> None:
    """All promises of the simulation hold with eager tasks, too."""
    for _, dice in cases(short=20, full=200):
        simulation = simulate(dice, 200, Counter(), eager=True)
        tally["lifecycle: simulated seeds with eager tasks"] += 1
        assert not simulation.wrong, "\n".join(simulation.wrong[:5])


@pytest.mark.parametrize("after", ["an answer", "a timeout", "a cancellation"])
async def test_an_idle_connection_is_good_for_longer_than_its_timeout(after: str) -> None:
    """A connection that idles for longer than a request may take is used again, and nothing of the time before it, be
    it a request that was given up, reaches the next.
    """
    silent = after != "an answer"

    def script(exchange: Exchange) -> list[Step]:
        return [hang] if silent else well(exchange)

    async with (
        Server() as server,
        CoinEventService.connect(server.url, auth="a-token", timeout=0.08, retry=ONE_TRY) as coins,
    ):
        if silent:
            server.script = script
            call = asyncio.ensure_future(CALLS["update"](coins))
            if after == "a cancellation":
                await asyncio.sleep(0.02)
                call.cancel()
            assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], BaseException)
            server.script = well
        await CALLS["update"](coins)
        connections = server.connections
        for _ in range(3):
            await asyncio.sleep(0.2)  # longer than the timeout of 0.08 s
            await CALLS["create"](coins)
        assert server.connections == connections == (2 if silent else 1)


PRE_FORK = """
    import asyncio, os, sys
    from enkash_coins import CoinEventService, FileGuard, PasswordGrant

    url, guard = sys.argv[1:]
    auth = PasswordGrant(
        "sandbox-client", "sandbox-client-secret", "sandbox@example.com", "sandbox-password", guard=FileGuard(guard)
    )
    coins = CoinEventService.connect(url, auth=auth)  # made once, as a module of an application would

    async def serve(first):
        async with coins:
            for number in range(20):
                await coins.update(f"WCC{first + number:05}", amount=number)

    workers = []
    for first in (1, 101):
        worker = os.fork()
        if not worker:
            asyncio.run(serve(first))
            os._exit(0)
        workers.append(worker)
    assert [os.waitpid(worker, 0)[1] for worker in workers] == [0, 0]
    asyncio.run(serve(201))
    print("well")
"""


async def test_a_service_made_before_workers_are_forked(tmp_path: Path) -> None:
    """Each worker has connections and a login of its own; the parent's is as new."""
    async with Sandbox(300) as sandbox:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-X", "dev", "-W", "error", "-c", textwrap.dedent(PRE_FORK)),
            *(sandbox.base_url, str(tmp_path / "guard.json")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert (out, err) == (b"well\n", b"")
        assert sandbox.calls == {"token": 3, "update": 60}
