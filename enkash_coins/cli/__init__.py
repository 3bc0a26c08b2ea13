"""The command: parsing and printing only. Here is what works without the extra."""

import os
import sys
from collections.abc import Sequence

from enkash_coins.extras import lacking

_NEEDED = ("cyclopts", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: the arguments; ``None`` for those of the process.
    """
    try:
        from enkash_coins.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        print(f"enkash-coins: {lacking('this command', 'cli')}", file=sys.stderr)
        return 2
    try:
        code = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails once more when it flushes at exit
        if isinstance(error, BrokenPipeError):  # whoever read our output has gone away
            return 130
        where = f"{error.filename}: " if error.filename else ""
        print(f"enkash-coins: {where}{error.strerror or error}", file=sys.stderr)
        return 5
    return code
