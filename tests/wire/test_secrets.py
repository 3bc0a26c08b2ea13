"""No secret is shown: not by errors, not by logs, whatever goes wrong and whatever a server quotes back."""

import asyncio
import html
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import quote

import attrs
import pytest

from enkash_coins import CoinEventService, EnkashError, RetryPolicy
from enkash_coins.service import ConnectOptions
from tests.wire.calls import CALLS, ONE_TRY
from tests.wire.failures import failing, nobody_listens
from tests.wire.leaks import COOKIES, HEADERS, SECRETS, assert_no_leak, grant, leaked, shown
from tests.wire.server import Exchange, Script, Server, Step, always, http
from tests.wire.test_retries import TABLE

COOKIE = f"Set-Cookie: session={SECRETS['server cookie']}; Path=/"
TWO_TRIES = RetryPolicy(attempts=2, base=0)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
async def logs() -> AsyncIterator[list[logging.LogRecord]]:
    """Every record of every logger from DEBUG up, asyncio's own debugging included."""
    kept, root = _Kept(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(kept)
    asyncio.get_running_loop().set_debug(True)
    yield kept.records
    root.removeHandler(kept)
    root.setLevel(level)
    assert "asyncio" in {record.name for record in kept.records}, "this test was blind"


def login(_: Exchange | None = None) -> list[Step]:
    """A login that goes well."""
    answer = {"access_token": SECRETS["server token"], "refresh_token": SECRETS["server token"], "expires_in": 86399}
    return [http(200, json.dumps(answer).encode(), [COOKIE])]


def with_secrets(options: ConnectOptions) -> ConnectOptions:
    """The same, with secrets in all that may hold some."""
    own = ConnectOptions(headers=HEADERS)
    if "session" not in options:
        own["cookies"] = COOKIES
    if "proxy" in options:
        own["proxy"] = (options["proxy"] or "").replace("//", f"//user:{SECRETS['proxy password']}@")
    return options | own


@pytest.mark.parametrize("login_fails", [False, True, None], ids=["after a login", "in the login", "static token"])
@pytest.mark.parametrize("failure", TABLE)
async def test_no_failure_shows_a_secret(
    failure: str, logs: list[logging.LogRecord], *, login_fails: bool | None
) -> None:
    """In every failure of the retry table, at the login and after it."""
    async with failing(failure) as given:
        fails = given.server.script
        if not login_fails:
            given.server.script = lambda exchange: login() if exchange.operation == "token" else fails(exchange)
        for call in (CALLS["get"], CALLS["allocate"]):
            options = with_secrets(given.options)
            options["auth"] = SECRETS["token"] if login_fails is None else grant()
            async with attrs.evolve(given, options=options).client(TWO_TRIES) as coins:
                with pytest.raises(EnkashError) as caught:
                    await call(coins)
            assert_no_leak(caught.value, logs)
        assert "enkash_coins" in {record.name for record in logs}


def quoting(status: int, form: Callable[[str], bytes], *headers: str) -> Script:
    """Answer with all of the request, head and body, in this form; and set a cookie, to see it quoted next time."""

    def script(exchange: Exchange) -> Sequence[Step]:
        text = exchange.raw.decode("latin-1").encode("latin-1").decode("utf-8")
        return [http(status, form(text), [COOKIE, *headers])]

    return script


def in_envelope(text: str) -> bytes:
    """As the API writes it."""
    return json.dumps({"response_code": 1, "response_message": text, "payload": text}, ensure_ascii=False).encode()


def in_escaped_envelope(text: str) -> bytes:
    """As PHP and some Java libraries write it: slashes and all that is not ASCII are escaped."""
    return json.dumps({"response_code": 1, "response_message": text, "payload": text}).replace("/", "\\/").encode()


def in_oauth_error(text: str) -> bytes:
    """As the token endpoint, and Spring, write it."""
    return json.dumps({"error": "invalid_token", "error_description": text}, ensure_ascii=False).encode()


def in_sister_envelope(text: str) -> bytes:
    """As the sister products write it."""
    return json.dumps({"code": 1, "message": text}, ensure_ascii=False).encode()


def in_html(text: str) -> bytes:
    """As a CDN writes it."""
    return f"<html><pre>{text}</pre></html>".encode()


def _escaped(text: str, form: str, characters: str | None = None) -> bytes:
    """In an envelope, with these characters, or all, as JSON's numbers for UTF-16."""
    units = (
        "".join(form % int.from_bytes(pair) for pair in batched(character.encode("utf-16-be")))
        if characters is None or character in characters or character in '"\\\r\n'
        else character
        for character in text
    )
    quoted = "".join(units)
    return f'{{"response_code":1,"response_message":"{quoted}","payload":"{quoted}"}}'.encode()


def batched(data: bytes) -> list[bytes]:
    """Two bytes at a time."""
    return [data[at : at + 2] for at in range(0, len(data), 2)]


def in_gsons_envelope(text: str) -> bytes:
    """As Gson writes it, unless it is told not to: what means something in HTML is escaped, ``=`` with it."""
    return _escaped(text, "\\u%04x", "<>&='")


def in_jacksons_envelope(text: str) -> bytes:
    """As Jackson writes ASCII only: in capitals."""
    return _escaped(text, "\\u%04X", "é")


def in_numbers(text: str) -> bytes:
    """As nobody writes it, and every reader reads it."""
    return _escaped(text, "\\u%04x")


def in_a_form(text: str) -> bytes:
    """Quoted as in a URL."""
    return in_envelope(quote(text, safe=""))


def in_html_in_an_envelope(text: str) -> bytes:
    """As a careful page writes it."""
    return in_envelope(html.escape(text))


def beside_another_code(text: str) -> bytes:
    """With a code of its own in the payload, which is a success and is not meant."""
    answer = {"response_code": 1, "response_message": text, "payload": {"code": 0, "response_code": 0}}
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


FORMS = [
    in_envelope,
    in_escaped_envelope,
    in_oauth_error,
    in_sister_envelope,
    in_html,
    in_gsons_envelope,
    in_jacksons_envelope,
    in_numbers,
    in_a_form,
    in_html_in_an_envelope,
    beside_another_code,
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 408, 422, 429, 500, 503])
async def test_a_server_that_quotes_the_request(
    status: int, form: Callable[[str], bytes], logs: list[logging.LogRecord]
) -> None:
    """Whatever of a request comes back in an answer, secrets are blacked out before anything is made of it."""
    async with (
        Server(quoting(status, form)) as server,
        CoinEventService.connect(server.url, auth=SECRETS["token"], cookies=COOKIES, retry=TWO_TRIES) as coins,
    ):
        for call in (CALLS["get"], CALLS["allocate"]):
            with pytest.raises(EnkashError) as caught:
                await call(coins)
            assert_no_leak(caught.value, logs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 429, 500])
