"""The commands, and what is common to running any of them."""

import logging
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from enkash_coins._version import __version__
from enkash_coins.bulk import BadFile, LedgerFailed
from enkash_coins.cli import login, operations, runs, servers
from enkash_coins.cli.exits import Exit, code_of, explained, say
from enkash_coins.errors import EnkashError

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
        log.addHandler(_ForPeople(logging.WARNING))
    try:
        code: object = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        say(" ".join(str(error).split()))
        return Exit.USAGE
    except BadFile as error:
        for problem in error.problems:
            say(problem)
        return Exit.USAGE
    except LedgerFailed as error:
        say(str(error))
        return Exit.STORAGE
    except EnkashError as error:
        say(explained(error))
        return code_of(error)
    except ModuleNotFoundError as error:  # an extra's: its message is the command that installs it
        say(str(error))
        return Exit.USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.WELL


class _ForPeople(logging.Handler):
    """The package's warnings, but for those that the command tells in its own words."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.module not in ("call", "stream", "password_grant"):
            say(f"warning: {record.getMessage()}")
