"""What a server says about a failure, and how it may be shown."""

import copy
import json
import pickle
import time
from collections.abc import Mapping
from typing import Any

import pytest

from enkash_coins import ApiError, MalformedResponse, RateLimited, Response, ServerError, errors
from enkash_coins.api.answers import read_payload
from enkash_coins.api.reasons import reason_in
from enkash_coins.display import cut, shown

FAILURE = b'{"response_code":1,"response_message":"Insufficient balance","payload":"Insufficient balance"}'
HTML = b"<html><h1>Sorry, you have been blocked</h1></html>"


def raised(response: Response) -> ApiError:
    """The error of an answer that is not a success."""
    with pytest.raises(ApiError) as caught:
        read_payload(response)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


MIN_1 = "must be 1 or more"
# What servers say with HTTP 400, and what an error says of it.
REASONS: dict[str, tuple[object, str]] = {
    "envelope": ({"response_code": 1, "response_message": "No balance", "payload": "No balance"}, "No balance"),
    "envelope with more in its payload": (
        {"response_code": 1, "response_message": "Invalid", "payload": {"amount": [MIN_1], "id": "WCC1"}},
        f"Invalid: amount: {MIN_1}; id: WCC1",
    ),
    "envelope without a message": ({"response_code": 1, "payload": "No balance"}, "No balance"),
    "code and message": ({"code": 38, "message": "duplicate referenceId"}, "duplicate referenceId"),
    "a code that is a word": ({"code": "DUPLICATE", "message": "used before"}, "used before"),
    "Spring Boot": (
        {"timestamp": 1, "status": 400, "error": "Bad Request", "message": "No such company", "path": "/api"},
        "No such company",
    ),
    "Spring Boot, silent": ({"timestamp": 1, "status": 400, "error": "Bad Request", "message": ""}, "Bad Request"),
    "Spring Boot, fields": (
        {
            "error": "Bad Request",
            "message": "Validation failed",
            "errors": [
                {"codes": ["Min"], "field": "amount", "defaultMessage": MIN_1, "rejectedValue": 0, "code": "Min"},
                {"field": "event", "message": "must not be blank"},
            ],
        },
        f"Validation failed: amount: {MIN_1}; event: must not be blank",
    ),
    "problem details": (
        {"type": "https://a.example/p", "title": "Out of credit", "status": 400, "detail": "It costs 50"},
        "Out of credit: It costs 50",
    ),
    "problem details, plain": ({"type": "about:blank", "title": "Bad Request", "detail": "It costs 50"}, "It costs 50"),
    "problem details, parameters": (
        {"title": "Invalid", "invalid-params": [{"name": "amount", "reason": MIN_1}]},
        f"Invalid: amount: {MIN_1}",
    ),
    "OAuth": ({"error": "invalid_token", "error_description": "Token expired"}, "Token expired"),
    "FastAPI": ({"detail": [{"loc": ["body", "amount"], "msg": MIN_1, "type": "x"}]}, f"body.amount: {MIN_1}"),
    "FastAPI, plain": ({"detail": "Not authenticated"}, "Not authenticated"),
    "fields with lists": ({"amount": [MIN_1, "is odd"], "event": ["?"]}, f"amount: {MIN_1}; amount: is odd; event: ?"),
    "ASP.NET": ({"title": "Invalid", "errors": {"amount": [MIN_1]}}, f"Invalid: amount: {MIN_1}"),
    "errors by field": ({"errors": {"amount": MIN_1}}, f"amount: {MIN_1}"),
    "errors as texts": ({"errors": ["a", "b"]}, "a; b"),
    "an error within": ({"error": {"code": 7, "message": "No such company"}}, "No such company"),
    "camel case": ({"errorCode": "E1", "errorMessage": "No such company"}, "No such company"),
    "a text": ("No such company", "No such company"),
    "a list": (["No such company"], "No such company"),
    "a field above its errors": ({"field": "amount", "errors": [{"msg": "is odd"}, "?"]}, "amount: is odd; amount: ?"),
    "nothing": ({}, ""),
    "nothing known": ({"id": "WCC1", "state": {"a": 1}}, ""),
    "nothing that tells": ({"id": "WCC1", "state": {"a": 1}, "error": True, "message": None}, ""),
    "nothing, with a status": ({"status": 400, "error": "Bad Request"}, "Bad Request"),
}


@pytest.mark.parametrize("shape", REASONS)
def test_the_reason_is_found_whatever_its_shape(shape: str) -> None:
    """What the server gives as the reason stands in the error, once, in the order from the whole to the fields."""
    body, reason = REASONS[shape]
    error = raised(Response(400, {}, json.dumps(body).encode()))
    assert str(error) == "HTTP 400" + (f": {reason}" if reason else "")
    assert (error.response_message is None) == (not reason)


