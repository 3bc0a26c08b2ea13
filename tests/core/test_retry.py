"""When a request is sent again: the decision as a table, and how long it waits."""

import re
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins import InvalidRequest, RetryPolicy, errors
from enkash_coins.calls.retry import RetryBudget, backoff_delay, next_delay
from enkash_coins.calls.settings import checked_retry
from enkash_coins.errors import ApiError, EnkashError

POLICY = RetryPolicy(attempts=4, base=0.5, max_delay=20.0, max_wait=60.0)
# Longest backoff after the first, second … failure, for the policy above.
CEILINGS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0)

# Every kind of failure: "again" may be sent again unless in doubt, "never" is final, "login" is a matter of the token.
VERDICTS = {
    "EnkashError": "never",
    "InvalidRequest": "never",
    "LoginRefused": "never",
    "LoginSuspended": "never",
    "GuardUnusable": "never",
    "AccountLocked": "never",
    "ServiceClosed": "never",
    "TransportError": "again",
    "ConnectError": "again",
    "TlsError": "never",
    "ConnectTimedOut": "again",
    "TimedOut": "again",
    "Disconnected": "again",
    "MalformedResponse": "again",
    "ApiError 402": "never",
    "ApiError 408": "again",
    "ApiError 600": "never",
    "OperationFailed 200": "never",
    "BadRequest 400": "never",
    "Unauthorized 401": "login",
    "Forbidden 403": "never",
    "NotFound 404": "never",
    "Conflict 409": "never",
    "PreconditionFailed 412": "never",
    "UnprocessableEntity 422": "never",
    "RateLimited 425": "again",
    "RateLimited 429": "again",
    "UnexpectedRedirect 302": "never",
    "ServerError 500": "again",
    "ServerError 502": "again",
    "ServerError 503": "again",
    "ServerError 504": "again",
}


def failure(kind: str, *, maybe_applied: bool = False, retry_after: float | None = None) -> EnkashError:
    """An error of this kind, e.g. ``"ServerError 503"``."""
    name, _, status = kind.partition(" ")
    make: Any = getattr(errors, name)
    if issubclass(make, ApiError):
        error = make(kind, status=int(status), retry_after=retry_after, maybe_applied=maybe_applied)
    else:
        error = make(kind, maybe_applied=maybe_applied)
    assert isinstance(error, EnkashError)
    return error


def test_the_table_knows_every_error() -> None:
    """Whoever adds an error decides here whether it is worth another try."""
    every = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, EnkashError)}
    assert {kind.partition(" ")[0] for kind in VERDICTS} == every


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_decision(kind: str) -> None:
    """In every combination of doubt, replay, failures, Retry-After and new token, the verdict is the documented one."""
    for maybe_applied, replayable, failures, asked, renewed in product(
        (False, True), (False, True), (1, 2, 3, 4, 5), (None, 0.0, 7.0, 60.0, 60.1, 1e18), (False, True)
    ):
        error = failure(kind, maybe_applied=maybe_applied, retry_after=asked)
        says_when = isinstance(error, ApiError) and asked is not None
        delay = next_delay(POLICY, error, replayable=replayable, failures=failures, another_token=renewed)
        if VERDICTS[kind] == "login":
            assert delay == (0.0 if renewed else None)
            continue
        again = (
            VERDICTS[kind] == "again"
            and failures < 4
            and (replayable or not maybe_applied)
            and not (says_when and asked is not None and asked > 60)
        )
        if not again:
            assert delay is None
        else:
            floor = asked if says_when and asked is not None else 0.0
            assert delay is not None
            assert floor <= delay <= max(floor, CEILINGS[failures - 1])


@pytest.mark.parametrize(("another", "delay"), [(True, 0.0), (False, None)])
@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("failures", [1, 4, 99])
def test_a_refused_token_is_replaced_once(another: bool, delay: float | None, replayable: bool, failures: int) -> None:
    """After a 401 any operation goes out once more, at once, if a new token is at hand; it costs no attempt."""
    error = errors.Unauthorized("401", status=401)
    assert next_delay(POLICY, error, replayable=replayable, failures=failures, another_token=another) == delay


