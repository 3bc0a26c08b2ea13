"""The seam: bytes in, bytes out. Everything above is the service's, everything below a transport's."""

import asyncio
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol
from urllib.parse import quote, quote_plus

import attrs

# Characters from which on a text is taken for a secret wherever it stands; a shorter one could be part of any answer.
LONG_SECRET = 8

# Resolving its escapes takes up to 0.1 s of everybody's time; the API's own answers have 200 bytes.
_LARGEST_ESCAPED = 2**16
_ESCAPES = re.compile(rb"(?:\\(?:u[0-9a-fA-F]{4}|[^u]))+")

# A note on the CancelledError of a request that was cut off: the layers' own word, because only they know how far it
# had come. Without it, a write that was cut off may have taken effect.
_HARMLESS: Final = "the request that was cut off had no effect: it had not left, or was answered with a no"


class Headers(Mapping[str, str]):
    """Headers whose names are compared without regard to case."""

    __slots__ = ("_values",)

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._values = {name.lower(): value for name, value in (headers or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@attrs.frozen
class Limits:
    """What one call asks of the layers, if other than what holds for the whole client.

    Attributes:
        timeout: seconds for this attempt, from the moment it may go out; ``None`` for the transport's own.
        max_wait: seconds; a gate that stays closed longer refuses at once; ``None`` for the pacing's own.
    """

    timeout: float | None = None
    max_wait: float | None = None


NO_LIMITS: Final = Limits()


# Not frozen: assigning through a frozen class's guard costs 0.4 µs more, several times in every call.
@attrs.define
class Request:
    """One HTTP request, complete but for what layers add.

    Attributes:
        method: ``GET``, ``POST`` or ``PATCH``.
        path: origin-form and percent-encoded, with its query; without the base URL's prefix.
        headers: not shown by ``repr``: they hold the token.
        body: the exact bytes; empty for none.
        operation: get, update, create, allocate, balance or token.
        replayable: whether it may be sent again although it may have been applied.
        limits: of this call.
        sent_at: when the latest attempt went out, in loop seconds; ``None`` while it waits for its turn.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    operation: str = ""
    replayable: bool = False
    # Neither is sent, so neither makes a difference between two requests.
    limits: Limits = attrs.field(default=NO_LIMITS, repr=False, eq=False)
    sent_at: float | None = attrs.field(default=None, repr=False, eq=False)


@attrs.define(init=False)
class Response:
    """One HTTP answer, whatever its status.

    Attributes:
        headers: case-insensitive.
        body: decoded of its content encoding, and capped by the transport.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    def __init__(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.status = status
        # What an HTTP library hands over, a multidict, is case-insensitive already.
        self.headers = headers if headers is not None and hasattr(headers, "getone") else Headers(headers)
        self.body = body


class Transport(Protocol):
    """Sends one request and returns its answer; layers are transports around transports."""

    async def send(self, request: Request, /) -> Response:
        """Send the request once; raises only ``EnkashError`` (``RuntimeError`` on a wrong event loop)."""
        ...

    async def aclose(self) -> None:
        """Give back what is held; may be called twice."""
        ...


def mark(cut_off: asyncio.CancelledError, *, harmless: bool = True) -> None:
    """Note whether the request, or the call, that was cut off cannot have taken effect."""
    if harmless != was_harmless(cut_off):
        cut_off.add_note(_HARMLESS) if harmless else cut_off.__notes__.remove(_HARMLESS)


def was_harmless(cut_off: BaseException | None) -> bool:
    """Whether the request, or the call, that was cut off is known not to have taken effect."""
    return _HARMLESS in getattr(cut_off, "__notes__", ())


def _quotations(secret: str) -> list[bytes]:
    """The ways in which a server may quote a secret, once the escapes of JSON are resolved; the longest first."""
    texts = {secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret), html.escape(secret, quote=False)}
    texts |= {json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
    return sorted({text.encode("utf-8", "surrogateescape") for text in texts}, key=len, reverse=True)


def _resolved(escapes: re.Match[bytes]) -> bytes:
    r"""The characters, escaped no more than JSON asks for: Gson writes ``=`` as ``\u003d``, PHP ``/`` as ``\/``."""
    try:
        text: str = json.loads(b'"%b"' % escapes[0])
    except ValueError:
        return escapes[0]
    return json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")


def blacked_out(response: Response, secrets: Iterable[str]) -> Response:
    """The response without the secrets that a server quotes back ("Invalid access token: …").

    In a success only long ones are looked for: a short password could be part of any honest answer.
    """
    least = 1 if response.status >= 400 else LONG_SECRET
    body, headers = response.body, response.headers
    if b"\\" in body:
        if len(body) > _LARGEST_ESCAPED:
            return Response(response.status, headers, b"")  # what it quotes is not known, so nothing of it is kept
        body = _ESCAPES.sub(_resolved, body)
    plain = body
    for secret in {secret for secret in secrets if len(secret) >= least}:
        for quoted in _quotations(secret):
            if quoted in body:
                body = body.replace(quoted, b"***")
            text = quoted.decode("utf-8", "surrogateescape")
            if any(text in value for value in headers.values()):
                headers = Headers({name: value.replace(text, "***") for name, value in headers.items()})
    if body is plain and headers is response.headers:
        return response
    return Response(response.status, headers, body)
