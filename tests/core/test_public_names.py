import importlib.util
from pathlib import Path

import pytest

import enkash_coins
import enkash_coins.testing

# Every public name. Each one more is a promise: fewer than 50 in all.
NAMES = [
    "UNSET",
    "AllocationReceipt",
    "ApiError",
    "Attempt",
    "BadRequest",
    "CoinAllocation",
    "CoinEventConfig",
    "CoinEventCreation",
    "CoinEventService",
    "CoinEventUpdate",
    "Configuration",
    "Conflict",
    "ConnectError",
    "CustomConfiguration",
    "Disconnected",
    "EnkashError",
    "FileGuard",
    "Forbidden",
    "InvalidRequest",
    "LoginRefused",
    "LoginSuspended",
    "MalformedResponse",
    "MemoryGuard",
    "NotFound",
    "OperationFailed",
    "Outcome",
    "OutcomeStatus",
    "OutcomeStream",
    "PasswordGrant",
    "PayloadEncryption",
    "PreconditionFailed",
    "RateLimited",
    "Request",
    "Response",
    "RetryPolicy",
    "ServerError",
    "ServiceClosed",
    "TimedOut",
    "TlsError",
    "Token",
    "TokenSource",
    "Transport",
    "TransportError",
    "Unauthorized",
    "UnexpectedRedirect",
    "UnprocessableEntity",
    "__version__",
]


def test_the_public_names_are_these() -> None:
    """A name that comes or goes is a decision, made here."""
    assert sorted(enkash_coins.__all__) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES) < 50


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported_and_is_explained(name: str) -> None:
    """Each exists, and each class says what it is."""
    value = getattr(enkash_coins, name)
    if isinstance(value, type):
        assert value.__doc__
        assert value.__module__.startswith("enkash_coins.")


def test_nothing_else_looks_public() -> None:
    """What the package's namespace shows besides is a module of it, which everybody may import by its own name."""
    others = {name for name in vars(enkash_coins) if not name.startswith("_")} - set(NAMES)
    assert {name for name in others if type(vars(enkash_coins)[name]).__name__ != "module"} == set()


def test_the_mock_lives_with_what_is_for_tests() -> None:
    """It is not imported with the package, and so cannot be used by mistake."""
    assert not hasattr(enkash_coins, "MockTransport")
    assert enkash_coins.testing.MockTransport.__doc__


@pytest.mark.parametrize("name", ["api", "refused"])
def test_the_typing_tests_can_be_imported(name: str) -> None:
    """Files that only the type checker reads are at least correct when imported: every name in them exists."""
    path = Path(__file__).parent.parent / "typing" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"typing_test_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
