"""Runs on the command line: planned, asked about, applied, gone on with, shown, taken back."""

import asyncio
import itertools
import json as json_text
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from enkash_coins.bulk import AlreadyThere, BadFile, Record, Run, State
from enkash_coins.bulk.crew import Told
from enkash_coins.bulk.report import explained
from enkash_coins.bulk.rows import Format
from enkash_coins.bulk.source import STANDARD_INPUT, printable, reason
from enkash_coins.bulk.state import OK
from enkash_coins.cli.exits import Exit, code_of, say
from enkash_coins.cli.progress import Progress, progress
from enkash_coins.cli.settings import DEFAULTS, Host
from enkash_coins.cli.summary import described, show_run
from enkash_coins.errors import LoginRefused, LoginSuspended
from enkash_coins.service import CoinEventService

_MAGIC = b"SQLite format 3\0"
_REFUSED = (State.REJECTED, State.NOT_SENT, State.DRIFTED)


def _no_option(_: type, value: str) -> None:
    if value.startswith("-") and value != STANDARD_INPUT:
        raise ValueError("There is no such option; for a file of this name, write ./ before it")


File = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]  # a lone hyphen is standard input
Output = Annotated[str | None, Parameter(name=("--output", "-o"))]


def plan(
    file: File,
    /,
    *,
    output: Output = None,
    allocate: bool = False,
    read: Annotated[bool, Parameter(negative="--no-read")] = True,
    max_change: str | None = None,
    format: Format | None = None,  # noqa: A002  # the option's name
    json: bool = False,
    host: Host = DEFAULTS,
) -> int:
    """Show what a file would change, and keep it as a run to be applied; writes nothing remotely.

    The whole file is checked, and every configuration is read, before anything is planned. Interrupted, the same
    command goes on.

    Args:
        file: CSV or JSON Lines; - for standard input. Columns: coin_config_id, and any of amount, configuration,
            company_id, event. An empty cell leaves the value as it is.
        output: The run's file; else FILE with the ending .run.
        allocate: FILE has allocations: company_id, event, user_id, and maybe request_id.
        read: Without reading nothing is known of what is there, and there is no rollback.
        max_change: Refuse rows that change an amount by more, such as 20% or 50.
        format: What FILE holds, if its name does not tell.
        json: Print one line of JSON for each row, then one for all.
    """
    to = Path(output) if output is not None else _beside(file)

    async def planned(coins: CoinEventService) -> int:
        run = await watched(
            lambda told: Run.plan(
                file, coins, to=to, allocate=allocate, read=read, max_change=max_change, form=format, on_progress=told
            )
        )
        return _planned(run, json=json)

    return _performed(host, planned)


def apply(
    file: File,
    /,
    *,
    yes: bool = False,
    force: bool = False,
    replay: bool = False,
    allocate: bool = False,
    max_change: str | None = None,
    format: Format | None = None,  # noqa: A002  # the option's name
    json: bool = False,
    host: Host = DEFAULTS,
) -> int:
    """Work off a run, or plan a file and apply it at once; the same command again goes on where it stopped.

    Rows of one id are sent one after another, in the file's order.

    Args:
        file: A run; or a file of updates as for plan: its run is kept beside it.
        yes: Do not ask.
        force: Write also what somebody else has changed since the plan.
        replay: Send allocations again in doubt, with the same request ids. It is not documented that EnKash gives coins
            only once then.
        allocate: FILE has allocations, as for plan.
        max_change: Refuse rows of a file that change an amount by more, such as 20% or 50.
        format: What FILE holds, if its name does not tell.
        json: Print one line of JSON for each row, then one for all.
    """
    is_run = _is_run(file)
    _refuse_without_terminal(yes=yes)
    run = Run.open(file) if is_run else None

    async def applied(coins: CoinEventService) -> int:
        done = run
        for to in _names(file) if done is None else ():
            with suppress(AlreadyThere):
                done = await watched(
                    partial(_plan_at, to, file, coins, allocate=allocate, max_change=max_change, form=format)
                )
                break
        assert done is not None  # noqa: S101  # there is no end of names
        return await _applied(done, coins, host, yes=yes, force=force, replay=replay, json=json)

    return _performed(host, applied)


def rollback(
    run: str,
    /,
    *,
    output: Output = None,
    yes: bool = False,
    force: bool = False,
    json: bool = False,
    host: Host = DEFAULTS,
) -> int:
    """Take a run back: plan what was there before as a new run, and apply that.

    Only where the configuration still holds what the run has left. company_id cannot be read, and is not taken back.

    Args:
        run: The run's file.
        output: The new run's file; else RUN with the ending .rollback.run.
        yes: Do not ask.
        force: Take back also what somebody else has changed since.
        json: Print one line of JSON for each row, then one for all.
    """
    _refuse_without_terminal(yes=yes)
    done = Run.open(run)
    to = Path(output) if output is not None else done.path.with_suffix(".rollback.run")

    async def applied(coins: CoinEventService) -> int:
        back = await watched(lambda told: done.rollback(coins, to=to, on_progress=told, timeout=host.timeout))
        return await _applied(back, coins, host, yes=yes, force=force, replay=False, json=json)

    return _performed(host, applied)


