"""What the token endpoint answered: a token, a definite no, or nothing clear."""

from contextlib import suppress

from enkash_coins.api.answers import api_error, malformed, read_envelope
from enkash_coins.api.codec import Unreadable, loads
from enkash_coins.auth.guard import LoginResult
from enkash_coins.auth.tokens import fits_header
from enkash_coins.display import cut
from enkash_coins.errors import ApiError, EnkashError, LoginRefused, RateLimited
from enkash_coins.transport import Response


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
        raise api_error(response, "token")
    reason, answer = "is not an object", None
    try:
        answer = loads(response.body)
    except Unreadable as error:
        reason = str(error)
    if not isinstance(answer, dict):
        raise malformed(response, "token", reason)
    value = answer.get("access_token", answer.get("accessToken"))
    if type(value) is str and fits_header(value):
        return value, answer.get("expires_in", answer.get("expiresIn"))
    code = answer.get("response_code", answer.get("code", 0))
    if "error" in answer or (type(code) is int and code != 0):
        raise LoginRefused(f"the token endpoint refused the login{_said(response.body)}")
    raise malformed(response, "token", "has no access_token")


def _said(body: bytes) -> str:
    """What the token endpoint gave as the reason: an OAuth error, or the API's envelope."""
    reason: object = ""
    with suppress(Unreadable):
        answer = loads(body)
        if isinstance(answer, dict):
            reason = answer.get("error_description", answer.get("error"))
        if type(reason) is not str:
            _, _, reason = read_envelope(body)
    return f": {cut(reason)}" if reason and isinstance(reason, str) else ""


def login_result(error: EnkashError) -> LoginResult:
    """What a login that ended with this error means for the account lock."""
    if isinstance(error, LoginRefused):
        return LoginResult.REFUSED
    if isinstance(error, RateLimited):
        return LoginResult.NOT_COUNTED
    # A redirect or a strange status is an answer, but not a clear one.
    return LoginResult.DOUBTFUL if error.maybe_applied or isinstance(error, ApiError) else LoginResult.NOT_COUNTED
