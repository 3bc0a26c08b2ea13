"""What is sent, byte for byte."""

import enum
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins import (
    CoinAllocation,
    CoinEventCreation,
    CoinEventService,
    CoinEventUpdate,
    Configuration,
    ConnectError,
    CustomConfiguration,
    InvalidRequest,
    Request,
    RetryPolicy,
)
from enkash_coins.api import endpoints
from enkash_coins.testing import MockTransport, answer

JSON = {"Content-Type": "application/json"}
GIFT = CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", request_id="order-7")
CREATE = b'{"configuration":"DEFAULT","companyId":"CEK1","event":"MEAL_CARD_PAYMENT","amount":6}'
ALLOCATE = b'{"companyId":"CEK1","event":"REFERRAL_EVENT","requestId":"order-7","userId":"EK1"}'


def update(**fields: int | str | CustomConfiguration) -> Request:
    """The request of an update."""
    make: Callable[..., CoinEventUpdate] = CoinEventUpdate
    return endpoints.update(make("WCC12345", **fields)).request


def create(*, event: str = "MEAL_CARD_PAYMENT", amount: int = 6, configuration: str = "DEFAULT") -> Request:
    """The request of a creation."""
    return endpoints.create(
        CoinEventCreation(company_id="CEK1", event=event, amount=amount, configuration=configuration)
    ).request


ONE = "/api/v0/enkash-coins/WCC12345"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (endpoints.get("WCC12345").request, Request("GET", ONE, {}, b"", "get", replayable=True)),
        (
            update(amount=10, configuration="DEFAULT"),
            Request("PATCH", ONE, JSON, b'{"amount":10,"configuration":"DEFAULT"}', "update", replayable=True),
        ),
        (create(), Request("POST", "/api/v0/enkash-coins/create-coins-config", JSON, CREATE, "create")),
        (
            endpoints.allocate(GIFT, replay=False).request,
            Request("POST", "/api/v0/enkash-coins/allocate-coin", JSON, ALLOCATE, "allocate"),
        ),
        (
            endpoints.allocate(GIFT, replay=True).request,
            Request("POST", "/api/v0/enkash-coins/allocate-coin", JSON, ALLOCATE, "allocate", replayable=True),
        ),
        (
            endpoints.balance("EK1").request,
            Request("GET", "/api/v0/coins/balance?userId=EK1", {}, b"", "balance", replayable=True),
        ),
    ],
    ids=["get", "update", "create", "allocate", "allocate with replay", "balance"],
)
def test_each_operation_asks_as_documented(request_: Request, expected: Request) -> None:
    """Method, path, headers and body are the documents', byte for byte; create and allocate may not be repeated."""
    assert request_ == expected


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"amount": 0}, b'{"amount":0}'),
        ({"amount": -1}, b'{"amount":-1}'),
        ({"amount": 2**63 - 1}, b'{"amount":9223372036854775807}'),
        ({"amount": -(2**63)}, b'{"amount":-9223372036854775808}'),
        ({"event": "INVOICE_PAYMENT"}, b'{"event":"INVOICE_PAYMENT"}'),
        ({"company_id": "CEK1"}, b'{"companyId":"CEK1"}'),
        ({"configuration": Configuration.CUSTOM}, b'{"configuration":"CUSTOM"}'),
        ({"configuration": "WEEKEND"}, b'{"configuration":"WEEKEND"}'),
        ({"configuration": CustomConfiguration("x")}, b'{"configuration":{"CUSTOM":"x"}}'),
        (
            {"configuration": CustomConfiguration("x", {"since": [1, None, {"a": True}]})},
            b'{"configuration":{"CUSTOM":"x","since":[1,null,{"a":true}]}}',
        ),
        ({"event": 'a"b\\c'}, b'{"event":"a\\"b\\\\c"}'),
        ({"event": "छूट 10 %"}, '{"event":"छूट 10 %"}'.encode()),
        (
            {"event": "E", "company_id": "C", "configuration": "D", "amount": 1},
            b'{"amount":1,"configuration":"D","companyId":"C","event":"E"}',
        ),
    ],
    ids=str,
)
def test_an_update_sends_what_is_set_and_nothing_else(
    fields: dict[str, int | str | CustomConfiguration], body: bytes
) -> None:
    """Zero is sent, what is left out is not; the order of keys does not depend on the caller's."""
    assert update(**fields).body == body


