"""What leaves this machine, byte for byte, and what the documented answers become."""

import json
import logging
from base64 import b64decode
from urllib.parse import parse_qsl

import pytest

from enkash_coins import (
    AllocationReceipt,
    CoinEventConfig,
    CoinEventService,
    CoinEventUpdate,
    CustomConfiguration,
    PasswordGrant,
    __version__,
)
from tests.wire.calls import CALLS, ONE_TRY
from tests.wire.server import Server, always, http

# As on EnKash's page "Update Coin Event Configuration", which asks for WCC12345.
DOCUMENTED_ANSWER = (
    b'{"payload":{"coinConfigId":"WCC024845","configuration":"DEFAULT","event":"INVOICE_PAYMENT","amount":10},'
    b'"response_code":0,"response_message":"Success"}'
)


def sent_headers(server: Server) -> dict[str, str]:
    """The headers of the one request, but for those that every request to this server has."""
    (exchange,) = server.seen
    headers = dict(exchange.headers)
    assert len(headers) == len(exchange.headers), "a header stands twice"
    assert headers.pop("Host") == f"127.0.0.1:{server.port}"
    assert headers.pop("User-Agent") == f"enkash-coins/{__version__}"
    assert headers.pop("Accept") == "application/json"
    assert "gzip" in headers.pop("Accept-Encoding")
    return headers


async def test_the_documented_update(server: Server) -> None:
    """The example of EnKash's page: its request to the byte, its answer as a value."""
    server.script = always(http(200, DOCUMENTED_ANSWER))
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        config = await coins.update("WCC12345", amount=10, configuration="DEFAULT")
    (exchange,) = server.seen
    assert exchange.line == "PATCH /api/v0/enkash-coins/WCC12345 HTTP/1.1"
    assert exchange.body == b'{"amount":10,"configuration":"DEFAULT"}'
    assert sent_headers(server) == {
        "Authorization": "Bearer a-token",
        "Content-Type": "application/json",
        "Content-Length": "39",
    }
    assert config == CoinEventConfig("WCC024845", "DEFAULT", "INVOICE_PAYMENT", 10)
    assert config.extra == {}


