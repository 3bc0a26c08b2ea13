"""The file of rows that were not applied, to be applied again."""

import csv
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from enkash_coins.bulk.rows import REMARKS, Format, Row, UpdateFile, format_of
from enkash_coins.bulk.source import BadFile

_SUFFIX: Final = ".not-applied"
_NUMBERED_SUFFIX = re.compile(r"\.not-applied(-[0-9]+)?$")
_UNFINISHED: Final = ".unfinished"
# How a spreadsheet recognises a formula. Only remarks are guarded: a row's own values must go back as they came.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class NotApplied:
    """Rows that were not applied, in the format of their file, with outcome and reason.

    Rows of one id depend on their order: once one was not applied, all later ones of that id are kept as well, even
    those that were applied. Else the next run would put an old value over a newer one.

    The file has its name only when it is complete, and is there only if it has rows.

    Args:
        rows: the file that is applied.
        path: where to; ``None``: beside that file, under a name that is free.

    Attributes:
        path: the file, once it is closed; ``None`` if no row had to be kept.
        count: how many rows it has.

    Raises:
        BadFile: the path cannot be used.
        OSError: the file cannot be written.
    """

    def __init__(self, rows: UpdateFile, path: str | None = None) -> None:
        self.path: Path | None = None
        self.count = 0
        self._format = rows.format
        self._columns = rows.columns
        self._first: dict[str, int] = {}
        self._wish, self._unfinished, self._file = _begun(rows, path)
        self._writer = csv.writer(self._file, lineterminator="\n")
        if self._format is Format.CSV:
            self._writer.writerow([*self._columns, *REMARKS])

    def keep(self, row: Row, outcome: str, reason: str, *, applied: bool) -> None:
        """Take note of a row's end; write it down unless it was applied and nothing speaks against it."""
        first = self._first.get(row.update.coin_config_id)
        if applied:
            if first is None:
                return
            reason = f"to be repeated after line {first}, an earlier row of the same id that was not applied"
        elif first is None:
            self._first[row.update.coin_config_id] = row.line
        if reason.startswith(_FORMULA):
            reason = f"'{reason}"
        if self._format is Format.CSV:
            self._writer.writerow([*(row.source[name] for name in self._columns), outcome, reason])
        else:
            remarks = dict(zip(REMARKS, (outcome, reason), strict=True))
            self._file.write(f"{json.dumps({**row.source, **remarks}, ensure_ascii=False)}\n")
        self.count += 1

    def finish(self) -> None:
        """Give the file its name, now that it is complete."""
        if self.count:
            self._file.flush()
            os.fsync(self._file.fileno())
            self.path = _taken(_numbered(self._wish))
            self._unfinished.replace(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            if not self.count:
                self._unfinished.unlink(missing_ok=True)


def _begun(rows: UpdateFile, path: str | None) -> tuple[Path, Path, TextIO]:
    """The name that the file is to have, which is free; the preliminary one; and the file."""
    if path is None:
        names = _numbered(_beside(rows))
    elif format_of(path) is rows.format:
        names = iter([Path(path)])
    else:
        raise BadFile(f"{path}: its name must end in .{rows.format}, like what {rows.source.name} holds")
    for name in names:
        unfinished = name.with_name(name.name + _UNFINISHED)
        if not os.path.lexists(name):
            with suppress(FileExistsError):
                return name, unfinished, os.fdopen(_new(unfinished), "w", encoding="utf-8", newline="")
    raise BadFile(f"{path}: exists already (maybe with {_UNFINISHED} at its end), and is not overwritten")


def _beside(rows: UpdateFile) -> Path:
    if rows.source.path is None:
        return Path(f"stdin{_SUFFIX}.{rows.format}")
    path = Path(rows.source.path)
    ending = path.suffix if format_of(path.name) is rows.format else f".{rows.format}"
    return path.with_name(f"{_NUMBERED_SUFFIX.sub('', path.stem)}{_SUFFIX}{ending}")


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def _taken(paths: Iterator[Path]) -> Path:
    """The first of these that is free, reserved by an empty file."""
    for path in paths:
        with suppress(FileExistsError):
            os.close(_new(path))
            return path
    raise AssertionError("there is no end of numbers")  # pragma: no cover


def _new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # amounts are nobody else's business
