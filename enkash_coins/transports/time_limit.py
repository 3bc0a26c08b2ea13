"""One time limit for many tasks, kept by one timer.

``asyncio.timeout`` makes a timer for each request, which costs a twentieth of the whole request's CPU
(``python -m benchmarks.cpu``). The requests of a transport have the same limit, so they end in the order in which they
began, and one timer for the oldest is enough. A request with a limit of its own has a timer of its own.
"""

import asyncio

import attrs


@attrs.define(eq=False)
class Span:
    """One task's time."""

    task: "asyncio.Task[object]"
    ends: float  # loop seconds
    cancelling: int
    own_timer: asyncio.TimerHandle | None = None
    expired: bool = False

    def expire(self) -> None:
        """Cut the task off."""
        self.expired = True
        self.task.cancel()


class TimeLimit:
    """Cancels each task that has not called ``stop`` within so many seconds of ``start``; lives in one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._spans: dict[Span, None] = {}  # in the order in which they end
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float | None = None) -> Span:
        """Begin the current task's time: so many seconds, or as many as all have."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request can only be sent from within a task")
        if seconds is not None:
            span = Span(task, self._loop.time() + seconds, task.cancelling())
            span.own_timer = self._loop.call_at(span.ends, span.expire)
            return span
        span = Span(task, self._loop.time() + self._seconds, task.cancelling())
        self._spans[span] = None
        if self._timer is None:
            self._timer = self._loop.call_at(span.ends, self._sweep)
        return span

    def stop(self, span: Span) -> bool:
        """End it: ``True`` if the task was cancelled because the time was over, and for nothing else."""
        if not span.expired:
            if span.own_timer is None:
                self._spans.pop(span, None)
            else:
                span.own_timer.cancel()
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
            span.expire()
