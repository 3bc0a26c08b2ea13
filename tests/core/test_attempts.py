"""``on_attempt`` is told of every attempt, and can break nothing."""

import asyncio
import logging

import pytest

from enkash_coins import (
    Attempt,
    CoinEventService,
    CoinEventUpdate,
    Disconnected,
    InvalidRequest,
    LoginRefused,
    OperationFailed,
    PasswordGrant,
    RetryPolicy,
    ServerError,
)
from enkash_coins.sandbox import Fault, Sandbox
from enkash_coins.testing import MockTransport, answer

AT_ONCE = RetryPolicy(base=0)


def told(sandbox: Sandbox, seen: list[Attempt], *faults: Fault) -> CoinEventService:
    """A client whose attempts are put into a list."""
    sandbox.faults.extend(faults)
    return CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, retry=AT_ONCE, on_attempt=seen.append)


async def test_each_attempt_is_told_with_how_it_ended() -> None:
    """Number, status or error, time, and whether there will be another; in the order in which they happen."""
    seen: list[Attempt] = []
    faults = [Fault("server_error", on="update", nth=1), Fault("disconnect_before_apply", on="update", nth=2)]
    async with Sandbox() as sandbox, told(sandbox, seen, *faults) as coins:
        await coins.update("WCC12345", amount=1)
    assert [(one.operation, one.number, one.status, one.error, one.will_retry) for one in seen] == [
        ("update", 1, 503, "ServerError", True),
        ("update", 2, None, "Disconnected", True),
        ("update", 3, 200, None, False),
    ]
    assert all(0 < one.seconds < 5 for one in seen)


async def test_the_last_of_a_failed_call_says_that_there_is_no_other() -> None:
    """A definite no, a doubt that is not repeated, and HTTP 200 that is no success."""
    seen: list[Attempt] = []
    faults = [Fault("operation_failed", on="get"), Fault("disconnect_after_apply", on="allocate")]
    async with Sandbox() as sandbox, told(sandbox, seen, *faults) as coins:
        with pytest.raises(OperationFailed):
            await coins.get("WCC12345")
        with pytest.raises(Disconnected):
            await coins.allocate(company_id="CEK1", event="E", user_id="EK1")
    assert [(one.operation, one.status, one.error, one.will_retry) for one in seen] == [
        ("get", 200, "OperationFailed", False),
        ("allocate", None, "Disconnected", False),
    ]


async def test_rows_of_a_stream_are_told_too() -> None:
    """Every attempt of every row."""
    seen: list[Attempt] = []
    async with Sandbox() as sandbox, told(sandbox, seen, Fault("server_error", on="update", nth=2)) as coins:
        assert not await coins.update_many(CoinEventUpdate(f"WCC{n:05}", amount=1) for n in range(1, 6)).failures()
    assert sorted(one.status or 0 for one in seen) == [200] * 5 + [503]


async def test_a_view_tells_the_same_hook() -> None:
    """What ``connect`` was given holds for the views."""
    seen: list[Attempt] = []
    async with Sandbox() as sandbox, told(sandbox, seen) as coins:
        await coins.with_options(deadline=5, timeout=5).get("WCC12345")
    assert len(seen) == 1


async def test_a_cancelled_attempt_is_told() -> None:
    """Metrics must not lose the calls that somebody gave up."""
    seen: list[Attempt] = []
    async with Sandbox() as sandbox, told(sandbox, seen, Fault("hang", on="get")) as coins:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(coins.get("WCC12345"), 0.1)
    assert [(one.status, one.error, one.will_retry) for one in seen] == [(None, "CancelledError", False)]


async def test_a_login_that_is_refused_is_the_attempts_end() -> None:
    """The call was begun, and ended by its login; logins themselves are not attempts."""
    seen: list[Attempt] = []
    async with Sandbox() as sandbox:
        auth = PasswordGrant("sandbox-client", "sandbox-client-secret", "sandbox@example.com", "wrong")
        async with CoinEventService.connect(sandbox.base_url, auth=auth, on_attempt=seen.append) as coins:
            with pytest.raises(LoginRefused):
                await coins.get("WCC12345")
            with pytest.raises(InvalidRequest):
                await coins.get("../WCC12345")
    assert [(one.status, one.error, one.will_retry) for one in seen] == [(None, "LoginRefused", False)]


async def test_a_raising_hook_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the call goes on: retries, result and error are what they would have been."""

    def hook(attempt: Attempt) -> None:
        raise ValueError(f"no metrics for attempt {attempt.number}")

    faults = [Fault("server_error", on="update", nth=1)]
    async with Sandbox(faults=faults) as sandbox:
        async with CoinEventService.connect(
            sandbox.base_url, auth=sandbox.auth, retry=AT_ONCE, on_attempt=hook
        ) as coins:
            assert (await coins.update("WCC12345", amount=7)).amount == 7
            sandbox.faults[:] = [Fault("server_error", on="get")]
            with pytest.raises(ServerError):
                await coins.get("WCC12345")
        assert sandbox.calls == {"token": 1, "update": 2, "get": 4}
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(logged) == 6
    assert {record.message for record in logged} == {"on_attempt raised"}
    assert "no metrics for attempt" in caplog.text


async def test_without_a_hook_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telemetry that is off costs nothing: no ``Attempt`` comes into being."""

    def made(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Attempt, "__init__", made)
    async with CoinEventService(MockTransport([answer(42)])) as coins:
        assert await coins.balance("EK1") == 42
