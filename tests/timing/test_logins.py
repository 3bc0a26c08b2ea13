"""One login however many wait, and never into the account lock."""

import asyncio
from collections.abc import Collection
from random import Random

import pytest

from enkash_coins import (
    ConnectError,
    EnkashError,
    LoginRefused,
    LoginSuspended,
    RateLimited,
    RetryPolicy,
    ServerError,
)
from tests.simulator.fates import (
    CUT_AFTER,
    CUT_BEFORE,
    GARBLED,
    NO_CONNECTION,
    SILENT_BEFORE,
    Fate,
    Seen,
    always,
    answered,
    in_turn,
)
from tests.simulator.server import ModelledServer, client

ID = "WCC00001"
ONCE = RetryPolicy(attempts=1)


@pytest.mark.parametrize("concurrency", [5, 500])
@pytest.mark.parametrize("known", [True, False], ids=["known to be over", "told by 401"])
async def test_expired_token_costs_one_login(concurrency: int, known: bool) -> None:
    """500 tasks find the token expired: one token request, and every call succeeds."""
    server = ModelledServer(latency=lambda dice: dice.uniform(0.05, 0.5), token_life=300)
    coins = client(server, auth=server.grant(), concurrency=concurrency)
    await coins.get(ID)
    if known:
        await asyncio.sleep(300)
    else:
        server.login.expire_tokens()
    await asyncio.gather(*[coins.update(ID, amount=1) for _ in range(500)])
    assert server.calls["token"] == 2
    assert server.calls["update"] == 500 + sum(seen.status == 401 for seen in server.log)
    assert all(seen.status == 200 for seen in server.log) == known


async def test_wrong_password_is_tried_once() -> None:
    """1,000 tasks with a wrong password: one token request, and never another one."""
    server = ModelledServer()
    coins = client(server, auth=server.grant(password="a wrong one"))
    calls = [coins.update(ID, amount=1) for _ in range(1000)]
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, LoginRefused)
        assert not error.maybe_applied
    await asyncio.sleep(86_400)
    with pytest.raises(LoginRefused):
        await coins.get(ID)
    assert server.calls == {"token": 1}
    assert not server.login.locked


@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(answered(503), id="503"),
        pytest.param(GARBLED, id="garbled"),
        pytest.param(CUT_BEFORE, id="cut before"),
        pytest.param(CUT_AFTER, id="cut after"),
        pytest.param(SILENT_BEFORE, id="silent"),
    ],
)
@pytest.mark.parametrize("tasks", [1, 100])
async def test_never_proven_credentials_get_two_doubtful_logins(fate: Fate, tasks: int) -> None:
    """Without ever a clear answer: two token requests in all, then ``LoginSuspended``, for good."""
    server = ModelledServer(fate=always(fate, on="token"))
    coins = client(server, auth=server.grant(), retry=RetryPolicy(budget=1000))
    errors = await asyncio.gather(*[coins.update(ID, amount=1) for _ in range(tasks)], return_exceptions=True)
    assert {type(error) for error in errors} == {LoginSuspended}
    await asyncio.sleep(86_400)
    with pytest.raises(LoginSuspended) as caught:
        await coins.update(ID, amount=1)
    assert caught.value.retry_at is None
    assert caught.value.maybe_applied is False
    assert server.calls == {"token": 2}


async def test_proven_credentials_get_one_more_try_a_minute() -> None:
    """Credentials that have worked are tried twice, then a minute after the latest try, and so on."""
    server, loop = ModelledServer(latency=lambda _: 0.1, token_life=300), asyncio.get_running_loop()
    coins = client(server, auth=server.grant(), retry=ONCE)
    await coins.get(ID)
    server.fate = always(answered(503), on="token")
    await asyncio.sleep(300 - loop.time())
    kinds = list[type[EnkashError]]()
    for second in range(300, 500):
        await asyncio.sleep(second - loop.time())
        with pytest.raises(EnkashError) as caught:
            await coins.update(ID, amount=1)
        kinds.append(caught.type)
        if isinstance(caught.value, LoginSuspended):
            assert caught.value.retry_at is not None
    assert [seen.sent for seen in server.log if seen.operation == "token"] == pytest.approx(
        [0, 300, 301, 361, 421, 481]
    )
    assert [300 + n for n, kind in enumerate(kinds) if kind is ServerError] == [300, 301, 361, 421, 481]
    assert set(kinds) == {ServerError, LoginSuspended}

    server.fate = in_turn([], on="token")
    await asyncio.sleep(541 - loop.time())
    await coins.update(ID, amount=1)
    server.fate = always(answered(503), on="token")
    server.login.expire_tokens()
    for _ in range(5):
        with pytest.raises(EnkashError):
            await coins.update(ID, amount=1)
    assert server.calls["token"] == 7 + 2, "a success wipes the slate"


