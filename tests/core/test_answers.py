"""Status and envelope become a typed error, or a payload."""

import time
from email.utils import formatdate

import pytest

from enkash_coins import ApiError, MalformedResponse, OperationFailed, Response, errors
from enkash_coins.api.answers import read_payload
from enkash_coins.testing import answer

# Every documented status and its neighbours: the class of its error, and whether a write may have been applied.
STATUSES = {
    100: ("ApiError", True),
    101: ("ApiError", True),
    199: ("ApiError", True),
    300: ("UnexpectedRedirect", False),
    301: ("UnexpectedRedirect", False),
    302: ("UnexpectedRedirect", False),
    304: ("UnexpectedRedirect", False),
    307: ("UnexpectedRedirect", False),
    308: ("UnexpectedRedirect", False),
    399: ("UnexpectedRedirect", False),
    400: ("BadRequest", False),
    401: ("Unauthorized", False),
    402: ("ApiError", False),
    403: ("Forbidden", False),
    404: ("NotFound", False),
    405: ("ApiError", False),
    407: ("ApiError", False),
    408: ("ApiError", True),
    409: ("Conflict", False),
    410: ("ApiError", False),
    411: ("ApiError", False),
    412: ("PreconditionFailed", False),
    413: ("ApiError", False),
    418: ("ApiError", False),
    421: ("ApiError", False),
    422: ("UnprocessableEntity", False),
    423: ("ApiError", False),
    424: ("ApiError", False),
    425: ("RateLimited", False),
    426: ("ApiError", False),
    428: ("ApiError", False),
    429: ("RateLimited", False),
    431: ("ApiError", False),
    451: ("ApiError", False),
    499: ("ApiError", False),
    500: ("ServerError", True),
    501: ("ServerError", True),
    502: ("ServerError", True),
    503: ("ServerError", True),
    504: ("ServerError", True),
    520: ("ServerError", True),
    530: ("ServerError", True),
    599: ("ServerError", True),
    600: ("ApiError", True),
    999: ("ApiError", True),
}
FAILURE = b'{"response_code":1,"response_message":"Insufficient balance","payload":"Insufficient balance"}'
HTML = b"<html><h1>Sorry, you have been blocked</h1></html>"


def raised(response: Response) -> ApiError:
    """The error of an answer that is not a success."""
    with pytest.raises(ApiError) as caught:
        read_payload(response)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("body", [FAILURE, HTML, b"", answer("all well").body], ids=["no", "page", "empty", "yes"])
@pytest.mark.parametrize("status", STATUSES)
def test_the_status_decides_the_class_whatever_the_body_says(status: int, body: bytes) -> None:
    """An error page of the CDN, or a body that claims success, changes nothing about a status that says no."""
    error = raised(Response(status, {}, body))
    assert (type(error).__name__, error.maybe_applied) == STATUSES[status]
    assert error.status == status
    assert str(error).startswith(f"HTTP {status}")


@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_every_2xx_is_a_success_if_the_envelope_says_so(status: int) -> None:
    """A success is read, and a failure in the envelope is ``OperationFailed``, for each 2xx."""
    assert read_payload(answer([1], status=status)) == [1]
    error = raised(answer(None, status=status, code=36, message="velocity limit breached"))
    assert type(error) is OperationFailed
    assert error.maybe_applied is False
    assert (error.status, error.response_code, error.response_message) == (status, 36, "velocity limit breached")
    assert str(error) == "response_code 36: velocity limit breached"


@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize(
    "body",
    [
        b'{"response_code":38,"response_message":"duplicate","payload":null}',
        b'{"code":38,"message":"duplicate"}',
        b'{"response_code":38,"message":"duplicate"}',
        b'{"code":38,"response_message":"duplicate","payload":{}}',
        b'{"code":0,"response_code":38,"message":"Success","response_message":"duplicate"}',
    ],
)
def test_both_spellings_of_the_envelope_are_read(status: int, body: bytes) -> None:
    """``code`` and ``message`` of sister products count where the documented names are missing."""
    error = raised(Response(status, {}, body))
    assert (error.response_code, error.response_message) == (38, "duplicate")


def test_success_in_the_other_spelling_is_a_success() -> None:
    """``{"code": 0, "message": …}`` is the same yes."""
    assert read_payload(Response(200, {}, b'{"payload":7,"code":0,"message":"Success"}')) == 7


