"""From a call's end to a row's outcome."""

import traceback

import attrs
import pytest

from enkash_coins import (
    UNSET,
    CoinEventConfig,
    CoinEventCreation,
    CoinEventUpdate,
    Configuration,
    CustomConfiguration,
    EnkashError,
    Outcome,
    OutcomeStatus,
    errors,
)
from enkash_coins.api import endpoints
from enkash_coins.api.comparison import differences, holds
from enkash_coins.calls.call import Success
from enkash_coins.calls.outcomes import outcome_of, refused, status_of

# Error, and what it means for a row when the write certainly was not applied. In doubt every one is "unknown".
MEANINGS = {
    "EnkashError": "not_sent",
    "InvalidRequest": "not_sent",
    "LoginRefused": "not_sent",
    "LoginSuspended": "not_sent",
    "GuardUnusable": "not_sent",
    "AccountLocked": "not_sent",
    "ServiceClosed": "not_sent",
    "TransportError": "not_sent",
    "ConnectError": "not_sent",
    "TlsError": "not_sent",
    "ConnectTimedOut": "not_sent",
    "TimedOut": "not_sent",
    "Disconnected": "not_sent",
    "MalformedResponse": "not_sent",
    "RateLimited": "not_sent",
    "ApiError": "rejected",
    "OperationFailed": "rejected",
    "BadRequest": "rejected",
    "Unauthorized": "rejected",
    "Forbidden": "rejected",
    "NotFound": "rejected",
    "Conflict": "rejected",
    "PreconditionFailed": "rejected",
    "UnprocessableEntity": "rejected",
    "UnexpectedRedirect": "rejected",
    "ServerError": "rejected",
}


def test_the_table_knows_every_error() -> None:
    """Whoever adds an error decides here what it means for a row."""
    every = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, EnkashError)}
    assert MEANINGS.keys() == every


@pytest.mark.parametrize("name", MEANINGS)
def test_what_an_error_means_for_a_row(name: str) -> None:
    """In doubt: unknown. A definite no of the API: rejected. Otherwise nothing took effect: not sent."""
    kind: type[EnkashError] = getattr(errors, name)
    assert status_of(kind("x", maybe_applied=True)) == "unknown"
    assert status_of(kind("x", maybe_applied=False)) == MEANINGS[name]


@pytest.mark.parametrize("name", MEANINGS)
def test_a_failed_login_means_not_sent(name: str) -> None:
    """Whatever the token endpoint answered: the row itself never left."""
    error: EnkashError = getattr(errors, name)("x", maybe_applied=False)
    error._unsent = True
    assert status_of(error) == "not_sent"


ROW = CoinEventUpdate("WCC1", amount=10, configuration="DEFAULT", event="E", company_id="CEK1")
CREATION = CoinEventCreation(company_id="CEK1", event="E", amount=10, configuration="DEFAULT")
CUSTOM = CustomConfiguration("x", {"since": True})
ASKED = endpoints.update(ROW)
SHOWN = CoinEventConfig("WCC1", "DEFAULT", "E", 10, "CEK1")


@pytest.mark.parametrize(
    ("asked", "shown", "found"),
    [
        (ROW, SHOWN, ""),
        (ROW, attrs.evolve(SHOWN, coin_config_id="WCC2"), ""),
        (ROW, attrs.evolve(SHOWN, company_id="CEK2"), ""),
        (ROW, attrs.evolve(SHOWN, company_id=None), ""),
        (ROW, attrs.evolve(SHOWN, extra={"amount": 11}), ""),
        (attrs.evolve(ROW, amount=UNSET), attrs.evolve(SHOWN, amount=11), ""),
        (attrs.evolve(ROW, configuration=UNSET), attrs.evolve(SHOWN, configuration="CUSTOM"), ""),
        (attrs.evolve(ROW, event=UNSET), attrs.evolve(SHOWN, event="F"), ""),
        (attrs.evolve(ROW, configuration=Configuration.DEFAULT), SHOWN, ""),
        (ROW, attrs.evolve(SHOWN, amount=11), "amount 11 instead of 10"),
        (attrs.evolve(ROW, amount=0), SHOWN, "amount 10 instead of 0"),
        (ROW, attrs.evolve(SHOWN, configuration="CUSTOM"), "configuration 'CUSTOM' instead of 'DEFAULT'"),
        (
            attrs.evolve(ROW, configuration=Configuration.CUSTOM),
            SHOWN,
            "configuration 'DEFAULT' instead of 'CUSTOM'",
        ),
        (ROW, attrs.evolve(SHOWN, event="e"), "event 'e' instead of 'E'"),
        (CREATION, attrs.evolve(SHOWN, coin_config_id="WCC2"), ""),
        (CREATION, attrs.evolve(SHOWN, amount=11), "amount 11 instead of 10"),
        (attrs.evolve(ROW, configuration=CUSTOM), attrs.evolve(SHOWN, configuration=CUSTOM), ""),
        (
            attrs.evolve(ROW, configuration=CUSTOM),
            attrs.evolve(SHOWN, configuration=attrs.evolve(CUSTOM, extra={"more": 0, **CUSTOM.extra})),
            "",
        ),
        (
            attrs.evolve(ROW, configuration=CUSTOM),
            attrs.evolve(SHOWN, configuration=CustomConfiguration("x", {"since": False})),
            'configuration {"CUSTOM": "x", "since": false} instead of {"CUSTOM": "x", "since": true}',
        ),
        (
            attrs.evolve(ROW, configuration=CUSTOM),
            attrs.evolve(SHOWN, configuration=CustomConfiguration("x")),
            'configuration {"CUSTOM": "x"} instead of {"CUSTOM": "x", "since": true}',
        ),
        (
            attrs.evolve(ROW, configuration=CustomConfiguration("x")),
            attrs.evolve(SHOWN, configuration="x"),
            'configuration \'x\' instead of {"CUSTOM": "x"}',
        ),
        (
            attrs.evolve(ROW, configuration="CUSTOM"),
            attrs.evolve(SHOWN, configuration=CustomConfiguration("x")),
            'configuration {"CUSTOM": "x"} instead of \'CUSTOM\'',
        ),
        (
            ROW,
            CoinEventConfig("WCC1", "X", "Y", -1),
            "amount -1 instead of 10, configuration 'X' instead of 'DEFAULT', event 'Y' instead of 'E'",
        ),
    ],
)
def test_an_answer_is_compared_with_what_was_asked(
    asked: CoinEventUpdate | CoinEventCreation, shown: CoinEventConfig, found: str
) -> None:
    """Only what was set is compared; the id and the company are not, because the documents' own example differs."""
    assert differences(asked, shown) == found


