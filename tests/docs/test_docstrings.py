"""Docstrings: their examples run, and every tensor that the method's public functions take has its axes stated."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "nnunetv2_textguided"
AXES = r"\((?:[A-Za-z*+\d ./_-]+,)+\s?[A-Za-z*+\d ./_-]*\)|\([A-Z]\)|0-dim|scalar|weights of"


def module_name(path: Any) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


EXAMPLES = [p for p in sorted(PACKAGE.rglob("*.py")) if ">>> " in p.read_text(encoding="utf-8")]
METHOD = [p for room in ("network", "losses") for p in sorted((PACKAGE / room).glob("*.py"))]


@pytest.mark.parametrize("path", EXAMPLES, ids=module_name)
def test_examples_give_what_they_say(path: Any) -> None:
    found = doctest.testmod(importlib.import_module(module_name(path)))
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def public(module: Any) -> Iterator[tuple[str, Any, str]]:
    """Name, callable and documentation of the public functions and methods that a module defines."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value, value.__doc__ or ""
        elif inspect.isclass(value):
            for inner, method in vars(value).items():
                if inspect.isfunction(method) and (inner == "__call__" or not inner.startswith("_")):
                    yield f"{name}.{inner}", method, f"{method.__doc__ or ''}\n{value.__doc__ or ''}"


def unstated(function: Any, documentation: str) -> list[str]:
    """Names of the tensor parameters whose axes the documentation does not state."""
    tensors = [
        n for n, p in inspect.signature(function).parameters.items() if re.search(r"\bTensor\b", str(p.annotation))
    ]
    if len(tensors) == 1 and re.search(AXES, documentation):
        return []  # a line such as "(B, C, *S) images to (B, K, *S) logits." is about the only one there is
    return [name for name in tensors if not re.search(rf"\b{name}\b[^\n]*?(?:{AXES})", documentation)]


@pytest.mark.parametrize("path", METHOD, ids=module_name)
def test_public_tensors_state_their_axes(path: Any) -> None:
    module = importlib.import_module(module_name(path))
    missing = {name: lacking for name, f, text in public(module) if (lacking := unstated(f, text))}
    assert missing == {}


def test_a_tensor_without_axes_is_noticed() -> None:
    def loss(logits, target):  # type: ignore[no-untyped-def]
        pass

    loss.__annotations__ = {"logits": "Tensor", "target": "Tensor | None"}
    assert unstated(loss, "logits: (B, K, *S) of the network.\ntarget: what is right.") == ["target"]
    assert unstated(loss, "logits, target: (B, K, *S) and (B, *S).") == []
