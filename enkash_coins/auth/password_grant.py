"""The password grant: one login however many tasks wait, and never into the account lock."""

import asyncio
import copy
import logging
import re
from base64 import b64encode
from typing import Final
from urllib.parse import urlencode

from enkash_coins.api.redaction import blacked_out
from enkash_coins.auth.guard import LoginGuard, LoginHistory, LoginResult, MemoryGuard, admit, lift, settle
from enkash_coins.auth.token_answers import login_result, read_token
from enkash_coins.auth.tokens import Token, life_of, margin_of, same_age
from enkash_coins.errors import EnkashError, InvalidRequest
from enkash_coins.secret import Secret
from enkash_coins.transport import Request, Response, Transport

_log = logging.getLogger("enkash_coins")
# A token that is refused sooner was revoked; that says nothing about how long tokens live.
_SHORTEST_LESSON = 30.0
# What a byte that is no UTF-8 becomes when it comes from the environment.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class PasswordGrant:
    """Logs in with the OAuth password grant, once however many tasks wait, and never into the account lock.

    Args:
        client_id, client_secret, username, password: as EnKash handed them out. One grant serves one host.
        guard: where the history of logins is kept; ``None``: in memory, for this grant alone. A ``FileGuard`` shares it
            between processes, and remembers it when they have ended.

    Source: Basic header of ``clientId:clientSecret``, form body ``username``, ``password``, ``grant_type``,
    ``clientId``; three consecutive failures lock the account.
    """

    def __init__(
        self, client_id: str, client_secret: str, username: str, password: str, *, guard: LoginGuard | None = None
    ) -> None:
        self._credentials: Final = Secret((client_id, client_secret, username, password))
        self._guard = MemoryGuard() if guard is None else guard
        self._fingerprint: Secret[bytes] | None = None  # made once: guards know it again by its identity
        self._token: Token | None = None
        self._fetched_at = 0.0
        self._refused_age: float | None = None  # once is an incident: somebody has revoked that token
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
        """The API said 401 to this token: the next call logs in again. Two at about one age tell a token's life."""
        if token is not self._token:
            return
        self._token = None
        age = asyncio.get_running_loop().time() - self._fetched_at
        if age < _SHORTEST_LESSON:
            return
        if self._refused_age is not None and same_age(age, self._refused_age):
            self._learned_life = min(age, self._refused_age)
        self._refused_age = age

    async def history(self) -> LoginHistory:
        """What the guard knows of these credentials; nothing is sent.

        Raises:
            InvalidRequest: a credential is empty or not a string.
            LoginSuspended: the guard's file cannot be used.
        """
        async with self._guard.hold(self._fingerprinted()) as record:
            return record.history

    async def reset(self) -> LoginHistory:
        """Let the next login out although earlier ones failed; nothing is sent.

        Returns the history as it is now. EnKash goes on counting: with ``failed`` at 2, one more locks the account.

        Raises:
            InvalidRequest: a credential is empty or not a string.
            LoginSuspended: the guard's file cannot be used.
        """
        async with self._guard.hold(self._fingerprinted()) as record:
            lifted = lift(record.history)
            if lifted != record.history:
                await record.save(lifted)
            return lifted

    async def _log_in(self, send: Transport) -> Token | EnkashError:
        try:
            async with self._guard.hold(self._fingerprinted()) as record:
                before: LoginHistory = record.history
                charged = admit(before, self._guard.now())
                request = self._request()
                await record.save(charged)
                outcome = await self._exchange(send, request)
                result = LoginResult.ACCEPTED if isinstance(outcome, Token) else login_result(outcome)
                try:
                    await record.save(settle(before, charged, result))
                except EnkashError as error:
                    # The answer is worth more than its record. The charge stays, which counts as a doubtful login.
                    _log.warning("the end of a login is not recorded: %s", error)
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
            read_token(blacked_out(response, (*self._quotable(), *response.secrets())))
        except EnkashError as clean:
            return clean
        return error

    def _fingerprinted(self) -> Secret[bytes]:
        if self._fingerprint is not None:
            return self._fingerprint
        credentials = self._credentials.reveal()
        names = ("client_id", "client_secret", "username", "password")
        for name, value in zip(names, credentials, strict=True):
            if not isinstance(value, str) or not value or _SURROGATE.search(value):
                raise InvalidRequest(f"auth: {name} is empty or not a text")
        # Length-prefixed, so that no two sets of credentials look alike.
        fingerprint = Secret(b"".join(len(part := value.encode()).to_bytes(4) + part for value in credentials))
        self._fingerprint = fingerprint
        return fingerprint

    def _basic(self) -> str:
        client_id, client_secret, _, _ = self._credentials.reveal()
        # UTF-8, as RFC 7617 has it: in latin-1 a non-ASCII password goes out wrong, at the cost of one of three tries.
        return b64encode(f"{client_id}:{client_secret}".encode()).decode()

    def _quotable(self) -> tuple[str, ...]:
        _, client_secret, _, password = self._credentials.reveal()
        return self._basic(), client_secret, password

    def _request(self) -> Request:
        client_id, _, username, password = self._credentials.reveal()
        form = {"username": username, "password": password, "grant_type": "password", "clientId": client_id}
        headers = {"Authorization": f"Basic {self._basic()}", "Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", "/oauth/token", headers, urlencode(form).encode(), "token", replayable=False)
