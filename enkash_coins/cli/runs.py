"""Runs on the command line: planned, asked about, applied, gone on with, shown, taken back."""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from enkash_coins.bulk import AlreadyThere, BadFile, Run, State
from enkash_coins.bulk.comparison import OK
from enkash_coins.bulk.files import Item, Rows
from enkash_coins.bulk.files.problems import printable, reason
from enkash_coins.bulk.files.source import STANDARD_INPUT
from enkash_coins.bulk.kinds import UPDATES
from enkash_coins.bulk.planning import digest
from enkash_coins.cli.exits import Exit, code_of, explained, say
from enkash_coins.cli.files import FILE_DEFAULTS, FileOptions
from enkash_coins.cli.settings import DEFAULTS, Host, JsonLines
from enkash_coins.cli.summary import counted, described, print_json, show_run
from enkash_coins.cli.watch import carry_out, watched
from enkash_coins.errors import EnkashError, InvalidRequest, LoginRefused, LoginSuspended
from enkash_coins.service import CoinEventService

_MAGIC = b"SQLite format 3\0"
# As a plan should be; a run that is there already may be applied in part.
_PLANNED = frozenset({*OK, State.PLANNED, State.SENT, State.MISMATCHED})


def _no_option(_: type, value: str) -> None:
    if value.startswith("-") and value != STANDARD_INPUT:
        raise ValueError("There is no such option; for a file of this name, write ./ before it")


File = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]  # a lone hyphen is standard input
Output = Annotated[str | None, Parameter(name=("--output", "-o"))]
Read = Annotated[bool, Parameter(negative="--no-read")]
Check = Annotated[bool, Parameter(negative="--no-check")]


async def plan(
    file: File,
    /,
    *,
    output: Output = None,
    allocate: bool = False,
    create: bool = False,
    read: Read = True,
    max_change: str | None = None,
    last_wins: bool = False,
    allow_repeats: bool = False,
    form: FileOptions = FILE_DEFAULTS,
    json: JsonLines = False,
    host: Host = DEFAULTS,
) -> int:
    """Show what a file would change, and keep it as a run to be applied; writes nothing remotely.

    FILE has coin_config_id, and any of amount, configuration, company_id, event; an empty cell leaves a value as it is.
    All of it is checked, and every configuration is read, before anything is planned. Rows of one configuration become
    one write. Interrupted, the same command goes on.

    Args:
        file: CSV, JSON, Excel, OpenDocument or Parquet; - for standard input.
        output: The run's file; else FILE with the ending .run.
        allocate: FILE has allocations: company_id, event, user_id, and maybe request_id.
        create: FILE has new configurations: company_id, event, amount, configuration.
        read: Without reading, nothing can be told to have changed since the plan.
        max_change: Refuse changes of an amount by more, such as 20% or 50.
        last_wins: Of rows that give one field of one configuration different values, the last one counts.
        allow_repeats: Give allocations again that stand there twice, or that a run in the same folder has given.
    """
    rows = form.rows(file, allocate=allocate, create=create, allow_repeats=allow_repeats)
    to = _beside(file, rows) if output is None else Path(output)
    async with host.connect() as coins:
        planned = partial(Run.plan, rows, coins, to=to, read=read, max_change=max_change, last_wins=last_wins)
        run = await watched(partial(planned, allow_repeats=allow_repeats))
    return _told(run, well=_PLANNED, json=json)


async def apply(
    file: File,
    /,
    *,
    output: Output = None,
    yes: bool = False,
    check: Check = True,
    force: bool = False,
    replay: bool = False,
    allocate: bool = False,
    create: bool = False,
    read: Read = True,
    max_change: str | None = None,
    last_wins: bool = False,
    allow_repeats: bool = False,
    form: FileOptions = FILE_DEFAULTS,
    json: JsonLines = False,
    host: Host = DEFAULTS,
) -> int:
    """Work off a run, or plan a file and apply it at once; the same command again goes on where it stopped.

    Each configuration is read right before it is written; what somebody else has changed since the plan is left alone.
    Where a request got no clear answer and may still arrive, it waits --timeout seconds, and reads once more.

    Args:
        file: A run; or a file as for plan: its run is kept beside it, that of standard input in this folder.
        output: The run's file, of a file.
        yes: Do not ask.
        check: Without it nothing is read right before it is written, and what somebody else has changed is overwritten.
        force: Write also what somebody else has changed since the plan.
        replay: In doubt send allocations again, with the same ids. No document says that EnKash gives coins once then.
        allocate: FILE has allocations, as for plan.
        create: FILE has new configurations, as for plan.
        read: As for plan.
        max_change: As for plan.
        last_wins: As for plan.
        allow_repeats: As for plan.
    """
    is_run = _is_run(file)
    _refuse_without_terminal(yes=yes)
    if is_run:
        run = Run.open(file)
        async with host.connect() as coins:
            return await _applied(run, coins, yes=yes, check=check, force=force, replay=replay, json=json)
    rows = form.rows(file, allocate=allocate, create=create, allow_repeats=allow_repeats)
    async with host.connect() as coins:
        planned = partial(Run.plan, rows, coins, read=read, max_change=max_change, last_wins=last_wins)
        planned = partial(planned, allow_repeats=allow_repeats)
        found: Run | None = None
        for to in [Path(output)] if output else _names(_beside(file, rows), cache(partial(digest, rows))):
            with suppress(*() if output else (AlreadyThere,)):
                found = await watched(partial(planned, to=to))
                break
        assert found is not None  # noqa: S101  # there is always a name that is free
        return await _applied(found, coins, yes=yes, check=check, force=force, replay=replay, json=json)


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
    to = os.path.splitext(run)[0] + ".rollback.run" if output is None else output  # noqa: PTH122  # as it was named
    async with host.connect() as coins:
        back = await watched(partial(done.rollback, coins, to=to))
        return await _applied(back, coins, yes=yes, force=force, json=json)


