"""The picture of the house is drawn from the code as it stands, and no arrow in it points upwards."""

from __future__ import annotations

import ast
import importlib.util
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", REPOSITORY / "docs" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date(architecture: ModuleType) -> None:
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.draw(), "run: python docs/architecture.py"


def test_no_import_points_upwards(architecture: ModuleType) -> None:
    assert architecture.upward() == []


def test_every_folder_is_in_the_picture(architecture: ModuleType) -> None:
    drawn = {room for floor in architecture.FLOORS for room in floor}
    folders = {path.parent.name for path in architecture.PACKAGE.glob("*/__init__.py")}
    assert folders <= drawn


MOST_LINES = {"file": 250, "function": 40}
"""The longest that a reader is asked to follow at once, docstrings included."""


def test_files_and_functions_are_short() -> None:
    found = {}
    for folder in ("nnunetv2_textguided", "trainers"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            text, name = path.read_text(encoding="utf-8"), str(path.relative_to(REPOSITORY))
            found["file", name] = len(text.splitlines())
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    found["function", f"{name}:{node.lineno} {node.name}"] = lines
    assert len(found) > 1000
    assert {what: lines for what, lines in found.items() if lines > MOST_LINES[what[0]]} == {}
