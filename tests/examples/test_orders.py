"""The shops: each order is rewarded once, and what a client is told is true."""

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from enkash_coins.sandbox import Fault, Sandbox
from tests.examples.server import ORDERS, Served, served, until

Told = tuple[int, dict[str, Any], str | None]


@asynccontextmanager
async def shop(
    name: str, folder: Path, sandbox: Sandbox, **settings: str
) -> AsyncIterator[tuple[Served, aiohttp.ClientSession]]:
    """A running example, and a client for it."""
    async with (
        sandbox,
        served(name, sandbox, folder, **settings) as server,
        aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        yield server, client


async def order(client: aiohttp.ClientSession, order_id: str, user_id: str = "EK1") -> Told:
    """Ask for an order's coins: status, body and Retry-After of the answer."""
    async with client.post(f"/orders/{order_id}/reward", json={"user_id": user_id}) as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")


async def balance(client: aiohttp.ClientSession) -> Told:
    """Ask for a balance."""
    async with client.get("/users/EK1/balance") as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")


def allocated(sandbox: Sandbox) -> list[str]:
    """The request ids of all allocations that took effect."""
    return [str(body["requestId"]) for body in sandbox.allocations]


def recorded(folder: Path) -> dict[str, bool]:
    """What the shop's own database says: request id -> given."""
    rows = sqlite3.connect(folder / "rewards.db")
    try:
        return {request_id: bool(given) for request_id, given in rows.execute("SELECT request_id, given FROM rewards")}
    finally:
        rows.close()


@pytest.mark.parametrize("name", ORDERS)
async def test_an_order_is_rewarded_once(name: str, tmp_path: Path) -> None:
    """However often and however many at once it is asked for; also by a server that does not know repeated ids."""
    async with shop(name, tmp_path, Sandbox(5, dedupe=False, latency=0.05)) as (server, client):
        sandbox_calls = await asyncio.gather(*(order(client, "7") for _ in range(10)))
        assert {status for status, _, _ in sandbox_calls} == {200, 202}  # who came while it was under way is told so
        assert [given for _, given, _ in sandbox_calls if given["given"]] == [
            {"order_id": "7", "request_id": "order-7", "user_id": "EK1", "given": True}
        ]
        assert (await order(client, "7"))[:2] == (
            200,
            {"order_id": "7", "request_id": "order-7", "user_id": "EK1", "given": True},
        )
        assert await balance(client) == (200, {"coins": 1}, None)
        await server.stop()
    assert recorded(tmp_path) == {"order-7": True}


@pytest.mark.parametrize("name", ORDERS)
async def test_another_user_of_a_rewarded_order_is_not_told_that_it_was_his(name: str, tmp_path: Path) -> None:
    """The order has its coins, and the answer names whose they are."""
    async with shop(name, tmp_path, Sandbox(5)) as (server, client):
        first = await order(client, "7")
        assert first[1]["user_id"] == "EK1"
        assert await order(client, "7", "EK2") == first
        await server.stop()


@pytest.mark.parametrize("name", ORDERS)
async def test_each_row_of_the_table(name: str, tmp_path: Path) -> None:
    """Whatever goes wrong behind it, a client learns what to do, and the order can be told from what was applied."""
    sandbox = Sandbox(5)
    async with shop(name, tmp_path, sandbox) as (server, client):

        async def goes_wrong(order_id: str, fault: Fault) -> Told:
            sandbox.faults[:] = [fault]
            told = await order(client, order_id)
            sandbox.faults.clear()
            return told

        for number, kind in enumerate(["disconnect_after_apply", "malformed", "server_error"]):
            doubtful = f"doubt-{number}"
            status, body, retry_after = await goes_wrong(doubtful, Fault(kind, on="allocate"))
            assert (status, body["request_id"], retry_after) == (202, f"order-{doubtful}", None)
            asked_again = {"order_id": doubtful, "request_id": f"order-{doubtful}", "user_id": "EK1", "given": False}
            calls = sandbox.calls["allocate"]
            assert await order(client, doubtful) == (202, asked_again, None)
            assert sandbox.calls["allocate"] == calls  # what is in doubt is not sent again

        status, body, _ = await order(client, "no%0Aid")
        assert (status, body["error"]) == (422, "InvalidRequest")

        status, body, _ = await goes_wrong("refused", Fault("operation_failed", on="allocate"))
        assert (status, body["error"]) == (409, "OperationFailed")
        assert "sandbox was told" not in str(body)  # EnKash's words are not the customer's
        assert (await order(client, "refused"))[0] == 200  # nothing was done, so it may be tried again

        status, body, retry_after = await goes_wrong("forbidden", Fault("server_error", on="allocate", status=403))
        assert (status, body["error"], retry_after) == (503, "Forbidden", None)

        status, body, _ = await goes_wrong("conflict", Fault("server_error", on="allocate", status=409))
        assert (status, body["error"]) == (202, "Conflict")

        sandbox.faults[:] = [Fault("hang", on="balance")]
        assert (await balance(client))[0] == 504

        status, body, retry_after = await goes_wrong("busy", Fault("rate_limited", on="allocate", retry_after=90))
        assert (status, body["error"], retry_after) == (503, "RateLimited", "90")
        output = await server.stop()
    assert "allocate answered with 503: Forbidden: HTTP 403" in output  # it takes a person
    in_doubt = {request_id for request_id, given in recorded(tmp_path).items() if not given}
    assert in_doubt == {"order-doubt-0", "order-doubt-1", "order-doubt-2", "order-conflict"}
    assert set(re.findall(r"look up request id ([\w-]+):", output)) == in_doubt


async def test_unreachable_host_is_told_and_survived(tmp_path: Path) -> None:
    """Nothing was done while the host was away: the same order works when it is back."""
    sandbox = Sandbox(5)
    async with shop("fastapi_orders", tmp_path, sandbox) as (server, client):
        await sandbox.aclose()
        status, body, _ = await order(client, "1")
        assert (status, body["error"]) == (502, "ConnectError")
        await sandbox.start()
        assert (await order(client, "1"))[0] == 200
        await server.stop()


async def test_wrong_password_is_tried_once(tmp_path: Path) -> None:
    """The first refusal is final; clients are not told to try again, and a person is called."""
    sandbox = Sandbox(5)
    async with shop("fastapi_orders", tmp_path, sandbox, ENKASH_PASSWORD="wrong") as (server, client):
        for number in range(5):
            status, body, retry_after = await order(client, str(number))
            assert (status, body["error"], retry_after) == (503, "LoginRefused", None)
        assert sandbox.calls["token"] == 1
        assert "wrong" not in await server.stop()


async def test_suspended_login_says_when(tmp_path: Path) -> None:
    """While logins of good credentials are held back for a minute, clients are told to come back then."""
    sandbox = Sandbox(5)
    async with shop("fastapi_orders", tmp_path, sandbox) as (server, client):
        assert (await balance(client))[0] == 200
        sandbox.expire_tokens()
        sandbox.faults.append(Fault("server_error", on="token", status=500))
        statuses = [await order(client, "1") for _ in range(3)]
        status, body, retry_after = statuses[-1]
        assert (status, body["error"]) == (503, "LoginSuspended")
        assert 50 < int(retry_after or 0) <= 60
        assert sandbox.calls["token"] == 3  # the good one, and two doubtful ones
        await server.stop()


@pytest.mark.parametrize("name", ORDERS)
async def test_hang_up_leaves_an_allocation_alone(name: str, tmp_path: Path) -> None:
    """A client that goes away under way loses its answer, and nothing else: the order is given and recorded, even if
    the server is told to stop at that very moment.
    """
    sandbox = Sandbox(5, latency=0.3)
    async with shop(name, tmp_path, sandbox) as (server, client):
        asking = asyncio.create_task(order(client, "1"))
        await until(lambda: sandbox.allocations)
        asking.cancel()
        await asyncio.wait([asking])
        output = await server.stop()
    assert allocated(sandbox) == ["order-1"]
    assert recorded(tmp_path) == {"order-1": True}
    assert "cut off" not in output


async def test_kill_leaves_a_trace(tmp_path: Path) -> None:
    """An order whose server was killed under way is not sent again, and stands among those to look up."""
    sandbox = Sandbox(5, dedupe=False, latency=0.3)
    async with shop("aiohttp_orders", tmp_path, sandbox) as (server, client):
        asking = asyncio.create_task(order(client, "1"))
        await until(lambda: sandbox.allocations)
        server.process.kill()
        await asyncio.wait([asking])
    async with shop("aiohttp_orders", tmp_path, sandbox) as (server, client):
        assert await order(client, "1") == (
            202,
            {"order_id": "1", "request_id": "order-1", "user_id": "EK1", "given": False},
            None,
        )
        await server.stop()
    assert allocated(sandbox) == ["order-1"]
    assert recorded(tmp_path) == {"order-1": False}


@pytest.mark.parametrize("name", ["aiohttp_orders", "prefork_orders"])
async def test_hang_up_ends_a_read_at_once(name: str, tmp_path: Path) -> None:
    """Where hanging up cancels the handler, the call to the API ends with it, long before its deadline."""
    sandbox = Sandbox(5)
    async with shop(name, tmp_path, sandbox) as (server, client):
        assert (await balance(client))[0] == 200
        sandbox.faults.append(Fault("hang", on="balance"))
        calls = sandbox.calls["balance"]
        asking = asyncio.create_task(balance(client))
        await until(lambda: sandbox.calls["balance"] > calls)
        held = len(sandbox._http.connections)
        asking.cancel()
        async with asyncio.timeout(1):  # its deadline is 2 s
            await until(lambda: len(sandbox._http.connections) < held)
        await server.stop()


@pytest.mark.parametrize("name", ORDERS)
async def test_sigterm_under_load(name: str, tmp_path: Path) -> None:
    """Each accepted request is answered, the server is gone within seconds, and what the clients were told, what the
    shop recorded, what it logged as in doubt and what the API did are one and the same.
    """
    sandbox = Sandbox(5, latency=0.05, faults=[Fault("disconnect_after_apply", on="allocate", probability=0.05)])
    told: dict[str, int] = {}
    async with shop(name, tmp_path, sandbox) as (server, client):

        async def keep_ordering(buyer: int) -> None:
            for number in range(10_000):
                try:
                    status, body, _ = await order(client, f"{buyer}-{number}")
                except aiohttp.ClientConnectionError:  # it stopped accepting
                    return
                told[body["request_id"]] = status

        buyers = [asyncio.create_task(keep_ordering(buyer)) for buyer in range(20)]
        await until(lambda: len(told) > 60)
        output = await server.stop()
        await asyncio.gather(*buyers)
    given = {request_id for request_id, status in told.items() if status == 200}
    in_doubt = {request_id for request_id, status in told.items() if status == 202}
    assert given | in_doubt == set(told)
    assert in_doubt
    assert sorted(allocated(sandbox)) == sorted(told)
    assert set(re.findall(r"look up request id ([\w-]+):", output)) == in_doubt
    assert recorded(tmp_path) == {request_id: request_id in given for request_id in told}


async def test_workers_share_the_guard(tmp_path: Path) -> None:
    """Two processes with a wrong password: one refusal in all, whichever of them is asked."""
    sandbox = Sandbox(5)
    async with shop("prefork_orders", tmp_path, sandbox, ENKASH_PASSWORD="wrong") as (server, _):
        await until(lambda: len(workers(server)) == 2)
        for other in workers(server):
            os.kill(other, signal.SIGSTOP)  # so that the one under test accepts, and nobody else
            await until(partial(is_stopped, other))
            async with aiohttp.ClientSession(server.url) as stranger:
                for number in range(3):
                    status, body, _ = await order(stranger, str(number))
                    assert (status, body["error"]) == (503, "LoginRefused")
            os.kill(other, signal.SIGCONT)
        assert sandbox.calls["token"] == 1
        await server.stop()


def is_stopped(process: int) -> bool:
    """Whether a SIGSTOP has arrived, where the system tells."""
    told = Path(f"/proc/{process}/stat")
    return not told.exists() or ") T " in told.read_text("utf-8")


def workers(server: Served) -> list[int]:
    """The process ids of gunicorn's workers."""
    return [int(line.rpartition(" ")[2]) for line in server.printed if "Booting worker with pid" in line]
