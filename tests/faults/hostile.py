"""Answers that no honest server gives, by name: what is written byte for byte, and to which call."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from typing import Final

import attrs

from tests.wire.server import CONFIG, Peer, Step, envelope, hang, http

MIB: Final = 2**20
GOOD: Final = envelope(CONFIG)
CHUNKED: Final = b"Transfer-Encoding: chunked"
GZIP: Final = "Content-Encoding: gzip"
LENGTH: Final = b"Content-Length: %d" % len(GOOD)


@attrs.frozen
class Hostile:
    """An answer.

    Attributes:
        steps: what the server does.
        call: what it answers.
        readable: an odd way to say what is still valid: it may be taken, if it is taken for what it says.
        definite: its status is a no, so that a write is not in doubt.
        endless: it does not come to an end by itself.
    """

    steps: tuple[Step, ...]
    call: str = "update"
    readable: bool = False
    definite: bool = False
    endless: bool = False


def on_and_on(block: bytes) -> Step:
    """Write this until the client hangs up."""

    async def step(peer: Peer) -> None:
        while not peer.writer.is_closing():
            peer.writer.write(block)
            await peer.writer.drain()
            await asyncio.sleep(0)

    return step


def numbered(form: bytes) -> Step:
    """The same with a number that rises: each line is another one."""

    async def step(peer: Peer) -> None:
        for number in count():
            if peer.writer.is_closing():
                break
            peer.writer.write(form % number)
            await peer.writer.drain()

    return step


def head(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """The head of an answer."""
    return b"\r\n".join([first, *lines, b"", b""])


def chunk(body: bytes = GOOD) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(body), body)


@cache
def bomb(encoding: str) -> bytes:
    """100 MiB of zeros."""
    if encoding == "raw deflate":
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(bytes(100 * MIB)) + packer.flush()
    return (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(100 * MIB))


def _first_lines() -> Iterator[tuple[str, bytes]]:
    for name, line in {
        "a status of two digits": b"HTTP/1.1 20 OK",
        "a status of four digits": b"HTTP/1.1 2000 OK",
        "a negative status": b"HTTP/1.1 -200 OK",
        "a status in letters": b"HTTP/1.1 OK OK",
        "no status": b"HTTP/1.1",
        "no version": b"HTTP 200 OK",
        "a version of letters": b"HTTP/x.y 200 OK",
        "another protocol": b"ICY 200 OK",
        "a request": b"GET / HTTP/1.1",
        "a first line of 1 MiB": b"HTTP/1.1 200 " + b"O" * MIB,
    }.items():
        yield name, head(LENGTH, first=line) + GOOD
    yield "no head at all", GOOD
    yield "TLS", b"\x15\x03\x03\x00\x02\x02\x28"
    yield "HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"
    yield "zeros", bytes(10_000)
    yield "high bytes", b"\xff" * 10_000
    yield "line ends only", b"\r\n" * 10_000
    yield "nothing at all", b""


def _lengths() -> Iterator[tuple[str, bytes]]:
    for name, value in {
        "a negative length": b"-1",
        "a length with a sign": b"+%d" % len(GOOD),
        "a length in hex": b"0x%x" % len(GOOD),
        "a length with an underscore": b"1_0",
        "a length with a fraction": b"%d.0" % len(GOOD),
        "a length with an exponent": b"1e2",
        "a length that is empty": b"",
        "a length in words": b"many",
        "a length in Arabic digits": "\u0661\u0660".encode(),
        "a length of 5,000 digits": b"9" * 5000,
        "a length of 2**63": b"%d" % 2**63,
        "a length with a list": b"%d, %d" % (len(GOOD), len(GOOD) + 1),
        "a length one too long": b"%d" % (len(GOOD) + 1),
        "a length one too short": b"%d" % (len(GOOD) - 1),
        "a length of nothing": b"0",
    }.items():
        yield name, head(b"Content-Length: " + value) + GOOD
    yield "two lengths", head(LENGTH, b"Content-Length: 3") + GOOD
    yield "two lengths, the other first", head(b"Content-Length: 3", LENGTH) + GOOD
    yield "a length and wrong chunks", head(LENGTH, CHUNKED) + GOOD


def _chunks() -> Iterator[tuple[str, bytes]]:
    size = len(GOOD)
    for name, body in {
        "a negative chunk": b"-5\r\nabcde\r\n0\r\n\r\n",
        "a chunk in 0x": b"0x%x\r\n%b\r\n0\r\n\r\n" % (size, GOOD),
        "a chunk with a sign": b"+%x\r\n%b\r\n0\r\n\r\n" % (size, GOOD),
        "a chunk with an underscore": b"1_0\r\n%b\r\n0\r\n\r\n" % GOOD[:16],
        "a chunk of words": b"all\r\n%b\r\n0\r\n\r\n" % GOOD,
        "a chunk without size": b"\r\n%b\r\n0\r\n\r\n" % GOOD,
        "a chunk size of 5,000 digits": b"f" * 5000 + b"\r\n" + GOOD,
        "a chunk that is longer than it says": b"%x\r\n%b\r\n0\r\n\r\n" % (size - 5, GOOD),
        "a chunk that is shorter than it says": b"%x\r\n%b\r\n0\r\n\r\n" % (size + 5, GOOD),
        "no last chunk": chunk(),
        "no first chunk": b"0\r\n\r\n" + chunk(),
        "chunks of one byte, cut short": b"".join(chunk(bytes([byte])) for byte in GOOD[:-1]) + b"0\r\n\r\n",
    }.items():
        yield name, head(CHUNKED) + body
    yield "an unknown transfer coding", head(b"Transfer-Encoding: magic") + chunk() + b"0\r\n\r\n"
    yield "chunked, then gzip", head(b"Transfer-Encoding: chunked, gzip") + chunk() + b"0\r\n\r\n"


def _headers() -> Iterator[tuple[str, bytes]]:
    for name, line in {
        "a header of 1 MiB": b"X: " + b"x" * MIB,
        "a header name of 1 MiB": b"x" * MIB + b": X",
        "10,000 headers": b"\r\n".join(b"X-%d: x" % number for number in range(10_000)),
        "a header without colon": b"nonsense",
        "a header without name": b": nonsense",
        "a blank before the colon": b"X : x",
        "NUL in a header": b"X: a\0b",
        "a bare CR in a header": b"X: a\rb",
        "a control character in a header's name": b"X\x01: a",
        "a cookie of 1 MiB": b"Set-Cookie: a=" + b"x" * MIB,
        "10,000 cookies": b"\r\n".join(b"Set-Cookie: c%d=x" % number for number in range(10_000)),
    }.items():
        yield name, head(line, LENGTH) + GOOD


def _encodings() -> Iterator[tuple[str, bytes]]:
    packed = gzip.compress(GOOD)
    for name, body in {
        "what is no gzip": GOOD,
        "gzip cut short": packed[:-12],
        "gzip with a wrong checksum": packed[:-8] + bytes(8),
        "gzip of nothing": gzip.compress(b""),
        "gzip twice, said once": gzip.compress(packed),
        "a gzip bomb": bomb("gzip"),
        "ten gzip bombs": bomb("gzip") * 10,
        "a gzip bomb in a gzip": gzip.compress(bomb("gzip")),
    }.items():
        yield name, http(200, body, [GZIP])
    yield "gzip twice, said twice", http(200, gzip.compress(packed), ["Content-Encoding: gzip, gzip"])
    yield "a bomb, said twice", http(200, gzip.compress(bomb("gzip")), [GZIP, GZIP])
    yield "gzip, not said", http(200, packed)
    yield "a deflate bomb", http(200, bomb("deflate"), ["Content-Encoding: deflate"])
    yield "a raw deflate bomb", http(200, bomb("raw deflate"), ["Content-Encoding: deflate"])
    yield "what is no deflate", http(200, b"\xff" * 100, ["Content-Encoding: deflate"])
    yield "what is no brotli", http(200, b"\xff" * 100, ["Content-Encoding: br"])
    yield "what is no zstd", http(200, b"\xff" * 100, ["Content-Encoding: zstd"])
    yield "a gzip bomb in chunks", head(CHUNKED, GZIP.encode()) + chunk(bomb("gzip")) + b"0\r\n\r\n"


def _documents() -> Iterator[tuple[str, bytes]]:
    text = GOOD.decode()
    deep = b"[" * 100_000 + b"]" * 100_000
    yield "no body", b""
    yield "a body of blanks", b" " * 100_000
    yield "UTF-16", text.encode("utf-16")
    yield "latin-1", envelope(CONFIG | {"event": "x"}).replace(b'"x"', b'"\xfc"')
    yield "half a surrogate", GOOD.replace(b"INVOICE", b"\\ud800")
    yield "arrays, 100,000 deep", deep
    yield "objects, 100,000 deep", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "arrays in a payload, 100,000 deep", b'{"response_code":0,"payload":' + deep + b"}"
    yield "two documents", GOOD + GOOD
    yield "a comma too many", GOOD[:-1] + b",}"
    yield "single quotes", text.replace('"', "'").encode()
    yield "a comment", GOOD + b"// all is well"
    yield "a call of a function", b"callback(" + GOOD + b")"
    yield "XML", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    for document in ("null", "true", "0", "[]", "{}", '"text"', "[" + text + "]", '{"request":"c2VjcmV0"}'):
        yield f"the document {document[:20]}", document.encode()
    for number in ("NaN", "Infinity", "-Infinity", "1e400", "0x0A", "010", "+10", "1_0", ".5", "5.", "9" * 5000):
        yield f"an amount of {number[:9]}", GOOD.replace(b":10", b":" + number.encode())
        yield f"a code of {number[:9]}", GOOD.replace(b":0,", b":" + number.encode() + b",")
    yield "two codes, first no", GOOD.replace(b'"response_code"', b'"response_code":1,"response_code"')
    yield "two codes, first yes", GOOD.replace(b'"response_code":0', b'"response_code":0,"response_code":1')
    yield "two amounts", GOOD.replace(b'"amount"', b'"amount":11,"amount"')
    yield "two payloads", GOOD.replace(b'"payload"', b'"payload":{},"payload"')
    wrong: object
    for wrong in (None, False, 0.0, "0", [], {}, [0]):
        yield f"a code of {json.dumps(wrong)}", json.dumps(dict(_WELL, response_code=wrong)).encode()
    yield "no code", json.dumps({"payload": CONFIG}).encode()


_WELL: Final = {"payload": CONFIG, "response_code": 0, "response_message": "Success"}
_WRONG: Final[dict[str, tuple[object, ...]]] = {
    "coinConfigId": (None, 7, 1.5, True, [], {}, ["WCC12345"]),
    "configuration": (None, 7, 1.5, True, [], {}, {"CUSTOM": 7}, {"custom": "x"}),
    "event": (None, 7, 1.5, True, [], {}),
    "amount": (None, "10", 10.0, 1.5, True, [], {}, [10]),
    "companyId": (7, 1.5, True, [], {}),
}


_WRONG_PAYLOADS: Final[tuple[tuple[str, str, tuple[object, ...]], ...]] = (
    ("create", "a create", (None, True, 7, "text", [], [CONFIG])),
    ("balance", "a balance", (None, True, "1250", 12.5, [], {}, [1250])),
    ("allocate", "an allocation", (None, True, 7, [], {}, ["well"])),
)


def _payloads() -> Iterator[tuple[str, bytes, str]]:
    for field, values in _WRONG.items():
        for value in values:
            yield f"{field} is {json.dumps(value)}", envelope(CONFIG | {field: value}), "update"
        if field != "companyId":
            rest = {key: value for key, value in CONFIG.items() if key != field}
            yield f"{field} is missing", envelope(rest), "get"
    for operation, article, payloads in _WRONG_PAYLOADS:
        for payload in payloads:
            yield f"the payload of {article} is {json.dumps(payload)[:20]}", envelope(payload), operation


def _endless() -> Iterator[tuple[str, tuple[Step, ...]]]:
    yield "no answer", (hang,)
    yield "half a head", (b"HTTP/1.1 200 OK\r\nContent-", hang)
    yield "half a body", (http(200, GOOD[:20], length=len(GOOD)), hang)
    yield "endless 100 Continue", (on_and_on(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),)
    yield "endless 103 Early Hints", (numbered(b"HTTP/1.1 103 Early Hints\r\nX-%d: x\r\n\r\n"),)
    yield "an endless first line", (b"HTTP/1.1 200 ", on_and_on(b"x" * 65536))
    yield "an endless header", (b"HTTP/1.1 200 OK\r\nX: ", on_and_on(b"x" * 65536))
    yield "endless headers", (b"HTTP/1.1 200 OK\r\n", numbered(b"X-%d: x\r\n"))
    yield "an endless folded header", (b"HTTP/1.1 200 OK\r\nX: x\r\n", on_and_on(b" x\r\n" * 1000))
    yield "an endless body", (head(), on_and_on(b" " * 65536))
    yield "endless chunks", (head(CHUNKED), on_and_on(chunk(b" " * 65536)))
    yield "endless chunks of one byte", (head(CHUNKED), on_and_on(chunk(b" ") * 1000))
    yield "an endless chunk size", (head(CHUNKED), on_and_on(b"0" * 65536))
    yield "an endless chunk extension", (head(CHUNKED) + b"5;", on_and_on(b"x" * 65536))
    yield "endless trailers", (head(CHUNKED) + chunk() + b"0\r\n", numbered(b"X-%d: x\r\n"))
    yield "an endless trailer", (head(CHUNKED) + chunk() + b"0\r\nX: ", on_and_on(b"x" * 65536))
    yield "endless gzip members", (head(GZIP.encode()), on_and_on(gzip.compress(b"")))
    yield "endless line ends", (on_and_on(b"\r\n" * 1000),)


def _odd_but_readable() -> Iterator[tuple[str, bytes]]:
    yield "two equal lengths", head(LENGTH, LENGTH) + GOOD
    yield "a length and right chunks", head(LENGTH, CHUNKED) + chunk() + b"0\r\n\r\n"
    yield "LF for CR LF", head(LENGTH).replace(b"\r\n", b"\n") + GOOD
    yield "a folded header", head(b"X: a\r\n b", LENGTH) + GOOD
    yield "a header that is not ASCII", head("X: é".encode(), LENGTH) + GOOD
    yield "HTTP/9.9", head(LENGTH, first=b"HTTP/9.9 200 OK") + GOOD
    yield "NUL in the reason", head(LENGTH, first=b"HTTP/1.1 200 O\0K") + GOOD
    yield "a chunk extension of 1 MiB", head(CHUNKED) + b"%x;%b\r\n%b\r\n0\r\n\r\n" % (len(GOOD), b"x" * MIB, GOOD)
    yield "chunked twice", head(CHUNKED, CHUNKED) + chunk() + b"0\r\n\r\n"
    yield "gzip without its last bytes", http(200, gzip.compress(GOOD)[:-4], [GZIP])
    yield "a status 205", http(205, GOOD)
    yield "no reason", head(LENGTH, first=b"HTTP/1.1 200") + GOOD
    yield "a status 299", http(299, GOOD)
    yield "a cookie for another host", http(200, GOOD, ["Set-Cookie: a=b; Domain=coins.invalid"])
    yield "a cookie that is none", http(200, GOOD, ["Set-Cookie: =;;==; \x7f"])
    yield "bytes after the gzip", http(200, gzip.compress(GOOD) + b"garbage", [GZIP])
    yield "two gzip members", http(200, gzip.compress(GOOD[:20]) + gzip.compress(GOOD[20:]), [GZIP])
    yield "an unknown encoding", http(200, GOOD, ["Content-Encoding: magic"])
    yield (
        "one key twice, with one value",
        GOOD.replace(b'"amount"', b'"amount":10,"amount"')
        and http(200, GOOD.replace(b'"amount"', b'"amount":10,"amount"')),
    )
    yield "a retry that is asked for", http(200, GOOD, ["Retry-After: 999999999"])
    yield "a trailer with a length", head(CHUNKED) + chunk() + b"0\r\nContent-Length: 3\r\n\r\n"
    yield "keep-alive for ever", http(200, GOOD, ["Keep-Alive: timeout=99999999999", "Connection: keep-alive"])
    yield "an upgrade that was not asked for", http(200, GOOD, ["Upgrade: websocket", "Connection: upgrade"])
    yield "a byte order mark", http(200, b"\xef\xbb\xbf" + GOOD)
    message: object
    for message in (7, False, [], {}):  # only the code decides
        yield (
            f"a message of {json.dumps(message)}",
            http(200, json.dumps(dict(_WELL, response_message=message)).encode()),
        )


def _statuses() -> Iterator[tuple[str, bytes, bool]]:
    for status, definite in {101: False, 199: False, 204: False, 304: False, 399: True, 499: True}.items():
        yield f"status {status} with a success in its body", http(status, GOOD), definite
    for status in (500, 599, 600, 999):
        yield f"status {status} with a success in its body", http(status, GOOD), False


def named() -> dict[str, Hostile]:
    """All of them."""
    found: dict[str, Hostile] = {}
    raw: tuple[Callable[[], Iterator[tuple[str, bytes]]], ...] = (_first_lines, _lengths, _chunks, _headers, _encodings)
    for table in raw:
        found |= {name: Hostile((answer,)) for name, answer in table()}
    found |= {name: Hostile((http(200, body),)) for name, body in _documents()}
    found |= {name: Hostile((http(200, body),), call) for name, body, call in _payloads()}
    found |= {name: Hostile((answer,), definite=definite) for name, answer, definite in _statuses()}
    found |= {name: Hostile((answer,), readable=True) for name, answer in _odd_but_readable()}
    return found | {name: Hostile(steps, endless=True) for name, steps in _endless()}


def of_size() -> dict[str, tuple[Hostile, int]]:
    """Those that are large or endless, and more that are only large if they come again and again; and how often."""
    large = {
        name: (case, 1) for name, case in named().items() if case.endless or _bytes(case) > 50_000 or "bomb" in name
    }
    cookies = [f"Set-Cookie: c{{0}}-{number}={'x' * 4000}; Path=/" for number in range(20)]
    many = iter(range(10**9))

    async def new_cookies(peer: Peer) -> None:
        serial = next(many)
        await peer.perform([http(200, GOOD, [cookie.format(serial) for cookie in cookies])])

    page = http(503, b"<p>" * (2 * MIB))
    return large | {
        "new cookies with every answer": (Hostile((new_cookies,), readable=True), 500),
        "a large error page each time": (Hostile((page,)), 20),
        "a gzip bomb each time": (Hostile((http(200, bomb("gzip"), [GZIP]),)), 10),
    }


def _bytes(case: Hostile) -> int:
    return sum(len(step) for step in case.steps if isinstance(step, bytes))
