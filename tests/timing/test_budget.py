"""The retry budget: an outage is not multiplied by those who retry."""

import pytest

from enkash_coins import CoinEventUpdate, OutcomeStatus, RetryPolicy, ServerError
from tests.simulator.fates import CUT_BEFORE, FINE, SILENT_BEFORE, Fate, always, answered, in_turn
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"


@pytest.mark.parametrize("budget", [0, 100])
@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(answered(503), id="503"),
        pytest.param(CUT_BEFORE, id="cut"),
        pytest.param(SILENT_BEFORE, id="silent"),
    ],
)
async def test_outage_is_not_multiplied(fate: Fate, budget: int) -> None:
    """1,000 rows meet an outage with 1,000 requests and the budget's retries, not with 4,000."""
    server = ModelledServer(1000, fate=always(fate))
    coins = client(server, retry=RetryPolicy(budget=budget), concurrency=50)
    rows = [CoinEventUpdate(config_id, amount=1) for config_id in list(server.configs)[:1000]]
    async with coins.update_many(rows) as stream:
        assert len(await stream.failures()) == 1000
    assert stream.counts == {OutcomeStatus.UNKNOWN: 1000}
    assert server.calls["update"] == 1000 + budget


@pytest.mark.parametrize(("successes", "requests"), [(4, 1), (5, 2), (9, 2), (10, 3), (100, 3)])
async def test_each_success_gives_a_fifth_back(successes: int, requests: int) -> None:
    """Five successes pay for one retry; the budget never grows beyond what it was."""
    server = ModelledServer(fate=always(answered(503)))
    coins = client(server, retry=RetryPolicy(budget=2, attempts=9))
    with pytest.raises(ServerError):
        await coins.update(ID, amount=1)
    assert server.calls["update"] == 3, "the whole budget"
    for _ in range(successes):
        await coins.get(ID)
    with pytest.raises(ServerError) as caught:
        await coins.update(ID, amount=1)
    assert caught.value.attempts == requests


async def test_refusals_for_now_spend_nothing() -> None:
    """A 429 says that the host is alive: going again later does not multiply an outage."""
    server = ModelledServer(fate=in_turn([answered(429), answered(425), answered(429), FINE, answered(503)]))
    coins = client(server, retry=RetryPolicy(budget=1))
    await coins.update(ID, amount=1)
    await coins.update(ID, amount=2)
    assert server.calls["update"] == 6
