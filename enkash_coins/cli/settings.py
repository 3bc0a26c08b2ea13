"""Options that commands share: how they print, and which host they talk to."""

import asyncio
import math
from typing import Annotated

import attrs
from cyclopts import Parameter, validators

from enkash_coins.auth.file_guard import FileGuard
from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.auth.tokens import TokenSource
from enkash_coins.calls.retry import RetryPolicy
from enkash_coins.calls.settings import checked_rate, checked_timeout
from enkash_coins.environment import (
    CREDENTIALS,
    TOKEN,
    auth_from_environment,
    base_url_from_environment,
    encryption_from_environment,
)
from enkash_coins.errors import InvalidRequest
from enkash_coins.layers.pacing import Pacing
from enkash_coins.service import CoinEventService
from enkash_coins.transports.aiohttp import AiohttpTransport

Json = Annotated[bool, Parameter(help="Print one line of JSON.")]
JsonLines = Annotated[bool, Parameter(help="At the end, print one line of JSON for each row, then one for all.")]


@Parameter(name="*", group="Host")
@attrs.frozen(kw_only=True)
class Host:
    """Which host, and how to treat it. Credentials come from the environment only.

    Attributes:
        base_url: Address of the API; else ENKASH_BASE_URL.
        timeout: Seconds for one attempt.
        concurrency: Requests in flight at most; else 32.
        rate: Requests per second at most; else no limit.
        retries: Further attempts after the first.
        login_guard: File to guard against the account lock; else ENKASH_LOGIN_GUARD, or in ~/.local/state/enkash-coins.
        encrypted: Bodies travel encrypted, with ENKASH_CLIENT_SECRET as the key; else ENKASH_ENCRYPTED=1 says so.
        trust_env: Take the proxy from HTTPS_PROXY and NO_PROXY.
    """

    base_url: str | None = None
    timeout: float = 30.0
    concurrency: int | None = None
    rate: float | None = None
    retries: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 3
    login_guard: str | None = None
    encrypted: bool = False
    trust_env: bool = False

    def address(self) -> str:
        """The host's URL; raises ``InvalidRequest`` if none is set."""
        return self.base_url or base_url_from_environment()

    def connect(self) -> CoinEventService:
        """A service for these options; raises ``InvalidRequest`` for one that is not acceptable."""
        return CoinEventService.connect(
            self.address(),
            auth=self._auth(),
            encryption=encryption_from_environment(encrypted=self.encrypted),
            user_agent="cli",
            timeout=self.timeout,
            concurrency="auto" if self.concurrency is None else self.concurrency,
            rate=self.rate,
            retry=RetryPolicy(attempts=self.retries + 1),
            trust_env=self.trust_env,
        )

    def grant(self) -> PasswordGrant:
        """The login of the environment; raises ``InvalidRequest`` for a token, which needs none."""
        auth = self._auth()
        if not isinstance(auth, PasswordGrant):
            raise InvalidRequest(f"login: {TOKEN} is set: unset it, and set {', '.join(CREDENTIALS)}")
        return auth

    async def log_in(self, grant: PasswordGrant) -> float:
        """Log in once; returns for how many seconds the token is valid."""
        timeout, rate = checked_timeout(self.timeout), checked_rate(self.rate)
        wire = AiohttpTransport(self.address(), user_agent="cli", trust_env=self.trust_env)
        paced = Pacing(wire, slots=1, rate=rate, max_wait=RetryPolicy().max_wait, timeout=timeout)
        try:
            token = await grant.token(paced)
        finally:
            await paced.aclose()
        return (token.expires_at or math.inf) - asyncio.get_running_loop().time()

    def _auth(self) -> TokenSource:
        guard = FileGuard(self.login_guard) if self.login_guard else None
        return auth_from_environment(guard, encrypted=self.encrypted)


DEFAULTS = Host()