async def test_a_token_endpoint_that_quotes_the_login(
    status: int, form: Callable[[str], bytes], logs: list[logging.LogRecord]
) -> None:
    """The same for a login, whose request holds password and client secret."""
    async with (
        Server(quoting(status, form)) as server,
        CoinEventService.connect(server.url, auth=grant(), cookies=COOKIES, retry=TWO_TRIES) as coins,
    ):
        for call in (CALLS["get"], CALLS["allocate"]):
            with pytest.raises(EnkashError) as caught:
                await call(coins)
            assert_no_leak(caught.value, logs)


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Correlation-Id", "CF-Ray", "Content-Type", "Retry-After", "Date"])
@pytest.mark.parametrize("secret", ["token", "cookie"])
async def test_a_secret_quoted_in_a_header(name: str, secret: str, logs: list[logging.LogRecord]) -> None:
    """Headers that are kept for support are looked through like the body."""
    for status, body in ((400, b"{}"), (200, b"<html>"), (503, b"")):
        answer = http(status, body, [f"{name}: {SECRETS[secret]}"])
        if name == "Content-Type":
            answer = http(status, body, kind=SECRETS[secret])
        async with (
            Server(always(answer)) as server,
            CoinEventService.connect(server.url, auth=SECRETS["token"], cookies=COOKIES, retry=ONE_TRY) as coins,
        ):
            with pytest.raises(EnkashError) as caught:
                await coins.update("WCC12345", amount=10)
            assert_no_leak(caught.value, logs)


