"""Reading of answers: the one place where status and envelope become typed errors."""

import time
from typing import Final

from enkash_coins.api.codec import Unreadable, loads
from enkash_coins.api.retry_after import retry_after
from enkash_coins.display import cut
from enkash_coins.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    MalformedResponse,
    NotFound,
    OperationFailed,
    PreconditionFailed,
    RateLimited,
    ServerError,
    Unauthorized,
    UnexpectedRedirect,
    UnprocessableEntity,
)
from enkash_coins.transport import Response

_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: UnprocessableEntity,
    425: RateLimited,
    429: RateLimited,
}
_MAY_SAY_WHEN = frozenset({425, 429, 503})
# What a support desk asks for. Never Set-Cookie, nor WWW-Authenticate, in which Spring's OAuth quotes the token.
_SUPPORT_HEADERS = ("Date", "Content-Type", "Retry-After", "X-Request-Id", "X-Correlation-Id", "CF-Ray")


def read_envelope(body: bytes) -> tuple[object, int, str]:
    """What ``{"payload": …, "response_code": int, "response_message": str}`` holds; raises ``Unreadable``.

    It is around every answer but a token's. Sister products say ``code`` and ``message``; both spellings are read.
    """
    answer = loads(body)
    if type(answer) is not dict:
        raise Unreadable("is not an object")
    code = answer["response_code"] if "response_code" in answer else answer.get("code")
    message = answer["response_message"] if "response_message" in answer else answer.get("message")
    # type() and not isinstance: False == 0 would read as success.
    if type(code) is not int:
        raise Unreadable("has no integer response_code")
    # Only the code decides: a success that says nothing more is still a success.
    if message is not None and type(message) is not str:
        raise Unreadable("has a response_message that is not a string")
    return answer.get("payload"), code, message or ""


def read_payload(response: Response, operation: str) -> object:
    """The payload of a success; anything else is raised as the typed error that it is."""
    if not 200 <= response.status < 300:
        raise api_error(response, operation)
    try:
        payload, code, message = read_envelope(response.body)
    except Unreadable as error:
        reason = str(error)
    else:
        if code != 0:
            raise _error(OperationFailed, response, operation, code, message)
        return payload
    raise malformed(response, operation, reason)


def malformed(response: Response, operation: str, reason: str) -> MalformedResponse:
    """The error for an answer that is not the API's, told by its form and not by its content."""
    kind = cut(response.headers.get("Content-Type", "no content type"))
    return MalformedResponse(
        f"{operation}: the answer {reason} (HTTP {response.status}, {kind}, {len(response.body)} bytes)",
        status=response.status,
        operation=operation,
    )


def api_error(response: Response, operation: str) -> ApiError:
    """The error for an answer whose HTTP status is not a success."""
    status = response.status
    if 300 <= status < 400:
        kind: type[ApiError] = UnexpectedRedirect
    elif 500 <= status < 600:
        kind = ServerError
    else:
        kind = _BY_STATUS.get(status, ApiError)
    try:
        _, code, message = read_envelope(response.body)
    except Unreadable:  # an error page of the CDN in front, say: the status is all there is
        return _error(kind, response, operation, None, None)
    return _error(kind, response, operation, code, message)


def _error(kind: type[ApiError], response: Response, operation: str, code: int | None, message: str | None) -> ApiError:
    status = response.status
    message = None if message is None else cut(message)
    said = f"HTTP {status}" if kind is not OperationFailed else f"response_code {code}"
    # A 408 is the server's own time limit, and a status beyond HTTP's says nothing about what was done.
    doubtful = status == 408 or not 200 <= status < 600 or kind is ServerError
    return kind(
        f"{operation}: {said}" + (f": {message}" if message else ""),
        status=status,
        response_code=code,
        response_message=message,
        headers={name: cut(value) for name in _SUPPORT_HEADERS if (value := response.headers.get(name)) is not None},
        retry_after=retry_after(response.headers, now=time.time()) if status in _MAY_SAY_WHEN else None,
        operation=operation,
        maybe_applied=doubtful,
    )
