"""The service: thin verbs over any transport, and the stack of layers that makes a client of it."""

import asyncio
import copy
import ssl
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack

import attrs

from enkash_coins.api import endpoints
from enkash_coins.auth.tokens import TokenSource, token_source
from enkash_coins.calls.call import Caller, CallOptions
from enkash_coins.calls.client import Client
from enkash_coins.calls.retry import RetryPolicy
from enkash_coins.calls.settings import (
    checked_concurrency,
    checked_deadline,
    checked_hook,
    checked_rate,
    checked_retry,
    checked_timeout,
)
from enkash_coins.calls.stream import OutcomeStream
from enkash_coins.environment import auth_from_environment, base_url_from_environment, encryption_from_environment
from enkash_coins.errors import InvalidRequest
from enkash_coins.layers.bearer import Bearer
from enkash_coins.layers.encryption import Encryption, PayloadEncryption
from enkash_coins.layers.pacing import Pacing
from enkash_coins.models import (
    UNSET,
    AllocationReceipt,
    Attempt,
    CoinAllocation,
    CoinEventConfig,
    CoinEventCreation,
    CoinEventUpdate,
    CustomConfiguration,
    Unset,
)
from enkash_coins.secret import Secret, made
from enkash_coins.transport import Transport

if TYPE_CHECKING:  # aiohttp is the transport's: it is imported by the first connect()
    from enkash_coins.transports.aiohttp import ClientSession


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of ``CoinEventService.connect``, which explains them."""

    auth: str | TokenSource
    encryption: PayloadEncryption | None
    timeout: float
    deadline: float | None
    retry: RetryPolicy
    concurrency: int | Literal["auto"]
    rate: float | None
    on_attempt: Callable[[Attempt], None] | None
    cookies: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    user_agent: str | None
    ssl_context: ssl.SSLContext | None
    proxy: str | None
    trust_env: bool
    session: "ClientSession | None"


class CoinEventService:
    """Coin events over any ``Transport``; use it as an async context manager, or call ``aclose()``.

    A service belongs to the event loop of its first call.

    Args:
        transport: what reaches the network; closed with the service.
        auth: a token, or a ``TokenSource`` such as ``PasswordGrant``; ``None``: the transport sees to it.
        encryption: ``PayloadEncryption(client_secret)`` for bodies that travel encrypted.
        timeout: seconds for one attempt, from the moment it may go out; waiting for a slot does not count.
        deadline: seconds for a whole call, waiting and retries included; ``None`` for no limit.
        retry: when a request is sent again.
        concurrency: requests in flight at most, for this client.
        rate: requests per second at most; ``None`` for no limit.
        on_attempt: called after every attempt, in the task of the call; what it raises is logged.

    Raises:
        InvalidRequest: a setting is not acceptable; the message names it.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        auth: str | TokenSource | None = None,
        encryption: PayloadEncryption | None = None,
        timeout: float = 30.0,
        deadline: float | None = None,
        retry: RetryPolicy = RetryPolicy(),
        concurrency: int | Literal["auto"] = "auto",
        rate: float | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> None:
        source = None if auth is None else made(partial(token_source, auth))
        del auth  # from here on no local of this frame holds a secret
        if isinstance(source, Exception):
            raise source
        if not callable(getattr(transport, "send", None)):
            raise InvalidRequest(f"transport: a {type(transport).__name__} has no send()")
        options = CallOptions(
            checked_retry(retry), checked_timeout(timeout), checked_deadline(deadline), checked_hook(on_attempt)
        )
        slots = checked_concurrency(concurrency)
        self._pacing = Pacing(
            transport, slots=slots, rate=checked_rate(rate), max_wait=retry.max_wait, timeout=options.timeout
        )
        stack: Transport = self._pacing if source is None else Bearer(self._pacing, source)
        if encryption is not None:
            if not isinstance(encryption, PayloadEncryption):
                raise InvalidRequest(f"encryption: a {type(encryption).__name__} is not a PayloadEncryption")
            stack = Encryption(stack, encryption)
        caller = Caller(stack, retry.budget)
        self._client = Client(caller, caller.call, options, slots)

    @classmethod
    def connect(
        cls,
        base_url: str,
        *,
        auth: str | TokenSource,
        encryption: PayloadEncryption | None = None,
        timeout: float = 30.0,
        deadline: float | None = None,
        retry: RetryPolicy = RetryPolicy(),
        concurrency: int | Literal["auto"] = "auto",
        rate: float | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        session: "ClientSession | None" = None,
    ) -> Self:
        """A service over an ``AiohttpTransport``, which explains the arguments from ``cookies`` on.

        It opens nothing: connections are made in the running loop at the first call.

        Args:
            base_url: https (http for loopback only), without user, query or fragment; a path prefix is kept.
            auth: a token, or a ``TokenSource`` such as ``PasswordGrant``.

        Raises:
            InvalidRequest: a setting is not acceptable; the message names it.
            TypeError: ``session`` together with a setting that belongs to a session.
        """
        from enkash_coins.transports.aiohttp import AiohttpTransport  # noqa: PLC0415  # half of the import time

        transport = made(
            partial(
                AiohttpTransport,
                base_url,
                cookies=cookies,
                headers=headers,
                user_agent=user_agent,
                ssl_context=ssl_context,
                proxy=proxy,
                trust_env=trust_env,
                session=session,
            )
        )
        source = made(partial(token_source, auth))
        del base_url, auth, cookies, headers, proxy  # from here on no local of this frame holds a secret
        if isinstance(transport, Exception):
            raise transport
        if isinstance(source, Exception):
            raise source
        return cls(
            transport,
            auth=source,
            encryption=encryption,
            timeout=timeout,
            deadline=deadline,
            retry=retry,
            concurrency=concurrency,
            rate=rate,
            on_attempt=on_attempt,
        )

    @classmethod
    def from_env(cls, **overrides: Unpack[ConnectOptions]) -> Self:
        """A service from the environment.

        It reads ``ENKASH_BASE_URL`` and either ``ENKASH_TOKEN`` or ``ENKASH_CLIENT_ID``, ``ENKASH_CLIENT_SECRET``,
        ``ENKASH_USERNAME`` and ``ENKASH_PASSWORD``. ``ENKASH_LOGIN_GUARD`` may name a file for the guard against the
        account lock; ``ENKASH_ENCRYPTED=1`` switches encryption on.

        Args:
            overrides: arguments of ``connect`` that win over the environment.

        Raises:
            InvalidRequest: a variable is missing, or both kinds are set; the message names it.
        """
        options = Secret(ConnectOptions(**overrides))
        del overrides  # from here on no local of this frame holds a secret
        if "auth" not in options.reveal():
            options.reveal()["auth"] = auth_from_environment()
        if "encryption" not in options.reveal():
            options.reveal()["encryption"] = encryption_from_environment()
        base_url = Secret(base_url_from_environment())
        return cls.connect(base_url.reveal(), **options.reveal())

    def with_options(
        self,
        *,
        timeout: float | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
        retry: RetryPolicy | Unset = UNSET,
    ) -> Self:
        """A view on the same client, whose calls have other settings; what is left out stays as it is.

        Connections, token, pacing and retry budget are shared. To close a view is to close the client.

        Args:
            timeout: seconds for one attempt.
            deadline: seconds for a whole call, waiting and retries included; ``None`` for no limit.
            retry: when a request is sent again; its ``budget`` is not used, because the client has one.

        Raises:
            InvalidRequest: a setting is not acceptable; the message names it.
        """
        options = self._client.options
        if timeout is not UNSET:
            options = attrs.evolve(options, timeout=checked_timeout(timeout))
        if deadline is not UNSET:
            options = attrs.evolve(options, deadline=checked_deadline(deadline))
        if retry is not UNSET:
            options = attrs.evolve(options, retry=checked_retry(retry))
        view = copy.copy(self)
        view._client = attrs.evolve(self._client, options=options)  # noqa: SLF001  # a view is one of us
        return view

    async def get(self, coin_config_id: str) -> CoinEventConfig:
        """Read one configuration."""
        return await self._client.value(endpoints.get(coin_config_id))

    async def update(
        self,
        coin_config_id: str,
        *,
        amount: int | Unset = UNSET,
        configuration: str | CustomConfiguration | Unset = UNSET,
        company_id: str | Unset = UNSET,
        event: str | Unset = UNSET,
    ) -> CoinEventConfig:
        """Change fields of one configuration; what is left out is not sent.

        Args:
            amount: coins for one such event; ``0`` is sent.
            configuration: ``Configuration.DEFAULT``, ``Configuration.CUSTOM``, any other string, or a
                ``CustomConfiguration``.
        """
        update = CoinEventUpdate(
            coin_config_id, amount=amount, configuration=configuration, company_id=company_id, event=event
        )
        return await self._client.value(endpoints.update(update))

    async def create(
        self, *, company_id: str, event: str, amount: int, configuration: str | CustomConfiguration
    ) -> CoinEventConfig:
        """Make a new configuration. In doubt it is not sent again: a repeat could make a second one."""
        creation = CoinEventCreation(company_id=company_id, event=event, amount=amount, configuration=configuration)
        return await self._client.value(endpoints.create(creation))

    async def allocate(
        self, *, company_id: str, event: str, user_id: str, request_id: str | None = None, replay: bool = False
    ) -> AllocationReceipt:
        """Give a user the coins of an event.

        Args:
            request_id: the allocation's own id; derive it from your order, so that not even a crash doubles it.
                ``None``: one is made (UUID4), once, and shown on the receipt and on any error.
            replay: in doubt send it again under the same id. Whether EnKash refuses a repeated id is not documented.
        """
        allocation = CoinAllocation(company_id=company_id, event=event, user_id=user_id, request_id=request_id)
        return await self._client.value(endpoints.allocate(allocation, replay=replay))

    async def balance(self, user_id: str) -> int:
        """Read a user's coins."""
        return await self._client.value(endpoints.balance(user_id))

    def get_many(
        self, ids: Iterable[str] | AsyncIterable[str], *, concurrency: int | None = None
    ) -> OutcomeStream[str, CoinEventConfig]:
        """Read many configurations at once; one outcome per id, in completion order.

        Args:
            ids: any iterable, pulled lazily.
            concurrency: rows at once, if less than the service's.
        """
        return self._client.many(ids, endpoints.get, concurrency)

    def update_many(
        self, updates: Iterable[CoinEventUpdate] | AsyncIterable[CoinEventUpdate], *, concurrency: int | None = None
    ) -> OutcomeStream[CoinEventUpdate, CoinEventConfig]:
        """Update many configurations at once; rows of one id are sent one after another, in input order."""
        return self._client.many(updates, endpoints.update, concurrency, _id_of)

    def create_many(
        self,
        creations: Iterable[CoinEventCreation] | AsyncIterable[CoinEventCreation],
        *,
        concurrency: int | None = None,
    ) -> OutcomeStream[CoinEventCreation, CoinEventConfig]:
        """Make many configurations at once."""
        return self._client.many(creations, endpoints.create, concurrency)

    def allocate_many(
        self, allocations: Iterable[CoinAllocation] | AsyncIterable[CoinAllocation], *, concurrency: int | None = None
    ) -> OutcomeStream[CoinAllocation, AllocationReceipt]:
        """Allocate coins many times at once."""
        return self._client.many(allocations, partial(endpoints.allocate, replay=False), concurrency)

    def balance_many(
        self, user_ids: Iterable[str] | AsyncIterable[str], *, concurrency: int | None = None
    ) -> OutcomeStream[str, int]:
        """Read the coins of many users at once."""
        return self._client.many(user_ids, endpoints.balance, concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the streams and the transport; may be called twice.

        Calls under way end at once, with a ``ServiceClosed`` or ``Disconnected`` that says whether they may have been
        applied; later ones raise ``ServiceClosed``.
        """
        self._client.caller.close()
        try:
            await asyncio.gather(*(stream.service_closed() for stream in self._client.streams))
        finally:
            await self._client.caller.transport.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_client"):  # shown by a traceback while it is made
            return "<CoinEventService>"
        host = self._client.base_url or "a transport of your own"
        state = "closed" if self._client.caller.closed else f"open, {self._pacing.in_flight} in flight"
        return f"<CoinEventService of {host}: {state}>"


def client_of(coins: CoinEventService) -> Client:
    """What runs and telemetry work with: the seam between a service and the rest of the package."""
    return coins._client  # noqa: SLF001  # the one place


def _id_of(row: CoinEventUpdate) -> str | None:
    # Anything may come in a row; what is no id is refused by itself and keeps no order.
    id_ = getattr(row, "coin_config_id", None)
    return id_ if isinstance(id_, str) else None
