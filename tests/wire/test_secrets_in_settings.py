"""A setting that is refused is named, and neither it nor any secret beside it is shown."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from enkash_coins import CoinEventService, InvalidRequest, LoginRefused, PasswordGrant, RetryPolicy
from enkash_coins.service import ConnectOptions
from tests.wire.leaks import COOKIES, HEADERS, SECRETS, assert_no_leak, grant, leaked
from tests.wire.server import Server, envelope, http

URL = "https://coins.invalid"
PROXY = f"http://user:{SECRETS['proxy password']}@proxy.invalid"
ALL = ConnectOptions(auth=SECRETS["token"], cookies=COOKIES, headers=HEADERS, proxy=PROXY)

# What is wrong, and what the message names.
BAD: dict[str, tuple[str, ConnectOptions]] = {
    "base_url": (f"https://user:{SECRETS['password']}@coins.invalid", ALL),
    "base_url: ": (f"http://coins.invalid/{SECRETS['token']}", ALL),
    "base_url: has": (f"https://coins.invalid/ {SECRETS['token']}", ALL),
    "base_url: must": (f"https://coins.invalid/?token={SECRETS['token']}", ALL),
    "base_url: is": (f"https://[{SECRETS['token']}", ALL),
    "timeout": (URL, ALL | ConnectOptions(timeout=-1)),
    "rate": (URL, ALL | ConnectOptions(rate=0)),
    "concurrency": (URL, ALL | ConnectOptions(concurrency=0)),
    "auth": (URL, ALL | ConnectOptions(auth=f"{SECRETS['token']}\r\n")),
    "auth: ": (URL, ALL | ConnectOptions(auth="")),
    "auth is": (URL, ALL | ConnectOptions(auth=COOKIES)),  # type: ignore[typeddict-item]  # what is tested
    "cookies": (URL, ALL | ConnectOptions(cookies={"JSESSIONID": f"{SECRETS['cookie']};"})),
    "cookies: ": (URL, ALL | ConnectOptions(cookies={SECRETS["cookie"] + ";": "x"})),
    "headers": (URL, ALL | ConnectOptions(headers={"X-Api-Key": f"{SECRETS['header']}\r\nX: y"})),
    "headers: Authorization": (URL, ALL | ConnectOptions(headers={"Authorization": SECRETS["header"]})),
    "proxy": (URL, ALL | ConnectOptions(proxy=f"user:{SECRETS['proxy password']}@proxy.invalid")),
    "proxy ": (URL, ALL | ConnectOptions(proxy=f"socks5://user:{SECRETS['proxy password']}@proxy.invalid")),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets ENKASH_* variables, and no others."""
    names = ("BASE_URL", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD")
    for name in names:
        monkeypatch.delenv(f"ENKASH_{name}", raising=False)

    def setenv(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"ENKASH_{name}", value)

    return setenv


@pytest.mark.parametrize("named", BAD)
def test_connect_refuses_without_showing(named: str) -> None:
    """The message names the setting; neither it nor the traceback's frames hold a secret."""
    url, options = BAD[named]
    with pytest.raises(InvalidRequest, match=named.strip()) as caught:
        CoinEventService.connect(url, **options)
    assert_no_leak(caught.value, [])


@pytest.mark.parametrize("named", BAD)
def test_from_env_refuses_without_showing(named: str, environment: Callable[..., None]) -> None:
    """The same for overrides, and for a base URL from the environment."""
    url, options = BAD[named]
    environment(BASE_URL=url)
    with pytest.raises(InvalidRequest, match=named.strip()) as caught:
        CoinEventService.from_env(**options)
    assert_no_leak(caught.value, [])


CREDENTIALS = {
    "CLIENT_ID": "client-id",
    "CLIENT_SECRET": SECRETS["client secret"],
    "USERNAME": "user@example.in",
    "PASSWORD": SECRETS["password"],
}


@pytest.mark.parametrize("missing", ["CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD"])
def test_a_part_that_is_missing(missing: str, environment: Callable[..., None]) -> None:
    """The missing variable is named; the others, and the rest of the environment, are not shown."""
    environment(BASE_URL=URL, **{name: value for name, value in CREDENTIALS.items() if name != missing})
    with pytest.raises(InvalidRequest, match=f"^ENKASH_{missing} is not set") as caught:
        CoinEventService.from_env(cookies=COOKIES)
    assert_no_leak(caught.value, [])


def test_both_kinds_of_credentials(environment: Callable[..., None]) -> None:
    """Two ways to log in are an error that names both; which was meant is not guessed."""
    environment(BASE_URL=URL, TOKEN=SECRETS["token"], PASSWORD=SECRETS["password"])
    with pytest.raises(InvalidRequest, match="ENKASH_TOKEN and ENKASH_PASSWORD") as caught:
        CoinEventService.from_env(cookies=COOKIES)
    assert_no_leak(caught.value, [])


def test_no_base_url(environment: Callable[..., None]) -> None:
    """The base URL is never guessed."""
    environment(**CREDENTIALS)
    with pytest.raises(InvalidRequest, match="ENKASH_BASE_URL is not set") as caught:
        CoinEventService.from_env(cookies=COOKIES)
    assert_no_leak(caught.value, [])


async def test_a_session_together_with_cookies() -> None:
    """The TypeError about settings that belong to a session shows none of them."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TypeError, match="cookies, proxy") as caught:
            CoinEventService.connect(URL, **(ALL | ConnectOptions(session=session)))
    assert_no_leak(caught.value, [])


def test_nothing_shows_secrets_while_all_is_well() -> None:
    """The repr of a service, a grant and their parts."""
    coins = CoinEventService.connect(URL, **ALL)
    with_login = CoinEventService.connect(URL, **(ALL | ConnectOptions(auth=grant())))
    assert (
        leaked(f"{coins!r} {vars(coins)!r} {with_login!r} {vars(with_login)!r} {grant()!r} {vars(grant())!r}") == set()
    )


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("value", ["", None, 7, b"bytes", "\ud800"], ids=["empty", "None", "int", "bytes", "surrogate"])
def test_a_credential_that_cannot_be_sent(part: int, value: object) -> None:
    """It is named when it is given, and not one of the three tries of the account is spent."""
    parts: list[object] = ["client-id", SECRETS["client secret"], "user@example.in", SECRETS["password"]]
    parts[part] = value
    with pytest.raises(InvalidRequest, match=["client_id", "client_secret", "username", "password"][part]) as caught:
        PasswordGrant(*parts)  # type: ignore[arg-type]  # what is tested
    assert_no_leak(caught.value, [])


async def test_a_refused_login_stays_silent() -> None:
    """The latched error of every further call is as silent as the first."""
    refusal = http(400, b'{"error":"invalid_grant","error_description":"Bad credentials"}')
    async with (
        Server(lambda _: [refusal]) as server,
        CoinEventService.connect(server.url, auth=grant(), cookies=COOKIES) as coins,
    ):
        for result in await asyncio.gather(*(coins.get("WCC1") for _ in range(5)), return_exceptions=True):
            assert isinstance(result, LoginRefused)
            assert_no_leak(result, [])
        with pytest.raises(LoginRefused) as caught:
            await coins.get("WCC1")
        assert_no_leak(caught.value, [])
    assert server.calls == {"token": 1}


async def test_short_cookies_do_not_garble_an_error() -> None:
    """Blacking out looks for secrets, not for every digit of an answer that some short cookie has as its value."""
    answers = [http(503, b"", ["Set-Cookie: a=1; Path=/", "Set-Cookie: lang=e; Path=/"])]
    no = http(404, envelope(None, 1, "No such configuration"))
    async with (
        Server(lambda _: [answers.pop() if answers else no]) as server,
        CoinEventService.connect(server.url, auth="a-token", cookies={"b": "o"}, retry=RetryPolicy(base=0)) as coins,
    ):
        with pytest.raises(Exception, match="No such configuration") as caught:
            await coins.get("WCC1")
    assert caught.value.response_code == 1  # type: ignore[attr-defined]  # of the ApiError that it is
