"""Draws who imports whom, from the code, into ``docs/imports.svg``: ``python tests/draw_imports.py``.

An arrow that another way implies is left out. ``tests/test_imports.py`` fails when the drawing is out of date.
"""

import ast
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "enkash_coins"
DRAWING = PACKAGE.parent / "docs" / "imports.svg"
# Leaves: what nothing else of the package stands on, but everybody may use.
EVERYBODYS = {"_version", "display", "secret", "__main__"}
WIDE, HIGH, GAP = 128, 34, 26


def imports() -> dict[str, set[str]]:
    """Each module at the top, or folder, and those that it imports."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if place == "__init__" or place in EVERYBODYS:
            continue
        known = found.setdefault(place, set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("enkash_coins."):
                known.add(node.module.split(".")[1])
    return {place: known - {place} - EVERYBODYS for place, known in found.items()}


def floors(graph: dict[str, set[str]]) -> list[list[str]]:
    """The places floor by floor, each above all that it imports."""
    height: dict[str, int] = {}
    for place in TopologicalSorter(graph).static_order():
        height[place] = 1 + max((height[other] for other in graph.get(place, ())), default=-1)
    return [sorted(place for place in height if height[place] == floor) for floor in range(max(height.values()) + 1)]


def without_detours(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the arrows that a longer way implies."""

    def reached(place: str) -> set[str]:
        return {place}.union(*(reached(other) for other in graph.get(place, ())))

    return {
        place: {one for one in known if not any(one in reached(other) for other in known - {one})}
        for place, known in graph.items()
    }


def drawn() -> str:
    """The drawing."""
    graph = imports()
    rows = floors(graph)[::-1]
    width = max(map(len, rows)) * (WIDE + GAP) + GAP
    where = {}
    for down, row in enumerate(rows):
        left = (width - len(row) * (WIDE + GAP) + GAP) / 2
        for across, place in enumerate(row):
            where[place] = (
                left + across * (WIDE + GAP),
                GAP + down * (HIGH + 2 * GAP),
            )
    height = GAP + len(rows) * (HIGH + 2 * GAP) - GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        'aria-label="Who imports whom" font-family="system-ui, sans-serif" font-size="14" fill="currentColor">',
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z"/></marker>',
    ]
    for place, known in sorted(without_detours(graph).items()):
        x, y = where[place]
        for other in sorted(known):
            left, top = where[other]
            parts.append(
                f'<path d="M{x + WIDE / 2:g} {y + HIGH:g} {left + WIDE / 2:g} {top:g}" stroke="currentColor"'
                ' stroke-opacity=".45" marker-end="url(#tip)"/>'
            )
    for place, (x, y) in sorted(where.items()):
        name = escape(f"{place}/" if (PACKAGE / place).is_dir() else place)
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="6" fill="Canvas" stroke="currentColor"/>'
            f'<text x="{x + WIDE / 2:g}" y="{y + HIGH / 2 + 5:g}" text-anchor="middle">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    DRAWING.write_text(drawn(), encoding="utf-8")
