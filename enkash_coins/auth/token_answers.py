"""What the token endpoint answered: a token, a definite no, or nothing clear."""

import re
from contextlib import suppress

from enkash_coins.api.answers import api_error, malformed
from enkash_coins.api.codec import Unreadable, loads
from enkash_coins.api.reasons import reason_in
from enkash_coins.auth.tokens import fits_header
from enkash_coins.errors import AccountLocked, LoginRefused
from enkash_coins.transport import Response

_WHO = "token: "
# Not "will be locked", "is not locked" or "blocked".
_LOCKED = re.compile(r"(?<!\bbe )(?<!\bnot )(?<!\bget )(?<!un)(?<!b)locked", re.IGNORECASE)


def read_token(response: Response) -> tuple[str, object]:
    """The token and the claimed ``expires_in`` in the token endpoint's answer, in either documented spelling.

    Raises:
        LoginRefused: a definite no: any 4xx but 407, 408, 425 and 429, or a success that holds an error.
        MalformedResponse, ApiError: no clear answer.
    """
    status = response.status
    if 400 <= status < 500 and status not in (407, 408, 425, 429):  # 407 is a proxy's, whatever it says of passwords
        raise _refusal(response)
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
        raise _refusal(response)
    raise malformed(response, "has no access_token", who=_WHO)


def _refusal(response: Response) -> LoginRefused:
    said = f"HTTP {response.status}"
    with suppress(Unreadable):
        if reason := reason_in(loads(response.body)):
            said += f": {reason}"
    if response.status == 423 or _LOCKED.search(said):
        return AccountLocked(f"the account is locked: {said}: ask EnKash to unlock it")
    return LoginRefused(f"the token endpoint refused the login: {said}")
