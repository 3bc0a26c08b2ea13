"""Secrets that a server quotes back ("Invalid access token: …", as Spring's OAuth does) are blacked out."""

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from enkash_coins.transport import Headers, Response

# Characters from which on a text is taken for a secret wherever it stands; a shorter one could be part of any answer.
LONG_SECRET = 8

# Resolving its escapes takes up to 0.1 s of everybody's time; the API's own answers have 200 bytes.
_LARGEST_ESCAPED = 2**16
_ESCAPES = re.compile(rb"(?:\\(?:u[0-9a-fA-F]{4}|[^u]))+")


def _quotations(secret: str) -> list[bytes]:
    """The ways in which a server may quote a secret, once the escapes of JSON are resolved; the longest first."""
    texts = {secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret), html.escape(secret, quote=False)}
    texts |= {json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
    return sorted({text.encode("utf-8", "surrogateescape") for text in texts}, key=len, reverse=True)


def _resolved(escapes: re.Match[bytes]) -> bytes:
    r"""The characters, escaped no more than JSON asks for: Gson writes ``=`` as ``\u003d``, PHP ``/`` as ``\/``."""
    try:
        text: str = json.loads(b'"%b"' % escapes[0])
    except ValueError:
        return escapes[0]
    return json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")


def blacked_out(response: Response, secrets: Iterable[str]) -> Response:
    """The response without the secrets that a server quotes back ("Invalid access token: …").

    In a success only long ones are looked for: a short password could be part of any honest answer.
    """
    least = 1 if response.status >= 400 else LONG_SECRET
    body, headers = response.body, response.headers
    if b"\\" in body:
        if len(body) > _LARGEST_ESCAPED:
            return Response(response.status, headers)  # what it quotes is not known, so nothing of it is kept
        body = _ESCAPES.sub(_resolved, body)
    plain = body
    for secret in {secret for secret in secrets if len(secret) >= least}:
        for quoted in _quotations(secret):
            if quoted in body:
                body = body.replace(quoted, b"***")
            text = quoted.decode("utf-8", "surrogateescape")
            if any(text in value for value in headers.values()):
                headers = Headers({name: value.replace(text, "***") for name, value in headers.items()})
    if body is plain and headers is response.headers:
        return response
    return Response(response.status, headers, body)
