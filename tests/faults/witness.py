"""A second opinion on raw answers, lenient about HTTP and strict about JSON; it shares no code with the package."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator

_FIELDS = {"coinConfigId": str, "configuration": str, "event": str, "amount": int}


def readings(answer: bytes, operation: str) -> list[object]:
    """What these bytes may honestly be taken to say, if it is a success: a dict of the four fields, text or points."""
    head, _, rest = _split(answer)
    if not re.match(rb"\S+ +2\d\d\b", head):
        return []
    return [value for body in _bodies(rest) if (value := _success(body, operation)) is not None]


def _split(answer: bytes) -> tuple[bytes, bytes, bytes]:
    found = re.search(rb"\r?\n\r?\n", answer)
    return (answer[: found.start()], b"", answer[found.end() :]) if found else (b"", b"", b"")


def _bodies(rest: bytes) -> Iterator[bytes]:
    """The body, read in every way: to its end or less, in chunks, unpacked."""
    plain = [rest, b"".join(_chunks(rest))]
    for body in plain:
        yield body
        for wbits in (31, 15, -15):
            try:
                yield zlib.decompressobj(wbits).decompress(body)
            except zlib.error:
                continue
        end = body.rfind(b"}") + 1
        while end > 0:  # a shorter length than was meant
            yield body[:end]
            end = body.rfind(b"}", 0, end - 1) + 1


def _chunks(rest: bytes) -> Iterator[bytes]:
    while found := re.match(rb"([0-9a-fA-F]+)[^\n]*\n", rest):
        size = int(found[1], 16)
        yield rest[found.end() : found.end() + size]
        rest = rest[found.end() + size :].lstrip(b"\r\n")


def _success(body: bytes, operation: str) -> object:
    try:
        answer = json.loads(body.decode())
    except ValueError:
        return None
    if type(answer) is not dict or type(code := answer.get("response_code", answer.get("code"))) is not int or code:
        return None
    payload = answer.get("payload")
    if operation == "balance":
        return payload if type(payload) is int else None
    if operation.startswith("allocate"):
        return payload if type(payload) is str else None
    if type(payload) is not dict or any(type(payload.get(name)) is not kind for name, kind in _FIELDS.items()):
        return None
    return {name: payload[name] for name in _FIELDS}


def packed(body: bytes) -> bytes:
    """Gzip whose bytes are the same every time."""
    return gzip.compress(body, mtime=0)
