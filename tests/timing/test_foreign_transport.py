import asyncio

import pytest

from enkash_coins import CoinEventService, Request, Response, RetryPolicy, TimedOut


class Forgetful:
    """A transport that does not keep the time limit."""

    async def send(self, request: Request, /) -> Response:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        """Nothing is held."""


async def test_a_transport_that_forgets_its_time_limit_is_slow_and_not_fatal() -> None:
    """The service ends an attempt itself, 5 seconds after its timeout; a write is then in doubt."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with CoinEventService(Forgetful(), timeout=10, retry=RetryPolicy(attempts=1)) as coins:
        with pytest.raises(TimedOut) as caught:
            await coins.update("WCC1", amount=1)
    assert loop.time() - began == pytest.approx(15)
    assert caught.value.maybe_applied
