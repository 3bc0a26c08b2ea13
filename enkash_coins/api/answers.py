"""Reading of answers: the one place where status, envelope and schema become values, or typed errors."""

import time
from typing import Final

from enkash_coins.api.codec import Unreadable, documented_config, is_integer, loads
from enkash_coins.api.reasons import reason_in
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
from enkash_coins.models import CoinEventConfig
from enkash_coins.transport import Response

ERRORS: Final[dict[int, type[ApiError]]] = {
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
_LARGEST_PAYLOAD = 2**16
_DEEPEST_PAYLOAD = 32


def read_config(response: Response) -> CoinEventConfig:
    """The configuration in a success; anything else is raised as the typed error that it is."""
    if response.status == 200 and (documented := documented_config(response.body)) is not None:
        return documented
    from enkash_coins.api import converter  # noqa: PLC0415  # cattrs, which the documented answer does not need

    payload = read_payload(response)
    try:
        return converter.read_config(payload)
    except Unreadable as error:
        reason = str(error)
    raise malformed(response, reason)


def read_payload(response: Response) -> object:
    """The payload of a success; anything else is raised as the typed error that it is."""
    if not 200 <= response.status < 300:
        raise api_error(response)
    try:
        fields = _fields(loads(response.body))
    except Unreadable as error:
        reason = str(error)
    else:
        code = _code(fields)
        if code:
            raise api_error(response)
        if code == 0:  # only the code decides: a success that says nothing more is still a success
            return fields.get("payload")
        reason = "has no integer response_code"
    raise malformed(response, reason)


def malformed(response: Response, reason: str, *, who: str = "") -> MalformedResponse:
    """The error for an answer that is not the API's, told by its form and not by its content.

    Args:
        who: begins the message, where it was not the operation itself that answered.
    """
    kind = cut(response.headers.get("Content-Type", "no content type"))
    form = f"HTTP {response.status}, {kind}, {len(response.body)} bytes"
    return MalformedResponse(f"{who}the answer {reason} ({form})", status=response.status)


def api_error(response: Response, *, who: str = "") -> ApiError:
    """The error for an answer that is not a success: by its HTTP status, or else by the code in its envelope.

    Args:
        who: begins the message, where it was not the operation itself that answered.
    """
    status, body = response.status, response.body
    text = body[:_LARGEST_PAYLOAD].decode("utf-8", "replace") or None
    try:
        answer = loads(body)
    except Unreadable:
        answer = text  # an error page of the CDN in front, say
    fields = _fields(answer)
    code, message, reason = _code(fields), fields.get("response_message"), reason_in(answer, status)
    payload = fields["payload"] if code is not None and "payload" in fields else answer
    kind = _kind(status)
    said = f"response_code {code}" if kind is OperationFailed else f"HTTP {status}"
    return kind(
        f"{who}{said}: {reason}" if reason else f"{who}{said}",
        status=status,
        response_code=code,
        response_message=cut(message) if message and isinstance(message, str) else reason or None,
        payload=payload if len(body) <= _LARGEST_PAYLOAD and _is_shallow(payload) else text,
        headers={name: cut(value) for name in _SUPPORT_HEADERS if (value := response.headers.get(name)) is not None},
        retry_after=retry_after(response.headers, now=time.time()) if status in _MAY_SAY_WHEN else None,
        # A 408 is the server's own time limit, and a status beyond HTTP's says nothing about what was done.
        maybe_applied=status == 408 or not 200 <= status < 600 or kind is ServerError,
    )


def _fields(answer: object) -> dict[str, object]:
    return answer if isinstance(answer, dict) else {}


def _code(fields: dict[str, object]) -> int | None:
    """The code of ``{"payload": …, "response_code": int, "response_message": str}``, if it is there and an integer.

    This envelope is around every answer but a token's. Sister products say ``code`` and ``message``: both are read.
    """
    code = fields["response_code"] if "response_code" in fields else fields.get("code")
    return code if is_integer(code) else None


def _kind(status: int) -> type[ApiError]:
    if 200 <= status < 300:
        return OperationFailed
    if 300 <= status < 400:
        return UnexpectedRedirect
    return ServerError if 500 <= status < 600 else ERRORS.get(status, ApiError)


def _is_shallow(value: object, depth: int = _DEEPEST_PAYLOAD) -> bool:
    """Whether what is kept on an error can be copied, pickled and shown without ado."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(one, depth - 1) for one in inner)
