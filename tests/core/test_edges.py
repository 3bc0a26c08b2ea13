"""Transports, iterators, sessions and settings of other people that do the unexpected."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from enkash_coins import (
    CoinEventService,
    CoinEventUpdate,
    InvalidRequest,
    LoginRefused,
    NotFound,
    PasswordGrant,
    Request,
    Response,
    RetryPolicy,
    ServiceClosed,
    Token,
    TransportError,
    Unauthorized,
)
from enkash_coins.testing import MockTransport, answer
from enkash_coins.transport import Transport

CONFIG = {"coinConfigId": "WCC1", "configuration": "DEFAULT", "event": "E", "amount": 1}


async def test_a_transport_that_only_says_it_failed_leaves_an_allocation_in_doubt() -> None:
    """Somebody's own transport may raise the plain class after sending: a repeat could give the coins twice."""
    transport = MockTransport(lambda _: TransportError("read failed"))
    async with CoinEventService(transport, retry=RetryPolicy(base=0)) as coins:
        with pytest.raises(TransportError) as caught:
            await coins.allocate(company_id="C", event="E", user_id="U")
    assert caught.value.maybe_applied
    assert len(transport.requests) == 1


async def test_an_iterator_that_is_cancelled_from_within_does_not_end_a_stream_as_if_complete() -> None:
    """Five rows of ten are not all of them: iteration ends with an error, after the outcomes of those five."""

    async def rows() -> AsyncIterator[CoinEventUpdate]:
        for number in range(10):
            if number == 5:
                raise asyncio.CancelledError
            yield CoinEventUpdate(f"WCC{number}", amount=1)

    async with CoinEventService(MockTransport(lambda _: answer(CONFIG))) as coins:
        stream = coins.update_many(rows())
        with pytest.raises(RuntimeError, match="iterator of the rows was cancelled"):
            await stream.failures()
    assert stream.counts.total() == 5


async def test_a_call_that_is_cancelled_from_within_does_not_hang_its_stream() -> None:
    """A transport that awaits a cancelled task, say: the stream ends with an error instead of waiting for ever."""

    def handle(request: Request) -> Response:
        if request.path.endswith("WCC3"):
            raise asyncio.CancelledError
        return answer(CONFIG)

    async with CoinEventService(MockTransport(handle)) as coins, asyncio.timeout(5):
        stream = coins.update_many(CoinEventUpdate(f"WCC{number % 7}", amount=1) for number in range(50))
        with pytest.raises(RuntimeError, match="cancelled from within"):
            await stream.failures()


async def test_every_consumer_of_a_stream_learns_that_its_service_closed() -> None:
    """Who asks again is told again: a cut stream is never taken for a complete one."""
    coins = CoinEventService(MockTransport(lambda _: answer(CONFIG)))
    stream = coins.update_many(CoinEventUpdate(f"WCC{number}", amount=1) for number in range(1000))
    await anext(stream)
    await coins.aclose()
    for _ in range(2):
        with pytest.raises(ServiceClosed):
            await anext(stream)


class _Renewed:
    """Makes a token whenever one was refused."""

    def __init__(self) -> None:
        self.made = 1

    async def token(self, send: Transport, /) -> Token:
        return Token(f"token-number-{self.made}")

    def refused(self, token: Token, /) -> None:
        self.made += 1


async def test_a_token_that_got_as_far_as_a_404_was_accepted() -> None:
    """Only whoever is let in is told that something is not there; its later end is no second refusal in a row."""
    revoked = {"token-number-1"}

    def handle(request: Request) -> Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        return Response(401 if token in revoked else 404)

    source = _Renewed()
    async with CoinEventService(MockTransport(handle), auth=source) as coins:
        for number in range(2, 5):
            with pytest.raises(NotFound):
                await coins.get("WCC1")
            revoked.add(f"token-number-{number}")
        with pytest.raises(NotFound):
            await coins.get("WCC1")
        revoked.update(f"token-number-{number}" for number in range(100))
        with pytest.raises(Unauthorized):
            await coins.get("WCC1")


async def test_a_refused_login_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning when it happens, without a credential; the latch that follows is silent."""
    transport = MockTransport([Response(401, {}, b'{"error":"invalid_grant"}')])
    grant = PasswordGrant("client-1", "secret-1", "user-1", "password-1")
    with caplog.at_level(logging.WARNING, logger="enkash_coins"):
        for _ in range(3):
            with pytest.raises(LoginRefused):
                await grant.token(transport)
    (record,) = caplog.records
    assert "refused" in record.getMessage()
    assert "password-1" not in record.getMessage()


@pytest.mark.parametrize("options", [{"retry": None}, {"headers": ["x"]}, {"cookies": "x"}], ids=str)
def test_a_setting_of_the_wrong_type_is_refused_without_showing_the_token(options: dict[str, object]) -> None:
    """One clear line, and no frame of ours that holds the token."""
    connect = CoinEventService.connect
    with pytest.raises(InvalidRequest) as caught:
        connect("https://coins.example", auth="sesame-token", **options)  # type: ignore[arg-type]  # what is tested
    trace = caught.value.__traceback__
    assert trace is not None
    while (trace := trace.tb_next) is not None:
        assert "sesame" not in repr(trace.tb_frame.f_locals)
