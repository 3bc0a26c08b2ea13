"""The commands, and what is common to running any of them."""

import inspect
import logging
import os
from collections.abc import Sequence

from cyclopts import App, Parameter

from enkash_coins._version import __version__
from enkash_coins.cli import ending, login, operations, runs, servers
from enkash_coins.cli.exits import FAILURES, Exit, say, told

_EPILOGUE = """\
Credentials come from the environment only: ENKASH_TOKEN; or ENKASH_CLIENT_ID, ENKASH_CLIENT_SECRET, \
ENKASH_USERNAME and ENKASH_PASSWORD.

Exit codes: 0 all well, 1 refused or some rows not applied, 2 usage or bad input, 3 login refused or suspended, \
4 host not reached or refusing all, 5 local storage failed, 6 something may have been applied, 130 interrupted.

New here? 'enkash-coins demo' shows it all, on this machine only."""


def _default(value: object) -> str | None:
    """How a default is shown: an option that is off unless given needs no word for it."""
    return None if value is None or value is False else str(value)


app = App(
    name="enkash-coins",
    help="EnKash coin events: one at a time, or a file of updates at once.",
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=(), show_default=_default),
    suppress_keyboard_interrupt=False,
)
for command in (
    operations.get,
    operations.update,
    operations.create,
    operations.allocate,
    operations.balance,
    runs.plan,
    runs.apply,
    runs.rollback,
    runs.show,
    login.login,
    servers.sandbox,
    servers.demo,
):
    app.command(command, sort_key=len(list(app)))


def run(argv: Sequence[str]) -> int:
    """Run one command; every failure that is not a mistake of ours is one line and an exit code."""
    log = logging.getLogger("enkash_coins")
    if not log.handlers:
        log.addHandler(_ForPeople())
    if "--no-color" in argv:  # of any command, wherever it stands
        os.environ["NO_COLOR"] = "1"
        argv = [argument for argument in argv if argument != "--no-color"]
    try:
        command, bound, _ = app.parse_args(argv, exit_on_error=False, print_error=False)
        code = command(*bound.args, **bound.kwargs)
        if inspect.iscoroutine(code):
            code = ending.run(code)
    except FAILURES as error:
        lines, code = told(error)
        for line in lines:
            say(line)
    return code if isinstance(code, int) else Exit.WELL


class _ForPeople(logging.Handler):
    """What the package logs, but for the warnings that the command tells in its own words."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            say(record.getMessage())
        elif record.module not in ("call", "stream", "password_grant"):
            say(f"warning: {record.getMessage()}")
