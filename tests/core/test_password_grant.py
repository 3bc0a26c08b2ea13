"""The password grant over a mock: what it asks, how often, and what it shows. Its clock is tested elsewhere."""

import asyncio
import pickle
from base64 import b64decode
from collections.abc import Callable
from urllib.parse import parse_qsl

import pytest

from enkash_coins import (
    EnkashError,
    InvalidRequest,
    MemoryGuard,
    PasswordGrant,
    Request,
    Response,
    Token,
)
from enkash_coins.testing import MockTransport

CrashReport = Callable[[BaseException], str]
OURS = ("client-1", "s3cret-client", "user@example.com", "pa55 wörd&=+%")
YES = Response(200, {}, b'{"access_token":"tok-1","expires_in":86399}')


def grant() -> PasswordGrant:
    """The grant of our user."""
    return PasswordGrant(*OURS, guard=MemoryGuard())


async def failure(source: PasswordGrant, transport: MockTransport) -> EnkashError:
    """The error of asking for a token."""
    with pytest.raises(EnkashError) as caught:
        await source.token(transport)
    return caught.value


async def test_the_login_is_asked_for_as_documented() -> None:
    """POST, a Basic header and a form, byte for byte; never to be replayed by itself."""
    transport = MockTransport([YES])
    token = await PasswordGrant("client-1", "s3cret", "user", "pass word", guard=MemoryGuard()).token(transport)
    assert token.value == "tok-1"
    assert transport.requests == [
        Request(
            "POST",
            "/oauth/token",
            {"Authorization": "Basic Y2xpZW50LTE6czNjcmV0", "Content-Type": "application/x-www-form-urlencoded"},
            b"username=user&password=pass+word&grant_type=password&clientId=client-1",
            "token",
            replayable=False,
        )
    ]


@pytest.mark.parametrize("text", ["wörd", "पासवर्ड", "a&b=c+d%e f", "\"\\'", "\N{KEY}", "x" * 5000, "a:b"])
async def test_any_text_goes_out_as_utf8(text: str) -> None:
    """A character that goes out wrong costs one of three tries: header and form are UTF-8, and fully quoted."""
    transport = MockTransport([YES])
    await PasswordGrant("client-1", text, text, text, guard=MemoryGuard()).token(transport)
    (request,) = transport.requests
    scheme, _, basic = request.headers["Authorization"].partition(" ")
    assert (scheme, b64decode(basic).decode()) == ("Basic", f"client-1:{text}")
    assert dict(parse_qsl(request.body.decode("ascii"), strict_parsing=True)) == {
        "username": text,
        "password": text,
        "grant_type": "password",
        "clientId": "client-1",
    }


BAD: dict[object, str] = {
    "": "is empty or not a text",
    None: "is empty or not a text",
    5: "is empty or not a text",
    b"sesame": "is empty or not a text",
    "sesame\n": r"ends with a newline ('\n')",
    "sesame\r\n": r"ends with a newline ('\n')",
    "sesame ": "ends with a space (' ')",
    "sesame\t": r"ends with a tab ('\t')",
    "sesame\u00a0": r"ends with a blank ('\xa0')",
    "sesame\0": r"ends with a control character ('\x00')",
    " sesame": "begins with a space (' ')",
    "\ufeffsesame": r"begins with a byte order mark ('\ufeff')",
    "sesame\nsesame": "has a control character in it",
    "sesame\x9fsesame": "has a control character in it",
    "sesame\udcff": "is not UTF-8",
}


@pytest.mark.parametrize("place", range(4), ids=["client_id", "client_secret", "username", "password"])
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_credential_that_cannot_be_right_is_refused_by_name(place: int, bad: str, crash_report: CrashReport) -> None:
    """A file's last newline would cost one of three tries. The message shows no value, nor does a frame of ours.

    A lone surrogate is what a byte that is no UTF-8 becomes when it comes from the environment.
    """
    credentials = [*OURS]
    credentials[place] = bad
    with pytest.raises(InvalidRequest) as caught:
        PasswordGrant(*credentials)
    name = ("client_id", "client_secret", "username", "password")[place]
    assert str(caught.value) == f"auth: {name} {BAD[bad]}: nothing is sent"
    assert not [part for part in ("sesame", *OURS) if part in crash_report(caught.value)]


