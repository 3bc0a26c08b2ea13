"""Runs on the command line: planned, asked about, applied, gone on with, shown, taken back."""

import itertools
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from enkash_coins.bulk import AlreadyThere, BadFile, Run, State
from enkash_coins.bulk.rows import Format
from enkash_coins.bulk.source import STANDARD_INPUT, printable, reason
from enkash_coins.bulk.state import OK
from enkash_coins.cli.exits import Exit, code_of, say
from enkash_coins.cli.settings import DEFAULTS, Host, JsonLines
from enkash_coins.cli.summary import described, print_json, show_run
from enkash_coins.cli.watch import carry_out, watched
from enkash_coins.errors import LoginRefused, LoginSuspended
from enkash_coins.service import CoinEventService

_MAGIC = b"SQLite format 3\0"
# What a plan may hold; a run that is there already may be applied, too, and in doubt.
_PLANNED = set(State) - {State.UNREAD, State.REJECTED, State.NOT_SENT, State.DRIFTED}


def _no_option(_: type, value: str) -> None:
    if value.startswith("-") and value != STANDARD_INPUT:
        raise ValueError("There is no such option; for a file of this name, write ./ before it")


File = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]  # a lone hyphen is standard input
Output = Annotated[str | None, Parameter(name=("--output", "-o"))]
Form = Annotated[Format | None, Parameter(name="--format")]


async def plan(
    file: File,
    /,
    *,
    output: Output = None,
    allocate: bool = False,
    read: Annotated[bool, Parameter(negative="--no-read")] = True,
    max_change: str | None = None,
    form: Form = None,
    json: JsonLines = False,
    host: Host = DEFAULTS,
) -> int:
    """Show what a file would change, and keep it as a run to be applied; writes nothing remotely.

    FILE has coin_config_id, and any of amount, configuration, company_id, event; an empty cell leaves a value as it is.
    All of it is checked, and every configuration is read, before anything is planned.
    Interrupted, the same command goes on.

    Args:
        file: CSV or JSON Lines; - for standard input.
        output: The run's file; else FILE with the ending .run.
        allocate: FILE has allocations: company_id, event, user_id, and maybe request_id.
        read: Without reading nothing is known of what is there, and there is no rollback.
        max_change: Refuse rows that change an amount by more, such as 20% or 50.
        form: What FILE holds, if its name does not tell.
    """
    to = _beside(file) if output is None else Path(output)
    async with host.connect() as coins:
        run = await watched(
            partial(Run.plan, file, coins, to=to, allocate=allocate, read=read, max_change=max_change, form=form)
        )
    return _told(run, *_PLANNED, json=json)


async def apply(
    file: File,
    /,
    *,
    yes: bool = False,
    force: bool = False,
    replay: bool = False,
    allocate: bool = False,
    max_change: str | None = None,
    form: Form = None,
    json: JsonLines = False,
    host: Host = DEFAULTS,
) -> int:
    """Work off a run, or plan a file and apply it at once; the same command again goes on where it stopped.

    Rows of one id are sent one after another, in the file's order.
    Where a request got no clear answer and may still arrive, it waits --timeout seconds, and reads once more.

    Args:
        file: A run; or a file of updates as for plan: its run is kept beside it.
        yes: Do not ask.
        force: Write also what somebody else has changed since the plan.
        replay: In doubt send allocations again, with the same ids. No document says that EnKash gives coins once then.
        allocate: FILE has allocations, as for plan.
        max_change: Refuse rows of a file that change an amount by more, such as 20% or 50.
        form: What FILE holds, if its name does not tell.
    """
    is_run = _is_run(file)
    _refuse_without_terminal(yes=yes)
    run = Run.open(file) if is_run else None
    async with host.connect() as coins:
        to = _names(file)
        planned = partial(Run.plan, file, coins, allocate=allocate, max_change=max_change, form=form, unless_done=True)
        while run is None:
            with suppress(AlreadyThere):
                run = await watched(partial(planned, to=next(to)))
        return await _applied(run, coins, yes=yes, force=force, replay=replay, json=json)


async def rollback(
    run: str,
    /,
    *,
    output: Output = None,
    yes: bool = False,
    force: bool = False,
    json: JsonLines = False,
    host: Host = DEFAULTS,
) -> int:
    """Take a run back: plan what was there before as a new run, and apply that.

    Only where the configuration still holds what the run has left. company_id cannot be read, and is not taken back.
    Where a request of the run may still arrive, it waits first until --timeout seconds have passed.

    Args:
        run: The run's file.
        output: The new run's file; else RUN with the ending .rollback.run.
        yes: Do not ask.
        force: Take back also what somebody else has changed since.
    """
    _refuse_without_terminal(yes=yes)
    done = Run.open(run)
    to = done.path.with_suffix(".rollback.run") if output is None else Path(output)
    async with host.connect() as coins:
        back = await watched(partial(done.rollback, coins, to=to))
        return await _applied(back, coins, yes=yes, force=force, json=json)


def show(run: str, /, *, status: State | None = None, json: JsonLines = False) -> int:
    """Show what became of a run's rows.

    Args:
        run: The run's file.
        status: Only rows of this status, one a line.
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


def _refuse_without_terminal(*, yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise BadFile("there is no terminal to ask on: --yes is required to write")


def _is_run(file: str) -> bool:
    path = Path(file)
    if file == STANDARD_INPUT or path.is_fifo():  # who opens a pipe to look loses what is in it
        return False
    if file.endswith(".run"):
        return True
    try:
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


async def _applied(
    run: Run, coins: CoinEventService, *, yes: bool, force: bool, replay: bool = False, json: bool
) -> int:
    """Ask, apply and say what came of it."""
    if run.counts[State.UNREAD]:
        return _told(run, json=json)
    if not yes and not _confirmed(run):
        say(f"nothing was written; the plan is kept: {run.name}")
        return Exit.NOT_APPLIED
    await carry_out(run, partial(run.apply, coins, force=force, replay=replay))
    return _told(run, json=json)


def _confirmed(run: Run) -> bool:
    """Whether the user agrees."""
    show_run(run)
    print(f"Write to {run.facts['base_url']}? [y/N] ", end="", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop's would wait for the answer
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)


def _told(run: Run, *well: State, json: bool) -> int:
    """Say what came of it; the exit code for that."""
    show_run(run)
    if json:
        print_json(run)
    return code_of_run(run, *well)


def code_of_run(run: Run, *well: State) -> int:
    """The exit code that says what became of a run.

    Args:
        well: states that are as they should be; applied and unchanged, if none is given.
    """
    if run.stopped:  # all rows may be applied, and one still be overwritten by what arrives late
        return Exit.INTERRUPTED
    if run.ended_by is None and all(state in (well or OK) for state, count in run.counts.items() if count):
        return Exit.WELL
    if isinstance(run.ended_by, LoginRefused | LoginSuspended):
        return code_of(run.ended_by)
    return Exit.HOST if run.host_failed else Exit.NOT_APPLIED
