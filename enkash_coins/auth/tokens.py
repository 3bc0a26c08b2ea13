"""Tokens: where they come from and how long they are used."""

import re
from typing import Protocol

import attrs

from enkash_coins.errors import InvalidRequest
from enkash_coins.secret import Secret
from enkash_coins.transport import Transport

_UNSTATED_LIFE = 300.0
_LONGEST_LIFE = 366 * 86_400.0
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
# A second one in a row is not answered with yet another login.
_FRESH_REFUSALS = 2


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
        if not isinstance(value.reveal(), str) or not fits_header(value.reveal()):
            raise InvalidRequest("auth: the token is empty or has characters that cannot stand in a header")
        self._token = Token(value.reveal())

    async def token(self, send: Transport, /) -> Token:  # noqa: ARG002  # the protocol's; nothing is fetched
        """The one token."""
        return self._token

    def refused(self, token: Token, /) -> None:
        """There is no other token to turn to."""


@attrs.frozen
class Standing:
    """How the API has lately received a source's tokens.

    Attributes:
        accepted: the latest token that it took.
        refusals: tokens refused in a row that it never took.
        refused: the latest token that it refused; many calls may be told so at once.
        held: a refused token that stays in use, without more logins, until it is accepted or expires.
    """

    accepted: Token | None = None
    refusals: int = 0
    refused: Token | None = None
    held: Token | None = None

    def accept(self, token: Token) -> "Standing":
        """The API took this token."""
        return Standing(accepted=token)

    def refuse(self, token: Token) -> "Standing":
        """The API said 401 to this token, which is the one in use."""
        if token == self.refused:
            return self
        refusals = 0 if token == self.accepted else self.refusals + 1
        return Standing(None, refusals, token, token if refusals >= _FRESH_REFUSALS else None)


def life_of(claimed: object, learned: float | None) -> float:
    """Seconds that a token may be taken to live.

    Args:
        claimed: the answer's ``expires_in``; missing or absurd counts as 300 s. The documents show 86399, and say 5
            minutes in the text: it is believed until a 401 shows the true life.
        learned: the age at which an earlier token was refused, if any was.
    """
    believable = type(claimed) in (int, float) and 0 < claimed <= _LONGEST_LIFE  # type: ignore[operator]  # a number, by then
    life = float(claimed) if believable else _UNSTATED_LIFE  # type: ignore[arg-type]  # same
    return life if learned is None else min(life, learned)


def margin_of(life: float) -> float:
    """Seconds before its end at which a token is no longer used: a tenth, at most 30."""
    return min(30.0, life / 10)