def show(
    run: str,
    /,
    *,
    state: Annotated[str | None, Parameter(name="--state")] = None,
    json: JsonLines = False,
) -> int:
    """Show what became of a run's rows.

    Args:
        run: The run's file.
        state: Only rows of these states, with commas, such as drifted,rejected; one a line.
    """
    shown = Run.open(run)
    states = tuple(State) if state is None else tuple(map(_state, state.split(",")))
    if json:
        print_json(shown, states)
    elif state is not None:
        for record in shown.records(states):
            print(described(record))
    else:
        show_run(shown)
        _say_next(shown)
    return Exit.WELL


def _state(name: str) -> State:
    try:
        return State(name.strip())
    except ValueError:
        raise InvalidRequest(f"--state: {name!r} is none of {', '.join(State)}") from None


def _refuse_without_terminal(*, yes: bool) -> None:
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
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


def _beside(file: str, rows: Rows[Item]) -> Path:
    """Where the run of a file is; that of a pipe is in this folder, and named after what came through it."""
    if file == STANDARD_INPUT or not Path(file).is_file():
        return Path(f"stdin-{digest(rows)[:12]}.run")
    return Path(file).with_suffix(".run")


def _names(first: Path, digest_of_rows: Callable[[], str]) -> Iterator[Path]:
    """Where the run of these rows may be: theirs that is not done, or not to be repeated; else the first free one."""
    numbered = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
    for path in itertools.chain((first,), numbered):
        if path.exists():
            with suppress(BadFile):  # whoever plans there says what it is
                run = Run.open(path)
                done = run.kind is UPDATES and (run.finished or "taken_back_by" in run.facts)
                if done or run.facts["input"] != digest_of_rows():
                    continue
        yield path


async def _applied(
    run: Run,
    coins: CoinEventService,
    *,
    yes: bool,
    json: bool,
    check: bool = True,
    force: bool = False,
    replay: bool = False,
) -> int:
    """Ask, apply and say what came of it."""
    for note in run.notes:
        say(note)
    if run.counts[State.UNREAD]:
        return _told(run, json=json)
    run.refuse_closed()
    if not _to_do(run, replay=replay):
        since = run.facts.get("finished")
        done = f"{run.name} was finished {since}" if since else f"all of {run.name} is as wanted already"
        say(f"nothing to do: {done}" if run.finished else f"nothing to do: {run.name} holds what is in doubt")
        return _told(run, json=json)
    if not yes and not _confirmed(run, check=check):
        say(f"nothing was written; the plan is kept: {run.name}")
        return Exit.NOT_APPLIED
    await carry_out(run, partial(run.apply, coins, check=check, force=force, replay=replay))
    return _told(run, json=json)


def _to_do(run: Run, *, replay: bool) -> bool:
    """Whether there is something that an apply would work on."""
    held = {*OK} if run.kind is UPDATES else {*OK, State.MISMATCHED}
    if run.kind is not UPDATES and not replay:
        held.add(State.UNKNOWN)
    return any(count for state, count in run.counts.items() if state not in held)


def _confirmed(run: Run, *, check: bool) -> bool:
    """Whether the user agrees."""
    show_run(run, check=check, stderr=True)
    writes = counted(run.counts.total() - sum(run.counts[state] for state in OK), "row")
    print(f"Write {writes} to {run.facts['base_url']}? [y/N] ", end="", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop's would wait for the answer
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)


def _told(run: Run, *, well: frozenset[State] = OK, json: bool) -> int:
    """Say what came of it; the exit code for that."""
    if run.ended_by is not None:
        why = explained(run.ended_by) if isinstance(run.ended_by, EnkashError) else run.ended_by
        say(f"ended early: {why}")
    if json:
        print_json(run)
    else:
        show_run(run)
    _say_next(run)
    return code_of_run(run, well)


def _say_next(run: Run) -> None:
    """Name the next command."""
    by = run.facts.get("taken_back_by")
    if by is not None:
        told = f"enkash-coins show {printable(by)}"
    elif run.counts[State.UNREAD]:
        told = "the same plan again; it goes on where it stopped"
    elif run.finished and run.kind is UPDATES and run.counts[State.APPLIED]:
        told = f"enkash-coins rollback {run.name}, to take it back"
    elif _to_do(run, replay=False):
        force = ", with --force also over what somebody else has set" if run.counts[State.DRIFTED] else ""
        told = f"enkash-coins apply {run.name}{force}"
    else:
        told = f"enkash-coins show {run.name}"
    print(f"Next: {told}", file=sys.stderr)


def code_of_run(run: Run, well: frozenset[State] = OK) -> int:
    """The exit code that says what became of a run.

    Args:
        well: states that are as they should be.
    """
    doubt = run.counts[State.UNKNOWN] + run.counts[State.SENT] > 0
    if run.stopped:  # all rows may be applied, and something still arrive late
        return Exit.INTERRUPTED
    if isinstance(run.ended_by, LoginRefused | LoginSuspended):
        return code_of(run.ended_by)
    if doubt and run.kind is not UPDATES:
        return Exit.DOUBT
    if run.host_failed:
        return Exit.HOST
    if doubt:
        return Exit.DOUBT
    if run.ended_by is None and all(state in well for state, count in run.counts.items() if count):
        return Exit.WELL
    return Exit.NOT_APPLIED
