"""Instructions in user space for one update in each way; unlike time, they are the same on a busy machine.

Everything runs under valgrind's cachegrind, in processes forked from one that has imported all. Each way is run with
two numbers of updates: the difference is what one costs, without the start and the first connections.

    python -m benchmarks.instructions [--keep] [WAY ...]

It fails when a way's ratio to plain aiohttp is more than 2 % above the one kept in ``instructions.toml`` for this
version of Python; ``--keep`` keeps those found now.
"""

import argparse
import asyncio
import gc
import logging
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from benchmarks.server import fast_server
from benchmarks.ways import PLAIN, Way, ways

_KEPT = Path(__file__).with_suffix(".toml")
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_LENGTHS = (320, 1280)
_TOLERATED = 1.02


def count(names: Iterable[str]) -> dict[str, int]:
    """Instructions for one update, by way."""
    with fast_server() as base_url, tempfile.TemporaryDirectory(prefix="enkash-instructions-") as folder:
        known = ways(Path(folder))
        chosen = dict.fromkeys((PLAIN, *names))
        for name in chosen:
            if (prepare := known[name].prepare) is not None:
                for length in _LENGTHS:
                    asyncio.run(prepare(base_url, length))
        command = ["valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={folder}/%p"]
        command += [sys.executable, "-m", "benchmarks.instructions", "--beneath", base_url, folder, *chosen]
        environment = os.environ | {"PYTHONHASHSEED": "0"}  # else sets have another order each time
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # our own module
        totals = [int(Path(folder, pid).read_text().rpartition("summary:")[2]) for pid in done.stdout.split()]
    more = _LENGTHS[1] - _LENGTHS[0]
    return {name: (long - short) // more for name, short, long in zip(chosen, totals[::2], totals[1::2], strict=True)}


def _beneath(base_url: str, folder: str, *names: str) -> None:
    """Beneath valgrind: a process for each way and length, two at a time; prints their numbers."""
    known = ways(Path(folder))
    gc.collect()
    gc.freeze()  # else a collection now and then looks through all that was imported
    for name in names:
        children = []
        for length in _LENGTHS:
            child = os.fork()
            if not child:
                with asyncio.Runner(loop_factory=known[name].loop) as runner:
                    runner.run(_send(known[name], base_url, length))
                os._exit(0)  # the end is not counted, and pyreqwest aborts at it
            children.append(child)
        for child in children:
            if os.waitpid(child, 0)[1]:
                sys.exit(f"{name} failed")
        print(*children, flush=True)


async def _send(way: Way, base_url: str, length: int) -> None:
    async with way.open(base_url) as send:
        await send(length)


def _worse(found: dict[str, int], kept: dict[str, int]) -> list[str]:
    """What got dearer, in words. By the ratio: another build of Python counts otherwise, for plain aiohttp as well."""
    ratios = {name: (found[name] / found[PLAIN], kept[name] / kept[PLAIN]) for name in found if name in kept}
    return [
        f"{name}: {now:.3f} of plain aiohttp, {now / before - 1:.1%} more than the {before:.3f} that is kept"
        for name, (now, before) in ratios.items()
        if now > before * _TOLERATED
    ]


def _keep(found: dict[str, int], kept: dict[str, dict[str, int]]) -> None:
    kept = {**kept, _VERSION: kept.get(_VERSION, {}) | found}
    text = ["# Instructions for one update, by version of Python: python -m benchmarks.instructions --keep"]
    for version in sorted(kept, key=lambda version: int(version[2:])):
        text += ["", f'["{version}"]', *(f'"{name}" = {number}' for name, number in kept[version].items())]
    _KEPT.write_text("\n".join([*text, ""]), encoding="utf-8")


def main() -> None:
    """Count, print, and compare or keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep these as what later ones are compared with")
    parser.add_argument("--beneath", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="WAY")
    options = parser.parse_args()
    logging.getLogger("enkash_coins").setLevel(logging.ERROR)  # the server answers with one id for all
    if options.beneath:
        _beneath(*options.names)
        return
    found = count(options.names or ways(Path()))
    for name, number in found.items():
        print(f"{name:28} {number:10,} {number / found[PLAIN]:7.3f}")
    kept = tomllib.loads(_KEPT.read_text(encoding="utf-8")) if _KEPT.exists() else {}
    if options.keep:
        _keep(found, kept)
    elif _VERSION not in kept:
        print(f"No figures of CPython {_VERSION} are kept: nothing to compare with.", file=sys.stderr)
    elif worse := _worse(found, kept[_VERSION]):
        sys.exit("\n".join(worse))


if __name__ == "__main__":
    main()
