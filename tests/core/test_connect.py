"""``connect``: how a client is put together, and what is said when it cannot be."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from enkash_coins import CoinEventService, InvalidRequest, RetryPolicy
from enkash_coins.auth.tokens import StaticToken
from enkash_coins.layers.bearer import Bearer
from enkash_coins.service import client_of

CrashReport = Callable[[BaseException], str]
URL = "https://coins.example"


def source_of(coins: CoinEventService) -> object:
    """Where a service takes its tokens from."""
    bearer = client_of(coins).caller.transport
    assert isinstance(bearer, Bearer)
    return bearer._source


def test_connect_opens_nothing_and_needs_no_loop() -> None:
    """A service can be made at import, outside any event loop, and closed without ever being used."""
    coins = CoinEventService.connect(
        URL,
        auth="sesame",
        cookies={"JSESSIONID": "x"},
        headers={"X-A": "1"},
        user_agent="acme/1",
        timeout=5,
        retry=RetryPolicy(attempts=2),
        concurrency=4,
        rate=10,
        ssl_context=ssl.create_default_context(),
        proxy="http://proxy.example:3128",
        trust_env=True,
    )
    assert isinstance(source_of(coins), StaticToken)
    asyncio.run(coins.aclose())


SECRETS: dict[str, Any] = {
    "auth": "sesame-token",
    "cookies": {"JSESSIONID": "sesame-cookie"},
    "headers": {"X-Key": "sesame-header"},
    "proxy": "http://user:sesame-proxy@proxy.example:3128",
}
WRONG: dict[str, dict[str, Any]] = {
    "timeout: 0 is not": {"timeout": 0},
    "rate: -1 is not": {"rate": -1},
    "concurrency: 0 is neither": {"concurrency": 0},
    "proxy is not": {"proxy": "socks5://user:sesame-proxy@proxy.example"},
    "headers: Authorization is set": {"headers": {"Authorization": "sesame-header"}},
    "headers: the value of X-Key": {"headers": {"X-Key": "sesame-header\n"}},
    "cookies: the value of a has": {"cookies": {"a": "sesame-cookie;"}},
    "auth: the token has characters": {"auth": "sesame token"},
    "auth: the token ends with a": {"auth": "sesame-token\n"},
    "auth is neither a token nor": {"auth": b"sesame-token"},
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_wrong_setting_is_named_and_no_secret_is_shown(problem: str, crash_report: CrashReport) -> None:
    """The message names the setting; message, traceback and frames show no secret, of this setting or another."""
    with pytest.raises(InvalidRequest, match=f"^{problem}") as caught:
        CoinEventService.connect(URL, **(SECRETS | WRONG[problem]))
    assert "sesame" not in crash_report(caught.value)


@pytest.mark.parametrize("url", ["https://user:sesame-url@coins.example", "http://coins.example/sesame-url", ""])
def test_a_wrong_address_is_named_and_not_shown(url: str, crash_report: CrashReport) -> None:
    """An address may hold a password."""
    with pytest.raises(InvalidRequest, match=r"^base_url: |^base_url is empty") as caught:
        CoinEventService.connect(url, **SECRETS)
    assert "sesame" not in crash_report(caught.value)


@pytest.mark.parametrize("auth", [None, 5, {"token": "x"}, object()], ids=["None", "int", "dict", "object"])
def test_auth_is_a_token_or_a_source(auth: str) -> None:
    """Anything else is refused where it is given, not at the first call."""
    with pytest.raises(InvalidRequest, match=r"^auth is neither a token nor a TokenSource"):
        CoinEventService.connect(URL, auth=auth)


def test_auth_and_address_are_required() -> None:
    """There is no default host, and nobody calls without a token."""
    connect: Callable[..., CoinEventService] = CoinEventService.connect
    with pytest.raises(TypeError, match="auth"):
        connect(URL)
    with pytest.raises(TypeError, match="base_url"):
        connect(auth="x")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"cookies": {"a": "sesame"}}, "cookies"),
        ({"proxy": "http://user:sesame@proxy.example"}, "proxy"),
        ({"trust_env": True}, "trust_env"),
        ({"ssl_context": ssl.create_default_context()}, "ssl_context"),
        ({"cookies": {"a": "sesame"}, "trust_env": True}, "cookies, trust_env"),
    ],
    ids=["cookies", "proxy", "trust_env", "ssl_context", "two"],
)
def test_what_belongs_to_a_session_is_not_given_beside_one(
    options: dict[str, Any], named: str, crash_report: CrashReport
) -> None:
    """``session=`` with a setting of the session's is a ``TypeError`` that names it, and shows no value."""
    session: Any = object()  # never touched: the error comes first
    with pytest.raises(TypeError, match=f"^{named} cannot be given with session=") as caught:
        CoinEventService.connect(URL, auth="sesame-token", session=session, **options)
    assert "sesame" not in crash_report(caught.value)


async def test_settings_that_are_not_given_do_not_clash_with_a_session() -> None:
    """What a caller passes through as empty, absent or off is no setting."""
    session = aiohttp.ClientSession()
    for options in ({}, {"cookies": None, "ssl_context": None, "proxy": None}, {"cookies": {}, "trust_env": False}):
        connect: Callable[..., CoinEventService] = CoinEventService.connect
        assert isinstance(connect(URL, auth="x", session=session, **options), CoinEventService)
    await session.close()
