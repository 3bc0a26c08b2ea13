"""Payloads become values, strictly typed; or the error says where they don't."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins import (
    AllocationReceipt,
    CoinAllocation,
    CoinEventConfig,
    CoinEventCreation,
    CoinEventUpdate,
    CustomConfiguration,
    EnkashError,
    MalformedResponse,
    Response,
)
from enkash_coins.api import endpoints
from enkash_coins.api.codec import Unreadable, documented_config, loads
from enkash_coins.api.converter import read_config
from enkash_coins.testing import answer

GIFT = CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", request_id="order-7")
READERS: dict[str, Callable[[Response], object]] = {
    "get": endpoints.get("WCC12345").read,
    "update": endpoints.update(CoinEventUpdate("WCC12345", amount=10)).read,
    "create": endpoints.create(CoinEventCreation(company_id="C", event="E", amount=1, configuration="D")).read,
    "allocate": endpoints.allocate(GIFT, replay=False).read,
    "balance": endpoints.balance("EK1").read,
}
CONFIGS = ("get", "update", "create")
PAYLOAD: dict[str, object] = {
    "coinConfigId": "WCC024845",
    "configuration": "DEFAULT",
    "event": "INVOICE_PAYMENT",
    "amount": 10,
}
# The API's key, and how an error names it.
FIELDS = {
    "coinConfigId": "coin_config_id",
    "configuration": "configuration",
    "event": "event",
    "amount": "amount",
    "companyId": "company_id",
}
NO_INTEGER = {
    "str": "10",
    "float": 10.0,
    "half": 10.5,
    "65 bits": 2**63,
    "-65 bits": -(2**63) - 1,
    "100 bits": 2**100,
    "true": True,
    "false": False,
    "null": None,
    "list": [10],
    "object": {},
}
NO_STRING: dict[str, object] = {"int": 10, "float": 1.5, "true": True, "null": None, "list": ["DEFAULT"], "object": {}}


def reason(operation: str, payload: object) -> str:
    """Why an answer with this payload is malformed."""
    with pytest.raises(MalformedResponse) as caught:
        READERS[operation](answer(payload))
    error = caught.value
    assert (error.status, error.maybe_applied) == (200, True)
    assert error.__cause__ is None
    assert error.__context__ is None
    return str(error)


def test_the_converter_reads_every_field() -> None:
    """What is documented, what is not, and what may be missing."""
    config = read_config({**PAYLOAD, "companyId": "CEK1", "since": "June", "coin_config_id": "?"})
    assert config == CoinEventConfig("WCC024845", "DEFAULT", "INVOICE_PAYMENT", 10, "CEK1")
    assert config.extra == {"since": "June", "coin_config_id": "?"}
    for company in ({}, {"companyId": None}):
        config = read_config({**PAYLOAD, **company, "since": "June"})
        assert config == CoinEventConfig("WCC024845", "DEFAULT", "INVOICE_PAYMENT", 10, None)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ([], "payload is not an object"),
        ({**PAYLOAD, "amount": True}, "payload.amount is not an integer of 64 bits"),
        ({**PAYLOAD, "event": 5}, "payload.event is not a string"),
        ({**PAYLOAD, "companyId": 5}, "payload.company_id is not a string"),
        ({**PAYLOAD, "coinConfigId": None}, "payload.coin_config_id is not a string"),
        ({"coinConfigId": "W", "amount": "1"}, "payload.configuration is missing; payload.event is missing;"),
    ],
    ids=repr,
)
def test_the_converter_says_what_is_wrong(payload: object, reason: str) -> None:
    """Where, and why; several things in one line."""
    with pytest.raises(Unreadable) as caught:
        read_config(payload)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("operation", CONFIGS)
def test_the_documented_answer_is_read(operation: str) -> None:
    """The seed's answer, byte for byte, whichever operation asked."""
    body = (
        b'{"payload":{"coinConfigId":"WCC024845","configuration":"DEFAULT","event":"INVOICE_PAYMENT","amount":10},'
        b'"response_code":0,"response_message":"Success"}'
    )
    config = READERS[operation](Response(200, {}, body))
    assert config == CoinEventConfig("WCC024845", "DEFAULT", "INVOICE_PAYMENT", 10)
    assert isinstance(config, CoinEventConfig)
    assert (config.company_id, config.extra) == (None, {})


DOCUMENTED = (
    b'{"payload":{"coinConfigId":"WCC1","configuration":"DEFAULT","event":"E","amount":10},'
    b'"response_code":0,"response_message":"Success"}'
)


def changed(old: bytes, new: bytes) -> bytes:
    """The documented answer with a difference."""
    assert old in DOCUMENTED
    return DOCUMENTED.replace(old, new)


