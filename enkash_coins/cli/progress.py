"""How far it has come: a bar on a terminal, else a plain line now and then."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from rich.console import Console

from enkash_coins.bulk.application import Application

_REDRAWN = 0.1
_PLAIN_LINE = 5.0


def progress(application: Application, console: Console) -> AbstractAsyncContextManager[None]:
    """Show it while the context lasts."""
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return _bar(application, console)
    return plain_lines(application)


@asynccontextmanager
async def _bar(application: Application, console: Console) -> AsyncIterator[None]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(complete_style="green"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[not_ok]}", style="red"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=application.rows.count, rate="", not_ok="")
        began = time.monotonic()

        def draw() -> None:
            done, not_ok = application.done, application.done - application.ok
            rate = f"{done / (time.monotonic() - began):,.0f}/s"
            bar.update(task, completed=done, rate=rate, not_ok=f"{not_ok:,} not ok" if not_ok else "", refresh=True)

        async with _repeated(draw, _REDRAWN):
            yield
        draw()


@asynccontextmanager
async def plain_lines(application: Application, *, seconds: float = _PLAIN_LINE) -> AsyncIterator[None]:
    """A line every few seconds."""

    def say() -> None:
        counts = ", ".join(f"{count:,} {status}" for status, count in application.counts.items())
        print(f"{application.done:,} of {application.rows.count:,} rows: {counts or 'none yet'}", file=sys.stderr)

    async with _repeated(say, seconds):
        yield


@asynccontextmanager
async def _repeated(action: Callable[[], None], seconds: float) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            action()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
