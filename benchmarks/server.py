"""A server in a process of its own, so that only the client's work is measured.

It answers at once, or after a while. Configurations are read with the amount 5, and updated to 10. Beneath the path
prefix ``/cookie`` it sets a cookie, as soon as a request has none.
"""

import asyncio
import contextlib
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

_BODY = (
    b'{"payload":{"coinConfigId":"WCC12345","configuration":"DEFAULT","event":"INVOICE_PAYMENT","amount":10},'
    b'"response_code":0,"response_message":"Success"}'
)
_READ = _BODY.replace(b'"amount":10', b'"amount":5')
_TOKEN = b'{"access_token":"0123456789abcdef0123456789abcdef","token_type":"bearer","expires_in":86399}'
_COOKIE = b"Set-Cookie: session=0123456789abcdef; Path=/\r\n"
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


def _answer(request: bytes) -> bytes:
    body = _TOKEN if request.startswith(b"POST /oauth/token ") else _READ if request.startswith(b"GET ") else _BODY
    cookie = (
        b""
        if b" /cookie/" not in request or b"\r\nCookie:" in request
        else b"Set-Cookie: session=0123456789abcdef; Path=/\r\n"
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (cookie, len(body)) + body


class _Fast(asyncio.Protocol):
    def __init__(self, latency: float) -> None:
        self._pending = b""
        self._latency = latency

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._pending, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._pending) < size:
                return
            answer = _answer(self._pending[:end])
            self._pending = self._pending[size:]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
            else:
                self._transport.write(answer)


async def _serve(latency: str, certificate: str | None = None) -> None:
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Fast(float(latency)), "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def fast_server(certificate: Path | None = None, *, latency: float = 0.0) -> Iterator[str]:
    """The base URL of a server that runs until the context ends; https with a certificate and its key.

    Args:
        latency: seconds from a request to its answer.
    """
    more = [] if certificate is None else [str(certificate)]
    command = [sys.executable, "-m", "benchmarks.server", str(latency), *more]
    scheme = "http" if certificate is None else "https"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own module
        try:
            yield f"{scheme}://127.0.0.1:{int(process.stdout.readline())}" if process.stdout else ""
        finally:
            process.terminate()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(*sys.argv[1:]))
