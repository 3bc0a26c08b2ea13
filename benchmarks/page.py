"""Writes what a benchmark has measured into docs/performance.md, each into a place of its own."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def machine() -> str:
    """Where figures are from."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return (
        f"CPython {platform.python_version()}, aiohttp {version('aiohttp')}, {platform.system()}, {platform.machine()}"
        f" ({cpu[1] if cpu else platform.processor()}), {os.cpu_count()} cores"
    )


def write(place: str, text: str) -> None:
    """Put the text on the page, between ``<!-- place: begin -->`` and ``<!-- place: end -->``."""
    page = PAGE.read_text(encoding="utf-8")
    inner = re.compile(rf"(?<=<!-- {re.escape(place)}: begin -->\n).*(?=<!-- {re.escape(place)}: end -->)", re.DOTALL)
    if not inner.search(page):
        raise SystemExit(f"{PAGE} has no place for {place}")
    PAGE.write_text(inner.sub(lambda _: f"\n{text.strip()}\n\n", page), encoding="utf-8")
