"""When a failed request is sent again."""

import asyncio
from collections import defaultdict

import pytest

from enkash_coins import CoinEventService, RetryPolicy, ServerError
from tests.simulator.fates import (
    CUT_AFTER,
    CUT_BEFORE,
    GARBLED,
    NO_CONNECTION,
    SILENT_BEFORE,
    Fate,
    always,
    answered,
    in_turn,
)
from tests.simulator.server import ModelledServer, ModelledWire, client

ID = "WCC00001"


async def test_backoff_is_exponential_with_full_jitter() -> None:
    """The n-th wait lies anywhere between 0 and ``base * 2 ** (n - 1)``, capped by ``max_delay``."""
    policy = RetryPolicy(attempts=7, base=0.5, max_delay=6, budget=10_000)
    server = ModelledServer(200, latency=lambda _: 0.1, fate=always(answered(503)))
    coins = client(server, retry=policy, concurrency=200)
    calls = [coins.update(config_id, amount=1) for config_id in list(server.configs)[:200]]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, ServerError) and error.attempts == 7 for error in errors)
    sent = defaultdict[str, list[float]](list)
    for seen in server.log:
        sent[seen.request.path].append(seen.sent)
    for n, ceiling in enumerate([0.5, 1, 2, 4, 6, 6]):
        waits = [times[n + 1] - times[n] - 0.1 for times in sent.values()]
        assert len(waits) == 200
        assert -1e-9 <= min(waits) < 0.1 * ceiling
        assert 0.9 * ceiling < max(waits) <= ceiling + 1e-9
        assert 0.4 * ceiling < sum(waits) / 200 < 0.6 * ceiling


@pytest.mark.parametrize("attempts", [1, 4])
@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(answered(503), id="503"),
        pytest.param(answered(429), id="429"),
        pytest.param(answered(425), id="425"),
        pytest.param(GARBLED, id="garbled"),
        pytest.param(CUT_BEFORE, id="cut before"),
        pytest.param(CUT_AFTER, id="cut after"),
        pytest.param(SILENT_BEFORE, id="silent"),
    ],
)
async def test_attempts_are_requests_in_all(fate: Fate, attempts: int) -> None:
    """``attempts`` counts the first request too; each further one is the very same, byte for byte."""
    server = ModelledServer(fate=always(fate))
    coins = client(server, retry=RetryPolicy(attempts=attempts))
    (outcome,) = [
        outcome
        for outcome in await asyncio.gather(coins.update(ID, amount=7, event="A"), return_exceptions=True)
        if isinstance(outcome, Exception)
    ]
    assert getattr(outcome, "attempts", None) == attempts
    requests = [seen.request for seen in server.log]
    assert len(requests) == attempts
    assert all(request == requests[0] for request in requests)
    assert requests[0].body == b'{"amount":7,"event":"A"}'


async def test_retry_after_is_kept_over_any_transport() -> None:
    """The floor is the service's own: it holds over any transport."""
    server = ModelledServer(latency=lambda _: 0.1, fate=in_turn([answered(429, "30"), answered(503, "7")]))
    await CoinEventService(ModelledWire(server), auth=server.issue_token()).update(ID, amount=1)
    assert [seen.sent for seen in server.log] == pytest.approx([0, 30.1, 37.2])


async def test_replayed_allocation_keeps_its_request_id() -> None:
    """An allocation that is sent again carries the id that was made once, before the first attempt."""
    server = ModelledServer(fate=always(CUT_BEFORE, on="allocate"))
    coins = client(server)
    with pytest.raises(Exception, match="ended without an answer") as caught:
        await coins.allocate(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", replay=True)
    bodies = [seen.request.body for seen in server.log]
    assert len(bodies) == 4
    assert set(bodies) == {bodies[0]}
    assert caught.value.request_id.encode() in bodies[0]  # type: ignore[attr-defined]  # an EnkashError


async def test_unreachable_host_is_tried_again() -> None:
    """What never left is tried again as well, as often."""
    server = ModelledServer(fate=always(NO_CONNECTION))
    with pytest.raises(Exception, match="no modelled connection") as caught:
        await client(server).update(ID, amount=7)
    assert caught.value.maybe_applied is False  # type: ignore[attr-defined]  # an EnkashError
    assert (server.calls["update"], len(server.log)) == (4, 0)
