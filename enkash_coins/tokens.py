"""Tokens: where they come from and how long they are used."""

import asyncio
import copy
import logging
import re
from base64 import b64encode
from contextlib import suppress
from typing import Final, Protocol
from urllib.parse import quote_plus, urlencode

import attrs

from enkash_coins.answers import api_error, malformed, read_envelope
from enkash_coins.codec import Unreadable, loads
from enkash_coins.display import cut
from enkash_coins.errors import ApiError, EnkashError, InvalidRequest, LoginRefused, RateLimited
from enkash_coins.login_guard import LoginGuard, LoginHistory, LoginResult, MemoryGuard, admit, settle
from enkash_coins.secret import Secret
from enkash_coins.transport import Request, Response, Transport, blacked_out

_log = logging.getLogger("enkash_coins")
_UNSTATED_LIFE = 300.0
_LONGEST_LIFE = 366 * 86_400.0
# A token that is refused sooner was revoked; that says nothing about how long tokens live.
_SHORTEST_LESSON = 30.0
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
# A second one in a row is not answered with yet another login.
_FRESH_REFUSALS = 2
# What a byte that is no UTF-8 becomes when it comes from the environment.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@attrs.frozen
class Token:
    """A bearer token.

    Attributes:
        value: goes into the ``Authorization`` header; not shown by ``repr``.
        expires_at: when to stop using it, on the event loop's clock; ``None`` for never.
    """

    value: str = attrs.field(repr=False)
    expires_at: float | None = None


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
        if not isinstance(value.reveal(), str) or not _HEADER_SAFE.fullmatch(value.reveal()):
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


def read_token(response: Response) -> tuple[str, object]:
    """The token and the claimed ``expires_in`` in the token endpoint's answer, in either documented spelling.

    Raises:
        LoginRefused: a definite no: any 4xx but 408, 425 and 429, or a success that holds an error.
        MalformedResponse, ApiError: no clear answer.
    """
    status = response.status
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise LoginRefused(f"the token endpoint refused the login: HTTP {status}{_said(response.body)}")
    if not 200 <= status < 300:
        raise api_error(response, "token")
    reason, answer = "is not an object", None
    try:
        answer = loads(response.body)
    except Unreadable as error:
        reason = str(error)
    if not isinstance(answer, dict):
        raise malformed(response, "token", reason)
    value = answer.get("access_token", answer.get("accessToken"))
    if type(value) is str and _HEADER_SAFE.fullmatch(value):
        return value, answer.get("expires_in", answer.get("expiresIn"))
    code = answer.get("response_code", answer.get("code", 0))
    if "error" in answer or (type(code) is int and code != 0):
        raise LoginRefused(f"the token endpoint refused the login{_said(response.body)}")
    raise malformed(response, "token", "has no access_token")


def _said(body: bytes) -> str:
    """What the token endpoint gave as the reason: an OAuth error, or the API's envelope."""
    reason: object = ""
    with suppress(Unreadable):
        answer = loads(body)
        if isinstance(answer, dict):
            reason = answer.get("error_description", answer.get("error"))
        if type(reason) is not str:
            reason = read_envelope(body).message
    return f": {cut(reason)}" if reason and isinstance(reason, str) else ""


def _login_result(error: EnkashError) -> LoginResult:
    if isinstance(error, LoginRefused):
        return LoginResult.REFUSED
    if isinstance(error, RateLimited):
        return LoginResult.NOT_COUNTED
    # A redirect or a strange status is an answer, but not a clear one.
    return LoginResult.DOUBTFUL if error.maybe_applied or isinstance(error, ApiError) else LoginResult.NOT_COUNTED


