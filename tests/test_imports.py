"""Imports point one way. The tables come first; whoever adds a module adds a line."""

import ast
import graphlib
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import enkash_coins

# Lowest first: a module imports only what stands above its own line. A folder stands for all that is in it; there,
# modules may import each other, though not in a circle. The package's own __init__ may import all of it.
ORDER = (
    "_version",
    "secret",
    "extras",
    "display",
    "per_loop",
    "errors",
    "models",
    "time_limit",
    "transport",
    "api",
    "auth",
    "layers",
    "transports",
    "environment",
    "calls",
    "service",
    "otel",
    "testing",
    "bulk",
    "sandbox",
    "pytest_plugin",
    "cli",
    "__main__",
)

# Modules or folders of which ORDER would allow more than is good for them.
NOTHING_BUT = {
    # An independent witness: a server that shared the client's reading and writing would hide its mistakes.
    "sandbox": {"_version", "extras", "errors", "secret", "auth"},
}

# Other distributions, and who may import them: None is everybody. The longest name that fits decides.
FOREIGN: dict[str, set[str] | None] = {
    "attrs": None,
    "msgspec": None,
    "aiohttp": {"transports"},
    "aiohttp.web": {"sandbox"},
    "backoff": {"calls.retry"},
    "cattrs": {"api.converter"},
    "cryptography": {"layers.encryption", "sandbox"},
    "cyclopts": {"cli"},
    "opentelemetry": {"otel"},
    "pyarrow": {"bulk.files.parquet", "bulk.files.export"},
    "pytest": {"pytest_plugin"},
    "python_calamine": {"bulk.files.spreadsheets"},
    "rich": {"cli"},
    "multidict": {"transports"},  # aiohttp's own type, as the next
    "yarl": {"transports"},
}

# What `import enkash_coins` must not bring along: extras, and what only tests and the command need.
NOT_AT_IMPORT = (
    "aiohttp.web",
    "cattrs",  # until an answer is not the documented one
    "cryptography",
    "cyclopts",
    "rich",
    "opentelemetry",
    "pyarrow",
    "pytest",
    "python_calamine",
    "enkash_coins.bulk",
    "enkash_coins.cli",
    "enkash_coins.sandbox",
)


def wrong_imports(package: Path) -> list[str]:
    """Every import in the package's files that points the wrong way, one sentence each."""
    files = {module_name(package, file): file for file in sorted(package.rglob("*.py"))}
    inner: dict[str, set[str]] = {module: set() for module in files}
    problems = []
    for module, file in files.items():
        if module and top(module) not in ORDER:
            problems.append(
                f"{module}: unknown module. Give it a line in ORDER in {Path(__file__).name}: below all that it "
                f"imports, above all that import it."
            )
            continue
        for line, name in imported_names(package, file):
            if top(name) == package.name:
                target = target_module(name, package.name, files)
                inner[module].add(target)
                problem = complain_inner(module, target)
            else:
                problem = complain_foreign(module, name)
            if problem:
                problems.append(f"{module or '__init__'}, line {line}: {problem}")
    try:
        graphlib.TopologicalSorter(inner).prepare()
    except graphlib.CycleError as error:
        problems.append(f"imports in a circle: {' -> '.join(error.args[1])}")
    return problems


def module_name(package: Path, file: Path) -> str:
    """The dotted name below the package: "layers.auth", "layers" for layers/__init__.py, "" for the package's own."""
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


