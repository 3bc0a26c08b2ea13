import math
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins.api.retry_after import retry_after
from enkash_coins.transport import Headers

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("007", 7.0),
        (" 120 ", 120.0),
        ("999999999999999999", 999_999_999_999_999_999.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 14:20:37 +0530", 60.0),
        ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", 86_400.0),
        (DATE, 0.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 0.0),  # past
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799 - NOW),
    ],
)
def test_digits_and_dates_are_understood(text: str, seconds: float) -> None:
    """Seconds, or an HTTP date in any of its three forms; one that is past means now."""
    assert retry_after(Headers({"Retry-After": text}), now=NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "soon",
            "-5",
            "+5",
            "1.5",
            "1e9",
            "0x10",
            "nan",
            "inf",
            "Infinity",
            "1_000",
            "5s",
            "5, 10",
            "5;5",
            "\0",
        ),
        *("9" * 19, "9" * 5000, "\N{ARABIC-INDIC DIGIT FIVE}", "\N{FULLWIDTH DIGIT FIVE}", "\N{SUPERSCRIPT TWO}"),
        *(
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 99:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun,",
            ",",
        ),
        *("Sun, 06 Nov 99999 08:49:37 GMT", "Mon", "GMT", "1994-11-06T08:49:37Z"),
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_nonsense_is_ignored(text: str) -> None:
    """What is neither digits nor a date says nothing."""
    assert retry_after(Headers({"Retry-After": text}), now=NOW) is None


def test_without_the_header_nothing_is_asked() -> None:
    """A ``Date`` alone is no reason to wait."""
    assert retry_after(Headers(), now=NOW) is None
    assert retry_after(Headers({"Date": DATE}), now=NOW) is None


@pytest.mark.parametrize("skew", [-1e6, 0.0, 1e6])
def test_a_date_is_read_against_the_servers_own_clock(skew: float) -> None:
    """With a ``Date`` in the answer our own clock does not matter, however wrong."""
    headers = Headers({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": DATE})
    assert retry_after(headers, now=NOW + skew) == 30.0


@pytest.mark.parametrize("date", ["", "nonsense", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_a_date_header_that_is_no_date_is_ignored(date: str) -> None:
    """Then our own clock has to do."""
    headers = Headers({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": date})
    assert retry_after(headers, now=NOW + 10) == 20.0


def test_a_date_header_does_not_touch_seconds() -> None:
    """Digits are a span, not a moment."""
    assert retry_after(Headers({"Retry-After": "5", "Date": DATE}), now=0.0) == 5.0


@pytest.fixture(params=["UTC0", "IST-5:30", "EST5"])
def _timezone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine stands in some time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_timezone")
@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:50:37 GMT", "Sun Nov  6 08:50:37 1994", "Sun, 06 Nov 1994 08:50:37 -0000"]
)
def test_an_http_date_is_in_gmt_wherever_this_machine_stands(text: str) -> None:
    """RFC 9110, section 5.6.7: also the old form that names no zone is to be read as UTC."""
    assert retry_after(Headers({"Retry-After": text}), now=NOW) == 60.0


PIECES = st.sampled_from(
    [
        *(
            "Sun",
            "Sunday",
            "Nov",
            "06",
            "6-Nov-94",
            "1994",
            "99999",
            "0",
            "-1",
            "08:49:37",
            "8:49",
            "99:99:99",
            "24:00:60",
        ),
        *(":", "::", ",", "-", ".", "(", ")", "\0", "AM", "GMT", "EST", "+0530", "-0000", "+9999", "+" + "9" * 20),
    ]
)


@given(
    text=st.text() | st.text("0123456789+-.e: ,GMT") | st.lists(PIECES, max_size=9).map(" ".join),
    date=st.none() | st.lists(PIECES, max_size=9).map(" ".join),
)
def test_any_text_is_seconds_or_nothing(text: str, date: str | None) -> None:
    """No header, whatever it holds, raises or gives anything but a finite number of seconds, 0 or more."""
    headers = Headers({"Retry-After": text} if date is None else {"Retry-After": text, "Date": date})
    seconds = retry_after(headers, now=NOW)
    assert seconds is None or (type(seconds) is float and math.isfinite(seconds) and seconds >= 0)
