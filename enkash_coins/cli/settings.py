"""Options that all commands share which talk to a host."""

from typing import Annotated

import attrs
from cyclopts import Parameter, validators

from enkash_coins.environment import auth_from_environment, base_url_from_environment
from enkash_coins.retry import RetryPolicy
from enkash_coins.service import CoinEventService


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
    """

    base_url: str | None = None
    timeout: float = 30.0
    concurrency: int | None = None
    rate: float | None = None
    retries: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 3

    def address(self) -> str:
        """The host's URL; raises ``InvalidRequest`` if none is set."""
        return self.base_url or base_url_from_environment()

    def connect(self) -> CoinEventService:
        """A service for these options; raises ``InvalidRequest`` for one that is not acceptable."""
        return CoinEventService.connect(
            self.address(),
            auth=auth_from_environment(),
            user_agent="cli",
            timeout=self.timeout,
            concurrency="auto" if self.concurrency is None else self.concurrency,
            rate=self.rate,
            retry=RetryPolicy(attempts=self.retries + 1),
        )


DEFAULTS = Host()
