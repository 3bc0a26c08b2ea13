"""Cookies: what the server sets comes back as it was set, and the caller's own win."""

import asyncio

import aiohttp
import pytest
from yarl import URL

from enkash_coins import CoinEventService, CoinEventUpdate, MalformedResponse, PasswordGrant
from enkash_coins.sandbox import Fault, Sandbox
from enkash_coins.transports.cookies import Jar
from tests.wire.calls import ONE_TRY
from tests.wire.server import CONFIG, Script, Server, envelope, http, well

# As on EnKash's page.
DOCUMENTED = {
    "_cfuvid": "HYP8bzh65tyJdOQA3SszmnkR5ESGtAs.KQDRP5INTTg-1720761030734-0.0.1.1-604800000",
    "JSESSIONID": "2965781B20AA96A7AA6BF5631B3BBDD8",
}


def sets(*cookies: str) -> Script:
    """The first answer sets these cookies."""
    left = list(cookies)

    def script(exchange: object) -> list[bytes]:
        headers = [f"Set-Cookie: {cookie}" for cookie in left]
        left.clear()
        return [http(200, envelope(CONFIG), headers)]

    return script


def sent(server: Server) -> list[str | None]:
    """The Cookie header of each request."""
    return [exchange.header("Cookie") for exchange in server.seen]


async def test_the_first_call_goes_without(server: Server) -> None:
    """A server that sets no cookies gets none."""
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        await coins.get("WCC12345")
        await coins.get("WCC12345")
    assert sent(server) == [None, None]


@pytest.mark.parametrize(
    "pair",
    [
        f"_cfuvid={DOCUMENTED['_cfuvid']}",
        f"JSESSIONID={DOCUMENTED['JSESSIONID']}",
        "a=b64+/and==",
        "a=x:y@z!#$%&'()*.^`|~",
        'a={"k":[1,2]}',
        "a=1,2",
        "a=two words",
        'a="in quotes"',
        'a="with, comma"',
        "a=%7B%22k%22%7D",
        "a=<b>?[c]\\d",
        "a=",
    ],
)
async def test_a_cookie_comes_back_byte_for_byte(server: Server, pair: str) -> None:
    """On 127.0.0.1 too, and without the quotes that Python's cookies would put around some values."""
    server.script = sets(f"{pair}; Path=/; HttpOnly; SameSite=Lax")
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        await coins.get("WCC12345")
        await coins.update("WCC12345", amount=10)
    assert sent(server) == [None, pair]


async def test_several_cookies_and_their_end(server: Server) -> None:
    """Several come back together; one that the server takes back is gone, and one for another path stays at home."""
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        server.script = sets("a=1; Path=/", "b=2; Path=/", "c=3; Path=/elsewhere")
        await coins.get("WCC12345")
        server.script = sets("a=; Path=/; Max-Age=0", "b=4; Path=/")
        await coins.get("WCC12345")
        await coins.get("WCC12345")
    assert sent(server) == [None, "a=1; b=2", "b=4"]


async def test_cookies_of_a_login(server: Server) -> None:
    """A cookie set with the token comes back with the calls."""

    def script(exchange: object) -> list[bytes]:
        token = b'{"access_token":"token-of-the-server"}'
        server.script = well
        return [http(200, token, ["Set-Cookie: JSESSIONID=x/y==; Path=/; HttpOnly"])]

    server.script = script
    async with CoinEventService.connect(server.url, auth=PasswordGrant("i", "s", "u", "p")) as coins:
        await coins.get("WCC12345")
    assert sent(server) == [None, "JSESSIONID=x/y=="]


async def test_cookies_of_an_error_count_too(server: Server) -> None:
    """A CDN sets its cookie on the very answer that refuses: the retry brings it."""
    answers = [[http(503, b"<html>", ["Set-Cookie: __cf_bm=a.b-c; Path=/"])]]
    server.script = lambda exchange: answers.pop() if answers else well(exchange)
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        await coins.get("WCC12345")
    assert sent(server) == [None, "__cf_bm=a.b-c"]


async def test_the_callers_cookies_win(server: Server) -> None:
    """``cookies=`` is sent with every request, as given, and stays although the server sets another value."""
    server.script = sets("JSESSIONID=the-server's; Path=/", "other=1; Path=/")
    async with CoinEventService.connect(server.url, auth="a-token", cookies=DOCUMENTED) as coins:
        await coins.get("WCC12345")
        await coins.get("WCC12345")
    own = [f"{name}={value}" for name, value in DOCUMENTED.items()]
    first, second = ((header or "").split("; ") for header in sent(server))
    assert sorted(first) == sorted(own)
    assert sorted(second) == sorted([*own, "other=1"])