def test_uncounted_failures_lengthen_the_wait_but_use_up_nothing() -> None:
    """In a stream a 429 does not count; still, each waits longer than the last."""
    error = failure("RateLimited 429")
    waits = [next_delay(POLICY, error, replayable=False, failures=0, uncounted=7) for _ in range(300)]
    known = [wait for wait in waits if wait is not None]
    assert len(known) == 300
    assert 4.0 < max(known) <= 20.0
    assert next_delay(POLICY, error, replayable=False, failures=4, uncounted=1) is None


def test_one_attempt_means_no_retry() -> None:
    """``attempts=1`` switches retrying off, whatever may be replayed."""
    for kind in VERDICTS:
        error = failure(kind)
        assert next_delay(RetryPolicy(attempts=1), error, replayable=True, failures=1) is None


@pytest.mark.parametrize("failures", range(1, 10))
def test_backoff_is_exponential_with_full_jitter(failures: int) -> None:
    """The wait is anywhere between nothing and the ceiling, which doubles up to ``max_delay``."""
    ceiling = CEILINGS[failures - 1]
    waits = [backoff_delay(POLICY, failures) for _ in range(400)]
    assert 0 <= min(waits) < ceiling * 0.2
    assert ceiling * 0.8 < max(waits) <= ceiling


@given(
    failures=st.integers(1, 3000),
    base=st.floats(0, 1e6) | st.just(0),
    max_delay=st.floats(0, 1e6) | st.just(0),
)
def test_backoff_stays_within_its_bounds(failures: int, base: float, max_delay: float) -> None:
    """However many failures, and whatever the policy, the wait is a number between 0 and ``max_delay``."""
    assert 0 <= backoff_delay(RetryPolicy(base=base, max_delay=max_delay), failures) <= max_delay


def test_no_base_means_no_wait() -> None:
    """``base=0`` retries at once, for as long as it takes: users' tests rely on it."""
    for base in (0, 0.0):
        assert [backoff_delay(RetryPolicy(base=base), failures) for failures in (1, 4, 1024, 5000)] == [0, 0, 0, 0]


def test_the_budget_is_spent_and_refilled() -> None:
    """So many retries and no more; five successes give one back; there are never more than at the start."""
    budget = RetryBudget(3)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
    for _ in range(100):
        for _ in range(4):
            budget.refill()
            assert not budget.spend()
        budget.refill()
        assert budget.spend()
        assert not budget.spend()
    for _ in range(1000):
        budget.refill()
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("most", [0, 0.9])
def test_without_a_budget_nothing_is_retried(most: float) -> None:
    """A budget below one retry never buys one, however many successes."""
    budget = RetryBudget(most)
    for _ in range(20):
        budget.refill()
    assert not budget.spend()


def test_the_defaults_are_the_documented_ones() -> None:
    """What users get without asking."""
    assert RetryPolicy() == RetryPolicy(attempts=4, base=0.5, max_delay=20.0, max_wait=60.0, budget=100)


@pytest.mark.parametrize(
    "good",
    [
        {"attempts": 1},
        {"attempts": 1000},
        {"base": 0},
        {"max_delay": 0},
        {"max_wait": 0},
        {"budget": 0},
        {"base": 0.001},
    ],
    ids=str,
)
def test_a_sensible_policy_is_accepted(good: dict[str, float]) -> None:
    """Zero switches a thing off."""
    make: Any = RetryPolicy
    for name, value in good.items():
        assert getattr(make(**good), name) == value


NO_NUMBERS: tuple[object, ...] = (float("nan"), float("inf"), -1, -0.001, "2", None)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *((name, bad) for name in ("base", "max_delay", "max_wait", "budget") for bad in NO_NUMBERS),
        *(("attempts", bad) for bad in (0, *NO_NUMBERS, 2.5, True)),
    ],
    ids=repr,
)
def test_a_policy_without_sense_is_refused_by_name(name: str, bad: object) -> None:
    """A policy that would retry for ever, or never know when to stop, is refused where it is made."""
    make: Any = RetryPolicy
    with pytest.raises(InvalidRequest, match=rf"^RetryPolicy: {name}={re.escape(ascii(bad))} is not "):
        make(**{name: bad})


@pytest.mark.parametrize("retry", [None, 3, "often", RetryPolicy], ids=repr)
def test_what_is_no_policy_is_refused(retry: object) -> None:
    """Not taken for none, or for the usual one."""
    with pytest.raises(InvalidRequest, match=r"^retry: .* is not a RetryPolicy$"):
        checked_retry(retry)
