"""The clock that all other tests of this folder trust."""

import asyncio
import socket
import time

import pytest

from tests.simulator.clock import Deadlock, run_virtual


async def test_waiting_takes_virtual_time_only() -> None:
    """A day's sleep ends after exactly a day on the loop's clock, and at once on the wall's."""
    loop, wall = asyncio.get_running_loop(), time.monotonic()
    assert loop.time() == 0
    await asyncio.sleep(86_400)
    assert loop.time() == 86_400
    assert time.monotonic() - wall < 5


async def test_timers_fire_in_order_and_at_their_time() -> None:
    """Whoever sleeps less wakes first, however they were started; each wakes at its own second."""
    loop, woken = asyncio.get_running_loop(), list[tuple[float, float]]()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((seconds, loop.time()))

    await asyncio.gather(*map(sleep, (3, 0.1, 100_000, 2)))
    assert woken == [(0.1, 0.1), (2, 2), (3, 3), (100_000, 100_000)]


async def test_timeouts_are_virtual() -> None:
    """A timeout fires at its second."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await asyncio.sleep(8)
    assert asyncio.get_running_loop().time() == 7


def test_waiting_for_nothing_fails_at_once() -> None:
    """A deadlock is an error that says when it came about and who waits where, instead of a test that hangs."""

    async def wait_for_nobody() -> None:
        await asyncio.sleep(5)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"(?s)at second 5 .*wait_for_nobody, .*test_virtual_clock\.py:\d+"):
        run_virtual(wait_for_nobody())


@pytest.mark.parametrize("pause", [0, 3600])
def test_polling_for_ever_fails(pause: float) -> None:
    """Who sleeps again and again is told so in the end, instead of never coming back."""

    async def poll() -> None:
        while True:  # noqa: ASYNC110  # the very mistake
            await asyncio.sleep(pause)

    with pytest.raises(Deadlock, match="all wait for ever"):
        run_virtual(poll())


def test_error_in_a_callback_fails_at_once() -> None:
    """What asyncio would only log, ends the run: a stand-in that breaks must not look like a silent server."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(3, dict[str, int]().__getitem__, "missing")
        await asyncio.sleep(5)

    with pytest.raises(AssertionError, match="Exception in callback") as caught:
        run_virtual(main())
    assert isinstance(caught.value.__cause__, KeyError)


async def test_threads_are_refused() -> None:
    """A thread takes real time, of which this clock knows nothing."""
    with pytest.raises(RuntimeError, match="cannot wait for threads"):
        await asyncio.to_thread(print)
    with pytest.raises(RuntimeError, match="cannot wait for threads"):
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def test_sockets_are_refused() -> None:
    """A socket takes real time as well."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        with pytest.raises(RuntimeError, match="cannot wait for sockets"):
            await asyncio.get_running_loop().sock_recv(near, 1)


async def test_waits_shorter_than_the_clock_can_tell_come_to_an_end() -> None:
    """A timer may fire up to a nanosecond early: tasks that then wait for the rest get on, however many they are."""
    loop = asyncio.get_running_loop()
    gate = loop.time() + 0.3

    async def wait(turns: int) -> None:
        for _ in range(turns):  # so that in every turn of the loop one of them is ready
            await asyncio.sleep(0)
        for _ in range(100):
            if loop.time() >= gate:
                return
            await asyncio.sleep(gate - loop.time())
        raise AssertionError("round and round")

    await asyncio.sleep(0.3 - 1e-10)
    await asyncio.gather(*[wait(turns) for turns in range(5)])
    assert loop.time() == pytest.approx(gate)
