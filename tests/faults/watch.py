"""The search for planted secrets in all that is shown while faults rain."""

import logging
from collections import Counter
from typing import Self

from enkash_coins.service import ConnectOptions
from tests.wire.leaks import COOKIES, HEADERS, SECRETS, leaked, shown

PLANTED = ConnectOptions(auth=SECRETS["token"], cookies=COOKIES, headers=HEADERS)


class Watch(logging.Handler):
    """Keeps every record of every logger from DEBUG up, within ``with``, and looks for secrets when told to."""

    def __init__(self, tally: Counter[str]) -> None:
        super().__init__(logging.DEBUG)
        self._tally = tally
        self._records: list[logging.LogRecord] = []

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)
        self.look()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def look(self, *errors: BaseException, texts: tuple[str, ...] = ()) -> None:
        """No planted secret in these errors, these texts, and what was logged since the last look."""
        formatter = logging.Formatter()
        records = [f"{record.name}: {formatter.format(record)} {record.args!r}" for record in self._records]
        self._records.clear()
        self._tally["errors searched for planted secrets"] += len(errors)
        self._tally["log records searched for planted secrets"] += len(records)
        self._tally["outputs searched for planted secrets"] += len(texts)
        every = [*(text for error in errors for text in shown(error)), *records, *texts]
        found = [f"{names}: {text[:500]}" for text in every if (names := leaked(text))]
        assert not found, "\n".join(found)
