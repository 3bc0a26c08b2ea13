import asyncio
import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from enkash_coins import home
from enkash_coins.home import Home, Moved
from enkash_coins.secret import Secret


def test_a_secret_comes_back_only_when_asked() -> None:
    """No way of showing it shows it."""
    value = {"password": "sesame"}
    secret = Secret(value)
    assert secret.reveal() is value
    assert "sesame" not in f"{secret} {secret!r} {secret!s:>5} {[secret]}"
    assert not hasattr(secret, "__dict__")


WAYS: dict[str, Callable[[object], object]] = {
    "pickle": pickle.dumps,
    "pickle protocol 0": lambda secret: pickle.dumps(secret, 0),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_neither_pickled_nor_copied(way: str) -> None:
    """A pickle may end up in a file or a queue: that is refused, without showing the value."""
    with pytest.raises(TypeError, match="a Secret is not pickled or copied") as caught:
        WAYS[way](Secret("sesame"))
    assert "sesame" not in str(caught.value)


def test_a_secret_has_no_other_attributes() -> None:
    """Nothing is hung on it by mistake."""
    secret: Any = Secret("x")
    with pytest.raises(AttributeError):
        secret.note = "sesame"


async def _settle(place: Home) -> Moved | None:
    return place.settle()


def test_a_home_is_the_loop_of_the_first_use() -> None:
    """The first use settles; further uses on the same loop change nothing."""
    place = Home()
    with asyncio.Runner() as runner:
        assert runner.run(_settle(place)) is Moved.FIRST_USE
        assert [runner.run(_settle(place)) for _ in range(3)] == [None, None, None]


def test_a_closed_loop_is_left_behind() -> None:
    """One ``asyncio.run`` after another works: each finds that the loop before is closed."""
    place = Home()
    assert [asyncio.run(_settle(place)) for _ in range(3)] == [
        Moved.FIRST_USE,
        Moved.LOOP_CLOSED,
        Moved.LOOP_CLOSED,
    ]


def test_another_living_loop_is_a_programming_error() -> None:
    """It says what is wrong and what to do; the first loop may go on, and after its end another may settle."""
    place = Home()
    with asyncio.Runner() as first:
        first.run(_settle(place))
        with asyncio.Runner() as second:
            with pytest.raises(RuntimeError, match="belongs to another event loop: make one service per loop"):
                second.run(_settle(place))
            assert first.run(_settle(place)) is None
    assert asyncio.run(_settle(place)) is Moved.LOOP_CLOSED


def test_a_home_needs_a_running_loop() -> None:
    """Outside of any loop there is nothing to settle in."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        Home().settle()


async def test_a_fork_is_noticed_in_the_same_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has a copy of the running loop, and must not use the parent's sockets."""
    place = Home()
    place.settle()
    monkeypatch.setattr(home, "_generation", home._generation + 1)
    assert place.settle() is Moved.FORKED
    assert place.settle() is None


FORKING = """
import asyncio, os
from enkash_coins.home import Home

place = Home()

async def child():
    print(place.settle(), place.settle(), flush=True)

async def parent():
    print(place.settle(), flush=True)
    if os.fork():
        os.wait()
        print(place.settle(), flush=True)
    else:
        asyncio.run(child())
        os._exit(0)

asyncio.run(parent())
"""


def test_a_real_fork_is_noticed_by_the_child_only() -> None:
    """The parent goes on as if nothing had happened."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Moved.FIRST_USE", "Moved.FORKED", "None", "None"]
