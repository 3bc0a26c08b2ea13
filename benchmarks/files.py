"""What reading a CSV file costs, as ratios to the standard library's readers on the same file.

python -m benchmarks.files [--rows 200000] [--rounds 7]

``check`` is all that happens before the first row is handed on: every line is checked. ``read`` is that, and an object
made of each row.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from enkash_coins import CoinAllocation, CoinEventUpdate
from enkash_coins.bulk import Rows, read

_FILES = {
    "3 columns": ("coin_config_id,amount,configuration", "WCC{0:08},{1},DEFAULT"),
    "5 columns": (
        "coin_config_id,amount,configuration,company_id,event",
        "WCC{0:08},{1},DEFAULT,CEK{1},INVOICE_PAYMENT",
    ),
    "5 in quotes": (
        "coin_config_id,amount,configuration,company_id,event",
        '"WCC{0:08}","{1}","DEFAULT","CEK{1}","DIWALI"',
    ),
    "allocations": ("company_id,event,user_id", "CEK{1},REFERRAL_EVENT,EK{0}"),
    "cell by cell": ("coin_config_id;amount;event", 'WCC{0:08};"{1},00";INVOICE_PAYMENT'),
}


def _rows(path: Path) -> Rows[CoinEventUpdate] | Rows[CoinAllocation]:
    return read(path, CoinAllocation) if path.name == "allocations" else read(path)


def _seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _drain(rows: Iterable[object]) -> None:
    deque(rows, maxlen=0)


def _stdlib(path: Path, reader: Callable[[Iterable[str]], Iterable[object]]) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        _drain(reader(file))


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Medians of seconds, taken in turns."""
    runs: dict[str, Callable[[], object]] = {
        "csv.reader": lambda: _stdlib(path, csv.reader),
        "csv.DictReader": lambda: _stdlib(path, csv.DictReader),
        "check": lambda: next(iter(_rows(path))),
        "read": lambda: _drain(_rows(path)),
    }
    taken = [{name: _seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    return {name: statistics.median(turn[name] for turn in taken) for name in runs}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{'':14}csv.reader   check/reader   read/reader   read/DictReader")
    with tempfile.TemporaryDirectory() as folder:
        for name, (header, row) in _FILES.items():
            path = Path(folder, name)
            with path.open("w", encoding="utf-8") as file:
                file.write(f"{header}\n")
                file.writelines(row.format(number, number % 1000) + "\n" for number in range(options.rows))
            found = measure(path, options.rounds)
            reader, check, whole = found["csv.reader"], found["check"], found["read"]
            print(
                f"{name:14}{reader / options.rows * 1e6:7.2f} µs {check / reader:14.2f} {whole / reader:13.2f} "
                f"{whole / found['csv.DictReader']:17.2f}"
            )


if __name__ == "__main__":
    main()
