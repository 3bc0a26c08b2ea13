"""The server that all other tests of this folder trust."""

import asyncio
from contextlib import suppress

import pytest

from enkash_coins import CoinEventService, ConnectError, Disconnected, EnkashError, Request, TimedOut
from enkash_coins.layers.bearer import Bearer
from enkash_coins.layers.pacing import Pacing
from enkash_coins.service import client_of
from enkash_coins.transports.aiohttp import AiohttpTransport
from tests.simulator.fates import (
    CUT_AFTER,
    CUT_BEFORE,
    FINE,
    GARBLED,
    NO_CONNECTION,
    SILENT_AFTER,
    SILENT_BEFORE,
    Fate,
    Lost,
    always,
    answered,
)
from tests.simulator.server import ModelledServer, ModelledWire, client

ID = "WCC00001"


def update_to(amount: int, token: str) -> Request:
    """A request as the client would make it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return Request("PATCH", f"/api/v0/enkash-coins/{ID}", headers, b'{"amount":%d}' % amount, "update", replayable=True)


@pytest.mark.parametrize(
    ("fate", "result", "at", "arrived", "applied"),
    [
        pytest.param(FINE, 200, 0.2, 0.1, 0.1, id="fine"),
        pytest.param(Fate(after=0.5), 200, 0.7, 0.1, 0.6, id="slow"),
        pytest.param(GARBLED, 200, 0.2, 0.1, 0.1, id="garbled"),
        pytest.param(answered(429, "7"), 429, 0.2, 0.1, None, id="429"),
        pytest.param(answered(502), 502, 0.2, 0.1, None, id="502"),
        pytest.param(NO_CONNECTION, ConnectError, 0.1, None, None, id="no connection"),
        pytest.param(CUT_BEFORE, Disconnected, 0.1, 0.1, None, id="cut before"),
        pytest.param(CUT_AFTER, Disconnected, 0.1, 0.1, 0.1, id="cut after"),
        pytest.param(SILENT_BEFORE, TimedOut, 1.0, 0.1, None, id="silent before"),
        pytest.param(SILENT_AFTER, TimedOut, 1.0, 0.1, 0.1, id="silent after"),
        pytest.param(Fate(after=5), TimedOut, 1.0, 0.1, 5.1, id="applied after the timeout"),
        pytest.param(Fate(after=5, reply=Lost.DISCONNECT), Disconnected, 0.1, 0.1, 5.1, id="cut and applied late"),
    ],
)
async def test_each_fate(
    fate: Fate, result: int | type[EnkashError], at: float, arrived: float | None, applied: float | None
) -> None:
    """Each fate shows the client what the real wire would, at its time, and leaves the truth as it says."""
    server, loop = ModelledServer(latency=lambda _: 0.2, fate=always(fate)), asyncio.get_running_loop()
    before = server.configs[ID]["amount"]
    wire, request = ModelledWire(server), update_to(1000, server.issue_token())
    request.timeout = 1
    if isinstance(result, int):
        assert (await wire.send(request)).status == result
    else:
        with pytest.raises(result) as caught:
            await wire.send(request)
        assert caught.value.maybe_applied is (arrived is not None), "a request that left may have been applied"
    assert loop.time() == pytest.approx(at)
    await asyncio.sleep(10)
    assert [(seen.sent, seen.arrived, seen.applied) for seen in server.log] == (
        [] if arrived is None else [(0, arrived, applied)]
    )
    assert server.configs[ID]["amount"] == (before if applied is None else 1000)
    assert (server.in_flight, server.most_in_flight) == (0, 1)


async def test_cancelled_request_goes_its_way() -> None:
    """Who stops waiting does not stop the server: that is why a cancelled write is in doubt."""
    server = ModelledServer(latency=lambda _: 0.2)
    sending = asyncio.create_task(ModelledWire(server).send(update_to(1000, server.issue_token())))
    await asyncio.sleep(0.05)
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    assert server.in_flight == 0
    await asyncio.sleep(1)
    assert server.configs[ID]["amount"] == 1000


async def test_tokens_end_in_virtual_time() -> None:
    """A token is taken until its life is over, and refused with 401 from then on."""
    server = ModelledServer(latency=lambda _: 0.2, token_life=300)
    wire, request = ModelledWire(server), update_to(1000, server.issue_token())
    await asyncio.sleep(299.5)
    assert (await wire.send(request)).status == 200
    await asyncio.sleep(0.5)
    assert (await wire.send(request)).status == 401


async def test_same_seed_same_run() -> None:
    """With the same seed the same requests meet the same latencies."""

    async def run(seed: int) -> list[float]:
        loop = asyncio.get_running_loop()
        server, began = ModelledServer(latency=lambda dice: dice.uniform(0.1, 9), seed=seed), loop.time()
        wire, request = ModelledWire(server), update_to(1, server.issue_token())
        await asyncio.gather(*[wire.send(request) for _ in range(20)])
        return [round(at - began, 6) for at in server.arrivals()]

    assert await run(1) == await run(1) != await run(2)


async def test_modelled_client_is_made_like_the_real_one() -> None:
    """Between service and wire stand the same layers as ``connect`` puts there, in the same order."""

    def layers(service: CoinEventService) -> list[type]:
        found: list[object] = [client_of(service).caller.transport]
        while inner := getattr(found[-1], "_inner", None):
            found.append(inner)
        return [type(layer) for layer in found]

    real = CoinEventService.connect("https://coins.example", auth="made-up-token")
    assert layers(real) == [Bearer, Pacing, AiohttpTransport]
    assert layers(client(ModelledServer())) == [Bearer, Pacing, ModelledWire]
