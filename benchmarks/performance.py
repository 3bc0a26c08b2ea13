"""Measures what one update costs in each way, and what starting costs; writes it into docs/performance.md.

    python -m benchmarks.performance [--rounds 20] [--slice 1000]

The page has a place for each version of Python that it shows. `nox -s bench` runs this with the peers installed.
"""

import argparse
import logging
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks import cpu, instructions, start
from benchmarks.page import machine, write
from benchmarks.ways import PLAIN, ways

_LIBRARIES = ("msgspec", "uvloop", "httpx", "niquests", "azure-core", "elastic-transport", "aiosonic", "pyreqwest")


def _updates(rounds: int, count: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="enkash-cpu-") as folder:
        known = ways(Path(folder))
        spent = cpu.measure(known, rounds, count)
    counted = instructions.count(known)
    lines = ["| one update by | instructions | ratio | CPU | ratio (quartiles) |", "|---|--:|--:|--:|--:|"]
    for name, one in spent.items():
        number, (low, high) = counted[name], one.quartiles
        lines.append(
            f"| {name} | {number:,} | {number / counted[PLAIN]:.3f}"
            f" | {one.seconds * 1e6:.0f} µs | {one.ratio:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return lines


def _starts(rounds: int) -> list[str]:
    lines = ["| start | CPU | ratio |", "|---|--:|--:|"]
    for name, (seconds, ratio) in start.measure(rounds).items():
        lines.append(f"| `{name}` | {seconds * 1000:.0f} ms | {ratio:.2f} |")
    return lines


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slice", type=int, default=1_000)
    options = parser.parse_args()
    if find_spec("pyreqwest") is None:
        sys.exit("The peers are not installed: nox -s bench")
    logging.getLogger("enkash_coins").setLevel(logging.ERROR)  # the server answers with one id for all
    lines = [*_updates(options.rounds, options.slice), "", *_starts(options.rounds), "", f"{machine()}; "]
    lines[-1] += ", ".join(f"{name} {version(name)}" for name in _LIBRARIES) + "."
    text = "\n".join(lines)
    print(text)
    write("CPython {}.{}".format(*sys.version_info), text)


if __name__ == "__main__":
    main()
