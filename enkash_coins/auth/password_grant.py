"""The password grant: one login however many tasks wait, and never into the account lock."""

import asyncio
import copy
import logging
from base64 import b64encode
from urllib.parse import urlencode, urlsplit

from enkash_coins.api.redaction import blacked_out
from enkash_coins.auth.credentials import NAMES, Credentials, flaw
from enkash_coins.auth.default_guard import DefaultGuard, default_guard
from enkash_coins.auth.file_guard import FileGuard
from enkash_coins.auth.guard import History, MemoryGuard, begin, end, let_out, obstacle
from enkash_coins.auth.token_answers import read_token
from enkash_coins.auth.tokens import Token, usable_for
from enkash_coins.errors import EnkashError, InvalidRequest, LoginRefused
from enkash_coins.secret import Secret
from enkash_coins.transport import Request, Response, Transport

_log = logging.getLogger("enkash_coins")
# A token that is refused sooner was revoked; that says nothing about how long tokens live.
_SHORTEST_LESSON = 30.0


class PasswordGrant:
    """Logs in with the OAuth password grant, once however many tasks wait, and never into the account lock.

    Args:
        client_id, client_secret, username, password: as EnKash handed them out. One grant serves one host.
        guard: counts failed logins. ``None``: on disk, for all processes of this user (in
            ``$XDG_STATE_HOME/enkash-coins``, else ``~/.local/state/enkash-coins``, or in the file that
            ``ENKASH_LOGIN_GUARD`` names); where that cannot be used, in memory, with a warning in the log.

    Raises:
        InvalidRequest: one of the four is empty, not a text, or begins or ends with a blank; the message names it.

    Source: Basic header of ``clientId:clientSecret``, form body ``username``, ``password``, ``grant_type``,
    ``clientId``; three consecutive failures lock the account.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        username: str,
        password: str,
        *,
        guard: FileGuard | MemoryGuard | None = None,
    ) -> None:
        self._credentials: Credentials = Secret((client_id, client_secret, username, password))
        del client_id, client_secret, username, password  # a traceback shows the arguments of its frames
        problems = zip(NAMES, map(flaw, self._credentials.reveal()), strict=True)
        if said := ", ".join(f"{name} {problem}" for name, problem in problems if problem):
            raise InvalidRequest(f"auth: {said}: nothing is sent")
        self._guard: FileGuard | MemoryGuard | DefaultGuard = default_guard() if guard is None else guard
        self._host: str | None = None  # of the latest login
        self._token: Token | None = None
        self._fetched_at = 0.0
        self._refused_age = 0.0
        self._learned_life: float | None = None
        self._login: asyncio.Task[Token | EnkashError] | None = None

    async def token(self, send: Transport, /) -> Token:
        """The current token; the first of many waiters starts the one login that all of them wait for.

        Raises:
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
        """The API said 401 to this token: the next call logs in again.

        Two refusals at about the same age, within a fifth, teach how long tokens live; one is an incident.
        """
        if token is not self._token:
            return
        self._token = None
        before, age = self._refused_age, asyncio.get_running_loop().time() - self._fetched_at
        if age >= _SHORTEST_LESSON:
            self._refused_age = age
            if abs(age - before) <= max(age, before) / 5:
                self._learned_life = min(age, before)

    async def failures(self) -> int:
        """How many logins to this account failed in a row, or have no clear answer; nothing is sent.

        It counts for the host of the latest login or reset; before the first, it is the most of any host.
        """
        async with self._guard.hold(self._credentials) as record:
            known = record.histories.items()
            return max((history.failures for host, history in known if self._host in (None, host)), default=0)

    async def reset(self, base_url: str | None = None) -> int:
        """Let one login with these credentials out, whatever has failed before; nothing is sent.

        Returns how many failed in a row: EnKash goes on counting, and with 2 one more locks the account.

        Args:
            base_url: of the host; ``None`` for that of the latest login, and before the first for all hosts.
        """
        if base_url is not None:
            self._host = _host(base_url)
        async with self._guard.hold(self._credentials) as record:
            for host, history in list(record.histories.items()):
                if self._host in (None, host):
                    await record.save(host, let_out(history, record.credentials, self._guard.now()))
        return await self.failures()

    async def _log_in(self, send: Transport) -> Token | EnkashError:
        host = self._host = _host(getattr(send, "base_url", ""))
        try:
            async with self._guard.hold(self._credentials) as record:
                before = record.histories.get(host, History())
                now = self._guard.now()
                if held_back := obstacle(before, record.credentials, now):
                    return held_back
                begun = begin(before, record.credentials, now)
                await record.save(host, begun)
                outcome = await self._exchange(send)
                error = outcome if isinstance(outcome, EnkashError) else None
                try:
                    await record.save(host, end(before, begun, record.credentials, error))
                except EnkashError as failure:
                    # The answer is worth more than its record. What stays is a login without a clear answer.
                    _log.warning("the end of a login is not recorded: %s", failure)
                if isinstance(error, LoginRefused):
                    _log.warning("%s: no further login with these credentials", error)
        except EnkashError as error:
            return error
        if isinstance(outcome, Token):
            self._token = outcome
        return outcome

    async def _exchange(self, send: Transport) -> Token | EnkashError:
        try:
            response = await send.send(self._request())
        except EnkashError as error:
            return error
        try:
            value, claimed = read_token(response)
        except EnkashError as error:
            return self._without_credentials(response, error)
        # Counted from the answer, because the request may have waited for its turn; the margin covers the way back.
        self._fetched_at = asyncio.get_running_loop().time()
        return Token(value, self._fetched_at + usable_for(claimed, self._learned_life))

    def _without_credentials(self, response: Response, error: EnkashError) -> EnkashError:
        """The same error, read again from an answer that quotes none of the credentials."""
        try:
            read_token(blacked_out(response, (*self._quotable(), *response.secrets())))
        except EnkashError as clean:
            return clean
        return error

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


def _host(base_url: object) -> str:
    """The host of a URL, with its port; empty if there is none."""
    try:
        parts = urlsplit(str(base_url))
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return ""
    return f"{parts.hostname.rstrip('.')}:{port}" if parts.hostname else ""
