"""What many of these tests begin with."""

from collections.abc import AsyncIterator

import pytest

from tests.wire.server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that answers as the documents show, until told otherwise."""
    async with Server() as server:
        yield server
