import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from enkash_coins import (
    UNSET,
    AllocationReceipt,
    BadRequest,
    CoinAllocation,
    CoinEventConfig,
    CoinEventCreation,
    CoinEventUpdate,
    Configuration,
    CustomConfiguration,
    EnkashError,
    NotFound,
    Outcome,
    OutcomeStatus,
    Request,
    Response,
    RetryPolicy,
    Token,
)

CONFIG = CoinEventConfig("WCC12345", "DEFAULT", "INVOICE_PAYMENT", 10, "CEK1", {"new": [1]})
VALUES = {
    "CoinEventConfig": CONFIG,
    "CoinEventUpdate": CoinEventUpdate("WCC12345", amount=0),
    "CoinEventCreation": CoinEventCreation(company_id="CEK1", event="E", amount=6, configuration="DEFAULT"),
    "CustomConfiguration": CustomConfiguration("x", {"since": [1]}),
    "CoinAllocation": CoinAllocation(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1"),
    "AllocationReceipt": AllocationReceipt("order-7", "Successfully allocated enkash Coins"),
    "Outcome": Outcome(0, "row", OutcomeStatus.APPLIED, CONFIG, None, 1),
    "Request": Request("GET", "/x"),
    "Response": Response(200, {"A": "b"}, b"{}"),
    "RetryPolicy": RetryPolicy(),
    "Token": Token("abc", 5.0),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),  # noqa: S301  # our own bytes
}


@pytest.mark.parametrize("name", [name for name in VALUES if name not in {"Request", "Response"}])
def test_a_value_cannot_be_changed(name: str) -> None:
    """No field of a value can be set anew: values are safe to share between tasks."""
    value: Any = VALUES[name]
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, "x")


@pytest.mark.parametrize("name", VALUES)
def test_a_value_has_no_other_fields(name: str) -> None:
    """A misspelt field is an error, and a hundred thousand rows carry no dictionary each."""
    value: Any = VALUES[name]
    assert not hasattr(value, "__dict__")
    with pytest.raises(AttributeError):
        value.something_else = 1


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", [name for name in VALUES if name != "Response"])
def test_a_value_equals_its_copies(name: str, way: str) -> None:
    """Values are compared by content and survive copies and pickles."""
    assert COPIES[way](VALUES[name]) == VALUES[name]


def test_unknown_keys_are_kept_but_not_compared() -> None:
    """Two configurations that differ only in keys we do not know are equal, and hash alike."""
    other = attrs.evolve(CONFIG, extra={})
    assert other == CONFIG
    assert hash(other) == hash(CONFIG)
    assert CONFIG.extra == {"new": [1]}
    assert attrs.evolve(CONFIG, amount=11) != CONFIG
    assert attrs.evolve(CONFIG, company_id=None) != CONFIG


def test_as_dict_is_ready_for_json() -> None:
    """``as_dict`` holds every field under its own name, as plain values, and is not tied to the original."""
    plain = CONFIG.as_dict()
    assert plain == {
        "coin_config_id": "WCC12345",
        "configuration": "DEFAULT",
        "event": "INVOICE_PAYMENT",
        "amount": 10,
        "company_id": "CEK1",
        "extra": {"new": [1]},
    }
    assert list(plain) == [field.name for field in attrs.fields(CoinEventConfig)]
    assert json.loads(json.dumps(plain)) == plain
    assert json.loads(json.dumps(plain).encode()) == plain
    extra = plain["extra"]
    assert isinstance(extra, dict)
    extra.clear()
    assert CONFIG.extra == {"new": [1]}


def test_a_custom_configuration_is_no_string() -> None:
    """It equals one of its own kind with the same keys, has a hash, and is ready for JSON."""
    custom = CustomConfiguration("x", {"since": [1]})
    assert custom == CustomConfiguration("x", {"since": [1]})
    assert custom != CustomConfiguration("x")
    others: list[object] = ["x", "CUSTOM", custom.as_dict()]
    assert custom not in others
    assert len({custom, CustomConfiguration("x", {"since": [1]})}) == 1
    assert custom.as_dict() == {"CUSTOM": "x", "since": [1]}
    assert json.loads(json.dumps(attrs.evolve(CONFIG, configuration=custom).as_dict()))["configuration"] == {
        "CUSTOM": "x",
        "since": [1],
    }


@pytest.mark.parametrize("way", COPIES)
def test_unset_is_one_and_false(way: str) -> None:
    """There is one ``UNSET`` whatever is done to it; it is false, and says its name."""
    assert COPIES[way](UNSET) is UNSET
    assert not UNSET
    assert repr(UNSET) == "UNSET"


