"""The settings of HTTP, checked: each problem is one sentence that names the setting, and never shows a secret."""

import re
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
from aiohttp import ClientSession

from enkash_coins._version import __version__
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.secret import Secret

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")  # names are shown in messages
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x3a\x3c-\x7e]*")
# All of it, and not what a parser finds in it: to urlsplit the host of "https://[::1]x" is "::1".
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?)(:[0-9]*)?")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?")
# Set by the package, per request or by the connection: a caller's would break or leak something.
_RESERVED = frozenset(
    {"authorization", "accept-encoding", "connection", "content-length", "content-type", "cookie", "host"}
    | {"transfer-encoding", "expect", "upgrade"}
)


@attrs.frozen
class HttpSettings:
    """What an ``AiohttpTransport`` was given, checked."""

    base_url: str
    headers: Secret[dict[str, str]]
    cookies: Secret[dict[str, str]]
    ssl_context: ssl.SSLContext | None
    proxy: Secret[str] | None

    @classmethod
    def checked(
        cls,
        base_url: object,
        *,
        cookies: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        user_agent: str | None,
        ssl_context: object,
        proxy: str | None,
        trust_env: object,
        session: object,
    ) -> Self:
        """Raises ``InvalidRequest`` or ``TypeError`` naming what cannot be used."""
        of_a_session = {"cookies": cookies, "ssl_context": ssl_context, "proxy": proxy, "trust_env": trust_env}
        clashing = [name for name, value in of_a_session.items() if value]
        if session is not None and clashing:
            raise TypeError(f"{', '.join(clashing)} cannot be given with session=: they belong to the session")
        if session is not None and not isinstance(session, ClientSession):
            raise InvalidRequest(f"session: a {type(session).__name__} is not an aiohttp.ClientSession")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise InvalidRequest(f"ssl_context: {shown(ssl_context)} is neither an ssl.SSLContext nor None")
        if not isinstance(trust_env, bool):
            raise InvalidRequest(f"trust_env: {shown(trust_env)} is neither True nor False")
        url = checked_base_url(base_url)
        return cls(
            url,
            Secret(default_headers(headers, user_agent)),
            Secret(checked_cookies(cookies)),
            ssl_context,
            _proxy(url, proxy, trust_env=trust_env),
        )


def _proxy(base_url: str, proxy: str | None, *, trust_env: bool) -> Secret[str] | None:
    if proxy is not None:
        return Secret(checked_proxy(proxy))
    url = urlsplit(base_url)
    if not trust_env or proxy_bypass(url.hostname or "") or url.scheme not in getproxies():
        return None
    return Secret(checked_proxy(getproxies()[url.scheme], f"{url.scheme.upper()}_PROXY"))


def checked_base_url(base_url: object) -> str:
    """The base URL without a trailing slash: https, or http for loopback; no user, query or fragment."""
    if not isinstance(base_url, str) or not base_url.strip():
        raise InvalidRequest("base_url is empty: it is a required setting, never a guess")
    problem = _url_problem(base_url)
    if problem:
        raise InvalidRequest(f"base_url: {problem}")
    return base_url.rstrip("/")


def _url_problem(base_url: str) -> str:
    # The URL itself is not shown: it may hold a password.
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if not base_url.isascii() or any(character <= " " for character in base_url):
        return "has spaces or non-ASCII characters"
    if "@" in parts.netloc:
        return "must not hold a user or password"
    if "?" in base_url or "#" in base_url:
        return "must not have a query or fragment"
    if not _HOST_AND_PORT.fullmatch(parts.netloc) or parts.scheme not in ("https", "http"):
        return "must begin with https:// and name a host"
    if parts.scheme == "http" and not _is_loopback(host):
        return "must be https (http is for loopback only)"
    if not _PATH.fullmatch(parts.path) or any(segment in (".", "..") for segment in parts.path.split("/")):
        return "has a path that is not a plain prefix"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_and_port(base_url: str) -> tuple[str, int]:
    """The host and the port of a base URL that was checked."""
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def default_headers(extra: Mapping[str, str] | None, user_agent: str | None) -> dict[str, str]:
    """The headers of every request: ours, and the caller's own.

    Args:
        user_agent: what stands after ``enkash-coins/x.y.z``, e.g. ``acme-backend/2.1``.
    """
    if extra is not None and not isinstance(extra, Mapping):
        raise InvalidRequest("headers is not a mapping of names to values")
    headers = {"User-Agent": f"enkash-coins/{__version__}", "Accept": "application/json"}
    if user_agent is not None:
        headers["User-Agent"] += f" {user_agent}"
    headers.update(extra or {})
    sent: dict[str, tuple[str, str]] = {}  # by name in lower case: one header does not stand twice
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidRequest(f"headers: {shown(name)} is not a header name")
        if name.lower() in _RESERVED:
            raise InvalidRequest(f"headers: {name} is set by the package itself")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise InvalidRequest(f"headers: the value of {name} has characters that cannot stand in a header")
        known_as, _ = sent.get(name.lower(), (name, ""))
        sent[name.lower()] = _as_checked(known_as), _as_checked(value)
    return dict(sent.values())


def checked_cookies(cookies: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's cookies, sent back byte for byte."""
    if cookies is not None and not isinstance(cookies, Mapping):
        raise InvalidRequest("cookies is not a mapping of names to values")
    for name, value in (cookies or {}).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidRequest("cookies: a name that was given is not a cookie name")
        if not isinstance(value, str) or not _COOKIE_VALUE.fullmatch(value):
            raise InvalidRequest(f"cookies: the value of {name} has characters that cannot stand in a cookie")
    return {_as_checked(name): _as_checked(value) for name, value in (cookies or {}).items()}


def _as_checked(text: str) -> str:
    """The characters that were checked, whatever a subclass would format itself as."""
    return str.__str__(text)


def checked_proxy(proxy: object, name: str = "proxy") -> str:
    """The URL of an HTTP proxy; it may hold a password, so it is never shown."""
    if not isinstance(proxy, str) or not _leads_to_a_proxy(proxy):
        raise InvalidRequest(f"{name} is not a URL such as http://proxy.example:3128")
    return _as_checked(proxy)


def _leads_to_a_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # the port is no number, say
        return False
    user, _, host_and_port = parts.netloc.rpartition("@")
    return usable and not set(user) & set("[]\\") and _HOST_AND_PORT.fullmatch(host_and_port) is not None
