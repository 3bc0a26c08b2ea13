"""A 429 is not a row's own fault: it uses up none of the row's attempts."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from enkash_coins import CoinEventUpdate, OutcomeStatus, RateLimited, RetryPolicy
from tests.simulator.fates import FINE, Fate, Seen, always, answered, in_turn
from tests.simulator.server import ModelledServer, client

BUSY = "WCC00001"


async def test_refusals_for_now_use_up_no_attempts() -> None:
    """A row gets through after more 429s than ``attempts``; its other failures still count."""
    server = ModelledServer(fate=in_turn([answered(429)] * 6))
    (outcome,) = [o async for o in client(server, retry=RetryPolicy(attempts=1)).update_many([_row(BUSY)])]
    assert (outcome.status, outcome.attempts) == (OutcomeStatus.APPLIED, 7)

    server = ModelledServer(fate=in_turn([answered(429)] * 6 + [answered(503)] * 9))
    (outcome,) = [o async for o in client(server, retry=RetryPolicy(attempts=2)).update_many([_row(BUSY)])]
    assert (outcome.status, outcome.attempts) == (OutcomeStatus.UNKNOWN, 8)


@pytest.mark.parametrize("says", [None, "1", "20"])
async def test_without_any_success_a_row_ends_after_max_wait(says: str | None) -> None:
    """With nothing but 429s, rows end ``not_sent``: after ``max_wait`` seconds, and not much later."""
    server, loop = ModelledServer(40, fate=always(answered(429, says))), asyncio.get_running_loop()
    ended = []
    async with asyncio.timeout(600), client(server).update_many(map(_row, list(server.configs)[:40])) as stream:
        async for outcome in stream:
            assert outcome.status is OutcomeStatus.NOT_SENT
            assert isinstance(outcome.error, RateLimited)
            assert not outcome.error.maybe_applied
            ended.append(loop.time())
    assert len(ended) == 40
    assert min(ended) >= 60
    assert ended[31] <= 60 + 20 + 1, "32 rows at once; one backoff and a request may come on top"


async def test_successes_of_others_keep_a_row_waiting() -> None:
    """As long as the client has a success every now and then, a row that meets 429s goes on; however long."""

    def fate(seen: Seen) -> Fate:
        return answered(429) if BUSY in seen.request.path and seen.sent < 500 else FINE

    async def rows() -> AsyncIterator[CoinEventUpdate]:
        yield _row(BUSY)
        for _ in range(12):
            await asyncio.sleep(45)
            yield _row("WCC00002")

    server = ModelledServer(fate=fate)
    outcomes = [outcome async for outcome in client(server).update_many(rows())]
    (busy,) = [outcome for outcome in outcomes if outcome.index == 0]
    assert busy.status is OutcomeStatus.APPLIED
    assert busy.attempts > 25


async def test_a_single_call_is_less_patient() -> None:
    """Outside of streams a 429 counts like any failure."""
    server = ModelledServer(fate=always(answered(429)))
    with pytest.raises(RateLimited) as caught:
        await client(server).update(BUSY, amount=1)
    assert caught.value.attempts == server.calls["update"] == 4


def _row(config_id: str) -> CoinEventUpdate:
    return CoinEventUpdate(config_id, amount=1)
