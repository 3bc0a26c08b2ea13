"""Tokens and the account lock, without a server and without a clock."""

import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from enkash_coins.sandbox.login import Login

FORM = {"grant_type": "password", "username": "ü", "password": "pass wörd&=", "clientId": "client"}
RIGHT = ("client", "sécret", "ü", "pass wörd&=")


def make(*, claimed_life: float | str = 300.0, camel_case: bool = False) -> Login:
    """A login whose tokens live 300 seconds."""
    return Login(*RIGHT, life=300.0, claimed_life=claimed_life, camel_case=camel_case)


def basic(user: str = "client:sécret") -> str:
    """The Basic header, in UTF-8."""
    return f"Basic {b64encode(user.encode()).decode()}"


def ask(login: Login, *, authorization: str = basic(), now: float = 0.0, **changes: str | None) -> tuple[int, Any]:
    """Status and body of the answer to a token request; a change to None leaves the field out."""
    form = {name: value for name, value in (FORM | changes).items() if value is not None}
    answer = login.grant(authorization, urlencode(form).encode(), now)
    return answer.status, json.loads(answer.body)


def test_right_credentials_get_a_new_token_each_time() -> None:
    """The answer has the documented fields and no envelope; form and header are read as UTF-8."""
    login = make()
    status, first = ask(login)
    assert status == 200
    assert {**first, "access_token": "", "refresh_token": ""} == {
        "access_token": "", "token_type": "bearer", "refresh_token": "", "expires_in": 300, "scope": "read write"
    }  # fmt: skip
    second = ask(login)[1]
    assert len({first["access_token"], second["access_token"], first["refresh_token"], second["refresh_token"]}) == 4
    for answer in (first, second):
        assert login.check(f"Bearer {answer['access_token']}", 0.0) is None
        assert login.check(f"bearer {answer['access_token']}", 299.0) is None


def test_answer_may_be_spelled_in_camel_case() -> None:
    """One product page shows the fields so: accessToken, tokenType, expiresIn, refreshToken."""
    assert set(ask(make(camel_case=True))[1]) == {"accessToken", "tokenType", "expiresIn", "refreshToken"}
    assert "expiresIn" not in ask(make(camel_case=True, claimed_life="absent"))[1]


@pytest.mark.parametrize(("claim", "said"), [(5.0, 5), (0.5, 0.5), (0, 0), (-3, -3), ("soon", "soon")])
def test_life_may_be_claimed_wrongly(claim: float | str, said: object) -> None:
    """`expires_in` says what it is told to say; tokens live as long as they live."""
    login = make(claimed_life=claim)
    _, answer = ask(login)
    assert answer["expires_in"] == said
    assert login.check(f"Bearer {answer['access_token']}", 299.0) is None


def test_life_may_be_left_out() -> None:
    """An answer without `expires_in` is possible."""
    assert "expires_in" not in ask(make(claimed_life="absent"))[1]


def test_expired_or_unknown_token_is_refused_and_quoted_back() -> None:
    """The refusal is Spring's, with the token in it: a client has to black it out."""
    login = make()
    token = ask(login)[1]["access_token"]
    for refused, now in ((token, 300.0), ("never-issued", 0.0)):
        answer = login.check(f"Bearer {refused}", now)
        assert answer is not None
        assert answer.status == 401
        body = {"error": "invalid_token", "error_description": f"Invalid access token: {refused}"}
        assert json.loads(answer.body) == body


@pytest.mark.parametrize("authorization", ["", "Basic abc", "token"])
def test_request_without_a_bearer_token_is_refused(authorization: str) -> None:
    """No token, no answer."""
    answer = make().check(authorization, 0.0)
    assert answer is not None
    assert (answer.status, json.loads(answer.body)["error"]) == (401, "unauthorized")


def test_tokens_can_be_made_invalid_before_their_time() -> None:
    """After `expire_tokens` only newer tokens are good."""
    login = make()
    old = ask(login)[1]["access_token"]
    login.expire_tokens()
    assert login.check(f"Bearer {old}", 1.0) is not None
    assert login.check(f"Bearer {ask(login)[1]['access_token']}", 1.0) is None


def test_expired_tokens_are_forgotten() -> None:
    """A sandbox that runs for months keeps no token that is of no use."""
    login = make()
    for now in range(0, 10_000, 100):
        ask(login, now=now)
    assert len(login._expiries) == 3


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({"password": "x"}, 400, "invalid_grant"),
        ({"username": "x"}, 400, "invalid_grant"),
        ({"password": ""}, 400, "invalid_grant"),
        ({"clientId": "x"}, 401, "invalid_client"),
        ({"authorization": basic("client:x")}, 401, "invalid_client"),
        ({"authorization": "Basic " + b64encode("client:sécret".encode("latin-1")).decode()}, 401, "invalid_client"),
        ({"authorization": "Basic ???"}, 401, "invalid_client"),
        ({"authorization": "Bearer x"}, 401, "invalid_client"),
        ({"authorization": ""}, 401, "invalid_client"),
        ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        *[({name: None}, 400, "invalid_request") for name in FORM],
    ],
    ids=str,
)
def test_every_refusal_counts_towards_the_lock(wrong: dict[str, Any], status: int, error: str) -> None:
    """Whatever is wrong with a token request: three in a row, and even the right credentials are refused."""
    login = make()
    for _ in range(3):
        assert not login.locked
        answer_status, answer = ask(login, **wrong)
        assert (answer_status, answer["error"]) == (status, error)
    assert login.locked
    assert ask(login)[0] == 401
    assert ask(login)[1]["error_description"] == "Account locked"
    login.unlock()
    assert ask(login)[0] == 200


def test_success_ends_a_row_of_failures() -> None:
    """Only consecutive failures lock."""
    login = make()
    for _ in range(5):
        assert [ask(login, password="x")[0], ask(login, password="x")[0], ask(login)[0]] == [400, 400, 200]


def test_lock_leaves_issued_tokens_alone() -> None:
    """Who is in stays in: the lock is about logins."""
    login = make()
    token = ask(login)[1]["access_token"]
    for _ in range(3):
        ask(login, password="x")
    assert login.check(f"Bearer {token}", 1.0) is None


def test_secrets_are_not_shown() -> None:
    """A printed sandbox gives nothing away."""
    assert "sécret" not in repr(make())
    assert "wörd" not in repr(make())
