# ruff: noqa: D103, T201  # a program prints, and two steps of programs say what they do by their names
"""Whole programs, run by ``test_processes`` as ``python programs.py NAME,… URL [CAFILE]``; each prints what it saw."""

import asyncio
import contextlib
import gc
import logging
import os
import ssl
import sys
from collections.abc import Callable

from enkash_coins import CoinEventService, CoinEventUpdate, EnkashError, RetryPolicy, ServiceClosed

URL = sys.argv[2]
TLS = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None


def connect() -> CoinEventService:
    # Few connections, all of them made by the first rows: what is cut off later is requests, not TLS handshakes.
    return CoinEventService.connect(URL, auth="a-token", ssl_context=TLS, retry=RetryPolicy(attempts=1), concurrency=4)


async def use(coins: CoinEventService) -> None:
    config = await coins.get("WCC12345")
    updates = [CoinEventUpdate(f"WCC{number}", amount=10) for number in range(20)]
    failures = await coins.update_many(updates).failures()
    print(config.amount, len(failures))


def normal() -> None:
    """Use, and leave the ``async with``."""

    async def main() -> None:
        async with connect() as coins:
            await use(coins)

    asyncio.run(main())


def closed_by_hand() -> None:
    """No ``async with``, but ``aclose()``, twice."""

    async def main() -> None:
        coins = connect()
        await use(coins)
        await coins.aclose()
        await coins.aclose()
        with contextlib.suppress(ServiceClosed):
            await coins.get("WCC12345")
            print("not closed")

    asyncio.run(main())


def never_used() -> None:
    """Connecting opens nothing, so that a service that nobody used needs no closing."""
    connect()

    async def main() -> None:
        connect()
        async with connect():
            pass
        await connect().aclose()

    asyncio.run(main())


def exit_inside() -> None:
    """The program ends inside the ``async with``, with rows under way."""

    async def main() -> None:
        async with connect() as coins:
            await use(coins)
            async for _ in coins.update_many(CoinEventUpdate(f"WCC{number}", amount=10) for number in range(99)):
                sys.exit(7)

    asyncio.run(main())


def interrupted() -> None:
    """Somebody presses Ctrl-C in the middle of a stream."""

    async def main() -> None:
        async with connect() as coins:
            await use(coins)
            async for outcome in coins.update_many(CoinEventUpdate(f"WCC{number}", amount=10) for number in range(99)):
                if outcome.index == 10:
                    raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
    print("interrupted")


def left_early() -> None:
    """A stream that is left by ``break``, and only the service is closed."""

    async def main() -> None:
        async with connect() as coins:
            await use(coins)
            async for _ in coins.update_many(CoinEventUpdate(f"WCC{number}", amount=10) for number in range(99)):
                break

    asyncio.run(main())


def two_runs() -> None:
    """One service in two runs of the loop, one after the other, closed in the second."""
    coins = connect()

    async def close() -> None:
        await use(coins)
        await coins.aclose()

    asyncio.run(use(coins))
    gc.collect()
    asyncio.run(close())


def closed_in_another_run() -> None:
    """One service used in one run, closed in the next."""
    coins = connect()
    asyncio.run(use(coins))
    asyncio.run(coins.aclose())


def other_loop() -> None:
    """A service used in the loop of another thread while its own is running."""

    async def main() -> None:
        async with connect() as coins:
            await use(coins)
            for call in (coins.get("WCC12345"), use(coins)):
                try:
                    await asyncio.to_thread(asyncio.run, call)
                except RuntimeError as error:
                    print("another event loop" in str(error))
            await use(coins)

    asyncio.run(main())


def _in_a_child(work: Callable[[], None]) -> None:
    """Do this in a fork, and wait for its end; what it prints is ours."""
    sys.stdout.flush()
    if child := os.fork():
        print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return
    code = 1
    try:
        work()
        gc.collect()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        sys.stdout.flush()
        os._exit(code)


def fork_between_runs() -> None:
    """A service that was used before a fork works in the child and, on the old connection, in the parent."""
    coins = connect()

    async def child() -> None:
        await coins.get("CHILD")
        await coins.get("CHILD")
        await coins.aclose()

    with asyncio.Runner() as runner:
        runner.run(_get(coins, "PARENT"))
        _in_a_child(lambda: asyncio.run(child()))
        runner.run(_get(coins, "PARENT"))
        runner.run(coins.aclose())


def fork_inside_a_run() -> None:
    """The same from within a coroutine."""

    async def main() -> None:
        async with connect() as coins:
            await coins.get("PARENT")
            await asyncio.sleep(0.01)
            _in_a_child(lambda: asyncio.run(_get(coins, "CHILD", close=True)))
            await coins.get("PARENT")

    asyncio.run(main())


async def _get(coins: CoinEventService, name: str, *, close: bool = False) -> None:
    await coins.get(name)
    if close:
        await coins.aclose()


def close_while_in_flight() -> None:
    """``aclose()`` when told to, while calls wait for an answer or for their turn."""

    async def main() -> None:
        coins = connect()
        tasks = [asyncio.create_task(_outcome(coins, number)) for number in range(40)]
        await asyncio.to_thread(sys.stdin.readline)
        await coins.aclose()
        ends = await asyncio.gather(*tasks)
        print(*(f"{ends.count(end)} {end}" for end in sorted(set(ends))), sep=", ")

    asyncio.run(main())


def cancel_while_in_flight() -> None:
    """Calls that wait for an answer are cancelled when told to, and the service is closed at once."""

    async def main() -> None:
        async with connect() as coins:
            tasks = [asyncio.create_task(coins.update(f"HANG{number}", amount=1)) for number in range(40)]
            await asyncio.to_thread(sys.stdin.readline)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            print(sum(task.cancelled() for task in tasks), "cancelled")

    asyncio.run(main())


async def _outcome(coins: CoinEventService, number: int) -> str:
    try:
        await coins.update(f"HANG{number}", amount=1)
    except EnkashError as error:
        return "in doubt" if error.maybe_applied else "not sent"
    return "answered"


if __name__ == "__main__":
    # Not what stderr is looked at for: our own warning about rows that are cut off, and asyncio's about a busy machine.
    logging.getLogger("enkash_coins").addHandler(logging.NullHandler())
    logging.getLogger("asyncio").addFilter(lambda record: "took %.3f seconds" not in str(record.msg))
    for name in sys.argv[1].split(","):
        globals()[name]()
        gc.collect()
