"""A complete `text_guidance` block, as plans and checkpoints hold it, checked without reading any file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.files import MAX_DEPTH, is_deep
from nnunetv2_textguided.settings.block import BLOCK, Settings

LATER_SECTIONS = ("grounding",)
"""Sections that the first releases' blocks do not have; off by default."""


def complete_settings(block: Any, where: object = BLOCK) -> Settings:
    """The settings of a block that a trainer or planner of this package, perhaps an earlier release, has completed.

    Keys that came later have their defaults in the code, which are therefore always what was done before.

    Args:
        block: the block.
        where: names its origin in errors.

    Raises:
        SettingsError: whole sections are missing, or the block is not valid.
    """
    check_object(block, where)
    missing = [name for name in Settings.model_fields if name not in block and name not in LATER_SECTIONS]
    settings = validate(block, where)
    if missing:
        raise SettingsError(
            f"The block is not complete: it lacks {', '.join(missing)}.",
            where=where,
            remedy="Use a trainer of this package, which completes it, or the model folder's plans.",
        )
    return settings


def check_object(block: Any, where: object) -> None:
    """Check that a block is a JSON object of a bounded depth.

    Raises:
        SettingsError: it is not.
    """
    if not isinstance(block, Mapping):
        raise SettingsError(f"The block must be a JSON object, not {type(block).__name__}.", where=where)
    if is_deep(block):
        raise SettingsError(f"The block is nested deeper than {MAX_DEPTH} levels.", where=where)


def validate(block: Mapping[str, Any], where: object = BLOCK) -> Settings:
    """The settings of a block; keys that it lacks have their defaults.

    Raises:
        SettingsError: an unknown key (with the nearest known one), a wrong type, a value out of range.
    """
    try:
        return Settings.model_validate(block)
    except ValidationError as e:
        raise SettingsError(
            "\n".join(_messages(e)),
            where=where,
            remedy="Correct the keys named above; docs/settings.md lists all keys with their ranges.",
        ) from e


def _messages(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        location = [part for part in problem["loc"] if part != "function-after"]
        name = ".".join(str(part) for part in location) or "(block)"
        if problem["type"] == "extra_forbidden":
            known = _known_keys(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
            yield f"{name}: unknown key; {hint}"
        else:
            yield f"{name}: {problem['msg']} (got {str(problem['input'])[:80]})"


def _known_keys(path: list[int | str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *get_args(annotation))
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
