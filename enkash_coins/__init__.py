"""Async-first SDK for EnKash coin events."""

from enkash_coins._version import __version__
from enkash_coins.auth.file_guard import FileGuard
from enkash_coins.auth.guard import MemoryGuard
from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.auth.tokens import Token, TokenSource
from enkash_coins.calls.retry import RetryPolicy
from enkash_coins.calls.stream import OutcomeStream
from enkash_coins.errors import (
    ApiError,
    BadRequest,
    Conflict,
    ConnectError,
    Disconnected,
    EnkashError,
    Forbidden,
    InvalidRequest,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    NotFound,
    OperationFailed,
    PreconditionFailed,
    RateLimited,
    ServerError,
    ServiceClosed,
    TimedOut,
    TlsError,
    TransportError,
    Unauthorized,
    UnexpectedRedirect,
    UnprocessableEntity,
)
from enkash_coins.models import (
    UNSET,
    AllocationReceipt,
    Attempt,
    CoinAllocation,
    CoinEventConfig,
    CoinEventUpdate,
    Configuration,
    Outcome,
    OutcomeStatus,
)
from enkash_coins.service import CoinEventService
from enkash_coins.transport import Request, Response, Transport

__all__ = [
    "UNSET",
    "AllocationReceipt",
    "ApiError",
    "Attempt",
    "BadRequest",
    "CoinAllocation",
    "CoinEventConfig",
    "CoinEventService",
    "CoinEventUpdate",
    "Configuration",
    "Conflict",
    "ConnectError",
    "Disconnected",
    "EnkashError",
    "FileGuard",
    "Forbidden",
    "InvalidRequest",
    "LoginRefused",
    "LoginSuspended",
    "MalformedResponse",
    "MemoryGuard",
    "NotFound",
    "OperationFailed",
    "Outcome",
    "OutcomeStatus",
    "OutcomeStream",
    "PasswordGrant",
    "PreconditionFailed",
    "RateLimited",
    "Request",
    "Response",
    "RetryPolicy",
    "ServerError",
    "ServiceClosed",
    "TimedOut",
    "TlsError",
    "Token",
    "TokenSource",
    "Transport",
    "TransportError",
    "Unauthorized",
    "UnexpectedRedirect",
    "UnprocessableEntity",
    "__version__",
]
