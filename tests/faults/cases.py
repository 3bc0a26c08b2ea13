"""The cases of a test, each with dice of its own, so that any one can be thrown again."""

import os
from collections.abc import Iterator
from random import Random

import attrs


@attrs.define
class Cases:
    """``for case, dice in cases(short=20, full=200)``: as many as the tier asks for, or the one of ``FAULTS_CASE``.

    Attributes:
        seed: of the whole run.
        name: of the test, for each has dice of its own, whatever ran before it.
        current: the case that is running.
    """

    seed: int
    name: str
    current: int | None = None

    def __call__(self, *, short: int, full: int) -> Iterator[tuple[int, Random]]:
        """The number and the dice of each case."""
        only = os.environ.get("FAULTS_CASE")
        for case in [int(only)] if only else range(full if is_full() else short):
            self.current = case
            yield case, self.dice(case)
        self.current = None

    def dice(self, case: object = "") -> Random:
        """The dice of a case, or of a test that has but one."""
        return Random(f"{self.seed} {self.name} {case}")


def is_full() -> bool:
    """Whether the full tier was asked for."""
    return os.environ.get("FAULTS") == "full"
