"""A file of updates: shown, asked about, applied, accounted for."""

import asyncio
import json as json_text
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from enkash_coins.bulk.application import Application, UpdateOutcome
from enkash_coins.bulk.not_applied import NotApplied
from enkash_coins.bulk.rows import Format, Row, UpdateFile
from enkash_coins.bulk.source import STANDARD_INPUT, BadFile, Source, reason
from enkash_coins.cli.exits import Exit, code_of, say
from enkash_coins.cli.operations import facts
from enkash_coins.cli.progress import progress
from enkash_coins.cli.settings import DEFAULTS, Host
from enkash_coins.cli.summary import Summary
from enkash_coins.errors import LoginRefused, LoginSuspended
from enkash_coins.service import CoinEventService


def _no_option(_: type, value: str) -> None:
    if value.startswith("-") and value != STANDARD_INPUT:
        raise ValueError("There is no such option; for a file of this name, write ./ before it")


File = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]  # a lone hyphen is standard input


def apply(
    file: File,
    /,
    *,
    yes: bool = False,
    json: bool = False,
    not_applied: str | None = None,
    format: Format | None = None,  # noqa: A002  # the option's name
    host: Host = DEFAULTS,
) -> int:
    """Apply a file of updates, many at once.

    The whole file is checked before anything is sent. Rows of one id are sent one after another, in the file's order.
    Rows that were not applied are written, with the reason, to a file that can be applied again.

    Args:
        file: CSV or JSON Lines; - for standard input. Columns: coin_config_id, and any of amount, configuration,
            company_id, event. An empty cell leaves the value as it is.
        yes: Do not ask.
        json: Print one line of JSON for each row, then one for all.
        not_applied: File for rows that were not applied; else one beside FILE.
        format: What FILE holds, if its name does not tell.
    """
    with Source(file) as source:
        rows = UpdateFile(source, format)
        coins = host.connect()
        try:
            agreed = yes or _confirmed(rows, host.address())
        except KeyboardInterrupt:
            say("interrupted; nothing was sent")
            return Exit.INTERRUPTED
        if not agreed:
            say("nothing was sent")
            return Exit.NOT_APPLIED
        with NotApplied(rows, not_applied) as rest:
            _, code = asyncio.run(carry_out(coins, rows, rest, json=json))
            return code


def _confirmed(rows: UpdateFile, address: str) -> bool:
    if not sys.stdin.isatty():
        raise BadFile("there is no terminal to ask on: --yes is required to write")
    print(f"{described(rows)}\nto {address}", file=sys.stderr)
    print("Apply them? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def described(rows: UpdateFile) -> str:
    """How much there is to do."""
    return f"{rows.source.name}: {_number(rows.count, 'update')} of {_number(rows.ids, 'configuration')}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class _JsonLines:
    """Lines on standard output, as long as they can be written."""

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def print(self, line: dict[str, object]) -> None:
        if self.failure is None:
            try:
                print(json_text.dumps(line))
            except OSError as error:  # its reader has gone away, or the disk is full
                self.failure = error

    @property
    def code(self) -> Exit | None:
        """The exit code that a failure asks for."""
        if self.failure is None:
            return None
        return Exit.INTERRUPTED if isinstance(self.failure, BrokenPipeError) else Exit.STORAGE


async def carry_out(
    coins: CoinEventService, rows: UpdateFile, rest: NotApplied, *, json: bool = False
) -> tuple[Application, Exit]:
    """Apply the rows under the eyes of the user, and say what became of them; closes the service."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=not sys.stderr.isatty())
    summary = Summary()
    lines = _JsonLines()

    def told(row: Row, outcome: UpdateOutcome) -> None:
        summary.add(row, outcome)
        if json:
            lines.print(_as_dict(row, outcome))
        if lines.failure is not None and not application.stopped:
            application.stop(f"interrupted, standard output: {reason(lines.failure)}")

    def interrupted() -> None:
        first = not application.stopped
        application.stop("interrupted")
        if first:
            console.print("Stopping: rows under way get 2 s to come to an end; Ctrl-C again stops at once")

    application = Application(rows, rest, told=told)
    try:
        async with coins:
            with _on_signals(interrupted):
                async with progress(application, console):
                    await application.run(coins)
    except OSError as error:
        say(f"{reason(error)}: not every row is accounted for; apply {rows.source.name} again as a whole")
        return application, Exit.STORAGE
    finally:
        summary.show(application, console)
    if rest.path is not None:
        console.print(f"{_number(rest.count, 'row')} to apply again, with reasons: {rest.path}")
    if json:
        lines.print(_total(application, rest))
    return application, lines.code or _code(application)


@contextmanager
def _on_signals(action: Callable[[], None]) -> Iterator[None]:
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


def _as_dict(row: Row, outcome: UpdateOutcome) -> dict[str, object]:
    return {
        "line": row.line,
        "coin_config_id": row.update.coin_config_id,
        "status": outcome.status,
        "attempts": outcome.attempts,
        "late_risk": outcome.late_risk,
        "result": None if outcome.result is None else outcome.result.as_dict(),
        "error": None if outcome.error is None else facts(outcome.error),
    }


def _total(application: Application, rest: NotApplied) -> dict[str, object]:
    return {
        "summary": dict(application.counts),
        "rows": application.rows.count,
        "not_applied": None if rest.path is None else str(rest.path),
        "ended_by": None if application.ended_by is None else str(application.ended_by),
    }


def _code(application: Application) -> Exit:
    all_ok = application.ok == application.rows.count
    if application.stopped and not all_ok:
        return Exit.INTERRUPTED
    if isinstance(application.ended_by, LoginRefused | LoginSuspended):
        return code_of(application.ended_by)
    if isinstance(application.ended_by, BadFile) and not application.done:
        return Exit.USAGE
    if all_ok:
        return Exit.WELL
    return Exit.NOT_APPLIED if application.host_answers else Exit.HOST
