"""Cookies as the documents ask for them: what the server set is sent back, and the caller may set some by hand."""

from collections.abc import Mapping, Sequence
from http.cookies import BaseCookie, Morsel

import aiohttp
from aiohttp.abc import AbstractCookieJar
from aiohttp.typedefs import LooseCookies
from yarl import URL


class Jar(aiohttp.CookieJar):
    """Sends the server's cookies back as they came, also to IP addresses; the caller's own cookies win."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        super().__init__(unsafe=True, quote_cookie=False)
        self._own: dict[str, Morsel[str]] = {name: Morsel() for name in cookies}
        for name, morsel in self._own.items():
            morsel.set(name, cookies[name], cookies[name])

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take what ``Set-Cookie`` says."""
        AbstractCookieJar.update_cookies_from_headers(self, headers, response_url)  # by way of update_cookies

    def update_cookies(self, cookies: LooseCookies, response_url: URL = URL()) -> None:  # noqa: B008  # aiohttp's own signature
        """Keep what the server wrote, quotes and all."""
        pairs = cookies.items() if isinstance(cookies, Mapping) else cookies
        for _, cookie in pairs:
            if isinstance(cookie, Morsel):
                cookie.set(cookie.key, cookie.coded_value, cookie.coded_value)
        super().update_cookies(cookies, response_url)

    def filter_cookies(self, request_url: URL = URL()) -> BaseCookie[str]:  # noqa: B008  # as above
        """The cookies for a request; the caller's own over the server's."""
        found = super().filter_cookies(request_url)
        dict.update(found, self._own)
        return found
