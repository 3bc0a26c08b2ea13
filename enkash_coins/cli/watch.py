"""The work on a run under the eyes of the user, who may interrupt it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from enkash_coins.bulk import Run, State
from enkash_coins.cli.exits import say
from enkash_coins.cli.progress import Progress, progress


async def watched(plan: Callable[..., Awaitable[Run]]) -> Run:
    """Have a run planned; what was read so far is kept when it is interrupted."""
    shown = Progress(State.UNREAD)
    task = asyncio.ensure_future(plan(on_progress=shown))
    with on_signals(task.cancel):
        try:
            async with progress(shown):
                return await task
        except asyncio.CancelledError:
            pass
    raise KeyboardInterrupt


async def carry_out(run: Run, apply: Callable[..., Awaitable[object]]) -> None:
    """Have a run applied; when it is interrupted, rows under way may come to an end."""
    shown = Progress(State.PLANNED)

    def interrupted() -> None:
        if not shown.stopped:
            say("stopping: rows under way get 2 s to come to an end; Ctrl-C again stops at once")
        shown.stopped = True
        run.stop("interrupted")

    with on_signals(interrupted):
        async with progress(shown):
            await apply(on_progress=shown)


@contextmanager
def on_signals(action: Callable[[], object]) -> Iterator[None]:
    """Do this when the user or the system wants the command to end."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