@pytest.mark.parametrize(
    ("fate", "kind"),
    [pytest.param(NO_CONNECTION, ConnectError, id="no connection"), pytest.param(answered(429), RateLimited, id="429")],
)
async def test_what_cannot_lock_the_account_is_not_counted(fate: Fate, kind: type[EnkashError]) -> None:
    """A login that never left, or was put off by a 429, may be tried as often as anything else."""
    server = ModelledServer(fate=in_turn([fate] * 10, on="token"))
    coins = client(server, auth=server.grant(), retry=ONCE)
    for _ in range(10):
        with pytest.raises(kind) as caught:
            await coins.update(ID, amount=1)
        assert caught.value.maybe_applied is False
    await coins.update(ID, amount=1)
    assert server.calls["token"] == 11


async def test_a_429_for_the_login_closes_the_gate() -> None:
    """Whom the token endpoint tells to wait, waits; and everybody with him."""
    server = ModelledServer(latency=lambda _: 0.1, fate=in_turn([answered(429, "30")], on="token"))
    coins = client(server, auth=server.grant())
    await asyncio.gather(*[coins.update(ID, amount=1) for _ in range(20)])
    assert [seen.sent for seen in server.log if seen.operation == "token"] == pytest.approx([0, 30.1])


@pytest.mark.parametrize("who", [{0}, {4}, {0, 1, 2}, set(range(9))], ids=str)
@pytest.mark.parametrize("after", [0, 0.01, 0.05, 0.15, 0.2])
async def test_cancelled_waiter_leaves_the_login_alone(who: Collection[int], after: float) -> None:
    """Whoever stops waiting for the login, be it the first, the others get their token from the same request."""
    server = ModelledServer(latency=lambda _: 0.2)
    coins = client(server, auth=server.grant())
    calls = [asyncio.create_task(coins.get(ID)) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(after)
    for number in who:
        calls[number].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {number for number, result in enumerate(results) if isinstance(result, BaseException)} == set(who)
    assert server.calls["token"] == 1


async def test_login_outlives_all_its_waiters() -> None:
    """A login whose waiters are all gone is finished nonetheless: the next call finds its token."""
    server = ModelledServer(latency=lambda _: 0.2)
    coins = client(server, auth=server.grant())
    calls = [asyncio.create_task(coins.get(ID)) for _ in range(10)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(1)
    await coins.get(ID)
    assert server.calls == {"token": 1, "get": 1}


@pytest.mark.parametrize("seed", range(10))
async def test_no_storm_of_failures_locks_the_account(seed: int) -> None:
    """Whatever befalls the logins of credentials that never worked, at most two can have counted as failures."""
    dice = Random(seed)
    harmless = [NO_CONNECTION, answered(429)]
    fates = [answered(503), CUT_BEFORE, SILENT_BEFORE, answered(401), *harmless]
    counted = list[Fate]()

    def fate(seen: Seen) -> Fate:
        chosen = dice.choice(fates)
        counted.extend([chosen] if chosen not in harmless else [])
        return chosen

    server = ModelledServer(fate=fate)
    coins = client(server, auth=server.grant())
    for _ in range(30):
        calls = [coins.get(ID) for _ in range(5)]
        assert all(isinstance(error, EnkashError) for error in await asyncio.gather(*calls, return_exceptions=True))
        await asyncio.sleep(dice.choice([0, 1, 100]))
    assert len(counted) == 2 or counted == [fates[3]]
    assert server.calls["get"] == 0
