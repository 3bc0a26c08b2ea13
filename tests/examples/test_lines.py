"""What the README of the examples says is what happens."""

import asyncio
import json
from pathlib import Path

import pytest

from enkash_coins.sandbox import Sandbox
from tests.examples.server import FOLDER, LINES, README, environment, served


def test_readme_names_every_example() -> None:
    """No example is left out, and a pattern that found nothing would pass every other rule."""
    starters = {file.stem for file in FOLDER.glob("*_*.py")} - {"http_answers"}
    assert set(LINES) == starters
    assert all(f"[{file.name}]({file.name})" in README for file in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", LINES)
async def test_lines_run_as_they_stand(name: str, tmp_path: Path) -> None:
    """Whoever pastes the two lines sees it work."""
    async with Sandbox(configs=5) as sandbox, served(name, sandbox, tmp_path) as server:
        attempt = LINES[name][1]
        assert attempt.count("http://127.0.0.1:8000") == 1
        pasted = await asyncio.create_subprocess_shell(
            attempt.replace("http://127.0.0.1:8000", server.url),
            env=environment(sandbox, tmp_path),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await pasted.communicate()
        answers = [json.loads(line) for line in out.splitlines()]
        if name.endswith("_orders"):
            assert answers == [{"order_id": "1001", "request_id": "order-1001", "user_id": "EK1", "given": True}]
            assert [body["requestId"] for body in sandbox.allocations] == ["order-1001"]
        else:
            statuses = {answer["coin_config_id"]: answer["status"] for answer in answers[:-1]}
            assert statuses == {"WCC00001": "applied", "NOPE": "rejected"}
            assert answers[-1] == {"end": {"applied": 1, "rejected": 1}}
            assert sandbox.configs["WCC00001"]["amount"] == 12
        await server.stop()
