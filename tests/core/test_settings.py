"""What a caller sets on a client; no message shows a value that may be secret."""

from collections.abc import Mapping

import pytest

from enkash_coins import InvalidRequest, __version__
from enkash_coins.calls.settings import checked_concurrency, checked_deadline, checked_rate, checked_timeout
from enkash_coins.transports.settings import checked_cookies, checked_proxy, default_headers, host_and_port

OURS = {"User-Agent": f"enkash-coins/{__version__}", "Accept": "application/json"}


@pytest.mark.parametrize(
    ("extra", "user_agent", "headers"),
    [
        (None, None, OURS),
        ({}, None, OURS),
        (None, "acme-backend/2.1", OURS | {"User-Agent": f"enkash-coins/{__version__} acme-backend/2.1"}),
        ({"X-Tenant": "a b\tc"}, None, OURS | {"X-Tenant": "a b\tc"}),
        ({"X-Empty": ""}, None, OURS | {"X-Empty": ""}),
        ({"User-Agent": "mine"}, None, OURS | {"User-Agent": "mine"}),
        ({"user-agent": "mine"}, "ignored", OURS | {"User-Agent": "mine"}),
        ({"Accept": "text/plain"}, None, OURS | {"Accept": "text/plain"}),
        ({"accept": "text/plain"}, None, OURS | {"Accept": "text/plain"}),
        ({"X-A": "1", "x-a": "2"}, None, OURS | {"X-A": "2"}),
    ],
    ids=str,
)
def test_headers_are_ours_and_the_callers(
    extra: Mapping[str, str] | None, user_agent: str | None, headers: dict[str, str]
) -> None:
    """The caller's own come on top of ours and may replace them."""
    assert default_headers(extra, user_agent) == headers


@pytest.mark.parametrize("extra", [{"accept": "text/plain"}, {"X-A": "1", "x-a": "2"}, {"USER-AGENT": "x"}], ids=str)
def test_no_header_stands_twice(extra: dict[str, str]) -> None:
    """A name in another case is the same header: it replaces, and is not sent as a second one."""
    names = [name.lower() for name in default_headers(extra, None)]
    assert len(set(names)) == len(names)


def test_the_callers_headers_are_copied() -> None:
    """A later change of the caller's dictionary changes no request."""
    mine = {"X-A": "1"}
    headers = default_headers(mine, None)
    mine["X-A"] = "2"
    assert headers["X-A"] == "1"


@pytest.mark.parametrize(
    "name", ["", " ", "X A", "X:A", "X-A\r\n", "é", "X\0", None, 5, b"X-A", "(", "x" * 63 + " "], ids=repr
)
def test_a_header_needs_a_name(name: str) -> None:
    """A name is a token as HTTP knows it."""
    with pytest.raises(InvalidRequest, match=r"^headers: .* is not a header name$"):
        default_headers({name: "sesame"}, None)


RESERVED = ["Authorization", "Cookie", "Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection"]


@pytest.mark.parametrize("name", [*RESERVED, "Accept-Encoding", "Expect", "Upgrade", "authorization", "COOKIE", "hOst"])
def test_headers_that_the_package_sets_are_not_the_callers(name: str) -> None:
    """A token, a cookie or a length set by hand would leak or break something."""
    with pytest.raises(InvalidRequest, match=rf"^headers: {name} is set by the package itself$"):
        default_headers({name: "sesame"}, None)


@pytest.mark.parametrize(
    "value", ["sesame\r\nX: y", "sesame\n", "sesame\0", "sésame", "sesame\x7f", "\udcff", None, 5, b"sesame"], ids=ascii
)
def test_a_header_value_that_cannot_be_sent_is_refused_unseen(value: str) -> None:
    """The message names the header, and never shows the value."""
    with pytest.raises(InvalidRequest, match=r"^headers: the value of X-Key has characters") as caught:
        default_headers({"X-Key": value}, None)
    assert "same" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\nb", "é", "a\0"], ids=ascii)
def test_a_user_agent_is_a_header_value(value: str) -> None:
    """It is checked like any other."""
    with pytest.raises(InvalidRequest, match="User-Agent"):
        default_headers(None, value)


def test_cookies_are_sent_back_as_they_are() -> None:
    """Byte for byte, also with characters that some would quote."""
    cookies = {"_cfuvid": "a.b-1/2=3,4(5)\\~", "JSESSIONID": ""}
    assert checked_cookies(cookies) == cookies
    assert checked_cookies(None) == {}
    assert checked_cookies(cookies) is not cookies