def show(run: str, /, *, status: State | None = None, json: bool = False) -> int:
    """Show what became of a run's rows.

    Args:
        run: The run's file.
        status: Only rows of this status, one a line.
        json: Print one line of JSON for each row, then one for all.
    """
    shown = Run.open(run)
    states = tuple(State) if status is None else (status,)
    if json:
        print_json(shown, states)
    elif status is not None:
        for record in shown.records(states):
            print(f"line {record.line} {described(record)}")
    else:
        show_run(shown)
    return Exit.WELL


def _plan_at(
    to: Path,
    file: str,
    coins: CoinEventService,
    told: Told,
    *,
    allocate: bool,
    max_change: str | None,
    form: Format | None,
) -> Awaitable[Run]:
    return Run.plan(
        file, coins, to=to, allocate=allocate, max_change=max_change, form=form, unless_done=True, on_progress=told
    )


def _refuse_without_terminal(*, yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise BadFile("there is no terminal to ask on: --yes is required to write")


def _is_run(file: str) -> bool:
    if file == STANDARD_INPUT or file.endswith(".run"):
        return file != STANDARD_INPUT
    try:
        path = Path(file)
        if stat.S_ISFIFO(path.stat().st_mode):
            return False  # who opens a pipe to look loses what is in it
        with path.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise BadFile(f"{printable(file)}: {reason(error)}") from None


def _beside(file: str) -> Path:
    return Path("stdin.run") if file == STANDARD_INPUT else Path(file).with_suffix(".run")


def _names(file: str) -> Iterator[Path]:
    """Where the run of a file may be; for standard input, which can be read but once, only those that are free."""
    first = _beside(file)
    for path in itertools.chain((first,), (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))):
        if file != STANDARD_INPUT or not path.exists():
            yield path


def _performed(host: Host, work: Callable[[CoinEventService], Awaitable[int]]) -> int:
    async def performed() -> int:
        async with host.connect() as coins:
            return await work(coins)

    return asyncio.run(performed())


async def watched(work: Callable[[Told], Awaitable[Run]]) -> Run:
    """Plan under the eyes of the user; what was read so far is kept when it is interrupted."""
    shown = Progress(State.UNREAD)
    task = asyncio.ensure_future(work(shown))
    with _on_signals(task.cancel):
        try:
            async with progress(shown):
                return await task
        except asyncio.CancelledError:
            pass
    raise KeyboardInterrupt


async def _applied(
    run: Run, coins: CoinEventService, host: Host, *, yes: bool, force: bool, replay: bool, json: bool
) -> int:
    """Ask, apply and say what came of it."""
    if run.counts[State.UNREAD]:
        return _planned(run, json=json)
    if not yes and not _confirmed(run):
        say(f"nothing was written; the plan is kept: {run.name}")
        return Exit.NOT_APPLIED
    await carry_out(run, coins, host, force=force, replay=replay)
    show_run(run)
    if json:
        print_json(run)
    return code_of_run(run)


async def carry_out(
    run: Run, coins: CoinEventService, host: Host, *, force: bool = False, replay: bool = False
) -> None:
    """Apply a run under the eyes of the user."""
    shown = Progress(State.PLANNED)

    def interrupted() -> None:
        if not shown.stopped:
            say("stopping: rows under way get 2 s to come to an end; Ctrl-C again stops at once")
        shown.stopped = True
        run.stop("interrupted")

    with _on_signals(interrupted):
        async with progress(shown):
            await run.apply(coins, on_progress=shown, force=force, replay=replay, timeout=host.timeout)


def _confirmed(run: Run) -> bool:
    """Whether the user agrees."""
    show_run(run)
    print(f"Write to {run.facts['host']}? [y/N] ", end="", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop's would wait for the answer
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _on_signals(action: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _planned(run: Run, *, json: bool) -> int:
    show_run(run)
    if json:
        print_json(run)
    counts = run.counts
    if counts[State.UNREAD]:
        return code_of_run(run)
    return Exit.NOT_APPLIED if any(counts[state] for state in _REFUSED) else Exit.WELL


def code_of_run(run: Run) -> int:
    """The exit code that says what became of a run."""
    if run.stopped:  # all rows may be applied, and one still be overwritten by what arrives late
        return Exit.INTERRUPTED
    if all(state in OK for state, count in run.counts.items() if count):
        return Exit.WELL
    if isinstance(run.ended_by, LoginRefused | LoginSuspended):
        return code_of(run.ended_by)
    return Exit.HOST if run.host_failed else Exit.NOT_APPLIED


def print_json(run: Run, states: tuple[State, ...] = tuple(State)) -> None:
    """One line for each row, then one for all."""
    for record in run.records(states):
        print(json_text.dumps(_as_dict(record, run.kind.key)))
    ended_by = None if run.ended_by is None else str(run.ended_by)
    counts = {state: count for state, count in run.counts.items() if count}
    print(json_text.dumps({"summary": counts, "rows": run.counts.total(), "run": str(run.path), "ended_by": ended_by}))


def _as_dict(record: Record, key: str) -> dict[str, object]:
    return {
        "line": record.line,
        key: record.id,
        "status": record.state,
        "wanted": record.wanted,
        "before": record.before,
        "found": record.found,
        "attempts": record.attempts,
        "late_risk": record.late is not None,
        "reason": explained(record) or None,
    }