async def test_an_answer_about_another_id_is_one_warning(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The documented answer names another id than was asked for: a warning once per service, never an error."""
    server.script = always(http(200, DOCUMENTED_ANSWER))
    for _ in range(2):
        caplog.clear()
        async with CoinEventService.connect(server.url, auth="a-token") as coins:
            await coins.update("WCC12345", amount=10)
            await coins.get("WCC12345")
            assert (await coins.update_many([CoinEventUpdate("WCC1", amount=10)] * 3).failures()) == []
        (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert (warning.name, warning.levelname) == ("enkash_coins", "WARNING")
        assert "WCC12345" in warning.getMessage()
        assert "WCC024845" in warning.getMessage()


@pytest.mark.parametrize(
    ("call", "line", "body"),
    [
        ("get", "GET /api/v0/enkash-coins/WCC12345 HTTP/1.1", b""),
        ("balance", "GET /api/v0/coins/balance?userId=EK1 HTTP/1.1", b""),
        (
            "create",
            "POST /api/v0/enkash-coins/create-coins-config HTTP/1.1",
            b'{"configuration":"DEFAULT","companyId":"CEK1","event":"MEAL_CARD_PAYMENT","amount":6}',
        ),
        (
            "allocate",
            "POST /api/v0/enkash-coins/allocate-coin HTTP/1.1",
            b'{"companyId":"CEK1","event":"REFERRAL_EVENT","requestId":"order-1","userId":"EK1"}',
        ),
    ],
)
async def test_the_other_operations(server: Server, call: str, line: str, body: bytes) -> None:
    """Line, headers and body of each, as documented; a body's headers only with a body."""
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        await CALLS[call](coins)
    (exchange,) = server.seen
    assert exchange.line == line
    assert exchange.body == body
    content = {"Content-Type": "application/json", "Content-Length": str(len(body))} if body else {}
    assert sent_headers(server) == {"Authorization": "Bearer a-token"} | content


async def test_the_documented_answers(server: Server) -> None:
    """Each operation's documented answer becomes its value."""
    config = CoinEventConfig("WCC12345", "DEFAULT", "INVOICE_PAYMENT", 10)
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        assert [await CALLS[name](coins) for name in ("get", "update", "create")] == [config] * 3
        assert await CALLS["allocate"](coins) == AllocationReceipt("order-1", "Successfully allocated enkash Coins")
        assert await CALLS["balance"](coins) == 1250


async def test_every_field_of_an_update(server: Server) -> None:
    """All four fields under the API's own names, 0 included, text as UTF-8."""
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        await coins.update("WCC12345", amount=0, configuration="CUSTOM", company_id="CEK1", event="दिवाली")
    body = '{"amount":0,"configuration":"CUSTOM","companyId":"CEK1","event":"दिवाली"}'.encode()
    assert server.seen[0].body == body
    assert server.seen[0].header("Content-Length") == str(len(body))


async def test_the_token_request(server: Server) -> None:
    """The documented login; its Basic header is UTF-8, for latin-1 would cost one of three tries."""
    grant = PasswordGrant("client-ü", "secret:ß€", "user+1@example.in", "pass wörd&=€")
    async with CoinEventService.connect(server.url, auth=grant) as coins:
        await coins.get("WCC12345")
    login, call = server.seen
    assert login.line == "POST /oauth/token HTTP/1.1"
    scheme, _, basic = (login.header("Authorization") or "").partition(" ")
    assert (scheme, b64decode(basic).decode("utf-8")) == ("Basic", "client-ü:secret:ß€")
    assert login.header("Content-Type") == "application/x-www-form-urlencoded"
    assert login.header("Content-Length") == str(len(login.body))
    assert login.body == (
        b"username=user%2B1%40example.in&password=pass+w%C3%B6rd%26%3D%E2%82%AC&grant_type=password"
        b"&clientId=client-%C3%BC"
    )
    assert dict(parse_qsl(login.body.decode(), strict_parsing=True)) == {
        "username": "user+1@example.in",
        "password": "pass wörd&=€",
        "grant_type": "password",
        "clientId": "client-ü",
    }
    assert call.header("Authorization") == "Bearer token-of-the-server"


@pytest.mark.parametrize("path", ["/gateway", "/gateway/", "/a/b.c~d/v1"])
async def test_a_path_prefix_is_kept(path: str) -> None:
    """A base URL may have a path: it stands before every operation's, the login's too."""
    prefix = path.rstrip("/")
    async with Server(path=path) as server:
        grant = PasswordGrant("id", "secret", "user", "password")
        async with CoinEventService.connect(server.url, auth=grant) as coins:
            await coins.get("WCC12345")
            await coins.balance("EK1")
    assert [exchange.line for exchange in server.seen] == [
        f"POST {prefix}/oauth/token HTTP/1.1",
        f"GET {prefix}/api/v0/enkash-coins/WCC12345 HTTP/1.1",
        f"GET {prefix}/api/v0/coins/balance?userId=EK1 HTTP/1.1",
    ]


async def test_headers_and_user_agent_of_the_caller(server: Server) -> None:
    """The caller's headers go with every request, the login's too; the user agent names both parties."""
    grant = PasswordGrant("id", "secret", "user", "password")
    async with CoinEventService.connect(
        server.url, auth=grant, headers={"X-Tenant": "acme", "accept": "text/json"}, user_agent="acme-backend/2.1"
    ) as coins:
        await coins.update("WCC12345", amount=10)
    for exchange in server.seen:
        assert exchange.header("X-Tenant") == "acme"
        assert exchange.header("Accept") == "text/json"
        assert exchange.header("User-Agent") == f"enkash-coins/{__version__} acme-backend/2.1"
    assert server.calls == {"token": 1, "update": 1}


async def test_a_user_agent_header_replaces_ours(server: Server) -> None:
    """Who sets the whole header, in any case, gets that one and no second."""
    async with CoinEventService.connect(server.url, auth="a-token", headers={"user-agent": "mine/1"}) as coins:
        await coins.get("WCC12345")
    assert server.seen[0].header("User-Agent") == "mine/1"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Cookie", "Host", "Content-Type", "Content-Length"])
async def test_headers_of_the_package_cannot_be_set(server: Server, name: str) -> None:
    """What the package or the connection sets is refused in headers=, naming it: it would break or leak something."""
    with pytest.raises(ValueError, match=name):
        CoinEventService.connect(server.url, auth="a-token", headers={name: "mine"})
    assert server.connections == 0


async def test_a_user_id_of_any_kind_arrives(server: Server) -> None:
    """A mail address stands encoded in the query, and nothing in between encodes it once more."""
    async with CoinEventService.connect(server.url, auth="a-token") as coins:
        await coins.balance("a.b+c@example.com")
        await coins.balance("100% & more/?#")
    assert [exchange.line for exchange in server.seen] == [
        "GET /api/v0/coins/balance?userId=a.b%2Bc%40example.com HTTP/1.1",
        "GET /api/v0/coins/balance?userId=100%25%20%26%20more%2F%3F%23 HTTP/1.1",
    ]


async def test_the_object_form_of_a_configuration_goes_both_ways(server: Server) -> None:
    """The schema's form is sent as an object, and an answer that holds more keys is a success."""
    payload = {"coinConfigId": "WCC12345", "configuration": {"CUSTOM": "GOLD", "since": 1}, "event": "E", "amount": 1}
    answer = {"payload": payload, "response_code": 0, "response_message": "Success"}
    server.script = always(http(200, json.dumps(answer).encode()))
    row = CoinEventUpdate("WCC12345", configuration=CustomConfiguration("GOLD"))
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        (outcome,) = [outcome async for outcome in coins.update_many([row])]
    assert server.seen[0].body == b'{"configuration":{"CUSTOM":"GOLD"}}'
    assert outcome.status == "applied"
    assert outcome.unwrap().configuration == CustomConfiguration("GOLD", {"since": 1})


async def test_extra_keys_and_unknown_values_survive(server: Server) -> None:
    """Unknown keys are kept as they came, and an unknown configuration passes through."""
    payload = {"coinConfigId": "WCC12345", "configuration": "GOLD", "event": "E", "amount": 1, "tier": {"a": [1, None]}}
    answer = {"payload": payload, "response_code": 0, "response_message": "Success", "traceId": "x"}
    server.script = always(http(200, json.dumps(answer).encode()))
    async with CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY) as coins:
        config = await coins.get("WCC12345")
    assert config.configuration == "GOLD"
    assert config.extra == {"tier": {"a": [1, None]}}