def test_an_update_leaves_out_what_is_not_named() -> None:
    """Everything but the id is ``UNSET`` by default, and named by keyword only."""
    update: Any = CoinEventUpdate
    allocation: Any = CoinAllocation
    assert CoinEventUpdate("WCC1") == CoinEventUpdate(
        "WCC1", amount=UNSET, configuration=UNSET, company_id=UNSET, event=UNSET
    )
    with pytest.raises(TypeError):
        update("WCC1", 10)
    with pytest.raises(TypeError):
        allocation("CEK1", "REFERRAL_EVENT", "EK1")


@pytest.mark.parametrize("bad", [None, 5, "../x", ["a"]], ids=repr)
def test_constructors_check_nothing(bad: str) -> None:
    """A bad value is found when it is sent, so that a bad row becomes an outcome instead of ending a loop."""
    assert CoinEventUpdate(bad, event=bad).event is bad
    assert CoinAllocation(company_id=bad, event=bad, user_id=bad).user_id is bad


def test_words_are_the_documented_ones() -> None:
    """The strings of both enumerations are fixed: they stand in files and in other people's code."""
    assert {kind.name: kind.value for kind in Configuration} == {"DEFAULT": "DEFAULT", "CUSTOM": "CUSTOM"}
    assert [status.value for status in OutcomeStatus] == [
        "applied",
        "unchanged",
        "mismatched",
        "rejected",
        "not_sent",
        "unknown",
        "drifted",
    ]
    assert f"{Configuration.CUSTOM} {OutcomeStatus.NOT_SENT}" == "CUSTOM not_sent"


def outcome(status: OutcomeStatus, result: int | None = None, error: EnkashError | None = None) -> Outcome[str, int]:
    """An outcome of row 7."""
    return Outcome(7, "row", status, result, error, 1)


@pytest.mark.parametrize("status", OutcomeStatus)
def test_ok_means_applied_or_unchanged(status: OutcomeStatus) -> None:
    """Every other status needs somebody's attention."""
    assert outcome(status).ok is (status.value in {"applied", "unchanged"})


@pytest.mark.parametrize("status", OutcomeStatus)
def test_unwrap_gives_the_result_or_raises(status: OutcomeStatus) -> None:
    """``unwrap`` never returns the result of a row that is not ok, and raises the very error that it has."""
    failure = NotFound("404", status=404)
    with pytest.raises(NotFound) as caught:
        outcome(status, 5, failure).unwrap()
    assert caught.value is failure
    if outcome(status).ok:
        assert outcome(status, 0).unwrap() == 0
    else:
        with pytest.raises(EnkashError, match=f"row 7 is {status.value}"):
            outcome(status, 5).unwrap()


@pytest.mark.parametrize("status", OutcomeStatus)
def test_unwrap_without_a_result_says_so(status: OutcomeStatus) -> None:
    """There is nothing to give back: an error says which row, instead of a ``None`` that looks like a value."""
    with pytest.raises(EnkashError, match=f"row 7 is {status.value} and has no result"):
        outcome(status).unwrap()


@pytest.mark.parametrize("status", OutcomeStatus)
def test_an_outcome_pickles_with_all_that_is_in_it(status: OutcomeStatus) -> None:
    """The row, the result and the error, whatever became of it: outcomes come back from other processes."""
    custom = CustomConfiguration("x", {"since": [1]})
    row, config = CoinEventUpdate("WCC1", configuration=custom), attrs.evolve(CONFIG, configuration=custom)
    error = BadRequest("HTTP 400", about="update of WCC1", status=400, payload={"amount": ["?"]}, headers={"Date": "x"})
    whole = Outcome(7, row, status, config, error, 2, late_risk=True)
    back = pickle.loads(pickle.dumps(whole))  # noqa: S301  # our own bytes
    assert attrs.evolve(back, error=None) == attrs.evolve(whole, error=None)
    assert (type(back.error), str(back.error), vars(back.error)) == (BadRequest, str(error), vars(error))


def test_bodies_headers_and_tokens_are_not_shown() -> None:
    """The ``repr`` of a request, an answer or a token is safe for a log."""
    shown = repr(
        (Request("GET", "/x", {"Authorization": "sesame"}, b"sesame"), Response(200, {"A": "sesame"}, b"sesame"))
    ) + repr(Token("sesame", 5.0))
    assert "sesame" not in shown
    assert "/x" in shown
    assert "200" in shown
