"""Many updates at once: streamed while a client listens, or in the background."""

import asyncio
import json
from pathlib import Path

import aiohttp

from enkash_coins.sandbox import Sandbox
from tests.examples.server import served, until

ROWS = 600


def rows(count: int) -> bytes:
    """So many rows, of configurations that exist."""
    return b"".join(b'{"coin_config_id": "WCC%05d", "amount": 7}\n' % (1 + row) for row in range(count))


async def test_hanging_up_ends_the_rest(tmp_path: Path) -> None:
    """Rows that have not begun when the client goes away are never sent."""
    async with Sandbox(ROWS, latency=0.05) as sandbox, served("starlette_campaigns", sandbox, tmp_path) as server:
        async with aiohttp.ClientSession(server.url) as client:
            answer = await client.post("/updates", data=rows(ROWS))
            assert json.loads(await answer.content.readline())["status"] == "applied"
            answer.close()
        await server.stop()
        assert sandbox.calls["update"] < ROWS // 2


async def test_bad_line_sends_nothing(tmp_path: Path) -> None:
    """A line that is no row is named, before any of the others is sent."""
    async with (
        Sandbox(5) as sandbox,
        served("starlette_campaigns", sandbox, tmp_path) as server,
        aiohttp.ClientSession(server.url) as client,
    ):
        for bad in (b'{"coin_config_id": "WCC00002", "amuont": 7}', b"WCC00002,7", b"[]", b"\xff"):
            for path in ("/updates", "/campaigns"):
                async with client.post(path, data=rows(1) + bad) as answer:
                    assert answer.status == 422
                    assert (await answer.text()).startswith("line 2: ")
        assert not sandbox.calls
        await server.stop()


async def test_refused_login_is_the_last_line(tmp_path: Path) -> None:
    """An answer that has begun with 200 says in its last line that it did not go well."""
    async with (
        Sandbox(5) as sandbox,
        served("starlette_campaigns", sandbox, tmp_path, ENKASH_PASSWORD="wrong") as server,
        aiohttp.ClientSession(server.url) as client,
    ):
        async with client.post("/updates", data=rows(3)) as answer:
            lines = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert {line["status"] for line in lines[:-1]} == {"not_sent"}
        assert lines[-1]["error"] == "LoginRefused"
        assert sandbox.calls == {"token": 1}
        await server.stop()


async def test_sigterm_finishes_the_rows_under_way(tmp_path: Path) -> None:
    """A campaign in the background stops between rows: what it calls applied is what was, and the rest is told."""
    async with Sandbox(ROWS, latency=0.05) as sandbox, served("starlette_campaigns", sandbox, tmp_path) as server:
        async with aiohttp.ClientSession(server.url) as client:
            async with client.post("/campaigns", data=rows(ROWS)) as answer:
                assert (answer.status, answer.headers["Location"]) == (202, "/campaigns/0")
            await until(lambda: sandbox.calls["update"] > 40)
            async with client.get("/campaigns/0") as progress:
                shown = await progress.json()
            async with client.get("/campaigns/1") as unknown:
                assert unknown.status == 404
        assert not shown["done"]
        assert sum(shown["rows"].values()) == ROWS
        output = await server.stop()
        applied = len(sandbox.applied)
        assert applied < ROWS
        assert f"campaign 0: {{'waiting': {ROWS - applied}, 'applied': {applied}}}" in output


async def test_campaign_runs_on_by_itself(tmp_path: Path) -> None:
    """Nobody has to wait for it; how it went can be asked for later."""
    async with (
        Sandbox(5) as sandbox,
        served("starlette_campaigns", sandbox, tmp_path) as server,
        aiohttp.ClientSession(server.url) as client,
    ):
        async with client.post("/campaigns", data=rows(6)) as answer:
            assert answer.status == 202
        async with asyncio.timeout(3):
            while True:
                async with client.get("/campaigns/0") as progress:
                    shown = await progress.json()
                if shown["done"]:
                    break
        assert shown["rows"] == {"waiting": 0, "applied": 5, "rejected": 1}
        output = await server.stop()
        assert "campaign 0, row 5: rejected" in output
