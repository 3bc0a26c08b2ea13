"""A real browser without a window: pages are looked at as people look at them."""

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
# A browser that talks to nobody but the page, also when run as root.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


@attrs.define(eq=False)
class Page:
    """One page in the browser, over the DevTools protocol."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    problems: list[str] = attrs.field(factory=list)
    _ids: "itertools.count[int]" = attrs.field(factory=lambda: itertools.count(1))

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  # the protocol's
        """Send one command and wait for its result; what the page complains of meanwhile is kept."""
        number = next(self._ids)
        session = {"sessionId": self.session} if self.session else {}
        await self.socket.send_json({"id": number, "method": method, "params": parameters, **session})
        while True:
            message = await self.socket.receive_json(timeout=30)
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.problems.append(str(message["params"]))

    async def open(self, url: str, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
        """Go there, in a window of this size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await self.ask("Page.navigate", url=url)
        await self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    async def run(self, script: str) -> Any:  # noqa: ANN401  # whatever it is
        """The value of an expression in the page."""
        done = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(30):
            while not await self.run(script):  # noqa: ASYNC110  # the page sets no event of ours
                await asyncio.sleep(0.02)

    async def picture(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode((await self.ask("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A new browser with an empty page."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        quiet = asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(
            CHROMIUM, *FLAGS, f"--user-data-dir={folder}", stdout=quiet, stderr=quiet
        )
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.ws_connect(await _address(folder), max_msg_size=0) as socket,
            ):
                page = Page(socket)
                target = await page.ask("Target.createTarget", url="about:blank")
                attached = await page.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                page.session = attached["sessionId"]
                for domain in ("Page", "Runtime", "Log"):
                    await page.ask(f"{domain}.enable")
                yield page
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _address(folder: str) -> str:
    file = Path(folder, "DevToolsActivePort")
    async with asyncio.timeout(60):
        while True:
            with suppress(FileNotFoundError, ValueError):
                port, path = file.read_text(encoding="ascii").split()  # noqa: ASYNC240  # a few bytes
                return f"ws://127.0.0.1:{port}{path}"
            await asyncio.sleep(0.02)
