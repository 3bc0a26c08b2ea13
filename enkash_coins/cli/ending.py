"""SIGINT, SIGTERM and SIGHUP: each ends any command alike. It stops first, and tells afterwards."""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeVar

import attrs

T = TypeVar("T")
_CODE = 130
_signalled = threading.Event()


@attrs.frozen
class _Stop:
    loop: asyncio.AbstractEventLoop
    action: Callable[[], object]
    seconds: float
    last_words: str


_stops: list[_Stop] = []  # the innermost is the last


def listen() -> None:
    """Let the signals end this process as written here, but for those that it was started to ignore, as by nohup.

    A thread of its own waits for them: it hears them even while the others wait for a silent standard input.
    """
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    numbers = {number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    if numbers:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        threading.Thread(target=_wait_for, args=(numbers,), daemon=True).start()


def _wait_for(numbers: set[signal.Signals]) -> None:
    while True:
        signal.sigwait(numbers)
        _signalled.set()
        try:
            stop = _stops[-1]
        except IndexError:
            _end("interrupted")
        timer = threading.Timer(stop.seconds, _end, (stop.last_words,))
        timer.daemon = True
        timer.start()
        with suppress(RuntimeError):  # the loop has just been closed
            stop.loop.call_soon_threadsafe(stop.action)


@contextmanager
def stopped_by(
    action: Callable[[], object] | None = None, *, seconds: float = 1.5, last_words: str = "interrupted"
) -> Iterator[None]:
    """Here a signal does this.

    Args:
        action: in the event loop; ``None`` cancels the task.
        seconds: until the process has to be over after that; else it ends in the middle.
        last_words: what is said then.
    """
    if action is None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # what is awaited runs in one
        action = task.cancel
    _stops.append(_Stop(asyncio.get_running_loop(), action, seconds, last_words))
    try:
        yield
    finally:
        _stops.pop()


def run(command: Coroutine[object, object, T]) -> T:
    """Run a command that a signal cancels."""

    async def until_stopped() -> T:
        with stopped_by():
            return await command

    runner = asyncio.Runner()
    try:
        return runner.run(until_stopped())
    finally:
        if not _signalled.is_set():  # closing waits for threads, such as one that asks a silent name server
            runner.close()


def leave(code: int) -> int:
    """Returns the exit code, unless there was a signal: that ends the process here, whatever threads still wait for."""
    sys.stdout.flush()
    if _signalled.is_set():
        os._exit(_CODE)
    return code


def _end(last_words: str) -> NoReturn:
    with suppress(OSError):
        if select.select((), (2,), (), 0)[1]:  # nobody may read it
            os.write(2, f"enkash-coins: {last_words}\n".encode())
    os._exit(_CODE)
