"""Cookies as the documents ask for them: what the server set is sent back, and the caller may set some by hand."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from http.cookies import BaseCookie, Morsel, SimpleCookie
from typing import Final

import aiohttp
from aiohttp.abc import AbstractCookieJar
from aiohttp.typedefs import LooseCookies
from yarl import URL

# Servers refuse headers of more than about 8 KiB; a load balancer may set another cookie with every answer.
_MOST = 50
_LONGEST = 8 * 2**10
_NONE: Final[SimpleCookie] = SimpleCookie()


class Jar(aiohttp.CookieJar):
    """Keeps the server's cookies as they came, also from IP addresses, and the caller's own, which win.

    aiohttp is told of none of them: it would filter and format them anew for every request, which costs a fifth of it.
    """

    def __init__(self, own: Mapping[str, str]) -> None:
        super().__init__(unsafe=True, quote_cookie=False)
        self._own = dict(own)
        self._ages: dict[tuple[str, str, str], int] = {}  # the oldest first; how long each is
        self._headers: dict[str, str] = {}  # by folder
        self._outdated = 0.0

    def header(self, url: URL) -> str:
        """The ``Cookie`` header of a request; formatted when cookies change, and once a second, because they expire."""
        now = time.monotonic()
        if now >= self._outdated:
            self._headers.clear()
            self._outdated = now + 1.0
        folder = url.raw_path.rpartition("/")[0]
        header = self._headers.get(folder)
        if header is None:
            found = {name: morsel.coded_value for name, morsel in super().filter_cookies(url).items()} | self._own
            header = self._headers[folder] = "; ".join(f"{name}={value}" for name, value in found.items())
        return header

    def values(self) -> list[str]:
        """What the cookies hold."""
        return [*self._own.values(), *(morsel.value for morsel in self)]

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take what ``Set-Cookie`` says."""
        AbstractCookieJar.update_cookies_from_headers(self, headers, response_url)  # by way of update_cookies

    def update_cookies(self, cookies: LooseCookies, response_url: URL = URL()) -> None:  # noqa: B008  # aiohttp's own signature
        """Keep what the server wrote, quotes and all; the oldest go."""
        pairs = cookies.items() if isinstance(cookies, Mapping) else cookies
        for _, cookie in pairs:
            if isinstance(cookie, Morsel):
                cookie.set(cookie.key, cookie.coded_value, cookie.coded_value)
        super().update_cookies(cookies, response_url)
        self._outdated = 0.0
        known = {_key(cookie): len(cookie.key) + len(cookie.value) for cookie in self}
        named = {name for name, _ in pairs}
        for key in [key for key in self._ages if key not in known or key[2] in named]:
            del self._ages[key]
        self._ages |= {key: length for key, length in known.items() if key not in self._ages}
        while len(self._ages) > _MOST or sum(self._ages.values()) > _LONGEST:
            oldest = next(iter(self._ages))
            del self._ages[oldest]
            self.clear(partial(_is, oldest))

    def filter_cookies(self, request_url: URL = URL()) -> BaseCookie[str]:  # noqa: B008, ARG002  # as above
        """None: the header is complete already."""
        return _NONE


def _key(cookie: Morsel[str]) -> tuple[str, str, str]:
    return cookie["domain"], cookie["path"], cookie.key


def _is(key: tuple[str, str, str], cookie: Morsel[str]) -> bool:
    return _key(cookie) == key
