"""Every request carries the current token."""

from enkash_coins.answers import api_error
from enkash_coins.errors import EnkashError, Unauthorized
from enkash_coins.tokens import Standing, Token, TokenSource
from enkash_coins.transport import Request, Response, Transport, blacked_out


class Auth:
    """Adds the bearer token; on a 401 it gets a new one and says so, and the service's loop sends again."""

    def __init__(self, inner: Transport, source: TokenSource) -> None:
        self._inner = inner
        self._source = source
        self._standing = Standing()
        self._latest: Token | None = None

    async def send(self, request: Request, /) -> Response:
        """Send with the current token; a renewed token is told by an ``Unauthorized`` that is worth another try."""
        token = self._latest = await self._current()
        value = token.value
        headers = {**request.headers, "Authorization": f"Bearer {value}"}
        response = await self._inner.send(
            Request(request.method, request.path, headers, request.body, request.operation, request.replayable)
        )
        if value.encode() in response.body:
            response = blacked_out(response, (value,))
        if response.status < 300:
            if self._standing.accepted is not token:
                self._standing = self._standing.accept(token)
        elif response.status == 401 and await self._renew(token):
            error = api_error(response, request.operation)
            if isinstance(error, Unauthorized):
                error._renewed = True  # noqa: SLF001  # this layer's word to the retry decision
            raise error
        return response

    async def _current(self) -> Token:
        """The token to use; a failure to get one means that the call itself was not sent."""
        try:
            return await self._source.token(self._inner)
        except EnkashError as error:
            error.maybe_applied = False
            error._unsent = True  # noqa: SLF001  # a fact that only this layer knows
            raise

    async def _renew(self, token: Token) -> bool:
        """Whether another token than this refused one is at hand now."""
        if token == self._standing.held:
            return False
        if token == self._latest:  # else somebody has renewed it already
            self._standing = self._standing.refuse(token)
            if token == self._standing.held:
                return False
            self._source.refused(token)
        return (await self._current()).value != token.value

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()
