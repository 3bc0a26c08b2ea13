"""What has to pass before a change is good: `nox` runs it all, `nox -s lint` one part of it."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONFIG = ROOT / "pyproject.toml"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")

nox.needs_version = ">=2026.10"
nox.options.sessions = ["lint", "types", "docs", "tests", "faults", "instructions"]
nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True  # those found below must run


def find(version: str) -> Path | None:
    """The folder of the first CPython of this version that really runs.

    A name on the PATH is no proof: version managers put stubs there, for versions that are not in use as well.
    """
    probe = "import ensurepip, ssl, sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = [Path(sys.base_prefix, "bin"), *map(Path, os.get_exec_path()), *pyenv.glob(f"versions/{version}.*/bin")]
    for folder in folders:
        python = folder / f"python{version}"
        if not os.access(python, os.X_OK):
            continue
        answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
        if answer.stdout.split() == ["cpython", version]:
            return folder
    return None


FOUND = {version: folder for version in SUPPORTED if (folder := find(version))}
MISSING = [version for version in SUPPORTED if version not in FOUND]
if not FOUND:
    sys.exit(f"None of CPython {', '.join(SUPPORTED)} is installed: there is nothing to run the tests on.")
os.environ["PATH"] = os.pathsep.join([*map(str, FOUND.values()), os.environ["PATH"]])  # where nox looks for them


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Format and lint rules."""
    session.run(sys.executable, "-m", "ruff", "format", "--check")
    session.run(sys.executable, "-m", "ruff", "check")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Types of the package, the tests, the benchmarks and this file."""
    session.run(sys.executable, "-m", "mypy")


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """The documentation, into docs/_build; a name or a link that leads nowhere fails it."""
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env", "--quiet"]
    session.run(sys.executable, "-m", "sphinx", *strict, "docs", "docs/_build")


@nox.session(python=list(FOUND))
def tests(session: nox.Session) -> None:
    """The tests, on the built wheel and every installed CPython; `nox -s tests-3.12 -- -k name` runs a few."""
    for version in MISSING:
        session.log(f"CPython {version} is not installed: skipped.")
    install(session)
    coverage = [] if session.posargs else ["--cov", f"--cov-config={CONFIG}", "--cov-report=term"]
    run_pytest(session, *coverage, *session.posargs, str(ROOT / "tests"))


@nox.session(python=list(FOUND)[-1])
def faults(session: nox.Session) -> None:
    """The tests under faults, in about 2 minutes; `nox -s faults -- --full` for all of them, in under 20.

    On the newest CPython that is installed: `--force-python 3.11` takes another.
    """
    install(session)
    full = "--full" in session.posargs
    chosen = [argument for argument in session.posargs if argument != "--full"]
    env = {"FAULTS": "full"} if full else {}
    run_pytest(session, *chosen, str(ROOT / "tests" / "faults"), env=env)


@nox.session(venv_backend="none")
def instructions(session: nox.Session) -> None:
    """What a call costs, in instructions, must not grow by 2 %; `nox -s instructions -- --keep` keeps new figures."""
    if sys.platform == "darwin":
        session.skip("valgrind does not run on macOS")
    if shutil.which("valgrind") is None:
        session.error("valgrind is missing; it is among the system's packages: apt-get install valgrind")
    session.run(sys.executable, "-m", "benchmarks.instructions", *session.posargs)


@nox.session(python=list(FOUND))
def bench(session: nox.Session) -> None:
    """Measure anew what docs/performance.md shows, peers included; `nox -s bench-3.11` on one version of Python."""
    session.install("--no-deps", "--require-hashes", "-r", "requirements/dev.txt")
    session.install("--no-deps", "--require-hashes", "-r", "requirements/bench.txt")
    session.run("python", "-m", "benchmarks.performance", *session.posargs)


@nox.session(venv_backend="none")
def pictures(session: nox.Session) -> None:
    """The documentation's pictures, made anew in a real Chromium."""
    session.run(sys.executable, "-m", "tests.pictures")


@nox.session(venv_backend="none")
def mutants(session: nox.Session) -> None:
    """Change what decides in every way, and see the tests notice; takes some minutes."""
    session.run(sys.executable, "-m", "mutmut", "run")
    session.run(sys.executable, "tests/faults/survivors.py")


def install(session: nox.Session) -> None:
    """The pinned tools and the built wheel."""
    session.install("--no-deps", "--require-hashes", "-r", "requirements/dev.txt")
    # Not session.install(), which `nox -R` skips, and by force: else an old wheel of the same version would be tested.
    session.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(build_wheel()))
    session.run("python", "-m", "pip", "check", silent=True)  # the pins must be what the package asks for


def run_pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run tests on the wheel, in parallel."""
    session.chdir(session.create_tmp())  # away from the source tree: child processes must find the wheel as well
    where = session.run("python", "-c", "import enkash_coins; print(enkash_coins.__file__)", silent=True)
    if "site-packages" not in str(where):
        session.error(f"These tests would not run on the wheel, but on {where}")
    session.run("pytest", f"--config-file={CONFIG}", "-n", "auto", "--dist", "worksteal", *arguments, env=env)


@nox.session(venv_backend="none")
def kills(session: nox.Session) -> None:
    """300 times kill -9 at random instants of real processes; `nox -s kills -- 1000` kills oftener."""
    kills = session.posargs[0] if session.posargs else "300"
    session.run(sys.executable, "-m", "pytest", "-q", "tests/bulk/test_kills.py", env={"ENKASH_KILLS": kills})


@functools.cache
def build_wheel() -> Path:
    """Build the sdist, from that the wheel: once, with the pinned tools of the environment that nox runs in."""
    out = ROOT / ".nox" / "dist"
    for old in out.glob("*"):
        old.unlink()
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out], cwd=ROOT, check=True)
    (wheel,) = out.glob("*.whl")
    return wheel
