"""What it costs to import the package and to start the command, as processor time of a process of its own.

    python -m benchmarks.start [--rounds 10]

Each is compared with ``import aiohttp`` in pairs. All files are compiled before anything counts.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
from typing import Final

STARTS: Final = {
    "python -c pass": ("-c", "pass"),
    "import aiohttp": ("-c", "import aiohttp"),
    "import enkash_coins": ("-c", "import enkash_coins"),
    "import enkash_coins.transports.aiohttp": ("-c", "import enkash_coins.transports.aiohttp"),
    "enkash-coins --help": ("-m", "enkash_coins", "--help"),
}
_COMPARED_WITH = "import aiohttp"


def measure(rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds of each start, median, and the median of its ratios to ``import aiohttp``."""
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for number in range(rounds + 1):
        for name in random.sample(list(STARTS), len(STARTS)):
            spent = _seconds(STARTS[name])
            if number:  # in the first, files were compiled
                seconds[name].append(spent)
    return {
        name: (statistics.median(every), statistics.median(map(_divided, every, seconds[_COMPARED_WITH])))
        for name, every in seconds.items()
    }


def _divided(one: float, other: float) -> float:
    return one / other


def _seconds(arguments: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: S603  # our own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    for name, (seconds, ratio) in measure(parser.parse_args().rounds).items():
        print(f"{name:40} {seconds * 1000:6.0f} ms {ratio:6.2f}")


if __name__ == "__main__":
    main()
