"""The token endpoint and what it remembers. Pure: the time is an argument."""

import re
import secrets
from base64 import b64decode
from urllib.parse import parse_qs

import msgspec
from attrs import define, field

from enkash_coins.sandbox.answers import Answer, oauth_error

_ALLOWED_FAILURES = 3  # "after 3 consecutive failed token requests the account is locked" [P]
_FIELDS = ("grant_type", "username", "password", "clientId")


@define(eq=False, repr=False)
class Login:
    """Issues tokens, knows the valid ones, and locks the account after three failures in a row.

    Args:
        client_id, client_secret, username, password: the right ones.
        life: seconds that a token is valid.
        claimed_life: what ``expires_in`` says; "absent" leaves it out.
        camel_case: whether the answer's fields are in camelCase.
        one_token: whether a new token ends the one before.
    """

    _client_id: str
    _client_secret: str
    _username: str
    _password: str
    _life: float = field(kw_only=True)
    _claimed_life: float | str = field(kw_only=True)
    _camel_case: bool = field(default=False, kw_only=True)
    _one_token: bool = field(default=False, kw_only=True)
    _failures: int = field(default=0, init=False)
    _expiries: dict[str, float] = field(factory=dict, init=False)

    @property
    def locked(self) -> bool:
        """Whether even the right credentials are refused."""
        return self._failures >= _ALLOWED_FAILURES

    def unlock(self) -> None:
        """Forget the failures, as a person at EnKash would."""
        self._failures = 0

    def expire_tokens(self) -> None:
        """Make every token invalid that was issued so far."""
        self._expiries.clear()

    def check(self, authorization: str, now: float) -> Answer | None:
        """The refusal of a request with this header; None if its token is valid."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return oauth_error(401, "unauthorized", "Full authentication is required to access this resource")
        if self._expiries.get(token, now) > now:
            return None
        return oauth_error(401, "invalid_token", f"Invalid access token: {token}")  # quoted back, as Spring does

    def grant(self, authorization: str, body: bytes, now: float) -> Answer:
        """The answer to a token request; a refusal counts towards the lock."""
        if self.locked:
            return oauth_error(401, "unauthorized", "Account locked")
        refusal = self._refusal(authorization, body)
        self._failures = 0 if refusal is None else self._failures + 1
        return refusal or Answer(200, msgspec.json.encode(self._issue(now)))

    def _refusal(self, authorization: str, body: bytes) -> Answer | None:
        form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
        grant_type, username, password, client_id = (form.get(name, [""])[0] for name in _FIELDS)
        missing = [name for name in _FIELDS if name not in form]
        if missing:
            return oauth_error(400, "invalid_request", f"Missing parameter: {', '.join(missing)}")
        if grant_type != "password":
            return oauth_error(400, "unsupported_grant_type", "Unsupported grant type")
        if _basic(authorization) != f"{self._client_id}:{self._client_secret}" or client_id != self._client_id:
            return oauth_error(401, "invalid_client", "Bad client credentials")
        if (username, password) != (self._username, self._password):
            return oauth_error(400, "invalid_grant", "Bad credentials")  # 400, not 401: RFC 6749, section 5.2
        return None

    def _issue(self, now: float) -> dict[str, object]:
        token, refresh_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        kept = {} if self._one_token else self._expiries
        self._expiries = {old: expiry for old, expiry in kept.items() if expiry > now}
        self._expiries[token] = now + self._life
        claimed = self._claimed_life
        fields: dict[str, object] = {
            "access_token": token,
            "token_type": "bearer",
            "refresh_token": refresh_token,
            "expires_in": int(claimed) if isinstance(claimed, float) and claimed.is_integer() else claimed,
            "scope": "read write",
        }
        if claimed == "absent":
            del fields["expires_in"]
        if not self._camel_case:
            return fields
        del fields["scope"]  # as one product page shows it
        return {re.sub("_(.)", lambda letter: letter[1].upper(), name): value for name, value in fields.items()}


def _basic(authorization: str) -> str | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        return b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else None
    except ValueError:  # neither base64 nor UTF-8
        return None
