"""The frame itself: counts of all workers are added up, and what failed can be repeated."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.faults.cases import Cases

ROOT = Path(__file__).parents[2]
FAILING = """
import pytest

@pytest.mark.parametrize("block", range(2))
def test_dice(cases, tally, block):
    for _, dice in cases(short=5, full=50):
        tally["dice thrown"] += 1
        assert dice.randrange(10**9) != {unlucky} and not (block and {unlucky} < 0 and _ == 3)

def test_other(tally):
    tally["others"] += 1
"""


def run(folder: Path, *options: str, **environment: str) -> str:
    """What pytest prints of the failing test in this folder."""
    configured = [f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={folder}"]
    command = [sys.executable, "-m", "pytest", *configured, *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FAULTS", "PYTEST"))}
    result = subprocess.run(command, cwd=ROOT, env=kept | environment, stdout=subprocess.PIPE, text=True, check=False)
    return str(result.stdout)


def test_a_failure_is_repeated_by_the_command_that_is_printed(tmp_path: Path, tally: Counter[str]) -> None:
    """Two workers count together, and the printed command meets the very case that failed, alone."""
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_dice.py").write_text(FAILING.format(unlucky=-1), "utf-8")
    printed = run(tmp_path, "-n", "2", str(tmp_path), FAULTS_SEED="7")
    assert re.search(r"^ +9  dice thrown$", printed, re.MULTILINE), printed
    assert re.search(r"^ +1  others$", printed, re.MULTILINE), printed
    again = "again: FAULTS=short FAULTS_SEED=7 FAULTS_CASE=3 pytest 'test_dice.py::test_dice[1]'"
    assert again in printed
    # The throw hangs on seed, test and case alone: it is known here.
    unlucky = Cases(7, "test_dice.py::test_dice[1]").dice(3).randrange(10**9)
    (tmp_path / "test_dice.py").write_text(FAILING.format(unlucky=unlucky), "utf-8")
    for seed, failures in (("7", 1), ("8", 0)):
        printed = run(tmp_path, f"{tmp_path}/test_dice.py::test_dice[1]", FAULTS_SEED=seed, FAULTS_CASE="3")
        assert re.search(r"^ +1  dice thrown$", printed, re.MULTILINE), printed
        assert printed.count("again: ") == failures
    tally["failures repeated"] += 1
