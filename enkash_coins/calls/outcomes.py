"""From a call's end to a row's outcome: pure functions."""

from enkash_coins.calls.call import Success
from enkash_coins.display import cut
from enkash_coins.errors import ApiError, EnkashError, RateLimited
from enkash_coins.models import UNSET, CoinEventConfig, CoinEventUpdate, Item, Outcome, OutcomeStatus, Result


def status_of(error: EnkashError) -> OutcomeStatus:
    """What a failed call means for its row."""
    if error.maybe_applied:
        return OutcomeStatus.UNKNOWN
    # An answer of the API other than "too many" is a definite no; anything else means that nothing took effect.
    answered = isinstance(error, ApiError) and not isinstance(error, RateLimited)
    if answered and not error._unsent:  # noqa: SLF001  # whether the answer was this call's, or its login's
        return OutcomeStatus.REJECTED
    return OutcomeStatus.NOT_SENT


def refused(index: int, item: Item, error: EnkashError) -> Outcome[Item, Result]:
    """The outcome of a row that was refused here, before any attempt."""
    return Outcome(index, item, OutcomeStatus.NOT_SENT, None, error.with_traceback(None))


def outcome_of(index: int, item: Item, called: Success[Result] | EnkashError) -> Outcome[Item, Result]:
    """The outcome of a row whose call came to an end."""
    if isinstance(called, EnkashError):
        return Outcome(index, item, status_of(called), None, called, called.attempts, called.maybe_applied)
    return Outcome(index, item, OutcomeStatus.APPLIED, called.value, None, called.attempts, called.late_risk)


def update_outcome(
    index: int, item: CoinEventUpdate, called: Success[CoinEventConfig] | EnkashError
) -> Outcome[CoinEventUpdate, CoinEventConfig]:
    """The same for an update, whose answer is compared with what was asked for."""
    if isinstance(called, EnkashError):
        return outcome_of(index, item, called)
    answered = called.value
    if (
        (item.amount is UNSET or item.amount == answered.amount)
        and (item.configuration is UNSET or item.configuration == answered.configuration)
        and (item.event is UNSET or item.event == answered.event)
    ):
        return Outcome(index, item, OutcomeStatus.APPLIED, called.value, None, called.attempts, called.late_risk)
    error = EnkashError(
        f"the update of {item.coin_config_id} was answered with success, but shows {differences(item, answered)}",
        operation="update",
        attempts=called.attempts,
        maybe_applied=True,
    )
    return Outcome(index, item, OutcomeStatus.MISMATCHED, called.value, error, called.attempts, called.late_risk)


def differences(asked: CoinEventUpdate, shown: CoinEventConfig) -> str:
    """What the answer shows otherwise than asked for; the id and ``company_id`` are not compared."""
    found: list[str] = []
    if asked.amount is not UNSET and asked.amount != shown.amount:
        found.append(f"amount {shown.amount} instead of {asked.amount}")
    if asked.configuration is not UNSET and asked.configuration != shown.configuration:
        found.append(f"configuration {cut(shown.configuration)!r} instead of {str(asked.configuration)!r}")
    if asked.event is not UNSET and asked.event != shown.event:
        found.append(f"event {cut(shown.event)!r} instead of {asked.event!r}")
    return ", ".join(found)
