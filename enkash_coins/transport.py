"""The seam: bytes in, bytes out. Everything above is the service's, everything below a transport's."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

import attrs

from enkash_coins.per_loop import WrongLoop
from enkash_coins.time_limit import within

__all__ = ["Headers", "Request", "Response", "Transport", "WrongLoop", "mark", "was_harmless", "within"]

# A note on the CancelledError of a request that was cut off, by whoever knows how far it had come. Without it, a write
# that was cut off may have taken effect.
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


# Not frozen: layers complete it in place, and a copy for each would cost every call 0.9 %.
@attrs.define
class Request:
    """One HTTP request.

    Attributes:
        method: ``GET``, ``POST`` or ``PATCH``.
        path: origin-form and percent-encoded, with its query; without the base URL's prefix.
        headers: not shown by ``repr``: they hold the token.
        body: the exact bytes; empty for none.
        operation: get, update, create, allocate, balance or token.
        replayable: whether it may be sent again although it may have been applied.
        timeout: seconds for this attempt, which the transport keeps.

    The rest is not sent; it is between the service and its layers.

    Attributes:
        max_wait: seconds; a gate that stays closed for longer refuses at once; ``None`` for the client's.
        expires_at: when its token ends, in loop seconds.
        goes_first: it has waited for a slot before, in vain.
        sent_at: when it went out, in loop seconds; ``None`` while it waits for that.
        token_renewed: its token was refused, and another is at hand.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    operation: str = ""
    replayable: bool = False
    timeout: float = attrs.field(default=30.0, eq=False)
    max_wait: float | None = attrs.field(default=None, repr=False, eq=False)
    expires_at: float | None = attrs.field(default=None, repr=False, eq=False)
    goes_first: bool = attrs.field(default=False, repr=False, eq=False)
    sent_at: float | None = attrs.field(default=None, repr=False, eq=False)
    token_renewed: bool = attrs.field(default=False, repr=False, eq=False)


@attrs.define(init=False)
class Response:
    """One HTTP answer, whatever its status.

    Attributes:
        headers: case-insensitive.
        body: decoded of its content encoding, and capped by the transport (8 MiB).
        secrets: what the request carried and no error may show, should the server quote it; the token aside.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    secrets: Callable[[], Iterable[str]] = attrs.field(repr=False, eq=False)

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        secrets: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.status = status
        # What an HTTP library hands over, a multidict, is case-insensitive already.
        self.headers = headers if headers is not None and hasattr(headers, "getone") else Headers(headers)
        self.body = body
        self.secrets = secrets


class Transport(Protocol):
    """Sends one request and returns its answer; layers are transports around transports.

    It raises ``ConnectError()`` when nothing left this machine, else ``TimedOut()`` (after ``request.timeout``; ``with
    within(request.timeout):`` keeps it) or ``Disconnected()``, which leave a write in doubt. Whatever else it raises is
    taken for ``Disconnected``. It does not retry, and does not follow redirects. It may have a ``base_url: str``.
    """

    async def send(self, request: Request, /) -> Response:
        """Send the request once; raises only ``EnkashError`` (``RuntimeError`` on a wrong event loop)."""
        ...

    async def aclose(self) -> None:
        """Give back what is held; may be called twice."""
        ...


def mark(cancelled: asyncio.CancelledError, *, harmless: bool = True) -> None:
    """Note whether the request, or the call, that was cancelled cannot have taken effect."""
    if harmless != was_harmless(cancelled):
        cancelled.add_note(_HARMLESS) if harmless else cancelled.__notes__.remove(_HARMLESS)


def was_harmless(cancelled: BaseException | None) -> bool:
    """Whether the request, or the call, that was cancelled is known not to have taken effect."""
    return _HARMLESS in getattr(cancelled, "__notes__", ())
