"""What a hostile answer may cost: less than 32 MiB of a client's memory, C libraries' included."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import enkash_coins
from tests.faults.hostile import MIB, of_size
from tests.wire.server import Exchange, Server, Step, well

PACKAGE = Path(enkash_coins.__file__ or "").parents[1]


async def test_no_answer_costs_much_memory(tally: Counter[str]) -> None:
    """The resident set of a client in a process of its own, at its peak: bombs, endless heads, bodies and cookies."""
    cases = of_size()
    ids = {f"CASE-{number}": case for number, (case, _) in enumerate(cases.values())}

    def script(exchange: Exchange) -> list[Step]:
        case = ids.get(exchange.line.split()[1].rpartition("/")[2])
        return well(exchange) if case is None else list(case.steps)

    async with Server(script) as server:
        program = Path(__file__).with_name("hostile_client.py")
        child = await asyncio.create_subprocess_exec(
            sys.executable, program, server.url, stdin=-1, stdout=-1, env={"PYTHONPATH": str(PACKAGE)}
        )
        assert child.stdin is not None
        assert child.stdout is not None
        grown: dict[str, int] = {}
        for name, (id_, (case, calls)) in zip(cases, zip(ids, cases.values(), strict=True), strict=True):
            child.stdin.write(f"{id_} {0.2 if case.endless else 30} {calls}\n".encode())
            told = json.loads(await asyncio.wait_for(child.stdout.readline(), 60))
            assert told["points"] == 1250, name
            assert (told["ending"] == "success") == case.readable, (name, told)
            grown[name] = told["grown"]
            tally["large and endless answers"] += calls
        child.stdin.close()
        assert await child.wait() == 0
    too_much = {name: f"{more / MIB:.1f} MiB" for name, more in grown.items() if more >= 32 * MIB}
    assert not too_much
    assert max(grown.values()) > MIB, "this test was blind"
    tally["MiB that a client grew by at most, by one of them"] += round(max(grown.values()) / MIB)