@pytest.mark.parametrize(
    ("body", "documented"),
    [
        (DOCUMENTED, True),
        (changed(b'"amount":10', b'\n\t"amount" : 10'), True),
        (changed(b'"E"', b'"E: 5 %"'), True),
        (changed(b'"amount":10}', b'"amount":10,"companyId":"C"}'), False),
        (changed(b'"amount":10', b'"amount":11,"amount":10'), False),
        (changed(b'"amount":10', b'"amount" :11,"amount":10'), False),
        (changed(b'"E"', b'"\\"E\\""'), False),
        (changed(b'"DEFAULT"', b'{"CUSTOM":"x"}'), False),
        (changed(b"10", b"true"), False),
        (changed(b"10", b"10.0"), False),
        (changed(b"10", b"9223372036854775808"), False),
        (changed(b'code":0', b'code":1'), False),
        (changed(b'code":0', b'code":false'), False),
        (changed(b'"Success"', b"null"), False),
        (changed(b"Success", b"\xff"), False),
        (DOCUMENTED[:-1], False),
        (b"\xef\xbb\xbf" + DOCUMENTED, False),
    ],
)
def test_only_the_documented_answer_is_read_the_fast_way(body: bytes, documented: bool) -> None:
    """Whatever is or may be anything else is left to the reading that tells what it is; both find the same."""
    config = documented_config(body)
    assert (config is not None) == documented
    if config is not None:
        assert config == read_config(json.loads(body)["payload"])


@pytest.mark.parametrize("status", [201, 299, 300, 404, 500])
def test_the_status_counts_also_for_the_documented_answer(status: int) -> None:
    """A success in words with a status that says no is no success."""
    try:
        config = READERS["get"](Response(status, {}, DOCUMENTED))
    except EnkashError:
        assert status >= 300
    else:
        assert status < 300
        assert config == documented_config(DOCUMENTED)


def test_receipt_and_balance_are_read() -> None:
    """The receipt has the id that was sent, and what the API said; a balance is a plain integer of any sign."""
    said = "Successfully allocated enkash Coins"
    assert READERS["allocate"](answer(said)) == AllocationReceipt("order-7", said)
    for points in (0, -5, -(2**63), 2**63 - 1):
        assert READERS["balance"](answer(points)) == points


@pytest.mark.parametrize("operation", CONFIGS)
@pytest.mark.parametrize("kind", NO_INTEGER)
def test_an_amount_is_an_integer_and_nothing_like_it(operation: str, kind: str) -> None:
    """Nothing is turned into a number."""
    assert "payload.amount is not an integer of 64 bits" in reason(operation, PAYLOAD | {"amount": NO_INTEGER[kind]})


@pytest.mark.parametrize("key", ["coinConfigId", "configuration", "event", "companyId"])
@pytest.mark.parametrize("kind", NO_STRING)
def test_text_is_a_string_and_nothing_like_it(key: str, kind: str) -> None:
    """Nothing is turned into text; only the company may be null."""
    payload = PAYLOAD | {key: NO_STRING[kind]}
    if (key, kind) == ("configuration", "object"):
        assert "payload.configuration has no string CUSTOM" in reason("get", payload)
    elif (key, kind) == ("companyId", "null"):
        assert READERS["get"](answer(payload)) == CoinEventConfig(*PAYLOAD.values())  # type: ignore[arg-type]  # its four
    else:
        assert f"payload.{FIELDS[key]} is not a string" in reason("get", payload)


@pytest.mark.parametrize("key", PAYLOAD)
def test_a_missing_key_is_named(key: str) -> None:
    """Every key but the company's is required."""
    assert f"payload.{FIELDS[key]} is missing" in reason("get", {k: v for k, v in PAYLOAD.items() if k != key})


def test_all_that_is_wrong_is_named_at_once() -> None:
    """One look at the message is enough; it names places, and never content."""
    message = reason("get", {"coinConfigId": 5, "configuration": "sesame", "event": ["sesame"]})
    for place in ("coin_config_id is not a string", "event is not a string", "amount is missing"):
        assert f"payload.{place}" in message
    assert "sesame" not in message


@pytest.mark.parametrize("payload", [None, [], [PAYLOAD], "Success", 5, True], ids=str)
def test_a_configuration_is_an_object(payload: object) -> None:
    """Also when the payload is missing altogether."""
    assert "payload is not an object" in reason("update", payload)


@pytest.mark.parametrize("operation", READERS)
def test_a_missing_payload_is_malformed(operation: str) -> None:
    """A success without a payload shows nothing that could be believed."""
    with pytest.raises(MalformedResponse, match="payload"):
        READERS[operation](Response(200, {}, b'{"response_code":0,"response_message":"Success"}'))


@pytest.mark.parametrize("kind", NO_STRING)
def test_a_receipt_is_a_string(kind: str) -> None:
    """Anything else is not this API's, and the allocation is in doubt."""
    assert "has a payload that is not a string" in reason("allocate", NO_STRING[kind])


@pytest.mark.parametrize("kind", NO_INTEGER)
def test_a_balance_is_an_integer(kind: str) -> None:
    """Coins are money: nothing is rounded or guessed."""
    assert "has a payload that is not an integer of 64 bits" in reason("balance", NO_INTEGER[kind])


