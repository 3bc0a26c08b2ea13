"""The sandbox as a server of its own, and the demo that brings its own."""

import asyncio
import csv
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from enkash_coins.bulk import Run
from enkash_coins.bulk.comparison import OK, Values
from enkash_coins.bulk.files import read
from enkash_coins.bulk.kinds import UPDATES
from enkash_coins.calls.retry import RetryPolicy
from enkash_coins.cli.exits import Exit, say
from enkash_coins.cli.runs import code_of_run
from enkash_coins.cli.settings import JsonLines
from enkash_coins.cli.summary import print_json, show_run
from enkash_coins.cli.watch import carry_out, watched
from enkash_coins.service import CoinEventService

if TYPE_CHECKING:
    from enkash_coins.sandbox import Sandbox

_LATENCY = 0.05
_ARRIVED = 1.0  # seconds after which nothing arrives late in the sandbox
_MISSING_EVERY = 200


async def sandbox(
    *,
    configs: int = 1000,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 0,
    fault: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    encrypted: bool = False,
    latency: float = 0.0,
    rate: float | None = None,
    burst: float | None = None,
    window: float | None = None,
    retry_after: Annotated[bool, Parameter(negative="--no-retry-after")] = True,
    capacity: int | None = None,
    queue: Annotated[bool, Parameter(negative="--no-queue")] = True,
    idle_timeout: float = 3600.0,
    token_life: float = 86_399.0,
    one_token: bool = False,
    seed: int = 0,
    dedupe: Annotated[bool, Parameter(negative="--no-dedupe")] = True,
) -> int:
    """Run the coin API on this machine, to try things out. Ctrl-C ends it.

    Prints the ENKASH_* variables that lead the other commands to it. A browser shows at its address what it holds and
    does.

    Args:
        configs: How many there are: WCC00001 and so on, besides the documented WCC12345.
        port: Where to listen; 0 for a free port.
        fault: What goes wrong, such as 'update:3=disconnect_after_apply' or '*:10%=rate_limited,retry_after=2';
            several times for several.
        encrypted: Bodies travel encrypted.
        latency: Seconds that a request is worked on.
        rate: Requests per second, beyond which it answers 429.
        burst: Requests let in at once after a pause; without it as many as in a second.
        window: Count the rate in windows of so many seconds instead.
        retry_after: A 429 says when to come back.
        capacity: Requests worked on at once.
        queue: What is beyond the capacity waits; else it gets 503.
        idle_timeout: Seconds after which an unused connection is closed.
        token_life: Seconds that a token is valid.
        one_token: A new token ends the one before.
        seed: The same one makes the same configurations and the same chance faults.
        dedupe: Refuse a request id that was used before.
    """
    from enkash_coins.sandbox import Sandbox

    try:
        server = Sandbox(
            configs,
            port=port,
            faults=fault,
            encrypted=encrypted,
            latency=latency,
            rate=rate,
            burst=burst,
            window=window,
            retry_after=retry_after,
            capacity=capacity,
            queue=queue,
            idle_timeout=idle_timeout,
            token_life=token_life,
            one_token=one_token,
            seed=seed,
            dedupe=dedupe,
        )
    except (ValueError, ModuleNotFoundError) as error:
        say(f"sandbox: {error}")
        return Exit.USAGE
    try:
        await server.start()
    except OSError as error:
        say(f"sandbox: cannot listen on port {port}: {os.strerror(error.errno or 0).lower()}")
        return Exit.USAGE
    async with aclosing(server):
        for name, value in server.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        sys.stdout.flush()
        say(
            "sandbox: running, with made-up credentials. Paste these lines into another terminal, and open"
            f" {server.base_url} in a browser to see what happens; Ctrl-C ends it"
        )
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return Exit.INTERRUPTED


async def demo(
    *, rows: Annotated[int, Parameter(validator=Number(gte=1))] = 1000, keep: bool = False, json: JsonLines = False
) -> int:
    """See it all: start a sandbox, write a file of updates, plan and apply them, and check what came of it.

    Args:
        rows: How many updates.
        keep: Keep the files, to look at them.
    """
    from enkash_coins.sandbox import Fault, Sandbox

    # Fewer configurations than rows: some rows are about the same one, and become one write.
    server = Sandbox(max(1, rows * 9 // 10), latency=min(_LATENCY, _LATENCY * 1000 / rows))
    for nth, kind in enumerate(("server_error", "disconnect_after_apply", "rate_limited"), 1):
        server.faults.append(Fault(kind, on="update", nth=range(nth * 7, 10 * rows + 100, nth * 50)))
    folder = tempfile.mkdtemp(prefix="enkash-demo-")
    try:
        file = Path(folder, "updates.csv")
        missing = _write(file, rows, list(server.configs))
        code = await _demonstrated(server, file, missing, json=json)
    finally:
        if not keep:
            shutil.rmtree(folder)
    _tell(f"The files are kept in {folder}" if keep else "The files are deleted again; with --keep they stay.")
    _tell("Next, try a file of your own: enkash-coins sandbox")
    return code


def _write(file: Path, rows: int, ids: list[str]) -> int:
    """Write the demo's file; returns how many of its rows name an id that does not exist."""
    dice = Random(0)  # noqa: S311  # the same file every time
    missing = rows // _MISSING_EVERY
    with file.open("x", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["coin_config_id", "amount", "configuration"])
        for number in range(rows):
            gone = number % _MISSING_EVERY == _MISSING_EVERY // 2 and number // _MISSING_EVERY < missing
            name = f"GONE{number:05}" if gone else ids[number % len(ids)]
            writer.writerow([name, dice.randrange(1, 1000), dice.choice(["DEFAULT", "CUSTOM", ""])])
    return missing


async def _demonstrated(server: "Sandbox", file: Path, missing: int, *, json: bool) -> int:
    async with server:
        _tell(f"A sandbox of the coin API runs at {server.base_url}, on this machine only.")
        _tell("Now and then it fails on purpose: 503, 429, or the connection breaks off.")
        _tell(f"\nenkash-coins plan --last-wins {file.name}: reads every configuration, and writes nothing there")
        async with CoinEventService.connect(server.base_url, auth=server.auth, retry=RetryPolicy(base=0.1)) as coins:
            to = file.with_suffix(".run")
            run = await watched(partial(Run.plan, read(str(file)), coins, to=to, last_wins=True))
            show_run(run, stderr=True)
            _tell(f"\nenkash-coins apply {to.name}: writes what is planned")
            await carry_out(run, partial(run.apply, coins, timeout=_ARRIVED))
        show_run(run, stderr=True)
        if json:
            print_json(run)
        wrong = _differences(server, file)
    if run.stopped:
        return code_of_run(run)
    rows = run.counts.total()
    calls = server.calls
    requests = f"{calls['token']} login, {calls['get']:,} readings and {calls['update']:,} writings for {rows:,} rows"
    if wrong or sum(run.counts[state] for state in OK) != rows - missing:
        say(f"demo: that was not as it should be: {len(wrong)} configurations differ from the file. {requests}.")
        return Exit.NOT_APPLIED
    _tell(f"\nChecked: every configuration in the sandbox is what the file says. It took {requests}.")
    return Exit.WELL


def _differences(server: "Sandbox", file: Path) -> list[str]:
    """The ids of which the sandbox does not hold what the file says; of several rows the last one counts."""
    wanted: dict[str, Values] = {}
    for item in read(str(file)):
        id_, _, values = UPDATES.kept(item)
        wanted.setdefault(str(id_), {}).update(values)
    held = server.configs
    return [name for name, values in wanted.items() if name in held and not values.items() <= held[name].items()]


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