def test_values_of_a_model_and_json_are_compared_alike() -> None:
    """A run keeps what it has found as JSON."""
    found = {"CUSTOM": "x", "since": True, "more": [1]}
    assert holds(found, CUSTOM)
    assert holds({"CUSTOM": "x", "a": [1]}, CustomConfiguration("x", {"a": (1,)}))  # as it was sent
    assert holds(found, CUSTOM.as_dict())
    assert not holds(CUSTOM, found)
    assert not holds(found, "x")
    assert not holds(found, "")
    assert holds({"CUSTOM": "x", "a": {"b": 1, "c": 2}}, CustomConfiguration("x", {"a": {"c": 2, "b": 1}}))
    assert holds(CustomConfiguration("x", {"a": [{"b": 1, "c": 2}]}), {"CUSTOM": "x", "a": ({"c": 2, "b": 1},)})
    assert holds(10, 10)


def test_a_mismatch_is_told_in_the_outcome() -> None:
    """Success with other values is neither hidden nor a failure: result and error are both there, and it is not ok."""
    shown = attrs.evolve(SHOWN, amount=11)
    outcome = outcome_of(7, ROW, ASKED, Success(shown, 2, late_risk=True))
    assert (outcome.index, outcome.item, outcome.status) == (7, ROW, OutcomeStatus.MISMATCHED)
    assert (outcome.result, outcome.attempts, outcome.late_risk, outcome.ok) == (shown, 2, True, False)
    assert outcome.error is not None
    assert str(outcome.error) == (
        "update of WCC1: the answer says success, but shows amount 11 instead of 10; it may have been applied"
    )
    assert (outcome.error.operation, outcome.error.attempts, outcome.error.maybe_applied) == ("update", 2, True)
    with pytest.raises(EnkashError, match="amount 11 instead of 10"):
        outcome.unwrap()


def test_a_mismatch_repeats_no_more_remote_text_than_other_errors() -> None:
    """A server's eight megabytes of an event's name are cut to 512 characters, and made harmless."""
    shown = attrs.evolve(SHOWN, event="x" * 8_000_000, configuration="\x1b[31m\u202e\n" + "y" * 1000)
    error = outcome_of(0, ROW, ASKED, Success(shown, 1, late_risk=False)).error
    assert error is not None
    assert len(str(error)) < 1300
    assert str(error).isprintable()


def test_a_success_is_applied() -> None:
    """With its result, its tries, and the risk that an earlier one still arrives."""
    outcome = outcome_of(0, ROW, ASKED, Success(SHOWN, 3, late_risk=True))
    assert (outcome.status, outcome.result, outcome.error) == (OutcomeStatus.APPLIED, SHOWN, None)
    assert (outcome.attempts, outcome.late_risk, outcome.ok) == (3, True, True)


@pytest.mark.parametrize("maybe_applied", [True, False])
def test_a_failure_is_kept_with_its_row(maybe_applied: bool) -> None:
    """The error itself, its tries, and whether it may still take effect."""
    error = errors.ServerError("503", status=503, attempts=4, maybe_applied=maybe_applied)
    outcome = outcome_of(3, ROW, ASKED, error)
    assert outcome.status == ("unknown" if maybe_applied else "rejected")
    assert (outcome.index, outcome.item, outcome.result) == (3, ROW, None)
    assert (outcome.error, outcome.attempts, outcome.late_risk) == (error, 4, maybe_applied)


def test_a_row_refused_here_holds_no_frames() -> None:
    """A hundred thousand bad rows are kept without the frames that found them."""
    with pytest.raises(errors.InvalidRequest) as caught:
        raise errors.InvalidRequest("amount: 10.5")
    outcome: Outcome[str, int] = refused(5, "the row", caught.value)
    assert (outcome.index, outcome.item, outcome.status) == (5, "the row", OutcomeStatus.NOT_SENT)
    assert (outcome.result, outcome.attempts, outcome.late_risk) == (None, 0, False)
    assert outcome.error is caught.value
    assert traceback.extract_tb(outcome.error.__traceback__) == []
