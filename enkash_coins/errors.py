"""What can go wrong, as one tree with one meaning each.

::

    EnkashError                     .operation .about .attempts .maybe_applied .request_id
    ├─ InvalidRequest (ValueError)  refused here, before anything was sent
    ├─ LoginRefused                 the token endpoint said no; no further request with these credentials
    │   └─ AccountLocked            it said that the account is locked
    ├─ LoginSuspended               .retry_at: the guard against the account lock holds further logins back
    │   └─ GuardUnusable            the guard's file cannot be used, so no login is made
    ├─ ServiceClosed
    ├─ TransportError
    │   ├─ ConnectError             nothing left this machine
    │   │   ├─ TlsError             never retried
    │   │   └─ ConnectTimedOut      (also a TimedOut)
    │   ├─ TimedOut (TimeoutError)
    │   └─ Disconnected
    ├─ MalformedResponse            .status: an answer that is not the API's
    └─ ApiError                     .status .response_code .response_message .payload .headers .retry_after
        ├─ OperationFailed          HTTP 200 with response_code != 0
        ├─ BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · Conflict 409
        ├─ PreconditionFailed 412 · UnprocessableEntity 422
        ├─ RateLimited 429, 425 · UnexpectedRedirect 3xx
        └─ ServerError 5xx

``maybe_applied`` is a fact about the call: ``True`` when a write may have taken effect at the server.

Source: EnKash's documentation of payouts and cards for 400 to 422, 5xx and failures with HTTP 200; HTTP itself for 3xx,
408, 425 and 429.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, TypedDict, Unpack


class _Facts(TypedDict, total=False):
    operation: str | None
    about: str | None
    attempts: int
    maybe_applied: bool
    request_id: str | None


class EnkashError(Exception):
    """Anything that this package raises about a call.

    Attributes:
        operation: the call that failed: get, update, create, allocate, balance; ``None`` outside a call.
        about: what was asked, with the id, e.g. ``update of WCC12345``; ``None`` outside a call.
        attempts: tries begun, whether or not bytes left this machine.
        maybe_applied: whether the write may have taken effect.
        request_id: an allocation's own id, for looking it up; else ``None``.
    """

    # What an error of this class means for a write when whoever raises it does not say.
    _doubtful: ClassVar[bool] = False
    # What to say when whoever raises it says nothing: a transport of somebody's own.
    _usual: ClassVar[str] = "it failed, and nothing says why"
    # Set where nothing of the call itself left this machine: its login failed.
    _unsent: bool = False

    def __init__(self, message: str = "", **facts: Unpack[_Facts]) -> None:
        super().__init__(message)
        self.operation = facts.get("operation")
        self.about = facts.get("about")
        self.attempts = facts.get("attempts", 0)
        self.maybe_applied = facts.get("maybe_applied", self._doubtful)
        self.request_id = facts.get("request_id")

    @property
    def summary(self) -> str:
        """What happened and what is in doubt, without what was asked, for logs, which name no users."""
        said = super().__str__() or self._usual
        if self.maybe_applied and self.request_id:
            return f"{said}; coins may have been given, under request id {self.request_id}"
        return f"{said}; it may have been applied" if self.maybe_applied and self.about else said

    def __str__(self) -> str:
        return f"{self.about}: {self.summary}" if self.about else self.summary


class InvalidRequest(EnkashError, ValueError):
    """Refused here, before anything was sent: an argument or a setting is not acceptable."""


class LoginRefused(EnkashError):
    """The token endpoint said no; no further login with these credentials is tried.

    After three consecutive failed token requests EnKash locks the account, so one refusal is final until the
    credentials change.
    """


class AccountLocked(LoginRefused):
    """The token endpoint said that the account is locked: EnKash has to unlock it."""


class LoginSuspended(EnkashError):
    """Logins have failed without a clear answer; the guard against the account lock holds further ones back.

    Attributes:
        retry_at: when the next login may be tried; ``None`` when a person has to look first.
    """

    def __init__(self, message: str = "", *, retry_at: datetime | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.retry_at = retry_at


class GuardUnusable(LoginSuspended):
    """The file of a ``FileGuard`` cannot be used: no login is made unguarded. The message names the file and why."""


class ServiceClosed(EnkashError):
    """The service was closed."""


class TransportError(EnkashError):
    """No answer was read, because of the network."""

    _doubtful = True


class ConnectError(TransportError):
    """No connection came about; nothing left this machine."""

    _doubtful = False
    _usual = "no connection came about"


class TlsError(ConnectError):
    """The TLS handshake failed; not retried, because a wrong certificate stays wrong."""


class TimedOut(TransportError, TimeoutError):
    """No complete answer within the time limit."""

    _usual = "no complete answer came in time"


class ConnectTimedOut(ConnectError, TimedOut):
    """No connection within the time limit; nothing left this machine."""


class Disconnected(TransportError):
    """The connection ended before a complete answer was read."""

    _usual = "the connection ended before the answer was complete"


class MalformedResponse(EnkashError):
    """An answer that is not the API's.

    Attributes:
        status: the HTTP status, or ``None`` when not even that could be read.
    """

    _doubtful = True

    def __init__(self, message: str = "", *, status: int | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.status = status


class ApiError(EnkashError):
    """The API answered, and the answer is not a success.

    Attributes:
        status: the HTTP status.
        response_code: the envelope's code, or ``None`` without an envelope.
        response_message: the envelope's message, or the reason in whatever form the answer gives one, at most 512
            characters; ``None`` if it gives none.
        payload: the answer's payload as JSON values; the whole body where it has no envelope. It is text where the body
            is no JSON, larger than 64 KiB (then its beginning) or nested more than 32 deep. Secrets are blacked out.
        headers: a few of the answer's headers, for support.
        retry_after: seconds that the server asked to wait (429, 425 and 503 only), or ``None``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        response_code: int | None = None,
        response_message: str | None = None,
        payload: object = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.status = status
        self.response_code = response_code
        self.response_message = response_message
        self.payload = payload
        # A plain dict: a MappingProxyType cannot be pickled.
        self.headers: dict[str, str] = dict(headers or {})
        self.retry_after = retry_after


class OperationFailed(ApiError):
    """HTTP success, but the envelope's ``response_code`` is not 0: a definite no."""


class BadRequest(ApiError):
    """400: a parameter is missing or invalid."""


class Unauthorized(ApiError):
    """401: the token was refused."""


class Forbidden(ApiError):
    """403: the API is not enabled for this account, or this address is not allow-listed."""


class NotFound(ApiError):
    """404: there is no such configuration."""


class Conflict(ApiError):
    """409: an id exists already."""


class PreconditionFailed(ApiError):
    """412: input is missing or invalid, or belongs to another company."""


class UnprocessableEntity(ApiError):
    """422: a valid form with refused content."""


class RateLimited(ApiError):
    """429 or 425: too many requests, or the gate that such an answer closed stays closed for too long."""


class UnexpectedRedirect(ApiError):
    """3xx: redirects are never followed, because they would carry the token to another host."""


class ServerError(ApiError):
    """5xx: the server failed; what became of a write is not known."""

    _doubtful = True
