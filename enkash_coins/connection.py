"""How a client is put together: auth and pacing on the aiohttp transport."""

import ssl
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypedDict, Unpack
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from enkash_coins.auth.tokens import StaticToken, Token, TokenSource
from enkash_coins.calls.retry import RetryPolicy, checked_retry
from enkash_coins.errors import InvalidRequest
from enkash_coins.layers.bearer import Auth
from enkash_coins.layers.pacing import Pacing
from enkash_coins.models import Attempt
from enkash_coins.secret import Secret
from enkash_coins.settings import (
    checked_base_url,
    checked_cookies,
    checked_proxy,
    checked_rate,
    checked_seconds,
    checked_width,
    default_headers,
)
from enkash_coins.transport import Transport
from enkash_coins.transports.aiohttp import AiohttpTransport, ClientSession

_OF_A_SESSION: Final = ("cookies", "ssl_context", "proxy", "trust_env")


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of ``CoinEventService.connect``, which explains them; those of one kind go together."""

    auth: str | TokenSource
    cookies: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    user_agent: str | None
    timeout: float
    deadline: float | None
    retry: RetryPolicy
    concurrency: int | Literal["auto"]
    rate: float | None
    ssl_context: ssl.SSLContext | None
    proxy: str | None
    trust_env: bool
    session: ClientSession | None
    on_attempt: Callable[[Attempt], None] | None


def connected(base_url: Secret[str], options: Secret[ConnectOptions]) -> Transport | Exception:
    """The transport for these options, or what is wrong with them.

    The error is returned: a traceback through the frames here would show the options' secrets.
    """
    try:
        return Auth(_paced(base_url, options.reveal()), _token_source(options.reveal()["auth"]))
    except Exception as error:  # noqa: BLE001  # raised again by the caller, whose frame holds no secret
        failure = error
    failure.__context__ = failure.__cause__ = None
    return failure.with_traceback(None)


async def log_in(base_url: Secret[str], source: TokenSource, **options: Unpack[ConnectOptions]) -> Token:
    """One login over the wire of ``connect``, to check credentials; nothing is sent again.

    Args:
        options: those of ``connect`` that hold no secret.

    Raises:
        InvalidRequest: a setting is not acceptable; the message names it.
        EnkashError: there is no token; nothing but the token request was sent.
    """
    wire = _paced(base_url, options)
    try:
        return await source.token(wire)
    finally:
        await wire.aclose()


def _paced(base_url: Secret[str], given: ConnectOptions) -> Transport:
    session = given.get("session")
    if session is not None:
        clashing = [name for name in _OF_A_SESSION if given.get(name)]
        if clashing:
            raise TypeError(f"{', '.join(clashing)} cannot be given with session=: they belong to the session")
    retry = checked_retry(given.get("retry", RetryPolicy()))
    wire = AiohttpTransport(
        checked_base_url(base_url.reveal()),
        timeout=checked_seconds("timeout", given.get("timeout", 30.0)),
        headers=default_headers(given.get("headers"), given.get("user_agent")),
        cookies=Secret(checked_cookies(given.get("cookies"))),
        ssl_context=given.get("ssl_context"),
        proxy=_proxy(base_url, given),
        session=session,
    )
    return Pacing(
        wire,
        slots=checked_width(given.get("concurrency", "auto")),
        rate=checked_rate(given.get("rate")),
        max_wait=retry.max_wait,
    )


def _proxy(base_url: Secret[str], given: ConnectOptions) -> Secret[str] | None:
    name, proxy = "proxy", Secret(given.get("proxy"))
    if proxy.reveal() is None and given.get("trust_env"):
        url = urlsplit(base_url.reveal())
        if not proxy_bypass(url.hostname or ""):
            name, proxy = f"{url.scheme.upper()}_PROXY", Secret(getproxies().get(url.scheme))
    return None if proxy.reveal() is None else Secret(checked_proxy(proxy.reveal(), name))


def _token_source(auth: str | TokenSource) -> TokenSource:
    if isinstance(auth, str):
        return StaticToken(Secret(auth))
    if not callable(getattr(auth, "token", None)) or not callable(getattr(auth, "refused", None)):
        raise InvalidRequest("auth is neither a token nor a TokenSource such as PasswordGrant(…)")
    return auth
