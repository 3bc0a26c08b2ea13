"""How far it has come: a bar on a terminal, else a plain line now and then."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from rich.console import Console

from enkash_coins.bulk import Counts, State
from enkash_coins.bulk.comparison import OK

_REDRAWN = 0.1
_PLAIN_LINE = 5.0


class Progress:
    """Rows by state, as they were told last.

    Args:
        waiting: the state of rows whose turn has not come.
    """

    def __init__(self, waiting: State) -> None:
        self.counts: Counts = Counts()
        self.stopped = False
        self._waiting = waiting

    def __call__(self, counts: Counts) -> None:
        """Take note of them."""
        self.counts = counts

    @property
    def done(self) -> int:
        """Rows that have come to an end, or are planned."""
        return self.counts.total() - self.counts[self._waiting]

    @property
    def not_ok(self) -> int:
        """Rows that will not be as wanted."""
        return self.done - sum(self.counts[state] for state in (*OK, State.PLANNED) if state is not self._waiting)


def progress(shown: Progress) -> AbstractAsyncContextManager[None]:
    """Show it while the context lasts."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return _bar(shown, console)
    return plain_lines(shown)


@asynccontextmanager
async def _bar(shown: Progress, console: Console) -> AsyncIterator[None]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(complete_style="green"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[not_ok]}", style="red"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=None, rate="", not_ok="")
        began = time.monotonic()

        def draw() -> None:
            rate = f"{shown.done / (time.monotonic() - began):,.0f}/s"
            not_ok = f"{shown.not_ok:,} not ok" if shown.not_ok else ""
            bar.update(
                task, total=shown.counts.total() or None, completed=shown.done, rate=rate, not_ok=not_ok, refresh=True
            )

        async with _repeated(draw, _REDRAWN):
            yield
        draw()


def plain_lines(shown: Progress, *, seconds: float = _PLAIN_LINE) -> AbstractAsyncContextManager[None]:
    """A line every few seconds."""

    def say() -> None:
        counts = ", ".join(f"{count:,} {state}" for state, count in shown.counts.items() if count)
        print(f"{shown.done:,} of {shown.counts.total():,} rows: {counts or 'none yet'}", file=sys.stderr)

    return _repeated(say, seconds)


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
