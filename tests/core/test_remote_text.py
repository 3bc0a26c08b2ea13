"""What a server says, as it may be shown."""

from collections.abc import Mapping

import orjson
import pytest

from enkash_coins import ApiError, MalformedResponse, OperationFailed, RateLimited, Response, ServerError, errors
from enkash_coins.api.answers import read_payload
from enkash_coins.display import cut
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
        read_payload(response, "update")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("body", [FAILURE, HTML, b"", answer("all well").body], ids=["no", "page", "empty", "yes"])
@pytest.mark.parametrize("status", STATUSES)
def test_the_status_decides_the_class_whatever_the_body_says(status: int, body: bytes) -> None:
    """An error page of the CDN, or a body that claims success, changes nothing about a status that says no."""
    error = raised(Response(status, {}, body))
    assert (type(error).__name__, error.maybe_applied) == STATUSES[status]
    assert (error.status, error.operation) == (status, "update")
    assert str(error).startswith(f"update: HTTP {status}")


@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_every_2xx_is_a_success_if_the_envelope_says_so(status: int) -> None:
    """A success is read, and a failure in the envelope is ``OperationFailed``, for each 2xx."""
    assert read_payload(answer([1], status=status), "get") == [1]
    error = raised(answer(None, status=status, code=36, message="velocity limit breached"))
    assert type(error) is OperationFailed
    assert error.maybe_applied is False
    assert (error.status, error.response_code, error.response_message) == (status, 36, "velocity limit breached")
    assert str(error) == "update: response_code 36: velocity limit breached"


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
    assert read_payload(Response(200, {}, b'{"payload":7,"code":0,"message":"Success"}'), "balance") == 7


HOSTILE = "line\r\n\x1b[31mred\u202e\u2028\0" + "x" * 600


def test_remote_text_is_short_and_harmless() -> None:
    """What a server says is cut to 512 characters and freed of what steers a terminal or a log."""
    error = raised(answer(None, status=400, code=1, message=HOSTILE))
    assert error.response_message is not None
    assert len(error.response_message) == 512
    assert error.response_message.isprintable()
    assert error.response_message.startswith("line\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")
    assert error.response_message.endswith("x…")
    assert str(error).isprintable()
    assert len(str(error)) < 550


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("a b é छूट", "a b é छूट"),
        ("x" * 512, "x" * 512),
        ("x" * 513, "x" * 511 + "…"),
        ("a\nb", "a\N{REPLACEMENT CHARACTER}b"),
    ],
    ids=["empty", "scripts", "512", "513", "newline"],
)
def test_harmless_text_stays_as_it_is(text: str, shown: str) -> None:
    """Printable text of any script is left alone up to 512 characters."""
    assert cut(text) == shown


HEADERS = {
    "date": "Wed, 21 Oct 2015 07:28:00 GMT",
    "content-type": "text/html",
    "retry-after": "7",
    "x-request-id": "req-1",
    "x-correlation-id": "cor-1",
    "cf-ray": "8f-BOM",
    "set-cookie": "JSESSIONID=sesame",
    "www-authenticate": 'Bearer error_description="Invalid access token: sesame"',
    "authorization": "Bearer sesame",
    "location": "https://elsewhere.example/?token=sesame",
    "x-other": "sesame",
}


@pytest.mark.parametrize("status", [200, 301, 400, 429, 503])
def test_only_headers_for_support_are_kept(status: int) -> None:
    """No cookie, no challenge, no location: they may hold what must not be shown."""
    error = raised(Response(status, {name.upper(): value for name, value in HEADERS.items()}, FAILURE))
    assert error.headers == {
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Content-Type": "text/html",
        "Retry-After": "7",
        "X-Request-Id": "req-1",
        "X-Correlation-Id": "cor-1",
        "CF-Ray": "8f-BOM",
    }
    assert "sesame" not in repr(vars(error))


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (425, {"Retry-After": "7"}, 7.0),
        (503, {"Retry-After": "7"}, 7.0),
        (429, {}, None),
        (429, {"Retry-After": "soon"}, None),
        (500, {"Retry-After": "7"}, None),
        (404, {"Retry-After": "7"}, None),
        (301, {"Retry-After": "7"}, None),
    ],
    ids=str,
)
def test_only_some_statuses_say_when(status: int, headers: Mapping[str, str], seconds: float | None) -> None:
    """Retry-After counts on 429, 425 and 503, and nowhere else."""
    error = raised(Response(status, headers, HTML))
    assert error.retry_after == seconds
    assert isinstance(error, RateLimited | ServerError | errors.NotFound | errors.UnexpectedRedirect)


def test_hostile_headers_are_cut_like_all_remote_text() -> None:
    """A header is remote text, too, wherever it is shown."""
    error = raised(Response(500, {"CF-Ray": HOSTILE}, HTML))
    assert len(error.headers["CF-Ray"]) == 512
    assert error.headers["CF-Ray"].isprintable()
    with pytest.raises(MalformedResponse) as caught:
        read_payload(Response(200, {"Content-Type": HOSTILE}, orjson.dumps([])), "get")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 620


def test_an_answer_without_content_type_says_so() -> None:
    """A form that is missing is told as missing."""
    with pytest.raises(MalformedResponse, match=r"is not JSON \(HTTP 200, no content type, 0 bytes\)"):
        read_payload(Response(200), "get")