class PasswordGrant:
    """Logs in with the OAuth password grant, once however many tasks wait, and never into the account lock.

    Args:
        client_id, client_secret, username, password: as EnKash handed them out. One grant serves one host.
        guard: where the history of logins is kept; ``None``: in memory, for this grant alone.

    Source: Basic header of ``clientId:clientSecret``, form body ``username``, ``password``, ``grant_type``,
    ``clientId``; three consecutive failures lock the account.
    """

    def __init__(
        self, client_id: str, client_secret: str, username: str, password: str, *, guard: LoginGuard | None = None
    ) -> None:
        self._credentials: Final = Secret((client_id, client_secret, username, password))
        self._guard = MemoryGuard() if guard is None else guard
        self._token: Token | None = None
        self._fetched_at = 0.0
        self._learned_life: float | None = None
        self._login: asyncio.Task[Token | EnkashError] | None = None

    async def token(self, send: Transport, /) -> Token:
        """The current token; the first of many waiters starts the one login that all of them wait for.

        Raises:
            InvalidRequest: a credential is empty or not a string.
            LoginRefused, LoginSuspended: no login is tried.
            TransportError, ApiError, MalformedResponse: the login failed without a clear answer.
        """
        loop = asyncio.get_running_loop()
        token = self._token
        if token is not None and (token.expires_at is None or loop.time() < token.expires_at):
            return token
        login = self._login
        if login is None or login.done() or login.get_loop() is not loop:
            login = self._login = loop.create_task(self._log_in(send))
        # One owned task, shielded: the cancellation of any waiter leaves it alone. It returns its error as a value, and
        # each waiter raises its own copy: one exception raised again and again grows its traceback for ever.
        outcome = await asyncio.shield(login)
        if isinstance(outcome, EnkashError):
            raise copy.copy(outcome)
        return outcome

    def refused(self, token: Token, /) -> None:
        """The API said 401 to this token: the next call logs in again, and its true life is learned."""
        if token is not self._token:
            return
        self._token = None
        age = asyncio.get_running_loop().time() - self._fetched_at
        if age >= _SHORTEST_LESSON:
            self._learned_life = age

    async def _log_in(self, send: Transport) -> Token | EnkashError:
        try:
            async with self._guard.hold(self._fingerprinted()) as record:
                before: LoginHistory = record.history
                charged = admit(before, self._guard.now())
                request = self._request()
                await record.save(charged)
                outcome = await self._exchange(send, request)
                result = LoginResult.ACCEPTED if isinstance(outcome, Token) else _login_result(outcome)
                await record.save(settle(before, charged, result))
                if result is LoginResult.REFUSED:
                    _log.warning("%s: no further login with these credentials", outcome)
        except EnkashError as error:
            outcome = error
        if isinstance(outcome, Token):
            self._token = outcome
        return outcome

    async def _exchange(self, send: Transport, request: Request) -> Token | EnkashError:
        try:
            response = await send.send(request)
        except EnkashError as error:
            return error
        try:
            value, claimed = read_token(response)
        except EnkashError as error:
            return self._without_credentials(response, error)
        life = life_of(claimed, self._learned_life)
        # Counted from the answer, because the request may have waited for its turn; the margin covers the way back.
        now = self._fetched_at = asyncio.get_running_loop().time()
        return Token(value, now + life - margin_of(life))

    def _without_credentials(self, response: Response, error: EnkashError) -> EnkashError:
        """The same error, read again from an answer that quotes none of the credentials."""
        try:
            read_token(blacked_out(response, self._quotable()))
        except EnkashError as clean:
            return clean
        return error

    def _fingerprinted(self) -> Secret[bytes]:
        credentials = self._credentials.reveal()
        names = ("client_id", "client_secret", "username", "password")
        for name, value in zip(names, credentials, strict=True):
            if not isinstance(value, str) or not value or _SURROGATE.search(value):
                raise InvalidRequest(f"auth: {name} is empty or not a text")
        # Length-prefixed, so that no two sets of credentials look alike.
        return Secret(b"".join(len(part := value.encode()).to_bytes(4) + part for value in credentials))

    def _basic(self) -> str:
        client_id, client_secret, _, _ = self._credentials.reveal()
        # UTF-8, as RFC 7617 has it: in latin-1 a non-ASCII password goes out wrong, at the cost of one of three tries.
        return b64encode(f"{client_id}:{client_secret}".encode()).decode()

    def _quotable(self) -> tuple[str, ...]:
        _, client_secret, _, password = self._credentials.reveal()
        return self._basic(), client_secret, password, quote_plus(client_secret), quote_plus(password)

    def _request(self) -> Request:
        client_id, _, username, password = self._credentials.reveal()
        form = {"username": username, "password": password, "grant_type": "password", "clientId": client_id}
        headers = {"Authorization": f"Basic {self._basic()}", "Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", "/oauth/token", headers, urlencode(form).encode(), "token", replayable=False)
