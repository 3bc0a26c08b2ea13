"""What aiohttp raises, as the error that says what happened; never in aiohttp's own words, which may hold secrets."""

import os
import socket
import ssl
from typing import Final

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from enkash_coins.errors import (
    ConnectError,
    ConnectTimedOut,
    Disconnected,
    EnkashError,
    MalformedResponse,
    ServiceClosed,
    TimedOut,
    TlsError,
)

LARGEST_HEADER: Final = 64 * 2**10


class TooLarge(Exception):
    """More bytes than this, decoded."""


def translated(error: Exception, host: str | None, *, left: bool, closed: bool) -> EnkashError:  # noqa: C901  # a case for each failure
    """The error for what went wrong with a request to this host.

    Args:
        left: whether any of the request had left.
        closed: whether the session is closed.
    """
    match error:
        case RuntimeError() if closed:
            return ServiceClosed("the session was closed")
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as reason):
            return TlsError(f"the certificate of {host} is not accepted: {reason.verify_message}")
        case aiohttp.ClientSSLError():
            return TlsError(f"the TLS handshake with {host} failed")
        case aiohttp.ClientProxyConnectionError():
            return ConnectError(f"no connection to {host}: none to the proxy: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return ConnectError(f"no connection to {host}: {_reason(error.os_error)}")
        case aiohttp.ClientHttpProxyError():
            return ConnectError(f"no connection to {host}: the proxy answered HTTP {error.status}")
        case TooLarge(args=(most,)):
            return MalformedResponse(f"the answer of {host} is larger than {most} bytes")
        case aiohttp.ClientResponseError() if left and error.message.startswith("Got more than"):
            # aiohttp does not say which; of its words only the length is safe to repeat.
            return MalformedResponse(f"the answer of {host} has a header of more than {LARGEST_HEADER} bytes")
        case aiohttp.ClientResponseError() if left:
            return MalformedResponse(f"the answer of {host} is not HTTP as it should be")
        case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
            return MalformedResponse(f"the answer of {host} is not encoded as it says")
        case aiohttp.ClientPayloadError():
            return Disconnected(f"the answer of {host} broke off")
    what = type(error).__name__
    if left:
        return Disconnected(f"the connection to {host} ended without an answer ({what})")
    return ConnectError(f"nothing could be sent to {host} ({what})")


def out_of_time(host: str | None, seconds: float, *, left: bool) -> EnkashError:
    """The error for a request whose time was over."""
    if left:
        return TimedOut(f"no complete answer from {host} within {seconds:g} s")
    return ConnectTimedOut(f"no connection to {host} within {seconds:g} s")


def _reason(error: OSError) -> str:
    """The system's words: asyncio's own are "Connect call failed ('192.0.2.1', 443)"."""
    if error.errno is None or isinstance(error, socket.gaierror):  # the resolver's numbers are others
        return error.strerror or "refused"
    return os.strerror(error.errno)
