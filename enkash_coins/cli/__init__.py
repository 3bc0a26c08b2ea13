"""The command: parsing and printing only. Here is what works without the extra."""

import sys
from collections.abc import Sequence

from enkash_coins.cli import ending, streams
from enkash_coins.extras import lacking

_NEEDED = ("cyclopts", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: the arguments; ``None`` for those of the process, which then is the command's own: its signals and
            standard streams, too.
    """
    if argv is None:
        streams.prepare()
        ending.listen()
    try:
        from enkash_coins.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        print(f"enkash-coins: {lacking('this command', 'cli')}", file=sys.stderr)
        return 2
    return ending.leave(run(sys.argv[1:] if argv is None else argv))
