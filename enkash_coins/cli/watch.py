"""The work on a run under the eyes of the user, who may be asked, and may interrupt it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from enkash_coins.bulk import BadFile, Run, State
from enkash_coins.cli.ending import stopped_by
from enkash_coins.cli.exits import say
from enkash_coins.cli.progress import Progress, progress


async def watched(plan: Callable[..., Awaitable[Run]]) -> Run:
    """Have a run planned; what was read so far is kept when it is interrupted."""
    shown = Progress(State.UNREAD)
    async with progress(shown):
        return await plan(on_progress=shown)


async def carry_out(run: Run, apply: Callable[..., Awaitable[object]]) -> None:
    """Have a run applied; when it is interrupted, rows under way may come to an end."""
    shown = Progress(State.PLANNED)

    def stop() -> None:
        run.stop("interrupted")
        if not shown.stopped:
            say("stopping: rows under way may come to an end; Ctrl-C again stops at once")
        shown.stopped = True

    last_words = f"interrupted: what was under way may have been applied; see enkash-coins show {run.name}"
    with stopped_by(stop, seconds=4.0, last_words=last_words):
        async with progress(shown):
            await apply(on_progress=shown)


def refuse_without_terminal(*, yes: bool) -> None:
    """Raise ``BadFile`` where nobody would see a question, or could answer it."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadFile("there is no terminal to ask on: --yes is required to write")


async def agreed(question: str) -> bool:
    """Whether the user says yes; a signal ends the question like anything else."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(0, typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(0)
    try:
        return os.read(0, 1024).strip().lower() in (b"y", b"yes")
    except OSError:  # the terminal is gone
        return False
