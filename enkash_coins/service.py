"""The service: thin verbs over one loop that sends, reads the answer and decides."""

import asyncio
import copy
import ssl
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Literal, Self, TypeVar, Unpack

import attrs

from enkash_coins.api import endpoints
from enkash_coins.api.endpoints import Endpoint
from enkash_coins.auth.tokens import TokenSource
from enkash_coins.calls.call import Caller, CallOptions
from enkash_coins.calls.client import Client
from enkash_coins.calls.retry import RetryPolicy, checked_retry
from enkash_coins.calls.stream import OutcomeStream
from enkash_coins.connection import ConnectOptions, connected
from enkash_coins.environment import auth_from_environment, base_url_from_environment
from enkash_coins.errors import EnkashError
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
from enkash_coins.secret import Secret
from enkash_coins.settings import checked_base_url, checked_deadline, checked_seconds, checked_width
from enkash_coins.transport import Transport
from enkash_coins.transports.aiohttp import ClientSession

T = TypeVar("T")


class CoinEventService:
    """Coin events over any ``Transport``; use it as an async context manager, or call ``aclose()``.

    A service belongs to the event loop of its first call.

    Args:
        transport: closed with the service.
        retry: when a request is sent again.
        concurrency: rows at once in ``update_many`` and ``allocate_many``; ``"auto"`` is 32.
    """

    def __init__(
        self, transport: Transport, *, retry: RetryPolicy = RetryPolicy(), concurrency: int | Literal["auto"] = "auto"
    ) -> None:
        self._transport = transport
        caller = Caller(transport, checked_retry(retry).budget)
        self._client = Client(caller, caller.call, CallOptions(retry), checked_width(concurrency))

    @classmethod
    def connect(
        cls,
        base_url: str,
        *,
        auth: str | TokenSource,
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        timeout: float = 30.0,
        deadline: float | None = None,
        retry: RetryPolicy = RetryPolicy(),
        concurrency: int | Literal["auto"] = "auto",
        rate: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        session: ClientSession | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> Self:
        """A service over HTTP. Opens nothing: connections are made in the running loop at the first call.

        Args:
            base_url: https (http for loopback only), without user, query or fragment; a path prefix is kept.
            auth: a token, or a ``TokenSource`` such as ``PasswordGrant``.
            cookies: sent with every request; they win over those that the server sets.
            headers: sent with every request.
            user_agent: what stands after ``enkash-coins/x.y.z``.
            timeout: seconds for one attempt, from the moment it may go out; waiting for a slot does not count.
            deadline: seconds for a whole call, waiting and retries included; ``None`` for no limit.
            retry: when a request is sent again.
            concurrency: requests in flight at most, for this client; ``"auto"`` is 32.
            rate: requests per second at most; ``None`` for no limit.
            ssl_context: ``None`` for the system's certificate authorities.
            proxy: URL of an HTTP proxy.
            trust_env: take the proxy from the environment; ``.netrc`` is never read.
            session: your own ``aiohttp.ClientSession``: used, never closed; its jar holds the cookies.
            on_attempt: called after every attempt, in the task of the call; what it raises is logged.

        Raises:
            InvalidRequest: a setting is not acceptable; the message names it.
            TypeError: ``session`` together with a setting that belongs to a session.
        """
        options = Secret(
            ConnectOptions(
                auth=auth,
                cookies=cookies,
                headers=headers,
                user_agent=user_agent,
                timeout=timeout,
                retry=retry,
                concurrency=concurrency,
                rate=rate,
                ssl_context=ssl_context,
                proxy=proxy,
                trust_env=trust_env,
                session=session,
            )
        )
        address = Secret(base_url)
        # From here on no local of this frame holds a secret, should a traceback pass through it.
        del base_url, auth, cookies, headers, proxy
        transport = connected(address, options)
        if isinstance(transport, Exception):
            raise transport
        service = cls(transport, retry=retry, concurrency=concurrency)
        call_options = CallOptions(retry, deadline=checked_deadline(deadline), on_attempt=on_attempt)
        # Without a secret: what has a user, or a query, was refused.
        url = checked_base_url(address.reveal())
        service._client = attrs.evolve(service._client, options=call_options, wire_timeout=timeout, base_url=url)
        return service

    @classmethod
    def from_env(cls, **overrides: Unpack[ConnectOptions]) -> Self:
        """A service from ``ENKASH_BASE_URL`` and ``ENKASH_TOKEN``, or ``ENKASH_CLIENT_ID``, ``ENKASH_CLIENT_SECRET``,
        ``ENKASH_USERNAME`` and ``ENKASH_PASSWORD``; ``ENKASH_LOGIN_GUARD`` may name a file for a ``FileGuard``.

        Args:
            overrides: arguments of ``connect`` that win over the environment.

        Raises:
            InvalidRequest: a variable is missing, or both kinds are set; the message names it.
        """  # noqa: D205  # four names do not fit on one line
        options = Secret(ConnectOptions(**overrides))
        del overrides  # from here on no local of this frame holds a secret
        if "auth" not in options.reveal():
            options.reveal()["auth"] = auth_from_environment()
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
            limits = attrs.evolve(options.limits, timeout=checked_seconds("timeout", timeout))
            options = attrs.evolve(options, limits=limits)
        if deadline is not UNSET:
            options = attrs.evolve(options, deadline=checked_deadline(deadline))
        if retry is not UNSET:
            limits = attrs.evolve(options.limits, max_wait=checked_retry(retry).max_wait)
            options = attrs.evolve(options, limits=limits, retry=retry)
        view = copy.copy(self)
        view._client = attrs.evolve(self._client, options=options)  # noqa: SLF001  # a view is one of us
        return view

    async def get(self, coin_config_id: str) -> CoinEventConfig:
        """Read one configuration."""
        return await self._value(endpoints.get(coin_config_id))

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
            configuration: ``Configuration.DEFAULT``, ``Configuration.CUSTOM`` or any other string, or a
                ``CustomConfiguration``.
        """
        change = CoinEventUpdate(
            coin_config_id, amount=amount, configuration=configuration, company_id=company_id, event=event
        )
        return await self._value(endpoints.update(change))

    async def create(
        self, *, company_id: str, event: str, amount: int, configuration: str | CustomConfiguration
    ) -> CoinEventConfig:
        """Make a new configuration. In doubt it is not sent again: a repeat could make a second one."""
        creation = CoinEventCreation(company_id=company_id, event=event, amount=amount, configuration=configuration)
        return await self._value(endpoints.create(creation))

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
        return await self._value(endpoints.allocate(allocation, replay=replay))

    async def balance(self, user_id: str) -> int:
        """Read a user's coins."""
        return await self._value(endpoints.balance(user_id))

    def update_many(
        self, updates: Iterable[CoinEventUpdate] | AsyncIterable[CoinEventUpdate], *, concurrency: int | None = None
    ) -> OutcomeStream[CoinEventUpdate, CoinEventConfig]:
        """Update many configurations at once; one outcome per row, in completion order.

        Args:
            updates: any iterable, pulled lazily. Rows of one id are sent one after another, in input order.
            concurrency: rows at once, if less than the service's.
        """
        return self._client.stream(updates, self._client.update, _id_of, concurrency)

    def allocate_many(
        self, allocations: Iterable[CoinAllocation] | AsyncIterable[CoinAllocation], *, concurrency: int | None = None
    ) -> OutcomeStream[CoinAllocation, AllocationReceipt]:
        """Allocate coins many times at once; one outcome per row, in completion order."""
        return self._client.stream(allocations, self._client.allocate, lambda _: None, concurrency)

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
            await self._transport.aclose()

    async def _value(self, endpoint: Endpoint[T]) -> T:
        called = await self._client.call(endpoint, self._client.options)
        if isinstance(called, EnkashError):
            raise called
        self._client.compare_ids(endpoint, called.value)
        return called.value


def client_of(coins: CoinEventService) -> Client:
    """What runs and telemetry work with: the seam between a service and the rest of the package."""
    return coins._client  # noqa: SLF001  # the one place


def _id_of(row: CoinEventUpdate) -> str | None:
    # Anything may come in a row; what is no id is refused by itself and keeps no order.
    id_ = getattr(row, "coin_config_id", None)
    return id_ if isinstance(id_, str) else None
