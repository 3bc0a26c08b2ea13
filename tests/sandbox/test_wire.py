"""Each kind of fault, seen on the wire: bytes, and the end of the connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from attrs import frozen

from enkash_coins.sandbox import Fault, FaultKind, Sandbox

LONG = 3600.0  # seconds: never, as far as a test is concerned


@frozen
class Wire:
    """A bare connection on which one update was sent: amount 77 for WCC00001."""

    sandbox: Sandbox
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, line: str, authorization: str, content_type: str, body: str) -> None:
        headers = f"Authorization: {authorization}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
        self.writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}".encode())

    @property
    def applied(self) -> bool:
        return self.sandbox.configs["WCC00001"]["amount"] == 77

    async def head(self) -> tuple[int, dict[str, str]]:
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_silent(self) -> bool:
        """Whether nothing comes and nothing is closed, once the server has had its turn."""
        for _ in range(20):
            await asyncio.sleep(0)
        return not self.reader.at_eof() and not self.reader._buffer  # type: ignore[attr-defined]


@asynccontextmanager
async def update_with(fault: Fault) -> AsyncIterator[Wire]:
    """Send an update that is hit by this fault."""
    sandbox = Sandbox(10, client_id="a", client_secret="b", username="c", password="d")
    async with asyncio.timeout(10), sandbox:
        sandbox.configs["WCC00001"]["amount"] = 10
        wire = Wire(sandbox, *await asyncio.open_connection("127.0.0.1", sandbox.port))
        form = "grant_type=password&clientId=a&username=c&password=d"
        wire.send("POST /oauth/token", "Basic YTpi", "application/x-www-form-urlencoded", form)
        token = json.loads((await wire.answer())[2])["access_token"]
        sandbox.faults.append(fault)
        wire.send("PATCH /api/v0/enkash-coins/WCC00001", f"Bearer {token}", "application/json", '{"amount":77}')
        await until(lambda: sandbox.calls["update"] == 1)
        try:
            yield wire
        finally:
            wire.writer.close()


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until this is so."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # the truth that is waited for sets no event
            await asyncio.sleep(0)


async def test_without_a_fault_the_answer_is_whole() -> None:
    """The other side of every rule below: a request that nothing hits is applied and answered."""
    async with update_with(Fault("hang", on="update", nth=2)) as wire:
        status, _, body = await wire.answer()
        assert (status, json.loads(body)["payload"]["amount"]) == (200, 77)
        assert wire.applied
        assert await wire.is_silent()  # kept alive


async def test_latency() -> None:
    """It takes effect at once; the answer comes later, and is whole."""
    async with update_with(Fault("latency", seconds=LONG)) as wire:
        assert wire.applied
        assert await wire.is_silent()
    async with update_with(Fault("latency", seconds=0.002)) as wire:
        assert (await wire.answer())[0] == 200


async def test_rate_limited_with_retry_after() -> None:
    """429 with the header and the API's envelope; no effect."""
    async with update_with(Fault("rate_limited", retry_after=7)) as wire:
        status, headers, body = await wire.answer()
        assert (status, headers["retry-after"], json.loads(body)["response_code"]) == (429, "7", 1)
        assert not wire.applied


async def test_rate_limited_without_retry_after() -> None:
    """429 without the header, and an HTML body, as a CDN answers; no effect."""
    async with update_with(Fault("rate_limited")) as wire:
        status, headers, body = await wire.answer()
        assert (status, headers["content-type"], body[:6]) == (429, "text/html", b"<html>")
        assert "retry-after" not in headers
        assert not wire.applied


@pytest.mark.parametrize("status", [500, 503, 408])
async def test_server_error(status: int) -> None:
    """The status asked for, in the API's envelope; no effect."""
    async with update_with(Fault("server_error", status=status, retry_after="soon")) as wire:
        got, headers, body = await wire.answer()
        assert (got, headers["retry-after"], json.loads(body)["response_code"]) == (status, "soon", 1)
        assert not wire.applied


async def test_operation_failed() -> None:
    """HTTP 200 around a response_code that is not 0; no effect."""
    async with update_with(Fault("operation_failed")) as wire:
        status, _, body = await wire.answer()
        assert (status, json.loads(body)["response_code"]) == (200, 1)
        assert not wire.applied


@pytest.mark.parametrize("status", [502, 200])
async def test_html(status: int) -> None:
    """A page where JSON was expected, with a failure's status or even a success's; no effect."""
    async with update_with(Fault("html", status=status)) as wire:
        got, headers, body = await wire.answer()
        assert (got, headers["content-type"], body[:6]) == (status, "text/html", b"<html>")
        assert not wire.applied


async def test_malformed() -> None:
    """A success that is as long as announced and cannot be read; it took effect."""
    async with update_with(Fault("malformed")) as wire:
        status, headers, body = await wire.answer()
        assert (status, headers["content-type"]) == (200, "application/json")
        with pytest.raises(ValueError, match="Unterminated string"):
            json.loads(body)
        assert wire.applied
        assert await wire.is_silent()  # the connection itself is in order


async def test_cut() -> None:
    """Half of the announced body, then the end of the connection; it took effect."""
    async with update_with(Fault("cut")) as wire:
        status, headers = await wire.head()
        body = await wire.reader.read()
        assert status == 200
        assert len(body) == int(headers["content-length"]) // 2
        assert wire.applied


