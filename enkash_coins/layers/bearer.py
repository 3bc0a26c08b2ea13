"""Every request carries the current token."""

import asyncio

from enkash_coins.auth.tokens import Standing, Token, TokenSource
from enkash_coins.errors import EnkashError
from enkash_coins.layers.pacing import TokenEnded
from enkash_coins.transport import Request, Response, Transport, mark

# A token that ends on arrival goes out in the end, and the server decides.
_TRIES = 4
# Refusals that the API only gives to whoever it has let in.
_PAST_THE_TOKEN = frozenset({400, 403, 404, 409, 412, 422})


class Bearer:
    """Adds the bearer token; on a 401 it gets a new one, and the service's loop sends again."""

    def __init__(self, inner: Transport, source: TokenSource) -> None:
        self.base_url = getattr(inner, "base_url", "")
        self._inner = inner
        self._source = source
        self._standing = Standing()
        self._latest: Token | None = None
        self._header = ""  # made once for each token

    async def send(self, request: Request, /) -> Response:
        """Send with the current token; after a 401, ``request.token_renewed`` says whether another is at hand."""
        request.sent_at = None
        tries = 1
        while True:
            try:
                token = await self._source.token(self._inner)
            except (EnkashError, asyncio.CancelledError) as failure:
                _mark_unsent(failure)
                raise
            if token is not self._latest:
                self._latest, self._header = token, f"Bearer {token.value}"
            # In place: a copy would cost every call 0.9 %. Whoever sends again sends a copy.
            request.headers = {**request.headers, "Authorization": self._header}
            request.expires_at = token.expires_at if tries < _TRIES else None
            try:
                response = await self._inner.send(request)
            except TokenEnded:
                tries += 1
                request.goes_first = True
                continue
            if response.status < 300 or response.status in _PAST_THE_TOKEN:
                if self._standing.accepted is not token:
                    self._standing = self._standing.accept(token)
            elif response.status == 401:
                request.token_renewed = await self._renew(token)
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
