"""An example as its README starts it: a process of its own, with a sandbox behind it."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from enkash_coins.sandbox import Sandbox

FOLDER = Path(__file__).parents[2] / "examples"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
# By the example's name: the line that starts it, and the one that tries it.
LINES = {
    name: (start, attempt)
    for name, start, attempt in re.findall(
        r"^\*\*\[(\w+)\.py\][^\n]*\n\n```sh\n([^\n]+)\n([^\n]+)\n```", README, re.MULTILINE
    )
}
ORDERS = ("fastapi_orders", "aiohttp_orders", "prefork_orders")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_NOISE = ("Traceback", "Unclosed", "never retrieved", "was destroyed", "ResourceWarning", "never awaited")


@attrs.define
class Served:
    """A running example.

    Attributes:
        url: where it listens.
        printed: its lines so far, of both streams.
    """

    name: str
    url: str
    process: asyncio.subprocess.Process
    printed: list[str]
    _reader: "asyncio.Task[None]"

    async def stop(self) -> str:
        """End it by SIGTERM, and return all that it has printed; it must end well, and in time."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(8):  # a call's deadline is 5 s
            code = await self.process.wait()
            await self._reader
        output = "".join(self.printed)
        # uvicorn hands the signal on to itself after it has shut down: that is how it says that it was told to.
        assert code == (-signal.SIGTERM if "uvicorn" in LINES[self.name][0] else 0), output
        assert not [noise for noise in _NOISE if noise in output], output
        return output


@asynccontextmanager
async def served(name: str, sandbox: Sandbox, folder: Path, **settings: str) -> AsyncIterator[Served]:
    """Start a copy of an example by the README's own line, on a free port instead of 8000."""
    start = LINES[name][0]
    assert start.count("8000") == 1
    for file in FOLDER.glob("*.py"):
        shutil.copy(file, folder)
    process = await asyncio.create_subprocess_exec(
        *shlex.split(start.replace("8000", "0")),
        cwd=folder,
        env=environment(sandbox, folder) | settings,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    printed: list[str] = []
    reader = asyncio.create_task(_read(process.stdout, printed, address))
    try:
        async with asyncio.timeout(20):
            url = await address
        yield Served(name, url, process, printed, reader)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader


async def until(happened: Callable[[], object]) -> None:
    """Let all others work until something has happened at the sandbox."""
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110  # its counters wake nobody
            await asyncio.sleep(0.005)


def environment(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """Variables that lead to the sandbox and to this Python, and show all that it has to complain of."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    loud = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default::ResourceWarning"}
    return {**os.environ, **sandbox.environment, **loud, "PATH": path, "HOME": str(folder)}


async def _read(stream: asyncio.StreamReader, printed: list[str], address: asyncio.Future[str]) -> None:
    async for line in stream:
        printed.append(line.decode())
        found = _ADDRESS.search(printed[-1])
        if found and not address.done():
            address.set_result(found[0])
    if not address.done():
        address.set_exception(RuntimeError("".join(printed)))