def imported_names(package: Path, file: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that a file imports: at the top, inside functions, for type checkers only."""
    here = file.parent.relative_to(package.parent).parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=module, names=names, level=level):
                base = [*here[: len(here) - level + 1]] if level else []
                for alias in names:
                    yield node.lineno, ".".join([*base, *([module] if module else []), alias.name])


def target_module(name: str, package: str, files: dict[str, Path]) -> str:
    """The module of ours that a full dotted name means: the name itself, or what holds it."""
    target = name.removeprefix(package).removeprefix(".")
    while target and target not in files:
        target = target.rpartition(".")[0]
    return target


def complain_inner(module: str, target: str) -> str | None:
    """What is wrong with this import of one module of ours by another, if anything."""
    if not module:
        return None
    if not target:
        return "imports the package itself: name the module that defines it"
    own, other = top(module), top(target)
    if own == other:
        return None
    if other not in ORDER or ORDER.index(other) > ORDER.index(own):
        return f"imports {target}, which stands below it in ORDER"
    if own in NOTHING_BUT and other not in NOTHING_BUT[own]:
        return f"imports {target}, but {own} may import only {', '.join(sorted(NOTHING_BUT[own]))}"
    return None


def complain_foreign(module: str, name: str) -> str | None:
    """What is wrong with this import of something that is not ours, if anything."""
    if top(name) in sys.stdlib_module_names:
        return None
    known = name
    while known and known not in FOREIGN:
        known = known.rpartition(".")[0]
    if not known:
        return f"imports {name}, which is no dependency: declare it in pyproject.toml and give it a line in FOREIGN"
    users = FOREIGN[known]
    if users is None or module in users or top(module) in users:
        return None
    return f"imports {name}, which only {', '.join(sorted(users))} may import"


def test_imports_point_one_way() -> None:
    """Every import of the package agrees with the tables."""
    assert enkash_coins.__file__ is not None
    assert wrong_imports(Path(enkash_coins.__file__).parent) == []


def test_tables_are_about_known_modules() -> None:
    """No name stands twice, and no rule is about a module that ORDER does not know."""
    users = set().union(*(who for who in FOREIGN.values() if who))
    assert len(set(ORDER)) == len(ORDER)
    assert {top(name) for name in users.union(NOTHING_BUT, *NOTHING_BUT.values())} <= set(ORDER)


def test_the_drawing_is_up_to_date() -> None:
    """What the page on the architecture shows is what the code imports."""
    spec = importlib.util.spec_from_file_location("draw_imports", Path(__file__).with_name("draw_imports.py"))
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.drawn() == drawing.DRAWING.read_text(encoding="utf-8"), "run: python tests/draw_imports.py"


def test_importing_the_package_brings_no_extras() -> None:
    """What belongs to the command and to tests is imported where it is used, not by `import enkash_coins`."""
    code = f"import sys, enkash_coins; print([name for name in {NOT_AT_IMPORT!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"models.py": "from .errors import X"}, None),
        ({"__init__.py": "from pkg.service import X", "service.py": ""}, None),
        ({"layers/auth.py": "from pkg.layers.pacing import X", "layers/pacing.py": ""}, None),
        ({"sandbox/server.py": "from aiohttp import web\nimport aiohttp.web"}, None),
        ({"transports/aiohttp.py": "import aiohttp\nfrom ..errors import X"}, None),
        ({"errors.py": "import json\nimport attrs"}, None),
        ({"errors.py": "from .models import X"}, "errors, line 1: imports models, which stands below"),
        ({"errors.py": "from . import models"}, "errors, line 1: imports models, which stands below"),
        ({"errors.py": "from pkg import models"}, "errors, line 1: imports models, which stands below"),
        ({"errors.py": "import pkg.models"}, "errors, line 1: imports models, which stands below"),
        ({"errors.py": "def f():\n    import pkg.models"}, "errors, line 2: imports models, which stands below"),
        ({"errors.py": "if TYPE_CHECKING:\n    import pkg.models"}, "errors, line 2: imports models, which stands"),
        ({"layers/auth.py": "from ..models import X"}, None),
        ({"layers/auth.py": "from ..cli import X", "cli/__init__.py": ""}, "layers.auth, line 1: imports cli, which"),
        ({"layers/__init__.py": "from ..cli import X", "cli/__init__.py": ""}, "layers, line 1: imports cli, which"),
        ({"errors.py": "from pkg import EnkashError"}, "errors, line 1: imports the package itself"),
        ({"layers/a.py": "from . import b", "layers/b.py": "from . import a"}, "imports in a circle: layers."),
        ({"news.py": ""}, "news: unknown module. Give it a line in ORDER in test_imports.py"),
        ({"sandbox/server.py": "from ..models import X"}, "sandbox.server, line 1: imports models, but sandbox may"),
        ({"service.py": "import aiohttp"}, "service, line 1: imports aiohttp, which only transports may"),
        ({"layers/other.py": "import aiohttp"}, "layers.other, line 1: imports aiohttp, which only transports may"),
        ({"sandbox/server.py": "import aiohttp"}, "sandbox.server, line 1: imports aiohttp, which only"),
        ({"transports/aiohttp.py": "from aiohttp import web"}, "transports.aiohttp, line 1: imports aiohttp.web,"),
        (
            {"service.py": "from backoff import expo"},
            "service, line 1: imports backoff.expo, which only calls.retry may",
        ),
        ({"models.py": "import cattrs.gen"}, "models, line 1: imports cattrs.gen, which only api.converter may"),
        ({"testing.py": "import rich.table"}, "testing, line 1: imports rich.table, which only cli may"),
        ({"cli/app.py": "import requests"}, "cli.app, line 1: imports requests, which is no dependency"),
    ],
)
def test_checker_tells_good_from_bad(tmp_path: Path, files: dict[str, str], problem: str | None) -> None:
    """The checker finds each kind of wrong import, however it is written, and nothing in a good tree."""
    package = tmp_path / "pkg"
    for name, text in ({"__init__.py": "", "errors.py": "", "models.py": ""} | files).items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    problems = wrong_imports(package)
    if problem is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert problems[0].startswith(problem)


def test_what_mutmut_changes_is_there() -> None:
    """A module that moves takes its line in pyproject.toml along: mutmut passes over what it does not find."""
    root = Path(__file__).parent.parent
    listed = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]["only_mutate"]
    assert [path for path in listed if not (root / path).is_file()] == []
