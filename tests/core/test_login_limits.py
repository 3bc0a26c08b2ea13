"""How often a password grant logs in, and when it stops. Its clock is tested elsewhere."""

import asyncio
from collections.abc import Callable

import pytest

from enkash_coins import (
    ConnectError,
    Disconnected,
    EnkashError,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    MemoryGuard,
    PasswordGrant,
    RateLimited,
    Request,
    Response,
    ServerError,
    TimedOut,
)
from enkash_coins.testing import Answer, MockTransport

OURS = ("client-1", "s3cret-client", "user@example.com", "pa55 wörd&=+%")
YES = Response(200, {}, b'{"access_token":"tok-1","expires_in":86399}')
NO = Response(401, {}, b'{"error":"invalid_grant","error_description":"Bad credentials"}')


def grant(guard: MemoryGuard | None = None) -> PasswordGrant:
    """The grant of our user."""
    return PasswordGrant(*OURS, guard=guard)


async def failure(source: PasswordGrant, transport: MockTransport) -> EnkashError:
    """The error of asking for a token."""
    with pytest.raises(EnkashError) as caught:
        await source.token(transport)
    return caught.value


async def test_one_refusal_ends_it() -> None:
    """No second login with refused credentials, also from another grant that shares the guard."""
    guard, transport = MemoryGuard(), MockTransport([NO])
    errors = [await failure(grant(guard), transport) for _ in range(5)]
    assert {type(error) for error in errors} == {LoginRefused}
    assert len(transport.requests) == 1
    assert str(errors[0]) == "the token endpoint refused the login: HTTP 401: Bad credentials"
    assert str(errors[1]).startswith("these credentials were refused before")


async def test_each_waiter_has_an_error_of_its_own() -> None:
    """One exception raised again and again would grow its traceback for ever."""
    transport, source = MockTransport([NO]), grant()
    errors = await asyncio.gather(*(failure(source, transport) for _ in range(5)))
    assert len({id(error) for error in errors}) == 5
    assert {str(error) for error in errors} == {"the token endpoint refused the login: HTTP 401: Bad credentials"}


DOUBTFUL: dict[str, Callable[[], Answer]] = {
    "timeout": lambda: TimedOut("late"),
    "disconnect": lambda: Disconnected("gone"),
    "unreadable by the transport": lambda: MalformedResponse("garbage"),
    "500": lambda: Response(500),
    "503": lambda: Response(503, {"Retry-After": "1"}),
    "407 of a proxy": lambda: Response(407, {}, b'{"error":"access_denied"}'),
    "408": lambda: Response(408),
    "redirect": lambda: Response(302),
    "unreadable": lambda: Response(200, {}, b"<html>"),
    "no token": lambda: Response(200, {}, b"{}"),
}
NOT_COUNTED: dict[str, Callable[[], Answer]] = {
    "refused connection": lambda: ConnectError("refused"),
    "429": lambda: Response(429),
    "425": lambda: Response(425),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
async def test_two_doubtful_logins_and_no_more(kind: str) -> None:
    """Credentials that never worked: two requests, then the guard holds back until a person has looked."""
    transport, source = MockTransport(lambda request: DOUBTFUL[kind]()), grant()
    errors = [await failure(source, transport) for _ in range(5)]
    assert len(transport.requests) == 2
    assert not isinstance(errors[1], LoginSuspended)
    for error in errors[2:]:
        assert isinstance(error, LoginSuspended)
        assert error.retry_at is None


@pytest.mark.parametrize("kind", NOT_COUNTED)
async def test_what_never_left_or_was_put_off_is_not_counted(kind: str) -> None:
    """It says nothing about the credentials."""
    answers: list[Answer] = [NOT_COUNTED[kind]() for _ in range(5)]
    transport, source = MockTransport([*answers, YES]), grant()
    errors = [await failure(source, transport) for _ in range(5)]
    assert {type(error) for error in errors} <= {ConnectError, RateLimited}
    assert (await source.token(transport)).value == "tok-1"


async def test_credentials_that_worked_may_try_again_in_a_minute() -> None:
    """Suspension has an end for them."""
    transport, source = MockTransport([YES, Response(503), Response(503)]), grant()
    source.refused(await source.token(transport))
    errors = [await failure(source, transport) for _ in range(3)]
    assert [type(error) for error in errors] == [ServerError, ServerError, LoginSuspended]
    assert isinstance(errors[2], LoginSuspended)
    assert errors[2].retry_at is not None
    assert len(transport.requests) == 3


async def test_the_charge_is_saved_before_the_request_leaves() -> None:
    """A crash in between errs on the safe side."""
    guard = MemoryGuard()
    seen: list[int] = []

    def look(request: Request) -> Response:
        seen.extend(history.doubtful for history in guard._histories.values())
        return YES

    await grant(guard).token(MockTransport(look))
    assert seen == [1]
    assert [(history.proven, history.doubtful) for history in guard._histories.values()] == [(True, 0)]


async def test_a_bug_of_the_transport_is_not_hidden() -> None:
    """Something else than an ``EnkashError`` comes out as what it is, and the charge stays."""
    transport, source = MockTransport([]), grant()
    with pytest.raises(AssertionError, match="no answer left"):
        await source.token(transport)
    with pytest.raises(AssertionError, match="no answer left"):
        await source.token(transport)
    assert isinstance(await failure(source, transport), LoginSuspended)
