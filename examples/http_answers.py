"""What our own HTTP clients are told when a call to EnKash fails: one table, whatever the framework.

EnKash's own words stay in our log: they are written for us, not for whoever orders at our shop.
"""

import logging
import math
from datetime import UTC, datetime
from typing import NamedTuple

from enkash_coins import (
    Conflict,
    EnkashError,
    Forbidden,
    InvalidRequest,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    RateLimited,
    ServerError,
    ServiceClosed,
    TimedOut,
    TlsError,
    TransportError,
    Unauthorized,
    UnexpectedRedirect,
)

log = logging.getLogger("http_answers")


class Answer(NamedTuple):
    """An HTTP status, what the client should do, and after how many seconds it may try again if we know."""

    status: int
    advice: str
    retry_after: float | None = None
    needs_a_person: bool = False


def answer_to(error: EnkashError) -> Answer:
    """The row of the table for this error; the first that fits counts."""
    match error:
        case EnkashError(maybe_applied=True) | Conflict():
            # A conflict says that an earlier request had this id. The answer is no 5xx, because browsers, proxies and
            # job queues send those again by themselves.
            return Answer(202, "It may have been done. It is being looked up: do not order it again.")
        case InvalidRequest():
            return Answer(422, "An id in the request is not acceptable; nothing was sent.")
        case RateLimited() | ServerError(retry_after=float()):
            return Answer(503, "Nothing was done: EnKash is busy. Try again later.", error.retry_after or 1.0)
        case LoginSuspended(retry_at=datetime() as retry_at):
            wait = (retry_at - datetime.now(UTC)).total_seconds()
            return Answer(503, "Nothing was done: the service is not available. Try again later.", max(1.0, wait))
        case ServiceClosed():
            return Answer(503, "Nothing was done: this server is about to stop. Try again.", 1.0)
        case LoginRefused() | LoginSuspended() | Unauthorized() | Forbidden() | TlsError() | UnexpectedRedirect():
            # Our own set-up is wrong, and no repetition mends it: hence no Retry-After, and an ERROR in the log.
            return Answer(503, "Nothing was done: the service is not available.", needs_a_person=True)
        case TimedOut():
            return Answer(504, "Nothing was done: EnKash did not answer in time. Try again.")
        case TransportError() | MalformedResponse() | ServerError():
            return Answer(502, "Nothing was done: EnKash could not be reached. Try again.")
        case _:  # the API's other answers, such as a balance that does not suffice: a definite no
            return Answer(409, "Nothing was done: EnKash refused it. Do not send it again unchanged.")


def http_answer(error: EnkashError) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and JSON body for this error, which is logged."""
    answer = answer_to(error)
    level = logging.ERROR if answer.needs_a_person else logging.INFO
    log.log(level, "%s answered with %d: %s: %s", error.operation, answer.status, type(error).__name__, error.summary)
    headers = {} if answer.retry_after is None else {"Retry-After": str(math.ceil(answer.retry_after))}
    body: dict[str, object] = {"error": type(error).__name__, "advice": answer.advice, "request_id": error.request_id}
    return answer.status, headers, body
