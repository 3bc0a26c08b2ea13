"""What a browser shows of the sandbox, live, and the OpenAPI document."""

import asyncio
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
from aiohttp import web

from enkash_coins.sandbox.answers import Answer
from enkash_coins.sandbox.exchange import SeenRequest
from enkash_coins.sandbox.world import Fields, World

_FOLDER = Path(__file__).parent
_TICK = 0.2  # seconds between two looks at the truth
_CONFIGS = 5000  # that are shown: a browser takes a second for them
_LAST = 50  # calls, and allocations
_BODY = 300  # characters
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    b"retry: 500\n\n"  # milliseconds: the page comes back soon after the sandbox
)


def live_page() -> Answer:
    """The page; nothing runs in it but what stands in it, and it loads nothing but its events."""
    text = (_FOLDER / "page.html").read_text(encoding="utf-8")
    allowed = {tag: _hash(re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[0]) for tag in ("style", "script")}
    policy = "; ".join(f"{tag}-src '{digest}'" for tag, digest in allowed.items())
    headers = (("Content-Security-Policy", f"default-src 'none'; connect-src 'self'; img-src data:; {policy}"),)
    return Answer(200, text.encode(), headers, "text/html; charset=utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def openapi(base_url: str) -> Answer:
    """The API's description, for this very server."""
    document = msgspec.json.decode((_FOLDER / "openapi.json").read_bytes())
    return Answer(200, msgspec.json.encode({**document, "servers": [{"url": base_url}]}))


def events(
    world: World, calls: Counter[str], requests: Iterable[SeenRequest], read: Callable[[SeenRequest], bytes]
) -> Iterator[bytes]:
    """At each look what has to be told to a page: an event of server-sent events, or nothing.

    The truth itself is looked at, and not what happens to it: a test may change it directly.

    Args:
        read: a body as plain text.
    """
    shown: dict[str, Fields | None] = {}
    told: object = None
    while True:
        held = dict(list(world.configs.items())[:_CONFIGS])
        changed: dict[str, Fields | None] = {id_: dict(held[id_]) for id_ in held if held[id_] != shown.get(id_)}
        changed |= dict.fromkeys(shown.keys() - held.keys())
        news = {
            "calls": dict(calls),
            "requests": [_told(seen, read) for seen in list(requests)[: -_LAST - 1 : -1]],
            "held": len(world.configs),
            "given": len(world.allocations),
            "allocations": world.allocations[: -_LAST - 1 : -1],
        }
        # json, because a path may hold bytes that msgspec would refuse.
        text = json.dumps({**news, "configs": changed, "first": told is None}, default=str)
        yield f"data: {text}\n\n".encode() if changed or news != told else b""
        told = news
        shown = {id_: config for id_, config in (shown | changed).items() if config is not None}


def _told(seen: SeenRequest, read: Callable[[SeenRequest], bytes]) -> dict[str, object]:
    # A login's body holds a password.
    body = "" if seen.operation == "token" else read(seen)[: 4 * _BODY].decode(errors="replace")
    return {
        "at": seen.at,
        "operation": seen.operation,
        "line": f"{seen.method} {seen.target}",
        "body": body if len(body) <= _BODY else f"{body[:_BODY]}…",
        "status": seen.status,
        "fault": seen.fault,
    }


async def stream(request: web.BaseRequest, news: Iterator[bytes]) -> None:
    """Send what there is to tell, until the browser goes away."""
    transport = request.transport
    if transport is not None:
        transport.write(_STREAM)
    while transport is not None and not transport.is_closing():
        if transport.get_write_buffer_size() == 0:
            transport.write(next(news))
        await asyncio.sleep(_TICK)
