"""Generated input: refused before any I/O, or sent as exactly the one request that was meant."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl, quote

import aiohttp
import pytest

from enkash_coins import (
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    EnkashError,
    InvalidRequest,
    OutcomeStatus,
)
from tests.faults.cases import Cases
from tests.wire.calls import ONE_TRY
from tests.wire.server import Exchange, Server

ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
# fmt: off
NASTY = (
    "/", "//", "\\", "..", ".", "%2e%2e", "%2F", "%00", "%", "?", "?a=b", "&userId=EK2", "#", ";", "@", ":", " ", ",",
    "\r\n", "\n", "\r\nX-Injected: 1", "\r\n\r\nGET / HTTP/1.1", "\0", "\t", "\x7f", "\x85", "\u2028", "\ud800",
    "\udcff", "\u202e", "\ufeff", "\u200b", "\xe9", "\u0663", "\uff21", "\u0131", "\u017f", "\u212a", "\U0001d7d9",
    "\U0001f600", "दिवाली", "'", '"', "{", "}", "<", "$", "`", "|", "../../oauth/token", "http://127.0.0.1/",
    "WCC1/../WCC2", "create-coins-config?", "\x1b[2J",
)
# Parts of base URLs.
SCHEMES = ("http", "https", "HTTP", "ftp", "file", "", "javascript", "http:", "unix")
MARKS = ("://", "://", "://", ":/", ":", "//", ":\\\\", "://user:secret@", "://@", "://coins.invalid@")
HOSTS = ("127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f.1", "coins.invalid", "", "[", "127.0.0.1.")
PORTS = ("", ":PORT", ":PORT", ":99999", ":-1", ":", ":\u0663", ":PORT@coins.invalid", ":PORT#@coins.invalid")
PATHS = ("", "/", "/a", "/a/", "/a/..", "/%2e%2e", "//coins.invalid", "/a b", "?x", "#x", "\\x", "/a;b", "/\xe9")
# fmt: on


class Sly(str):
    """A text that formats itself as something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "../../oauth/token"

    def __format__(self, _: str) -> str:
        return str(self)

    __repr__ = __str__