@pytest.mark.parametrize("name", ["", " ", "a b", "a=b", "a;b", "é", None, 5], ids=repr)
def test_a_cookie_needs_a_name(name: str) -> None:
    """A name that would break the header is refused."""
    with pytest.raises(InvalidRequest, match=r"^cookies: .* is not a cookie name$") as caught:
        checked_cookies({name: "sesame"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["sesame;x", "sesame\r\n", "se same", "sésame", "sesame\0", '"sesame"', None, 5, b"sesame"], ids=ascii
)
def test_a_cookie_value_that_cannot_be_sent_is_refused_unseen(value: str) -> None:
    """The message names the cookie, and never shows the value: a session cookie is as good as a password."""
    with pytest.raises(InvalidRequest, match=r"^cookies: the value of JSESSIONID has characters") as caught:
        checked_cookies({"JSESSIONID": value})
    assert "same" not in str(caught.value)


NO_POSITIVE_NUMBERS = [0, 0.0, -1, -0.5, float("nan"), float("inf"), 1e9, True, False, "5", "", [5], b"5"]


@pytest.mark.parametrize("bad", [*NO_POSITIVE_NUMBERS, None], ids=repr)
def test_seconds_are_positive_and_finite(bad: object) -> None:
    """There is no "no time limit": a call that never ends is never wanted."""
    with pytest.raises(InvalidRequest, match=r"^timeout: .* is not a positive number of seconds$"):
        checked_timeout(bad)


@pytest.mark.parametrize("bad", NO_POSITIVE_NUMBERS, ids=repr)
def test_a_deadline_is_positive_and_finite_or_absent(bad: object) -> None:
    """``None`` is no limit; zero would be no call."""
    assert checked_deadline(None) is None
    with pytest.raises(InvalidRequest, match=r"^deadline: .* is not a positive number of seconds$"):
        checked_deadline(bad)


@pytest.mark.parametrize("bad", NO_POSITIVE_NUMBERS, ids=repr)
def test_a_rate_is_positive_and_finite_or_absent(bad: object) -> None:
    """``None`` is no limit; zero would be no request."""
    with pytest.raises(InvalidRequest, match=r"^rate: .* is not a positive number of requests per second$"):
        checked_rate(bad)


@pytest.mark.parametrize(("number", "used"), [(1, 1.0), (0.001, 0.001), (86_400, 86_400.0), (2.5, 2.5)])
def test_positive_numbers_are_taken_as_they_are(number: float, used: float) -> None:
    """Integers, too."""
    assert checked_timeout(number) == checked_rate(number) == used
    assert type(checked_timeout(number)) is float
    assert checked_rate(None) is None


@pytest.mark.parametrize(
    ("base_url", "found"),
    [
        ("https://coins.example", ("coins.example", 443)),
        ("http://localhost/prefix", ("localhost", 80)),
        ("https://coins.example:8443/prefix", ("coins.example", 8443)),
    ],
)
def test_telemetry_is_told_host_and_port(base_url: str, found: tuple[str, int]) -> None:
    """The scheme's own port where none is given."""
    assert host_and_port(base_url) == found


def test_concurrency_is_a_count_or_auto() -> None:
    """``"auto"`` is 32 for now."""
    assert checked_concurrency("auto") == 32
    assert checked_concurrency(1) == 1
    assert checked_concurrency(10_000) == 10_000


@pytest.mark.parametrize("bad", [0, -1, 1.0, 2.5, True, False, None, "", "32", "AUTO", b"auto", [1]], ids=repr)
def test_a_concurrency_without_sense_is_refused(bad: object) -> None:
    """Nothing is rounded, and no row would ever be done with none at once."""
    with pytest.raises(InvalidRequest, match=r"^concurrency: .* is neither a positive integer nor"):
        checked_concurrency(bad)


@pytest.mark.parametrize("good", ["http://proxy.example:3128", "https://proxy.example", "http://user:pw@10.0.0.1:3128"])
def test_a_proxy_is_a_url(good: str) -> None:
    """With a password, if need be."""
    assert checked_proxy(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "",
            "proxy.example:3128",
            "proxy.example",
            "socks5://user:sesame@proxy.example",
            "http://",
            "http:///x",
            None,
            5,
        ),
        *(
            b"http://proxy.example",
            "http://[::1",
            "http://[::1]\\x",
            "http://[::1]x",
            "//user:sesame@proxy.example",
            "http://user:sesame@",
        ),
    ],
    ids=repr,
)
def test_a_bad_proxy_is_refused_unseen(bad: object) -> None:
    """Its URL may hold a password, so the message only says how one looks."""
    with pytest.raises(InvalidRequest, match=r"^proxy is not a URL such as http://proxy.example:3128$"):
        checked_proxy(bad)


class Sly(str):
    """A text that formats itself as something else than its characters."""

    __slots__ = ()

    def __str__(self) -> str:
        return "x\r\nInjected: 1"

    def __format__(self, _: str) -> str:
        return str(self)


def test_what_is_sent_is_what_was_checked() -> None:
    """Header values, cookies and a proxy are the characters that passed, whatever a subclass makes of them later."""
    headers = default_headers({Sly("X-A"): Sly("plain")}, None)
    cookies = checked_cookies({Sly("a"): Sly("b")})
    assert [f"{name}{value}" for name, value in (*headers.items(), *cookies.items())][-2:] == ["X-Aplain", "ab"]
    assert f"{checked_proxy(Sly('http://proxy.example'))}" == "http://proxy.example"