@pytest.mark.parametrize(
    "answered",
    [
        [{}] * 10**6,
        [[[[{}] * 1000] * 1000] * 1000] * 1000,
        {str(key): [] for key in range(10**6)},
        {"errors": [{"loc": ["x" * 1000] * 10**6, "msg": "x" * 1000}] * 10**6},
        {"errors": [{"field": [0] * 10**6, "msg": "x"}, {"loc": [[0] * 10**6], "msg": "x"}] * 10**6},
        {"message": " " * 2**23},
    ],
    ids=["objects", "lists", "keys", "fields", "strange fields", "a text"],
)
def test_the_reason_is_not_looked_for_in_all_of_eight_megabytes(answered: object) -> None:
    """To look at every value of a large answer would stop the event loop for seconds."""
    began = time.process_time()
    assert len(reason_in(answered, 400)) <= 512
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"error code: 1020\n", "error code: 1020"),
        (b"<html><head><TITLE lang=en>Access denied\n &amp; so on</title>", "Access denied & so on"),
        (HTML, None),
        (b"\n " + HTML, None),
        (b"", None),
        (b" \n", None),
    ],
)
def test_a_page_has_a_title_or_is_a_line(page: bytes, reason: str | None) -> None:
    """What a CDN or a proxy says, without its markup."""
    error = raised(Response(502, {}, page))
    assert str(error) == ("HTTP 502" if reason is None else f"HTTP 502: {reason}")
    assert error.response_message == reason


PAYLOADS: dict[str, tuple[bytes, object]] = {
    "envelope": (b'{"response_code":1,"response_message":"no","payload":{"a":[1,null]}}', {"a": [1, None]}),
    "envelope, null": (b'{"response_code":1,"payload":null}', None),
    "other spelling": (b'{"code":38,"message":"no","payload":"x"}', "x"),
    "no payload": (b'{"code":38,"message":"no","field":"amount"}', {"code": 38, "message": "no", "field": "amount"}),
    "no envelope": (b'{"error":"x","payload":1}', {"error": "x", "payload": 1}),
    "no object": (b'[1,"x"]', [1, "x"]),
    "a page": (HTML, HTML.decode()),
    "no text": (b"\xff{}", "\N{REPLACEMENT CHARACTER}{}"),
    "nothing": (b"", None),
    "as deep as it may be": (b"[" * 31 + b"0" + b"]" * 31, json.loads("[" * 31 + "0" + "]" * 31)),
    "too deep": (b"[" * 32 + b"0" + b"]" * 32, "[" * 32 + "0" + "]" * 32),
    "too deep, objects": (b'{"a":' * 32 + b"0" + b"}" * 32, '{"a":' * 32 + "0" + "}" * 32),
    "as large as it may be": (b'["' + b"x" * 65532 + b'"]', ["x" * 65532]),
    "too large": (
        b'{"response_code":1,"payload":"' + b"x" * 2**16 + b'"}',
        '{"response_code":1,"payload":"' + "x" * 65506,
    ),
}


@pytest.mark.parametrize("shape", PAYLOADS)
def test_an_error_keeps_the_payload(shape: str) -> None:
    """As JSON values, or the whole body as what it is; never more than 64 KiB, and never too deep for a copy."""
    body, payload = PAYLOADS[shape]
    error = raised(Response(400, {}, body))
    assert error.payload == payload
    assert type(error.payload) is type(payload)
    for back in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301  # our own bytes
        assert vars(back) == vars(error)


HOSTILE = "line\r\n\x1b[31mred\u202e\u2028\0" + "x" * 600


def test_remote_text_is_short_and_harmless() -> None:
    """What a server says is cut to 512 characters and freed of what steers a terminal or a log."""
    bodies: list[Any] = [
        {"code": 1, "message": HOSTILE},
        {"error": HOSTILE},
        {"errors": {HOSTILE: [HOSTILE] * 9}},
        HOSTILE,
    ]
    for body in bodies:
        error = raised(Response(400, {}, json.dumps(body).encode()))
        assert error.response_message is not None
        assert len(error.response_message) == 512
        assert error.response_message.isprintable()
        assert error.response_message.startswith("line")
        assert error.response_message.endswith("…")
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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("छूट\n", r"'\u091b\u0942\u091f\n'"),
        ("x" * 78, "'" + "x" * 78 + "'"),
        ("x" * 79, "'" + "x" * 78 + "…"),
        (10**5000, "a value of type int"),
    ],
    ids=["scripts", "80", "81", "5,001 digits"],
)
def test_a_callers_value_is_shown_in_80_ascii_characters(value: object, text: str) -> None:
    """Also one that Python would not show."""
    assert shown(value) == text


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
        read_payload(Response(200, {"Content-Type": HOSTILE}, b"[]"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 620


def test_an_answer_without_content_type_says_so() -> None:
    """A form that is missing is told as missing."""
    with pytest.raises(MalformedResponse, match=r"is not JSON \(HTTP 200, no content type, 0 bytes\)"):
        read_payload(Response(200))
