"""Whole programs under ``-X dev -W error``: they end well, and say nothing about what they left open."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.failures import authority, server_tls
from tests.wire.server import CONFIG, Exchange, Peer, Server, Step, envelope, hang, http

PROGRAMS = Path(__file__).with_name("programs.py")

# Names, exit code and what is printed. Several share a process where they should not mind, for starting one takes time.
ENDINGS = {
    "normal": (0, "10 0"),
    "never_used,closed_by_hand,left_early,interrupted": (0, "10 0\n10 0\n10 0\ninterrupted"),
    "exit_inside": (7, "10 0"),
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
        ready = [asyncio.ensure_future(event.wait()) for event in (go_on, process)]
        await asyncio.wait(ready, return_when=asyncio.FIRST_COMPLETED)
        for waiting in ready:
            waiting.cancel()
    out, err = await process.communicate(b"\n")
    return process.returncode, out.decode().strip(), err.decode()


async def deaf(peer: Peer) -> None:
    """Read nothing more, not even the client's goodbye: a TLS connection that waits for ours would never close."""
    transport: Any = peer.writer.transport
    if peer.writer.get_extra_info("ssl_object") is not None:
        transport = transport._ssl_protocol._transport  # asyncio hides it; above it reading would go on
    transport.pause_reading()


@pytest.mark.parametrize("program", ENDINGS)
async def test_programs_end_well(program: str, server: Server, tmp_path: Path) -> None:
    """No "Unclosed", no "Event loop is closed", nothing at all on stderr, however the program ends."""
    code, out, err = await run(program, server, tmp_path)
    assert err == ""
    assert (code, out) == ENDINGS[program]


async def test_a_service_outlives_its_loop(server: Server, tmp_path: Path) -> None:
    """It works in the next loop, on new connections, and is closed there. That the loop before was closed over open
    connections is told by Python itself, as it should be, and by nobody else.
    """
    code, out, err = await run("two_runs,closed_in_another_run", server, tmp_path)
    assert (code, out) == (0, "10 0\n10 0\n10 0")
    assert "Event loop is closed" not in err
    assert "Unclosed" not in err
    raised = [
        line for line in err.splitlines() if line[:1].isalpha() and not line.startswith(("Exception ", "Traceback "))
    ]
    assert all(line.startswith("ResourceWarning: unclosed ") for line in raised), err
    assert len({exchange.connection for exchange in server.seen}) >= 3


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


@pytest.mark.parametrize(
    ("program", "ends"),
    [("close_while_in_flight", "4 in doubt, 36 not sent"), ("cancel_while_in_flight", "40 cancelled")],
)
async def test_closing_ends_calls_in_flight(program: str, ends: str, server: Server, tmp_path: Path) -> None:
    """Calls that are sent are in doubt, those that waited for their turn certainly not; neither keeps a socket open,
    even if the server does not so much as notice.
    """
    all_in = asyncio.Event()

    async def count(_: Peer) -> None:
        if server.in_flight == 4:
            all_in.set()

    server.script = lambda _: [deaf, count, hang]
    code, out, err = await run(program, server, tmp_path, all_in)
    assert err == ""
    assert (code, out) == (0, ends)