@pytest.mark.parametrize("value", ["b64+/==", "x:y@z!#$%&'()*.^`|~", "{1,2}[3]", "<a>?=b"])
async def test_the_callers_cookies_are_sent_as_given(server: Server, value: str) -> None:
    """No quoting of ours, whatever may stand in a cookie."""
    async with CoinEventService.connect(server.url, auth="a-token", cookies={"a": value}) as coins:
        await coins.get("WCC12345")
    assert sent(server) == [f"a={value}"]


@pytest.mark.parametrize(
    "cookies", [{"a": "x;y"}, {"a": "x\r\nX: y"}, {"a b": "c"}, {"a": 1}, {"": "x"}, {"a": "ü"}, {"a": 'q"q'}]
)
async def test_what_cannot_stand_in_a_cookie(server: Server, cookies: dict[str, str]) -> None:
    """Refused when connecting, and nothing is sent."""
    with pytest.raises(ValueError, match=r"^cookies: "):
        CoinEventService.connect(server.url, auth="a-token", cookies=cookies)


async def test_the_jar_of_a_callers_session(server: Server) -> None:
    """With session= its jar holds the cookies: what it has is sent, what the server sets is kept there."""
    jar = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
    server.script = sets("b=x/y==; Path=/")
    async with aiohttp.ClientSession(cookie_jar=jar, cookies={"a": "1"}) as session:
        async with CoinEventService.connect(server.url, auth="a-token", session=session) as coins:
            await coins.get("WCC12345")
            await coins.get("WCC12345")
        assert sent(server) == ["a=1", "a=1; b=x/y=="]
        assert jar.filter_cookies(URL(server.url))["b"].value == "x/y=="


async def test_two_services_do_not_share_cookies(server: Server) -> None:
    """Each service has a jar of its own."""
    server.script = sets("a=1; Path=/")
    async with (
        CoinEventService.connect(server.url, auth="a-token") as one,
        CoinEventService.connect(server.url, auth="a-token") as other,
    ):
        await one.get("WCC12345")
        await asyncio.gather(one.get("WCC12345"), other.get("WCC12345"))
    assert sorted(header or "" for header in sent(server)) == ["", "", "a=1"]


async def test_a_new_cookie_with_every_answer_does_not_pile_up() -> None:
    """A load balancer may name a new cookie each time; the oldest go, before the server refuses the headers."""
    updates = [CoinEventUpdate(f"WCC{number:05}", amount=1) for number in range(1, 301)]
    async with (
        Sandbox(configs=300, faults=[Fault("new_cookie")]) as sandbox,
        CoinEventService.connect(sandbox.base_url, auth=sandbox.auth) as coins,
    ):
        assert await coins.update_many(updates).failures() == []
        jar = coins._pacing._inner._wire.get().jar  # type: ignore[attr-defined]  # only from inside
        assert len(jar) <= 50


async def test_memory_stays_flat_with_ten_thousand_cookies() -> None:
    """What is kept of them is bounded, too."""
    jar = Jar({})
    for number in range(10_000):
        jar.update_cookies_from_headers([f"c{number}=x; Path=/"], URL("http://127.0.0.1/api/v0/coins"))
    assert len(jar) == len(jar._ages) == 50
    assert len(jar._expirations) <= 50
    assert "c9999=x" in jar.header(URL("http://127.0.0.1/api/v0/coins"))
    assert "c9949=x" not in jar.header(URL("http://127.0.0.1/api/v0/coins"))


@pytest.mark.parametrize("size", [9_000, 60_000])
async def test_a_long_header_is_read(size: int) -> None:
    """A Content-Security-Policy of 9 kB is no reason to call a success unreadable."""
    async with (
        Sandbox(faults=[Fault("large_header", size=size)]) as sandbox,
        CoinEventService.connect(sandbox.base_url, auth=sandbox.auth) as coins,
    ):
        assert (await coins.update("WCC00001", amount=3)).amount == 3


async def test_a_header_beyond_64_kib_is_told() -> None:
    """The sentence says what is wrong with the answer; the write is in doubt."""
    async with (
        Sandbox(faults=[Fault("large_header", on="create", size=70_000)]) as sandbox,
        CoinEventService.connect(sandbox.base_url, auth=sandbox.auth) as coins,
    ):
        with pytest.raises(MalformedResponse, match="a header of more than 65536 bytes") as caught:
            await coins.create(company_id="CEK1", event="E", amount=1, configuration="DEFAULT")
    assert caught.value.maybe_applied
