"""What the README and docs/ show is run as it stands against the sandbox, and does what is said of it.

- ``python`` is a complete program, or a file of tests for pytest. A ``text`` block right below "prints:" is its output;
  "…" stands for anything.
- ``sh`` is run by bash, all of a page in one folder, but for what sets up or goes on for ever. Commands succeed, or end
  with the code that a comment says ("# exit code 1").
- ``ini`` and ``text`` are only read.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import enkash_coins
from enkash_coins import bulk, sandbox
from enkash_coins.sandbox import FaultKind, Sandbox

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"\s*[^\n]*\bprints:\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "sh", "ini", "text"}
# Setting up, and servers in the foreground. Whatever else stands in a block of sh is run.
NOT_RUN = ("python3 -m venv ", "pip install ", "enkash-coins sandbox", "export ENKASH_", ".venv/bin/pytest")


@attrs.frozen
class Program:
    """A block of Python, and what it is said to print."""

    where: str
    text: str
    output: str | None


def blocks(page: Path, language: str) -> list[re.Match[str]]:
    """The blocks of one language."""
    return [block for block in BLOCK.finditer(page.read_text(encoding="utf-8")) if block[1] == language]


def programs() -> list[Program]:
    """All blocks of Python."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page, "python"):
            output = OUTPUT.match(text, block.end())
            line = text.count("\n", 0, block.start()) + 1
            found.append(Program(f"{page.name}:{line}", block[2], output and output[1]))
    return found


def commands(page: Path) -> list[str]:
    """The lines of shell that are run; one that goes on after a backslash or in a here-document is kept whole."""
    lines = re.findall(
        r"^(?:.*<<'END'\n(?s:.*?)^END|(?:.*\\\n)*.*)$", "".join(block[2] for block in blocks(page, "sh")), re.MULTILINE
    )
    return [line for line in lines if line and not line.startswith(NOT_RUN)]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """One process, in a folder of its own, which finds the command on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "120"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_block_is_known() -> None:
    """A pattern that finds nothing would pass every other rule here."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        opened = re.findall(r"^ *```+([a-z]\w*)", text, re.MULTILINE)
        assert set(opened) <= LANGUAGES, page.name
        assert len(opened) == len(BLOCK.findall(text)), page.name
        assert len(OUTPUT.findall(text)) == text.count("prints:\n"), page.name
    assert len(PAGES) >= 15
    assert len(programs()) >= 25
    assert sum(program.output is not None for program in programs()) >= 8
    assert sum(len(commands(page)) for page in PAGES) >= 12


@pytest.mark.usefixtures("enkash_environment")
@pytest.mark.parametrize("program", [pytest.param(program, id=program.where) for program in programs()])
def test_every_program_runs_as_it_stands(program: Program, tmp_path: Path) -> None:
    """Whoever copies it gets what the page promises, without an edit, and without a warning."""
    is_test = re.search(r"^(async )?def test_", program.text, re.MULTILINE)
    file = tmp_path / ("test_mine.py" if is_test else "program.py")
    file.write_text(program.text, encoding="utf-8")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["enkash_coins.pytest_plugin"]', encoding="utf-8")
    settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    (tmp_path / "pytest.ini").write_text(settings, encoding="utf-8")
    how = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if is_test else ["-W", "error"]
    done = run([sys.executable, *how, file.name], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if program.output is not None:
        pattern = re.escape(program.output).replace("…", ".*")
        assert re.fullmatch(pattern, done.stdout), done.stdout


@pytest.mark.usefixtures("enkash_environment")
@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if commands(page)])
def test_every_command_runs_as_it_stands(page: Path, tmp_path: Path) -> None:
    """Each command exists, takes these options, and ends as the page says."""
    (tmp_path / "updates.csv").write_text("coin_config_id,amount\nWCC12345,12\n", encoding="utf-8")
    for command in commands(page):
        said = re.search(r"#.*\bexit code (\d+)", command)
        answered = re.sub(
            r"^(enkash-coins (?:apply|rollback) \S+)", r"\1 --yes", command
        )  # as a person would at the terminal
        done = run(["bash", "-euc", answered], tmp_path)
        assert done.returncode == (int(said[1]) if said else 0), f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_what_the_readme_promises_of_rows(
    enkash_sandbox: Sandbox, enkash_environment: dict[str, str], tmp_path: Path
) -> None:
    """The first program of the README changes a hundred configurations at the server."""
    first = next(program for program in programs() if program.where.startswith("README.md"))
    done = run([sys.executable, "-c", first.text], tmp_path)
    assert "{<OutcomeStatus.APPLIED: 'applied'>: 100}" in done.stdout
    assert enkash_sandbox.configs["WCC00007"]["amount"] == 20


def test_ci_runs_the_readmes_test_command() -> None:
    """What a newcomer is told to run is what has to pass."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = (line for line in readme.splitlines() if line.endswith(".venv/bin/nox"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_reference_covers_every_public_name() -> None:
    """What can be imported from the package, and from its folders for runs and the sandbox, is described."""
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    public = {"": enkash_coins.__all__, r"bulk\.": bulk.__all__, r"sandbox\.": sandbox.__all__}
    for folder, names in public.items():
        described = re.findall(rf"^\.\. auto\w+:: enkash_coins\.{folder}(\w+)(?:\(.*\))?$", reference, re.MULTILINE)
        assert sorted(described) == sorted({*names} - {"__version__"})


def test_every_exception_is_explained() -> None:
    """The page on errors says of each what to do about it."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    errors = {
        name
        for name in enkash_coins.__all__
        if isinstance(thing := getattr(enkash_coins, name), type) and issubclass(thing, Exception)
    }
    assert errors <= explained, errors - explained


def test_every_setting_of_connect_is_explained() -> None:
    """The page on configuration has a row for each argument."""
    import inspect

    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert set(inspect.signature(enkash_coins.CoinEventService.connect).parameters) <= explained


def test_every_setting_and_fault_of_the_sandbox_is_explained() -> None:
    """The page on tests has a row for each argument, with the command's option, and for each kind of fault."""
    import inspect

    from enkash_coins.cli.servers import sandbox

    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| (`\w+`.*)$", page, re.MULTILINE)]
    explained = {name for row in rows for name in row}
    arguments = set(inspect.signature(Sandbox).parameters)
    assert arguments | set(FaultKind) <= explained
    options = {
        f"--{'no-' if value.default is True else ''}{name}"
        for name, value in inspect.signature(sandbox).parameters.items()
    }
    assert {name for name in explained if name.startswith("--")} == {name.replace("_", "-") for name in options}


def test_shell_comments_do_not_hide_commands() -> None:
    """Every command line of a page is either run or one of those that set up."""
    for page in PAGES:
        shown = "".join(block[2] for block in blocks(page, "sh"))
        for line in shown.splitlines():
            if line.startswith("enkash-coins ") and not line.startswith(NOT_RUN):
                assert any(line in command for command in commands(page))
                assert shlex.split(line.removesuffix("\\"), comments=True)
