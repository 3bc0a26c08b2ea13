# ruff: noqa: T201  # a program prints
"""A program that looks at what ``mutmut run`` left alive, run by ``nox -s mutants``.

It fails if more than a tenth of all mutants survive, if one survives that ``survivors.toml`` does not know, or if that
list knows one that does not survive any more.
"""

import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import attrs

LIST = Path(__file__).with_name("survivors.toml")
MOST = 0.1


@attrs.frozen
class Entry:
    """One kind of mutant that may live.

    Attributes:
        function: of the package, with its module.
        change: stands in a line that was put in; all of the function's if it is empty.
        why: nothing is lost by it.
    """

    function: str
    change: str
    why: str


def mutmut(*arguments: str) -> str:
    """What it prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def function_of(mutant: str) -> str:
    """``enkash_coins.calls.retry.xǁRetryBudgetǁrefill__mutmut_1`` is of ``calls.retry.RetryBudget.refill``."""
    module, _, name = mutant.removeprefix("enkash_coins.").rpartition(".")
    name = name.partition("__mutmut_")[0]
    return f"{module}.{name.removeprefix('xǁ').replace('ǁ', '.') if 'ǁ' in name else name.removeprefix('x_')}"


def put_in(mutant: str) -> str:
    """The lines that the mutant has and the package has not."""
    lines = mutmut("show", mutant).splitlines()
    return "\n".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))


def main() -> int:
    """The exit code."""
    listed = [Entry(**entry) for entry in tomllib.loads(LIST.read_text("utf-8"))["may_live"]]
    states = dict(line.strip().split(": ") for line in mutmut("results", "--all", "true").splitlines() if ": " in line)
    ended = Counter(states.values())
    alive = [name for name, state in states.items() if state not in ("killed", "timeout", "caught by type check")]
    known: Counter[Entry] = Counter()
    unknown = []
    for name in alive:
        function, change = function_of(name), put_in(name)
        entry = next((one for one in listed if one.function == function and one.change in change), None)
        if entry is None:
            unknown.append(f"{function}: {change}")
        else:
            known[entry] += 1
    for entry, number in known.items():
        print(f"{number:4}  {entry.function}  {entry.change}\n      {entry.why}")
    print(f"{len(states)} mutants, {dict(ended)}: {len(alive) / len(states):.1%} survive")
    gone = [entry for entry in listed if not known[entry]]
    for line in unknown:
        print(f"not in the list: {line}", file=sys.stderr)
    for entry in gone:
        print(f"in the list, but gone: {entry.function} {entry.change}", file=sys.stderr)
    return bool(unknown or gone) or len(alive) >= MOST * len(states)


if __name__ == "__main__":
    sys.exit(main())
