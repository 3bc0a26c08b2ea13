"""An event loop on a virtual clock: a minute of waiting takes no time, and the same test takes the same steps."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class Deadlock(AssertionError):
    """Whoever waits would wait for ever."""


class _Jump(selectors.SelectSelector):
    """Where a real loop would wait for sockets, the clock jumps to the next timer."""

    def __init__(self, loop: "VirtualClockLoop") -> None:
        super().__init__()
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401  # selectors' own
        # The first is the loop's own pipe, by which threads and signals would wake it.
        if len(self.get_map()):
            raise RuntimeError("a virtual clock cannot wait for sockets, pipes or processes")
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.jump(timeout)
        return []


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Begins at second 0; time passes only when every task waits, and then at once.

    Threads, sockets and processes live in real time and are refused.

    Raises (out of whatever runs the loop):
        Deadlock: every task waits, and no timer is set; or some only go round and round.
        AssertionError: something that a loop would only log, such as an error in a callback.

    Attributes:
        rounds_left: so often may the loop go round; ten thousand rows with retries take about 50,000.
    """

    def __init__(self) -> None:
        self.rounds_left = 300_000
        self._now = 0.0
        self._troubles: list[dict[str, Any]] = []
        self._scheduled: list[asyncio.TimerHandle]  # asyncio's own, as is the next
        self._clock_resolution: float
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def jump(self, seconds: float | None) -> None:
        """Let so many seconds pass; ``None`` means that no timer is set."""
        if self._troubles:
            trouble = self._troubles.pop(0)
            raise AssertionError(trouble["message"]) from trouble.get("exception")
        self.rounds_left -= 1
        if seconds is None or not self.rounds_left:
            raise Deadlock(f"at second {self._now:g} of the virtual clock all wait for ever:\n{self._who_waits()}")
        self._now += seconds
        # asyncio lets a timer fire up to a nanosecond early. Whoever then waits for the rest, and others beside him who
        # do the same, would go round for ever, if no time passed.
        if self._scheduled and self._now < self._scheduled[0].when() < self._now + self._clock_resolution:
            self._now = self._scheduled[0].when()

    def run_in_executor(self, executor: object, func: object, *args: object) -> NoReturn:
        """Refused: a thread would take real time."""
        raise RuntimeError("a virtual clock cannot wait for threads")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep it, to be raised before time goes on."""
        self._troubles.append(context)

    def _who_waits(self) -> str:
        lines = []
        for task in asyncio.all_tasks(self):
            frames = task.get_stack(limit=1)
            where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "nowhere"
            lines.append(f"  {task.get_name()} in {getattr(task.get_coro(), '__qualname__', '?')}, {where}")
        return "\n".join(sorted(lines)) or "  no task at all"


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a virtual clock of its own."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)
