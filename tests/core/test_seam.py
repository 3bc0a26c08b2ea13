"""Request, Response and what is done to them on the way."""

from collections import OrderedDict
from collections.abc import Mapping

import pytest

from enkash_coins import Response
from enkash_coins.api.redaction import blacked_out
from enkash_coins.transport import Headers


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("headers", [{"Retry-After": "5"}, OrderedDict([("retry-after", "5")])], ids=["dict", "other"])
def test_headers_of_an_answer_are_found_in_any_case(headers: Mapping[str, str], name: str) -> None:
    """Whoever writes a transport may hand over any mapping of strings, in any case."""
    response = Response(429, headers)
    assert response.headers[name] == "5"
    assert name in response.headers
    assert response.headers.get("X-Other") is None


def test_headers_are_a_mapping() -> None:
    """Headers can be counted, listed and turned into a dictionary; a name in two cases is one header."""
    headers = Headers({"Date": "today", "X-A": "1", "x-a": "2"})
    assert len(headers) == 2
    assert dict(headers) == {"date": "today", "x-a": "2"}
    assert len(Headers()) == 0


SECRET = "s3cret-s3cret"


@pytest.mark.parametrize(
    ("status", "body", "secrets", "shown"),
    [
        (401, b"Invalid access token: s3cret-s3cret", (SECRET,), b"Invalid access token: ***"),
        (200, b'{"payload":"s3cret-s3cret s3cret-s3cret"}', (SECRET,), b'{"payload":"*** ***"}'),
        (400, b"bad password pw1", (SECRET, "pw1"), b"bad password ***"),
        (200, b'{"event":"pw1"}', ("pw1",), b'{"event":"pw1"}'),  # a short one may be part of any honest answer
        (500, b"abc", ("",), b"abc"),
        (500, b"abc", (), b"abc"),
        (500, "Schlüssel äöü".encode(), ("äöü",), "Schlüssel ***".encode()),
        # A server that writes JSON escapes what it quotes, each in its own way.
        (401, b'"bad password pa\\"55\\\\"', ('pa"55\\',), b'"bad password ***"'),
        (401, b'"bad password w\\u00f6rd"', ("wörd",), b'"bad password ***"'),
        (401, b'"bad token abc\\/def+ghi"', ("abc/def+ghi",), b'"bad token ***"'),
        (401, b'"bad token abc\\u003d\\u003D \\"\\n"', ("abc==",), b'"bad token *** \\"\\n"'),
        (401, b'"bad token abc%2Fdef%3D"', ("abc/def=",), b'"bad token ***"'),
        (401, b'"bad password a&amp;b&lt;c"', ("a&b<c",), b'"bad password ***"'),
        (401, b'"an escape that is none: \\q, \\u12"', (SECRET,), b'"an escape that is none: \\q, \\u12"'),
        # What is too large to look through, and may hold anything: nothing of it is kept.
        (401, b'"\\u0061' + b"a" * 2**16 + b'"', (SECRET,), b""),
    ],
)
def test_secrets_that_a_server_quotes_are_blacked_out(
    status: int, body: bytes, secrets: tuple[str, ...], shown: bytes
) -> None:
    """Nothing that we sent in confidence comes back in an answer's text; status and headers stay."""
    response = blacked_out(Response(status, {"Date": "today"}, body), secrets)
    assert (response.status, response.body) == (status, shown)
    assert response.headers["date"] == "today"


def test_an_answer_without_secrets_is_not_copied() -> None:
    """The usual answer goes through as the same object."""
    response = Response(200, {}, b"{}")
    assert blacked_out(response, (SECRET,)) is response
