"""Tokens: where they come from and how long they are used."""

import re
from typing import Protocol, cast

import attrs

from enkash_coins.auth.credentials import flaw
from enkash_coins.errors import InvalidRequest
from enkash_coins.secret import Secret
from enkash_coins.transport import Transport

_UNSTATED_LIFE = 300.0
_LONGEST_LIFE = 366 * 86_400.0
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_DIGITS = re.compile(r"[0-9]{1,12}")
_PAUSE = 60
_LONGEST_PAUSE = 3600


@attrs.frozen
class Token:
    """A bearer token.

    Attributes:
        value: goes into the ``Authorization`` header; not shown by ``repr``.
        expires_at: when to stop using it, on the event loop's clock; ``None`` for never.
    """

    value: str = attrs.field(repr=False)
    expires_at: float | None = None


def fits_header(value: str) -> bool:
    """Whether a token of these characters can stand in a header."""
    return _HEADER_SAFE.fullmatch(value) is not None


class TokenSource(Protocol):
    """Where tokens come from."""

    async def token(self, send: Transport, /) -> Token:
        """The current token, fetched through the inner transport if need be."""
        ...

    def refused(self, token: Token, /) -> None:
        """The API said 401 to this very token."""
        ...


class StaticToken:
    """A token that somebody else looks after; its 401 is final."""

    def __init__(self, value: Secret[str]) -> None:
        if problem := flaw(value.reveal()):
            raise InvalidRequest(f"auth: the token {problem}: nothing is sent")
        if not fits_header(value.reveal()):
            raise InvalidRequest("auth: the token has characters that cannot stand in a header")
        self._token = Token(value.reveal())

    async def token(self, send: Transport, /) -> Token:  # noqa: ARG002  # the protocol's; nothing is fetched
        """The one token."""
        return self._token

    def refused(self, token: Token, /) -> None:
        """There is no other token to turn to."""


def token_source(auth: object) -> TokenSource:
    """A token as ``str``, or a ``TokenSource``, as a source; raises ``InvalidRequest`` for anything else."""
    if isinstance(auth, str):
        return StaticToken(Secret(auth))
    if callable(getattr(auth, "token", None)) and callable(getattr(auth, "refused", None)):
        return cast("TokenSource", auth)
    raise InvalidRequest("auth is neither a token nor a TokenSource such as PasswordGrant(…)")


@attrs.frozen
class Standing:
    """How the API has lately received a source's tokens.

    Attributes:
        accepted: the latest token, if the API has taken it.
        refused: the latest token, if the API has refused it; many calls may be told so at once.
        in_a_row: fresh tokens refused since the API last took one.
        held_until: when ``refused`` may be answered with another login, in seconds on the caller's clock.
    """

    accepted: Token | None = None
    refused: Token | None = None
    in_a_row: int = 0
    held_until: float = 0.0

    def accept(self, token: Token) -> "Standing":
        """The API took this token."""
        return Standing(accepted=token)

    def refuse(self, token: Token, now: float) -> "Standing":
        """The API said 401 to this token, which is the one in use.

        The first fresh token that is refused is worth another login; after the second and each further one there is a
        pause, because every call would make one.
        """
        if token == self.refused:
            return self
        in_a_row = 0 if token == self.accepted else self.in_a_row + 1
        pause = min(_PAUSE * 2 ** (in_a_row - 2), _LONGEST_PAUSE) if in_a_row >= 2 else 0
        return Standing(refused=token, in_a_row=in_a_row, held_until=now + pause)

    def holds(self, token: Token, now: float) -> bool:
        """Whether this refused token stays in use, without another login."""
        return token == self.refused and now < self.held_until


def usable_for(claimed: object, learned: float | None) -> float:
    """Seconds for which a token is used: its life, less a tenth, at most 30 seconds.

    Args:
        claimed: the answer's ``expires_in``; missing or absurd counts as 300 s. The documents show 86399, and say 5
            minutes in the text: it is believed until 401s show the true life.
        learned: the true life, if it is known.
    """
    if isinstance(claimed, str) and _DIGITS.fullmatch(claimed):
        claimed = int(claimed)
    life = _UNSTATED_LIFE
    if isinstance(claimed, (int, float)) and claimed is not True and 0 < claimed <= _LONGEST_LIFE:
        life = float(claimed)
    life = life if learned is None else min(life, learned)
    return life - min(30.0, life / 10)
