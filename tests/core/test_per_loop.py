import asyncio
import subprocess
import sys

import pytest

from enkash_coins import per_loop
from enkash_coins.per_loop import PerLoop, WrongLoop


def counting() -> PerLoop[int]:
    """Makes 1, then 2, and so on."""
    return PerLoop[int](lambda before: (before or 0) + 1)


async def _get(kept: PerLoop[int]) -> int:
    return kept.get()


def test_what_belongs_to_a_loop_is_made_at_its_first_use() -> None:
    """Nothing is made before, and further uses on the same loop make nothing new."""
    kept = counting()
    assert kept.latest is None
    with asyncio.Runner() as runner:
        assert [runner.run(_get(kept)) for _ in range(3)] == [1, 1, 1]


def test_a_closed_loop_is_left_behind() -> None:
    """One ``asyncio.run`` after another works: each finds that the loop before is closed."""
    kept = counting()
    assert [asyncio.run(_get(kept)) for _ in range(3)] == [1, 2, 3]


def test_another_living_loop_is_a_programming_error() -> None:
    """It says what is wrong and what to do; the first loop may go on, and after its end comes another."""
    kept = counting()
    with asyncio.Runner() as first:
        first.run(_get(kept))
        with asyncio.Runner() as second:
            with pytest.raises(WrongLoop, match="belongs to another event loop: make one service per loop"):
                second.run(_get(kept))
            assert first.run(_get(kept)) == 1
    assert asyncio.run(_get(kept)) == 2


async def test_a_fork_is_noticed_in_the_same_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has a copy of the running loop, and must not use the parent's sockets."""
    kept = counting()
    kept.get()
    monkeypatch.setattr(per_loop, "_forks", per_loop._forks + 1)
    assert kept.has_ended()
    assert [kept.get(), kept.get()] == [2, 2]


FORKING = """
import asyncio, os
from enkash_coins.per_loop import PerLoop

kept = PerLoop(lambda before: (before or 0) + 1)

async def get():
    print(kept.get(), flush=True)

async def parent():
    await get()
    if os.fork():
        os.wait()
        await get()
    else:
        asyncio.run(get())
        os._exit(0)

asyncio.run(parent())
"""


def test_a_real_fork_is_noticed_by_the_child_only() -> None:
    """The parent goes on as if nothing had happened."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "2", "1"]
