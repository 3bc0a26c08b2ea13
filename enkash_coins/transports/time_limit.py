"""One time limit for many tasks, kept by one timer.

``asyncio.timeout`` makes a timer for each request, which costs a twentieth of the whole request's CPU
(``python -m benchmarks.cpu``). All requests of a transport have the same limit, so they end in the order in which they
began, and one timer for the oldest is enough.
"""

import asyncio

import attrs


@attrs.define(eq=False)
class Span:
    """One task's time."""

    task: "asyncio.Task[object]"
    ends: float  # loop seconds
    cancelling: int
    expired: bool = False


class TimeLimit:
    """Cancels each task that has not called ``stop`` within so many seconds of ``start``; lives in one event loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._spans: dict[Span, None] = {}  # in the order in which they end
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Span:
        """Begin the current task's time."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request can only be sent from within a task")
        span = Span(task, self._loop.time() + self.seconds, task.cancelling())
        self._spans[span] = None
        if self._timer is None:
            self._timer = self._loop.call_at(span.ends, self._sweep)
        return span

    def stop(self, span: Span) -> bool:
        """End it: ``True`` if the task was cancelled because the time was over, and for nothing else."""
        if not span.expired:
            self._spans.pop(span, None)
            return False
        return span.task.uncancel() <= span.cancelling

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._spans:
            span = next(iter(self._spans))
            if span.ends > now:
                self._timer = self._loop.call_at(span.ends, self._sweep)
                return
            del self._spans[span]
            span.expired = True
            span.task.cancel()
