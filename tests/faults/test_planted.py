"""The harness can fail: each bug, planted in a copy of the package, is caught by the tests that are named for it."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import enkash_coins
from tests.faults.cases import is_full
from tests.faults.planted import BUGS, Bug

ROOT = Path(__file__).parents[2]

# The bugs of runs take the full tier's time.
CHOSEN = [bug for bug in BUGS if is_full() or not any("run" in Path(test).name for test in bug.tests)]


def failures(package: Path, tests: tuple[str, ...]) -> set[str]:
    """Which of these test files fail on this package."""
    found = set()
    for test in tests:
        # -P: else the source tree beneath the working directory would be found first.
        command = [sys.executable, "-P", "-m", "pytest", f"--config-file={ROOT / 'pyproject.toml'}", "-x", "-q", test]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAULTS", "PYTEST"))}
        environment |= {"PYTHONPATH": str(package.parent), "FAULTS_SEED": "7", "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(
            [*command, "-p", "no:cacheprovider"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # not an error of collection, say
        if re.search(rf"^FAILED {re.escape(test)}::", ended.stdout, re.MULTILINE):
            found.add(test)
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that is tested."""
    copy = tmp_path / "planted" / "enkash_coins"
    shutil.copytree(Path(enkash_coins.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.mark.parametrize("bug", CHOSEN, ids=lambda bug: bug.name)
def test_each_bug_is_caught(bug: Bug, package: Path, tally: Counter[str]) -> None:
    """By every test that is named for it."""
    bug.plant(package)
    assert failures(package, bug.tests) == set(bug.tests)
    tally["planted bugs: caught"] += 1


@pytest.mark.parametrize("test", sorted({test for bug in CHOSEN for test in bug.tests}))
def test_without_a_bug_nothing_fails(test: str, package: Path, tally: Counter[str]) -> None:
    """It is the bugs that are caught, and not the copy."""
    assert failures(package, (test,)) == set()
    tally["planted bugs: files of tests that a copy without any passes"] += 1
