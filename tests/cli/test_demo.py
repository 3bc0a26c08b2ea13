import json
import re
from pathlib import Path

import pytest

from enkash_coins.cli import servers
from enkash_coins.sandbox import Sandbox
from tests.cli.command import Command


def test_demo_ends_well_and_says_what_became_of_the_rows(run: Command) -> None:
    """1,000 rows through real HTTP: five name ids that do not exist, all others are applied, and that is checked."""
    done = run("demo")
    assert (done.code, done.out) == (0, "")
    assert "/updates.run: 1,000 updates of 901 configurations\n  995 planned\n" in done.err
    assert "\n  995 applied\n    5 rejected  HTTP 404: No such coin configuration\n" in done.err
    assert done.err.count("GONE00") == 10
    assert "Checked: every configuration in the sandbox is what the file says. It took 1 login, 1,8" in done.err
    (folder,) = set(re.findall(r"(/\S*/)updates\.run", done.err))
    assert not Path(folder).exists()


def test_demo_may_keep_its_files(run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With --keep the file, and that of the rows not applied, can be looked at."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    done = run("demo --rows 200 --keep")
    (folder,) = tmp_path.iterdir()
    assert f"The files are kept in {folder}\n" in done.err
    assert sorted(path.name for path in folder.iterdir()) == ["updates.csv", "updates.run"]


@pytest.mark.parametrize("rows", [1, 2, 10])
def test_demo_may_be_small(run: Command, rows: int) -> None:
    """However few rows there are, it works, and every one of them is on stdout with --json."""
    done = run(f"demo --rows {rows} --json")
    assert done.code == 0
    assert json.loads(done.out.splitlines()[-1])["summary"] == {"applied": rows}
    assert len(done.out.splitlines()) == rows + 1


def test_demo_that_goes_wrong_says_so(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another number of rows were applied than can be, the demo fails."""
    write = servers._write
    monkeypatch.setattr(servers, "_write", lambda *arguments: write(*arguments) + 1)
    done = run("demo --rows 10")
    assert done.code == 1
    assert "demo: that was not as it should be: 0 configurations differ from the file" in done.err


def test_demo_compares_the_file_with_the_truth(tmp_path: Path) -> None:
    """Of several rows of an id the last value counts, empty cells and unknown ids don't."""
    path = tmp_path / "u.csv"
    rows = "WCC00001,1,CUSTOM\nWCC00001,2,\nWCC00002,3,\nNOPE,4,\n"
    path.write_text(f"coin_config_id,amount,configuration\n{rows}", encoding="utf-8")
    sandbox = Sandbox(2)
    sandbox.configs["WCC00001"] |= {"amount": 2, "configuration": "CUSTOM"}
    sandbox.configs["WCC00002"]["amount"] = 3
    assert servers._differences(sandbox, path) == []
    sandbox.configs["WCC00001"]["amount"] = 1
    assert servers._differences(sandbox, path) == ["WCC00001"]
