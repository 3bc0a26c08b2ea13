"""A loop that sees where in the package every task waits, and where a cancellation meets it."""

import ast
import asyncio
import gc
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from contextvars import Context
from pathlib import Path
from types import FrameType
from typing import Any, Final

import enkash_coins

PACKAGE: Final = Path(enkash_coins.__file__).parent
_PREFIX: Final = f"{PACKAGE}/"
Point = tuple[str, int]  # a module's path within the package, and a line


class Tracer:
    """A task factory: every task's coroutine is stepped by this, and looked at whenever it waits.

    Attributes:
        seen: await points at which a task has waited.
        hit: how often a cancellation came while a task waited there.
        cancelled_at: loop seconds.
        turns_since: turns of the loop from then until the watched task had ended.
    """

    def __init__(self) -> None:
        self.seen: Counter[Point] = Counter()
        self.hit: Counter[Point] = Counter()
        self._watched: asyncio.Task[Any] | None = None
        self._waits = 0  # so often the watched task has waited, or everyone
        self._cancel_at = -1
        self._turns = 0
        self._everyone = False
        self._counting = False
        self.cancelled_at = 0.0
        self.turns_since = 0

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """See every task of this loop from now on."""
        loop.set_task_factory(self._make)  # type: ignore[arg-type]  # the stepped coroutine is one by its methods

    def _make(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        stepped = _Stepped(coro, self)
        task = asyncio.Task(stepped, loop=loop, context=context)
        stepped.task = task
        return task

    def watch(self, task: asyncio.Task[Any], *, cancel_at: int, turns: int, everyone: bool) -> None:
        """Cancel this task when it waits for the n-th time (from 0), or so many turns of the loop later.

        Args:
            everyone: and all others that wait within the package, as at the end of a program; their waits count, too.
        """
        self._watched, self._waits, self._counting = task, 0, False
        self._cancel_at, self._turns, self._everyone = cancel_at, turns, everyone

    def rest(self) -> None:
        """Count no more."""
        self._counting = False

    @property
    def cancelled(self) -> bool:
        """Whether it came to that."""
        return self._counting

    def waits(self, task: asyncio.Task[Any] | None, coro: Coroutine[Any, Any, Any]) -> None:
        """A task has come to where it waits."""
        where = list(points(coro))
        self.seen.update(where)
        if self._watched is not None and (task is self._watched or (self._everyone and where)):
            self._waits += 1
            if self._waits == self._cancel_at + 1:
                self._watched.get_loop().call_soon(self._cancel, self._watched, self._turns)

    def _cancel(self, task: asyncio.Task[Any], turns: int) -> None:
        if task.done():
            return
        if turns:
            task.get_loop().call_soon(self._cancel, task, turns - 1)
        else:
            self._counting = True
            self.cancelled_at, self.turns_since = task.get_loop().time(), 0
            others = asyncio.all_tasks() if self._everyone else ()
            for doomed in {task, *(other for other in others if any(points(other.get_coro())))}:
                doomed.cancel()
            self._count_turns(task)

    def _count_turns(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self.turns_since += 1
            task.get_loop().call_soon(self._count_turns, task)

    def meets(self, coro: Coroutine[Any, Any, Any]) -> None:
        """A cancellation comes to where a task waits."""
        if self._counting:
            self.hit.update(points(coro))


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that tells of its waits."""

    def __init__(self, coro: Coroutine[Any, Any, Any], tracer: Tracer) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.stepped = coro
        self._tracer = tracer

    def send(self, value: Any) -> Any:  # noqa: ANN401  # the protocol's
        awaited = self.stepped.send(value)
        self._tracer.waits(self.task, self.stepped)
        return awaited

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:  # noqa: ANN401  # the protocol's
        error = kind if value is None else value
        if isinstance(error, asyncio.CancelledError) or error is asyncio.CancelledError:
            self._tracer.meets(self.stepped)
        awaited = self.stepped.throw(error)
        self._tracer.waits(self.task, self.stepped)
        return awaited

    def close(self) -> None:
        self.stepped.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.stepped.__await__()


def points(coro: object) -> Iterator[Point]:
    """The package's lines among those that a coroutine waits in, outermost first."""
    if isinstance(coro, _Stepped):
        coro = coro.stepped
    while coro is not None:
        frame: FrameType | None = next(
            (found for name in ("cr_frame", "gi_frame", "ag_frame") if (found := getattr(coro, name, None))), None
        )
        if frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(_PREFIX):
                yield path.removeprefix(_PREFIX), frame.f_lineno
            coro = next(
                (next_ for name in ("cr_await", "gi_yieldfrom", "ag_await") if (next_ := getattr(coro, name, None))),
                None,
            )
        else:  # what `__await__` of a coroutine and `anext` of a generator return shows nothing of itself
            coro = next((held for held in gc.get_referents(coro) if isinstance(held, Coroutine | AsyncGenerator)), None)


def written(modules: tuple[str, ...]) -> dict[Point, str]:
    """Every ``await``, ``async for`` and ``async with`` in the text of these modules, with its text."""
    found = {}
    for module in modules:
        text = (PACKAGE / module).read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Await):
                found[module, node.lineno] = ast.unparse(node)
            elif isinstance(node, ast.AsyncFor):
                found[module, node.lineno] = f"async for … in {ast.unparse(node.iter)}"
            elif isinstance(node, ast.AsyncWith):
                found[module, node.lineno] = f"async with {ast.unparse(node.items[0].context_expr)}"
    return found