class Loud:
    """What cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not shown")


def text(dice: Random) -> str:
    """Plain or nasty, and every length around the limits."""
    length = dice.choice((0, 1, 2, 8, 63, 64, 65, 127, 128, 129, 5000))
    plain = "".join(dice.choices(ID, k=length))
    match dice.randrange(5):
        case 0:
            return plain
        case 1:
            return Sly(plain[:60])
        case 2:
            return "".join(dice.choices(NASTY, k=dice.randrange(1, 4)))
        case 3:
            return "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(1, 12)))
    at = dice.randrange(length + 1)
    return plain[:at] + dice.choice(NASTY) + plain[at:]


def anything(dice: Random) -> object:
    """Any value at all, most of them texts and numbers."""
    others: tuple[object, ...] = (
        None,
        True,
        False,
        b"WCC1",
        1.0,
        float("nan"),
        [],
        {},
        ("WCC1",),
        Loud(),
        object(),
        Path("WCC1"),
        10**5000,
    )
    match dice.randrange(6):
        case 0 | 1 | 2:
            return text(dice)
        case 3 | 4:
            return dice.choice((0, 1, -1, dice.randrange(-(2**66), 2**66), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1))
    return dice.choice(others)


Asked = dict[str, object]
# Each operation: its arguments, the keys by which they are sent, the line of the request.
OPERATIONS: dict[str, tuple[dict[str, str], Callable[[Asked], str]]] = {
    "get": ({"coin_config_id": ""}, lambda asked: f"GET /api/v0/enkash-coins/{asked['coin_config_id']}"),
    "balance": (
        {"user_id": ""},
        lambda asked: f"GET /api/v0/coins/balance?userId={quote(str(asked['user_id']), safe='')}",
    ),
    "update": (
        {
            "coin_config_id": "",
            "amount": "amount",
            "configuration": "configuration",
            "company_id": "companyId",
            "event": "event",
        },
        lambda asked: f"PATCH /api/v0/enkash-coins/{asked['coin_config_id']}",
    ),
    "create": (
        {"company_id": "companyId", "event": "event", "amount": "amount", "configuration": "configuration"},
        lambda _: "POST /api/v0/enkash-coins/create-coins-config",
    ),
    "allocate": (
        {"company_id": "companyId", "event": "event", "user_id": "userId", "request_id": "requestId"},
        lambda _: "POST /api/v0/enkash-coins/allocate-coin",
    ),
}
PLAIN = {"amount": 10, "configuration": "DEFAULT", "event": "INVOICE_PAYMENT"}


def assert_as_meant(exchange: Exchange, port: int, line: str, body: dict[str, object]) -> None:
    """Method, target, host, body and the number of headers are those of the request that was meant."""
    assert exchange.line == f"{line} HTTP/1.1"
    assert exchange.header("Host") == f"127.0.0.1:{port}"
    assert exchange.header("Authorization") == "Bearer a-token"
    assert len(exchange.headers) == (7 if body else 5)
    assert (json.loads(exchange.body) if exchange.body else {}) == body


def assert_refused(error: InvalidRequest, requests: int) -> None:
    """Nothing was sent, and one short line says why, without what may be a password."""
    assert (requests, error.maybe_applied) == (0, False)
    assert str(error).isprintable()
    assert len(str(error)) < 400
    assert "secret" not in str(error).replace("ENKASH_CLIENT_SECRET", "").replace("client_secret", "")


@pytest.mark.parametrize("block", range(4))
async def test_generated_arguments(block: int, cases: Cases, tally: Counter[str]) -> None:
    """An InvalidRequest and no byte on the wire; or the documented line, with what was given in it and nothing more."""
    async with Server() as server, CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        for _, dice in cases(short=800, full=8000):
            operation = dice.choice(list(OPERATIONS))
            sent_as, line = OPERATIONS[operation]
            asked: dict[str, object] = {name: PLAIN.get(name, "WCC12345") for name in sent_as}
            for name in dice.sample(list(asked), k=min(len(asked), dice.choice((1, 1, 2)))):
                asked[name] = text(dice) if dice.random() < 0.7 and name != "amount" else anything(dice)
            seen, arrived = len(server.seen), server.arrived
            try:
                await getattr(coins, operation)(**asked)
            except InvalidRequest as error:
                assert_refused(error, server.arrived - arrived)
                tally["generated arguments that were refused, with nothing sent"] += 1
                continue
            (exchange,) = server.seen[seen:]
            plain = {name: str.__str__(value) if isinstance(value, str) else value for name, value in asked.items()}
            if plain.get("request_id", "") is None:
                plain["request_id"] = json.loads(exchange.body)["requestId"]
            body = {key: plain[name] for name, key in sent_as.items() if key}
            assert_as_meant(exchange, server.port, line(plain), body)
            tally["generated arguments that were sent, as exactly what was meant"] += 1


async def test_generated_rows(cases: Cases, tally: Counter[str]) -> None:
    """Whatever is in a stream of rows, it ends as one outcome each: not_sent and never on the wire, or applied."""
    async with Server() as server, CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        for _, dice in cases(short=40, full=400):
            rows: list[object] = [
                CoinEventUpdate(anything(dice), amount=anything(dice))  # type: ignore[arg-type]  # what is tested
                if dice.random() < 0.8
                else dice.choice([anything(dice), CoinEventUpdate("WCC12345", amount=10)])
                for _ in range(20)
            ]
            seen = len(server.seen)
            sent = 0
            async with coins.update_many(rows) as stream:  # type: ignore[arg-type]  # as above
                outcomes = [outcome async for outcome in stream]
            assert sorted(outcome.index for outcome in outcomes) == list(range(20))
            for outcome in outcomes:
                refused = outcome.status is OutcomeStatus.NOT_SENT
                assert (outcome.attempts == 0) == isinstance(outcome.error, InvalidRequest) == refused
                sent += not refused
            assert len(server.seen) - seen == sent
            many = [CoinAllocation(company_id="C", event="E", user_id=text(dice)) for _ in range(5)]
            async with coins.allocate_many(many) as receipts:
                assert len([receipt async for receipt in receipts]) == 5
            tally["generated rows"] += 25


SETTINGS = ("BASE_URL", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD")


def _clear(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(f"ENKASH_{name}", raising=False)


def _set(monkeypatch: pytest.MonkeyPatch, **values: str) -> dict[str, str] | None:
    """Set these, as what an environment can hold; ``None`` if it cannot."""
    try:
        for name, value in values.items():
            monkeypatch.setenv(f"ENKASH_{name}", value)
    except (ValueError, UnicodeEncodeError):  # NUL, or half of a character
        return None
    return values


async def test_generated_secrets_of_the_environment(
    cases: Cases, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    """A token stands in its header as it was set, and a login in its form; or they are refused and nothing is sent."""
    async with Server() as server:
        for _, dice in cases(short=400, full=4000):
            _clear(monkeypatch)
            values = {"TOKEN": text(dice)} if dice.random() < 0.5 else {name: text(dice) for name in SETTINGS[2:]}
            if _set(monkeypatch, BASE_URL=server.url, **values) is None:
                continue
            server.seen.clear()
            arrived = server.arrived
            try:
                async with CoinEventService.from_env(retry=ONE_TRY) as coins:
                    await coins.get("WCC12345")
            except InvalidRequest as error:
                assert_refused(error, server.arrived - arrived)
                tally["generated settings that were refused, with nothing sent"] += 1
                continue
            assert len(server.seen) == (1 if "TOKEN" in values else 2)
            call = server.seen[-1]
            assert (call.line, len(call.headers)) == ("GET /api/v0/enkash-coins/WCC12345 HTTP/1.1", 5)
            if "TOKEN" in values:
                assert call.header("Authorization") == f"Bearer {str.__str__(values['TOKEN'])}"
            else:
                login = server.seen[0]
                assert (login.line, len(login.headers)) == ("POST /oauth/token HTTP/1.1", 7)
                form = dict(parse_qsl(login.body.decode("ascii"), strict_parsing=True))
                assert form == {
                    "username": str.__str__(values["USERNAME"]),
                    "password": str.__str__(values["PASSWORD"]),
                    "grant_type": "password",
                    "clientId": str.__str__(values["CLIENT_ID"]),
                }
            tally["generated settings that were sent, as exactly what was meant"] += 1


def url(dice: Random, port: int) -> str:
    """A base URL, right or bent."""
    whole = "".join(dice.choice(parts) for parts in (SCHEMES, MARKS, HOSTS, PORTS, PATHS)).replace("PORT", str(port))
    at = dice.randrange(len(whole) + 1)
    return whole if dice.random() < 0.7 else whole[:at] + dice.choice(NASTY) + whole[at:]


async def test_generated_base_urls(cases: Cases, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]) -> None:
    """Refused, or the host, and the prefix, that a reader of the URL sees; no name is asked for that is not in it."""
    asked: list[tuple[str, int]] = []

    class Nowhere(aiohttp.abc.AbstractResolver):
        """Lets nothing leave this machine, and keeps where it would have gone."""

        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
            asked.append((host, port))
            raise OSError("nowhere")

        async def close(self) -> None:
            pass

    async with Server() as server:
        for _, dice in cases(short=400, full=4000):
            _clear(monkeypatch)
            given = url(dice, server.port)
            if _set(monkeypatch, BASE_URL=given, TOKEN="a-token") is None:
                continue
            asked.clear()
            seen = server.arrived
            connector = aiohttp.TCPConnector(resolver=Nowhere(), use_dns_cache=False)
            async with aiohttp.ClientSession(connector=connector) as session:
                try:
                    async with CoinEventService.from_env(retry=ONE_TRY, session=session) as coins:
                        await coins.get("WCC12345")
                except InvalidRequest as error:
                    assert_refused(error, server.arrived - seen + len(asked))
                    tally["generated settings that were refused, with nothing sent"] += 1
                    continue
                except (EnkashError, OSError):
                    reached = False  # it led nowhere
                else:
                    reached = True
            scheme, _, rest = given.partition("://")
            netloc, slash, path = rest.partition("/")
            host, _, port = netloc.rpartition(":") if re.search(r":[0-9]*$", netloc) else (netloc, "", "")
            expected_port = int(port) if port else 443 if scheme == "https" else 80
            assert "@" not in netloc
            if asked:
                assert set(asked) == {(host, expected_port)}, given
            if reached:
                prefix = f"{slash}{path}".rstrip("/")
                assert server.seen[-1].line == f"GET {prefix}/api/v0/enkash-coins/WCC12345 HTTP/1.1"
                assert server.seen[-1].header("Host") == netloc
            tally["generated settings that were sent, as exactly what was meant"] += 1


async def test_generated_headers_and_cookies(cases: Cases, tally: Counter[str]) -> None:
    """As many headers as were given, with the values that were given; or refused."""
    async with Server() as server:
        for _, dice in cases(short=400, full=4000):
            name, value, cookie, agent = (text(dice) if dice.random() < 0.4 else "plain" for _ in range(4))
            arrived = server.arrived
            try:
                async with CoinEventService.connect(
                    server.url,
                    auth="a-token",
                    headers={f"X-{name}": value},
                    cookies={"a": cookie, f"b{name[:3]}": "c"},
                    user_agent=agent,
                    retry=ONE_TRY,
                ) as coins:
                    await coins.get("WCC12345")
            except InvalidRequest as error:
                assert_refused(error, server.arrived - arrived)
                tally["generated settings that were refused, with nothing sent"] += 1
                continue
            call = server.seen[-1]
            assert (call.line, len(call.headers)) == ("GET /api/v0/enkash-coins/WCC12345 HTTP/1.1", 7)
            assert call.header(f"X-{str.__str__(name)}") == str.__str__(value)
            assert call.header("Cookie") == f"a={str.__str__(cookie)}; b{str.__str__(name)[:3]}=c"
            assert (call.header("User-Agent") or "").endswith(f" {agent}")
            tally["generated settings that were sent, as exactly what was meant"] += 1
