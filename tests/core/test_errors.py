import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from enkash_coins import errors
from enkash_coins.errors import ApiError, ConnectTimedOut, EnkashError, InvalidRequest, ServerError, TimedOut

# The whole tree: every class with its bases. ConnectTimedOut is not public: it only says both things at once.
TREE = {
    "EnkashError": ("Exception",),
    "InvalidRequest": ("EnkashError", "ValueError"),
    "LoginRefused": ("EnkashError",),
    "AccountLocked": ("LoginRefused",),
    "LoginSuspended": ("EnkashError",),
    "GuardUnusable": ("LoginSuspended",),
    "ServiceClosed": ("EnkashError",),
    "TransportError": ("EnkashError",),
    "ConnectError": ("TransportError",),
    "TlsError": ("ConnectError",),
    "TimedOut": ("TransportError", "TimeoutError"),
    "ConnectTimedOut": ("ConnectError", "TimedOut"),
    "Disconnected": ("TransportError",),
    "MalformedResponse": ("EnkashError",),
    "ApiError": ("EnkashError",),
    "OperationFailed": ("ApiError",),
    "BadRequest": ("ApiError",),
    "Unauthorized": ("ApiError",),
    "Forbidden": ("ApiError",),
    "NotFound": ("ApiError",),
    "Conflict": ("ApiError",),
    "PreconditionFailed": ("ApiError",),
    "UnprocessableEntity": ("ApiError",),
    "RateLimited": ("ApiError",),
    "UnexpectedRedirect": ("ApiError",),
    "ServerError": ("ApiError",),
}
# What a failure of these classes means for a write, unless whoever raises it says otherwise: it may be applied.
DOUBTFUL = {"TransportError", "TimedOut", "Disconnected", "MalformedResponse", "ServerError"}

FACTS: dict[str, object] = {
    "operation": "allocate",
    "about": "allocate E to EK1",
    "attempts": 3,
    "maybe_applied": True,
    "request_id": "order-7",
}
SAID: dict[str, object] = {
    "status": 429,
    "response_code": 37,
    "response_message": "velocity limit breached",
    "payload": {"fields": ["amount"]},
    "headers": {"Retry-After": "7"},
    "retry_after": 7.0,
}
OF_LOGIN_SUSPENDED: dict[str, object] = {"retry_at": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)}
OF_MALFORMED: dict[str, object] = {"status": 502}

CLASSES: dict[str, type[EnkashError]] = {name: getattr(errors, name) for name in TREE}


def fields_of(kind: type[EnkashError]) -> dict[str, object]:
    """A telling value for every field of the class."""
    if issubclass(kind, ApiError):
        return FACTS | SAID
    return FACTS | {
        "LoginSuspended": OF_LOGIN_SUSPENDED,
        "GuardUnusable": OF_LOGIN_SUSPENDED,
        "MalformedResponse": OF_MALFORMED,
    }.get(kind.__name__, {})


def made(kind: type[EnkashError], message: str, fields: dict[str, object]) -> EnkashError:
    """An error with these fields; they differ by class, which a signature cannot say here."""
    make: Callable[..., EnkashError] = kind
    return make(message, **fields)


def test_the_tree_is_the_documented_one() -> None:
    """Classes, names and bases are exactly those of the documents."""
    found = {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, EnkashError)
    }
    assert found == TREE


@pytest.mark.parametrize("name", TREE)
def test_an_error_says_its_message_and_shows_its_fields(name: str) -> None:
    """``args`` is the message alone; every field is what it was made with."""
    fields = fields_of(CLASSES[name])
    error = made(CLASSES[name], "what happened", fields)
    assert error.args == ("what happened",)
    assert {field: getattr(error, field) for field in fields} == fields


@pytest.mark.parametrize("name", TREE)
def test_an_error_is_one_sentence_to_act_on(name: str) -> None:
    """What was asked, what happened, and what is in doubt; also when that turns out only later."""
    error = made(CLASSES[name], "what happened", fields_of(CLASSES[name]))
    assert str(error) == ("allocate E to EK1: what happened; coins may have been given, under request id order-7")
    error.request_id = None
    assert str(error) == "allocate E to EK1: what happened; it may have been applied"
    error.maybe_applied = False
    assert str(error) == "allocate E to EK1: what happened"
    error.about, error.maybe_applied = None, True
    assert str(error) == "what happened"


@pytest.mark.parametrize("name", TREE)
def test_fields_left_out_claim_nothing_but_doubt(name: str) -> None:
    """Without facts there are no attempts, no operation and no id; doubt is claimed by the class where due."""
    error = CLASSES[name]()
    assert (error.operation, error.about, error.attempts, error.request_id) == (None, None, 0, None)
    assert error.maybe_applied is (name in DOUBTFUL)
    others = {field for field in vars(error) if not field.startswith("_")} - FACTS.keys()
    assert others == fields_of(CLASSES[name]).keys() - FACTS.keys()
    assert {field: getattr(error, field) for field in others} == {
        field: {"status": 0 if isinstance(error, ApiError) else None, "headers": {}}.get(field) for field in others
    }


def _pickled(protocol: int, error: EnkashError) -> object:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301  # our own bytes


ROUND_TRIPS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle protocol {protocol}": partial(_pickled, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("way", ROUND_TRIPS)
@pytest.mark.parametrize("name", TREE)
def test_an_error_survives_copies_and_pickles_whole(name: str, way: str) -> None:
    """Across a process pool or a copy, class, message and every field stay the same."""
    error = made(CLASSES[name], "what happened", fields_of(CLASSES[name]))
    back = ROUND_TRIPS[way](error)
    assert back is not error
    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_what_layers_tell_each_other_survives_a_copy() -> None:
    """Whether a call was unsent is not lost when the error is copied."""
    error = errors.Unauthorized("401", status=401)
    error._unsent = True
    for way in ROUND_TRIPS.values():
        assert way(error)._unsent is True


def test_builtin_handlers_catch_ours() -> None:
    """``except ValueError`` catches a refused argument, ``except TimeoutError`` (an ``OSError``) a time limit."""
    assert isinstance(InvalidRequest("x"), ValueError)
    assert isinstance(TimedOut("x"), TimeoutError)
    assert isinstance(ConnectTimedOut("x"), OSError)
    assert not isinstance(ServerError("x"), ValueError | OSError)


def test_headers_of_an_error_are_its_own_and_plain() -> None:
    """A later change of the answer's headers changes no error, and a proxy mapping does not hinder pickling."""
    headers = {"Date": "today"}
    error = ApiError("x", headers=MappingProxyType(headers))
    headers["Date"] = "tomorrow"
    assert type(error.headers) is dict
    assert error.headers == {"Date": "today"}
