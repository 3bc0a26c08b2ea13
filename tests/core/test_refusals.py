"""What is refused here, before anything is sent."""

import enum
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from enkash_coins import UNSET, CoinEventService, CoinEventUpdate, CustomConfiguration, InvalidRequest
from enkash_coins.api import endpoints
from enkash_coins.testing import MockTransport

Call = Callable[[CoinEventService, Any], Awaitable[object]]


class _Claim:
    def __index__(self) -> int:
        raise TypeError("not an integer after all")


ID_FIELDS: dict[str, Call] = {
    "get: coin_config_id": lambda coins, bad: coins.get(bad),
    "update: coin_config_id": lambda coins, bad: coins.update(bad, amount=1),
}
BAD_IDS: dict[str, object] = {
    **{
        repr(text): text
        for text in ("../x", "..", ".", "a/b", "a?b", "a#b", "a&b", "%2e%2e", "a\r\nX: y", "a\n", "\na", "", " ", "a b")
    },
    **{repr(text): text for text in ("é", "WCC\N{ARABIC-INDIC DIGIT ONE}", "\N{FULLWIDTH LATIN SMALL LETTER A}", "\0")},
    "65 characters": "x" * 65,
    "a lone surrogate": "\ud800",
    "None": None,
    "int": 12345,
    "bool": True,
    "bytes": b"WCC12345",
    "list": ["WCC12345"],
}
TEXT_FIELDS: dict[str, Call] = {
    "update: configuration": lambda coins, bad: coins.update("WCC1", configuration=bad),
    "update: company_id": lambda coins, bad: coins.update("WCC1", company_id=bad),
    "update: event": lambda coins, bad: coins.update("WCC1", event=bad),
    "create: company_id": lambda coins, bad: coins.create(company_id=bad, event="E", amount=1, configuration="D"),
    "create: configuration": lambda coins, bad: coins.create(company_id="CEK1", event="E", amount=1, configuration=bad),
    "create: event": lambda coins, bad: coins.create(company_id="CEK1", event=bad, amount=1, configuration="D"),
    "allocate: company_id": lambda coins, bad: coins.allocate(company_id=bad, event="E", user_id="EK1"),
    "allocate: event": lambda coins, bad: coins.allocate(company_id="CEK1", event=bad, user_id="EK1"),
    "allocate: user_id": lambda coins, bad: coins.allocate(company_id="CEK1", event="E", user_id=bad),
    "allocate: request_id": lambda coins, bad: coins.allocate(
        company_id="CEK1", event="E", user_id="EK1", request_id=bad
    ),
    "balance: user_id": lambda coins, bad: coins.balance(bad),
}
BAD_TEXTS: dict[str, object] = {
    **{
        repr(text): text for text in ("", "a\0", "a\nb", "\t", "\x1b[31m", "\x7f", "\x85", "\x9f", "\ud800", "a\udfffb")
    },
    **{repr(text): text for text in (" ", " a", "a ", "a\N{NO-BREAK SPACE}", "\N{EM SPACE}a")},
    "129 characters": "x" * 129,
    "None": None,
    "int": 5,
    "bool": False,
    "bytes": b"E",
    "list": ["E"],
}
CONFIGURATION_FIELDS = {field: call for field, call in TEXT_FIELDS.items() if field.endswith("configuration")}
BAD_EXTRAS: list[Any] = [
    {"CUSTOM": "y"},
    {1: 2},
    {"a": float("nan")},
    {"a": b"x"},
    {"a": {1}},
    {"a": "\ud800"},
    None,
    [],
]
BAD_CONFIGURATIONS: dict[str, object] = {
    "dict": {"CUSTOM": "x"},
    "no custom": CustomConfiguration(""),
    **{f"extra {extra!r}": CustomConfiguration("x", extra) for extra in BAD_EXTRAS},
}
AMOUNT_FIELDS: dict[str, Call] = {
    "update: amount": lambda coins, bad: coins.update("WCC1", amount=bad),
    "create: amount": lambda coins, bad: coins.create(company_id="CEK1", event="E", amount=bad, configuration="D"),
}
BAD_AMOUNTS: dict[str, object] = {
    "True": True,
    "False": False,
    "10.0": 10.0,
    "nan": float("nan"),
    "str": "10",
    "bytes": b"10",
    "None": None,
    "Decimal": Decimal(10),
    "2**63": 2**63,
    "-2**63 - 1": -(2**63) - 1,
    "5,001 digits": 10**5000,
    "a mere claim": _Claim(),
}
REFUSED = {
    f"{field} = {shown}": (field.partition(": ")[2], call, bad)
    for fields, values in (
        (ID_FIELDS, BAD_IDS),
        (TEXT_FIELDS, BAD_TEXTS),
        (CONFIGURATION_FIELDS, BAD_CONFIGURATIONS),
        (AMOUNT_FIELDS, BAD_AMOUNTS),
    )
    for field, call in fields.items()
    for shown, bad in values.items()
    if not (field == "allocate: request_id" and bad is None)  # which asks for a new one
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_value_is_refused_by_name_and_nothing_is_sent(case: str) -> None:
    """Whatever cannot be sent as it is raises ``InvalidRequest`` naming the argument, before any request."""
    field, call, bad = REFUSED[case]
    transport = MockTransport([])
    async with CoinEventService(transport) as coins:
        with pytest.raises(InvalidRequest, match=rf"^{field}: ") as caught:
            await call(coins, bad)
    assert transport.requests == []
    assert caught.value.attempts == 0
    assert caught.value.maybe_applied is False
    assert str(caught.value).isprintable()


def test_what_is_wrong_with_an_extra_is_shown() -> None:
    """The whole of it, because no JSON library says where."""
    with pytest.raises(InvalidRequest, match=r"^configuration: \{1: 2\} is not the extra"):
        endpoints.update(CoinEventUpdate("WCC1", configuration=CustomConfiguration("x", {1: 2})))  # type: ignore[dict-item]


VERBS: dict[str, Callable[[CoinEventService], Awaitable[object]]] = {
    "get": lambda coins: coins.get(""),
    "update": lambda coins: coins.update("WCC1", event=""),
    "create": lambda coins: coins.create(company_id="CEK1", event="", amount=1, configuration="D"),
    "allocate": lambda coins: coins.allocate(company_id="CEK1", event="", user_id="EK1"),
    "balance": lambda coins: coins.balance(""),
}


@pytest.mark.parametrize("operation", VERBS)
async def test_a_refusal_names_its_operation(operation: str) -> None:
    """Like every other error of a call, a refused one says which call it was."""
    async with CoinEventService(MockTransport([])) as coins:
        with pytest.raises(InvalidRequest) as caught:
            await VERBS[operation](coins)
    assert caught.value.operation == operation


async def test_a_refused_allocation_shows_its_id() -> None:
    """An allocation's id stands on *any* error of it, a refusal of another argument included."""
    async with CoinEventService(MockTransport([])) as coins:
        with pytest.raises(InvalidRequest) as caught:
            await coins.allocate(company_id="CEK1", event="", user_id="EK1", request_id="order-7")
    assert caught.value.request_id == "order-7"


async def test_an_update_with_nothing_set_is_refused() -> None:
    """It would change nothing; most likely somebody misspelt something."""
    transport = MockTransport([])
    async with CoinEventService(transport) as coins:
        with pytest.raises(InvalidRequest, match="update of WCC1: nothing is set"):
            await coins.update("WCC1")
        with pytest.raises(InvalidRequest, match="nothing is set"):
            await coins.update("WCC1", amount=UNSET, configuration=UNSET, company_id=UNSET, event=UNSET)
    assert transport.requests == []


@pytest.mark.parametrize("field", ["company_id", "event", "amount", "configuration"])
async def test_unset_is_for_updates_only(field: str) -> None:
    """Every field of a creation is required: ``UNSET`` is refused by name."""
    arguments: dict[str, Any] = {"company_id": "CEK1", "event": "E", "amount": 1, "configuration": "D", field: UNSET}
    transport = MockTransport([])
    async with CoinEventService(transport) as coins:
        with pytest.raises(InvalidRequest, match=rf"^{field}: UNSET"):
            await coins.create(**arguments)
    assert transport.requests == []


def test_a_huge_bad_value_makes_a_short_message() -> None:
    """Ten million characters are named, not repeated."""
    with pytest.raises(InvalidRequest) as caught:
        endpoints.get("x" * 10_000_000)
    assert len(str(caught.value)) < 200


class _Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_a_value_that_cannot_be_shown_is_refused_all_the_same() -> None:
    """A ``repr`` that fails does not turn a refusal into another error."""
    anything: Any = _Unshowable()
    with pytest.raises(InvalidRequest, match=r"^coin_config_id: "):
        endpoints.get(anything)


@pytest.mark.parametrize("row", [None, {"coin_config_id": "WCC1", "amount": 1}, "WCC1", ("WCC1", 1)], ids=str)
def test_rows_of_another_type_are_refused(row: Any) -> None:  # noqa: ANN401  # it stands for both kinds of rows
    """A dictionary that looks like a row is none."""
    with pytest.raises(InvalidRequest, match="is not a CoinEventUpdate"):
        endpoints.update(row)
    with pytest.raises(InvalidRequest, match="is not a CoinAllocation"):
        endpoints.allocate(row, replay=False)
    with pytest.raises(InvalidRequest, match="is not a CoinEventCreation"):
        endpoints.create(row)


class _Ids(str, enum.Enum):  # noqa: UP042  # the older kind, whose format() is its name
    MEAL = "WCC12345"


class _Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "../climb"


@pytest.mark.parametrize("one", [_Ids.MEAL, _Loud("WCC12345")], ids=["enum", "subclass"])
def test_the_id_that_was_checked_is_the_id_that_is_sent(one: str) -> None:
    """A string that formats as something else goes out as the characters that were checked."""
    assert endpoints.get(one).request.path == "/api/v0/enkash-coins/WCC12345"
    assert endpoints.update(CoinEventUpdate(one, amount=1)).request.path == "/api/v0/enkash-coins/WCC12345"
    assert endpoints.balance(one).request.path == "/api/v0/coins/balance?userId=WCC12345"
    assert endpoints.update(CoinEventUpdate("WCC1", event=one)).request.body == b'{"event":"WCC12345"}'
