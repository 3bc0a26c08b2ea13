"""Every test in this folder runs on a virtual clock, with the same dice each time."""

import random
from collections.abc import Callable, Mapping

import pytest

from tests.simulator.clock import VirtualClockLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualClockLoop]]:
    """What pytest-asyncio makes the loops of this folder's tests with."""
    return {"virtual": VirtualClockLoop}


@pytest.fixture(autouse=True)
def same_dice() -> None:
    """Backoff throws the dice of the random module: seeded, so that a failure comes back."""
    random.seed(2)