async def test_a_header_of_the_caller_quoted_back(logs: list[logging.LogRecord]) -> None:
    """A key that the caller sends in a header of his own is a secret as well."""
    async with (
        Server(quoting(400, in_envelope)) as server,
        CoinEventService.connect(server.url, auth=SECRETS["token"], headers=HEADERS, retry=ONE_TRY) as coins,
    ):
        with pytest.raises(EnkashError) as caught:
            await coins.get("WCC12345")
        assert_no_leak(caught.value, logs)


async def test_a_proxy_that_quotes_the_request(logs: list[logging.LogRecord]) -> None:
    """A proxy's error page in the host's place may quote the proxy's own password."""
    with nobody_listens() as port:
        async with Server(quoting(400, in_envelope)) as proxy:
            address = proxy.url.replace("//", f"//user:{SECRETS['proxy password']}@")
            async with CoinEventService.connect(
                f"http://127.0.0.1:{port}", auth=SECRETS["token"], proxy=address, retry=ONE_TRY
            ) as coins:
                with pytest.raises(EnkashError) as caught:
                    await coins.get("WCC12345")
    assert "Proxy-Authorization" in str(caught.value)
    assert_no_leak(caught.value, logs)


@pytest.mark.parametrize("envelope", [False, True])
async def test_what_springs_oauth_says(logs: list[logging.LogRecord], *, envelope: bool) -> None:
    """The words "Invalid access token: …" are shown, with the token blacked out."""
    said = f"Invalid access token: {SECRETS['token']}"
    body = in_envelope(said) if envelope else in_oauth_error(said)
    async with (
        Server(always(http(401, body, [f'WWW-Authenticate: Bearer error_description="{said}"']))) as server,
        CoinEventService.connect(server.url, auth=SECRETS["token"], retry=ONE_TRY) as coins,
    ):
        with pytest.raises(EnkashError) as caught:
            await coins.get("WCC12345")
    assert "Invalid access token: ***" in str(caught.value)
    assert_no_leak(caught.value, logs)


@pytest.mark.parametrize("before", range(490, 513))
async def test_a_secret_where_the_message_is_cut(before: int) -> None:
    """Not even the beginning of a token stays where a long message is cut."""
    body = in_envelope("x" * before + SECRETS["token"] + "y" * 100)
    async with (
        Server(always(http(400, body))) as server,
        CoinEventService.connect(server.url, auth=SECRETS["token"], retry=ONE_TRY) as coins,
    ):
        with pytest.raises(EnkashError) as caught:
            await coins.get("WCC12345")
    assert SECRETS["token"][:4] not in str(caught.value)


@pytest.mark.parametrize("how", ["cancelled", "timed out by the caller"])
@pytest.mark.parametrize("phase", ["in the login", "in the call"])
async def test_a_call_that_the_caller_ends(how: str, phase: str, logs: list[logging.LogRecord]) -> None:
    """The traceback of a cancelled call goes through our frames too: their locals show nothing."""
    arrived = asyncio.Event()

    async def tell(_: object) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async def update(coins: CoinEventService) -> None:
        async with asyncio.timeout(None) as limit:
            call = asyncio.ensure_future(CALLS["update"](coins))
            await asyncio.wait_for(arrived.wait(), 10)
            if how == "cancelled":
                call.cancel()
            else:
                limit.reschedule(0)
            await call

    def script(exchange: Exchange) -> list[Step]:
        return login() if phase == "in the call" and exchange.operation == "token" else [tell]

    async with (
        Server(script) as server,
        CoinEventService.connect(server.url, auth=grant(), cookies=COOKIES, headers=HEADERS, retry=ONE_TRY) as coins,
    ):
        with pytest.raises((asyncio.CancelledError, TimeoutError)) as caught:
            await update(coins)
    assert_no_leak(caught.value, logs)


def test_the_search_finds_what_it_is_to_find() -> None:
    """The other side of every rule above: a secret in a message, argument, context or local of ours is found."""
    assert leaked(str(SECRETS)) == leaked(json.dumps(SECRETS)) == set(SECRETS)

    def fail() -> None:
        try:
            int(SECRETS["token"])
        except ValueError:
            raise EnkashError("no more") from None

    with pytest.raises(EnkashError) as caught:
        fail()
    assert any(leaked(text) == {"token"} for text in shown(caught.value))
