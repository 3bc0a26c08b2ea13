"""The frame of the fault tests: how much is done, what was done, and how a failure is seen again.

    nox -s faults                    the short tier, about 2 minutes
    nox -s faults -- --full          the full tier, under 20 minutes
    pytest -n 2 tests/faults         the same without nox; FAULTS=full in the environment for the full tier

Plain ``pytest`` leaves this folder out. Every run draws a new seed, which ``FAULTS_SEED`` replaces. At its end it
prints the seed, the sum of all that tests have counted, and for each failure the one command that repeats it.

A test takes these fixtures:

* ``cases``: ``for case, dice in cases(short=20, full=200)``. The dice (a ``random.Random``) hang on the seed, the
  test's name and the case's number alone: neither on the order of tests nor on the worker. To use both cores, split a
  long test: ``@pytest.mark.parametrize("block", range(8))``, each block with an eighth of the cases. ``cases.dice()``
  is for a test that has but one case.
* ``tally``: a ``Counter``. ``tally["connections cut"] += 1`` is added up over all tests and workers, also over failed
  ones. Count what was *done* (cases, faults that the server saw itself inject, kills), in words that a reader of
  nothing but this list understands.
* ``watch``: ``watch.look(error)`` searches an error, and all that was logged meanwhile, for the secrets of
  ``tests.wire.leaks``; ``watch.PLANTED`` are the arguments of ``connect`` that plant them.
"""

import os
import platform
import shlex
from collections import Counter
from collections.abc import Iterator
from random import SystemRandom

import pytest

from tests.faults.cases import Cases, is_full
from tests.faults.watch import Watch

_tallies = pytest.StashKey[Counter[str]]()
_seed = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed, once: workers inherit the environment."""
    os.environ.setdefault("FAULTS_SEED", str(SystemRandom().randrange(2**32)))
    config.stash[_seed] = int(os.environ["FAULTS_SEED"])
    config.stash[_tallies] = Counter()
    config.pluginmanager.register(_Sum(config), "tally of faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: in the full tier it takes as long as all others together."""
    items.sort(key=lambda item: "test_soak" not in item.nodeid)


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Iterator[Cases]:
    """The cases of this test."""
    found = Cases(request.config.stash[_seed], request.node.nodeid.rpartition("/")[2])
    yield found
    if found.current is not None:  # it ended in the middle of one
        request.node.user_properties.append(("case", found.current))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """What this test has done."""
    done: Counter[str] = Counter()
    yield done
    # Properties travel with the report, from workers too; a Counter would not.
    request.node.user_properties.append(("tally", dict(done)))


@pytest.fixture
def watch(tally: Counter[str]) -> Iterator[Watch]:
    """Looks for planted secrets in errors and logs."""
    with Watch(tally) as watching:
        yield watching


class _Sum:
    """Adds up what reports bring; where pytest-xdist is at work, in the process that prints."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._cases: dict[str, int] = {}
        self._failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self._failed:
            self._failed.append(report.nodeid)
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name == "tally" and isinstance(value, dict):
                self._config.stash[_tallies].update(value)
            elif name == "case" and isinstance(value, int):
                self._cases[report.nodeid] = value

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        tier = "full" if is_full() else "short"
        seed = self._config.stash[_seed]
        terminalreporter.section(f"faults: {tier} tier, seed {seed}, CPython {platform.python_version()}")
        for what, number in sorted(self._config.stash[_tallies].items()):
            terminalreporter.write_line(f"{number:>12,}  {what}")
        for failed in self._failed:
            case = f" FAULTS_CASE={self._cases[failed]}" if failed in self._cases else ""
            command = f"FAULTS={tier} FAULTS_SEED={seed}{case} pytest {shlex.quote(failed)}"
            terminalreporter.write_line(f"again: {command}", red=True)