@pytest.mark.parametrize("length", [1, 64])
def test_ids_of_every_allowed_length_and_letter_are_sent(length: int) -> None:
    """Letters, digits, ``_`` and ``-``; 1 to 64 of them, unquoted."""
    one = ("aZ09_-" * 11)[:length]
    assert endpoints.get(one).request.path == f"/api/v0/enkash-coins/{one}"
    assert endpoints.update(CoinEventUpdate(one, amount=1)).request.path == f"/api/v0/enkash-coins/{one}"


@pytest.mark.parametrize(
    ("user", "query"),
    [
        ("EK1", "EK1"),
        ("a.b@example.com", "a.b%40example.com"),
        ("+91 98/76?x=1&y#%", "%2B91%2098%2F76%3Fx%3D1%26y%23%25"),
        ("é" * 128, "%C3%A9" * 128),
    ],
)
def test_a_user_id_of_any_kind_stands_encoded_in_the_query(user: str, query: str) -> None:
    """It may be a mail address or a phone number; a server gets back what was given."""
    path = endpoints.balance(user).request.path
    assert path == f"/api/v0/coins/balance?userId={query}"
    assert parse_qs(urlsplit(path).query) == {"userId": [user]}


def test_names_of_every_allowed_length_are_sent() -> None:
    """A name is 1 to 128 characters of any script."""
    # With a joiner as Indic scripts need it, a space that does not break, and a family of emoji: no control characters.
    for name in (
        "x",
        "प" * 128,
        "क्\N{ZERO WIDTH JOINER}ष",
        "10\N{NO-BREAK SPACE}%",
        "\U0001f468\N{ZERO WIDTH JOINER}\U0001f469",
    ):
        assert json.loads(create(event=name, configuration=name).body)["event"] == name


@given(st.text() | st.text("../%?#\r\n\\ ab-_0", max_size=6) | st.from_regex(r"[A-Za-z0-9_-]{60,70}"))
def test_no_text_whatever_becomes_another_path(text: str) -> None:
    """Any text as an id is refused, or stands unchanged as the last part of the path."""
    try:
        path = endpoints.get(text).request.path
    except InvalidRequest:
        return
    assert path == "/api/v0/enkash-coins/" + text
    assert text.isascii()
    assert text.replace("_", "").replace("-", "a").isalnum()
    assert 1 <= len(text) <= 64


@given(st.text(st.characters(exclude_categories=[])))
def test_any_name_arrives_as_it_is_or_is_refused(text: str) -> None:
    """No name is changed on the way: what cannot be sent is refused."""
    try:
        body = update(event=text).body
    except InvalidRequest:
        return
    assert json.loads(body) == {"event": text}


@given(st.integers() | st.integers(-(2**64), 2**64))
def test_any_amount_arrives_as_it_is_or_is_refused(amount: int) -> None:
    """No amount is rounded or wrapped; beyond signed 64 bits it is refused."""
    if -(2**63) <= amount < 2**63:
        assert json.loads(update(amount=amount).body) == {"amount": amount}
    else:
        with pytest.raises(InvalidRequest, match=r"^amount: "):
            update(amount=amount)


class _Index:
    def __index__(self) -> int:
        return 10


class _Coins(enum.IntEnum):
    FEW = 10


@pytest.mark.parametrize("ten", [10, _Index(), _Coins.FEW], ids=["int", "numpy's way", "enum"])
def test_whatever_is_an_integer_is_sent_as_one(ten: int) -> None:
    """Numpy's integers are none of ``int``; they say by ``__index__`` what they are."""
    assert update(amount=ten).body == b'{"amount":10}'
    assert b'"amount":10}' in create(amount=ten).body


async def test_the_service_adds_nothing_to_the_documented_request() -> None:
    """Over any transport the seed's example is the documented request; a repeated one has the very same bytes."""
    payload = {"coinConfigId": "WCC12345", "configuration": "DEFAULT", "event": "INVOICE_PAYMENT", "amount": 10}
    transport = MockTransport([ConnectError("refused"), answer(payload)])
    async with CoinEventService(transport, retry=RetryPolicy(base=0)) as coins:
        await coins.update("WCC12345", amount=10, configuration="DEFAULT")
    expected = Request("PATCH", ONE, JSON, b'{"amount":10,"configuration":"DEFAULT"}', "update", replayable=True)
    assert transport.requests == [expected, expected]
