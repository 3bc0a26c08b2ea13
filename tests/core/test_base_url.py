import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from enkash_coins import InvalidRequest
from enkash_coins.transports.settings import checked_base_url


@pytest.mark.parametrize(
    ("given_url", "used"),
    [
        ("https://coins.example", "https://coins.example"),
        ("https://coins.example/", "https://coins.example"),
        ("https://coins.example:8443", "https://coins.example:8443"),
        ("https://coins.example/gateway/v2", "https://coins.example/gateway/v2"),
        ("https://coins.example/gateway/v2/", "https://coins.example/gateway/v2"),
        ("https://coins.example/a-b_c.d~e/1", "https://coins.example/a-b_c.d~e/1"),
        ("https://coins.example/..hidden", "https://coins.example/..hidden"),
        ("https://10.1.2.3", "https://10.1.2.3"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://a_b.example", "https://a_b.example"),
        ("http://localhost", "http://localhost"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://LocalHost:8080", "http://LocalHost:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_https_or_loopback_is_accepted(given_url: str, used: str) -> None:
    """Any host over https, loopback also over http; a path prefix is kept, a trailing slash is not."""
    assert checked_base_url(given_url) == used


@pytest.mark.parametrize("given_url", ["HTTPS://coins.example", "Https://coins.example/x"])
def test_the_scheme_may_be_in_any_case(given_url: str) -> None:
    """As in every URL."""
    assert checked_base_url(given_url).lower() == given_url.lower()


REFUSED = {
    "is empty": ("", " ", "\n", None, 5, b"https://coins.example"),
    "must be https": (
        *("http://coins.example", "HTTP://coins.example", "http://10.0.0.1", "http://0.0.0.0", "http://[::]"),
        *("http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://evil.example/127.0.0.1"),
        *("http://127.1", "http://2130706433", "http://0x7f.0.0.1", "http://localhost.", "http://[2001:db8::1]"),
    ),
    "user or password": (
        *("https://user:sesame@coins.example", "https://sesame@coins.example", "https://@coins.example"),
        *("https://user:sesame@", "http://127.0.0.1:sesame@evil.example", "http://localhost@evil.example"),
    ),
    "query or fragment": (
        *("https://coins.example?token=sesame", "https://coins.example/?", "https://coins.example/x?y"),
        *("https://coins.example#sesame", "https://coins.example/#", "https://coins.example?#"),
    ),
    "begin with https:// and name a host": (
        *("coins.example", "//coins.example", "coins.example:443", "ftp://coins.example", "file:///etc/hosts"),
        *("https:coins.example", "https:/coins.example", "https://", "https:///x", "https://:443", "javascript:x"),
    ),
    "not a plain prefix": (
        *(
            "https://coins.example/..",
            "https://coins.example/a/../b",
            "https://coins.example/./a",
            "https://h.example//",
        ),
        *("https://coins.example//evil.example", "https://coins.example/a//b", "https://coins.example/%2e%2e"),
        *("https://coins.example/a%2fb", "https://coins.example/a\\b", "https://coins.example/<a>"),
    ),
    "spaces or non-ASCII": (
        *(" https://coins.example", "https://coins.example ", "https://coins.example/a b", "https://coins.example\n"),
        *("https://co\tins.example", "https://münzen.example", "https://coins.example/ü", "https://coins.exampl\u0435"),
    ),
    "is not a URL": ("https://[::1", "https://coins.example:port", "https://coins.example:99999", "https://[x]"),
}


@pytest.mark.parametrize(
    ("problem", "bad"), [(problem, bad) for problem, every in REFUSED.items() for bad in every], ids=ascii
)
def test_anything_else_is_refused_unseen(problem: str, bad: str) -> None:
    """The message says what is wrong and names the setting, but never repeats the URL: it may hold a password."""
    with pytest.raises(InvalidRequest, match=rf"^base_url.*{problem}") as caught:
        checked_base_url(bad)
    assert "sesame" not in str(caught.value)
    assert "example" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "[::1]x",
        "[::1]\\x",
        "x[::1]",
        r"good.example\.evil.example",
        "<x>",
        "a|b",
        'a"b',
        "a%00",
        "*",
        "a..b",
        ".",
        "coins.example\x7f",
    ],
    ids=ascii,
)
def test_a_host_that_no_name_service_knows_is_refused(host: str) -> None:
    """Parsers disagree about such hosts, and a bad setting is to be found at ``connect``, not at the first call."""
    with pytest.raises(InvalidRequest, match=r"^base_url"):
        checked_base_url(f"https://{host}")


@given(st.text() | st.text(":/@?#[]\\.%a1- \t\n", max_size=12).map("https://".__add__))
def test_any_text_is_a_plain_url_or_refused(text: str) -> None:
    """What is accepted has a scheme and a host, and nothing that could lead elsewhere."""
    try:
        url = checked_base_url(text)
    except InvalidRequest as error:
        assert str(error).startswith("base_url")  # noqa: PT017  # most texts raise, some don't
        return
    assert URL(url).host, "the transport's parser reads it as well"
    assert url.isascii()
    assert url.lower().startswith(("https://", "http://"))
    assert not set("@?#%\\ \t\r\n") & set(url)
    assert not url.endswith("/")