async def test_a_token_is_fetched_once() -> None:
    """Also when many ask at once."""
    transport = MockTransport([YES])
    source = grant()
    tokens = await asyncio.gather(*(source.token(transport) for _ in range(50)))
    assert len({id(token) for token in [*tokens, await source.token(transport)]}) == 1
    assert len(transport.requests) == 1


async def test_only_the_token_in_use_can_be_refused() -> None:
    """A refusal of an older one, late, does not throw away the new one."""
    transport = MockTransport([YES, Response(200, {}, b'{"access_token":"tok-2"}')])
    source = grant()
    first = await source.token(transport)
    source.refused(first)
    second = await source.token(transport)
    source.refused(first)
    source.refused(Token("somebody else's"))
    assert await source.token(transport) is second
    assert (first.value, second.value) == ("tok-1", "tok-2")


@pytest.mark.parametrize(
    ("ages", "life"),
    [
        *(([100.0], 86_399.0), ([100.0, 100.0], 100.0), ([100.0, 118.0], 100.0), ([118.0, 100.0], 100.0)),
        *(([100.0, 300.0], 86_399.0), ([100.0, 300.0, 300.0], 300.0), ([29.0, 29.0], 86_399.0)),
        *(([300.0, 300.0, 100.0], 300.0), ([300.0, 300.0, 100.0, 100.0], 100.0)),
    ],
    ids=str,
)
async def test_two_refusals_at_about_the_same_age_teach_the_true_life(ages: list[float], life: float) -> None:
    """Once is an incident: somebody has revoked that token, as is whatever happens within seconds."""
    transport, source = MockTransport(lambda request: YES), grant()
    for age in ages:
        token = await source.token(transport)
        source._fetched_at -= age  # time travel
        source.refused(token)
    before = asyncio.get_running_loop().time()
    last = await source.token(transport)
    assert last.expires_at is not None
    assert last.expires_at - before == pytest.approx(life - min(30.0, life / 10), abs=5.0)


async def test_a_waiter_that_is_cancelled_leaves_the_login_to_the_others() -> None:
    """The login belongs to nobody; cancelling who started it cancels nothing else."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def answer_late(request: Request) -> Response:
        asked.set()
        await release.wait()
        return YES

    transport, source = MockTransport(answer_late), grant()
    first, second = (asyncio.create_task(source.token(transport)) for _ in range(2))
    await asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    release.set()
    assert (await second).value == "tok-1"
    assert len(transport.requests) == 1


def test_a_grant_outlives_its_event_loop() -> None:
    """The token is good in the next loop, too; a login that died with its loop does not block the next one."""
    source, transport = grant(), MockTransport([YES])
    assert asyncio.run(_value(source, transport)) == asyncio.run(_value(source, transport)) == "tok-1"
    hanging = grant()

    async def abandon() -> None:
        task = asyncio.create_task(_value(hanging, MockTransport(_never)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(abandon())
    assert asyncio.run(_value(hanging, MockTransport([YES]))) == "tok-1"


async def _value(source: PasswordGrant, transport: MockTransport) -> str:
    return (await source.token(transport)).value


async def _never(request: Request) -> Response:
    await asyncio.Event().wait()
    return YES


QUOTES = (
    "s3cret-client",
    "pa55 wörd&=+%",
    "pa55+w%C3%B6rd%26%3D%2B%25",
    "Y2xpZW50LTE6czNjcmV0LWNsaWVudA==",  # the Basic header's
)


@pytest.mark.parametrize("status", [400, 401, 429, 503, 200])
async def test_what_the_server_quotes_back_is_blacked_out(status: int, crash_report: CrashReport) -> None:
    """However the token endpoint repeats our credentials, no error shows them, nor a frame of ours."""
    said = " ".join(QUOTES)
    body = f'{{"response_code":1,"response_message":"bad: {said}","error":"bad: {said}"}}'
    error = await failure(grant(), MockTransport([Response(status, {}, body.encode())]))
    shown = crash_report(error) + pickle.dumps(error).decode("latin-1")
    assert not [quote for quote in QUOTES if quote in shown]
    assert "***" in shown


def test_a_grant_does_not_show_its_credentials() -> None:
    """Neither itself nor its attributes."""
    source = grant()
    shown = repr(source) + repr(vars(source)) + str(source)
    assert not [part for part in OURS if part in shown]
