"""From a call's end to a row's outcome: pure functions."""

from enkash_coins.api.endpoints import Endpoint
from enkash_coins.calls.call import Success
from enkash_coins.errors import ApiError, EnkashError, RateLimited
from enkash_coins.models import Item, Outcome, OutcomeStatus, Result


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


def outcome_of(
    index: int, item: Item, endpoint: Endpoint[Result], called: Success[Result] | EnkashError
) -> Outcome[Item, Result]:
    """The outcome of a row whose call came to an end; a success is compared with what was asked for."""
    if isinstance(called, EnkashError):
        return Outcome(index, item, status_of(called), None, called, called.attempts, called.maybe_applied)
    status, error = OutcomeStatus.UNCHANGED if endpoint.request.method == "GET" else OutcomeStatus.APPLIED, None
    if endpoint.compare is not None and (wrong := endpoint.compare(called.value)):
        operation = endpoint.request.operation
        status = OutcomeStatus.MISMATCHED
        error = EnkashError(
            f"the answer says success, but shows {wrong}",
            operation=operation,
            about=endpoint.about,
            attempts=called.attempts,
            maybe_applied=True,
        )
    return Outcome(index, item, status, called.value, error, called.attempts, called.late_risk)
