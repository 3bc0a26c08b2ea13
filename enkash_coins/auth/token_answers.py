"""What the token endpoint answered: a token, a definite no, or nothing clear."""

from contextlib import suppress

from enkash_coins.api.answers import api_error, malformed
from enkash_coins.api.codec import Unreadable, loads
from enkash_coins.api.reasons import reason_in
from enkash_coins.auth.guard import LoginResult
from enkash_coins.auth.tokens import fits_header
from enkash_coins.errors import ApiError, EnkashError, LoginRefused, RateLimited
from enkash_coins.transport import Response

_WHO = "token: "


def read_token(response: Response) -> tuple[str, object]:
    """The token and the claimed ``expires_in`` in the token endpoint's answer, in either documented spelling.

    Raises:
        LoginRefused: a definite no: any 4xx but 407, 408, 425 and 429, or a success that holds an error.
        MalformedResponse, ApiError: no clear answer.
    """
    status = response.status
    if 400 <= status < 500 and status not in (407, 408, 425, 429):  # 407 is a proxy's, whatever it says of passwords
        raise LoginRefused(f"the token endpoint refused the login: HTTP {status}{_said(response.body)}")
    if not 200 <= status < 300:
        raise api_error(response, who=_WHO)
    reason, answer = "is not an object", None
    try:
        answer = loads(response.body)
    except Unreadable as error:
        reason = str(error)
    if not isinstance(answer, dict):
        raise malformed(response, reason, who=_WHO)
    value = answer.get("access_token", answer.get("accessToken"))
    if type(value) is str and fits_header(value):
        return value, answer.get("expires_in", answer.get("expiresIn"))
    code = answer.get("response_code", answer.get("code", 0))
    if "error" in answer or (type(code) is int and code != 0):
        raise LoginRefused(f"the token endpoint refused the login{_said(response.body)}")
    raise malformed(response, "has no access_token", who=_WHO)


def _said(body: bytes) -> str:
    """What the token endpoint gave as the reason."""
    with suppress(Unreadable):
        if reason := reason_in(loads(body)):
            return f": {reason}"
    return ""


def login_result(error: EnkashError) -> LoginResult:
    """What a login that ended with this error means for the account lock."""
    if isinstance(error, LoginRefused):
        return LoginResult.REFUSED
    if isinstance(error, RateLimited):
        return LoginResult.NOT_COUNTED
    # A redirect or a strange status is an answer, but not a clear one.
    return LoginResult.DOUBTFUL if error.maybe_applied or isinstance(error, ApiError) else LoginResult.NOT_COUNTED