def test_unknown_keys_are_kept_in_the_answers_order() -> None:
    """What a newer API adds is not lost, and comes in the same order every time."""
    new = {f"new{n}": n for n in (7, 3, 9, 1, 8, 2, 6)} | {"amount_type": {"a": [None, 1.5]}, "extra": "x"}
    config = READERS["get"](answer({"first": 0} | PAYLOAD | new))
    assert isinstance(config, CoinEventConfig)
    assert config == CoinEventConfig("WCC024845", "DEFAULT", "INVOICE_PAYMENT", 10)
    assert config.extra == {"first": 0} | new
    assert list(config.extra) == ["first", *new]


@pytest.mark.parametrize("word", ["WEEKEND", "", "छूट", "custom"])
def test_an_unknown_configuration_survives_a_round_trip(word: str) -> None:
    """The list is open: a word we do not know is read as it is, and sent as it was read."""
    config = READERS["get"](answer(PAYLOAD | {"configuration": word}))
    assert isinstance(config, CoinEventConfig)
    assert type(config.configuration) is str
    assert config.configuration == word
    if word:
        request = endpoints.update(CoinEventUpdate("WCC1", configuration=config.configuration)).request
        assert json.loads(request.body) == {"configuration": word}


@pytest.mark.parametrize("extra", [{}, {"since": [1, None], "more": {"a": 1.5}}], ids=str)
def test_the_object_form_of_a_configuration_survives_a_round_trip(extra: dict[str, object]) -> None:
    """The schema's form: read as an object, with all keys, and sent as it was read."""
    value = {"CUSTOM": "x", **extra}
    config = READERS["get"](answer(PAYLOAD | {"configuration": value}))
    assert isinstance(config, CoinEventConfig)
    assert config.configuration == CustomConfiguration("x", extra)
    assert config.as_dict()["configuration"] == value
    request = endpoints.update(CoinEventUpdate("WCC1", configuration=config.configuration)).request
    assert json.loads(request.body) == {"configuration": value}


@pytest.mark.parametrize("value", [{"custom": "x"}, {"CUSTOM": 5}, {"CUSTOM": None}], ids=str)
def test_an_object_without_its_string_is_malformed(value: object) -> None:
    """``CUSTOM`` is required, and a string."""
    assert "payload.configuration has no string CUSTOM" in reason("get", PAYLOAD | {"configuration": value})


def test_a_known_configuration_equals_its_enumeration() -> None:
    """A caller may compare with ``Configuration.DEFAULT`` or with ``"DEFAULT"``."""
    config = READERS["get"](answer(PAYLOAD))
    assert isinstance(config, CoinEventConfig)
    assert config.configuration == "DEFAULT"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "x"]), inner, max_size=5),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "payload": JSON,
        "response_code": st.just(0) | JSON,
        "response_message": st.just("m") | JSON,
        "code": JSON,
        "message": JSON,
    },
)


def read_safely(operation: str, response: Response) -> None:
    """Read an answer: a value of the right type comes out, or an ``EnkashError``, and nothing else."""
    kind: Any = {"allocate": AllocationReceipt, "balance": int}.get(operation, CoinEventConfig)
    value, failure = None, None
    try:
        value = READERS[operation](response)
    except EnkashError as error:
        failure = error
    if failure is None:
        assert type(value) is kind
        assert 200 <= response.status < 300
    else:
        assert str(failure).isprintable()


@given(operation=st.sampled_from([*READERS]), status=st.integers(100, 599) | st.just(200), body=st.binary())
def test_any_bytes_are_a_value_or_an_error_of_ours(operation: str, status: int, body: bytes) -> None:
    """No answer, whatever it is, raises anything that a caller is not prepared for."""
    read_safely(operation, Response(status, {}, body))


@given(operation=st.sampled_from([*READERS]), status=st.sampled_from([200, 201, 400, 429, 503]), envelope=ENVELOPES)
def test_any_json_is_a_value_or_an_error_of_ours(operation: str, status: int, envelope: dict[str, object]) -> None:
    """The same for what looks much like an answer."""
    read_safely(operation, Response(status, {}, json.dumps(envelope).encode()))


@given(payload=st.fixed_dictionaries(dict.fromkeys(PAYLOAD, JSON), optional={"companyId": JSON}))
def test_a_configuration_is_read_only_from_the_right_types(payload: dict[str, object]) -> None:
    """Either every field is of its documented type and stays as it is, or nothing is read."""
    amount = payload["amount"]
    right = (
        type(amount) is int
        and -(2**63) <= amount < 2**63
        and all(type(payload[key]) is str for key in PAYLOAD if key != "amount")
    )
    right = right and type(payload.get("companyId")) in (str, type(None))
    try:
        config = READERS["get"](answer(payload))
    except MalformedResponse:
        assert not right
    else:
        assert right
        assert isinstance(config, CoinEventConfig)
        assert config.amount == payload["amount"]
        assert config.company_id == payload.get("companyId")


@given(st.binary())
def test_unreadable_bytes_leave_no_trace_in_the_error(body: bytes) -> None:
    """The parser's own error holds the whole document; ours holds nothing of it."""
    failure = None
    try:
        loads(body)
    except Unreadable as error:
        failure = error
    if failure is not None:
        assert str(failure) == "is not JSON"
        assert failure.__cause__ is None
        assert failure.__context__ is None
