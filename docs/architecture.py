"""Draws docs/images/architecture.svg: the folders of the package by floor, and which imports which. Read from the code.

python docs/architecture.py
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "nnunetv2_textguided"
PICTURE = REPOSITORY / "docs" / "images" / "architecture.svg"
# From the top: a floor imports from floors below it. The import contracts in pyproject.toml check the same.
FLOORS = (
    ("commands",),
    ("benchmark", "demo", "reports"),
    ("inference", "picai", "evaluation", "planning"),
    ("training",),
    ("network", "losses", "text", "anatomy"),
    ("nnunet", "imaging", "pages", "processes", "settings", "schedule", "files", "errors"),
)
METHOD = {"network", "losses", "training", "schedule", "settings", "text", "anatomy"}
WIDTH, HEIGHT, ROOM, STEP = 1000, 560, 92, 92


def imports() -> set[tuple[str, str]]:
    """Pairs (room, room that it imports from)."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        room = _room(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE.name}."):
                found.add((room, _room(tuple((node.module or "").split(".")[1:]))))
    return {(a, b) for a, b in found if a != b}


def _room(parts: tuple[str, ...]) -> str:
    return "commands" if parts[0] == "cli" else parts[0]


def places() -> dict[str, tuple[float, float]]:
    """Centre of each room in the picture."""
    return {
        room: (WIDTH * (column + 1) / (len(floor) + 1), 50 + STEP * level)
        for level, floor in enumerate(FLOORS)
        for column, room in enumerate(floor)
    }


def draw() -> str:
    """The picture as SVG."""
    where = places()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for source, target in sorted(imports()):
        if source in where and target in where:
            (x, y), (u, v) = where[source], where[target]
            middle = (y + v) / 2
            curve = f"M{x:.0f} {y + 18:.0f} C{x:.0f} {middle:.0f} {u:.0f} {middle:.0f} {u:.0f} {v - 18:.0f}"
            parts.append(f'<path d="{curve}" fill="none" stroke="#8a94a6" stroke-opacity=".45"/>')
    for room, (x, y) in where.items():
        fill = "#dbe9ff" if room in METHOD else "#eef0f3"
        corner = f'x="{x - ROOM / 2:.0f}" y="{y - 18:.0f}" width="{ROOM}" height="36"'
        parts.append(f'<rect {corner} rx="6" fill="{fill}" stroke="#5b6577"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-size="14">{escape(room)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def upward() -> list[tuple[str, str]]:
    """Imports that point to a higher floor or to a neighbour on the floor of commands."""
    level = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    return sorted((a, b) for a, b in imports() if a in level and b in level and level[a] > level[b])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE)