NOT_AN_ENVELOPE = {
    "False": b'{"response_code":false,"response_message":"","payload":1}',
    "True": b'{"response_code":true,"response_message":"","payload":1}',
    "string": b'{"response_code":"0","response_message":"","payload":1}',
    "float": b'{"response_code":0.0,"response_message":"","payload":1}',
    "minus zero": b'{"response_code":-0.0,"response_message":"","payload":1}',
    "null": b'{"response_code":null,"response_message":"","payload":1}',
    "list": b'{"response_code":[],"response_message":"","payload":1}',
    "missing": b'{"response_message":"","payload":1}',
    "null before a code": b'{"response_code":null,"code":0,"message":"","payload":1}',
    "beyond 64 bits": b'{"response_code":100000000000000000000,"response_message":"","payload":1}',
    "NaN": b'{"response_code":0,"response_message":"","payload":NaN}',
    "infinite": b'{"response_code":0,"response_message":"","payload":Infinity}',
    "100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "deep within": b'{"response_code":0,"response_message":"","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "5,000 digits": b'{"response_code":0,"response_message":"","payload":' + b"9" * 5000 + b"}",
    "two byte order marks": b"\xef\xbb\xbf" * 2 + answer(1).body,
    "UTF-16": answer(1).body.decode().encode("utf-16"),
    "latin-1": b'{"response_code":0,"response_message":"\xe9","payload":1}',
    "lone surrogate": b'{"response_code":0,"response_message":"\\ud800","payload":1}',
    "cut short": answer("long enough").body[:-1],
    "two documents": answer(1).body * 2,
    "top-level list": b'[{"response_code":0,"response_message":"","payload":1}]',
    "top-level string": b'"Success"',
    "top-level number": b"0",
    "top-level null": b"null",
    "empty object": b"{}",
    "empty": b"",
    "page": HTML,
}


@pytest.mark.parametrize("case", NOT_AN_ENVELOPE)
def test_a_success_that_cannot_be_read_is_malformed(case: str) -> None:
    """HTTP 200 without a readable envelope is no success: in doubt, ``MalformedResponse`` with its form, not text."""
    body = NOT_AN_ENVELOPE[case]
    with pytest.raises(MalformedResponse) as caught:
        read_payload(Response(200, {"Content-Type": "text/html"}, body))
    error = caught.value
    assert (error.status, error.maybe_applied) == (200, True)
    assert str(error).startswith(("the answer is not ", "the answer has "))
    assert str(error).endswith(f"(HTTP 200, text/html, {len(body)} bytes)")
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("case", NOT_AN_ENVELOPE)
def test_a_failure_that_cannot_be_read_is_still_the_failure(case: str) -> None:
    """Without an envelope the status decides, and there is no code."""
    error = raised(Response(404, {}, NOT_AN_ENVELOPE[case]))
    assert (type(error), error.response_code, error.maybe_applied) == (errors.NotFound, None, False)
    assert str(error).startswith("HTTP 404")


def test_a_byte_order_mark_is_skipped() -> None:
    """Some servers on Windows put one before their JSON."""
    assert read_payload(Response(200, {}, b"\xef\xbb\xbf" + answer(7).body)) == 7
    error = raised(Response(400, {}, b"\xef\xbb\xbf" + FAILURE))
    assert (error.response_code, error.response_message) == (1, "Insufficient balance")


@pytest.mark.parametrize("message", ["", ',"response_message":null'], ids=["missing", "null"])
def test_an_answer_without_a_message_is_still_an_answer(message: str) -> None:
    """Only the code decides: a silent yes is not in doubt, and a silent no keeps its code."""
    yes = Response(200, {}, f'{{"response_code":0,"payload":7{message}}}'.encode())
    assert read_payload(yes) == 7
    error = raised(Response(400, {}, f'{{"response_code":36{message}}}'.encode()))
    assert error.response_code == 36
    assert not error.response_message


@pytest.mark.parametrize(
    "body",
    [
        b'{"response_code":1,"response_code":0,"payload":3}',
        b'{"response_code" : 0, "response_code" : 1, "payload" : 3}',
        b'{"response_code":0,"response_c\\u006fde":false,"payload":3}',
        b'{"response_code":0,"payload" :2,"payload":3}',
        b'{"response_code":0,"payload":{"amount":10,"amount":11}}',
        b'{"response_code":0,"payload":{"more":[{"a":1,"a":1.0}]}}',
    ],
)
def test_a_key_with_two_values_is_not_guessed(body: bytes) -> None:
    """RFC 8259 leaves it open which of them counts: a yes that is a no as well is no answer."""
    with pytest.raises(MalformedResponse, match="can be read in more than one way"):
        read_payload(Response(200, {}, body))


def test_an_answer_too_deep_to_be_told_is_not_guessed() -> None:
    """Where one reader of JSON can still follow, the other may not: at no depth is a contradiction overlooked."""
    for depth in range(900, 1000):
        body = b'{"response_code":0,"payload":1,"payload":2,"more":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(MalformedResponse):
            read_payload(Response(200, {}, body))


def test_a_key_that_repeats_its_value_is_read() -> None:
    """Nothing is to be guessed, so nothing is wrong."""
    for body, payload in {
        b'{"response_code":0,"response_code":0,"payload":3,"payload":3}': 3,
        b'{"response_code" : 0, "payload" : [{"a" : 1}], "message" : "a\\":1"}': [{"a": 1}],
    }.items():
        assert read_payload(Response(200, {}, body)) == payload


def test_a_date_to_come_back_at_is_read_by_our_clock_if_the_answer_shows_none() -> None:
    """A CDN's page may have no ``Date``: then it is the seconds from now."""
    later = formatdate(time.time() + 40, usegmt=True)
    with pytest.raises(ApiError) as caught:
        read_payload(Response(429, {"Retry-After": later}))
    assert caught.value.retry_after == pytest.approx(40, abs=2)
