"""What tests of runs share; each file has a sandbox of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enkash_coins import CoinEventService, RetryPolicy
from enkash_coins.sandbox import Sandbox


@pytest.fixture
async def coins(sandbox: Sandbox) -> AsyncIterator[CoinEventService]:
    """A service that does not wait long before it tries again."""
    async with CoinEventService.connect(
        sandbox.base_url, auth=sandbox.auth, retry=RetryPolicy(attempts=3, base=0.001), concurrency=4
    ) as coins:
        yield coins


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the run is."""
    return tmp_path / "june.run"
