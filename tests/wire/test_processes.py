"""Whole programs under ``-X dev -W error``: they end well, and say nothing about what they left open."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.wire.failures import authority, server_tls
from tests.wire.server import CONFIG, Exchange, Peer, Server, Step, envelope, hang, http

PROGRAMS = Path(__file__).with_name("programs.py")

# Names, exit code and what is printed. Several share a process where they should not mind, for starting one takes time.
ENDINGS = {
    "normal": (0, "10 0"),
    "never_used,closed_by_hand,left_early,interrupted": (0, "10 0\ninterrupted"),
    "exit_inside": (7, "10 0"),
    "two_runs,closed_in_another_run": (0, "10 0\n10 0\n10 0"),
    "other_loop": (0, "10 0\nTrue\nTrue\n10 0"),
}


def own(exchange: Exchange) -> list[Step]:
    """A good answer that names the id that was asked for."""
    asked = exchange.line.split()[1].rpartition("/")[2]
    return [http(200, envelope(CONFIG | {"coinConfigId": asked}))]


@pytest.fixture(params=["http", "https"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """The same over TLS as without."""
    async with Server(own, tls=server_tls() if request.param == "https" else None) as server:
        yield server


async def run(
    program: str, server: Server, tmp_path: Path, go_on: asyncio.Event | None = None
) -> tuple[int | None, str, str]:
    """Its exit code, and what it wrote to stdout and stderr; a line on stdin tells it to go on."""
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = [str(tmp_path / "ca.pem")] if server.url.startswith("https") else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "dev", "-W", "error", str(PROGRAMS), program, server.url, *tls),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if go_on is not None:
        await go_on.wait()
    out, err = await process.communicate(b"\n")
    return process.returncode, out.decode().strip(), err.decode()


@pytest.mark.parametrize("program", ENDINGS)
async def test_programs_end_well(program: str, server: Server, tmp_path: Path) -> None:
    """No "Unclosed", no "Event loop is closed", nothing at all on stderr, however the program ends."""
    code, out, err = await run(program, server, tmp_path)
    assert err == ""
    assert (code, out) == ENDINGS[program]


@pytest.mark.parametrize("program", ["fork_between_runs", "fork_inside_a_run"])
async def test_a_fork_never_shares_a_socket(program: str, server: Server, tmp_path: Path) -> None:
    """The child of a fork works on a connection of its own, and leaves the parent's as it was."""
    code, out, err = await run(program, server, tmp_path)
    assert err == ""
    assert (code, out) == (0, "child 0")
    by_name: dict[str, set[int]] = {"PARENT": set(), "CHILD": set()}
    for exchange in server.seen:
        by_name[exchange.line.split()[1].rpartition("/")[2]].add(exchange.connection)
    assert by_name == {"PARENT": {1}, "CHILD": {2}}


async def test_closing_ends_calls_in_flight(server: Server, tmp_path: Path) -> None:
    """Calls that are sent are in doubt, calls that waited for their turn are certainly not sent."""
    all_in = asyncio.Event()

    async def count(_: Peer) -> None:
        if server.in_flight == 32:
            all_in.set()

    server.script = lambda _: [count, hang]
    code, out, err = await run("close_while_in_flight", server, tmp_path, all_in)
    assert err == ""
    assert (code, out) == (0, "32 in doubt, 8 not sent")
