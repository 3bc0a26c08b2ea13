"""What happens to calls when the event loop is blocked for a while: by a spreadsheet library, a debugger, Ctrl-Z.

The blocking is real: what is tested is in what order a loop finds its timers and its sockets.
"""

import asyncio
import time

import pytest

from enkash_coins import CoinAllocation, CoinEventService, MemoryGuard, PasswordGrant
from enkash_coins.sandbox import Fault, Sandbox

TIMEOUT = 0.5


def gifts(count: int) -> list[CoinAllocation]:
    """So many different allocations."""
    return [CoinAllocation(company_id="CEK1", event="E", user_id=f"EK{number}") for number in range(count)]


def block() -> None:
    """Let the loop do nothing for longer than the time limit."""
    time.sleep(1.5 * TIMEOUT)


async def test_answers_that_have_arrived_count() -> None:
    """A consumer that blocks the loop twice makes no answered allocation doubtful."""
    with Sandbox() as sandbox:
        async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, timeout=TIMEOUT) as coins:
            stream = coins.allocate_many(gifts(60), concurrency=16)
            async for outcome in stream:
                assert outcome.ok, outcome.error
                if sum(stream.counts.values()) in (3, 40):
                    block()
    assert len(sandbox.allocations) == 60


async def test_a_deadline_lets_an_answer_count() -> None:
    """The deadline of a whole call is kept in the same way."""
    with Sandbox(faults=[Fault("latency", seconds=0.02)]) as sandbox:
        async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, deadline=TIMEOUT) as coins:
            await coins.balance("EK1")  # logged in, and connected
            call = asyncio.create_task(coins.allocate(company_id="CEK1", event="E", user_id="EK1"))
            while not sandbox.calls["allocate"]:  # noqa: ASYNC110  # another thread's
                await asyncio.sleep(0)
            block()
            assert (await call).request_id


async def test_a_login_that_worked_is_no_lock_out() -> None:
    """Two logins during which the loop is blocked, and the third still goes out."""
    with Sandbox() as sandbox:
        for _ in range(2):
            grant = PasswordGrant(*credentials(sandbox), guard=MemoryGuard())
            async with CoinEventService.connect(sandbox.base_url, auth=grant, timeout=TIMEOUT) as coins:
                before = sandbox.calls["token"]
                call = asyncio.create_task(coins.balance("EK1"))
                while sandbox.calls["token"] == before:  # noqa: ASYNC110  # another thread's
                    await asyncio.sleep(0)
                block()
                assert isinstance(await call, int)


def credentials(sandbox: Sandbox) -> list[str]:
    """Of the sandbox's account."""
    names = ("ENKASH_CLIENT_ID", "ENKASH_CLIENT_SECRET", "ENKASH_USERNAME", "ENKASH_PASSWORD")
    return [sandbox.environment[name] for name in names]


async def test_a_connection_that_the_server_has_closed_carries_no_allocation() -> None:
    """The loop was blocked while idle ones were closed: it looks at them before it sends what may not be repeated."""
    with Sandbox(idle_timeout=TIMEOUT / 2) as sandbox:
        async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth) as coins:
            for gift in gifts(6):
                await coins.allocate(company_id="CEK1", event="E", user_id=gift.user_id)
                block()
    assert len(sandbox.allocations) == 6


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_server_that_closes_every_connection_unannounced(concurrency: int) -> None:
    """No allocation is sent on a connection that is about to end."""
    with Sandbox(faults=[Fault("close")]) as sandbox:
        async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth) as coins:
            failures = await coins.allocate_many(gifts(100), concurrency=concurrency).failures()
    assert failures == []
    assert len(sandbox.allocations) == 100