async def test_close() -> None:
    """A whole answer that does not announce the end of the connection, which comes after it."""
    async with update_with(Fault("close")) as wire:
        status, headers, _ = await wire.answer()
        assert (status, headers.get("connection")) == (200, None)
        assert await wire.reader.read() == b""
        assert wire.applied


async def test_unauthorized() -> None:
    """401 for a token that is good, and stays it; no effect."""
    async with update_with(Fault("unauthorized", on="update", nth=1)) as wire:
        status, _, body = await wire.answer()
        assert (status, json.loads(body)["error"]) == (401, "invalid_token")
        assert not wire.applied


async def test_large_header() -> None:
    """A whole answer with a header of that many bytes."""
    async with update_with(Fault("large_header", size=30_000)) as wire:
        status, headers, _ = await wire.answer()
        assert (status, len(headers["content-security-policy"])) == (200, 30_000)
        assert wire.applied


async def test_new_cookie() -> None:
    """A cookie of another name with every answer."""
    async with Sandbox(1, faults=[Fault("new_cookie", size=50)]) as sandbox:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as http:
            for _ in range(3):
                await status_of(http, f"{sandbox.base_url}/oauth/token")
    assert sorted(len(cookie.value) for cookie in jar) == [32, 32, 50, 50, 50]


async def test_disconnect_before_apply() -> None:
    """Not a byte, the end of the connection, and no effect."""
    async with update_with(Fault("disconnect_before_apply")) as wire:
        assert await wire.reader.read() == b""
        assert not wire.applied


async def test_disconnect_after_apply() -> None:
    """Not a byte, the end of the connection, and yet it took effect."""
    async with update_with(Fault("disconnect_after_apply")) as wire:
        assert await wire.reader.read() == b""
        assert wire.applied


async def test_applied_late() -> None:
    """The connection ends without an effect, which comes afterwards, and once."""
    async with update_with(Fault("applied_late", seconds=LONG)) as wire:
        assert await wire.reader.read() == b""
        assert not wire.applied
    async with update_with(Fault("applied_late", seconds=0.002)) as wire:
        assert await wire.reader.read() == b""
        await until(lambda: wire.applied)
        assert len(wire.sandbox.applied) == 1
        assert not wire.sandbox._late


async def test_late_effect_does_not_outlive_the_sandbox() -> None:
    """What is not applied when the sandbox is closed will never be."""
    async with update_with(Fault("applied_late", seconds=LONG)) as wire:
        (late,) = wire.sandbox._late
        await wire.sandbox.aclose()
        assert late.cancelled()


async def test_drip() -> None:
    """The whole answer, head and body, one byte at a time; it took effect at once."""
    async with update_with(Fault("drip", seconds=0.00001)) as wire:
        assert wire.applied
        answer = b""
        while not answer.endswith(b'"Success"}'):
            chunk = await wire.reader.read(1000)
            assert len(chunk) == 1
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_drip_takes_its_time() -> None:
    """No byte comes before its time."""
    async with update_with(Fault("drip", seconds=LONG)) as wire:
        assert await wire.reader.readexactly(1) == b"H"
        assert await wire.is_silent()


async def test_drip_ends_when_its_client_goes_away() -> None:
    """Nobody drips into a closed connection."""
    async with update_with(Fault("drip", seconds=0.0)) as wire:
        wire.writer.transport.abort()
        await until(lambda: not wire.sandbox._http.connections)


async def test_hang() -> None:
    """Nothing comes, the connection stays, and there is no effect; closing the sandbox ends it at once."""
    async with update_with(Fault("hang")) as wire:
        assert await wire.is_silent()
        assert not wire.applied
        await wire.sandbox.aclose()
        assert await wire.reader.read() == b""


async def test_hung_request_goes_with_its_client() -> None:
    """Clients that gave up leave nothing behind in a sandbox that runs for long."""
    async with update_with(Fault("hang")) as wire:
        wire.writer.transport.abort()
        await until(lambda: not wire.sandbox._http.connections)


@pytest.mark.parametrize("kind", FaultKind)
async def test_every_kind_hits_token_requests_too(kind: FaultKind) -> None:
    """The token endpoint can fail in each way in which the operations can; only real refusals count as failures."""
    slow = {"seconds": 0.0} if kind in {"latency", "drip", "applied_late"} else {}
    async with Sandbox(1, faults=[Fault(kind, on="token", **slow)]) as sandbox:  # type: ignore[arg-type]
        async with aiohttp.ClientSession() as http:
            login = asyncio.create_task(status_of(http, f"{sandbox.base_url}/oauth/token"))
            await until(lambda: sandbox.calls["token"] == 1)
            if kind == "hang":
                login.cancel()
            await asyncio.wait([login], timeout=10)
        untouched = {
            "rate_limited",
            "server_error",
            "operation_failed",
            "html",
            "disconnect_before_apply",
            "hang",
            "unauthorized",
        }
        await until(lambda: sandbox._login._failures == (kind not in untouched))


async def status_of(http: aiohttp.ClientSession, url: str) -> int | None:
    """The status that a post gets, or None if it gets no whole answer."""
    try:
        async with http.post(url) as answer:
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return None
