"""The standard streams: whatever is wrong with them, a command does its work and ends with its own exit code."""

import errno
import io
import os
import select
import sys
from typing import Any, TextIO


class _Lenient(io.FileIO):
    """Drops what cannot be written: what was done is worth more than the word of it."""

    _broken = False

    def write(self, data: Any, /) -> int:  # noqa: ANN401  # typeshed's own type has no public name before 3.12
        while not self._broken:
            try:
                written = super().write(data)
            except OSError as error:
                self._broken = True
                if self.fileno() == 1 and error.errno != errno.EPIPE:  # as after `| head`, whoever reads has enough
                    print(f"enkash-coins: standard output: {os.strerror(error.errno or 0).lower()}", file=sys.stderr)
            else:
                if written is not None:
                    return written
                select.select((), (self,), ())  # a neighbour in the pipeline has made the pipe non-blocking
        return len(data)


def prepare() -> None:
    """Make the standard streams such that reading and writing them never fails."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file or socket would get its number, and the words meant for it
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # it lasts as long as the process
    sys.stdout = _lenient(1, sys.stdout, line_buffering=os.isatty(1))
    sys.stderr = _lenient(2, sys.stderr, line_buffering=True)


def _lenient(descriptor: int, old: TextIO | None, *, line_buffering: bool) -> io.TextIOWrapper:
    raw = _Lenient(descriptor, "w", closefd=False)
    encoding = None if old is None else old.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=line_buffering)
