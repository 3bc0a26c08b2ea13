"""The pure parts of tokens: their life, the token endpoint's answer, and how the API receives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins import (
    ApiError,
    EnkashError,
    InvalidRequest,
    LoginRefused,
    MalformedResponse,
    Response,
    Token,
)
from enkash_coins.auth.token_answers import read_token
from enkash_coins.auth.tokens import Standing, StaticToken, usable_for
from enkash_coins.secret import Secret
from enkash_coins.testing import MockTransport

YEAR = 366 * 86_400


@pytest.mark.parametrize(
    ("claimed", "learned", "life"),
    [
        (86399, None, 86399.0),
        (300, None, 300.0),
        (0.5, None, 0.5),
        (0.001, None, 0.001),
        (299, None, 299.0),
        (1, None, 1.0),
        (YEAR, None, float(YEAR)),
        (None, None, 300.0),
        ("86399", None, 86399.0),
        ("300", 200.0, 200.0),
        ("0", None, 300.0),
        ("-5", None, 300.0),
        ("8.5", None, 300.0),
        ("1e5", None, 300.0),
        ("٣٠٠", None, 300.0),
        ("9" * 5000, None, 300.0),
        (True, None, 300.0),
        ([300], None, 300.0),
        (0, None, 300.0),
        (-5, None, 300.0),
        (-0.0, None, 300.0),
        (float("nan"), None, 300.0),
        (float("inf"), None, 300.0),
        (float("-inf"), None, 300.0),
        (YEAR + 1, None, 300.0),
        (10**400, None, 300.0),
        (86399, 300.0, 300.0),
        (60, 300.0, 60.0),
        (None, 120.0, 120.0),
        (None, 3000.0, 300.0),
        ("x", 45.5, 45.5),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_claimed_life_is_believed_if_it_can_be(claimed: object, learned: float | None, life: float) -> None:
    """Digits in a string count; missing or absurd is 300 seconds; a shorter life that was learned the hard way wins.

    A token is dropped a tenth of its life early, at most 30 seconds: even a short one is used at all.
    """
    assert usable_for(claimed, learned) == pytest.approx(life - min(30.0, life / 10))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"access_token":"tok-1","token_type":"bearer","refresh_token":"r","expires_in":86399,"scope":"x"}',
            ("tok-1", 86399),
        ),
        (b'{"accessToken":"tok-1","tokenType":"bearer","expiresIn":300,"refreshToken":"r"}', ("tok-1", 300)),
        (b'{"access_token":"tok-1","expiresIn":300}', ("tok-1", 300)),
        (b'{"access_token":"tok-1"}', ("tok-1", None)),
        (b'{"access_token":"tok-1","expires_in":"soon"}', ("tok-1", "soon")),
        (b'{"access_token":"a.b-c_d~e+f/g==","expires_in":1.5}', ("a.b-c_d~e+f/g==", 1.5)),
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_both_spellings_of_a_token_are_read(status: int, body: bytes, expected: tuple[str, object]) -> None:
    """The documents show ``access_token`` and ``accessToken``."""
    assert read_token(Response(status, {}, body)) == expected


def failed(response: Response) -> EnkashError:
    """What reading this answer of the token endpoint raises."""
    with pytest.raises(EnkashError) as caught:
        read_token(response)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


BODIES = {"nothing": b"", "page": b"<html>", "token": b'{"access_token":"tok-1"}', "object": b"{}", "list": b"[]"}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 412, 415, 422, 451, 499])
def test_a_4xx_is_a_definite_no(status: int, body: str) -> None:
    """It latches, whatever else the answer holds: a third refusal would lock the account."""
    error = failed(Response(status, {}, BODIES[body]))
    assert type(error) is LoginRefused
    assert str(error) == f"the token endpoint refused the login: HTTP {status}"
    assert error.maybe_applied is False


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (407, "ApiError"),
        (408, "ApiError"),
        (425, "RateLimited"),
        (429, "RateLimited"),
        (100, "ApiError"),
        (301, "UnexpectedRedirect"),
        (307, "UnexpectedRedirect"),
        (500, "ServerError"),
        (502, "ServerError"),
        (503, "ServerError"),
        (599, "ServerError"),
        (600, "ApiError"),
    ],
)
def test_other_statuses_are_the_errors_that_they_are(status: int, name: str, body: str) -> None:
    """They refuse nothing: an outage must not look like a wrong password."""
    error = failed(Response(status, {"Retry-After": "7"}, BODIES[body]))
    assert type(error).__name__ == name
    assert isinstance(error, ApiError)
    assert error.retry_after == (7.0 if status in (425, 429, 503) else None)
    assert str(error) == f"token: HTTP {status}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error":"invalid_grant","error_description":"Bad credentials"}', ": Bad credentials"),
        (b'{"error":"invalid_grant"}', ": invalid_grant"),
        (b'{"error":"invalid_grant","error_description":["x"]}', ": x"),
        (b'{"error":{"code":5}}', ""),
        (b'{"response_code":1,"response_message":"Invalid client","payload":null}', ": Invalid client"),
        (b'{"code":7,"message":"Invalid client"}', ": Invalid client"),
        (b'{"response_code":1}', ""),
        (
            b'{"error":"no\\u001b[31m\\nnext line"}',
            ": no\N{REPLACEMENT CHARACTER}[31m next line",
        ),
    ],
    ids=str,
)
def test_a_success_that_holds_an_error_is_a_no_with_its_reason(body: bytes, reason: str) -> None:
    """HTTP 200 with an OAuth error, or an envelope that fails, refuses the login; the reason is told, made harmless."""
    error = failed(Response(200, {}, body))
    assert type(error) is LoginRefused
    assert str(error) == f"the token endpoint refused the login: HTTP 200{reason}"
    assert str(failed(Response(401, {}, body))) == f"the token endpoint refused the login: HTTP 401{reason}"


def test_a_long_reason_is_cut() -> None:
    """Remote text, here too, is at most 512 characters."""
    error = failed(Response(401, {}, b'{"error":"' + b"x" * 100_000 + b'"}'))
    assert len(str(error)) < 570


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"null", b'"tok-1"', b"{", b'{"access_token":"tok-1"', b"\xef\xbb\xbf{}", b"{}"),
        *(b'{"access_token":null}', b'{"access_token":5}', b'{"access_token":["tok-1"]}', b'{"access_token":""}'),
        *(b'{"token":"tok-1"}', b'{"payload":{},"response_code":0,"response_message":"Success"}', b'{"code":0}'),
        *(b'{"access_token":"a b"}', b'{"access_token":"a\\r\\nX: y"}', b'{"access_token":"a\\u0000"}'),
        *(b'{"access_token":"a\\u007f"}', '{"access_token":"é"}'.encode(), '{"access_token":"tok٣"}'.encode()),
    ],
    ids=str,
)
def test_an_answer_without_a_usable_token_is_in_doubt(body: bytes) -> None:
    """Neither a token nor a refusal; a value that cannot stand in a header is no token, and is not repeated."""
    error = failed(Response(200, {"Content-Type": "application/json"}, body))
    assert type(error) is MalformedResponse
    assert str(error).startswith("token: the answer ")
    assert error.maybe_applied is True
    assert "tok-1" not in str(error)


@pytest.mark.parametrize("code", [b"null", b'"0"', b"[]"])
def test_an_envelope_that_cannot_be_read_is_no_refusal(code: bytes) -> None:
    """Only an integer other than 0 is a definite no; what is unreadable is in doubt, and must not latch."""
    assert type(failed(Response(200, {}, b'{"response_code":' + code + b"}"))) is MalformedResponse


@given(status=st.integers(100, 599), body=st.binary() | st.text('{}[]":,tokenaccess_ 01\\').map(str.encode))
def test_any_answer_is_a_token_or_an_error_of_ours(status: int, body: bytes) -> None:
    """No token endpoint, whatever it says, surprises the login."""
    failure = None
    try:
        assert read_token(Response(status, {}, body))[0]
    except (LoginRefused, MalformedResponse, ApiError) as error:
        failure = error
    assert str(failure).isprintable()


FIRST, SECOND, THIRD, FOURTH = (Token(name) for name in ("first", "second", "third", "fourth"))


def test_one_refusal_of_a_fresh_token_is_worth_another_login() -> None:
    """There is no pause after the first; a second one in a row is held for a minute."""
    standing = Standing().refuse(FIRST, 10.0)
    assert not standing.holds(FIRST, 10.0)
    standing = standing.refuse(SECOND, 20.0)
    assert standing.holds(SECOND, 20.0)
    assert standing.holds(SECOND, 79.9)
    assert not standing.holds(SECOND, 80.0)
    assert not standing.holds(FIRST, 20.0)


def test_the_same_refusal_is_counted_once() -> None:
    """Many calls are told of one token at once, and go on being told while it is held: the pause does not move."""
    once = Standing().refuse(FIRST, 10.0)
    assert once.refuse(FIRST, 11.0) == once
    held = once.refuse(SECOND, 20.0)
    assert held.refuse(SECOND, 70.0) == held
    assert held.refuse(SECOND, 1000.0) == held


def test_each_pause_is_longer() -> None:
    """A minute, then twice as long each time, up to an hour."""
    standing, now, pauses = Standing(), 0.0, []
    for number in range(2000):
        standing = standing.refuse(Token(str(number)), now)
        pauses.append(standing.held_until - now)
        now = standing.held_until
    assert pauses[:9] == [0, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert set(pauses[9:]) == {3600}


def test_a_token_that_was_accepted_may_expire_at_any_time() -> None:
    """Its 401 says that it is over, and does not count: two more are refused before there is a pause."""
    standing = Standing().accept(FIRST).refuse(FIRST, 0.0)
    assert not standing.refuse(SECOND, 0.0).holds(SECOND, 0.0)
    assert standing.refuse(SECOND, 0.0).refuse(THIRD, 0.0).holds(THIRD, 0.0)


def test_an_accepted_token_clears_the_count() -> None:
    """Only refusals in a row count; a token that is held may be accepted after all."""
    for standing in (Standing().refuse(FIRST, 0.0), Standing().refuse(FIRST, 0.0).refuse(SECOND, 0.0)):
        assert standing.accept(SECOND) == Standing(accepted=SECOND)


def test_a_token_is_known_by_its_value() -> None:
    """A source of one's own may make a new ``Token`` for every call: an accepted one is the same by its value."""
    assert Standing().accept(Token("first")).refuse(Token("first"), 0.0).in_a_row == 0


@pytest.mark.parametrize("value", ["x", "abc.def-ghi_jkl~+/==", "!" * 5000])
async def test_a_static_token_is_what_it_was(value: str) -> None:
    """It never expires, nothing is fetched, and a refusal changes nothing: whoever looks after it must act."""
    source, transport = StaticToken(Secret(value)), MockTransport([])
    token = await source.token(transport)
    source.refused(token)
    assert token == await source.token(transport) == Token(value, None)
    assert transport.requests == []


@pytest.mark.parametrize(
    "value", ["", " ", "sesame open", "sesame\n", "sesame\r\nX: y", "sésame", "sesame\0", 5, None, b"sesame"]
)
def test_a_token_that_cannot_stand_in_a_header_is_refused_unseen(value: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(InvalidRequest, match=r"^auth: ") as caught:
        StaticToken(Secret(value))
    assert "same" not in str(caught.value)
