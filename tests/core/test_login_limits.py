"""How often a password grant logs in, and when it stops. Its clock is tested elsewhere."""

import asyncio
import pickle
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
from enkash_coins.errors import AccountLocked
from enkash_coins.testing import Answer, MockTransport

OURS = ("client-1", "s3cret-client", "user@example.com", "pa55 wörd&=+%")
YES = Response(200, {}, b'{"access_token":"tok-1","expires_in":86399}')
NO = Response(401, {}, b'{"error":"invalid_grant","error_description":"Bad credentials"}')


def grant(guard: MemoryGuard | None = None) -> PasswordGrant:
    """The grant of our user."""
    return PasswordGrant(*OURS, guard=guard or MemoryGuard())


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


async def test_three_wrong_passwords_are_two_refusals() -> None:
    """EnKash counts by account, whatever the password: the third one is not tried."""
    guard, transport = MemoryGuard(), MockTransport([NO, NO])
    errors = [
        await failure(PasswordGrant(*OURS[:3], password, guard=guard), transport)
        for password in ("one", "two", "three")
    ]
    assert [type(error) for error in errors] == [LoginRefused, LoginRefused, LoginSuspended]
    assert len(transport.requests) == 2
    another = PasswordGrant(*OURS[:2], "another user", "three", guard=guard)
    assert (await another.token(MockTransport([YES]))).value == "tok-1"


async def test_a_typo_stops_no_process_that_works() -> None:
    """All other passwords together get one refusal, and the one that has worked goes on."""
    guard, transport = MemoryGuard(), MockTransport([YES, NO, YES])
    works, typo, other_typo = (PasswordGrant(*OURS[:3], text, guard=guard) for text in ("right", "rihgt", "irght"))
    works.refused(await works.token(transport))
    assert type(await failure(typo, transport)) is LoginRefused
    assert type(await failure(other_typo, transport)) is LoginSuspended
    assert (await works.token(transport)).value == "tok-1"
    assert len(transport.requests) == 3


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, b'{"error":"unauthorized","error_description":"User account is locked"}'),
        (400, b'{"error":"ACCOUNT_LOCKED"}'),
        (401, b'{"error":"invalid_grant","error_description":"Your account has been locked."}'),
        (401, b'{"response_code":1,"response_message":"Account locked, contact support"}'),
        (423, b""),
        (200, b'{"error":"accountLocked"}'),
    ],
)
async def test_a_locked_account_is_told_as_such(status: int, said: bytes) -> None:
    """With whom to ask: whoever reads of a wrong password would look for a typo."""
    error = await failure(grant(), MockTransport([Response(status, {}, said)]))
    assert type(error) is type(pickle.loads(pickle.dumps(error))) is AccountLocked  # noqa: S301  # our own
    assert str(error).startswith(f"the account is locked: HTTP {status}")
    assert str(error).endswith(": ask EnKash to unlock it")


@pytest.mark.parametrize(
    "said",
    [
        "Bad credentials",
        "the account will be locked after 2 more",
        "is not locked",
        "may get locked",
        "IP blocked",
        "unlocked",
    ],
)
async def test_a_threat_is_no_lock(said: str) -> None:
    """Nor is another word that has it in it."""
    error = await failure(grant(), MockTransport([Response(401, {}, b'{"error":"%b"}' % said.encode())]))
    assert type(error) is LoginRefused


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


async def test_a_login_is_saved_before_the_request_leaves() -> None:
    """A crash in between errs on the safe side."""
    guard = MemoryGuard()
    seen = []

    def failures() -> list[int]:
        return [history.failures for histories in guard._histories.values() for history in histories.values()]

    def look(request: Request) -> Response:
        seen.extend(failures())
        return YES

    await grant(guard).token(MockTransport(look))
    assert seen == [1]
    assert failures() == [0]


async def test_a_bug_of_the_transport_is_not_hidden() -> None:
    """Something else than an ``EnkashError`` comes out as what it is, and it counts."""
    transport, source = MockTransport([]), grant()
    with pytest.raises(AssertionError, match="no answer left"):
        await source.token(transport)
    with pytest.raises(AssertionError, match="no answer left"):
        await source.token(transport)
    assert isinstance(await failure(source, transport), LoginSuspended)
