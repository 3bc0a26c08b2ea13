"""Every request carries the current token."""

import asyncio

from enkash_coins.api.answers import api_error
from enkash_coins.auth.tokens import Standing, Token, TokenSource
from enkash_coins.errors import EnkashError, Unauthorized
from enkash_coins.layers.pacing import Stale, Stamped
from enkash_coins.transport import Request, Response, Transport, mark

_STALE_TOKENS = 3
# Refusals that the API only gives to whoever it has let in.
_PAST_THE_TOKEN = frozenset({400, 403, 404, 409, 412, 422})


class Auth:
    """Adds the bearer token; on a 401 it gets a new one and says so, and the service's loop sends again."""

    def __init__(self, inner: Transport, source: TokenSource) -> None:
        self._inner = inner
        self._source = source
        self._standing = Standing()
        self._latest: Token | None = None
        self._header = ""  # made once for each token

    async def send(self, request: Request, /) -> Response:
        """Send with the current token; a renewed token is told by an ``Unauthorized`` that is worth another try."""
        stale = 0
        request.sent_at = None
        while True:
            try:
                token = await self._source.token(self._inner)
            except (EnkashError, asyncio.CancelledError) as failure:
                _mark_unsent(failure)
                raise
            if token is not self._latest:
                self._latest, self._header = token, f"Bearer {token.value}"
            # A token that ends on arrival goes out in the end, and the server decides.
            ends = token.expires_at if stale < _STALE_TOKENS else None
            try:
                response = await self._inner.send(
                    Stamped(
                        request.method,
                        request.path,
                        {**request.headers, "Authorization": self._header},
                        request.body,
                        request.operation,
                        request.replayable,
                        request.limits,
                        original=request,
                        expires_at=ends,
                        again=stale > 0,
                    )
                )
            except Stale:
                stale += 1
                continue
            if response.status < 300 or response.status in _PAST_THE_TOKEN:
                if self._standing.accepted is not token:
                    self._standing = self._standing.accept(token)
            elif response.status == 401 and await self._renew(token):
                error = api_error(response)
                if isinstance(error, Unauthorized):
                    error._renewed = True  # noqa: SLF001  # this layer's word to the retry decision
                raise error
            return response

    async def _renew(self, token: Token) -> bool:
        """Whether another token than this refused one is at hand now."""
        if token == self._latest:  # else somebody has renewed it already
            now = asyncio.get_running_loop().time()
            self._standing = self._standing.refuse(token, now)
            if self._standing.holds(token, now):
                return False
            self._source.refused(token)
        try:
            return (await self._source.token(self._inner)).value != token.value
        except (EnkashError, asyncio.CancelledError) as failure:
            _mark_unsent(failure)
            raise

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def _mark_unsent(failure: EnkashError | asyncio.CancelledError) -> None:
    """A failure to get a token means that the call itself was not sent."""
    if isinstance(failure, asyncio.CancelledError):
        mark(failure)
        return
    failure.maybe_applied = False
    failure._unsent = True  # noqa: SLF001  # a fact that only this layer knows
