"""``from_env``: settings from the environment, and what is said when they cannot be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from enkash_coins import CoinEventService, InvalidRequest, LoginRefused, PasswordGrant
from enkash_coins.auth.tokens import StaticToken
from enkash_coins.layers.bearer import Bearer
from enkash_coins.secret import Secret
from enkash_coins.service import client_of
from enkash_coins.testing import MockTransport
from enkash_coins.transport import Response

CrashReport = Callable[[BaseException], str]
URL = "https://coins.example"
LOGIN = {
    "ENKASH_CLIENT_ID": "client-1",
    "ENKASH_CLIENT_SECRET": "sesame-secret",
    "ENKASH_USERNAME": "user",
    "ENKASH_PASSWORD": "sesame-password",
}
NAMES = ("ENKASH_BASE_URL", "ENKASH_TOKEN", "ENKASH_LOGIN_GUARD", *LOGIN)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine's own reaches these tests."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def source_of(coins: CoinEventService) -> object:
    """Where a service takes its tokens from."""
    bearer = client_of(coins).caller.transport
    assert isinstance(bearer, Bearer)
    return bearer._source


def environ(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Set the environment's variables."""
    for name, value in values.items():
        monkeypatch.setenv(name, value)


async def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ENKASH_BASE_URL`` and ``ENKASH_TOKEN`` are enough."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, ENKASH_TOKEN="sesame-token")
    source = source_of(CoinEventService.from_env())
    assert isinstance(source, StaticToken)
    assert (await source.token(MockTransport([]))).value == "sesame-token"


async def test_a_login_guard_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``ENKASH_LOGIN_GUARD`` names the file in which all processes of an application share what they know."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, **LOGIN, ENKASH_LOGIN_GUARD=str(tmp_path / "logins.json"))
    refusal = MockTransport([Response(401)])
    for _ in range(2):  # as two processes would
        source = source_of(CoinEventService.from_env())
        assert isinstance(source, PasswordGrant)
        with pytest.raises(LoginRefused):
            await source.token(refusal)
    assert len(refusal.requests) == 1


async def test_a_login_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four parts of a login become a ``PasswordGrant``, each in its place."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, **LOGIN)
    source = source_of(CoinEventService.from_env())
    assert isinstance(source, PasswordGrant)
    transport = MockTransport([Response(200, {}, b'{"access_token":"x"}')])
    await source.token(transport)
    (request,) = transport.requests
    assert dict(parse_qsl(request.body.decode()))["clientId"] == "client-1"
    assert dict(parse_qsl(request.body.decode()))["password"] == "sesame-password"
    assert request.headers["Authorization"] == "Basic Y2xpZW50LTE6c2VzYW1lLXNlY3JldA=="


@pytest.mark.parametrize("unset", [None, ""], ids=["missing", "empty"])
@pytest.mark.parametrize("name", LOGIN)
def test_a_missing_part_of_a_login_is_named(monkeypatch: pytest.MonkeyPatch, name: str, unset: str | None) -> None:
    """Which one, and that an empty one is as good as missing; nothing else is shown."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, **LOGIN)
    if unset is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, unset)
    with pytest.raises(InvalidRequest, match=f"^{name} is not set$"):
        CoinEventService.from_env()


@pytest.mark.parametrize("name", ["ENKASH_TOKEN", *LOGIN])
@pytest.mark.parametrize(("end", "said"), [("\n", r"a newline ('\n')"), (" ", "a space (' ')")], ids=repr)
def test_what_a_file_ends_with_is_named(monkeypatch: pytest.MonkeyPatch, name: str, end: str, said: str) -> None:
    """A secret read from a file with its last newline is refused here, by its variable: it would cost a login."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, **({name: "sesame"} if name == "ENKASH_TOKEN" else LOGIN))
    monkeypatch.setenv(name, f"sesame{end}")
    with pytest.raises(InvalidRequest) as caught:
        CoinEventService.from_env()
    assert str(caught.value) == f"{name} ends with {said}: nothing is sent"


def test_all_missing_parts_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of fixing is enough."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, ENKASH_USERNAME="user")
    with pytest.raises(InvalidRequest, match=r"^ENKASH_CLIENT_ID, ENKASH_CLIENT_SECRET, ENKASH_PASSWORD are not set$"):
        CoinEventService.from_env()
    monkeypatch.delenv("ENKASH_USERNAME")
    with pytest.raises(InvalidRequest, match=r"^neither ENKASH_TOKEN nor ENKASH_CLIENT_ID, .*ENKASH_PASSWORD are set$"):
        CoinEventService.from_env()


@pytest.mark.parametrize("name", LOGIN)
def test_two_kinds_of_login_are_too_many(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A token and any part of a login: nobody can tell which one is meant."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, ENKASH_TOKEN="sesame-token", **{name: LOGIN[name]})
    with pytest.raises(InvalidRequest, match=f"^both ENKASH_TOKEN and {name} are set: unset one kind$"):
        CoinEventService.from_env()


@pytest.mark.parametrize("unset", [None, ""], ids=["missing", "empty"])
def test_the_address_is_required(monkeypatch: pytest.MonkeyPatch, unset: str | None) -> None:
    """It is never guessed; an empty one is as good as missing."""
    environ(monkeypatch, ENKASH_TOKEN="sesame-token")
    if unset is not None:
        monkeypatch.setenv("ENKASH_BASE_URL", unset)
    with pytest.raises(InvalidRequest, match=r"^ENKASH_BASE_URL is not set"):
        CoinEventService.from_env()


@pytest.mark.parametrize(
    "values",
    [
        {"ENKASH_TOKEN": "sesame-token"},
        {"ENKASH_BASE_URL": URL, "ENKASH_TOKEN": "sesame-token", "ENKASH_PASSWORD": "sesame-password"},
        {"ENKASH_BASE_URL": URL, "ENKASH_PASSWORD": "sesame-password"},
        {"ENKASH_BASE_URL": URL, "ENKASH_TOKEN": "sesame\nsesame"},
        {"ENKASH_BASE_URL": URL, **LOGIN, "ENKASH_PASSWORD": "sesame\n"},
        {"ENKASH_BASE_URL": "http://user:sesame@coins.example", "ENKASH_TOKEN": "x"},
    ],
    ids=["no address", "two kinds", "parts missing", "bad token", "bad password", "bad address"],
)
def test_no_frame_shows_the_environment(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], crash_report: CrashReport
) -> None:
    """A crash reporter that prints the locals of our frames prints no secret: not the whole environment, either."""
    environ(monkeypatch, **values)
    with pytest.raises(InvalidRequest) as caught:
        CoinEventService.from_env()
    assert "sesame" not in crash_report(caught.value)


def test_an_empty_token_beside_a_login_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ENKASH_TOKEN=`` in a shell's profile does not get in the way, nor does an empty login."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, ENKASH_TOKEN="", **LOGIN)
    assert isinstance(source_of(CoinEventService.from_env()), PasswordGrant)
    environ(monkeypatch, ENKASH_TOKEN="x", **dict.fromkeys(LOGIN, ""))
    assert isinstance(source_of(CoinEventService.from_env()), StaticToken)


async def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``auth=`` nothing about logins is read, not even to complain; other arguments go to ``connect``."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, ENKASH_TOKEN="sesame-token", **LOGIN)
    source = StaticToken(Secret("x"))
    coins = CoinEventService.from_env(auth=source, concurrency=3)
    assert source_of(coins) is source
    assert coins._client.width == 3
    with pytest.raises(InvalidRequest, match=r"^timeout: -1"):
        CoinEventService.from_env(auth="x", timeout=-1)


OVERRIDES: dict[str, Any] = {
    "auth": "sesame-token",
    "cookies": {"JSESSIONID": "sesame-cookie"},
    "headers": {"X-Key": "sesame-header"},
    "proxy": "http://user:sesame-proxy@proxy.example:3128",
}


def test_overrides_are_not_shown_either(monkeypatch: pytest.MonkeyPatch, crash_report: CrashReport) -> None:
    """A wrong override beside a secret one: no frame of ours shows the secret."""
    environ(monkeypatch, ENKASH_BASE_URL=URL)
    with pytest.raises(InvalidRequest) as caught:
        CoinEventService.from_env(**OVERRIDES, timeout=-1)
    assert "sesame" not in crash_report(caught.value)


def test_an_unknown_override_is_a_type_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is found, not ignored."""
    environ(monkeypatch, ENKASH_BASE_URL=URL, ENKASH_TOKEN="x")
    from_env: Callable[..., CoinEventService] = CoinEventService.from_env
    with pytest.raises(TypeError, match="time_out"):
        from_env(time_out=5)
